// Plugins of wasmill in JavaScript, over the columns of the contract.
//
// Works with QuickJS (componentize-qjs) and StarlingMonkey (componentize-js); in Node with `@wasmill/sdk/testing`. A call brings the
// records of one partition as a few long lists. `plugin` cuts them into records, and collects the outputs in lists again. An instance
// runs one call at a time, so the lists are kept in this module.

import * as host from "#host";
import { told } from "./console.js";
import { flush, forget } from "./metrics.js";
import { Reject, Retry, isOutOfMemory } from "./failures.js";
import { Out, begin, cut, finish, mark, outputs } from "./out.js";
import { KafkaRecord, next } from "./record.js";

export { count, observe } from "./metrics.js";
export { Reject, Retry } from "./failures.js";

/**
 * Makes the export `batchHandler` of a plugin. `make` is called once with the step's settings and the names of the ports, and returns
 * the function that is called for each record.
 */
export function plugin(make) {
  let handle;
  return {
    init(settings, ports) {
      host.start();
      forget();
      try {
        handle = make(JSON.parse(settings), ports);
        if (typeof handle !== "function") {
          throw new TypeError("plugin(make): make must return a function (record, out) => .., and not be async");
        }
      } catch (error) {
        // A text is an error of the contract; any other exception is a trap, whose message is lost.
        throw told(error);
      }
      begin(ports.length);
    },

    process(source, batch) {
      try {
        return run(handle, source, batch);
      } catch {
        // A trap, on purpose: wasmill discards the instance, and its memory, and runs the records again. An error would leave the
        // instance in place, and its memory full.
        throw {};
      }
    },
  };
}

function run(handle, source, batch) {
  const records = batch.offsets.length;
  const counts = new Uint32Array(records);
  const failures = [];
  const record = new KafkaRecord(source, batch);
  const out = new Out();
  for (let index = 0; index < records; index++) {
    next(record, index);
    const before = mark();
    try {
      const result = handle(record, out);
      if (result !== undefined && typeof result?.then === "function") {
        throw new TypeError("the function for a record returned a promise: write it without async and await");
      }
      counts[index] = outputs - before.outputs;
    } catch (error) {
      if (isOutOfMemory(error)) throw error;
      cut(before);
      failures.push({ index, failure: failure(error) });
    }
  }
  const outcome = finish(counts, failures);
  flush();
  return outcome;
}

function failure(error) {
  if (error instanceof Retry) return { tag: "retry", val: { delayMs: error.delayMs, reason: error.message } };
  if (error instanceof Reject) return { tag: "reject", val: { code: error.code, reason: error.message } };
  return { tag: "reject", val: { code: "exception", reason: told(error) } };
}
