/** Plugins of wasmill in JavaScript and TypeScript. */

/** Bytes as a plugin may pass them: a text is written as UTF-8. */
export type Bytes = string | Uint8Array;

/** A header as it came. A name that isn't UTF-8 shows U+FFFD. */
export interface Header {
  readonly name: string;
  readonly value: Uint8Array | null;
}

/** A header as a plugin may pass it. */
export interface NewHeader {
  readonly name: string;
  readonly value?: Bytes | null;
}

/** A record. It is valid until the function that got it returns: copy what is needed later. */
export interface KafkaRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  /** Milliseconds since 1970-01-01 UTC. */
  readonly timestamp: number | null;
  /** 0 the first time, then how often the record was tried before. */
  readonly attempt: number;
  readonly key: Uint8Array | null;
  /** `null` is a tombstone, which differs from an empty value. */
  readonly value: Uint8Array | null;
  readonly headers: Header[];
  /** The value of the last header of this name; `undefined` if there is none. */
  header(name: string): Uint8Array | null | undefined;
  /** The value as a text, and `null` for a tombstone. Rejects the record as `bad-text` if it isn't UTF-8. */
  text(): string | null;
  /**
   * The value as JSON. Rejects the record as `bad-json` if it is no JSON, is nested more than 128 deep, or has a name twice in an
   * object. A number that a double doesn't hold exactly is an object of `JSON.rawJSON`, and `out.json` writes it as it came.
   */
  json(): any;
}

/** The parts of an output that differ from the input. */
export interface Rest {
  /** Left out: the input's key. `null`: no key. */
  key?: Bytes | null;
  /** Left out: the input's headers. */
  headers?: readonly NewHeader[];
  /** Milliseconds since 1970-01-01 UTC. Left out: the input's. */
  timestamp?: number;
  /** Left out: the output's partitioner chooses. */
  partition?: number;
}

/** Takes what becomes of a record. A record without outputs is dropped. A port is its index in `ports`; 0 is `main`. */
export interface Out {
  /** The record as it came, without a copy. */
  forward(port?: number): undefined;
  /** An output with this value. `undefined`: the input's value. `null`: a tombstone. */
  send(value: Bytes | null | undefined, port?: number, rest?: Rest): undefined;
  /** An output whose value is this document. */
  json(document: unknown, port?: number, rest?: Rest): undefined;
}

/** Called for each record. It must not be `async`: a plugin can't wait. */
export type Handle = (record: KafkaRecord, out: Out) => undefined;

/** The export of a plugin: `export const batchHandler = plugin(..)`. */
export interface BatchHandler {
  init(settings: string, ports: string[]): void;
  process(source: { topic: string; partition: number }, batch: unknown): unknown;
}

/**
 * Makes the export `batchHandler`. `make` is called once with the step's settings and the names of the ports. What it throws keeps the
 * pipeline from starting. Memory is a cache, never state: an instance may be replaced between any two calls.
 */
export function plugin<Settings = Record<string, any>>(make: (settings: Settings, ports: string[]) => Handle): BatchHandler;

/** Thrown if the record can't succeed. The code is 1 to 64 of `a-z`, `0-9` and `-`. */
export class Reject extends Error {
  constructor(code: string, reason?: unknown);
  readonly code: string;
}

/** Thrown if the record may succeed later: after `delayMs` milliseconds, or when the pipeline's file says. */
export class Retry extends Error {
  constructor(reason?: unknown, delayMs?: number);
  readonly delayMs: number | undefined;
}

/** Adds to the counter `wasmill_plugin_custom_total{name=NAME}`; the name is 1 to 64 of `a-z`, `0-9` and `_`. */
export function count(name: string, by?: number): void;

/** Adds a value to the histogram `wasmill_plugin_custom{name=NAME}`. */
export function observe(name: string, value: number): void;
