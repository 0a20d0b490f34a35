"""Every transport: leaving early, keeping connections, connecting."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from crux_providers.base.cancellation import CancellationToken
from crux_providers.base.errors import WireFailure
from crux_providers.base.interfaces import Transport
from tests.servers.scripted_server import DEADLINE, Exchange, ScriptedServer
from tests.transports.conformance import (
    AT_ONCE,
    SHORT,
    Harness,
    SyncDriver,
    after_one_event,
    cancelled_when,
    scope,
    stall,
    within,
)

pytestmark = pytest.mark.conformance


def test_leaving_a_stream_closes_its_socket(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    server.play(after_one_event(harness, stall))
    stream = driver.open(transport, harness.streamed, scope())
    assert driver.next(stream) is not None
    with within(AT_ONCE):
        driver.leave(stream)
    harness.assert_closed(server)
    server.play(harness.answer_well)
    driver.call(transport, harness.streamed, scope())
    assert len(server.connections) == 2


def test_leaving_a_stream_that_never_stops_is_quick(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    server.play(after_one_event(harness, lambda e: e.ping_for_ever(b"x" * 4096 + b"\n", 0.0001)))
    stream = driver.open(transport, harness.streamed, scope())
    assert driver.next(stream) is not None
    with within(AT_ONCE):
        driver.leave(stream)
    harness.assert_closed(server)


def test_a_forgotten_stream_closes_its_socket(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    if not harness.owns_sockets:
        pytest.skip("whose connection it is decides what happens to it")
    server.play(after_one_event(harness, stall))
    stream = driver.open(transport, harness.streamed, scope())
    assert driver.next(stream) is not None
    del stream
    harness.assert_closed(server)


def test_connections_are_kept_and_used_again(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    if harness.rewrites:
        pytest.skip("when LiteLLM keeps a connection is its own affair")
    for streamed in (False, True, True, False, True):
        driver.call(transport, harness.request(streamed), scope())
    assert (server.requests, len(server.connections)) == (5, 1)


def test_a_stream_left_at_its_end_marker_keeps_its_connection(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    """As the provider driver does; the last bytes, which say nothing, are read along."""
    if not harness.owns_sockets:
        pytest.skip("only on connections of its own can a read be tried without waiting")
    for _ in range(3):
        stream = driver.open(transport, harness.streamed, scope())
        for _ in range(len(harness.events) + 1):
            assert driver.next(stream) is not None
        driver.leave(stream)
    assert (server.requests, len(server.connections)) == (3, 1)


def test_a_refusal_keeps_its_connection(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool,
) -> None:  # fmt: skip
    if harness.rewrites:
        pytest.skip("when LiteLLM keeps a connection is its own affair")
    server.play_in_turn(lambda e: e.answer(b"{}", 429), harness.answer_well)
    with pytest.raises(WireFailure):
        driver.call(transport, harness.request(streamed), scope())
    driver.call(transport, harness.request(streamed), scope())
    assert (server.requests, len(server.connections)) == (2, 1)


def test_a_connection_the_server_closed_meanwhile_is_not_used(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool,
) -> None:  # fmt: skip
    def answer_and_close(exchange: Exchange) -> None:
        harness.answer_well(exchange)
        exchange.hang_up()

    server.play_in_turn(answer_and_close, harness.answer_well)
    driver.call(transport, harness.request(streamed), scope())
    server.connections[0].sock.close()
    _until(lambda: server.connections[0].sock.fileno() < 0)
    time.sleep(0.02)  # loopback: the close is at the client's socket by now
    driver.call(transport, harness.request(streamed), scope())
    assert (server.requests, len(server.connections)) == (2, 2)


def test_a_kept_connection_closed_in_the_moment_of_the_request_is_a_cut(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool,
) -> None:  # fmt: skip
    """Nobody knows what the server made of the request, so it is not sent again."""
    if harness.rewrites:
        pytest.skip("when LiteLLM keeps a connection is its own affair")
    server.play_in_turn(harness.answer_well, lambda exchange: exchange.hang_up())
    driver.call(transport, harness.request(streamed), scope())
    with pytest.raises(WireFailure) as caught:
        driver.call(transport, harness.request(streamed), scope())
    assert caught.value.kind == "cut"
    assert (server.requests, len(server.connections)) == (2, 1)


def test_nobody_listens(harness: Harness, driver: SyncDriver, streamed: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    transport = harness.make(f"http://127.0.0.1:{port}/v1")
    with pytest.raises(WireFailure) as caught:
        driver.call(transport, harness.request(streamed), scope())
    assert caught.value.kind == "connect"
    driver.close(transport)


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port whose queue is full: the system drops what knocks, so connecting blocks."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting: list[socket.socket] = []
        try:
            for _ in range(16):
                sock = socket.socket()
                waiting.append(sock)
                sock.settimeout(0.05)
                try:
                    sock.connect(listener.getsockname())
                except TimeoutError:
                    break
            else:
                pytest.skip("this system queues connections without a limit")
            yield listener.getsockname()[1]
        finally:
            for sock in waiting:
                sock.close()


def test_connecting_has_its_own_limit(harness: Harness, driver: SyncDriver, streamed: bool) -> None:
    with deaf_port() as port:
        transport = harness.make(f"http://127.0.0.1:{port}/v1")
        with within(SHORT + AT_ONCE), pytest.raises(WireFailure) as caught:
            driver.call(transport, harness.request(streamed), scope(connect=SHORT))
        assert (caught.value.kind, caught.value.phase) == ("timeout", "connect")
        driver.close(transport)


def test_cancel_while_connecting(harness: Harness, driver: SyncDriver, streamed: bool) -> None:
    with deaf_port() as port:
        transport = harness.make(f"http://127.0.0.1:{port}/v1")
        token, blocked = CancellationToken(), threading.Event()
        blocked.set()
        with cancelled_when(blocked, token):
            driver.call(transport, harness.request(streamed), scope(token=token))
        driver.close(transport)


def test_close_may_be_called_twice_and_the_transport_used_again(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    driver.call(transport, harness.whole, scope())
    driver.close(transport)
    driver.close(transport)
    if harness.owns_sockets:
        harness.assert_closed(server)
        driver.call(transport, harness.whole, scope())


def test_a_large_request_body_arrives_whole(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    request = harness.padded(3_000_000)
    driver.call(transport, request, scope())
    assert json.loads(server.exchanges[0].body) == harness.sent(request)


def _until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)
