"""Every transport: deadlines, cancellation, leaving early, and what the server sees of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from crux_providers.base.cancellation import CancellationToken, CancelledError
from crux_providers.base.errors import WireFailure
from crux_providers.base.interfaces import Transport
from crux_providers.base.timeouts import operation_timeout
from tests.servers.scripted_server import DEADLINE, Exchange, ScriptedServer
from tests.transports.conformance import (
    AT_ONCE,
    Harness,
    SyncDriver,
    data_of,
    scope,
    within,
)

pytestmark = pytest.mark.conformance

SHORT = 0.1
"""A deadline short enough to wait for."""


def stall(exchange: Exchange) -> None:
    exchange.stall()


def stall_in_body(exchange: Exchange) -> None:
    exchange.head(200, {"content-type": "application/json", "content-length": "999"})
    exchange.send(b'{"choices": [')
    exchange.stall()


def after_one_event(harness: Harness, then: Callable[[Exchange], None]) -> Callable[..., None]:
    def scenario(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.chunk(harness.events[0])
        then(exchange)

    return scenario


# -- deadlines -------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["first_token", "total"])
def test_a_stall_before_the_headers_times_out(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool, phase: str,
) -> None:  # fmt: skip
    server.play(stall)
    with within(SHORT + AT_ONCE), pytest.raises(WireFailure) as caught:
        driver.call(
            transport, harness.request(streamed), scope(whole=not streamed, **{phase: SHORT})
        )
    assert (caught.value.kind, caught.value.phase) == ("timeout", phase)
    server.assert_closed()
    assert server.requests == 1


def test_a_stall_in_a_whole_body_times_out(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    server.play(stall_in_body)
    with within(SHORT + AT_ONCE), pytest.raises(WireFailure) as caught:
        driver.send(transport, harness.whole, scope(whole=True, total=SHORT))
    assert (caught.value.kind, caught.value.phase) == ("timeout", "total")
    server.assert_closed()


@pytest.mark.parametrize("noise", ["silence", "pings"])
def test_a_stall_in_a_stream_is_idle_however_much_it_pings(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport, noise: str
) -> None:
    then = (
        stall if noise == "silence" else lambda exchange: exchange.ping_for_ever(harness.ping)
    )
    server.play(after_one_event(harness, then))
    limits = scope(idle=SHORT)
    stream = driver.open(transport, harness.streamed, limits)
    assert driver.next(stream) is not None
    limits.committed()
    with within(SHORT + AT_ONCE), pytest.raises(WireFailure) as caught:
        driver.next(stream)
    assert (caught.value.kind, caught.value.phase) == ("timeout", "idle")
    server.assert_closed()


def test_pings_do_not_put_off_the_first_token(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    def pings_only(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.ping_for_ever(harness.ping)

    server.play(pings_only)
    with within(SHORT + AT_ONCE), pytest.raises(WireFailure) as caught:
        driver.call(transport, harness.streamed, scope(first_token=SHORT, idle=SHORT / 3))
    assert (caught.value.kind, caught.value.phase) == ("timeout", "first_token")
    server.assert_closed()


def test_total_ends_a_stream_that_never_stops(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    server.play(
        after_one_event(harness, lambda exchange: exchange.ping_for_ever(harness.events[1], 0.01))
    )
    with within(2 * SHORT + AT_ONCE), pytest.raises(WireFailure) as caught:
        driver.call(transport, harness.streamed, scope(total=2 * SHORT, idle=1.0))
    assert (caught.value.kind, caught.value.phase) == ("timeout", "total")
    server.assert_closed()


def test_a_slow_consumer_is_no_silent_provider(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    """Between two reads the consumer takes longer than idle; the server then makes it wait."""
    hurry = threading.Event()

    def answer(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.chunk(harness.events[0])
        hurry.wait(DEADLINE)
        time.sleep(SHORT / 3)  # the wait itself stays within idle
        exchange.chunk(harness.events[1] + harness.end)
        exchange.end_stream()

    server.play(answer)
    limits = scope(idle=SHORT)
    stream = driver.open(transport, harness.streamed, limits)
    first = driver.next(stream)
    assert first is not None
    limits.committed()
    time.sleep(2 * SHORT)
    hurry.set()
    limits.resume()
    rest = driver.read(stream, limits)
    assert len(data_of([first, *rest])) == 2


def test_operation_timeout_bounds_the_start(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool,
) -> None:  # fmt: skip
    server.play(stall)
    with operation_timeout(SHORT):
        limits = scope(whole=not streamed)
    with within(SHORT + AT_ONCE), pytest.raises(WireFailure) as caught:
        driver.call(transport, harness.request(streamed), limits)
    assert (caught.value.kind, caught.value.phase) == ("timeout", "first_token")
    server.assert_closed()


def test_a_call_out_of_time_sends_nothing(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool,
) -> None:  # fmt: skip
    limits = scope(total=0.001)
    time.sleep(0.01)
    with pytest.raises(WireFailure) as caught:
        driver.call(transport, harness.request(streamed), limits)
    assert caught.value.kind == "timeout"
    assert server.requests == 0


# -- cancellation ----------------------------------------------------------------------------------


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


def test_cancel_while_waiting_for_the_headers(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool,
) -> None:  # fmt: skip
    server.play(stall)
    token = CancellationToken()
    with cancelled_when(server.stalled, token):
        driver.call(transport, harness.request(streamed), scope(token=token, whole=not streamed))
    if harness.name == "http":
        server.assert_closed()
    assert server.requests == 1


def test_cancel_on_a_reused_connection(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool,
) -> None:  # fmt: skip
    driver.call(transport, harness.request(streamed), scope())
    server.play(stall)
    token = CancellationToken()
    with cancelled_when(server.stalled, token):
        driver.call(transport, harness.request(streamed), scope(token=token))
    if harness.name == "http":
        server.assert_closed()
    assert len(server.connections) == 1
    server.play(harness.answer_well)
    driver.call(transport, harness.request(streamed), scope())
    assert len(server.connections) == 2, "a connection that was shut down is not used again"


def test_cancel_in_the_middle_of_a_whole_body(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    server.play(stall_in_body)
    token = CancellationToken()
    with cancelled_when(server.stalled, token):
        driver.send(transport, harness.whole, scope(token=token))
    server.assert_closed()


@pytest.mark.parametrize("noise", ["silence", "pings"])
def test_cancel_in_the_middle_of_a_stream(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport, noise: str
) -> None:
    then = (
        stall if noise == "silence" else lambda exchange: exchange.ping_for_ever(harness.ping)
    )
    server.play(after_one_event(harness, then))
    token = CancellationToken()
    limits = scope(token=token)
    stream = driver.open(transport, harness.streamed, limits)
    assert driver.next(stream) is not None
    with cancelled_when(server.stalled, token):
        driver.next(stream)
    server.assert_closed()
    driver.leave(stream)
    assert driver.next(stream) is None


def test_a_call_cancelled_before_it_began_sends_nothing(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool,
) -> None:  # fmt: skip
    token = CancellationToken()
    token.cancel("too late")
    with pytest.raises(CancelledError, match="too late"):
        driver.call(transport, harness.request(streamed), scope(token=token))
    assert server.requests == 0


def test_cancel_after_the_answer_touches_nobody_else(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool,
) -> None:  # fmt: skip
    """The connection may serve another call by then."""
    token = CancellationToken()
    driver.call(transport, harness.request(streamed), scope(token=token))
    entered = threading.Event()

    def answer_late(exchange: Exchange) -> None:
        entered.set()
        token.cancel("too late")
        harness.answer_well(exchange)

    server.play(answer_late)
    driver.call(transport, harness.request(streamed), scope())
    assert entered.is_set()
    assert server.requests == 2


def test_a_cancelled_task_closes_its_socket(
    harness: Harness, server: ScriptedServer, streamed: bool
) -> None:
    """asyncio's own cancellation passes as itself."""
    server.play(stall)

    async def main() -> None:
        transport = harness.make(server.url)
        request, limits = harness.request(streamed), scope()
        call = transport.astream(request, limits) if streamed else transport.asend(request, limits)
        task = asyncio.ensure_future(call)
        await asyncio.to_thread(server.stalled.wait, DEADLINE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(server.assert_closed)
        await transport.aclose()

    asyncio.run(main())
    assert server.requests == 1


def test_a_cancelled_task_closes_its_open_stream(harness: Harness, server: ScriptedServer) -> None:
    server.play(after_one_event(harness, stall))

    async def main() -> None:
        transport = harness.make(server.url)
        stream = await transport.astream(harness.streamed, scope())
        await anext(stream)
        task = asyncio.ensure_future(anext(stream))
        await asyncio.to_thread(server.stalled.wait, DEADLINE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(server.assert_closed)
        await transport.aclose()

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no POSIX signals here")
def test_an_interrupt_passes_and_closes_the_socket(
    harness: Harness, server: ScriptedServer
) -> None:
    """As Ctrl-C does: an exception raised in the main thread while it is blocked in a read."""
    server.play(stall)
    transport = harness.make(server.url)

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)

    def raise_signal() -> None:
        server.stalled.wait(DEADLINE)
        os.kill(os.getpid(), signal.SIGALRM)

    thread = threading.Thread(target=raise_signal)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            transport.send(harness.whole, scope(whole=True))
    finally:
        thread.join()
        signal.signal(signal.SIGALRM, before)
    if harness.name == "http":
        server.assert_closed()
    transport.close()


# -- leaving early and connections -----------------------------------------------------------------


def test_leaving_a_stream_closes_its_socket(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    server.play(after_one_event(harness, stall))
    stream = driver.open(transport, harness.streamed, scope())
    assert driver.next(stream) is not None
    with within(AT_ONCE):
        driver.leave(stream)
    server.assert_closed()
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
    server.assert_closed()


def test_a_forgotten_stream_closes_its_socket(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    if harness.name != "http":
        pytest.skip("whose connection it is decides what happens to it")
    server.play(after_one_event(harness, stall))
    stream = driver.open(transport, harness.streamed, scope())
    assert driver.next(stream) is not None
    del stream
    server.assert_closed()


def test_connections_are_kept_and_used_again(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    for streamed in (False, True, True, False, True):
        driver.call(transport, harness.request(streamed), scope())
    assert (server.requests, len(server.connections)) == (5, 1)


def test_a_stream_left_at_its_end_marker_keeps_its_connection(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    """As the provider driver does; the last bytes, which say nothing, are read along."""
    if harness.name != "http":
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


def test_connecting_has_its_own_limit(
    harness: Harness, driver: SyncDriver, streamed: bool
) -> None:
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
    if harness.name == "http":
        server.assert_closed()
        driver.call(transport, harness.whole, scope())


def test_a_large_request_body_arrives_whole(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    from dataclasses import replace

    body = {**dict(harness.whole.body or {}), "padding": "ü" * 3_000_000}
    driver.call(transport, replace(harness.whole, body=body), scope())
    assert json.loads(server.exchanges[0].body) == body


def _until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


