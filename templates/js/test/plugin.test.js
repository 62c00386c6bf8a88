import assert from "node:assert/strict";
import { test } from "node:test";

import { run } from "@wasmill/sdk/testing";
import { batchHandler } from "../src/plugin.js";

test("a value gets the prefix", () => {
  const { emitted, failures } = run(batchHandler, [{ value: "hello" }, { value: new Uint8Array([255]) }], {
    settings: { prefix: "> " },
    ports: ["main"],
  });
  assert.deepEqual(emitted.map(({ value }) => value), ["> hello"]);
  assert.deepEqual(failures.map(({ code }) => code), ["bad-text"]);
});
