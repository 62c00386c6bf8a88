/** Runs a plugin in Node, without a host. */

import type { BatchHandler, Bytes, NewHeader } from "./index.js";

/** A record to run. What is left out is null, empty, or counted on. */
export interface Input {
  key?: Bytes | null;
  value?: Bytes | null;
  headers?: readonly NewHeader[];
  timestamp?: number;
  offset?: number;
  attempt?: number;
}

export interface Options {
  settings?: unknown;
  /** The names of the ports, the default one first. `["main"]` if left out. */
  ports?: string[];
  topic?: string;
  partition?: number;
}

/** Bytes are a text if they are UTF-8, and a Uint8Array if not. */
export type Shown = string | Uint8Array | null;

/** An output, with everything that is as in the input filled in. */
export interface Emitted {
  /** The port's name. */
  port: string;
  key: Shown;
  value: Shown;
  headers: { name: Shown; value: Shown }[];
  timestamp: number | null;
  /** `null`: the output's partitioner chooses. */
  partition: number | null;
}

export type Failure = { kind: "reject"; code: string; reason: string } | { kind: "retry"; delayMs?: number; reason: string };

export interface Result {
  /** For each record what was emitted, or why it failed. */
  records: { emitted: Emitted[]; failure: Failure | null }[];
  /** All outputs. */
  emitted: Emitted[];
  /** All failures, with the index of their record. */
  failures: (Failure & { index: number })[];
  log: { level: "trace" | "debug" | "info" | "warn" | "error"; message: string }[];
  counts: { [name: string]: number };
  observed: { [name: string]: number[] };
}

export interface Started {
  /** Runs records in one call. */
  run(records: Input[]): Result;
}

/** Starts a plugin. Throws what its `init` complains of. */
export function start(handler: BatchHandler, options?: Options): Started;

/** Starts a plugin and runs records in one call. */
export function run(handler: BatchHandler, records: Input[], options?: Options): Result;
