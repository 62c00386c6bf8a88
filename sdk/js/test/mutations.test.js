// Mutated documents through the plugin `mask`, compared with a parser of this file's own: nothing changes without a word.
//
// What is JSON comes out with the same value, except for what is masked; anything else is rejected as `bad-json`. WASMILL_MUTATIONS is
// the number of documents, WASMILL_SEED the seed. With WASMILL, the program, the documents go through the built component, too, with
// `wasmill try`; WASMILL_PIPELINE names another pipeline file than the example's.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { batchHandler } from "../../../examples/mask-js/src/mask.js";
import { start } from "@wasmill/sdk/testing";

const { WASMILL, WASMILL_MUTATIONS = "1000", WASMILL_SEED = "1", WASMILL_PIPELINE } = process.env;
const COUNT = Number(WASMILL_MUTATIONS);
const PIPELINE = WASMILL_PIPELINE ?? fileURLToPath(new URL("../../../examples/mask-js/pipeline.toml", import.meta.url));

const TEXTS = [
  '{"order":1001,"email":"ada@example.com","total":19.9,"items":[{"sku":"tea-01","count":2}]}',
  '{ "order" : 1016, "id": 9007199254740993, "total": 1e-07, "email": "sat@example.com", "t": true, "n": null }',
  '{"phone":[1,{"x":2.50}],"a":{"b":{"c":[[],{},""]}},"s":"\\ud83d\\ude00 \\u00e9 \\" \\\\ \\/ \\b","é":"山 😀"}',
  '{"a":123456789012345678901234567890,"b":0.1234567890123456789,"c":2.5e735,"d":1e-400,"e":-0,"f":-0.0,"email":"x"}',
  '[{"email":"a"},1,-2,3.25,"\\ud800",false]',
  '{"a":1,"b":1,"a ":1,"email":{},"emails":[],"x":{"a":1,"b":{"a":1}}}',
];
const PIECES = [
  ...'{}[]",:\\ \n\t0123456789.eE+-', "true", "null", "NaN", "\\u0000", "\\ud800", "\\udc00", "\\u0061", '"a":', '"email":1,', "é", "😀", "1e999", "-0",
  "00000000000000001", '{"a":1}', "[[", "]]", "}}", '"', "\\", '"__proto__":2,',
];
const RAW = [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xc3], [0], [0x1f], [0xef, 0xbb, 0xbf]].map((bytes) => Buffer.from(bytes));

