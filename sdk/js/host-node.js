// In place of the host in Node: `testing.js` looks at what is collected here.

export const collected = { counts: {}, observed: {} };

export function start() {
  collected.counts = {};
  collected.observed = {};
}

export function count(name, by) {
  collected.counts[name] = (collected.counts[name] ?? 0) + by;
}

export function observe(name, value) {
  (collected.observed[name] ??= []).push(value);
}
