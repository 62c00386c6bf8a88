// The two ways in which a plugin says that a record failed. Both are thrown.

const CODE = /^[a-z0-9-]{1,64}$/;
const DELAY_MS_MAX = 2 ** 32 - 1;

/** The record can't succeed. `code` is short and stable; `reason` is for people. */
export class Reject extends Error {
  constructor(code, reason = "") {
    if (typeof code !== "string" || !CODE.test(code)) throw new TypeError(`the code of a Reject is 1 to 64 of a-z, 0-9 and -, not ${JSON.stringify(code)}`);
    super(reason instanceof Error ? reason.message : String(reason));
    this.name = "Reject";
    this.code = code;
  }
}

/** The record may succeed later, after `delayMs` milliseconds, or when the pipeline's file says. */
export class Retry extends Error {
  constructor(reason = "", delayMs = undefined) {
    if (delayMs !== undefined && !(Number.isInteger(delayMs) && delayMs >= 0 && delayMs <= DELAY_MS_MAX)) {
      throw new TypeError(`the delay of a Retry is a number of milliseconds, not ${String(delayMs)}`);
    }
    super(reason instanceof Error ? reason.message : String(reason));
    this.name = "Retry";
    this.delayMs = delayMs;
  }
}

/** QuickJS throws `null` if it has no memory left for the error, and StarlingMonkey throws a text. */
export function isOutOfMemory(error) {
  return error === null || error === "out of memory" || (error instanceof Error && error.message === "out of memory");
}
