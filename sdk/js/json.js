// JSON that doesn't change without a word.
//
// `JSON.parse` rounds numbers, and drops all but the last of members with the same name. It also needs stack for each level, of which
// a component has little. So the depth is limited before, and what parsing would lose is looked for afterwards.

/** How deep lists and objects may be nested. As in Rust's serde_json. */
export const DEPTH_MAX = 128;

/** Numbers that a double may not hold: of 15 digits or more, with an exponent of three digits, and minus zero. */
const LONG = /[\d.]{16}|[eE][-+]?\d{3}|(?:^|[\s:[,])-0/;

/** A document from its text. Numbers that a double doesn't hold are objects of `JSON.rawJSON`. Throws if it is no JSON. */
export function parse(text) {
  if (isDeep(text)) throw new SyntaxError(`it is nested more than ${DEPTH_MAX} deep`);
  const document = JSON.parse(text);
  // Most producers write JSON as JavaScript does. Then nothing was lost.
  if (JSON.stringify(document) === text) return document;
  const name = repeatedName(text);
  if (name !== undefined) throw new SyntaxError(`the name ${JSON.stringify(name)} occurs twice in an object`);
  return LONG.test(text) ? JSON.parse(text, exact) : document;
}

function exact(_name, value, context) {
  return typeof value !== "number" || isSame(context.source, value) ? value : JSON.rawJSON(context.source);
}

/** Whether a number has exactly the value that its text has, to the last digit. */
function isSame(source, value) {
  const text = String(value);
  if (text === source) return true;
  return Number.isFinite(value) && !Object.is(value, -0) && canonical(text) === canonical(source);
}

/** The same text for all notations of a number. */
function canonical(number) {
  const [, sign, whole, fraction = "", exponent = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?$/.exec(number);
  const digits = whole + fraction;
  let [first, end] = [0, digits.length];
  while (first < end && digits[first] === "0") first++;
  while (end > first && digits[end - 1] === "0") end--;
  if (first === end) return "0";
  return `${sign}${digits.slice(first, end)}e${Number(exponent) - fraction.length + digits.length - end}`;
}

function isDeep(text) {
  // A closer look is needed only if there are enough brackets.
  if (text.length <= DEPTH_MAX || text.split("[").length + text.split("{").length - 2 <= DEPTH_MAX) return false;
  let depth = 0;
  let deepest = 0;
  walk(text, (code) => {
    if (code === 0x5b || code === 0x7b) deepest = Math.max(deepest, ++depth);
    else if (code === 0x5d || code === 0x7d) depth--;
  });
  return deepest > DEPTH_MAX;
}

/** The first name that an object of a valid document has twice. */
function repeatedName(text) {
  const outer = [];
  let names = null;
  let repeated;
  walk(
    text,
    (code) => {
      if (code === 0x5b || code === 0x7b) {
        outer.push(names);
        names = null;
      } else if (code === 0x5d || code === 0x7d) names = outer.pop();
    },
    (start, end) => {
      let after = end;
      while (after < text.length && text.charCodeAt(after) <= 0x20) after++;
      if (text[after] !== ":") return;
      const raw = text.slice(start, end);
      const name = raw.includes("\\") ? JSON.parse(raw) : raw.slice(1, -1);
      names ??= new Set();
      if (names.has(name)) repeated ??= name;
      names.add(name);
    },
  );
  return repeated;
}

/** Calls `character` with the code of each character outside of strings, and `string` with the bounds of each string. */
function walk(text, character, string = () => {}) {
  let at = 0;
  while (at < text.length) {
    const quote = text.indexOf('"', at);
    const end = quote < 0 ? text.length : quote;
    while (at < end) character(text.charCodeAt(at++));
    if (quote < 0) return;
    let close = quote;
    let slashes;
    do {
      close = text.indexOf('"', close + 1);
      if (close < 0) return;
      slashes = 0;
      while (text[close - 1 - slashes] === "\\") slashes++;
    } while (slashes % 2 === 1);
    at = close + 1;
    string(quote, at);
  }
}
