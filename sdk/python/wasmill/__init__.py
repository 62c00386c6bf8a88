"""Plugins of wasmill in Python, over the columns of the contract.

A call brings the records of one partition as a few long lists. `plugin` cuts them into records, and collects the outputs in lists again.
componentize-py makes a new object for every call, so what lasts is kept in closures and not in `self`.
"""

from ._columns import SAME, Out, Record
from ._failures import Reject, Retry
from ._metrics import count, observe
from ._plugin import plugin

__all__ = ["SAME", "Out", "Record", "Reject", "Retry", "count", "observe", "plugin"]
