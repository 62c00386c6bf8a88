// Outputs, collected in the columns of the contract.

import { encodeInto } from "./text.js";

/** In a layout: as in the input record. */
const SAME = -2;
const NULL = -1;
/** Buffers that have grown beyond this are not kept. */
const KEPT_BYTES = 1 << 20;
const PARTITION_MAX = 2 ** 31 - 1;

/** A column that is left out if all of its entries are `none`. */
class Column {
  constructor(List, none) {
    this.none = none;
    this.items = new List(64).fill(none);
    this.isUsed = false;
  }

  set(index, item) {
    if (index >= this.items.length) this.grow(index + 1);
    this.items[index] = item;
    this.isUsed = true;
  }

  grow(length) {
    const items = new this.items.constructor(2 * length).fill(this.none);
    items.set(this.items);
    this.items = items;
  }

  cut(length) {
    if (this.isUsed) this.items.fill(this.none, length);
  }

  take(length) {
    if (!this.isUsed) return this.items.slice(0, 0);
    if (length > this.items.length) this.grow(length);
    const taken = this.items.slice(0, length);
    this.items.fill(this.none);
    this.isUsed = false;
    return taken;
  }
}

const ports = new Column(Uint32Array, 0);
const partitions = new Column(Int32Array, -1);
const timestamps = new Column(BigInt64Array, -1n);
let layout = new Int32Array(1024);
let layoutLength = 0;
let data = new Uint8Array(16384);
let dataLength = 0;
/** The number of outputs so far. */
export let outputs = 0;
let portCount = 1;

/** Empties the columns, for a plugin with this number of ports. */
export function begin(count) {
  cut({ outputs: 0, layoutLength: 0, dataLength: 0 });
  portCount = count;
}

/** How much there is, to cut back to it. */
export function mark() {
  return { outputs, layoutLength, dataLength };
}

/** Takes back what came after the mark. */
export function cut(to) {
  if (outputs > to.outputs) {
    for (const column of [ports, partitions, timestamps]) column.cut(to.outputs);
  }
  ({ outputs, layoutLength, dataLength } = to);
}

/** The outcome of a call. The columns are empty then. */
export function finish(counts, failures) {
  const outcome = {
    counts,
    ports: ports.take(outputs),
    partitions: partitions.take(outputs),
    timestamps: timestamps.take(outputs),
    layout: layout.subarray(0, layoutLength),
    data: data.subarray(0, dataLength),
    failures,
  };
  // The engine reads the columns after this returns, and before the next call.
  if (data.length > KEPT_BYTES) data = new Uint8Array(16384);
  if (layout.length * 4 > KEPT_BYTES) layout = new Int32Array(1024);
  outputs = layoutLength = dataLength = 0;
  return outcome;
}

/** Takes what becomes of a record. */
export class Out {
  forward(port = 0) {
    checkPort(port);
    reserveLayout(3);
    layout[layoutLength++] = SAME;
    layout[layoutLength++] = SAME;
    layout[layoutLength++] = SAME;
    if (port !== 0) ports.set(outputs, port);
    outputs++;
  }

  send(value, port = 0, { key, headers, timestamp, partition } = {}) {
    checkPort(port);
    if (timestamp !== undefined) checkNumber("timestamp", timestamp, Number.MAX_SAFE_INTEGER);
    if (partition !== undefined) checkNumber("partition", partition, PARTITION_MAX);
    if (headers !== undefined && !Array.isArray(headers)) throw new TypeError("headers are a list of { name, value }, or left out");
    const before = mark();
    try {
      reserveLayout(3);
      put(key);
      put(value);
      layout[layoutLength++] = headers === undefined ? SAME : headers.length;
      for (const header of headers ?? []) {
        reserveLayout(2);
        if (typeof header?.name !== "string") throw new TypeError("a header is { name, value }, and its name is a text");
        put(header.name);
        put(header.value ?? null);
      }
    } catch (error) {
      // The plugin may catch it, and go on.
      cut(before);
      throw error;
    }
    if (port !== 0) ports.set(outputs, port);
    if (partition !== undefined) partitions.set(outputs, partition);
    if (timestamp !== undefined) timestamps.set(outputs, BigInt(timestamp));
    outputs++;
  }

  json(document, port, rest) {
    const text = JSON.stringify(document);
    if (text === undefined) throw new TypeError("out.json needs a document, and JSON has no undefined and no functions");
    this.send(text, port, rest);
  }
}

function checkPort(port) {
  if (!(Number.isInteger(port) && port >= 0 && port < portCount)) {
    throw new RangeError(`there is no port ${String(port)}: the pipeline's file binds ${portCount}, the first one is 0`);
  }
}

function checkNumber(what, number, most) {
  if (!(Number.isInteger(number) && number >= 0 && number <= most)) {
    throw new RangeError(`a ${what} is a whole number from 0 on, or left out, not ${String(number)}`);
  }
}

function put(bytes) {
  if (bytes === undefined || bytes === null) {
    layout[layoutLength++] = bytes === null ? NULL : SAME;
    return;
  }
  let length;
  if (typeof bytes === "string") {
    reserveData(3 * bytes.length);
    length = encodeInto(bytes, data, dataLength);
  } else if (bytes instanceof Uint8Array) {
    length = bytes.length;
    reserveData(length);
    data.set(bytes, dataLength);
  } else {
    throw new TypeError(`a value is a text, a Uint8Array, null, or left out, not ${shape(bytes)}; out.json writes documents`);
  }
  dataLength += length;
  layout[layoutLength++] = length;
}

function shape(value) {
  return typeof value === "object" ? `an object (${value.constructor?.name ?? "without a prototype"})` : `a ${typeof value}`;
}

function reserveLayout(more) {
  if (layoutLength + more <= layout.length) return;
  const larger = new Int32Array(2 * (layoutLength + more));
  larger.set(layout);
  layout = larger;
}

function reserveData(more) {
  if (dataLength + more <= data.length) return;
  const larger = new Uint8Array(2 * (dataLength + more));
  larger.set(data);
  data = larger;
}
