"""JSON that doesn't change without a word.

Python's parser rounds fractions, forgets the sign of the whole number -0, drops all but the last of members with the same name, and takes
NaN. It also needs stack for each level, of which a component has little.
"""

import re
from decimal import Decimal
from itertools import count
from json import JSONDecoder, JSONEncoder

# How deep lists and objects may be nested. As in Rust's serde_json.
DEPTH_MAX = 128

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}]', re.DOTALL)
# Numbers that a float may not hold: of 15 digits or more, and with an exponent of three digits. And minus zero, which is no int.
_LONG = re.compile(r"[0-9.]{16}|[eE][-+]?[0-9]{3}|-0")
_INT_DIGITS_MAX = 4300
_EXPONENT_MAX = 10**6


def _no_constant(name):
    raise ValueError(f"{name} is no JSON")


def _object(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        seen = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the name {name!a} occurs twice in an object")
            seen.add(name)
    return found


def _whole(text):
    if len(text) > _INT_DIGITS_MAX:
        raise ValueError(f"a number has {len(text)} digits, and Python takes {_INT_DIGITS_MAX}")
    return Decimal(text) if text == "-0" else int(text)


def _fraction(text):
    number = float(text)
    shown = repr(number)
    if shown == text:
        return number
    try:
        exact = Decimal(text)
    except ArithmeticError:
        exact = Decimal("inf")
    if not exact.is_finite() or abs(exact.adjusted()) > _EXPONENT_MAX:
        raise ValueError("a number has an exponent that is too large")
    # `inf` equals no number of a document.
    return number if Decimal(shown) == exact else exact


_quick = JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)
_exact = JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_whole, parse_float=_fraction)


def parse(text):
    """A document from its text. Fractions that a float doesn't hold are `Decimal`. Raises ValueError if it is no JSON."""
    if text.count("[") + text.count("{") > DEPTH_MAX and _depth(text) > DEPTH_MAX:
        raise ValueError(f"it is nested more than {DEPTH_MAX} deep")
    return (_exact if _LONG.search(text) else _quick).decode(text)


def _depth(text):
    depth = deepest = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token[0] in "]}":
            depth -= 1
    return deepest


def _encoder(default, ensure_ascii):
    return JSONEncoder(ensure_ascii=ensure_ascii, allow_nan=False, separators=(",", ":"), default=default, check_circular=True)


class _HasDecimal(Exception):
    pass


def _unknown(value):
    if isinstance(value, Decimal):
        raise _HasDecimal
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")


_utf8 = _encoder(_unknown, False)
_ascii = _encoder(_unknown, True)


def write(document):
    """A document as bytes. NaN and infinity raise ValueError."""
    try:
        return _written(document, _utf8)
    except UnicodeEncodeError:
        # Half of a surrogate pair, which only an escape can write.
        return _written(document, _ascii)


def _written(document, encoder):
    try:
        return encoder.encode(document).encode()
    except _HasDecimal:
        pass
    # The encoder can't write a number's digits, but it can write a string, which is replaced then. The mark must occur nowhere else.
    for attempt in count():
        mark = f"\x00wasmill-{attempt}-"
        numbers = []

        def default(value):
            if not isinstance(value, Decimal):
                return _unknown(value)
            if not value.is_finite():
                raise ValueError(f"{value} is no JSON")
            numbers.append(str(value))
            return f"{mark}{len(numbers) - 1}"

        text = _encoder(default, encoder.ensure_ascii).encode(document)
        escaped = f"\\u0000wasmill-{attempt}-"
        if text.count(escaped) == len(numbers):
            return re.sub(f'"{re.escape(escaped)}([0-9]+)"', lambda found: numbers[int(found[1])], text).encode()
