// UTF-8, strictly. QuickJS has no TextDecoder and no TextEncoder; there base64 is the quickest way that its engine offers.

const isWeb = typeof TextDecoder !== "undefined";
const decoder = isWeb && new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = isWeb && new TextEncoder();

/** The text of these bytes. Throws if they aren't UTF-8. */
export const decode = isWeb
  ? (bytes) => decoder.decode(bytes)
  : (bytes) => {
      const latin = atob(bytes.toBase64());
      // `escape` and `decodeURIComponent` decode in C, and refuse what isn't UTF-8.
      return /[\x80-\xff]/.test(latin) ? decodeURIComponent(escape(latin)) : latin;
    };

const latinOf = (text) => (/[^\x00-\x7f]/.test(text) ? unescape(encodeURIComponent(text)) : text);

/** Writes a text into `to` from `at` on, which has three bytes for each of its units. Returns the number of bytes. */
export function encodeInto(text, to, at) {
  // An encoder would write U+FFFD without a word.
  if (!text.isWellFormed()) throw new TypeError("the text has half of a surrogate pair, which UTF-8 can't hold");
  if (isWeb) return encoder.encodeInto(text, to.subarray(at)).written;
  return to.subarray(at).setFromBase64(btoa(latinOf(text))).written;
}
