import assert from "node:assert/strict";
import { test } from "node:test";

import { run } from "@wasmill/sdk/testing";
import { batchHandler } from "../src/mask.js";

const options = { settings: { fields: ["email"] }, ports: ["main", "audit"] };

test("a named member is masked", () => {
  const { emitted } = run(batchHandler, [{ key: "k", value: '{"id":7,"email":"a@b.c"}' }], options);
  assert.deepEqual(emitted, [
    { port: "main", key: "k", value: '{"id":7,"email":"***"}', headers: [], timestamp: null, partition: null },
  ]);
});

test("a record with the header audit goes to the port audit, too, unmasked", () => {
  const headers = [{ name: "audit", value: "" }];
  const { emitted } = run(batchHandler, [{ value: '{"email":1}', headers }], options);
  assert.deepEqual(emitted.map(({ port, value }) => [port, value]), [["audit", '{"email":1}'], ["main", '{"email":"***"}']]);
});

test("a tombstone is forwarded, and what is no JSON is rejected", () => {
  const { records, failures } = run(batchHandler, [{ value: null }, { value: "{" }], options);
  assert.equal(records[0].emitted[0].value, null);
  assert.deepEqual(failures.map(({ index, code }) => [index, code]), [[1, "bad-json"]]);
});
