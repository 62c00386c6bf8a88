import plugin
from wasmill.testing import run


def test_a_value_gets_the_prefix():
    result = run(plugin.BatchHandler, [{"value": "hello"}, {"value": b"\xff"}], settings={"prefix": "> "}, ports=["main"])
    assert [output.value for output in result.emitted] == ["> hello"]
    assert result.failures[1].code == "bad-text"