/** A sequence of random numbers that a seed repeats: mulberry32. */
function sequence(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** A document with a few changes, as bytes. */
function mutated(below) {
  const one = (list) => list[below(list.length)];
  let document = Buffer.from(one(TEXTS));
  if (below(20) === 0) {
    const depth = 120 + below(16);
    const [opening, closing] = one([["[", "]"], ['{"a":', "}"]]);
    document = Buffer.concat([Buffer.from(opening.repeat(depth)), document, Buffer.from(closing.repeat(depth))]);
  }
  for (let changes = one([0, 1, 1, 1, 2, 3]); changes > 0; changes--) {
    const at = below(document.length + 1);
    let piece = below(12) === 0 ? one(RAW) : Buffer.from(one(PIECES));
    const from = below(document.length + 1);
    if (below(10) === 0) piece = document.subarray(from, from + below(20));
    document = Buffer.concat([document.subarray(0, at), piece, document.subarray(at + one([0, 0, 1, 1, 2, 5]))]);
  }
  return document;
}

/** The value of a document as one text, or an exception. Numbers are their digits and their exponent, and names are sorted. */
class Reference {
  constructor(document) {
    this.text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(document);
    this.at = 0;
  }

  whole() {
    const value = this.value(0);
    this.match(/[ \t\r\n]*/y);
    assert.equal(this.at, this.text.length);
    return value;
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found !== null) this.at = pattern.lastIndex;
    return found;
  }

  take(character) {
    this.match(/[ \t\r\n]*/y);
    const is = this.text[this.at] === character;
    if (is) this.at++;
    return is;
  }

  string() {
    this.match(/[ \t\r\n]*/y);
    const found = this.match(/"((?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"/y);
    assert.ok(found);
    const escapes = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };
    return found[1].replace(/\\(?:u(....)|(.))/g, (_, hex, one) => (hex ? String.fromCharCode(parseInt(hex, 16)) : escapes[one] ?? one));
  }

  /** Something between brackets, with commas. */
  list(closing, item) {
    if (this.take(closing)) return;
    do item();
    while (this.take(","));
    assert.ok(this.take(closing));
  }

  value(depth) {
    const units = (text) => Array.from({ length: text.length }, (_, index) => text.charCodeAt(index).toString(16)).join(".");
    const literal = (this.match(/[ \t\r\n]*/y), this.match(/null|true|false/y));
    if (literal) return { kind: "literal", text: literal[0] };
    if (this.text[this.at] === '"') return { kind: "string", text: `"${units(this.string())}"` };
    if (this.take("[")) {
      assert.ok(depth < 128);
      const items = [];
      this.list("]", () => items.push(this.value(depth + 1).text));
      return { kind: "list", text: `[${items.join()}]` };
    }
    if (this.take("{")) {
      assert.ok(depth < 128);
      const members = new Map();
      this.list("}", () => {
        const name = this.string();
        assert.ok(this.take(":") && !members.has(name));
        members.set(name, this.value(depth + 1).text);
      });
      const text = (all) => `{${[...all].map(([name, value]) => `${units(name)}:${value}`).sort().join()}}`;
      const hidden = `"${units("***")}"`;
      const masked = [...members].map(([name, value]) => [name, ["email", "phone"].includes(name) ? hidden : value]);
      return { kind: "object", text: text(members), masked: text(masked) };
    }
    const number = this.match(/(-?)(0|[1-9]\d*)(?:\.(\d+))?(?:[eE]([-+]?\d+))?/y);
    assert.ok(number);
    const [, sign, whole, fraction = "", exponent = "0"] = number;
    const digits = (whole + fraction).replace(/^0+/, "");
    const kept = digits.replace(/0+$/, "");
    const last = BigInt(exponent) + BigInt(digits.length - kept.length - fraction.length);
    return { kind: "number", text: kept === "" ? `${sign}0` : `${sign}${kept}e${last}` };
  }
}

/** The value that must come out, or undefined if the document must be rejected. */
function expected(document) {
  try {
    const { text, masked = text } = new Reference(document).whole();
    return masked;
  } catch {
    return undefined;
  }
}

/** For each document what came out, or undefined if it was rejected. */
function natively(documents) {
  const started = start(batchHandler, { settings: { fields: ["email", "phone"] } });
  return documents.map((value) => {
    const [{ emitted, failure }] = started.run([{ value: new Uint8Array(value) }]).records;
    assert.ok(failure === null || failure.code === "bad-json", `${value}: ${JSON.stringify(failure)}`);
    return failure === null ? emitted[0].value : undefined;
  });
}

/** The same, through `wasmill try`. */
function inTheComponent(documents) {
  const input = documents.map((value, key) => JSON.stringify({ key: `${key}`, value: { base64: value.toString("base64") } })).join("\n");
  const { stdout, stderr } = spawnSync(WASMILL, ["try", PIPELINE, "--format", "record"], { input, encoding: "utf8", maxBuffer: 1 << 30 });
  const results = Array(documents.length);
  let told = 0;
  for (const line of stdout.split("\n").filter(Boolean)) {
    const { key, value } = JSON.parse(line);
    results[key] = typeof value === "string" ? value : Buffer.from(value.base64, "base64");
    told++;
  }
  told += stderr.split("\n").filter((line) => /^line \d+: .*reject \(bad-json\)/.test(line)).length;
  assert.equal(told, documents.length, stderr.slice(-2000));
  return results;
}

for (const way of WASMILL ? [natively, inTheComponent] : [natively]) {
  test(`nothing changes without a word, ${way.name}`, (context) => {
    const below = sequence(Number(WASMILL_SEED));
    const documents = Array.from({ length: COUNT }, () => mutated(below));
    let valid = 0;
    way(documents).forEach((result, index) => {
      const document = documents[index];
      const value = result === undefined ? undefined : new Reference(Buffer.from(result)).whole().text;
      assert.equal(value, expected(document), `seed ${WASMILL_SEED}: ${document.toString("latin1")} became ${result}`);
      valid += result === undefined ? 0 : 1;
    });
    context.diagnostic(`${COUNT} documents, of which ${valid} were JSON`);
    assert.ok(valid > COUNT / 5, "too few documents are JSON");
  });
}
