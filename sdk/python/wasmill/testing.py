"""Runs a plugin without a host: records in and outputs out, as plain objects.

    from wasmill.testing import run
    result = run(mask.BatchHandler, [{"key": "k", "value": "v"}], settings={}, ports=["main", "audit"])
"""

import contextlib
import json
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

from . import _host, _plugin, http

_PARTS = {"key", "value", "headers", "timestamp", "offset", "attempt"}


@dataclass
class Emitted:
    """An output, with everything that is as in the input filled in. Bytes are a text if they are UTF-8."""

    port: str
    key: object
    value: object
    headers: list
    timestamp: object
    partition: object


@dataclass
class Failure:
    """Why a record failed: the kind is "reject", with a code, or "retry"."""

    kind: str
    reason: str
    code: object = None
    delay_ms: object = None


@dataclass
class Result:
    """What became of the records of a call."""

    # For each record, its outputs and its failure or None.
    records: list
    # Pairs of a level and a text.
    log: list
    counts: dict
    observed: dict
    emitted: list = field(init=False)
    # By the index of the record.
    failures: dict = field(init=False)

    def __post_init__(self):
        self.emitted = [output for outputs, _ in self.records for output in outputs]
        self.failures = {index: failure for index, (_, failure) in enumerate(self.records) if failure is not None}


class Started:
    """A plugin that may be called several times."""

    def __init__(self, handler, settings, ports, topic, partition):
        self._handler, self._ports, self._offset = handler, list(ports), 0
        self._source = SimpleNamespace(topic=topic, partition=partition)
        try:
            self._within(lambda: handler().init(json.dumps(settings), self._ports))
        except _host.Err as error:
            raise ValueError(error.value) from error.__cause__

    def run(self, records):
        """Runs records in one call. A record is a dict of `key`, `value`, `headers`, `timestamp`, `offset` and `attempt`."""
        records = list(records)
        batch = _columns(records, self._offset)
        self._offset += len(records)
        told = _host.collected = _host.Collected()
        outcome = self._within(lambda: self._handler().process(self._source, batch))
        return Result(_resolve(outcome, batch, self._ports), told.log, told.counts, told.observed)

    @staticmethod
    def _within(call):
        """What is printed goes to the log, as in a component."""
        outside = sys.stdout, sys.stderr
        level = _host.log.Level
        sys.stdout, sys.stderr = _plugin._Lines(level.INFO), _plugin._Lines(level.ERROR)
        try:
            return call()
        finally:
            sys.stdout, sys.stderr = outside


def start(handler, *, settings=None, ports=("main",), topic="input", partition=0):
    """Starts a plugin. Raises ValueError with what its `init` complains of."""
    return Started(handler, settings or {}, ports, topic, partition)


def run(handler, records, **options):
    """Starts a plugin and runs records in one call."""
    return start(handler, **options).run(records)


def _bytes(part):
    if isinstance(part, str):
        return part.encode()
    if part is not None and not isinstance(part, bytes):
        raise TypeError(f"a record has texts, bytes and None, not {part!r}")
    return part


def _columns(records, first):
    layout, data = [], []

    def put(part):
        part = _bytes(part)
        layout.append(-1 if part is None else len(part))
        data.append(part or b"")

    for record in records:
        if unknown := set(record) - _PARTS:
            raise TypeError(f"a record has no {', '.join(sorted(unknown))}")
        put(record.get("key"))
        put(record.get("value"))
        headers = record.get("headers", [])
        layout.append(len(headers))
        for name, value in headers:
            put(name)
            put(value)
    return SimpleNamespace(
        offsets=[record.get("offset", first + index) for index, record in enumerate(records)],
        timestamps=[-1 if record.get("timestamp") is None else record["timestamp"] for record in records],
        attempts=[record.get("attempt", 0) for record in records],
        layout=layout,
        data=b"".join(data),
    )


class _Reader:
    """Reads a layout and its bytes, from front to back."""

    def __init__(self, columns):
        self._layout, self._data, self._entry, self._at = columns.layout, columns.data, 0, 0

    def _length(self):
        self._entry += 1
        return self._layout[self._entry - 1]

    def _part(self):
        length = self._length()
        if length < 0:
            return None if length == -1 else Ellipsis
        self._at += length
        assert self._at <= len(self._data), "the data has too few bytes"
        part = self._data[self._at - length : self._at]
        try:
            return part.decode()
        except UnicodeDecodeError:
            return part

    def parts(self):
        key, value, count = self._part(), self._part(), self._length()
        return key, value, ... if count < 0 else [(self._part(), self._part()) for _ in range(count)]

    def end(self):
        assert (self._entry, self._at) == (len(self._layout), len(self._data)), "the layout or the data has a rest"


def _resolve(outcome, batch, ports):
    """What became of each record. Refuses what a host would refuse."""
    inputs, reader = _Reader(batch), _Reader(outcome)
    failures = {failed.index: failed.failure for failed in outcome.failures}
    total = sum(outcome.counts)
    for column in (outcome.ports, outcome.partitions, outcome.timestamps):
        assert len(column) in (0, total), "a column has neither no entries nor one for each output"
    ports_of, partitions = outcome.ports or [0] * total, outcome.partitions or [-1] * total
    timestamps = outcome.timestamps or [-1] * total
    records, output = [], 0
    for index, count in enumerate(outcome.counts):
        given = inputs.parts()
        emitted = []
        for _ in range(count):
            key, value, headers = (old if new is ... else new for new, old in zip(reader.parts(), given))
            timestamp = max(timestamps[output], -1) if timestamps[output] >= 0 else batch.timestamps[index]
            emitted.append(
                Emitted(
                    port=ports[ports_of[output]],
                    key=key,
                    value=value,
                    headers=headers,
                    timestamp=None if timestamp < 0 else timestamp,
                    partition=None if partitions[output] < 0 else partitions[output],
                )
            )
            output += 1
        failure = failures.get(index)
        assert failure is None or not emitted, f"record {index} failed, and has outputs"
        records.append((emitted, None if failure is None else _failure(failure)))
    reader.end()
    return records


def _failure(failure):
    told = failure.value
    if isinstance(failure, _host.Failure_Retry):
        return Failure("retry", told.reason, delay_ms=told.delay_ms)
    return Failure("reject", told.reason, code=told.code)


_server = None


@contextlib.contextmanager
def respond(server):
    """Requests of `wasmill.http` get their responses from `server(request)`, which returns an `http.Response` or raises `http.Error`."""
    global _server
    before, _server = _server, server
    try:
        yield
    finally:
        _server = before


def response_to(request):
    """The response that the test gives."""
    if _server is None:
        raise http.Error("a test gives the responses: use `testing.respond`")
    return _server(request)
