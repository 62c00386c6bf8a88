// `JSON.rawJSON`, and the text of a number for a reviver, where Node lacks them: before version 21. The engines of plugins have both.
//
// Only tests use this. It parses more slowly than the engine does.

import { randomUUID } from "node:crypto";

const { parse, stringify } = JSON;

class RawJson {
  constructor(text) {
    this.rawJSON = text;
    Object.freeze(this);
  }
}

if (JSON.rawJSON === undefined) {
  JSON.rawJSON = (text) => {
    if (/^[\s[{]|\s$/.test(text)) throw new SyntaxError("the text of a raw value is a single value without white space");
    parse(text);
    return new RawJson(String(text));
  };
  JSON.isRawJSON = (value) => value instanceof RawJson;
  JSON.parse = (text, reviver) => {
    const document = parse(text);
    return typeof reviver === "function" ? revived("", document, sources(text), reviver) : document;
  };
  JSON.stringify = (value, replacer, space) => {
    if (replacer !== undefined && replacer !== null) return stringify(value, replacer, space);
    const mark = randomUUID();
    const raw = [];
    const text = stringify(value, (_, item) => (item instanceof RawJson ? `${mark}${raw.push(item.rawJSON) - 1}` : item), space);
    return raw.length === 0 ? text : text.replace(new RegExp(`"${mark}(\\d+)"`, "g"), (_, index) => raw[index]);
  };
}

/** The texts of the numbers of a valid document, in the shape of the document. */
function sources(text) {
  let at = 0;
  const space = () => {
    while (" \t\r\n".includes(text[at]) && at < text.length) at++;
  };
  const string = () => {
    const start = at;
    for (at++; text[at] !== '"'; at++) if (text[at] === "\\") at++;
    return parse(text.slice(start, ++at));
  };
  const value = () => {
    space();
    let found;
    if (text[at] === "{") {
      found = new Map();
      for (at++, space(); text[at] !== "}"; space()) {
        if (text[at] === ",") at++;
        space();
        const name = string();
        space();
        at++;
        found.set(name, value());
      }
      at++;
    } else if (text[at] === "[") {
      found = [];
      for (at++, space(); text[at] !== "]"; space()) {
        if (text[at] === ",") at++;
        found.push(value());
      }
      at++;
    } else if (text[at] === '"') string();
    else {
      const start = at;
      while (at < text.length && !" \t\r\n,]}".includes(text[at])) at++;
      found = text.slice(start, at);
    }
    return found;
  };
  return value();
}

function revived(name, value, source, reviver) {
  if (typeof value === "object" && value !== null) {
    for (const key of Object.keys(value)) {
      const child = revived(key, value[key], Array.isArray(value) ? source[key] : source.get(key), reviver);
      if (child === undefined) delete value[key];
      else Object.defineProperty(value, key, { value: child, writable: true, enumerable: true, configurable: true });
    }
    return reviver(name, value, {});
  }
  return reviver(name, value, typeof source === "string" ? { source } : {});
}
