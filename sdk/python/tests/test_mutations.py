"""Mutated documents through the plugin `mask`, compared with a parser of this file's own: nothing changes without a word.

What is JSON comes out with the same value, except for what is masked; anything else is rejected as `bad-json`. WASMILL_MUTATIONS is the
number of documents, WASMILL_SEED the seed. With WASMILL, the program, the documents go through the built component, too, with
`wasmill try`.
"""

import base64
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "mask-python"
COUNT = int(os.environ.get("WASMILL_MUTATIONS", "1000"))
SEED = int(os.environ.get("WASMILL_SEED", "1"))
WASMILL = os.environ.get("WASMILL")
# What Python doesn't take of numbers.
EXCUSES = ("digits, and Python takes", "exponent that is too large")

TEXTS = [
    '{"order":1001,"email":"ada@example.com","total":19.9,"items":[{"sku":"tea-01","count":2}]}',
    '{ "order" : 1016, "id": 9007199254740993, "total": 1e-07, "email": "sat@example.com", "t": true, "n": null }',
    '{"phone":[1,{"x":2.50}],"a":{"b":{"c":[[],{},""]}},"s":"\\ud83d\\ude00 \\u00e9 \\" \\\\ \\/ \\b","é":"山 😀"}',
    '{"a":123456789012345678901234567890,"b":0.1234567890123456789,"c":2.5e735,"d":1e-400,"e":-0,"f":-0.0,"email":"x"}',
    '[{"email":"a"},1,-2,3.25,"\\ud800",false]',
    '{"a":1,"b":1,"a ":1,"email":{},"emails":[],"x":{"a":1,"b":{"a":1}}}',
]
PIECES = [
    *"{}[]\",:\\ \n\t0123456789.eE+-", "true", "null", "NaN", "\\u0000", "\\ud800", "\\udc00", "\\u0061", '"a":', '"email":1,', "é", "😀", "1e999", "-0",
    "00000000000000001", '{"a":1}', "[[", "]]", "}}", '"', "\\",
]  # fmt: skip
RAW = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3", b"\x00", b"\x1f", b"\xef\xbb\xbf"]


def mutated(choose):
    """A document with a few changes, as bytes."""
    document = choose.choice(TEXTS).encode()
    if choose.random() < 0.05:
        depth = choose.randrange(120, 136)
        opening, closing = choose.choice([(b"[", b"]"), (b'{"a":', b"}")])
        document = opening * depth + document + closing * depth
    for _ in range(choose.choice([0, 1, 1, 1, 2, 3])):
        at = choose.randrange(len(document) + 1)
        end = at + choose.choice([0, 0, 1, 1, 2, 5])
        piece = choose.choice(RAW) if choose.random() < 0.08 else choose.choice(PIECES).encode()
        if choose.random() < 0.1:
            start = choose.randrange(len(document) + 1)
            piece = document[start : start + choose.randrange(20)]
        document = document[:at] + piece + document[end:]
    return document


