"""The export of a plugin: cuts calls into records, and says what became of each."""

import io
import json
import sys
import traceback

from . import _host, _metrics
from ._columns import Out, Record
from ._failures import Reject, Retry

_FRAMES = 3
_RESERVE_BYTES = 8 << 20


def plugin(make):
    """Makes the class `BatchHandler` of a plugin.

    `make` is called once with the step's settings and the names of the ports, and returns the function that is called with each record
    and an `Out`. What it raises keeps the pipeline from starting. Memory is a cache, never state: an instance may be replaced between
    any two calls.
    """
    # Not on `self`: componentize-py makes a new object for every call.
    handle, port_count = None, 0

    class BatchHandler(_host.BatchHandler):
        def init(self, settings, ports):
            nonlocal handle, port_count
            _print_to_log()
            # Freed at once: the memory of an instance never shrinks, and large values leave holes. With room to spare it doesn't grow any more.
            bytearray(_RESERVE_BYTES)
            _metrics.forget()
            port_count = len(ports)
            try:
                handle = make(json.loads(settings), ports)
                if not callable(handle):
                    raise TypeError("the function below @plugin must return a function of (record, out)")
            except BaseException as error:
                raise _host.Err(told(error)) from error

        def process(self, source, batch):
            return _run(handle, port_count, source, batch)

    return BatchHandler


def _run(handle, port_count, source, batch):
    layout, data, out = batch.layout, batch.data, Out(port_count)
    counts, failures = [], []
    entry = at = 0
    record = Record()
    record.topic, record.partition, record._layout, record._data = source.topic, source.partition, layout, data
    for index, (offset, timestamp, attempt) in enumerate(zip(batch.offsets, batch.timestamps, batch.attempts)):
        key, value, headers = layout[entry : entry + 3]
        entry += 3
        middle = at + key if key > 0 else at
        end = middle + value if value > 0 else middle
        record.offset, record._timestamp, record.attempt, record._entry, record._at = offset, timestamp, attempt, entry, end
        record.key = None if key < 0 else data[at:middle]
        record.value = None if value < 0 else data[middle:end]
        outputs, lengths, parts = len(out.ports), len(out.layout), len(out.data)
        try:
            if handle(record, out) is not None:
                raise TypeError("the function for a record must return nothing: it may be async, or yield, which is never run")
        except MemoryError:
            # A trap, on purpose: wasmill discards the instance, and its memory, and runs the records again.
            raise
        except BaseException as error:
            del out.ports[outputs:], out.partitions[outputs:], out.timestamps[outputs:], out.layout[lengths:], out.data[parts:]
            failures.append(_host.Failed(index, _failure(error)))
        counts.append(len(out.ports) - outputs)
        at = end
        if headers:
            at += sum(length for length in layout[entry : entry + 2 * headers] if length > 0)
            entry += 2 * headers
    outcome = _host.Outcome(
        counts,
        out.ports if any(out.ports) else [],
        out.partitions if any(partition >= 0 for partition in out.partitions) else [],
        out.timestamps if any(timestamp >= 0 for timestamp in out.timestamps) else [],
        out.layout,
        b"".join(out.data),
        failures,
    )
    _metrics.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    return outcome


def _failure(error):
    types = _host.types
    if isinstance(error, Retry):
        return types.Failure_Retry(types.Retry(error.delay_ms, _sound(str(error))))
    if isinstance(error, Reject):
        return types.Failure_Reject(types.Reject(error.code, _sound(str(error))))
    return types.Failure_Reject(types.Reject("exception", told(error)))


def told(error):
    """An exception as a text: its name, its message, and where it was raised."""
    # `traceback.format_exception` opens the sources, and there are no files.
    frames = [
        f"{frame.f_code.co_filename.rpartition('/')[2]}:{line} in {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    # The outermost frame is this module's.
    places = frames[:0:-1][:_FRAMES]
    return _sound(", ".join([f"{type(error).__name__}: {error}", *(f"at {place}" for place in places)]))


def _sound(text):
    """A text for the host, in which no half of a surrogate pair is left."""
    return text.encode(errors="backslashreplace").decode()


class _Lines(io.TextIOBase):
    """Writes lines to the log. Without it, `print` is a trap."""

    def __init__(self, level):
        self._level, self._rest = level, ""

    def writable(self):
        return True

    def write(self, text):
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            _host.log.write(self._level, _sound(line))
        return len(text)

    def flush(self):
        if self._rest:
            line, self._rest = self._rest, ""
            _host.log.write(self._level, _sound(line))


def _print_to_log():
    if _host.collected is None:
        sys.stdout, sys.stderr = _Lines(_host.log.Level.INFO), _Lines(_host.log.Level.ERROR)
