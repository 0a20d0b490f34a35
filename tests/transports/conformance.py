"""What every transport is held to: how one is made, driven and asked, sync and async alike.

A transport joins by a :class:`Harness` in :data:`HARNESSES`; the tests know nothing else of it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

import httpx
import pytest

from crux_providers.base.cancellation import CancellationToken, CancelledError
from crux_providers.base.errors import WireFailure
from crux_providers.base.interfaces import AsyncWireStream, Transport, WireStream
from crux_providers.base.timeouts import CallScope, TimeoutConfig
from crux_providers.base.wire import Endpoint, WireEvent, WireRequest, WireResponse
from crux_providers.transports.http import HttpTransport
from tests.servers.scripted_server import DEADLINE, Exchange, ScriptedServer
from tests.transports.sdk_clients import ready_client

AT_ONCE = 0.3
"""Seconds within which a cancelled call must have ended."""

SHORT = 0.1
"""A deadline short enough to wait for."""

BODY = {"model": "m", "messages": [{"role": "user", "content": "Grüße, 世界 🙂"}]}


WHOLE = WireRequest("/chat/completions", BODY)
STREAMED = WireRequest("/chat/completions", {**BODY, "stream": True}, stream=True)


def _event(text: str) -> bytes:
    data = {"choices": [{"index": 0, "delta": {"content": text}}]}
    return sse(json.dumps(data).encode())


def sse(data: bytes, first: bool = True) -> bytes:
    """One server-sent event."""
    return b"data: " + data + b"\n\n"


def ndjson(data: bytes, first: bool = True) -> bytes:
    """One line of newline-delimited JSON."""
    return data + b"\n"


def json_array(data: bytes, first: bool = True) -> bytes:
    """One object of a JSON array that is written piece by piece."""
    return (b"[" if first else b",") + data


END_MARKS = ("[DONE]", {"type": "message_stop"}, {"done": True})
"""Events that say no more than that the stream has ended."""


@dataclass(frozen=True)
class Harness:
    """One transport under test.

    ``make`` takes the server's base URL. ``whole`` and ``streamed`` are the requests, ``answer``
    the JSON of a good whole answer, ``events`` the bytes of a good stream's events, ``end`` its
    last event and ``ping`` what may come in between and says nothing; ``frame`` makes an event of
    a JSON text. ``owns_sockets``: the connections are the transport's own, so that no blocked read
    outlives its call. ``client``: a ready one of that kind is passed in; an async one belongs to
    its first event loop. ``broken_error``: what an HTTP error is whose text breaks off. ``slow``:
    left to `make slow` and `make conformance`. ``closes_at_once``: what nobody waits for any more
    is closed in the moment; where it is false, a read is left behind and ends by the time limit it
    was given. ``raw``: the events' bytes reach us as they came; where it is false, the SDK reads
    them. ``checks_packing``: a packed body that lacks its checksum is noticed. ``per_loop``: each
    event loop has connections of its own. ``rewrites``: the SDK writes requests and answers anew,
    follows redirects, and makes connections as it likes.
    """

    name: str
    make: Callable[[str], Transport]
    whole: WireRequest = WHOLE
    streamed: WireRequest = STREAMED
    answer: dict[str, Any] = field(
        default_factory=lambda: {
            "id": "x",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}}],
        }
    )
    events: tuple[bytes, ...] = (_event("one"), _event("two"), _event("three"))
    end: bytes = b"data: [DONE]\n\n"
    ping: bytes = b": ping\n\n"
    frame: Callable[..., bytes] = sse
    target: str = "/v1/chat/completions"
    streamed_target: str = ""
    owns_sockets: bool = True
    client: Literal["none", "sync", "async"] = "none"
    broken_error: str = "status"
    slow: bool = False
    closes_at_once: bool = True
    raw: bool = True
    checks_packing: bool = True
    per_loop: bool = True
    rewrites: bool = False

    def request(self, streamed: bool) -> WireRequest:
        """The request of that mode."""
        return self.streamed if streamed else self.whole

    def told(self, data: Any) -> Any:
        """What a whole answer or a list of events says, in a form that two of them can be
        compared in: where the SDK writes them anew, their meaning."""
        return data

    def sent(self, request: WireRequest) -> Any:
        """The JSON of a request, as the server sees it."""
        return request.body

    def target_of(self, streamed: bool) -> str:
        """The target of the request of that mode, as the server sees it."""
        return (self.streamed_target or self.target) if streamed else self.target

    def assert_closed(self, server: ScriptedServer, number: int = -1) -> None:
        """The server has seen that connection close, where this transport closes at once."""
        if self.closes_at_once:
            server.assert_closed(number)

    def padded(self, size: int) -> WireRequest:
        """The whole request, made large."""
        body = {**dict(self.whole.body or {}), "padding": "ü" * size}
        return replace(self.whole, body=body)

    def answer_well(self, exchange: Exchange) -> None:
        """The scenario of success, in the mode that was asked for."""
        if self.streamed_target == exchange.target or _asks_for_stream(exchange):
            exchange.begin_stream({"x-request-id": "req_1"})
            for event in self.events:
                exchange.chunk(event)
            exchange.chunk(self.end)
            exchange.end_stream()
        else:
            exchange.answer(json.dumps(self.answer).encode(), headers={"x-request-id": "req_1"})


def _asks_for_stream(exchange: Exchange) -> bool:
    return bool(json.loads(exchange.body or b"{}").get("stream"))


def _message_event(data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), json.dumps(data).encode())


def _text_delta(text: str) -> bytes:
    delta = {"type": "text_delta", "text": text}
    return _message_event({"type": "content_block_delta", "index": 0, "delta": delta})


MESSAGES: dict[str, Any] = {
    "whole": WireRequest("/v1/messages", BODY),
    "streamed": WireRequest("/v1/messages", {**BODY, "stream": True}, stream=True),
    "answer": {
        "id": "x",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "hello"}],
    },
    "events": (_text_delta("one"), _text_delta("two"), _text_delta("three")),
    "end": _message_event({"type": "message_stop"}),
    "target": "/v1/messages",
}
"""A harness's fields in Anthropic's dialect."""


def _sdk(name: str, module: str, make: Callable[..., Any], **fields: Any) -> list[Harness]:
    """The harnesses of an SDK's transport where that SDK is installed, else none."""
    if importlib.util.find_spec(module) is None:
        return []
    async_name = f"Async{name}"
    ready = {"owns_sockets": False, "slow": True, **fields}
    # Anthropic's SDK reads the text of an error before it looks at the status.
    if module == "anthropic":
        ready["broken_error"] = "cut"
    return [
        Harness(f"{module} SDK", make, slow=True, **fields),
        Harness(f"{module} SDK, ready {name}", lambda url: make(url, name), client="sync", **ready),
        Harness(
            f"{module} SDK, ready {async_name}",
            lambda url: make(url, async_name),
            client="async",
            **ready,
        ),
    ]


