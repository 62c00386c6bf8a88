"""HTTP requests to the servers that a step grants: `allow = { http = ["https://tiers.internal"] }`.

    response = http.get(f"https://tiers.internal/tiers/{customer}")
    if response.status == 404:
        raise Reject("unknown-customer", customer)

Build the plugin without `--stub-wasi`, which would leave the requests out. A request waits for its response, and ends before the step's
`timeout`. To have many in flight, give the step `batch = 1` and the pipeline `limits.parallelism`. Redirects are returned, not followed. After a
fault or a crash records are processed again, and so are their requests. In a test the responses are those of `testing.respond`.
"""

import json as _json
from dataclasses import dataclass, field

from ._failures import Retry

try:
    from componentize_py_types import Err
    from wit_world.imports import outgoing_handler, streams
    from wit_world.imports import wasi_http_types as types
except ModuleNotFoundError:
    types = None

_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}
_EXPLAINED = {
    "HttpRequestDenied": "the step's `allow` doesn't grant it; the log says what is missing",
    "DestinationIpProhibited": "the step's `allow` doesn't grant the address of the host; the log says which",
    "DnsError": "the host isn't found",
    "ConnectionRefused": "the server can't be reached",
    "ConnectionTimeout": "the server didn't accept a connection in time",
    "HttpResponseTimeout": "there was no response in time",
    "ConnectionReadTimeout": "the rest of the response didn't come in time",
    "ConnectionTerminated": "the server closed the connection",
    "TlsCertificateError": "the server's certificate isn't valid here",
    "HttpRequestBodySize": "the body is larger than `http_body` of the step's `allow`",
    "HttpResponseBodySize": "the response's body is larger than `http_body` of the step's `allow`",
    "ConnectionLimitReached": "too many requests at once",
}
# What is read or written at once.
_CHUNK = 65536
_WRITTEN = 4096


class Error(Retry):
    """There is no response. A plugin that doesn't catch it has the record tried again."""


@dataclass
class Request:
    """A request, as a test's server sees it."""

    method: str
    url: str
    headers: list = field(default_factory=list)
    body: bytes = b""


@dataclass
class Response:
    """A response, whatever its status. `headers` are pairs of a name in lower case and bytes."""

    status: int
    headers: list = field(default_factory=list)
    body: bytes = b""

    def header(self, name):
        """The first header with this name, as bytes, or None."""
        return next((value for known, value in self.headers if known == name.lower()), None)

    def json(self):
        """The body as JSON. What is no JSON is an `Error`, so that the record is tried again."""
        try:
            return _json.loads(self.body)
        except ValueError as error:
            raise Error(f"the response is no JSON: {error}") from None


def get(url, headers=None, timeout=None):
    """Sends a GET, and returns its `Response`."""
    return request("GET", url, headers, timeout=timeout)


def post(url, body, headers=None, timeout=None):
    """Sends a POST. The step has to list the method: `http_methods = ["GET", "POST"]`."""
    return request("POST", url, headers, body, timeout)


def request(method, url, headers=None, body=b"", timeout=None):
    """Sends a request and waits for the whole response.

    `headers` is a dict, or pairs; `body` is bytes or text; `timeout` is in seconds, until the response begins and between its parts, if that
    is less than the step's `timeout` leaves. Raises `Error` if there is no response.
    """
    pairs = list(headers.items() if isinstance(headers, dict) else headers or [])
    pairs = [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]
    asked = Request(method, url, pairs, body.encode() if isinstance(body, str) else bytes(body))
    if types is None:
        from . import testing

        return testing.response_to(asked)
    try:
        return _send(asked, timeout)
    except Err as error:
        raise Error(f"{method} {url}: {_explained(error.value)}") from None


def _explained(code):
    name = type(code).__name__.removeprefix("ErrorCode_")
    return _EXPLAINED.get(name, name)


def _parts(url):
    scheme, found, rest = url.split("#")[0].partition("://")
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    if not found or not end:
        raise ValueError(f"`{url}` has no scheme or no host")
    return scheme, rest[:end], rest[end:] or "/"


def _send(asked, timeout):
    scheme, authority, path = _parts(asked.url)
    outgoing = types.OutgoingRequest(types.Fields.from_list(asked.headers))
    is_known = asked.method in _METHODS
    outgoing.set_method(getattr(types, f"Method_{asked.method.capitalize()}")() if is_known else types.Method_Other(asked.method))
    outgoing.set_scheme({"http": types.Scheme_Http, "https": types.Scheme_Https}.get(scheme, lambda: types.Scheme_Other(scheme))())
    outgoing.set_authority(authority)
    outgoing.set_path_with_query(path)
    options = types.RequestOptions()
    if timeout is not None:
        nanoseconds = int(timeout * 1e9)
        options.set_connect_timeout(nanoseconds)
        options.set_first_byte_timeout(nanoseconds)
        options.set_between_bytes_timeout(nanoseconds)
    body = outgoing.body() if asked.body else None
    future = outgoing_handler.handle(outgoing, options)
    if body is not None:
        _write(body, asked.body)
    with future.subscribe() as pollable:
        pollable.block()
    response = _unwrapped(future.get())
    headers = [(name.lower(), value) for name, value in response.headers().entries()]
    status, incoming = response.status(), response.consume()
    chunks = []
    with incoming.stream() as stream:
        while True:
            try:
                chunks.append(stream.blocking_read(_CHUNK))
            except Err as error:
                if isinstance(error.value, streams.StreamError_Closed):
                    break
                code = types.http_error_code(error.value.value)
                raise Err(code if code is not None else types.ErrorCode_HttpResponseIncomplete()) from None
    return Response(status, headers, b"".join(chunks))


def _unwrapped(result):
    """What is in a result, or in one of one. An error is raised."""
    while type(result).__name__ in ("Ok", "Err"):
        if type(result).__name__ == "Err":
            raise Err(result.value)
        result = result.value
    return result


def _write(body, contents):
    stream = body.write()
    try:
        with stream:
            for at in range(0, len(contents), _WRITTEN):
                stream.blocking_write_and_flush(contents[at : at + _WRITTEN])
    except Err:
        # The server may have what it needs before it has read all: the response tells.
        return
    types.OutgoingBody.finish(body, None)
