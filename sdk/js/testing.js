// Runs a plugin in Node, without a host: records in and outputs out, as plain objects.

import "./raw-json.js";
import { consoleFor } from "./console.js";
import { collected } from "./host-node.js";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Starts a plugin, and runs records through it. A record is `{ key, value, headers, timestamp, offset, attempt }`; all parts may be left
 * out. Bytes are a text, a Uint8Array or null.
 */
export function run(handler, records, options = {}) {
  return start(handler, options).run(records);
}

/** Starts a plugin that may be called several times. Throws what `init` complains of. */
export function start(handler, { settings = {}, ports = ["main"], topic = "input", partition = 0 } = {}) {
  const log = [];
  const within = (call) => {
    const outside = globalThis.console;
    globalThis.console = consoleFor((level, message) => log.push({ level, message }));
    try {
      return call();
    } finally {
      globalThis.console = outside;
    }
  };
  try {
    within(() => handler.init(JSON.stringify(settings), ports));
  } catch (error) {
    throw typeof error === "string" ? new Error(error) : error;
  }
  let offset = 0;
  return {
    run(records) {
      log.length = 0;
      collected.counts = {};
      collected.observed = {};
      const batch = columns(records, offset);
      offset += records.length;
      let outcome;
      try {
        outcome = within(() => handler.process({ topic, partition }, batch));
      } catch (error) {
        throw new Error("the plugin trapped: it is out of memory, or it was not started", { cause: error });
      }
      const results = resolve(outcome, batch, ports);
      return {
        records: results,
        emitted: results.flatMap((result) => result.emitted),
        failures: results.flatMap(({ failure }, index) => (failure === null ? [] : [{ index, ...failure }])),
        log: [...log],
        counts: collected.counts,
        observed: collected.observed,
      };
    },
  };
}

/** The records as a batch of the contract. */
function columns(records, first) {
  const layout = [];
  const data = [];
  const put = (bytes) => {
    if (bytes === null || bytes === undefined) return layout.push(-1);
    const encoded = typeof bytes === "string" ? encoder.encode(bytes) : bytes;
    if (!(encoded instanceof Uint8Array)) throw new TypeError(`a record has texts, Uint8Arrays and null, not ${JSON.stringify(bytes)}`);
    layout.push(encoded.length);
    data.push(encoded);
  };
  for (const { key, value, headers = [], ...rest } of records) {
    const unknown = Object.keys(rest).filter((name) => !["timestamp", "offset", "attempt"].includes(name));
    if (unknown.length > 0) throw new TypeError(`a record has no ${unknown.join(" and no ")}`);
    put(key);
    put(value);
    layout.push(headers.length);
    for (const header of headers) {
      put(header.name);
      put(header.value);
    }
  }
  return {
    offsets: BigInt64Array.from(records, (record, index) => BigInt(record.offset ?? first + index)),
    timestamps: BigInt64Array.from(records, (record) => BigInt(record.timestamp ?? -1)),
    attempts: Uint32Array.from(records, (record) => record.attempt ?? 0),
    layout: Int32Array.from(layout),
    data: Uint8Array.from(Buffer.concat(data)),
  };
}

/** Reads a layout and its bytes, from front to back. */
class Reader {
  constructor({ layout, data }) {
    Object.assign(this, { layout, data, entry: 0, at: 0 });
  }

  length() {
    if (this.entry >= this.layout.length) throw new Error("the layout has too few entries");
    return this.layout[this.entry++];
  }

  bytes() {
    const length = this.length();
    if (length < 0) return length === -1 ? null : undefined;
    if (this.at + length > this.data.length) throw new Error("the data has too few bytes");
    return shown(this.data.slice(this.at, (this.at += length)));
  }

  part() {
    const [key, value, count] = [this.bytes(), this.bytes(), this.length()];
    const header = () => ({ name: this.bytes(), value: this.bytes() });
    return { key, value, headers: count < 0 ? undefined : Array.from({ length: count }, header) };
  }

  end() {
    if (this.entry !== this.layout.length || this.at !== this.data.length) throw new Error("the layout or the data has a rest");
  }
}

/** A text if the bytes are one, as that is easier to compare. */
function shown(bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    return bytes;
  }
}

/** What became of each record, with everything that is as in the input filled in. Refuses what a host would refuse. */
function resolve(outcome, batch, ports) {
  const from = new Reader(batch);
  const inputs = Array.from(batch.offsets, () => from.part());
  const reader = new Reader(outcome);
  const failures = new Map(outcome.failures.map(({ index, failure }) => [index, failure]));
  let output = 0;
  const column = (items, index, none) => (items.length === 0 ? none : Number(items[index]));
  const records = inputs.map((input, index) => {
    const emitted = Array.from({ length: outcome.counts[index] }, () => {
      const [part, at] = [reader.part(), output++];
      const timestamp = column(outcome.timestamps, at, -1);
      const partition = column(outcome.partitions, at, -1);
      const original = Number(batch.timestamps[index]);
      return {
        port: ports[column(outcome.ports, at, 0)],
        key: part.key === undefined ? input.key : part.key,
        value: part.value === undefined ? input.value : part.value,
        headers: part.headers ?? input.headers,
        timestamp: timestamp >= 0 ? timestamp : original >= 0 ? original : null,
        partition: partition >= 0 ? partition : null,
      };
    });
    const failed = failures.get(index);
    if (failed !== undefined && emitted.length > 0) throw new Error(`record ${index} failed, and has outputs`);
    return { emitted, failure: failed === undefined ? null : { kind: failed.tag, ...failed.val } };
  });
  reader.end();
  for (const name of ["ports", "partitions", "timestamps"]) {
    if (![0, output].includes(outcome[name].length)) throw new Error(`${name} has ${outcome[name].length} entries for ${output} outputs`);
  }
  return records;
}
