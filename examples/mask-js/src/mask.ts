// The same in TypeScript.

import { plugin } from "@wasmill/sdk";

interface Settings {
  fields?: string[];
}

export const batchHandler = plugin<Settings>(({ fields = ["email", "phone", "name"] }, ports) => {
  const audit = ports.indexOf("audit");

  return (record, out) => {
    if (audit > 0 && record.header("audit") !== undefined) out.forward(audit);
    if (record.value === null) return out.forward();
    const document: unknown = record.json();
    if (isObject(document)) {
      for (const field of fields) if (Object.hasOwn(document, field)) document[field] = "***";
    }
    out.json(document);
  };
});

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !("rawJSON" in value && Object.isFrozen(value));
}