class Reference:
    """A strict parser. A value is a tuple: its kind, and what it holds; numbers are their digits and their exponent."""

    NUMBER = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([-+]?[0-9]+))?")
    STRING = re.compile(r'"((?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"')
    ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

    def __init__(self, document):
        self.text, self.at = document.decode("utf-8", "strict"), 0

    def whole(self):
        value = self.value(0)
        self.space()
        if self.at != len(self.text):
            raise ValueError("a rest")
        return value

    def space(self):
        while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
            self.at += 1

    def take(self, literal):
        self.space()
        if not self.text.startswith(literal, self.at):
            return False
        self.at += len(literal)
        return True

    def must(self, literal):
        if not self.take(literal):
            raise ValueError(f"no {literal}")

    def string(self):
        self.space()
        found = self.STRING.match(self.text, self.at)
        if found is None:
            raise ValueError("no string")
        self.at = found.end()
        decode = lambda escape: chr(int(escape[1][1:], 16)) if escape[1][0] == "u" else self.ESCAPES.get(escape[1], escape[1])
        # As units of UTF-16, so that pairs of escapes are what they stand for.
        return re.sub(r"\\(u[0-9a-fA-F]{4}|.)", decode, found[1]).encode("utf-16-be", "surrogatepass")

    def value(self, depth):
        for literal in ("null", "true", "false"):
            if self.take(literal):
                return (literal, None)
        self.space()
        if self.text[self.at : self.at + 1] == '"':
            return ("string", self.string())
        if self.take("["):
            items = []
            if not self.take("]"):
                items.append(self.value(self.deeper(depth)))
                while self.take(","):
                    items.append(self.value(depth + 1))
                self.must("]")
            self.deeper(depth)
            return ("list", items)
        if self.take("{"):
            members = {}
            if not self.take("}"):
                self.member(members, self.deeper(depth))
                while self.take(","):
                    self.member(members, depth + 1)
                self.must("}")
            self.deeper(depth)
            return ("object", members)
        found = self.NUMBER.match(self.text, self.at)
        if found is None:
            raise ValueError("nothing")
        self.at = found.end()
        sign, whole, fraction, exponent = found[1], found[2], found[3] or "", int(found[4] or 0)
        digits = (whole + fraction).lstrip("0")
        kept = digits.rstrip("0")
        return ("number", (sign, kept, exponent - len(fraction) + len(digits) - len(kept) if kept else 0))

    def member(self, members, depth):
        name = self.string()
        self.must(":")
        if name in members:
            raise ValueError("a name twice")
        members[name] = self.value(depth)

    @staticmethod
    def deeper(depth):
        if depth >= 128:
            raise ValueError("too deep")
        return depth + 1


def expected(document):
    """The value that must come out, or None if the document must be rejected."""
    try:
        kind, members = Reference(document).whole()
    except ValueError:
        return None
    if kind == "object":
        hidden = {name.encode("utf-16-be") for name in ("email", "phone")}
        members = {name: ("string", "***".encode("utf-16-be")) if name in hidden else value for name, value in members.items()}
    return kind, members


def natively(documents):
    """For each document the bytes that came out, or the reason of its rejection as a text."""
    sys.path.insert(0, str(EXAMPLE))
    import mask
    from wasmill.testing import start

    started, results = start(mask.BatchHandler, settings={"fields": ["email", "phone"]}), []
    for document in documents:
        ((outputs, failure),) = started.run([{"value": document}]).records
        assert failure is None or failure.code == "bad-json", (document, failure)
        results.append(outputs[0].value.encode() if failure is None else failure.reason)
    return results


def in_the_component(documents):
    """The same, through `wasmill try`."""
    lines = [json.dumps({"key": str(key), "value": {"base64": base64.b64encode(value).decode()}}) for key, value in enumerate(documents)]
    command = [WASMILL, "try", str(EXAMPLE / "pipeline.toml"), "--format", "record"]
    tried = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True)
    results = [None] * len(documents)
    for line in tried.stdout.splitlines():
        output = json.loads(line)
        value = output["value"]
        results[int(output["key"])] = value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])
    for line in tried.stderr.splitlines():
        if found := re.match(r"line ([0-9]+): .*reject \(bad-json\): (.*)", line):
            results[int(found[1]) - 1] = found[2]
    assert None not in results, tried.stderr[-2000:]
    return results


WAYS = [natively, in_the_component] if WASMILL else [natively]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_changes_without_a_word(way):
    choose = random.Random(SEED)
    documents = [mutated(choose) for _ in range(COUNT)]
    valid = excused = 0
    for document, result in zip(documents, way(documents)):
        wanted = expected(document)
        place = f"seed {SEED}: {document!r} became {result!r}"
        if isinstance(result, str):
            excused += wanted is not None
            assert wanted is None or any(excuse in result for excuse in EXCUSES), place
        else:
            assert wanted is not None, place
            assert Reference(result).whole() == wanted, place
            valid += 1
    print(f"{COUNT} documents: {valid} were JSON, {excused} of {valid + excused} had numbers that Python doesn't take")
    assert valid > COUNT // 5, "too few documents are JSON"
    assert excused < COUNT // 100 + 5, "too many documents are rejected"
