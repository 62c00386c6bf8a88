"""The SDK without a host, through its testing module."""

import pytest

from wasmill import SAME, Reject, Retry, count, observe, plugin
from wasmill.testing import Emitted, run, start

PORTS = ["main", "audit"]


def each(handle, records=({"value": "v"},)):
    """Runs one function over records."""
    return run(plugin(lambda settings, ports: handle), records, ports=PORTS)


def test_a_record_that_is_forwarded_stays_what_it_is():
    record = {"key": "k", "value": b"\xff", "headers": [("h", None), ("h", "1")], "timestamp": 5}
    result = each(lambda record, out: out.forward(), [record, {}])
    assert result.emitted == [
        Emitted("main", "k", b"\xff", [("h", None), ("h", "1")], 5, None),
        Emitted("main", None, None, [], None, None),
    ]


def test_a_record_shows_all_of_its_parts():
    seen = []

    def handle(record, out):
        parts = (record.topic, record.partition, record.offset, record.timestamp, record.attempt, record.key, record.value, record.text())
        seen.append((*parts, record.header("h", "none"), record.header("x"), record.headers))

    record = {"key": "a", "value": "ö", "headers": [("h", "1"), ("h", "é")], "timestamp": 7, "offset": 9, "attempt": 2}
    each(handle, [record, {"headers": [("h", None)]}, {}])
    headers = [("h", b"1"), ("h", "é".encode())]
    assert seen == [
        ("input", 0, 9, 7, 2, b"a", "ö".encode(), "ö", "é".encode(), None, headers),
        ("input", 0, 1, None, 0, None, None, None, None, None, [("h", None)]),
        ("input", 0, 2, None, 0, None, None, None, "none", None, []),
    ]


def test_what_is_left_out_of_an_output_is_as_in_the_input_and_none_is_null():
    def handle(record, out):
        out.send("new")
        out.send(SAME, 1, key=None, headers=[], timestamp=0, partition=0)
        out.send(None, key="", headers=[("b", None), ("c", b"\x01")], timestamp=8, partition=3)
        out.json({"a": [1, "é", None]}, 1)

    result = each(handle, [{"key": "k", "value": "v", "headers": [("a", "1")], "timestamp": 5}])
    assert result.emitted == [
        Emitted("main", "k", "new", [("a", "1")], 5, None),
        Emitted("audit", None, "v", [], 0, 0),
        Emitted("main", "", None, [("b", None), ("c", "\x01")], 8, 3),
        Emitted("audit", "k", '{"a":[1,"é",null]}', [("a", "1")], 5, None),
    ]


def test_a_failed_record_emits_nothing_and_the_others_are_as_if_it_were_not_there():
    def handle(record, out):
        out.send(f"<{record.text()}>", 1, timestamp=1, partition=1, key="x", headers=[("n", "v")])
        if record.text() == "b":
            raise Reject("no-b", "it is b")
        if record.text() == "c":
            raise Retry("later", 50)
        if record.text() == "d":
            raise Retry()
        out.forward()

    result = each(handle, [{"value": value} for value in "abcde"])
    shown = [[(output.port, output.value, output.timestamp) for output in outputs] for outputs, _ in result.records]
    assert shown == [[("audit", "<a>", 1), ("main", "a", None)], [], [], [], [("audit", "<e>", 1), ("main", "e", None)]]
    told = {index: (failure.kind, failure.code, failure.delay_ms, failure.reason) for index, failure in result.failures.items()}
    assert told == {1: ("reject", "no-b", None, "it is b"), 2: ("retry", None, 50, "later"), 3: ("retry", None, None, "")}


def test_any_other_exception_is_a_rejection_with_its_name_and_its_place():
    def handle(record, out):
        if record.offset == 0:
            return {}["x"]
        if record.offset == 1:
            exit(3)
        raise ValueError("\ud800")

    failures = each(handle, [{}, {}, {}]).failures
    assert {failure.code for failure in failures.values()} == {"exception"}
    assert failures[0].reason.startswith("KeyError: 'x', at test_sdk.py:")
    assert failures[0].reason.endswith(" in handle")
    assert failures[1].reason.startswith("SystemExit: 3, at ")
    assert failures[2].reason.startswith("ValueError: \\ud800, at ")


def test_memory_that_runs_out_is_a_trap_and_no_rejection():
    def handle(record, out):
        raise MemoryError

    with pytest.raises(MemoryError):
        each(handle)


