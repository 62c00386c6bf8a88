#!/usr/bin/env python3
"""Plugins that take all they can get at: none of them sees a secret of the host's that its step wasn't granted.

    tests/secrets/canaries.py WASMILL PLUGIN.wasm...

Each plugin is tried by `wasmill try` and by `wasmill dev`, which logs all it can. The host has secrets in its environment, in its arguments, in files
of its folder and beside it, in the settings of another step and in what that step is granted, and on a port of this machine. The plugin gets a record
for each thing to try, and emits what it got. No secret may appear in an output, a dead letter or a line of the log, nothing may be written, and no plugin may
connect to the port. To show that the plugin would have told, the first step is granted an environment variable in another run, and that one must appear.

A plugin that asks for more than any gets may be refused when it is loaded instead. With WASMILL_SHOW, everything that the plugins got is printed.
"""

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

LIMIT_SECONDS = 300
MARK = "kanarie"

PIPELINE = """
name = "secrets"

[kafka]
brokers = ["localhost:9092"]

[input]
topics = ["asked"]

[[step]]
name = "thief"
wasm = "thief.wasm"
{granted}
# Calls of one record: what traps takes no other record's answer along.
batch = 1

# The secrets of another step.
[[step]]
name = "owner"
wasm = "thief.wasm"
settings = {{ token = "${{file:token.txt}}", other = "${{SETTING_PASSWORD}}", password = "${{SETTING_PASSWORD}}" }}
allow = {{ env = {{ OWN = "${{file:token.txt}}" }} }}

[output.main]
topic = "told"

[on_error]
dead_letter = "dead"
"""


class Host:
    """A machine with secrets: a folder with its parent, an environment and a port."""

    def __init__(self, folder):
        self.outer = folder
        self.folder = folder / "pipeline"
        self.folder.mkdir()
        self.secrets = {}
        self.connected = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()
        (self.folder / "token.txt").write_text(self.secret("file"))
        (self.folder / ".env").write_text(f"PASSWORD={self.secret('dotenv')}")
        (self.outer / "beside.txt").write_text(self.secret("beside"))
        self.environment = {
            **os.environ,
            "WASMILL_CACHE": os.environ.get("WASMILL_CACHE", str(folder / "cache")),
            "CANARY": self.secret("environment"),
            "AWS_SECRET_ACCESS_KEY": self.secret("aws"),
            "SETTING_PASSWORD": self.secret("setting"),
            "HOME": str(self.outer),
        }

    def secret(self, name):
        return self.secrets.setdefault(name, f"{MARK}-{name}-{secrets.token_hex(8)}")

    def serve(self):
        while True:
            connection, _ = self.listener.accept()
            self.connected += 1
            connection.sendall(f"HTTP/1.0 200 OK\r\n\r\n{self.secret('network')}".encode())
            connection.close()

    def records(self):
        """What to try."""
        files = ["/etc/passwd", "/proc/self/environ", "/proc/self/cmdline", "/proc/1/environ", "token.txt", "./token.txt", ".env", "../beside.txt"]
        files += ["pipeline.toml", str(self.folder / "token.txt"), str(self.outer / "beside.txt"), "/dev/stdin", "/proc/self/mem"]
        yield from ("env", "args", "cwd", "stdin")
        yield from (f"file {path}" for path in files)
        yield from (f"list {path}" for path in (".", "..", "/", "/proc/self/fd"))
        yield from (f"write {path}" for path in ("written.txt", "../written.txt", "/tmp/wasmill-written.txt"))
        yield f"connect 127.0.0.1:{self.port}"
        yield "exec id"
        # Backwards, so that the record itself isn't found.
        yield f"memory {MARK[::-1]}"

    def run(self, wasmill, plugin, granted, command):
        """What the program printed, and the records that came out or failed."""
        (self.folder / "thief.wasm").unlink(missing_ok=True)
        (self.folder / "thief.wasm").symlink_to(plugin.resolve())
        (self.folder / "pipeline.toml").write_text(PIPELINE.format(granted=granted))
        records = "".join(json.dumps({"value": record}) + "\n" for record in self.records())
        (self.folder / "asked.ndjson").write_text(records)
        # A secret among the arguments: another step's setting.
        line = [wasmill, command, "pipeline.toml", "--format", "record", "--set", f"step.1.settings.password={self.secret('argument')}"]
        line += ["--feed", "asked.ndjson", "-vv", "--print", "json"] if command == "dev" else []
        run = subprocess.run(
            line, cwd=self.folder, env=self.environment, input=records, capture_output=True, text=True, timeout=LIMIT_SECONDS, errors="replace"
        )
        return run

    def leaked(self, text):
        return [secret for secret in self.secrets.values() if secret in text or secret[::-1] in text]


def answers(run, records):
    """The result of each record, by its text: what was told, or why it failed."""
    told = {}
    for line in run.stdout.splitlines():
        value = json.loads(line).get("value")
        if isinstance(value, str):
            asked, _, answer = value.partition(" -> ")
            # A dead letter has the record's own value.
            told[asked.removeprefix("told ")] = answer or "dead-lettered"
    for number, reason in re.findall(r"line (\d+): (step `thief`: .*)", run.stderr):
        told[records[int(number) - 1]] = reason
    return told


def tried(wasmill, plugin, host):
    refused = False
    for command in ("try", "dev"):
        run = host.run(wasmill, plugin, "", command)
        name = f"{plugin.name}, {command}"
        for text in (run.stdout, run.stderr):
            if leaked := host.leaked(text):
                line = next(line for line in text.splitlines() if leaked[0] in line)
                sys.exit(f"{name}: {leaked} leaked, first in: {line[:2000]}")
            if re.search(r"root:[^:]*:0:0:", text):
                sys.exit(f"{name}: it read /etc/passwd")
        if run.returncode == 78 and "interfaces that it wasn't granted" in run.stderr:
            refused = True
            print(f"{name}: refused: {' '.join(run.stderr.split())[:400]}")
            continue
        told = answers(run, list(host.records()))
        missing = [record for record in host.records() if record not in told]
        if missing:
            sys.exit(f"{name}: exit code {run.returncode}, nothing is known of {missing}\n{run.stderr[-3000:]}")
        if os.environ.get("WASMILL_SHOW"):
            for record in host.records():
                print(f"{name}: {record} -> {told[record][:300]}")
    written = [path for path in (host.outer / "written.txt", host.folder / "written.txt", Path("/tmp/wasmill-written.txt")) if path.exists()]
    if written:
        sys.exit(f"{plugin.name} wrote {written}")
    if host.connected:
        sys.exit(f"{plugin.name} connected {host.connected} times")
    return refused


def granted(wasmill, plugin, host):
    """Whether the plugin tells of an environment variable that its step is granted."""
    text = host.secret("granted")
    run = host.run(wasmill, plugin, f'allow = {{ env = {{ GRANTED = "{text}" }} }}', "try")
    others = [leaked for leaked in host.leaked(run.stdout + run.stderr) if leaked != text]
    if others:
        sys.exit(f"{plugin.name}, with a grant: {others} leaked")
    del host.secrets["granted"]
    return text in run.stdout


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    for plugin in map(Path, sys.argv[2:]):
        with tempfile.TemporaryDirectory() as folder:
            host = Host(Path(folder))
            refused = tried(sys.argv[1], plugin, host)
            tells = granted(sys.argv[1], plugin, host)
        print(f"{plugin.name}: {'refused' if refused else 'no secret seen'}; {'with' if tells else 'without'} a granted variable in what it told")


if __name__ == "__main__":
    main()
