// A record, as a view of the columns of a call.

import { Reject, isOutOfMemory } from "./failures.js";
import { parse } from "./json.js";
import { decode } from "./text.js";

/** The record that the plugin's function is called with. It is the same object each time, and valid until the function returns. */
export class KafkaRecord {
  constructor(source, batch) {
    this.topic = source.topic;
    this.partition = source.partition;
    this._batch = batch;
    this._layout = batch.layout;
    this._data = batch.data;
    // Where the next record begins, in `layout` and in `data`.
    this._nextLayout = 0;
    this._nextData = 0;
  }

  get offset() {
    return Number(this._batch.offsets[this._index]);
  }

  get timestamp() {
    const timestamp = Number(this._batch.timestamps[this._index]);
    return timestamp < 0 ? null : timestamp;
  }

  get attempt() {
    return this._batch.attempts[this._index];
  }

  get key() {
    return this._keyLength < 0 ? null : this._data.subarray(this._keyAt, this._keyAt + this._keyLength);
  }

  get value() {
    return this._valueLength < 0 ? null : this._data.subarray(this._headersAt - this._valueLength, this._headersAt);
  }

  text() {
    const value = this.value;
    if (value === null) return null;
    try {
      return decode(value);
    } catch (error) {
      throw rejection(error, "bad-text", "the value isn't UTF-8");
    }
  }

  json() {
    const value = this.value;
    if (value === null) throw new Reject("bad-json", "the record has no value");
    let text;
    try {
      text = decode(value);
    } catch (error) {
      throw rejection(error, "bad-json", "the value isn't UTF-8");
    }
    try {
      return parse(text);
    } catch (error) {
      throw rejection(error, "bad-json", error?.message);
    }
  }

  get headers() {
    const headers = [];
    const data = this._data;
    let at = this._headersAt;
    for (let i = 0, entry = this._headersLayout; i < this._headerCount; i++, entry += 2) {
      const middle = at + this._layout[entry];
      const length = this._layout[entry + 1];
      let name;
      try {
        name = decode(data.subarray(at, middle));
      } catch {
        name = "\ufffd";
      }
      at = middle + Math.max(length, 0);
      headers.push({ name, value: length < 0 ? null : data.subarray(middle, at) });
    }
    return headers;
  }

  header(name) {
    return this._headerCount === 0 ? undefined : this.headers.findLast((header) => header.name === name)?.value;
  }
}

/** Moves to the record with this index, which follows the last one. */
export function next(record, index) {
  const layout = record._layout;
  const entry = record._nextLayout;
  record._index = index;
  record._keyLength = layout[entry];
  record._valueLength = layout[entry + 1];
  record._headerCount = layout[entry + 2];
  record._keyAt = record._nextData;
  record._headersAt = record._keyAt + Math.max(record._keyLength, 0) + Math.max(record._valueLength, 0);
  record._headersLayout = entry + 3;
  let end = record._headersAt;
  let after = entry + 3;
  for (const last = after + 2 * record._headerCount; after < last; after++) end += Math.max(layout[after], 0);
  record._nextLayout = after;
  record._nextData = end;
}

/** What is thrown in place of `error`. If memory is short, that stays what it is. */
function rejection(error, code, reason) {
  return isOutOfMemory(error) ? error : new Reject(code, reason);
}
