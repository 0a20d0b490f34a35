"""The conformance suite's scenarios for a transport that has no sockets: each kept, or why not.

What plays the silent server here is a prompt that takes seconds to read; what plays the socket
that must be closed is the processor, which must come to rest.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from crux_providers.base.cancellation import CancellationToken, CancelledError
from crux_providers.base.errors import WireFailure
from crux_providers.base.timeouts import CallScope, operation_timeout
from crux_providers.base.wire import WireRequest
from crux_providers.transports import llamacpp_engine
from crux_providers.transports.llamacpp import LlamaCppTransport
from tests.local.calls import endless, wire
from tests.local.scenarios import SCENARIOS
from tests.transports.conformance import (
    AT_ONCE,
    SHORT,
    SyncDriver,
    cancelled_when,
    data_of,
    json_of,
    scope,
    within,
)

pytestmark = [pytest.mark.integration, pytest.mark.conformance]


def test_every_scenario_is_accounted_for() -> None:
    folder = Path(__file__).resolve().parent.parent / "transports"
    files = sorted(folder.glob("test_conformance_*.py"))
    names = {name for file in files for name in _tests_of(file)}
    assert len(names) > 40
    assert set(SCENARIOS) == names
    own = _tests_of(Path(__file__))
    kept = [kept for kept in SCENARIOS.values() if kept.startswith("test_")]
    assert len(kept) > 25
    assert set(kept) <= own


def _tests_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text("utf-8"))
    found = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name for node in found if node.name.startswith("test_")}


slow = pytest.mark.slow


def long_prompt(streamed: bool) -> WireRequest:
    """Seconds pass before its first token."""
    return wire(streamed, "word " * 3000)


def read_untold(
    driver: SyncDriver, model: LlamaCppTransport, streamed: bool, limits: CallScope
) -> None:
    """Read a slow call to its end, with a scope that nobody tells of what came."""
    if streamed:
        drain(driver, driver.open(model, long_prompt(True), limits))
    else:
        driver.call(model, long_prompt(False), limits)


def drain(driver: SyncDriver, stream: Any) -> None:
    while driver.next(stream):
        pass


def assert_at_rest() -> None:
    """Nothing computes any more: a step of the prompt may still end, then the processor rests."""
    until = time.monotonic() + 5.0
    while True:
        before = time.process_time()
        time.sleep(0.1)
        spent = time.process_time() - before
        if spent < 0.02:
            return
        assert time.monotonic() < until, f"it computes on: {spent:.3f} s of CPU in 0.1 s"


@pytest.fixture(autouse=True)
def warm(model: LlamaCppTransport) -> None:
    """The model is loaded, and nobody computes, before a test looks at the clock."""
    model.send(wire(False, max_tokens=1), scope(total=60))


# -- answers ---------------------------------------------------------------------------------------


def test_success(model: LlamaCppTransport, driver: SyncDriver, streamed: bool, gguf: Path) -> None:
    result = driver.call(model, wire(streamed), scope(whole=not streamed, total=30))
    if streamed:
        chunks = data_of(result)
        text = "".join(
            c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]
        )
        assert {chunk["model"] for chunk in chunks} == {gguf.stem}
        assert not any("prompt_progress" in chunk for chunk in chunks)
    else:
        assert result.status == 200
        (choice,) = json_of(result)["choices"]
        text = choice["message"]["content"]
        assert choice["finish_reason"] in ("stop", "length")
    assert "Paris" in text


def test_an_open_stream_can_be_left_twice(model: LlamaCppTransport, driver: SyncDriver) -> None:
    stream: Any = driver.open(model, endless(), scope())
    assert (stream.status, stream.headers, stream.owned) == (200, {}, True)
    assert driver.next(stream) is not None
    driver.leave(stream)
    driver.leave(stream)
    assert driver.next(stream) is None


@slow
def test_its_own_refusals(model: LlamaCppTransport, driver: SyncDriver, streamed: bool) -> None:
    """Some it returns and some it raises; a prompt of 200 KB arrives whole, to be refused."""
    for request, code in (
        (wire(streamed, "word " * 40_000), "exceed_context_size_error"),
        (wire(streamed, extra={"n": 2}), "invalid_request_error"),
        (wire(streamed, extra={"messages": "none"}), "invalid_request_error"),
    ):
        with pytest.raises(WireFailure) as caught:
            driver.call(model, request, scope(whole=not streamed, total=30))
        assert (caught.value.kind, caught.value.status) == ("status", 400)
        error = caught.value.body["error"]
        assert code in (error.get("type"), error.get("code"))
        assert error["message"]


def test_no_such_model(driver: SyncDriver, streamed: bool) -> None:
    def locate(name: str) -> Path:
        raise FileNotFoundError(f"{name}: pull it")

    with pytest.raises(WireFailure, match="pull it") as caught:
        driver.call(LlamaCppTransport(locate), wire(streamed), scope())
    assert (caught.value.kind, caught.value.status) == ("status", 404)


# -- leaving ---------------------------------------------------------------------------------------


def test_leaving_a_stream_stops_the_computing(model: LlamaCppTransport, driver: SyncDriver) -> None:
    stream = driver.open(model, endless(), scope(total=30))
    for _ in range(3):
        assert driver.next(stream) is not None
    with within(AT_ONCE):
        driver.leave(stream)
    assert_at_rest()


@slow
def test_a_forgotten_stream_stops_the_computing(
    model: LlamaCppTransport, driver: SyncDriver
) -> None:
    stream = driver.open(model, endless(), scope(total=30))
    assert driver.next(stream) is not None
    del stream
    gc.collect()
    assert_at_rest()


@slow
def test_closing_from_another_thread_wakes_the_reader(model: LlamaCppTransport) -> None:
    stream = model.stream(long_prompt(True), scope(total=30))
    threading.Timer(SHORT, stream.close).start()
    with within(SHORT + AT_ONCE):
        list(stream)  # the role chunk may have come
    assert_at_rest()


@slow
def test_one_engine_for_every_transport_of_a_file(model: LlamaCppTransport, gguf: Path) -> None:
    others = [LlamaCppTransport(lambda name: gguf) for _ in range(3)]
    for other in others:
        other.send(wire(False, max_tokens=1), scope(total=30))
    assert len(llamacpp_engine._engines) == len(llamacpp_engine._alive) == 1
    for other in others[:2]:
        other.close()
    del others, other
    gc.collect()
    model.send(wire(False, max_tokens=1), scope(total=30))
    assert len(llamacpp_engine._alive) == 1


@slow
def test_close_may_be_called_twice_and_the_transport_used_again(
    gguf: Path, model: LlamaCppTransport, driver: SyncDriver
) -> None:
    """The last one out frees the memory; what had begun is answered."""
    stream = driver.open(model, wire(True), scope(total=30))
    driver.close(model)
    driver.close(model)
    assert not llamacpp_engine._engines
    assert len(driver.read(stream, scope(total=30))) > 3
    until = time.monotonic() + 5.0
    while llamacpp_engine._alive:
        assert time.monotonic() < until, "the memory is not given back"
        time.sleep(0.01)
    assert "Paris" in str(driver.call(model, wire(False), scope(total=30)).body)


# -- many ------------------------------------------------------------------------------------------


def _answers(results: list[Any]) -> set[str]:
    return {str(json_of(result)["choices"][0]["message"]["content"]) for result in results}


def test_six_threads_at_once(model: LlamaCppTransport) -> None:
    results: list[Any] = []

    def call() -> None:
        results.append(model.send(wire(False), scope(total=60)))

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert len(_answers(results)) == 1


@slow
def test_twenty_tasks_at_once(model: LlamaCppTransport) -> None:
    async def main() -> list[Any]:
        calls = (model.asend(wire(False), scope(total=60)) for _ in range(20))
        return await asyncio.gather(*calls)

    results = asyncio.run(main())
    assert len(results) == 20
    assert len(_answers(results)) == 1


@slow
def test_one_call_cancelled_among_many_leaves_the_others_alone(model: LlamaCppTransport) -> None:
    """The one that computes, and one that waits for its turn."""

    async def main() -> list[Any]:
        tokens = [CancellationToken() for _ in range(6)]
        calls = [
            asyncio.ensure_future(
                model.asend(endless() if i < 2 else wire(False), scope(token=token, total=60))
            )
            for i, token in enumerate(tokens)
        ]
        await asyncio.sleep(SHORT)
        tokens[1].cancel("not yet begun")
        tokens[0].cancel("in the middle")
        return await asyncio.gather(*calls, return_exceptions=True)

    first, second, *others = asyncio.run(main())
    assert [type(first), type(second)] == [CancelledError, CancelledError]
    assert "Paris" in _answers(others).pop()
    assert len(others) == 4


@slow
def test_three_asyncio_runs_in_a_row(model: LlamaCppTransport) -> None:
    results = [asyncio.run(model.asend(wire(False), scope(total=30))) for _ in range(3)]
    assert len(_answers(results)) == 1


@slow
def test_a_loop_that_is_gone_stops_the_computing(model: LlamaCppTransport) -> None:
    loop = asyncio.new_event_loop()
    stream = loop.run_until_complete(model.astream(endless(), scope(total=30)))
    loop.run_until_complete(anext(stream))
    loop.close()
    assert_at_rest()
    assert "Paris" in _answers([model.send(wire(False), scope(total=30))]).pop()
    del stream


@slow
def test_a_loop_per_thread(model: LlamaCppTransport) -> None:
    results: list[Any] = []

    def call() -> None:
        results.append(asyncio.run(model.asend(wire(False), scope(total=60))))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_loads_its_own(model: LlamaCppTransport) -> None:
    """And the parent's serves on as if nothing had been, even what it was in the middle of."""
    stream = model.stream(endless(), scope(total=60))
    next(stream)
    child = os.fork()
    if child == 0:  # no pytest in here: whatever happens, this process ends now
        status = 1
        try:
            answer = str(model.send(wire(False), scope(total=30)).body)
            status = 0 if "Paris" in answer else 2
        finally:
            os._exit(status)
    for _ in range(5):
        assert next(stream)
    stream.close()
    until = time.monotonic() + 40
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        assert time.monotonic() < until, "the child hangs"
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(ended[1]) == 0


