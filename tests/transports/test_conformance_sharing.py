"""Every transport: many threads, many tasks, one event loop after another, a fork."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from crux_providers.base.cancellation import CancellationToken, CancelledError
from crux_providers.base.errors import WireFailure
from tests.servers.scripted_server import DEADLINE, Exchange, ScriptedServer
from tests.transports.conformance import Harness, data_of, json_of, scope

pytestmark = pytest.mark.conformance


def test_thirty_threads_at_once(harness: Harness, server: ScriptedServer, streamed: bool) -> None:
    server.play(harness.answer_well)
    transport = harness.make(server.url)
    start = threading.Barrier(30)

    def work(number: int) -> int:
        start.wait(DEADLINE)
        done = 0
        for _ in range(4):
            limits = scope(whole=not streamed)
            if streamed:
                done += (
                    len(harness.told(data_of(list(transport.stream(harness.streamed, limits)))))
                    == 3
                )
            else:
                done += harness.told(
                    json_of(transport.send(harness.whole, limits))
                ) == harness.told(harness.answer)
        return done

    with ThreadPoolExecutor(30) as pool:
        assert sum(pool.map(work, range(30))) == 120
    assert server.requests == 120
    if harness.owns_sockets:
        assert len(server.connections) <= 30
    transport.close()


def test_fifty_tasks_at_once(harness: Harness, server: ScriptedServer, streamed: bool) -> None:
    server.play(harness.answer_well)

    async def work(transport: object) -> bool:
        limits = scope(whole=not streamed)
        if streamed:
            stream = await transport.astream(harness.streamed, limits)  # type: ignore[attr-defined]
            return len(harness.told(data_of([event async for event in stream]))) == 3
        answer = await transport.asend(harness.whole, limits)  # type: ignore[attr-defined]
        return bool(harness.told(json_of(answer)) == harness.told(harness.answer))

    async def main() -> None:
        transport = harness.make(server.url)
        for _ in range(2):
            assert all(await asyncio.gather(*(work(transport) for _ in range(50))))
        await transport.aclose()

    asyncio.run(main())
    assert server.requests == 100
    if not harness.rewrites:
        assert len(server.connections) <= 50


def test_one_call_cancelled_among_many_leaves_the_others_alone(
    harness: Harness, server: ScriptedServer
) -> None:
    release = threading.Event()

    def wait_then_answer(exchange: Exchange) -> None:
        release.wait(DEADLINE)
        harness.answer_well(exchange)

    server.play(wait_then_answer)
    transport = harness.make(server.url)
    tokens = [CancellationToken() for _ in range(8)]

    def work(token: CancellationToken) -> str:
        try:
            transport.send(harness.whole, scope(token=token))
        except CancelledError:
            return "cancelled"
        return "answered"

    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(work, token) for token in tokens]
        until = time.monotonic() + DEADLINE
        while server.requests < 8 and time.monotonic() < until:
            time.sleep(0.005)
        tokens[3].cancel("this one")
        assert results[3].result(DEADLINE) == "cancelled"
        release.set()
        assert [r.result(DEADLINE) for r in results].count("answered") == 7
    transport.close()


def test_three_asyncio_runs_in_a_row(
    harness: Harness,
    server: ScriptedServer,
    streamed: bool,
    record_property: Callable[[str, str], None],
) -> None:
    """One transport, a new loop each time; the sockets of a loop that is gone are closed."""
    server.play(harness.answer_well)
    gc.collect()  # what other tests left
    transport = harness.make(server.url)

    async def main() -> None:
        for _ in range(2):
            if streamed:
                stream = await transport.astream(harness.streamed, scope())
                assert len(harness.told(data_of([event async for event in stream]))) == 3
            else:
                assert harness.told(
                    json_of(await transport.asend(harness.whole, scope()))
                ) == harness.told(harness.answer)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(main())
        for _ in range(2):
            if harness.client == "async":
                with pytest.raises(WireFailure, match="event loop it was first used on") as told:
                    asyncio.run(main())
                assert told.value.kind == "local"
                record_property("error", told.value.message)
            else:
                asyncio.run(main())
        gc.collect()
    if harness.client == "async":
        assert (server.requests, len(server.connections)) == (2, 1)
        return
    assert server.requests == 6
    if harness.client == "none" and not harness.rewrites:
        expected = 3 if harness.per_loop else 1
        assert len(server.connections) == expected, "one connection per loop, used twice"
    if harness.owns_sockets:
        assert [str(w.message) for w in caught] == []
        for number in range(3):
            server.assert_closed(number)


def test_a_loop_closed_without_ceremony_leaves_no_warning(
    harness: Harness, server: ScriptedServer
) -> None:
    if not harness.owns_sockets:
        pytest.skip("whose connections they are decides how they end")
    server.play(harness.answer_well)
    gc.collect()  # what other tests left
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        transport = harness.make(server.url)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(transport.asend(harness.whole, scope()))
        loop.close()
        del loop
        gc.collect()
        harness.assert_closed(server)
        asyncio.run(transport.asend(harness.whole, scope()))
        gc.collect()
    assert [str(w.message) for w in caught if issubclass(w.category, ResourceWarning)] == []


def test_a_loop_per_thread(harness: Harness, server: ScriptedServer) -> None:
    server.play(harness.answer_well)
    transport = harness.make(server.url)
    start = threading.Barrier(6)

    async def main() -> int:
        answers = await asyncio.gather(*(transport.asend(harness.whole, scope()) for _ in range(5)))
        return len(answers)

    def work(number: int) -> int:
        start.wait(DEADLINE)
        return asyncio.run(main())

    if harness.client == "async":
        # The client's own loop serves them all, as long as it runs.
        async def at_home() -> None:
            await transport.asend(harness.whole, scope())
            everybody = [pool.submit(work, number) for number in range(6)]
            await asyncio.to_thread(wait, everybody, DEADLINE)
            assert [one.result(0) for one in everybody] == [5] * 6

        with ThreadPoolExecutor(6) as pool:
            asyncio.run(at_home())
        assert server.requests == 31
        return
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(6))) == [5] * 6
    assert server.requests == 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_opens_its_own_connections(harness: Harness, server: ScriptedServer) -> None:
    """And the parent's, sync and async, serve on as if nothing had been."""
    if not harness.owns_sockets:
        pytest.skip("what a user's transport does after a fork is the user's")
    server.play(harness.answer_well)
    transport = harness.make(server.url)

    with asyncio.Runner() as runner:
        transport.send(harness.whole, scope())
        runner.run(transport.asend(harness.whole, scope()))
        assert len(server.connections) == 2
        child = os.fork()
        if child == 0:  # no pytest in here: whatever happens, this process ends now
            status = 1
            try:
                answer = transport.send(harness.whole, scope())
                again = asyncio.run(transport.asend(harness.whole, scope()))
                transport.close()
                status = 0 if json_of(answer) == json_of(again) == harness.answer else 2
            finally:
                os._exit(status)
        until = time.monotonic() + DEADLINE
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
            assert time.monotonic() < until, "the child hangs"
            time.sleep(0.005)
        assert os.waitstatus_to_exitcode(ended[1]) == 0
        assert len(server.connections) == 4, "the child has opened two of its own"
        transport.send(harness.whole, scope())
        runner.run(transport.asend(harness.whole, scope()))
    assert (server.requests, len(server.connections)) == (6, 4)
    transport.close()
