// `console` for the log of wasmill, and errors as one line of text.

const FRAMES = 3;

/** An exception as a text: its name, its message, and where it was thrown. A text that was thrown is shown as it is. */
export function told(error) {
  if (!(error instanceof Error)) return shown(error);
  // V8 begins the stack with the message. A place ends in its line and its column, in all engines.
  const lines = String(error.stack ?? "").split("\n").map((line) => line.trim());
  const places = lines.filter((line) => /^at .*:\d+:\d+\)?$|@.*:\d+:\d+$/.test(line)).slice(0, FRAMES);
  return [`${error.name}: ${error.message}`, ...places].join(", ");
}

function shown(value) {
  if (typeof value === "string") return value;
  if (value instanceof Error) return told(value);
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

/** A console whose lines go to `write(level, text)`. */
export function consoleFor(write) {
  const line = (level) => (...values) => write(level, values.map(shown).join(" "));
  const [trace, debug, info, warn, error] = ["trace", "debug", "info", "warn", "error"].map(line);
  const assert = (holds, ...values) => holds || error("assertion failed", ...values);
  return { trace, debug, info, log: info, dir: info, warn, error, assert };
}
