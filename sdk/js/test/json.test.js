// Documents stay what they are.

import assert from "node:assert/strict";
import { test } from "node:test";

import { plugin } from "@wasmill/sdk";
import { run } from "@wasmill/sdk/testing";

const copy = plugin(() => (record, out) => out.json(record.json()));

/** A document's text after it was parsed and written. */
const copied = (text) => {
  const { records: [{ emitted, failure }] } = run(copy, [{ value: text }]);
  return failure === null ? emitted[0].value : failure;
};

test("numbers stay what they are, to the last digit", () => {
  for (const number of [
    "0", "1", "-1", "1.5", "9007199254740991", "9007199254740993", "-9007199254740993", "123456789012345678901234567890", "0.1234567890123456789",
    "12345678.123456789", "3.141592653589793238462643383279", "2.5e735", "1e-400", "-0", "-0.0", "1e400", "0.1", "1e21", "5e-324", "1.7976931348623157e308",
    "100000000000000000000000", "4.35", "1E5", "1.0", "10e-1", "0e9999", "12345678901234567000", "0.000001", "0.0000001",
  ]) {
    for (const text of [number, `{"a":${number}}`, `[ ${number}, 1 ]`]) {
      const [before, after] = [text, copied(text)].map((t) => /-?[\d.]+([eE][-+]?\d+)?/.exec(t)[0]);
      assert.equal(value(after), value(before), text);
    }
  }
});

/** A number's value as a text: all digits, and the exponent of the last one. */
function value(number) {
  const [digits, exponent = "0"] = number.toLowerCase().split("e");
  const [whole, fraction = ""] = digits.replace("-", "").split(".");
  let [all, at] = [BigInt(whole + fraction), BigInt(exponent) - BigInt(fraction.length)];
  const sign = number.startsWith("-") ? "-" : "";
  if (all === 0n) return `${sign}0`;
  for (; all % 10n === 0n; at++) all /= 10n;
  return `${sign}${all}e${at}`;
}

test("strings and names stay what they are", () => {
  for (const text of [
    '"\\ud800"', '"\\u0000"', '{"\\udc00":"\\ud800\\ud800"}', '{"__proto__":1,"constructor":{"toJSON":2},"rawJSON":"3"}', '"é😀"', '{"":{"":""}}',
  ]) {
    assert.equal(copied(text), text);
  }
  assert.equal(copied('{ "a\\u002fb" : "\\/" }'), '{"a/b":"/"}');
});

test("a name that occurs twice in an object is rejected", () => {
  for (const text of [
    '{"a":1,"a":1}', '[{"b":{"c":1,"c":2}}]', '{"a":1,"\\u0061":2}', '{"a":":","a":":"}', '{"a":"\\u003a","a":1}', '{"\\"":1,"\\u0022":2}', '{"a" \n: 1, "a"\t:{}}',
  ]) {
    assert.equal(copied(text).code, "bad-json", text);
  }
  for (const text of ['{"a":{"a":{"a":"a"}}}', '[{"a":1},{"a":1}]', '{"a":"a","b":"a:a"}', '{"x":["a","a"],"a":"\\\\"}']) {
    assert.equal(copied(text.replaceAll(",", ", ")), text);
  }
});

test("documents may be nested 128 deep", () => {
  const lists = (depth) => "[".repeat(depth) + "]".repeat(depth);
  const objects = (depth) => '{"a":'.repeat(depth) + "1" + "}".repeat(depth);
  for (const nested of [lists, objects]) {
    assert.equal(copied(nested(128)), nested(128));
    for (const depth of [129, 100_000]) assert.match(copied(nested(depth)).reason, /nested more than 128 deep/);
  }
  assert.equal(copied("[".repeat(100_000)).code, "bad-json");
  const wide = JSON.stringify(Array(1000).fill([[]]));
  assert.equal(copied(wide), wide);
  const quoted = JSON.stringify(["[".repeat(1000), '"{'.repeat(1000)]);
  assert.equal(copied(quoted), quoted);
});

test("what is no JSON is rejected", () => {
  for (const text of ["", " ", "{", "NaN", "Infinity", "01", "1.", "+1", "'a'", "[1,]", '"\n"', "\ufeff1", "1 2", "\u00a01", '{"a"}', "undefined"]) {
    assert.equal(copied(text).code, "bad-json", text);
  }
  for (const bytes of [[0xff], [0xc0, 0x80], [0x22, 0xed, 0xa0, 0x80, 0x22], [0x22, 0xf4, 0x90, 0x80, 0x80, 0x22], [0x22, 0xc3]]) {
    assert.equal(copied(new Uint8Array(bytes)).code, "bad-json", `${bytes}`);
  }
  assert.match(run(copy, [{ value: null }]).failures[0].reason, /no value/);
});
