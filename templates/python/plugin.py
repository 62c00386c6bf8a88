"""Puts a prefix before every value. Change it to what you need.

Tombstones are forwarded unchanged; a value that is not text is rejected with the code `bad-text`.
"""

from wasmill import plugin


# Called once. What it raises keeps the pipeline from starting. The function that it returns is called for each record.
@plugin
def BatchHandler(settings, ports):
    prefix = settings["prefix"]

    def process(record, out):
        text = record.text()
        if text is None:
            out.forward()
            return
        out.send(prefix + text)

    return process
