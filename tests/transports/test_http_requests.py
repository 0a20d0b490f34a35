"""The http transport: what it sends, what it refuses to send, and what no message may show."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import crux_providers
from crux_providers.base.errors import WireFailure
from crux_providers.base.wire import Endpoint, WireRequest
from crux_providers.transports.http import HttpTransport
from crux_providers.transports.http_content import encode_json
from crux_providers.transports.http_request import RequestBuilder
from tests.servers.scripted_server import ScriptedServer
from tests.transports.conformance import SyncDriver, scope

SECRET = "not-for-any-message"


def endpoint(server: ScriptedServer, **more: Any) -> Endpoint:
    return Endpoint(server.url, proxy="", **more)


def test_headers_of_a_whole_call(server: ScriptedServer, driver: SyncDriver) -> None:
    transport = HttpTransport(endpoint(server, headers={"Authorization": f"Bearer {SECRET}"}))
    request = WireRequest("/chat", {"a": 1}, headers={"Anthropic-Version": "2023-06-01"})
    driver.send(transport, request, scope(whole=True))
    (exchange,) = server.exchanges
    assert exchange.headers == {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": f"crux/{crux_providers.__version__}",
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "authorization": f"Bearer {SECRET}",
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
        "content-length": "7",
    }
    assert exchange.body == b'{"a":1}'


def test_headers_of_a_stream(server: ScriptedServer, driver: SyncDriver) -> None:
    server.play(lambda e: e.answer(b"data: {}\n\n", content_type="text/event-stream"))
    for framing, accept in (("sse", "text/event-stream"), ("ndjson", "application/x-ndjson")):
        request = WireRequest("/chat", {}, stream=True, framing=framing)
        driver.call(HttpTransport(endpoint(server)), request, scope())
        headers = server.exchanges[-1].headers
        assert headers["accept"].startswith(accept)
        assert headers["accept-encoding"] == "identity"


def test_a_get_has_no_body(server: ScriptedServer, driver: SyncDriver) -> None:
    driver.send(HttpTransport(endpoint(server)), WireRequest("/models", method="GET"), scope())
    (exchange,) = server.exchanges
    assert (exchange.method, exchange.target, exchange.body) == ("GET", "/v1/models", b"")
    assert not {"content-type", "content-length"} & set(exchange.headers)


def test_later_headers_win_whatever_their_case(server: ScriptedServer) -> None:
    made = endpoint(server, headers={"USER-AGENT": "mine", "X-Team": "a"})
    request = WireRequest("/chat", {}, headers={"x-team": "b", "Accept": "text/plain"})
    HttpTransport(made).send(request, scope())
    headers = server.exchanges[0].headers
    assert (headers["user-agent"], headers["x-team"], headers["accept"]) == (
        "mine", "b", "text/plain",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("base", "path", "target"),
    [
        ("", "/chat", "/chat"),
        ("/", "/chat", "/chat"),
        ("/v1/", "/chat?alt=sse", "/v1/chat?alt=sse"),
        (
            "/openai/deployments/d?api-version=1",
            "/chat",
            "/openai/deployments/d/chat?api-version=1",
        ),
        ("/v1?a=1", "/chat?b=2", "/v1/chat?a=1&b=2"),
        ("/v1", "/models/a b:ü", "/v1/models/a%20b:%C3%BC"),
    ],
)
def test_base_url_and_path_are_joined(base: str, path: str, target: str) -> None:
    builder = RequestBuilder(Endpoint(f"http://host.example{base}"))
    for _ in range(2):  # the second comes from the cache
        request = builder.build(WireRequest(path, {}), {})
        assert request.url.raw_path.decode() == target
        assert request.headers["host"] == "host.example"


def test_a_base_url_with_a_user_means_basic_authentication() -> None:
    request = RequestBuilder(Endpoint("http://us%40er:p%3Aw@host.example")).build(
        WireRequest("/chat", {}), {}
    )
    assert request.headers["authorization"] == "Basic dXNAZXI6cDp3"
    assert str(request.url) == "http://host.example/chat"


def test_the_request_is_what_httpx_itself_would_send() -> None:
    """Held against httpx's own Client, which fills in the same headers."""
    body = {"text": "ü 世界"}
    seen: list[httpx.Request] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    mock = httpx.MockTransport(note)
    with httpx.Client(transport=mock) as client:
        client.post("http://host.example:81/v1/chat?x=1", json=body)
    made = Endpoint("http://host.example:81/v1")
    HttpTransport(made, httpx_transport=mock).send(WireRequest("/chat?x=1", body), scope())
    theirs, ours = seen
    assert (ours.method, ours.url) == (theirs.method, theirs.url)
    assert ours.content == theirs.content
    assert set(theirs.headers) - set(ours.headers) == {"connection"}
    for name in ("host", "content-type", "content-length"):
        assert ours.headers[name] == theirs.headers[name]


