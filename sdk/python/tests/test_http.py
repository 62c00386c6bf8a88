"""Requests, with the responses of a test."""

import pytest

from wasmill import Reject, http, plugin
from wasmill.http import Error, Response, _parts
from wasmill.testing import respond, run


@plugin
def BatchHandler(settings, ports):
    def process(record, out):
        response = http.get(f"{settings['url']}/{record.text()}", headers={"accept": "application/json"})
        if response.status == 404:
            raise Reject("unknown", record.text())
        out.json(response.json())

    return process


def server(request):
    assert request.method == "GET" and request.headers == [("accept", b"application/json")]
    match request.url:
        case "http://tiers/7":
            return Response(200, [("x", b"y")], b'{"tier":"gold"}')
        case "http://tiers/8":
            return Response(404)
        case "http://tiers/9":
            return Response(200, body=b"no")
    raise Error("it is down")


def test_a_plugin_gets_the_responses_of_the_test():
    with respond(server):
        result = run(BatchHandler, [{"value": value} for value in "7890"], settings={"url": "http://tiers"})
    assert [output.value for output in result.emitted] == ['{"tier":"gold"}']
    kinds = {index: (failure.kind, failure.code) for index, failure in result.failures.items()}
    assert kinds == {1: ("reject", "unknown"), 2: ("retry", None), 3: ("retry", None)}
    assert result.failures[3].reason == "it is down"


def test_without_a_server_the_record_is_tried_again():
    result = run(BatchHandler, [{"value": "7"}], settings={"url": "http://tiers"})
    assert "testing.respond" in result.failures[0].reason


def test_a_response_has_its_headers_whatever_their_case():
    response = Response(200, [("etag", b"1"), ("etag", b"2")])
    assert response.header("ETag") == b"1" and response.header("x") is None


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://a:1/b?c=d#e", ("https", "a:1", "/b?c=d")),
        ("http://a", ("http", "a", "/")),
        ("http://a?b", ("http", "a", "?b")),
    ],
)
def test_a_url_has_a_scheme_a_host_and_a_path(url, parts):
    assert _parts(url) == parts


@pytest.mark.parametrize("url", ["a/b", "http:///b", ""])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ValueError):
        _parts(url)