# -- deadlines -------------------------------------------------------------------------------------


@slow
@pytest.mark.parametrize("phase", ["first_token", "total"])
def test_a_slow_start_times_out(
    model: LlamaCppTransport, driver: SyncDriver, streamed: bool, phase: str
) -> None:
    """The pieces of the prompt that are done, and the role chunk, put off nothing."""
    with within(SHORT + AT_ONCE), pytest.raises(WireFailure) as caught:
        read_untold(driver, model, streamed, scope(whole=not streamed, **{phase: SHORT}))
    assert (caught.value.kind, caught.value.phase) == ("timeout", phase)
    assert_at_rest()


@slow
def test_a_slow_token_is_idle(model: LlamaCppTransport, driver: SyncDriver) -> None:
    limits = scope(idle=0.0001, total=30)
    stream = driver.open(model, endless(), limits)
    assert driver.next(stream) is not None
    limits.committed()
    with pytest.raises(WireFailure) as caught:
        drain(driver, stream)
    assert (caught.value.kind, caught.value.phase) == ("timeout", "idle")
    assert_at_rest()


@slow
def test_total_ends_a_stream_that_never_stops(model: LlamaCppTransport, driver: SyncDriver) -> None:
    with within(2 * SHORT + AT_ONCE), pytest.raises(WireFailure) as caught:
        driver.call(model, endless(), scope(total=2 * SHORT))
    assert (caught.value.kind, caught.value.phase) == ("timeout", "total")
    assert_at_rest()


