// Hides members of JSON objects: those that the setting `fields` names.

import { plugin } from "@wasmill/sdk";

export const batchHandler = plugin(({ fields = ["email", "phone", "name"] }, ports) => {
  const audit = ports.indexOf("audit");

  return (record, out) => {
    if (audit > 0 && record.header("audit") !== undefined) out.forward(audit);
    if (record.value === null) return out.forward();
    const document = record.json();
    if (isObject(document)) {
      for (const field of fields) if (Object.hasOwn(document, field)) document[field] = "***";
    }
    out.json(document);
  };
});

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value);
}
