// The host, inside of a component.

import { write } from "wasmill:plugin/log@1.0.0";
import * as metrics from "wasmill:plugin/metrics@1.0.0";
import { consoleFor } from "./console.js";

/** QuickJS has numbers for a `u64`, and a BigInt is a trap there; StarlingMonkey wants a BigInt. Only StarlingMonkey has a TextDecoder. */
const unsigned = typeof TextDecoder === "undefined" ? (number) => number : BigInt;
/** While the component is built there is no host. */
let isStarted = false;

globalThis.console = consoleFor((level, text) => {
  if (isStarted) write(level, text.toWellFormed());
});

/** Called at the beginning of `init`. */
export function start() {
  isStarted = true;
}

export function count(name, by) {
  metrics.count(name, unsigned(by));
}

export function observe(name, value) {
  metrics.observe(name, value);
}
