#!/usr/bin/env python3
"""Mutated JSON documents through a plugin `mask`, compared with Python's own parser.

    sdk/mutations.py WASMILL PIPELINE     runs the pipeline with `wasmill try`
    sdk/mutations.py --native PROGRAM     runs a program that reads and writes frames, see sdk/c/tests/mutations.c

What is JSON must come out byte for byte, except for the values of the outermost object's members `email`, `phone` and `a"b`, which
must be "***". What isn't JSON, isn't UTF-8, or is nested more than 128 deep must be rejected with the code `bad-json`.

WASMILL_MUTATIONS is the number of documents (1000), WASMILL_SEED the seed (1).
"""

import base64
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile

HIDDEN = ("email", "phone", 'a"b')
DEPTH_MAX = 128
ALPHABET = [bytes([byte]) for byte in b"{}[]\",:\\ \n\t\r0123456789.eE+-truefalsnu/\x00\x1f\x7f"]
ALPHABET += [b"\xc3", b"\xa9", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", "\u00e9\U0001f600".encode(), b"\\ud800", b"\\u0000", b"\\u00"]
NAMES = ["email", "phone", "name", "a\"b", "\u00e9", "", "Email", "em\u0000ail"]
NUMBERS = ["0", "-0", "1.50", "9007199254740993", "123456789012345678901234567890", "2.5e735", "1E+5", "-1.0e-7"]


def string(random, text):
    """A JSON string in which any character may be escaped."""
    written = []
    for character in text:
        if random.random() < 0.15 or character < " ":
            units = character.encode("utf-16-be")
            written += [f"\\u{unit:04x}" for (unit,) in struct.iter_unpack(">H", units)]
        else:
            written.append("\\" + character if character in '"\\' else character)
    return '"' + "".join(written) + '"'


def document(random, depth):
    space = lambda: random.choice(["", "", "", " ", "\n\t"])
    kind = random.randrange(9 if depth else 4)
    if kind == 0:
        return random.choice(["null", "true", "false", *NUMBERS])
    if kind == 1:
        return random.choice(['"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\/\\b\\f\\n\\r\\t"'])
    if kind < 4:
        return string(random, "".join(random.choice("ab1 \u00e9\u20ac\U0001f600\"\\\n") for _ in range(random.randrange(12))))
    if kind == 4:
        levels = random.choice([1, 40, 120, 125, 130])
        opening, closing = random.choice([("[", "]"), ('{"email":', "}")])
        return opening * levels + "1" + closing * levels
    items = [document(random, depth - 1) for _ in range(random.randrange(5))]
    if kind % 2:
        items = [f"{space()}{item}{space()}" for item in items]
        return "[" + ",".join(items or [space()]) + "]"
    items = [f"{space()}{string(random, random.choice(NAMES))}{space()}:{space()}{item}{space()}" for item in items]
    return "{" + ",".join(items or [space()]) + "}"


def mutated(random):
    text = document(random, 4)
    if not text.startswith("{") and random.random() < 0.7:
        text = '{"email":' + text + "}"
    text = bytearray(text.encode())
    for _ in range(random.choice([0, 0, 1, 1, 2, 3])):
        at = random.randrange(len(text) + 1)
        change = random.randrange(3)
        text[at : at + (change != 0)] = b"" if change == 2 else random.choice(ALPHABET)
    return bytes(text)


def refuse(constant):
    raise ValueError(constant)


DECODER = json.JSONDecoder(parse_constant=refuse, parse_int=str, parse_float=str)
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.S)
SPACE = re.compile(r"[ \n\r\t]*")


def depth_of(text):
    depth = deepest = 0
    for token in TOKEN.findall(text):
        depth += (token in "[{") - (token in "]}")
        deepest = max(deepest, depth)
    return deepest


