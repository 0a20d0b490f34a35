"""The http transport over httpx transports of the user's own."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from crux_providers.base.cancellation import CancellationToken, CancelledError
from crux_providers.base.errors import WireFailure
from crux_providers.base.wire import Endpoint, WireRequest
from crux_providers.transports.http import HttpTransport
from tests.servers.scripted_server import Exchange, ScriptedServer
from tests.transports.conformance import (
    AT_ONCE,
    HARNESSES,
    AsyncDriver,
    SyncDriver,
    data_of,
    json_of,
    scope,
    within,
)

HTTP = HARNESSES[0]


def over(transport: Any) -> HttpTransport:
    return HttpTransport(Endpoint("https://host.example/v1"), httpx_transport=transport)


def test_a_mock_transport_answers(driver: SyncDriver) -> None:
    threads = []

    def answer(request: httpx.Request) -> httpx.Response:
        threads.append(threading.current_thread())
        if json.loads(request.content).get("stream"):
            return httpx.Response(200, text="".join(e.decode() for e in HTTP.events))
        return httpx.Response(
            200,
            content=gzip.compress(json.dumps(HTTP.answer).encode()),
            headers={"content-encoding": "gzip", "X-Request-Id": "r"},
        )

    transport = over(httpx.MockTransport(answer))
    whole = driver.send(transport, HTTP.whole, scope())
    assert json_of(whole) == HTTP.answer
    assert whole.headers["x-request-id"] == "r"
    assert len(data_of(driver.call(transport, HTTP.streamed, scope()))) == 3
    assert set(threads) == {threading.current_thread()}, "a user's code runs in the user's thread"


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (httpx.ConnectError("no"), "connect"),
        (httpx.ReadTimeout("no"), "timeout"),
        (httpx.RemoteProtocolError("no"), "cut"),
        (httpx.ProxyError("no"), "connect"),
        (OSError(104, "reset"), "cut"),
    ],
)
def test_what_it_raises_is_mapped(
    driver: SyncDriver, streamed: bool, raised: Exception, kind: str
) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise raised

    with pytest.raises(WireFailure) as caught:
        driver.call(over(httpx.MockTransport(fail)), HTTP.request(streamed), scope())
    assert caught.value.kind == ("cut" if isinstance(raised, ConnectionResetError) else kind)


def test_a_bug_in_it_is_not_a_network_error(driver: SyncDriver, streamed: bool) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        driver.call(over(httpx.MockTransport(fail)), HTTP.request(streamed), scope())


class SyncOnly(httpx.BaseTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=iter([b"data: 1\n\n"]))


class AsyncOnly(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"

        return httpx.Response(200, content=body())


def test_one_half_is_enough_for_that_half(driver: SyncDriver, streamed: bool) -> None:
    is_async = isinstance(driver, AsyncDriver)
    right, wrong = (AsyncOnly, SyncOnly) if is_async else (SyncOnly, AsyncOnly)
    assert driver.call(over(right()), HTTP.request(streamed), scope())
    with pytest.raises(WireFailure, match="calls only") as caught:
        driver.call(over(wrong()), HTTP.request(streamed), scope())
    assert caught.value.kind == "local"


def test_a_body_of_the_wrong_kind(driver: SyncDriver) -> None:
    """A mock whose handler gives an async body to a sync call, or the other way round."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b""

    is_async = isinstance(driver, AsyncDriver)
    content: Any = iter([b""]) if is_async else pieces()
    mock = httpx.MockTransport(lambda request: httpx.Response(200, content=content))
    with pytest.raises(WireFailure, match="calls only") as caught:
        driver.send(over(mock), HTTP.whole, scope())
    assert caught.value.kind == "local"


def test_it_is_given_the_limits_as_httpx_timeouts(driver: SyncDriver) -> None:
    seen: list[dict[str, float]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"])
        return httpx.Response(200, json={})

    driver.send(over(httpx.MockTransport(answer)), HTTP.whole, scope(connect=1.0, total=3.0))
    (timeouts,) = seen
    assert 0.9 < timeouts["connect"] <= 1.0
    assert 2.9 < timeouts["read"] <= 3.0
    assert set(timeouts) == {"connect", "read", "write", "pool"}


class Blocking(httpx.BaseTransport):
    """A transport that nobody can interrupt."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.release = threading.Event()
        self.closed = threading.Event()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.where == "headers":
            self.release.wait(5)
        return httpx.Response(200, stream=_Body(self))


class _Body(httpx.SyncByteStream):
    def __init__(self, owner: Blocking) -> None:
        self.owner = owner

    def __iter__(self) -> Iterator[bytes]:
        yield HTTP.events[0]
        self.owner.release.wait(5)
        yield HTTP.events[1]

    def close(self) -> None:
        self.owner.closed.set()


@pytest.mark.parametrize("where", ["headers", "body"])
@pytest.mark.parametrize("ending", ["cancel", "deadline"])
def test_one_that_cannot_be_interrupted_is_left_behind(
    where: str, ending: str, streamed: bool
) -> None:
    """The caller goes on at once; the thread that was left closes the response when it comes to."""
    blocking = Blocking(where)
    token = CancellationToken()
    limits = scope(token=token) if ending == "cancel" else scope(total=0.1)
    if ending == "cancel":
        threading.Timer(0.1, token.cancel, ["enough"]).start()
    with within(0.1 + AT_ONCE), pytest.raises((CancelledError, WireFailure)) as caught:
        SyncDriver().call(over(blocking), HTTP.request(streamed), limits)
    assert isinstance(caught.value, CancelledError if ending == "cancel" else WireFailure)
    assert not blocking.closed.is_set()
    blocking.release.set()
    assert blocking.closed.wait(5)


def test_a_read_that_was_left_behind_ends_with_its_socket(server: ScriptedServer) -> None:
    """httpx names the socket of an open response, so nothing waits for its timeout."""

    def answer(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.chunk(HTTP.events[0])
        exchange.stall()

    server.play(answer)
    token = CancellationToken()
    foreign = httpx.HTTPTransport(verify=False)
    transport = HttpTransport(Endpoint(server.url), httpx_transport=foreign)
    stream = transport.stream(HTTP.streamed, scope(token=token))
    assert next(stream)
    threading.Timer(0.05, token.cancel, ["enough"]).start()
    with pytest.raises(CancelledError):
        next(stream)
    with within(AT_ONCE):
        server.assert_closed()
    foreign.close()


def test_it_stays_the_users_to_close(driver: SyncDriver) -> None:
    class Closable(httpx.MockTransport):
        closed = False

        def close(self) -> None:
            self.closed = True

        async def aclose(self) -> None:
            self.closed = True

    mock = Closable(lambda request: httpx.Response(200, json={}))
    transport = over(mock)
    driver.send(transport, WireRequest("/chat", {}), scope())
    driver.close(transport)
    assert not mock.closed


def test_a_slow_body_is_checked_between_its_pieces() -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            time.sleep(0.02)
            yield b": ping\n\n"

    mock = httpx.MockTransport(lambda request: httpx.Response(200, content=pieces()))
    with within(0.1 + AT_ONCE), pytest.raises(WireFailure) as caught:
        SyncDriver().call(over(mock), HTTP.streamed, scope(first_token=0.1))
    assert caught.value.phase == "first_token"