@slow
def test_a_slow_consumer_is_no_silent_provider(
    model: LlamaCppTransport, driver: SyncDriver
) -> None:
    limits = scope(idle=0.5, total=30)
    stream = driver.open(model, wire(True), limits)
    first = driver.next(stream)
    limits.committed()
    time.sleep(0.7)
    limits.resume()
    assert len(driver.read(stream, limits)) > 3
    assert first is not None


@slow
def test_operation_timeout_bounds_the_start(
    model: LlamaCppTransport, driver: SyncDriver, streamed: bool
) -> None:
    with operation_timeout(SHORT):
        limits = scope(whole=not streamed, total=30)
    with within(SHORT + AT_ONCE), pytest.raises(WireFailure) as caught:
        read_untold(driver, model, streamed, limits)
    assert (caught.value.kind, caught.value.phase) == ("timeout", "first_token")


def test_a_call_out_of_time_begins_nothing(driver: SyncDriver, streamed: bool) -> None:
    def locate(name: str) -> Path:
        raise AssertionError("a model was looked for")

    transport, token = LlamaCppTransport(locate), CancellationToken()
    limits = scope(total=0.001)
    time.sleep(0.01)
    with pytest.raises(WireFailure) as caught:
        driver.call(transport, wire(streamed), limits)
    assert caught.value.kind == "timeout"
    token.cancel("too late")
    with pytest.raises(CancelledError, match="too late"):
        driver.call(transport, wire(streamed), scope(token=token))