def expected(value):
    """What becomes of a value: bytes, or None if it is rejected."""
    try:
        text = value.decode("utf-8")
        if depth_of(text) > DEPTH_MAX:
            return None
        at = SPACE.match(text).end()
        _, end = DECODER.raw_decode(text, at)
        if SPACE.match(text, end).end() != len(text):
            return None
    except ValueError:
        return None
    if text[at] != "{":
        return value
    masked, rest = [], 0
    at = SPACE.match(text, at + 1).end()
    while text[at] != "}":
        name, at = json.decoder.scanstring(text, at + 1)
        at = SPACE.match(text, SPACE.match(text, at).end() + 1).end()
        _, end = DECODER.raw_decode(text, at)
        if name in HIDDEN:
            masked += [text[rest:at], '"***"']
            rest = end
        at = SPACE.match(text, end).end()
        if text[at] == ",":
            at = SPACE.match(text, at + 1).end()
    return ("".join(masked) + text[rest:]).encode()


def through_wasmill(program, pipeline, documents):
    """Each document's output, None if it was rejected."""
    with tempfile.TemporaryFile("w+") as records:
        for number, value in enumerate(documents):
            record = {"key": str(number), "value": {"base64": base64.b64encode(value).decode()}}
            records.write(json.dumps(record) + "\n")
        records.seek(0)
        run = subprocess.run([program, "try", pipeline, "--format", "record"], stdin=records, capture_output=True, text=True)
    found = {}
    for line in run.stdout.splitlines():
        record = json.loads(line)
        value = record["value"]
        found[int(record["key"])] = base64.b64decode(value["base64"]) if isinstance(value, dict) else value.encode()
    for line in re.findall(r"line (\d+): step `[^`]*`: reject \(bad-json\)", run.stderr):
        assert int(line) - 1 not in found, f"document {line} was emitted and rejected"
        found[int(line) - 1] = None
    if len(found) != len(documents):
        missing = next(number for number in range(len(documents)) if number not in found)
        sys.exit(f"nothing became of {len(documents) - len(found)} documents, the first is {documents[missing]!r}\n{run.stderr[-2000:]}")
    return [found[number] for number in range(len(documents))]


def through_program(program, documents):
    """The same with a native program. A frame is a length of 32 bits, little-endian, and bytes; -1: rejected."""
    frames = b"".join(struct.pack("<i", len(value)) + value for value in documents)
    run = subprocess.run([program], input=frames, capture_output=True)
    if run.returncode != 0:
        sys.exit(f"{program}: {run.returncode}\n{run.stderr.decode(errors='replace')[-4000:]}")
    found, at = [], 0
    while at < len(run.stdout):
        (length,) = struct.unpack_from("<i", run.stdout, at)
        at += 4
        found.append(None if length < 0 else run.stdout[at : at + length])
        at += max(length, 0)
    assert len(found) == len(documents), f"{len(found)} results of {len(documents)} documents"
    return found


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    count, seed = int(os.environ.get("WASMILL_MUTATIONS", "1000")), int(os.environ.get("WASMILL_SEED", "1"))
    source = random.Random(seed)
    documents = [mutated(source) for _ in range(count)]
    native = sys.argv[1] == "--native"
    found = through_program(sys.argv[2], documents) if native else through_wasmill(sys.argv[1], sys.argv[2], documents)
    rejected = changed = 0
    for value, result in zip(documents, found):
        wanted = expected(value)
        if result != wanted:
            sys.exit(f"seed {seed}: {value!r}\nbecame   {result!r}\nand not  {wanted!r}")
        rejected += wanted is None
        changed += wanted not in (None, value)
    # A run in which nothing is rejected, or nothing masked, shows nothing.
    if min(rejected, changed, count - rejected - changed) < count // 20:
        sys.exit(f"of {count} documents {rejected} are not JSON and {changed} are masked: that is too few")
    print(f"{count} documents, seed {seed}: {rejected} rejected, {changed} masked, {count - rejected - changed} unchanged, 0 differ")


if __name__ == "__main__":
    main()
