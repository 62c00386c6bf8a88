"""Documents stay what they are."""

import json
import re
from decimal import Decimal

import pytest

from wasmill import plugin
from wasmill.testing import run


@plugin
def copy(settings, ports):
    return lambda record, out: out.json(record.json())


def copied(text):
    """A document's text after it was parsed and written, or its failure."""
    result = run(copy, [{"value": text}])
    return result.failures.get(0) or result.emitted[0].value


NUMBERS = """0 1 -1 1.5 9007199254740993 123456789012345678901234567890 0.1234567890123456789 12345678.123456789 2.5e735 1e-400 -0 -0.0 1e400 0.1 1e21
3.141592653589793238462643383279 5e-324 1.7976931348623157e308 4.35 1E5 1.0 10e-1 0e9999 0.000001 0.0000001 -123456789012345678901234567890.5""".split()


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_stay_what_they_are_to_the_last_digit(number):
    for text in (number, f'{{"a":{number}}}', f"[ {number}, 1 ]"):
        before, after = (re.search(r"-?[0-9.]+([eE][-+]?[0-9]+)?", written)[0] for written in (text, copied(text)))
        assert Decimal(after) == Decimal(before)
        assert after.startswith("-") == before.startswith("-")
        json.loads(copied(text))


def test_a_number_that_python_does_not_take_is_rejected():
    for number in ("1" * 4301, "1e9999999", "1e99999999999999999999", "-1e-99999999999999999999"):
        assert copied(number).code == "bad-json"
    assert copied("1" * 4300) == "1" * 4300


def test_the_mark_of_a_number_may_occur_in_a_document():
    text = '{"\\u0000wasmill-0-0":"\\u0000wasmill-1-0","n":0.12345678901234567891}'
    assert copied(text) == text


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\u0000"', '{"\\udc00":"\\ud800\\ud800"}', '{"__class__":1}', '"é😀"', '{"":{"":""}}', '["\\ud800",1e-400]'])
def test_strings_and_names_stay_what_they_are(text):
    assert copied(text).lower() == text.lower()


@pytest.mark.parametrize("text", ['{"a":1,"a":1}', '[{"b":{"c":1,"c":2}}]', '{"a":1,"\\u0061":2}', '{"\\ud800":1,"\\ud800":2}', '{"a" \n: 1.00000000000000000000001, "a":{}}'])
def test_a_name_that_occurs_twice_in_an_object_is_rejected(text):
    assert "occurs twice" in copied(text).reason


def test_documents_may_be_nested_128_deep():
    for nested in (lambda depth: "[" * depth + "]" * depth, lambda depth: '{"a":' * depth + "1" + "}" * depth):
        assert copied(nested(128)) == nested(128)
        for depth in (129, 100_000):
            assert "nested more than 128 deep" in copied(nested(depth)).reason
    assert copied("[" * 100_000).code == "bad-json"
    for document in ([[[]]] * 1000, ["[" * 1000, '"{' * 1000]):
        text = json.dumps(document, separators=(",", ":"))
        assert copied(text) == text


@pytest.mark.parametrize("text", ["", " ", "{", "NaN", "Infinity", "-Infinity", "01", "1.", "+1", "'a'", "[1,]", '"\n"', "\ufeff1", "1 2", "\u00a01", '{"a"}', "None", "1_0"])
def test_what_is_no_json_is_rejected(text):
    assert copied(text).code == "bad-json"


@pytest.mark.parametrize("value", [b"\xff", b"\xc0\x80", b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xc3', None])
def test_what_is_no_utf_8_is_rejected(value):
    assert copied(value).code == "bad-json"