@cache
def warm(name: str) -> None:
    """One call of each sort: an SDK's first takes its time, and deadlines here are short.

    Called before a test begins, where no event loop runs.
    """
    harness = next(harness for harness in HARNESSES if harness.name == name)
    with ScriptedServer(harness.answer_well) as server:
        for driver in (SyncDriver(), AsyncDriver()):
            transport = harness.make(server.url)
            for streamed in (False, True):
                driver.call(transport, harness.request(streamed), scope(total=DEADLINE))
            driver.close(transport)
            refused = harness.make("http://127.0.0.1:9/v1")
            with suppress(WireFailure):
                driver.call(refused, harness.whole, scope(total=DEADLINE))
            driver.close(refused)
            driver.finish()


def _openai(url: str, client: str = "") -> Transport:
    from crux_providers.transports.openai_sdk import OpenAISdkTransport

    endpoint = Endpoint(url, {"authorization": "Bearer k"}, proxy="", api_key="k")
    return OpenAISdkTransport(
        endpoint, client=ready_client("openai", client, url) if client else None
    )


def _anthropic(url: str, client: str = "") -> Transport:
    from crux_providers.transports.anthropic_sdk import AnthropicSdkTransport

    url = url.removesuffix("/v1")
    endpoint = Endpoint(url, {"x-api-key": "k"}, proxy="", api_key="k")
    return AnthropicSdkTransport(
        endpoint, client=ready_client("anthropic", client, url) if client else None
    )


from tests.transports import native_harnesses  # noqa: E402  # it needs what stands above

HARNESSES: tuple[Harness, ...] = (
    Harness("http", lambda url: HttpTransport(Endpoint(url, proxy=""))),
    Harness(
        "http over an httpx transport of the user's",
        lambda url: HttpTransport(Endpoint(url), httpx_transport=BothHTTPTransport()),
        owns_sockets=False,
    ),
    *_sdk("OpenAI", "openai", _openai),
    *_sdk("Anthropic", "anthropic", _anthropic, **MESSAGES),
    *native_harnesses.HARNESSES,
)


class BothHTTPTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """httpx's own two transports as one object, as a user may write it."""

    def __init__(self) -> None:
        self.sync = httpx.HTTPTransport(verify=False)  # no certificates are needed, nor the time
        self.loops: dict[Any, httpx.AsyncHTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self.sync.handle_request(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        loop = asyncio.get_running_loop()
        if loop not in self.loops:
            self.loops[loop] = httpx.AsyncHTTPTransport(verify=False)
        return await self.loops[loop].handle_async_request(request)


def data_of(events: list[WireEvent]) -> list[Any]:
    """The JSON of a stream's events, whether the transport parsed it or not; no end marker."""
    parsed = []
    for event in events:
        data = event.data
        if isinstance(data, str | bytes) and data != "[DONE]":
            data = json.loads(data)
        if data not in END_MARKS:
            parsed.append(data)
    return parsed


def json_of(response: WireResponse) -> Any:
    """The JSON of a whole answer."""
    return response.body if isinstance(response.body, dict) else json.loads(response.body)


def scope(
    *, token: CancellationToken | None = None, whole: bool = False, **limits: float
) -> CallScope:
    """A scope in which only the named limits count, and a total that keeps a broken test short."""
    return CallScope(
        TimeoutConfig(
            connect=limits.get("connect"),
            first_token=limits.get("first_token"),
            idle=limits.get("idle"),
            total=limits.get("total", 4.0),
            explicit="first_token" in limits,
        ),
        token,
        whole=whole,
    )


class SyncDriver:
    """Calls a transport's sync half."""

    name = "sync"

    def send(self, transport: Transport, request: WireRequest, scope: CallScope) -> WireResponse:
        return transport.send(request, scope)

    def open(self, transport: Transport, request: WireRequest, scope: CallScope) -> WireStream:
        return transport.stream(request, scope)

    def next(self, stream: WireStream) -> WireEvent | None:
        return next(iter(stream), None)

    def leave(self, stream: WireStream) -> None:
        stream.close()

    def close(self, transport: Transport) -> None:
        transport.close()

    def finish(self) -> None:
        pass

    # The rest is the same for both.

    def call(self, transport: Transport, request: WireRequest, scope: CallScope) -> Any:
        """A whole answer, or all events of a stream with the scope told as the adapter does."""
        if not request.stream:
            return self.send(transport, request, scope)
        return self.read(self.open(transport, request, scope), scope)

    def read(self, stream: Any, scope: CallScope) -> list[WireEvent]:
        events: list[WireEvent] = []
        while (event := self.next(stream)) is not None:
            if not events:
                scope.committed()
            events.append(event)
            scope.resume()
        return events


class AsyncDriver(SyncDriver):
    """Calls a transport's async half, on one event loop for all calls of a test."""

    name = "async"

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, coroutine: Any) -> Any:
        return self._runner.run(coroutine)

    def send(self, transport: Transport, request: WireRequest, scope: CallScope) -> WireResponse:
        return self.run(transport.asend(request, scope))

    def open(self, transport: Transport, request: WireRequest, scope: CallScope) -> Any:
        return self.run(transport.astream(request, scope))

    def next(self, stream: AsyncWireStream) -> WireEvent | None:
        async def step() -> WireEvent | None:
            try:
                return await anext(stream)
            except StopAsyncIteration:
                return None

        return self.run(step())

    def leave(self, stream: AsyncWireStream) -> None:
        self.run(stream.aclose())

    def close(self, transport: Transport) -> None:
        self.run(transport.aclose())

    def finish(self) -> None:
        self._runner.close()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What happens inside takes at most this long."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, f"took {took:.3f} s, not {seconds} s"


def stall(exchange: Exchange) -> None:
    exchange.stall()


def after_one_event(harness: Harness, then: Callable[[Exchange], None]) -> Callable[..., None]:
    def scenario(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.chunk(harness.events[0])
        then(exchange)

    return scenario


@contextmanager
def cancelled_when(stalled: threading.Event, token: CancellationToken) -> Iterator[None]:
    """Another thread cancels once the call is blocked; what is inside then ends at once."""
    cancelled_at: list[float] = []

    def cancel() -> None:
        stalled.wait(DEADLINE)
        time.sleep(0.03)  # the server is silent; a moment for the client to block on it
        cancelled_at.append(time.monotonic())
        token.cancel("enough")

    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        with pytest.raises(CancelledError, match="enough"):
            yield
        took = time.monotonic() - cancelled_at[0]
        assert took < AT_ONCE, f"a cancelled call went on for {took:.3f} s"
    finally:
        stalled.set()
        thread.join()
