// Takes all that JavaScript can get at. A record says what to try: see canaries.py.

import { plugin } from "@wasmill/sdk";

// By name, so that the bundler leaves them alone. Most are not there.
const global = globalThis;
const module = (name) => global[name] ?? global.require?.(name);
const reversed = (text) => [...text].reverse().join("");

const WAYS = {
  env: [
    () => global.process.env,
    () => module("std").getenviron(),
    () => module("os").environ,
    () => global.Deno.env.toObject(),
    () => global.Bun.env,
    () => global.env,
  ],
  args: [() => global.process.argv, () => global.scriptArgs, () => global.Deno.args, () => global.arguments],
  cwd: [() => global.process.cwd(), () => module("os").getcwd(), () => String(global.location)],
  stdin: [() => module("std").in.readAsString(), () => global.readline(), () => global.prompt("password")],
  file: [
    (path) => module("std").loadFile(path),
    (path) => module("std").open(path, "r").readAsString(),
    (path) => module("os").open(path, 0),
    (path) => module("fs").readFileSync(path, "utf8"),
    (path) => global.Deno.readTextFileSync(path),
    (path) => global.read(path),
    (path) => global.load(path),
    (path) => global.fetch(`file://${path}`),
    (path) => global.eval(`import(${JSON.stringify(path)})`),
  ],
  list: [(path) => module("os").readdir(path), (path) => module("fs").readdirSync(path)],
  write: [(path) => module("std").open(path, "w").puts("taken"), (path) => module("fs").writeFileSync(path, "taken")],
  connect: [
    (address) => global.fetch(`http://${address}/`),
    (address) => new global.WebSocket(`ws://${address}/`),
    (address) => new global.XMLHttpRequest().open("GET", `http://${address}/`, false),
    (address) => module("net").connect(address),
  ],
  exec: [(command) => module("os").exec([command]), (command) => module("child_process").execSync(command)],
  memory: [(marker) => search(reversed(marker))],
};

/** What hangs below the global object and has the text in it. */
function search(text) {
  const seen = new Set();
  const found = [];
  const open = [["globalThis", global]];
  while (open.length > 0 && seen.size < 100_000) {
    const [path, value] = open.pop();
    if (typeof value === "string" && value.includes(text)) found.push(`${path} = ${value}`);
    if ((typeof value !== "object" && typeof value !== "function") || value === null || seen.has(value)) continue;
    seen.add(value);
    for (const name of Reflect.ownKeys(value)) {
      if (String(name).includes(text)) found.push(`${path}.${String(name)}`);
      try {
        open.push([`${path}.${String(name)}`, value[name]]);
      } catch {
        // A getter that wants something else.
      }
    }
  }
  return `${seen.size} objects, ${found.length} with it: ${found.join(", ")}`;
}

function shown(value) {
  if (typeof value === "string") return value;
  if (typeof value?.then === "function") return "a promise, and nothing waits for it";
  return JSON.stringify(value) ?? String(value);
}

function tried(way, argument) {
  try {
    return shown(way(argument));
  } catch (error) {
    return `${error?.name}: ${error?.message}`;
  }
}

export const batchHandler = plugin(() => (record, out) => {
  const asked = record.text();
  const [kind, argument = ""] = asked.split(/ (.*)/);
  const ways = WAYS[kind];
  if (ways === undefined) return out.forward();
  out.send(`told ${asked} -> ${[...new Set(ways.map((way) => tried(way, argument)))].join("; ")}`);
});
