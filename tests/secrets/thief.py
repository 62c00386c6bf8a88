"""Takes all that Python can get at. A record says what to try: see canaries.py."""

import gc
import os
import sys

from wasmill import plugin

# There may be no module, or none that works: then that is what is found.
found = {}
for name in ("ctypes", "http.client", "multiprocessing", "pathlib", "posix", "pwd", "socket", "subprocess", "urllib.request"):
    try:
        __import__(name)
        found[name] = sys.modules[name]
    except BaseException as error:
        found[name] = error


def module(name):
    if isinstance(found[name], BaseException):
        raise found[name]
    return found[name]


def opened(path):
    with open(path, "rb") as file:
        return file.read(4096)


def by_descriptor(path):
    descriptor = os.open(path, os.O_RDONLY)
    return os.read(descriptor, 4096)


def written(path):
    with open(path, "w") as file:
        return file.write("taken")


def connected(address):
    host, port = address.split(":")
    connection = module("socket").create_connection((host, int(port)), timeout=1)
    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
    return connection.recv(4096)


def searched(marker):
    text = marker[::-1]
    objects = gc.get_objects()
    hits = []
    for value in objects:
        parts = value.items() if type(value) is dict else value if type(value) in (list, tuple, set) else ()
        try:
            hits += [repr(part)[:200] for part in parts if text in repr(part)[:5000] and text != part]
        except Exception:  # what has no text
            continue
    return f"{len(objects)} objects, {len(hits)} with it: {hits[:5]}"


WAYS = {
    "env": [lambda _: dict(os.environ), lambda _: module("posix").environ, lambda _: os.getenv("CANARY"), lambda _: os.environb],
    "args": [lambda _: sys.argv, lambda _: sys.orig_argv, lambda _: sys.executable],
    "cwd": [lambda _: os.getcwd(), lambda _: os.path.expanduser("~"), lambda _: module("pwd").getpwuid(0)],
    "stdin": [lambda _: sys.stdin.read(), lambda _: input(), lambda _: os.read(0, 4096)],
    "file": [opened, by_descriptor, lambda path: module("pathlib").Path(path).read_bytes(), lambda path: os.stat(path)],
    "list": [lambda path: os.listdir(path), lambda path: list(os.scandir(path)), lambda path: list(os.walk(path))],
    "write": [written, lambda path: os.mkdir(path)],
    "connect": [connected, lambda address: module("urllib.request").urlopen(f"http://{address}/", timeout=1).read()],
    "exec": [lambda command: os.system(command), lambda command: os.popen(command).read(), lambda command: module("subprocess").check_output([command])],
    "memory": [searched],
}


@plugin
def BatchHandler(settings, ports):
    def process(record, out):
        asked = record.text()
        kind, _, argument = asked.partition(" ")
        if kind not in WAYS:
            out.forward()
            return
        said = []
        for way in WAYS[kind]:
            try:
                said.append(repr(way(argument)))
            except BaseException as error:
                said.append(f"{type(error).__name__}: {error}")
        out.send(f"told {asked} -> {'; '.join(dict.fromkeys(said))}")

    return process
