// Puts a prefix before every value. Change it to what you need.
// Tombstones are forwarded unchanged; a value that is not text is rejected with the code `bad-text`.

import { plugin } from "@wasmill/sdk";

// Called once. What it throws keeps the pipeline from starting. The function that it returns is called for each record.
export const batchHandler = plugin(({ prefix }) => {
  return (record, out) => {
    const text = record.text();
    if (text === null) return out.forward();
    out.send(prefix + text);
  };
});
