"""The plugin, without a host."""

import mask
from wasmill.testing import Emitted, run

OPTIONS = {"settings": {"fields": ["email"]}, "ports": ["main", "audit"]}


def test_a_named_member_is_masked():
    result = run(mask.BatchHandler, [{"key": "k", "value": '{"id":7,"email":"a@b.c"}'}], **OPTIONS)
    assert result.emitted == [Emitted("main", "k", '{"id":7,"email":"***"}', [], None, None)]


def test_a_record_with_the_header_audit_goes_to_the_port_audit_too():
    result = run(mask.BatchHandler, [{"value": '{"email":1}', "headers": [("audit", None)]}], **OPTIONS)
    assert [(output.port, output.value) for output in result.emitted] == [("audit", '{"email":1}'), ("main", '{"email":"***"}')]


def test_a_tombstone_is_forwarded_and_what_is_no_json_is_rejected():
    result = run(mask.BatchHandler, [{"value": None}, {"value": "{"}], **OPTIONS)
    assert [output.value for output in result.emitted] == [None]
    assert result.failures[1].code == "bad-json"
