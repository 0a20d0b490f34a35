"""Every transport: deadlines, cancellation, leaving early, and what the server sees of them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import pytest

from crux_providers.base.cancellation import CancellationToken, CancelledError
from crux_providers.base.errors import WireFailure
from crux_providers.base.interfaces import Transport
from crux_providers.base.timeouts import operation_timeout
from tests.servers.scripted_server import DEADLINE, Exchange, ScriptedServer
from tests.transports.conformance import (
    AT_ONCE,
    SHORT,
    Harness,
    SyncDriver,
    after_one_event,
    cancelled_when,
    data_of,
    scope,
    stall,
    within,
)

pytestmark = pytest.mark.conformance


def stall_in_body(exchange: Exchange) -> None:
    exchange.head(200, {"content-type": "application/json", "content-length": "999"})
    exchange.send(b'{"choices": [')
    exchange.stall()


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
    harness.assert_closed(server)
    assert server.requests == 1


def test_a_stall_in_a_whole_body_times_out(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    server.play(stall_in_body)
    with within(SHORT + AT_ONCE), pytest.raises(WireFailure) as caught:
        driver.send(transport, harness.whole, scope(whole=True, total=SHORT))
    assert (caught.value.kind, caught.value.phase) == ("timeout", "total")
    harness.assert_closed(server)


@pytest.mark.parametrize("noise", ["silence", "pings"])
def test_a_stall_in_a_stream_is_idle_however_much_it_pings(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport, noise: str
) -> None:
    then = stall if noise == "silence" else lambda exchange: exchange.ping_for_ever(harness.ping)
    server.play(after_one_event(harness, then))
    limits = scope(idle=SHORT)
    stream = driver.open(transport, harness.streamed, limits)
    assert driver.next(stream) is not None
    limits.committed()
    with within(SHORT + AT_ONCE), pytest.raises(WireFailure) as caught:
        driver.next(stream)
    assert (caught.value.kind, caught.value.phase) == ("timeout", "idle")
    harness.assert_closed(server)


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
    harness.assert_closed(server)


def test_total_ends_a_stream_that_never_stops(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    server.play(
        after_one_event(harness, lambda exchange: exchange.ping_for_ever(harness.events[1], 0.01))
    )
    with within(2 * SHORT + AT_ONCE), pytest.raises(WireFailure) as caught:
        driver.call(transport, harness.streamed, scope(total=2 * SHORT, idle=1.0))
    assert (caught.value.kind, caught.value.phase) == ("timeout", "total")
    harness.assert_closed(server)


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
    assert len(harness.told(data_of([first, *rest]))) == 2


async def test_a_slow_consumer_on_a_running_loop_is_no_silent_provider(
    harness: Harness, server: ScriptedServer
) -> None:
    """Whatever a read has armed goes off while the consumer takes its time, and means nothing."""
    hurry = threading.Event()

    def answer(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.chunk(harness.events[0])
        time.sleep(SHORT / 3)
        exchange.chunk(harness.events[1])
        hurry.wait(DEADLINE)
        time.sleep(SHORT / 3)
        exchange.chunk(harness.events[2] + harness.end)
        exchange.end_stream()

    server.play(answer)
    transport, limits = harness.make(server.url), scope(idle=SHORT)
    stream = await transport.astream(harness.streamed, limits)
    events = [await anext(stream)]
    limits.committed()
    events.append(await anext(stream))
    await asyncio.sleep(2 * SHORT)
    hurry.set()
    limits.resume()
    async for event in stream:
        events.append(event)
        limits.resume()
    assert len(harness.told(data_of(events))) == 3
    await transport.aclose()


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
    harness.assert_closed(server)


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


def test_cancel_while_waiting_for_the_headers(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool,
) -> None:  # fmt: skip
    server.play(stall)
    token = CancellationToken()
    with cancelled_when(server.stalled, token):
        driver.call(transport, harness.request(streamed), scope(token=token, whole=not streamed))
    if harness.owns_sockets:
        harness.assert_closed(server)
    assert server.requests == 1


def test_cancel_on_a_reused_connection(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool,
) -> None:  # fmt: skip
    if harness.rewrites:
        pytest.skip("when LiteLLM keeps a connection is its own affair")
    driver.call(transport, harness.request(streamed), scope())
    server.play(stall)
    token = CancellationToken()
    with cancelled_when(server.stalled, token):
        driver.call(transport, harness.request(streamed), scope(token=token))
    if harness.owns_sockets:
        harness.assert_closed(server)
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
    harness.assert_closed(server)


@pytest.mark.parametrize("noise", ["silence", "pings"])
def test_cancel_in_the_middle_of_a_stream(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport, noise: str
) -> None:
    then = stall if noise == "silence" else lambda exchange: exchange.ping_for_ever(harness.ping)
    server.play(after_one_event(harness, then))
    token = CancellationToken()
    limits = scope(token=token)
    stream = driver.open(transport, harness.streamed, limits)
    assert driver.next(stream) is not None
    with cancelled_when(server.stalled, token):
        driver.next(stream)
    harness.assert_closed(server)
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
        await asyncio.to_thread(harness.assert_closed, server)
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
        await asyncio.to_thread(harness.assert_closed, server)
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
    if harness.owns_sockets:
        harness.assert_closed(server)
    transport.close()
