"""What componentize-py generates: the bindings of the contract. Outside of a component they are stood in for.

`testing` looks at what is collected here then.
"""

from types import SimpleNamespace

try:
    from componentize_py_types import Err
    from wit_world import exports
    from wit_world.imports import log, metrics
    from wit_world.imports import wasmill_plugin_types as types
    from wit_world.imports.columns import Failed, Outcome

    BatchHandler = exports.BatchHandler
    collected = None
except ModuleNotFoundError:
    from dataclasses import dataclass
    from enum import Enum

    class Collected:
        """What a plugin told its host."""

        def __init__(self):
            self.log, self.counts, self.observed = [], {}, {}

    collected = Collected()

    class Err(Exception):
        """An error of the contract."""

        @property
        def value(self):
            return self.args[0]

    class Level(Enum):
        INFO = "info"
        ERROR = "error"

    def _count(name, by):
        collected.counts[name] = collected.counts.get(name, 0) + by

    log = SimpleNamespace(Level=Level, write=lambda level, message: collected.log.append((level.value, message)))
    metrics = SimpleNamespace(count=_count, observe=lambda name, value: collected.observed.setdefault(name, []).append(value))

    @dataclass
    class _Retry:
        delay_ms: object
        reason: str

    @dataclass
    class _Reject:
        code: str
        reason: str

    @dataclass
    class Failure_Retry:
        value: _Retry

    @dataclass
    class Failure_Reject:
        value: _Reject

    types = SimpleNamespace(Retry=_Retry, Reject=_Reject, Failure_Retry=Failure_Retry, Failure_Reject=Failure_Reject)

    @dataclass
    class Failed:
        index: int
        failure: object

    @dataclass
    class Outcome:
        counts: list
        ports: list
        partitions: list
        timestamps: list
        layout: list
        data: bytes
        failures: list

    class BatchHandler:
        """The base of what a plugin exports."""
