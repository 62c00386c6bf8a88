"""Records and outputs as they lie in the columns of the contract."""

from ._failures import Reject
from ._json import parse, write

# In place of a part of an output: as in the input record.
SAME = type("Same", (), {"__repr__": lambda self: "SAME"})()
_SAME_LENGTH, _NULL_LENGTH = -2, -1
_PARTITION_MAX, _TIMESTAMP_MAX = 2**31 - 1, 2**63 - 1


class Record:
    """A record. It is the same object each time, and valid until the function that got it returns.

    `topic`, `partition`, `offset` and `attempt` are texts and numbers; `key` and `value` are bytes or None. A value of None is a
    tombstone, which differs from an empty value.
    """

    __slots__ = ("topic", "partition", "offset", "attempt", "key", "value", "_timestamp", "_entry", "_at", "_layout", "_data")

    @property
    def timestamp(self):
        """Milliseconds since 1970-01-01 UTC, or None."""
        return None if self._timestamp < 0 else self._timestamp

    def text(self):
        """The value as a text, and None for a tombstone. Rejects the record as `bad-text` if it isn't UTF-8."""
        try:
            return None if self.value is None else self.value.decode()
        except UnicodeDecodeError as error:
            raise Reject("bad-text", error) from None

    def json(self):
        """The value as JSON.

        Rejects the record as `bad-json` if it is no JSON, is nested more than 128 deep, or has a name twice in an object. A fraction that
        a float doesn't hold exactly is a `Decimal`, and `Out.json` writes it as it came.
        """
        if self.value is None:
            raise Reject("bad-json", "the record has no value")
        try:
            return parse(self.value.decode())
        except (ValueError, RecursionError) as error:
            raise Reject("bad-json", error) from None

    @property
    def headers(self):
        """Pairs of a name and bytes or None, in order. A name that isn't UTF-8 shows U+FFFD."""
        found, at, layout, data = [], self._at, self._layout, self._data
        for entry in range(self._entry, self._entry + 2 * layout[self._entry - 1], 2):
            middle = at + layout[entry]
            end = middle + max(layout[entry + 1], 0)
            found.append((data[at:middle].decode(errors="replace"), None if layout[entry + 1] < 0 else data[middle:end]))
            at = end
        return found

    def header(self, name, default=None):
        """The value of the last header of this name: bytes, or None if it is null. `default` if there is none."""
        if layout_count := self._layout[self._entry - 1]:
            for known, value in reversed(self.headers) if layout_count > 1 else self.headers:
                if known == name:
                    return value
        return default


class Out:
    """Takes what becomes of a record. A record without outputs is dropped. A port is its index in `ports`; 0 is `main`."""

    __slots__ = ("ports", "partitions", "timestamps", "layout", "data", "_port_count")

    def __init__(self, port_count):
        self.ports, self.partitions, self.timestamps, self.layout, self.data = [], [], [], [], []
        self._port_count = port_count

    def forward(self, port=0):
        """The record as it came, without a copy."""
        self._check_port(port)
        self.layout += (_SAME_LENGTH, _SAME_LENGTH, _SAME_LENGTH)
        self._end(port, -1, -1)

    def send(self, value=SAME, port=0, *, key=SAME, headers=SAME, timestamp=SAME, partition=SAME):
        """An output. What is left out is as in the input, and None is null. Bytes may be a text, and headers are pairs."""
        self._check_port(port)
        timestamp = -1 if timestamp is SAME else _whole("timestamp", timestamp, _TIMESTAMP_MAX)
        partition = -1 if partition is SAME else _whole("partition", partition, _PARTITION_MAX)
        layout, data = [], []
        _put(key, layout, data)
        _put(value, layout, data)
        if headers is SAME:
            layout.append(_SAME_LENGTH)
        else:
            headers = list(headers)
            layout.append(len(headers))
            for name, content in headers:
                if not isinstance(name, (str, bytes)):
                    raise TypeError(f"a header is a pair of a name and a value, and its name is a text, not {name!r}")
                _put(name, layout, data)
                _put(content, layout, data)
                if content is SAME:
                    raise TypeError("a header has a value, or None")
        self.layout += layout
        self.data += data
        self._end(port, timestamp, partition)

    def json(self, document, port=0, **rest):
        """An output whose value is this document."""
        self.send(write(document), port, **rest)

    def _end(self, port, timestamp, partition):
        self.ports.append(port)
        self.timestamps.append(timestamp)
        self.partitions.append(partition)

    def _check_port(self, port):
        if not isinstance(port, int) or not 0 <= port < self._port_count:
            raise ValueError(f"there is no port {port!r}: the pipeline's file binds {self._port_count}, the first one is 0")


def _whole(what, number, most):
    if not isinstance(number, int) or not 0 <= number <= most:
        raise ValueError(f"a {what} is a whole number from 0 on, or left out, not {number!r}")
    return number


def _put(part, layout, data):
    if part is SAME or part is None:
        layout.append(_SAME_LENGTH if part is SAME else _NULL_LENGTH)
        return
    if isinstance(part, str):
        part = part.encode()
    elif not isinstance(part, (bytes, bytearray)):
        raise TypeError(f"a value is bytes, a text, None, or left out, not {type(part).__name__}; Out.json writes documents")
    layout.append(len(part))
    data.append(bytes(part))