WRONG = [
    lambda out: out.forward(2),
    lambda out: out.forward(-1),
    lambda out: out.forward("audit"),
    lambda out: out.send(5),
    lambda out: out.send({"a": 1}),
    lambda out: out.send("\ud800"),
    lambda out: out.json(float("nan")),
    lambda out: out.json({"a": {1, 2}}),
    lambda out: out.send("v", key=1),
    lambda out: out.send("v", headers=[("ok", "v"), (1, "v")]),
    lambda out: out.send("v", headers=[("a", SAME)]),
    lambda out: out.send("v", headers=["a"]),
    lambda out: out.send("v", timestamp=None),
    lambda out: out.send("v", timestamp=-1),
    lambda out: out.send("v", timestamp=2**63),
    lambda out: out.send("v", partition=1.5),
]


def test_an_output_that_can_not_be_written_is_an_exception_and_leaves_nothing_behind():
    def handle(record, out):
        with pytest.raises((TypeError, ValueError)):
            WRONG[record.offset](out)
        out.send("after")

    result = each(handle, [{"value": "v"}] * len(WRONG))
    assert [([output.value for output in outputs], failure) for outputs, failure in result.records] == [(["after"], None)] * len(WRONG)


@pytest.mark.filterwarnings("ignore:coroutine")
def test_a_function_that_would_never_run_is_refused():
    async def waits(record, out):
        out.forward()

    def yields(record, out):
        yield out.forward()

    for handle in (waits, yields):
        result = each(handle)
        assert "must return nothing" in result.failures[0].reason
    with pytest.raises(ValueError, match="must return a function"):
        run(plugin(lambda settings, ports: None), [])


def test_what_make_raises_keeps_the_plugin_from_starting():
    def make(settings, ports):
        raise LookupError("`fields` is empty")

    with pytest.raises(ValueError, match=r"^LookupError: `fields` is empty, at test_sdk.py:\d+ in make$"):
        run(plugin(make), [])


def test_settings_and_ports_arrive_and_each_start_begins_anew():
    seen = []

    @plugin
    def handler(settings, ports):
        calls = 0

        def handle(record, out):
            nonlocal calls
            calls += 1
            seen.append((settings["a"], ports[1], calls))

        return handle

    run(handler, [{}, {}], settings={"a": 1}, ports=PORTS)
    run(handler, [{}], settings={"a": 2}, ports=PORTS)
    assert seen == [(1, "audit", 1), (1, "audit", 2), (2, "audit", 1)]


def test_print_goes_to_the_log():
    import sys

    def handle(record, out):
        print("a", 1)
        print("b\nc", file=sys.stderr)
        print("no end \ud800", end="")

    assert each(handle).log == [("info", "a 1"), ("error", "b"), ("error", "c"), ("info", "no end \\ud800")]


def test_counters_are_summed_up_and_those_of_a_failed_record_are_kept():
    def handle(record, out):
        count("seen")
        count("bytes", len(record.value))
        observe("size", len(record.value))
        if record.offset % 2:
            raise Reject("odd")

    started = start(plugin(lambda settings, ports: handle))
    result = started.run([{"value": "a"}, {"value": "bc"}, {"value": ""}])
    assert (result.counts, result.observed) == ({"seen": 3, "bytes": 3}, {"size": [1, 2, 0]})
    result = started.run([{"value": "abcd"}])
    assert (result.counts, result.observed) == ({"seen": 1, "bytes": 4}, {"size": [4]})


@pytest.mark.parametrize(
    "call",
    [
        lambda: count("A"),
        lambda: count(""),
        lambda: count("x" * 65),
        lambda: count("a", -1),
        lambda: count("a", 0.5),
        lambda: count("a\n"),
        lambda: observe("a-b", 1),
        lambda: observe("a", float("nan")),
        lambda: observe("a", "1"),
        lambda: Reject("Bad code"),
        lambda: Reject(""),
        lambda: Reject(None),
        lambda: Retry("", -1),
        lambda: Retry("", 2**32),
    ],
)
def test_a_wrong_name_or_value_of_a_metric_a_code_or_a_delay_is_an_exception(call):
    with pytest.raises(TypeError):
        call()


def test_a_text_that_is_not_utf_8_is_rejected_and_a_name_of_a_header_shows_fffd():
    assert each(lambda record, out: print(record.text()), [{"value": b"\xff"}]).failures[0].code == "bad-text"
    names = []
    each(lambda record, out: names.append(record.headers[0][0]), [{"headers": [(b"\xff", None)]}])
    assert names == ["\ufffd"]


def test_a_record_that_is_none_is_refused_by_the_testing_module():
    for record in ({"vlaue": "v"}, {"value": {"a": 1}}):
        with pytest.raises(TypeError):
            each(lambda record, out: None, [record])
