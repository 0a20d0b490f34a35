"""Spans: recorded where the program traces, nothing where it does not, ended from anywhere."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from crux_providers.base.tracing import NO_SPAN, Span, end_span, start_span


@dataclass
class RecordedSpan:
    """What a tracing backend would keep of a span."""

    name: str
    parent: Any
    kind: Any
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    status: Any = None
    exceptions: list[BaseException] = field(default_factory=list)
    ended: int = 0


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> list[RecordedSpan]:
    """The spans started, in order, by a tracer provider made of OpenTelemetry's own interfaces."""
    trace = pytest.importorskip("opentelemetry.trace")
    kept: list[RecordedSpan] = []

    class KeptSpan(trace.Span):  # type: ignore[misc, name-defined]  # imported where it is there
        def __init__(self, recorded: RecordedSpan) -> None:
            self.recorded = recorded

        def end(self, end_time: int | None = None) -> None:
            self.recorded.ended += 1

        def get_span_context(self) -> Any:
            return trace.INVALID_SPAN_CONTEXT

        def set_attributes(self, attributes: Any) -> None:
            self.recorded.attributes.update(attributes)

        def set_attribute(self, key: str, value: Any) -> None:
            self.recorded.attributes[key] = value

        def add_event(self, name: str, attributes: Any = None, timestamp: Any = None) -> None:
            self.recorded.events.append((name, dict(attributes or {})))

        def update_name(self, name: str) -> None:
            self.recorded.name = name

        def is_recording(self) -> bool:
            return self.recorded.ended == 0

        def set_status(self, status: Any, description: str | None = None) -> None:
            self.recorded.status = status

        def record_exception(self, exception: BaseException, *rest: Any, **more: Any) -> None:
            self.recorded.exceptions.append(exception)

    class KeptTracer(trace.Tracer):  # type: ignore[misc, name-defined]  # likewise
        def start_span(
            self, name: str, context: Any = None, kind: Any = None, attributes: Any = None,
            *rest: Any, **more: Any,
        ) -> Any:  # fmt: skip
            parent = trace.get_current_span(context)
            recorded = RecordedSpan(
                name, getattr(parent, "recorded", None), kind, dict(attributes or {})
            )
            kept.append(recorded)
            return KeptSpan(recorded)

        def start_as_current_span(self, *arguments: Any, **more: Any) -> Any:
            raise AssertionError("a span is never made the current one")

    monkeypatch.setattr(trace, "get_tracer", lambda *arguments, **more: KeptTracer())
    return kept


def test_without_opentelemetry_there_is_nothing() -> None:
    code = (
        "import sys\n"
        "from crux_providers.base import tracing\n"
        "span = tracing.start_span('x', {'a': 1})\n"
        "span.set({'b': 2}); span.event('e'); span.end({'c': 3}, error='no'); span.end()\n"
        "tracing.end_span(None); tracing.end_span(span, error=ValueError())\n"
        "with tracing.start_span('y', parent=span, kind='client') as inner: pass\n"
        "print(span is tracing.NO_SPAN, inner.recording, 'opentelemetry' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "True False False"


def test_attributes_and_end(spans: list[RecordedSpan]) -> None:
    span = start_span("providers.stream.run", {"provider": "p", "model": "m", "none": None})
    assert span.recording
    span.set({"emitted_count": 3, "odd": {"a": 1}})
    span.event("retry", {"seconds": 0.5})
    end_span(span, {"total_duration_ms": 12.5, "time_to_first_token_ms": None})
    (recorded,) = spans
    assert recorded.name == "providers.stream.run"
    assert recorded.attributes == {
        "provider": "p", "model": "m", "emitted_count": 3, "odd": "{'a': 1}",
        "total_duration_ms": 12.5,
    }  # fmt: skip
    assert recorded.events == [("retry", {"seconds": 0.5})]
    assert (recorded.ended, recorded.status) == (1, None)
    end_span(span, {"late": True}, error="late")
    assert (recorded.ended, recorded.status) == (1, None)
    assert "late" not in recorded.attributes


def test_errors_mark_the_span(spans: list[RecordedSpan]) -> None:
    problem = ValueError("broken")
    end_span(start_span("a"), error="timeout:first_token")
    end_span(start_span("b"), error=problem)
    with pytest.raises(ValueError, match="broken"), start_span("c"):
        raise problem
    assert [str(s.status.status_code) for s in spans] == ["StatusCode.ERROR"] * 3
    assert spans[0].status.description == "timeout:first_token"
    assert [s.exceptions for s in spans] == [[], [problem], [problem]]
    assert [s.ended for s in spans] == [1, 1, 1]


def test_parents_and_kinds(spans: list[RecordedSpan]) -> None:
    outer = start_span("crux.route")
    inner = start_span("crux.attempt", parent=outer, kind="client")
    beside = start_span("beside")
    assert spans[1].parent is spans[0]
    assert spans[2].parent is None  # nothing was made current
    assert "CLIENT" in str(spans[1].kind)
    for span in (inner, outer, beside):
        span.end()
    start_span("orphan", parent=NO_SPAN).end()
    assert spans[3].parent is None


def test_the_current_span_of_the_program_is_the_parent(spans: list[RecordedSpan]) -> None:
    trace = sys.modules["opentelemetry.trace"]
    mine = trace.get_tracer("mine").start_span("mine")
    with trace.use_span(mine):
        end_span(start_span("ours"))
    assert spans[1].parent is spans[0]


def test_a_span_ends_in_another_thread(spans: list[RecordedSpan]) -> None:
    span = start_span("x")
    thread = threading.Thread(target=span.end)
    thread.start()
    thread.join()
    assert spans[0].ended == 1


def test_a_span_ends_in_a_generator_closed_in_another_context(
    spans: list[RecordedSpan], caplog: pytest.LogCaptureFixture
) -> None:
    # OpenTelemetry logs "Failed to detach context" for a span that was made current before a
    # yield and is left in another context.
    def stream() -> Iterator[int]:
        span = start_span("sync")
        try:
            yield 1
            yield 2
        finally:
            end_span(span)

    made = stream()
    contextvars.copy_context().run(next, made)
    contextvars.copy_context().run(made.close)
    assert spans[0].ended == 1

    async def astream() -> AsyncIterator[int]:
        span = start_span("async")
        try:
            yield 1
            yield 2
        finally:
            end_span(span)

    async def leave_early() -> None:
        async for _ in astream():
            break
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(leave_early())
    assert spans[1].ended == 1
    assert caplog.records == []


def test_the_official_sdk_takes_the_spans() -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    simple = pytest.importorskip("opentelemetry.sdk.trace.export")
    trace = pytest.importorskip("opentelemetry.trace")
    exporter = export.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(simple.SimpleSpanProcessor(exporter))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "get_tracer", lambda name, version=None: provider.get_tracer(name))
        outer = start_span("crux.route", {"crux.route.name": "default"})
        inner = start_span("crux.attempt", {"provider": "p", "tags": ["a"]}, parent=outer)
        inner.end(error=ValueError("x"))
        outer.end({"total_duration_ms": 1.5})
    second, first = exporter.get_finished_spans()
    assert second.parent.span_id == first.context.span_id
    assert dict(first.attributes) == {"crux.route.name": "default", "total_duration_ms": 1.5}
    assert second.status.status_code.name == "ERROR"
    assert second.instrumentation_scope.name == "crux_providers"


def test_an_unused_span_is_cheap() -> None:
    assert isinstance(NO_SPAN, Span)
    assert not NO_SPAN.recording
