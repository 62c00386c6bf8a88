"""The two ways in which a plugin says that a record failed. Both are raised."""

import re

_CODE = re.compile(r"[a-z0-9-]{1,64}")
_DELAY_MS_MAX = 2**32 - 1


class Reject(Exception):
    """The record can't succeed. `code` is short and stable, 1 to 64 of a-z, 0-9 and -; `reason` is for people."""

    def __init__(self, code, reason=""):
        if not isinstance(code, str) or _CODE.fullmatch(code) is None:
            raise TypeError(f"the code of a Reject is 1 to 64 of a-z, 0-9 and -, not {code!r}")
        super().__init__(str(reason))
        self.code = code


class Retry(Exception):
    """The record may succeed later, after `delay_ms` milliseconds, or when the pipeline's file says."""

    def __init__(self, reason="", delay_ms=None):
        if delay_ms is not None and not (_is_whole(delay_ms) and 0 <= delay_ms <= _DELAY_MS_MAX):
            raise TypeError(f"the delay of a Retry is a number of milliseconds, not {delay_ms!r}")
        super().__init__(str(reason))
        self.delay_ms = delay_ms


def _is_whole(number):
    return isinstance(number, int) and not isinstance(number, bool)
