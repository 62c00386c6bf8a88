#!/usr/bin/env python3
"""Good records through a plugin `mask` that reaches its memory limit again and again: each must come out once, in order, and none as a dead letter.

    sdk/at_its_limit.py WASMILL PIPELINE [MEMORY]

The pipeline runs on the embedded broker, by `wasmill dev`, with calls of one record and with calls of the default size; MEMORY is the step's limit
("64 MiB"). A plugin that is never refused memory with calls of one record shows nothing, so that is an error, too.

WASMILL_RECORDS is the number of records (50000).
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

LIMIT_SECONDS = 400
REFUSED = re.compile(r'^wasmill_step_errors_total\{kind="memory",.*\} (\d+)$', re.M)


def written(number, hidden=None):
    email, phone = (hidden, hidden) if hidden else (f"user{number:05}@example.org", f"+49 151 {number:07}")
    return f'{{"id":{number},"email":"{email}","phone":"{phone}","name":"Ada","total":{number % 1000}.5}}'


def scraped(address):
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return answer.read().decode()
    except OSError:
        return ""  # it is ending


def run(program, pipeline, memory, count, sets):
    """Runs the records. Returns how many calls were refused memory, as the last look at the metrics showed."""
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name)
        with open(path("feed"), "w") as feed:
            feed.writelines(written(number) + "\n" for number in range(count))
        command = [program, "dev", pipeline, "--feed", path("feed"), "--print", "json", "--http", "127.0.0.1:0", "--set", f"step.0.memory={memory}"]
        for value in sets:
            command += ["--set", value]
        with open(path("out"), "w") as out, open(path("err"), "w") as err:
            running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        deadline, address, refused = time.monotonic() + LIMIT_SECONDS, None, 0
        try:
            while running.poll() is None:
                if time.monotonic() > deadline:
                    sys.exit(f"{sets}: still running after {LIMIT_SECONDS} s\n{said(path('err'))}")
                if address:
                    found = REFUSED.search(scraped(address))
                    refused = int(found[1]) if found else refused
                else:
                    with open(path("err")) as err:
                        found = re.search(r"metrics: (http://\S+)", err.read())
                    address = found and found[1]
                time.sleep(0.05)
        finally:
            running.kill()
            running.wait()
        if running.returncode != 0:
            sys.exit(f"{sets}: exit code {running.returncode}\n{said(path('err'))}")
        with open(path("out")) as out:
            records = [json.loads(line) for line in out]
    other = [record for record in records if not record["topic"].endswith(".clean")]
    if other:
        sys.exit(f"{sets}: {len(other)} good records went elsewhere, the first is {other[0]}")
    values = [record["value"] for record in records]
    if values != [written(number, "***") for number in range(count)]:
        sys.exit(f"{sets}: {count} records went in, and {len(values)} came out, or others, or in another order")
    return refused


def said(path):
    with open(path) as file:
        return file.read()[-4000:]


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    program, pipeline, memory = *sys.argv[1:3], (sys.argv + ["64 MiB"])[3]
    count = int(os.environ.get("WASMILL_RECORDS", "50000"))
    for sets in (["step.0.batch=1"], []):
        refused = run(program, pipeline, memory, count, sets)
        if sets and not refused:
            sys.exit(f"{memory} was enough for {count} records: that shows nothing")
        calls = "one record" if sets else "the default size"
        print(f"{count} records in calls of {calls}, {memory}: memory refused {refused} times, {count} came out, 0 dead letters")


if __name__ == "__main__":
    main()