# -- cancellation ----------------------------------------------------------------------------------


def _at_once() -> threading.Event:
    ready = threading.Event()
    threading.Timer(SHORT, ready.set).start()
    return ready


@slow
def test_cancel_while_the_prompt_is_read(
    model: LlamaCppTransport, driver: SyncDriver, streamed: bool
) -> None:
    token = CancellationToken()
    with cancelled_when(_at_once(), token):
        driver.call(model, long_prompt(streamed), scope(token=token, whole=not streamed, total=30))
    assert_at_rest()


def test_cancel_in_the_middle_of_a_stream(model: LlamaCppTransport, driver: SyncDriver) -> None:
    token = CancellationToken()
    stream = driver.open(model, endless(), scope(token=token, total=30))
    assert driver.next(stream) is not None
    with cancelled_when(_at_once(), token):
        drain(driver, stream)
    assert_at_rest()
    driver.leave(stream)
    assert driver.next(stream) is None


@slow
def test_cancel_after_the_answer_touches_nobody_else(
    model: LlamaCppTransport, driver: SyncDriver, streamed: bool
) -> None:
    token = CancellationToken()
    driver.call(model, wire(streamed), scope(token=token, total=30))
    stream = driver.open(model, wire(True), scope(total=30))
    token.cancel("too late")
    assert len(driver.read(stream, scope(total=30))) > 3


@slow
@pytest.mark.parametrize("opened", [False, True], ids=["waiting", "reading"])
def test_a_cancelled_task_stops_the_computing(model: LlamaCppTransport, opened: bool) -> None:
    """asyncio's own cancellation passes as itself."""

    async def main() -> None:
        if opened:
            stream = await model.astream(endless(), scope(total=30))
            await anext(stream)
            task = asyncio.ensure_future(_read(stream))
        else:
            task = asyncio.ensure_future(model.asend(long_prompt(False), scope(total=30)))
        await asyncio.sleep(SHORT)
        task.cancel()
        with within(AT_ONCE), pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(assert_at_rest)

    asyncio.run(main())


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


@slow
@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no POSIX signals here")
def test_an_interrupt_passes_and_stops_the_computing(model: LlamaCppTransport) -> None:
    """As Ctrl-C does: an exception raised in the main thread while it is blocked in a read."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    timer = threading.Timer(SHORT, os.kill, (os.getpid(), signal.SIGALRM))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            model.send(long_prompt(False), scope(whole=True, total=30))
    finally:
        timer.join()
        signal.signal(signal.SIGALRM, before)
    assert_at_rest()
