// The SDK in Node, through its testing module.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Reject, Retry, count, observe, plugin } from "@wasmill/sdk";
import { run, start } from "@wasmill/sdk/testing";

const ports = ["main", "audit"];
/** Runs one function over records. */
const each = (handle, records = [{ value: "v" }]) => run(plugin(() => handle), records, { ports });

test("a record that is forwarded stays what it is", () => {
  const record = { key: "k", value: new Uint8Array([255]), headers: [{ name: "h", value: null }, { name: "h", value: "1" }], timestamp: 5 };
  const { emitted } = each((_, out) => out.forward(), [record, {}]);
  assert.deepEqual(emitted, [
    { port: "main", ...record, partition: null },
    { port: "main", key: null, value: null, headers: [], timestamp: null, partition: null },
  ]);
});

test("a record shows all of its parts", () => {
  const seen = [];
  const handle = (record) => {
    const { topic, partition, offset, timestamp, attempt, key, value } = record;
    seen.push({ topic, partition, offset, timestamp, attempt, key, value, text: record.text(), h: record.header("h"), none: record.header("x") });
  };
  const headers = [{ name: "h", value: "1" }, { name: "h", value: "é" }];
  each(handle, [{ key: "a", value: "ö", headers, timestamp: 7, offset: 9, attempt: 2 }, { headers: [{ name: "h", value: null }] }]);
  const bytes = (text) => Uint8Array.from(Buffer.from(text));
  assert.deepEqual(seen[0], {
    topic: "input", partition: 0, offset: 9, timestamp: 7, attempt: 2, key: bytes("a"), value: bytes("ö"), text: "ö", h: bytes("é"), none: undefined,
  });
  assert.deepEqual(seen[1], {
    topic: "input", partition: 0, offset: 1, timestamp: null, attempt: 0, key: null, value: null, text: null, h: null, none: undefined,
  });
});

test("what is left out of an output is as in the input, and null is null", () => {
  const input = { key: "k", value: "v", headers: [{ name: "a", value: "1" }], timestamp: 5 };
  const { emitted } = each((_, out) => {
    out.send("new");
    out.send(undefined, 1, { key: null, headers: [], timestamp: 0, partition: 0 });
    out.send(null, 0, { key: "", headers: [{ name: "b" }, { name: "c", value: new Uint8Array([1]) }], timestamp: 8, partition: 3 });
    out.json({ a: [1, "é", null] }, 1);
  }, [input]);
  assert.deepEqual(emitted, [
    { port: "main", ...input, value: "new", partition: null },
    { port: "audit", key: null, value: "v", headers: [], timestamp: 0, partition: 0 },
    { port: "main", key: "", value: null, headers: [{ name: "b", value: null }, { name: "c", value: "\u0001" }], timestamp: 8, partition: 3 },
    { port: "audit", ...input, value: '{"a":[1,"é",null]}', partition: null },
  ]);
});

test("a failed record emits nothing, and the records around it are as if it weren't there", () => {
  const handle = (record, out) => {
    out.send(`<${record.text()}>`, 1, { timestamp: 1, partition: 1, key: "x", headers: [{ name: "n", value: "v" }] });
    if (record.text() === "b") throw new Reject("no-b", "it is b");
    if (record.text() === "c") throw new Retry("later", 50);
    if (record.text() === "d") throw new Retry();
    out.forward();
  };
  const { records, failures } = each(handle, [..."abcde"].map((value) => ({ value })));
  assert.deepEqual(records.map(({ emitted }) => emitted.map(({ port, value, timestamp }) => [port, value, timestamp])), [
    [["audit", "<a>", 1], ["main", "a", null]], [], [], [], [["audit", "<e>", 1], ["main", "e", null]],
  ]);
  assert.deepEqual(failures, [
    { index: 1, kind: "reject", code: "no-b", reason: "it is b" },
    { index: 2, kind: "retry", delayMs: 50, reason: "later" },
    { index: 3, kind: "retry", delayMs: undefined, reason: "" },
  ]);
});

test("any other exception is a rejection with its name and its place", () => {
  const texts = [() => null.x, () => { throw "a text"; }, () => { throw new RangeError("far"); }];
  const { failures } = each((record) => texts[record.offset](), [{}, {}, {}]);
  assert.deepEqual(failures.map(({ code }) => code), ["exception", "exception", "exception"]);
  assert.match(failures[0].reason, /^TypeError: .*null.*, at .*sdk\.test\.js:\d+:\d+/);
  assert.equal(failures[1].reason, "a text");
  assert.match(failures[2].reason, /^RangeError: far, at /);
});

test("memory that runs out is a trap, and no rejection", () => {
  for (const error of [null, "out of memory", new Error("out of memory")]) {
    assert.throws(() => each(() => { throw error; }), /trapped/);
  }
});

