"""Counters and histograms of the plugin. They are collected, and handed to the host once for each call."""

import re
from math import isfinite

from . import _host

_NAME = re.compile(r"[a-z0-9_]{1,64}")
_MAX = 2**64 - 1

_sums = {}
_observations = []


def count(name, by=1):
    """Adds to the counter `wasmill_plugin_custom_total{name=NAME}`. What a failed record counted is kept."""
    if not isinstance(by, int) or by < 0:
        raise TypeError(f"a counter grows by a whole number, not by {by!r}")
    if name not in _sums:
        _check(name)
    _sums[name] = min(_sums.get(name, 0) + by, _MAX)


def observe(name, value):
    """Adds a value to the histogram `wasmill_plugin_custom{name=NAME}`."""
    if not isinstance(value, (int, float)) or not isfinite(value):
        raise TypeError(f"a histogram takes finite numbers, not {value!r}")
    _check(name)
    _observations.append((name, float(value)))


def _check(name):
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise TypeError(f"the name of a metric is 1 to 64 of a-z, 0-9 and _, not {name!r}")


def flush():
    """Hands everything to the host."""
    for name, by in _sums.items():
        _host.metrics.count(name, by)
    for name, value in _observations:
        _host.metrics.observe(name, value)
    forget()


def forget():
    """Discards what was collected."""
    _sums.clear()
    _observations.clear()
