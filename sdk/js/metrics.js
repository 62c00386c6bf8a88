// Counters and histograms of the plugin. They are collected, and handed to the host once for each call.

import * as host from "#host";

const NAME = /^[a-z0-9_]{1,64}$/;

/** The sums since the last call, by name. */
const sums = new Map();
/** Names and values since the last call, in turn. */
let observations = [];

/** Adds to the counter `wasmill_plugin_custom_total{name=NAME}`. What a failed record counted is kept. */
export function count(name, by = 1) {
  if (!(Number.isSafeInteger(by) && by >= 0)) throw new TypeError(`a counter grows by a whole number, not by ${String(by)}`);
  const sum = sums.get(name);
  if (sum === undefined) check(name);
  // The host's counters have 64 bits, and these numbers have 53.
  sums.set(name, Math.min((sum ?? 0) + by, Number.MAX_SAFE_INTEGER));
}

/** Adds a value to the histogram `wasmill_plugin_custom{name=NAME}`. */
export function observe(name, value) {
  if (!Number.isFinite(value)) throw new TypeError(`a histogram takes finite numbers, not ${String(value)}`);
  check(name);
  observations.push(name, value);
}

function check(name) {
  if (typeof name !== "string" || !NAME.test(name)) {
    throw new TypeError(`the name of a metric is 1 to 64 of a-z, 0-9 and _, not ${JSON.stringify(name)}`);
  }
}

/** Hands everything to the host. */
export function flush() {
  for (const [name, sum] of sums) host.count(name, sum);
  for (let i = 0; i < observations.length; i += 2) host.observe(observations[i], observations[i + 1]);
  forget();
}

/** Discards what was collected. */
export function forget() {
  sums.clear();
  if (observations.length > 0) observations = [];
}