test("an output that can't be written is an exception, and leaves nothing behind when it is caught", () => {
  const wrong = [
    (out) => out.forward(2), (out) => out.forward(0.5), (out) => out.forward(-1), (out) => out.send("v", "audit"),
    (out) => out.send(5), (out) => out.send({ a: 1 }), (out) => out.send("\ud800"), (out) => out.json(undefined), (out) => out.json(() => 1),
    (out) => out.json(5n), (out) => out.send("v", 0, { key: 1 }), (out) => out.send("v", 0, { headers: { a: "1" } }),
    (out) => out.send("v", 0, { headers: [{ name: "ok", value: "v" }, { name: 1 }] }), (out) => out.send("v", 0, { timestamp: null }),
    (out) => out.send("v", 0, { timestamp: -1 }), (out) => out.send("v", 0, { partition: 1.5 }), (out) => out.send("v", 0, { timestamp: 2 ** 60 }),
  ];
  const { records } = each((record, out) => {
    assert.throws(() => wrong[record.offset](out), (error) => error instanceof TypeError || error instanceof RangeError, `${wrong[record.offset]}`);
    out.send("after");
  }, wrong.map(() => ({ value: "v" })));
  for (const { emitted, failure } of records) assert.deepEqual([emitted.map(({ value }) => value), failure], [["after"], null]);
});

test("a promise is refused, as nobody would wait for it", () => {
  const { failures } = each(async (_, out) => out.forward());
  assert.match(failures[0].reason, /promise: write it without async/);
  assert.throws(() => run(plugin(async () => () => {}), []), /must return a function/);
});

test("what the function that makes the plugin throws keeps it from starting", () => {
  assert.throws(() => run(plugin(() => { throw new Error("`fields` is empty"); }), []), /Error: `fields` is empty, at /);
  assert.throws(() => run(plugin(() => { throw "`fields` is empty"; }), []), { message: "`fields` is empty" });
  assert.throws(() => run(plugin(() => ({})), []), /must return a function/);
});

test("settings and ports arrive, and each start begins anew", () => {
  const seen = [];
  const handler = plugin((settings, names) => {
    let calls = 0;
    return () => seen.push([settings.a, names[1], ++calls]) && undefined;
  });
  run(handler, [{}, {}], { settings: { a: 1 }, ports });
  run(handler, [{}], { settings: { a: 2 }, ports });
  assert.deepEqual(seen, [[1, "audit", 1], [1, "audit", 2], [2, "audit", 1]]);
});

test("console goes to the log", () => {
  const { log } = each(() => {
    console.log("a", 1, { b: [2] }, undefined);
    console.warn(new RangeError("far"));
    console.debug(5n);
    console.assert(true, "no");
    console.assert(1 > 2, "yes");
  });
  assert.deepEqual(log.map(({ level }) => level), ["info", "warn", "debug", "error"]);
  assert.equal(log[0].message, 'a 1 {"b":[2]} undefined');
  assert.match(log[1].message, /^RangeError: far, at /);
  assert.deepEqual([log[2].message, log[3].message], ["5", "assertion failed yes"]);
});

test("counters are summed up, and a failed record's are kept", () => {
  const handler = plugin(() => (record) => {
    count("seen");
    count("bytes", record.value.length);
    observe("size", record.value.length);
    if (record.offset % 2 === 1) throw new Reject("odd");
  });
  const started = start(handler);
  const result = started.run([{ value: "a" }, { value: "bc" }, { value: "" }]);
  assert.deepEqual([result.counts, result.observed], [{ seen: 3, bytes: 3 }, { size: [1, 2, 0] }]);
  const next = started.run([{ value: "abcd" }]);
  assert.deepEqual([next.counts, next.observed], [{ seen: 1, bytes: 4 }, { size: [4] }]);
});

test("a wrong name or value of a metric, a code or a delay is an exception", () => {
  const wrong = [
    () => count("A"), () => count(""), () => count("x".repeat(65)), () => count("a", -1), () => count("a", 0.5), () => count("a", 5n),
    () => observe("a-b", 1), () => observe("a", NaN), () => observe("a", "1"),
    () => new Reject("Bad code"), () => new Reject(""), () => new Reject(), () => new Retry("", -1), () => new Retry("", 2 ** 32),
  ];
  for (const call of wrong) assert.throws(call, TypeError, `${call}`);
});

test("outputs may be much larger than inputs, and many", () => {
  const long = "é".repeat(300_000);
  const { emitted } = each((_, out) => {
    for (let i = 0; i < 2000; i++) out.send(`${i}`, i % 2, { timestamp: i });
    out.send(long, 1, { key: long });
  }, [{ value: "a" }, { value: "b" }]);
  assert.equal(emitted.length, 4002);
  assert.deepEqual([emitted[1999].value, emitted[1999].port, emitted[1999].timestamp], ["1999", "audit", 1999]);
  assert.ok(emitted[2000].value === long && emitted[4001].key === long);
  assert.deepEqual([emitted[2001].value, emitted[2001].port, emitted[2002].timestamp], ["0", "main", 1]);
});

test("a text that isn't UTF-8 is rejected, and a header's name shows U+FFFD", () => {
  const { failures } = each((record) => void record.text(), [{ value: new Uint8Array([0xff]) }]);
  assert.equal(failures[0].code, "bad-text");
  const names = [];
  each((record) => void names.push(record.headers[0].name), [{ headers: [{ name: new Uint8Array([0xff]), value: null }] }]);
  assert.deepEqual(names, ["\ufffd"]);
});

test("a record that isn't one is refused by the testing module", () => {
  assert.throws(() => each(() => {}, [{ vlaue: "v" }]), /no vlaue/);
  assert.throws(() => each(() => {}, [{ value: { a: 1 } }]), /Uint8Arrays/);
});