# -- what cannot be sent ---------------------------------------------------------------------------


def refused(made: Endpoint, request: WireRequest) -> WireFailure:
    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError("this must not be sent")

    with pytest.raises(WireFailure) as caught:
        HttpTransport(made, httpx_transport=httpx.MockTransport(answer)).send(request, scope())
    assert caught.value.kind == "local"
    return caught.value


@pytest.mark.parametrize("value", [f"Bearer {SECRET}\n", f"{SECRET}\r\nx: y", f"{SECRET} 世界"])
def test_a_header_that_cannot_be_sent_is_named_but_not_shown(value: str) -> None:
    failure = refused(
        Endpoint("http://host.example", {"Authorization": value}), WireRequest("/chat", {})
    )
    assert "Authorization" in failure.message
    shown: BaseException | None = failure
    while shown is not None:
        assert SECRET not in repr(shown)
        assert SECRET not in str(shown)
        shown = shown.__cause__


def test_a_header_name_that_http_refuses_shows_no_value(server: ScriptedServer) -> None:
    transport = HttpTransport(endpoint(server, headers={"x y": SECRET}))
    with pytest.raises(WireFailure) as caught:
        transport.send(WireRequest("/chat", {}), scope())
    assert caught.value.kind == "local"
    assert SECRET not in str(caught.value)
    assert caught.value.cause is None
    assert server.requests == 0


@pytest.mark.parametrize(
    "url", ["", "api.example/v1", "ftp://api.example", "http://", "http://[::1", "http://a:port"]
)
def test_a_base_url_that_is_none(url: str) -> None:
    assert "base URL" in refused(Endpoint(url), WireRequest("/chat", {})).message


@pytest.mark.parametrize("value", [math.nan, math.inf, {1, 2}, b"bytes", object()])
def test_what_is_no_json_is_refused(value: Any) -> None:
    failure = refused(Endpoint("http://host.example"), WireRequest("/chat", {"value": value}))
    assert "not JSON" in failure.message


def test_a_body_nested_without_end_is_refused() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    failure = refused(Endpoint("http://host.example"), WireRequest("/chat", {"value": nested}))
    assert "not JSON" in failure.message


texts = st.text(st.sampled_from('aü世🙂"\\/\n\0\x7f\u2028\ud83d'))  # a lone surrogate too
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


@given(st.dictionaries(texts, json_values))
def test_a_body_reads_back_as_it_was(body: dict[str, Any]) -> None:
    encoded = encode_json(body)
    encoded.decode("utf-8")
    assert json.loads(encoded) == body


def test_bodies_are_compact_utf8_and_escape_only_lone_surrogates() -> None:
    assert encode_json({"a": "ü", "b": [1, 2]}) == '{"a":"ü","b":[1,2]}'.encode()
    assert encode_json({"a": "\ud83d"}) == b'{"a":"\\ud83d"}'
    # Both halves of a pair, as a cut and joined text may have them, read as the character.
    assert json.loads(encode_json({"a": "\ud83d\ude42"})) == {"a": "🙂"}


def test_a_request_is_told_from_another_by_its_own_fields_only(server: ScriptedServer) -> None:
    """Nothing of one call is left over for the next one."""
    transport = HttpTransport(endpoint(server))
    first = WireRequest("/chat", {"n": 1}, headers={"x-once": "1"})
    transport.send(first, scope())
    transport.send(replace(first, body={"n": 22}, headers={}), scope())
    assert "x-once" not in server.exchanges[1].headers
    assert server.exchanges[1].body == b'{"n":22}'


def test_repr_shows_no_key(server: ScriptedServer) -> None:
    made = endpoint(server, headers={"authorization": SECRET}, api_key=SECRET)
    assert SECRET not in repr(HttpTransport(made))
