"""The streaming lifecycle: starter shapes, one terminal event on every path, counts and times."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crux_providers.base.cancellation import CancellationToken
from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.events import ChatStreamEvent, ToolCallDelta
from crux_providers.base.logging import LogContext
from crux_providers.base.models import Usage
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
    FINALIZE,
    adapter_arguments,
    only_terminal,
    run_async,
    run_sync,
)


@pytest.fixture
def finalized(caplog: pytest.LogCaptureFixture) -> Callable[[], list[logging.LogRecord]]:
    caplog.set_level(logging.INFO, logger="crux_providers")
    return lambda: [r for r in caplog.records if any(name in r.getMessage() for name in FINALIZE)]


@BOTH
@pytest.mark.parametrize(
    "shape",
    [
        lambda chunks: chunks,
        iter,
        lambda chunks: (iter(chunks), {"request_id": "req-1", "response_id": "resp-1"}),
        lambda chunks: {"stream": chunks, "request_id": "req-1", "response_id": "resp-1"},
    ],
)
def test_accepted_starter_shapes(run: Any, shape: Any, finalized: Any) -> None:
    events, controller = run(lambda: shape(["a", "b"]))
    assert [e.delta for e in events[:-1]] == ["a", "b"]
    assert only_terminal(events).error is None
    assert controller.ctx.request_id in (None, "req-1")
    assert len(finalized()) == 1


@BOTH
def test_ids_on_the_context_are_kept(run: Any) -> None:
    ctx = LogContext(provider="fake", model="m")
    ctx.request_id = "mine"
    _, controller = run(lambda: (["a"], {"request_id": "theirs", "response_id": "r"}), ctx=ctx)
    assert controller.ctx.request_id == "mine"
    assert controller.ctx.response_id == "r"


@BOTH
@pytest.mark.parametrize(
    ("result", "error"),
    [
        ({"request_id": "x"}, "internal:starter() mapping missing 'stream' key"),
        ((["a"], "no mapping"), "internal:starter() second element must be mapping"),
        ((["a"], {}, 3), "internal:"),
        (None, "internal:"),
        (17, "internal:"),
        ("text", "internal:"),
    ],
)
def test_other_shapes_are_internal(run: Any, result: Any, error: str, finalized: Any) -> None:
    events, _ = run(lambda: result)
    assert len(events) == 1
    assert (only_terminal(events).error or "").startswith(error)
    assert len(finalized()) == 1


@BOTH
def test_mapping_without_stream_says_exactly_this(run: Any) -> None:
    events, _ = run(lambda: {"request_id": "x"})
    assert events[-1].error == "internal:starter() mapping missing 'stream' key"


@BOTH
def test_translator_failures_skip_only_their_chunk(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def translate(chunk: str) -> str:
        if chunk.startswith("bad"):
            raise ValueError(chunk)
        return chunk

    events, controller = run(lambda: ["a", "bad", "b", "bad2", "c"], translator=translate)
    assert [e.delta for e in events[:-1]] == ["a", "b", "c"]
    assert only_terminal(events).error is None
    assert controller.metrics.skipped == 2
    assert sum("stream.translator.skipped" in r.getMessage() for r in caplog.records) == 1


@BOTH
def test_empty_stream_is_one_success_terminal(run: Any) -> None:
    events, controller = run(list)
    assert events == [ChatStreamEvent(finish=True)]
    assert controller.metrics.emitted_count == 0
    assert controller.metrics.time_to_first_token_ms is None
    assert controller.metrics.total_duration_ms > 0


@BOTH
@pytest.mark.parametrize(
    ("exc", "before", "after"),
    [
        (TimeoutError("slow"), "timeout:slow", "transient:slow"),
        (ConnectionResetError("gone"), "transient:", "transient:"),
        (OSError("io"), "transient:", "transient:"),
        (ProviderError("rate_limit", "later"), "rate_limit:later", "rate_limit:later"),
        (ProviderError("timeout", "x"), "timeout:x", "transient:x"),
        (KeyError("k"), "internal:KeyError", "internal:KeyError"),
    ],
)
def test_errors_before_and_after_content(run: Any, exc: Exception, before: str, after: str) -> None:
    def fail(first: list[str]) -> Iterator[str]:
        yield from first
        raise exc

    early, _ = run(lambda: fail([]))
    assert (only_terminal(early).error or "").startswith(before)
    late, controller = run(lambda: fail(["a"]))
    assert late[0].delta == "a"
    assert (only_terminal(late).error or "").startswith(after)
    assert controller.error is not None
    assert controller.metrics.emitted_count == 1


@BOTH
def test_start_is_retried_and_content_is_not(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def flaky() -> list[str]:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError("not yet")
        return ["a"]

    retry = RetryConfig(max_attempts=3, initial=0.001)
    events, controller = run(flaky, retry_config_factory=lambda phase: retry)
    assert [e.delta for e in events[:-1]] == ["a"]
    assert len(calls) == 3
    assert controller.metrics.attempt == 3

    def breaks() -> Iterator[str]:
        calls.append(1)
        yield "a"
        raise ConnectionError("cut")

    calls.clear()
    events, _ = run(breaks, retry_config_factory=lambda phase: retry)
    assert [e.delta for e in events[:-1]] == ["a"]
    assert (events[-1].error or "").startswith("transient:")
    assert len(calls) == 1


@BOTH
def test_tokens_and_counts(run: Any) -> None:
    chunks = [
        ChatStreamEvent(meta={"response_id": "r1", "model_name": "m-1"}),
        ChatStreamEvent(reasoning="hm"),
        ChatStreamEvent(delta="a"),
        ChatStreamEvent(tool_call=ToolCallDelta(0, "c1", "f", "{}")),
        ChatStreamEvent(usage=Usage(3, 4)),
        ChatStreamEvent(finish_reason="tool_calls"),
    ]
    events, controller = run(lambda: chunks, translator=None)
    assert events[:-1] == chunks
    life = controller.metrics
    assert life.emitted_count == 3
    assert life.usage == Usage(3, 4, 7)
    assert 0 < life.time_to_first_token_ms <= life.total_duration_ms
    assert controller.ctx.response_id == "r1"


@BOTH
def test_structured_answer_stands_on_the_terminal_event(run: Any) -> None:
    events, _ = run(lambda: ['{"a":', "1}"], response_format="json_object")
    assert only_terminal(events).structured == {"a": 1}


def test_cancel_ends_a_blocked_read_at_once(finalized: Any) -> None:
    release = threading.Event()
    entered = threading.Event()

    def blocked() -> Iterator[str]:
        yield "a"
        entered.set()
        release.wait(30)
        yield "b"

    controller = StreamController(BaseStreamingAdapter(**adapter_arguments(blocked)))
    assert next(controller).delta == "a"

    def cancel() -> None:
        entered.wait(5)
        controller.cancel("user aborted")

    threading.Thread(target=cancel).start()
    began = time.monotonic()
    rest = list(controller)
    assert time.monotonic() - began < 5
    assert only_terminal(rest).error == "cancelled:user aborted"
    assert controller.metrics.total_duration_ms > 0
    assert len(finalized()) == 1
    release.set()


async def test_cancel_ends_a_blocked_async_read_at_once() -> None:
    async def blocked() -> Any:
        yield "a"
        await asyncio.sleep(30)
        yield "b"

    controller = AsyncStreamController(AsyncBaseStreamingAdapter(**adapter_arguments(blocked)))
    assert (await anext(controller)).delta == "a"
    threading.Timer(0.05, controller.cancel, ["user aborted"]).start()
    rest = await asyncio.wait_for(_drain(controller), 5)
    assert only_terminal(rest).error == "cancelled:user aborted"


async def _drain(controller: AsyncStreamController) -> list[ChatStreamEvent]:
    return [event async for event in controller]


@BOTH
def test_cancelled_before_the_start_sends_nothing(run: Any) -> None:
    token = CancellationToken()
    token.cancel("never mind")
    started: list[int] = []
    events, _ = run(lambda: started.append(1) or [], cancellation_token=token)
    assert only_terminal(events).error == "cancelled:never mind"
    assert started == []


@BOTH
def test_hang_to_the_first_token_is_a_timeout(run: Any) -> None:
    release = threading.Event()
    limits = TimeoutConfig(first_token=0.05, explicit=True)

    async def ahang() -> Any:
        await asyncio.sleep(30)
        yield "never"

    def hang() -> Iterator[str]:
        release.wait(30)
        yield "never"

    began = time.monotonic()
    events, _ = run(ahang if run is run_async else hang, timeouts=limits)
    assert (only_terminal(events).error or "").startswith("timeout:")
    assert time.monotonic() - began < 5
    release.set()


@BOTH
def test_idle_after_content_is_transient(run: Any) -> None:
    release = threading.Event()
    limits = TimeoutConfig(first_token=5, idle=0.05, explicit=True)

    async def astall() -> Any:
        yield "a"
        await asyncio.sleep(30)

    def stall() -> Iterator[str]:
        yield "a"
        release.wait(30)

    events, _ = run(astall if run is run_async else stall, timeouts=limits)
    assert [e.delta for e in events[:-1]] == ["a"]
    error = only_terminal(events).error or ""
    assert error.startswith("transient:")
    assert "idle" in error
    release.set()


def test_a_slow_consumer_is_not_idle() -> None:
    limits = TimeoutConfig(first_token=5, idle=0.05, explicit=True)
    adapter = BaseStreamingAdapter(**adapter_arguments(lambda: ["a", "b"], timeouts=limits))
    seen = []
    for event in StreamController(adapter):
        seen.append(event.delta)
        time.sleep(0.1)
    assert seen == ["a", "b", None]
    assert adapter.lifecycle.error is None


def test_leaving_early_finalizes_once_and_closes_the_stream(finalized: Any) -> None:
    closed = threading.Event()

    def chunks() -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            closed.set()

    controller = StreamController(BaseStreamingAdapter(**adapter_arguments(chunks)))
    assert next(controller).delta == "a"
    controller.close()
    controller.close()
    assert closed.wait(5)
    assert len(finalized()) == 1
    assert list(controller) == []


@pytest.mark.contract(55, 69)
def test_a_stream_left_early_is_closed_when_close_returns() -> None:
    for _ in range(50):
        closed: list[int] = []

        def native(closed: list[int] = closed) -> Iterator[str]:
            try:
                yield from "abc"
            finally:
                closed.append(1)

        controller = StreamController(BaseStreamingAdapter(**adapter_arguments(native)))
        assert next(controller).delta == "a"
        controller.close()
        assert closed == [1]


@pytest.mark.contract(55)
def test_closing_waits_for_no_read_that_was_abandoned() -> None:
    released = threading.Event()

    def native() -> Iterator[str]:
        yield "a"
        released.wait(20)

    controller = StreamController(BaseStreamingAdapter(**adapter_arguments(native)))
    assert next(controller).delta == "a"
    threading.Timer(0.05, controller.cancel, ["user aborted"]).start()
    began = time.monotonic()
    assert next(controller).error == "cancelled:user aborted"
    controller.close()
    assert time.monotonic() - began < 0.9
    released.set()


async def test_leaving_an_async_stream_early_finalizes_once(finalized: Any) -> None:
    closed: list[int] = []

    async def chunks() -> Any:
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(1)

    controller = AsyncStreamController(AsyncBaseStreamingAdapter(**adapter_arguments(chunks)))
    assert (await anext(controller)).delta == "a"
    await controller.aclose()
    await controller.aclose()
    assert closed == [1]
    assert len(finalized()) == 1


async def test_a_cancelled_task_passes_through_and_finalizes(finalized: Any) -> None:
    async def chunks() -> Any:
        yield "a"
        await asyncio.sleep(30)

    controller = AsyncStreamController(AsyncBaseStreamingAdapter(**adapter_arguments(chunks)))
    first = asyncio.Event()

    async def consume() -> None:
        async for _ in controller:
            first.set()

    task = asyncio.create_task(consume())
    await first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(finalized()) == 1


@BOTH
def test_keyboard_interrupt_passes_through(run: Any, finalized: Any) -> None:
    def chunks() -> Iterator[str]:
        yield "a"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(chunks)
    assert len(finalized()) == 1


def test_context_variables_reach_the_reader_thread() -> None:
    import contextvars

    var = contextvars.ContextVar("var", default="outside")
    var.set("inside")
    seen: list[str] = []

    def chunks() -> Iterator[str]:
        seen.append(var.get())
        yield "a"

    run_sync(chunks)
    assert seen == ["inside"]


@BOTH
def test_error_text_is_one_short_line_without_keys(run: Any) -> None:
    secret = "sk-" + "a1B2" * 8

    def fail() -> list[str]:
        raise ProviderError(ErrorCode.AUTH, f"bad key {secret}\nline two " + "x" * 1000)

    events, _ = run(fail)
    error = only_terminal(events).error or ""
    assert error.startswith("auth:bad key [key] line two")
    assert secret not in error
    assert len(error) < 330
