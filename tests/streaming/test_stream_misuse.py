"""However an adapter is misused, its stream ends in one terminal event and one finalize record."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crux_providers.base.cancellation import CancellationToken
from crux_providers.base.errors import ProviderError
from crux_providers.base.events import ChatStreamEvent
from crux_providers.base.retry import RetryConfig
from crux_providers.base.streaming_adapter import (
    AsyncBaseStreamingAdapter,
    AsyncStreamController,
    BaseStreamingAdapter,
    StreamController,
)
from crux_providers.base.timeouts import TimeoutConfig
from tests.streaming.adapters import (
    BOTH,
    adapter_arguments,
    finalize_records,
    only_terminal,
    records,
    run_async,
    run_sync,
)

pytestmark = pytest.mark.contract(69, 76, 82)

TERMINAL = ChatStreamEvent(finish=True)


class ClosesBadly:
    """A native stream, sync and async, whose close raises."""

    def __init__(self) -> None:
        self._chunks = iter("ab")

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._chunks)

    def close(self) -> None:
        raise RuntimeError("close failed")


class ClosesBadlyAsync:
    """The async twin."""

    def __init__(self) -> None:
        self._chunks = iter("ab")

    def __aiter__(self) -> ClosesBadlyAsync:
        return self

    async def __anext__(self) -> str:
        try:
            return next(self._chunks)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        raise RuntimeError("close failed")


@BOTH
@pytest.mark.parametrize("owned", [False, True])
def test_a_stream_that_cannot_be_closed_still_ended_well(
    run: Any, owned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="crux_providers")
    kind = ClosesBadlyAsync if run is run_async else ClosesBadly
    own = f"{kind.__name__}-{owned}"  # a reader's thread of another run may still be closing
    events, _ = run(kind, owned=owned, model=own)
    assert [e.delta for e in events] == ["a", "b", None]
    assert only_terminal(events) == TERMINAL
    assert len(finalize_records(caplog)) == 1
    if owned or run is run_async:  # elsewhere it is closed in the reader's thread, a moment later
        (record,) = (r for r in records(caplog, "stream.close.error") if r["model"] == own)
        assert (record["failure_class"], record["provider"]) == ("RuntimeError", "fake")


@pytest.mark.parametrize("owned", [False, True])
def test_leaving_a_stream_that_cannot_be_closed(
    owned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="crux_providers")
    controller = StreamController(
        BaseStreamingAdapter(**adapter_arguments(ClosesBadly, owned=owned))
    )
    assert next(controller).delta == "a"
    controller.close()
    (record,) = finalize_records(caplog)
    assert record["error_code"] == "cancelled"


@BOTH
@pytest.mark.contract(70, 71)
def test_the_terminal_event_is_the_adapters_alone(run: Any) -> None:
    good, _ = run(lambda: ["a", TERMINAL, "b", ChatStreamEvent(delta="c", finish=True)])
    assert [e.delta for e in good] == ["a", "b", "c", None]
    assert only_terminal(good) == TERMINAL
    bad, controller = run(lambda: ["a", ChatStreamEvent(finish=True, error="rate_limit:x"), "b"])
    assert [e.delta for e in bad] == ["a", None]
    assert only_terminal(bad).error == "rate_limit:x"
    assert controller.error.code == "rate_limit"
    odd, _ = run(lambda: [ChatStreamEvent(finish=True, error="what: is this")], translator=None)
    assert only_terminal(odd).error == "internal:what: is this"


@BOTH
@pytest.mark.parametrize("hook", ["on_first", "on_end"])
def test_a_hook_that_fails_ends_nothing(
    run: Any, hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="crux_providers")

    def fail(life: object) -> None:
        raise ValueError("hook")

    events, _ = run(lambda: ["a", "b"], **{hook: fail})
    assert [e.delta for e in events] == ["a", "b", None]
    assert only_terminal(events).error is None
    assert len(records(caplog, "stream.hook.error")) == 1


@BOTH
@pytest.mark.contract(84, 96)
def test_a_retry_factory_that_fails_is_internal(run: Any) -> None:
    def factory(phase: str) -> RetryConfig:
        raise KeyError(phase)

    events, _ = run(lambda: ["a"], retry_config_factory=factory)
    assert only_terminal(events).error == "internal:KeyError: 'start'"
    assert len(events) == 1


@BOTH
@pytest.mark.contract(96)
def test_the_retry_factory_is_asked_by_the_name_of_the_phase(run: Any) -> None:
    asked: list[str] = []

    def factory(phase: str) -> None:
        asked.append(phase)

    events, _ = run(lambda: ["a"], retry_config_factory=factory)
    assert asked == ["start"]
    assert only_terminal(events).error is None


@BOTH
@pytest.mark.contract(60, 31)
def test_ids_of_a_failed_attempt_are_not_those_of_the_next(run: Any) -> None:
    attempts: list[int] = []

    def start() -> Any:
        attempts.append(1)
        number = len(attempts)

        def chunks() -> Iterator[Any]:
            if number == 1:
                raise ProviderError("overloaded", "later")
            yield "a"

        return chunks(), {"request_id": f"req-{number}", "response_id": f"resp-{number}"}

    retry = RetryConfig(max_attempts=2, initial=0.001)
    _, controller = run(start, retry_config_factory=lambda phase: retry)
    assert (controller.ctx.request_id, controller.ctx.response_id) == ("req-2", "resp-2")


@BOTH
@pytest.mark.contract(72, 92, 93)
def test_what_was_counted_was_handed_out_however_soon_the_cancel(run: Any) -> None:
    token = CancellationToken()

    def translate(chunk: str) -> str:
        token.cancel("enough")
        return chunk

    events, controller = run(lambda: ["a", "b"], translator=translate, cancellation_token=token)
    assert [e.delta for e in events] == ["a", None]
    assert only_terminal(events).error == "cancelled:enough"
    assert controller.metrics.emitted_count == 1


@pytest.mark.contract(92)
def test_a_callback_that_fails_keeps_no_other_back(caplog: pytest.LogCaptureFixture) -> None:
    token, called = CancellationToken(), []

    def fail() -> None:
        raise RuntimeError("gone")

    token.on_cancel(fail)
    token.on_cancel(lambda: called.append(1))
    token.cancel("enough")
    token.cancel("again")
    assert (called, token.reason) == ([1], "enough")
    assert len(records(caplog, "cancel.callback.error")) == 1


@pytest.mark.contract(92, 93)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_cancelling_ends_the_wait_for_a_retry(kind: str) -> None:
    token = CancellationToken()

    def start() -> Any:
        threading.Timer(0.02, token.cancel, ["enough"]).start()
        raise ConnectionError("not yet")

    run = run_sync if kind == "sync" else run_async
    retry = RetryConfig(max_attempts=3, initial=60, max=60, jitter=0)
    events, _ = run(start, retry_config_factory=lambda phase: retry, cancellation_token=token)
    assert only_terminal(events).error == "cancelled:enough"


@pytest.mark.contract(55)
def test_closing_from_another_thread_ends_a_blocked_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="crux_providers")
    entered, release = threading.Event(), threading.Event()

    def chunks() -> Iterator[str]:
        yield "a"
        entered.set()
        release.wait(30)

    controller = StreamController(BaseStreamingAdapter(**adapter_arguments(chunks)))
    assert next(controller).delta == "a"
    rest: list[ChatStreamEvent] = []
    reader = threading.Thread(target=lambda: rest.extend(controller))
    reader.start()
    assert entered.wait(5)
    controller.close()
    reader.join(5)
    assert not reader.is_alive()
    assert only_terminal(rest).error == "cancelled:closed by the consumer"
    assert len(finalize_records(caplog)) == 1
    release.set()


@pytest.mark.contract(55)
async def test_closing_from_another_task_ends_a_blocked_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="crux_providers")
    entered = asyncio.Event()

    async def chunks() -> Any:
        yield "a"
        entered.set()
        await asyncio.sleep(30)

    controller = AsyncStreamController(AsyncBaseStreamingAdapter(**adapter_arguments(chunks)))
    assert (await anext(controller)).delta == "a"

    async def drain() -> list[ChatStreamEvent]:
        return [event async for event in controller]

    reader = asyncio.create_task(drain())
    await entered.wait()
    await controller.aclose()
    rest = await asyncio.wait_for(reader, 5)
    assert only_terminal(rest).error == "cancelled:closed by the consumer"
    assert len(finalize_records(caplog)) == 1


@pytest.mark.contract(55, 67, 92)
@pytest.mark.parametrize("where", ["starter", "first", "later"])
async def test_a_plain_stream_that_blocks_blocks_no_loop(where: str) -> None:
    release, closed, entered = threading.Event(), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def block() -> None:
        loop.call_soon_threadsafe(entered.set)
        release.wait(30)

    class Chunks(ClosesBadly):
        def __next__(self) -> str:
            if where == "first":
                block()
            chunk = super().__next__()
            if chunk == "b":
                block()
            return chunk

        def close(self) -> None:
            closed.set()

    def start() -> Iterator[str]:
        if where == "starter":
            block()
        return Chunks()

    controller = AsyncStreamController(AsyncBaseStreamingAdapter(**adapter_arguments(start)))

    async def drain() -> list[ChatStreamEvent]:
        return [event async for event in controller]

    reader = asyncio.create_task(drain())
    await entered.wait()  # which it can, since the loop runs on meanwhile
    controller.cancel("enough")
    events = await asyncio.wait_for(reader, 5)
    assert [e.delta for e in events if e.delta] == (["a"] if where == "later" else [])
    assert only_terminal(events).error == "cancelled:enough"
    assert not closed.is_set()
    release.set()
    assert await asyncio.to_thread(closed.wait, 5)  # by the thread that was left behind in it


@pytest.mark.contract(45, 82)
@pytest.mark.parametrize("plain", [False, True])
async def test_a_stream_whose_close_is_a_coroutine_is_closed(plain: bool) -> None:
    closed: list[str] = []

    class SdkStream(ClosesBadlyAsync):  # the official SDKs' async streams have no aclose
        aclose: Any = None

        async def close(self) -> None:
            closed.append("closed")

    async def start() -> Any:
        return SdkStream()

    starter: Any = SdkStream if plain else start
    controller = AsyncStreamController(AsyncBaseStreamingAdapter(**adapter_arguments(starter)))
    assert [event.delta async for event in controller] == ["a", "b", None]
    assert closed == ["closed"]


@BOTH
@pytest.mark.contract(63, 82)
@pytest.mark.parametrize(
    "starter",
    [
        lambda: next(iter(())),  # StopIteration, which a generator must not let out
        lambda: (["a"], None),
        lambda: {"stream": 3},
        lambda: {"stream": None},
        lambda: b"bytes",
        dict,
        lambda: [["not", object()]] and 1 / 0,
    ],
)
def test_starters_that_go_wrong(
    run: Any, starter: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="crux_providers")
    events, _ = run(starter)
    assert len(events) == 1
    assert (only_terminal(events).error or "").startswith("internal:")
    (record,) = finalize_records(caplog)
    assert record["error_code"] == "internal"


@BOTH
@pytest.mark.contract(64)
def test_a_translator_that_makes_nothing_usable_skips_the_chunk(run: Any) -> None:
    made = {"a": "a", "b": 17, "c": object(), "d": {"no_such_field": 1}, "e": [None, "e", ""]}
    events, controller = run(lambda: list(made), translator=made.get)
    assert [e.delta for e in events] == ["a", "e", None]
    assert only_terminal(events).error is None
    assert controller.metrics.skipped == 3


@BOTH
@pytest.mark.contract(67, 86, "S3")
def test_the_total_that_is_over_after_content_is_transient(run: Any) -> None:
    release = threading.Event()

    async def astall() -> Any:
        yield "a"
        await asyncio.sleep(30)

    def stall() -> Iterator[str]:
        yield "a"
        release.wait(30)

    limits = TimeoutConfig(first_token=5, idle=5, total=0.05, explicit=True)
    events, _ = run(astall if run is run_async else stall, timeouts=limits)
    assert [e.delta for e in events] == ["a", None]
    assert only_terminal(events).error == "transient:operation timed out (total)"
    release.set()


@pytest.mark.contract(97, 102)
def test_an_unclassified_failure_is_logged_as_json_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="crux_providers")

    def fail() -> Any:
        raise KeyError("odd")

    run_sync(fail)
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR and r.exc_info]
    said = json.loads(record.getMessage())
    assert (said["event"], said["failure_class"], said["stage"]) == (
        "stream.unclassified", "KeyError", "start",
    )  # fmt: skip
    assert said["operation"] == "stream"


@pytest.mark.contract(97)
def test_a_logger_adapter_is_a_logger(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="crux_providers")
    logger: Any = logging.LoggerAdapter(logging.getLogger("crux_providers"), {"a": 1})
    events, _ = run_sync(lambda: ["a"], logger=logger)
    assert only_terminal(events).error is None
    assert len(finalize_records(caplog)) == 1
