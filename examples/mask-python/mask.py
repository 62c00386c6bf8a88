"""Hides members of JSON objects: those that the setting `fields` names."""

from wasmill import plugin

NONE = object()


@plugin
def BatchHandler(settings, ports):
    fields = settings.get("fields", ["email", "phone", "name"])
    audit = ports.index("audit") if "audit" in ports else None

    def process(record, out):
        if audit is not None and record.header("audit", NONE) is not NONE:
            out.forward(audit)
        if record.value is None:
            out.forward()
            return
        document = record.json()
        if isinstance(document, dict):
            for field in fields:
                if field in document:
                    document[field] = "***"
        out.json(document)

    return process
