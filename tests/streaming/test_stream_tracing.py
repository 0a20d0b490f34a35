"""Spans of a stream: start and run, ended on every path, with and without OpenTelemetry."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
from typing import Any

import pytest

from crux_providers.base.streaming_adapter import (
    AsyncBaseStreamingAdapter,
    AsyncStreamController,
    BaseStreamingAdapter,
    StreamController,
)
from tests.streaming.adapters import BOTH, adapter_arguments, only_terminal

FIGURES = {"emitted_count", "time_to_first_token_ms", "total_duration_ms"}


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The spans that OpenTelemetry's own SDK has ended so far."""
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="opentelemetry-sdk is not here")
    from opentelemetry import trace
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", lambda name, version=None: provider.get_tracer(name))
    return exporter.get_finished_spans


@BOTH
@pytest.mark.contract(112, 113, "S47")
def test_a_stream_has_a_span_for_its_start_and_one_for_its_run(run: Any, finished: Any) -> None:
    _, controller = run(lambda: ["a", "b"], provider_name="p", model="m")
    start, running = finished()
    assert (start.name, running.name) == ("providers.stream.start", "providers.stream.run")
    assert dict(start.attributes) == {"provider": "p", "model": "m"}
    life = controller.metrics
    assert dict(running.attributes) == {
        "provider": "p", "model": "m", "emitted_count": 2,
        "time_to_first_token_ms": life.time_to_first_token_ms,
        "total_duration_ms": life.total_duration_ms,
    }  # fmt: skip
    assert start.end_time <= running.start_time
    assert running.status.is_ok


@BOTH
@pytest.mark.contract(112, 113)
def test_a_stream_that_fails_at_its_start_has_one_span(run: Any, finished: Any) -> None:
    run(dict, provider_name="p", model="m")
    (span,) = finished()
    assert span.name == "providers.stream.start"
    assert span.status.description == "internal:starter() mapping missing 'stream' key"
    assert span.attributes["emitted_count"] == 0
    assert set(span.attributes) == {"provider", "model", *FIGURES} - {"time_to_first_token_ms"}


@pytest.mark.contract(112)
def test_leaving_early_and_from_another_context_ends_the_spans(
    finished: Any, caplog: pytest.LogCaptureFixture
) -> None:
    controller = StreamController(BaseStreamingAdapter(**adapter_arguments(lambda: ["a", "b"])))
    contextvars.copy_context().run(next, controller)
    contextvars.copy_context().run(controller.close)
    assert [span.name for span in finished()] == ["providers.stream.start", "providers.stream.run"]

    forgotten = StreamController(BaseStreamingAdapter(**adapter_arguments(lambda: ["a", "b"])))
    next(forgotten)
    del forgotten
    gc.collect()
    assert len(finished()) == 4

    async def leave() -> None:
        async def chunks() -> Any:
            yield "a"
            yield "b"

        adapter = AsyncBaseStreamingAdapter(**adapter_arguments(chunks))
        controller = AsyncStreamController(adapter)
        await asyncio.create_task(anext(controller))  # type: ignore[arg-type]  # a coroutine it is
        await asyncio.create_task(controller.aclose())

    asyncio.run(leave())
    assert len(finished()) == 6
    assert all(span.end_time for span in finished())
    assert not [record for record in caplog.records if "detach" in record.getMessage()]


@BOTH
@pytest.mark.contract(111)
def test_a_tracer_that_breaks_breaks_no_stream(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = pytest.importorskip("opentelemetry.trace", reason="opentelemetry is not here")

    class Broken:
        def start_span(self, *arguments: Any, **more: Any) -> Any:
            raise RuntimeError("no backend")

    monkeypatch.setattr(trace, "get_tracer", lambda *arguments, **more: Broken())
    events, _ = run(lambda: ["a"])
    assert [e.delta for e in events] == ["a", None]
    assert only_terminal(events).error is None


PROGRAM = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'opentelemetry':
            raise ModuleNotFoundError(name, name=name)
if sys.argv[1] == 'blocked':
    sys.meta_path.insert(0, Blocked())
elif sys.argv[1] == 'traced':
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
from crux_providers.base import BaseStreamingAdapter, LogContext, StreamController
adapter = BaseStreamingAdapter(
    ctx=LogContext(provider='p', model='m'), provider_name='p', model='m', starter=lambda: ['a'],
    translator=lambda chunk: chunk,
)
print([event.delta for event in StreamController(adapter)])
print([s.name for s in kept.get_finished_spans()] if sys.argv[1] == 'traced'
      else 'opentelemetry' in sys.modules)
"""


@pytest.mark.contract(111)
@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("blocked", "False"),
        ("untraced", "False"),
        ("traced", "['providers.stream.start', 'providers.stream.run']"),
    ],
)
def test_with_and_without_opentelemetry(mode: str, said: str) -> None:
    if mode == "traced":
        pytest.importorskip("opentelemetry.sdk.trace", reason="opentelemetry-sdk is not here")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["['a', None]", said]
