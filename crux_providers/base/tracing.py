"""Spans where the program uses OpenTelemetry, nothing where it does not.

A span is started and ended by hand and is never made the current one, so it may be ended from
another thread, another task or a generator that is closed in a foreign context. OpenTelemetry is
never imported here: a program that traces has imported it, and one that does not pays nothing.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Self

import crux_providers

from .errors import short_message
from .logging import get_logger, log_event

SpanKind = Literal["internal", "client"]


class Span:
    """One span, or nothing: every method may be called in any case, and ``end`` twice."""

    __slots__ = ("_span",)

    def __init__(self, span: Any = None) -> None:
        self._span = span

    @property
    def recording(self) -> bool:
        """Whether somebody records it; worth asking before costly attributes are made."""
        return self._span is not None and bool(self._span.is_recording())

    def set(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes; None is left out, what is no plain value becomes text."""
        if self.recording:
            _quietly(lambda: self._span.set_attributes(_plain(attributes)))

    def event(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        """Note something that happened within the span (a retry, a fallback)."""
        if self.recording:
            _quietly(lambda: self._span.add_event(name, _plain(attributes or {})))

    def end(
        self, attributes: Mapping[str, Any] | None = None, *, error: object | None = None
    ) -> None:
        """End it once; ``error`` (an exception or words) marks it as failed."""
        span, self._span = self._span, None
        if span is not None:
            _quietly(lambda: _end(span, attributes, error))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.end(error=exc)


NO_SPAN = Span()
"""What :func:`start_span` returns where nobody traces."""


def start_span(
    name: str,
    attributes: Mapping[str, Any] | None = None,
    *,
    parent: Span | None = None,
    kind: SpanKind = "internal",
) -> Span:
    """Start a span beneath ``parent`` (else beneath the current one); the caller ends it."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return NO_SPAN

    def start() -> Any:
        context = None
        if parent is not None and parent._span is not None:
            context = trace.set_span_in_context(parent._span)
        return trace.get_tracer(crux_providers.__name__, crux_providers.__version__).start_span(
            name,
            context,
            kind=trace.SpanKind.CLIENT if kind == "client" else trace.SpanKind.INTERNAL,
            attributes=_plain(attributes or {}),
        )

    return Span(_quietly(start))


def end_span(
    span: Span | None,
    attributes: Mapping[str, Any] | None = None,
    *,
    error: object | None = None,
) -> None:
    """End ``span`` where there is one; see :meth:`Span.end`."""
    if span is not None:
        span.end(attributes, error=error)


def _end(span: Any, attributes: Mapping[str, Any] | None, error: object | None) -> None:
    if span.is_recording():
        if attributes:
            span.set_attributes(_plain(attributes))
        if error is not None:
            trace = sys.modules["opentelemetry.trace"]
            span.set_status(trace.Status(trace.StatusCode.ERROR, str(error)))
            if isinstance(error, BaseException):
                span.record_exception(error)
    span.end()


_failures: set[str] = set()


def _quietly(work: Callable[[], Any]) -> Any:
    """What ``work`` returns; None where the tracer raises, which is logged once for each kind."""
    try:
        return work()
    except Exception as exc:  # noqa: BLE001  # a tracer is foreign code; it must not end a call
        kind = type(exc).__name__
        if kind not in _failures:
            _failures.add(kind)
            log_event(
                get_logger(), logging.WARNING, "tracing.error",
                operation="trace", stage="span", failure_class=kind,
                error=short_message(str(exc)),
            )  # fmt: skip
        return None


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    # OpenTelemetry takes str, bool, int, float and sequences of one of them, and warns of others.
    return {
        name: value if isinstance(value, (str, bool, int, float, list, tuple)) else str(value)
        for name, value in attributes.items()
        if value is not None
    }
