"""Where stream metrics go: one payload per stream, to an exporter that the program chooses."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ..logging import get_logger, log_event

FLAG = "PROVIDERS_METRICS_EXPORT"


@dataclass(frozen=True, slots=True)
class StreamMetricsPayload:
    """One stream's figures: times in milliseconds, ``tokens`` prompt/completion/total.

    ``error`` is ``"<code>:<message>"``, None on success. Numbers and names only, never content.
    """

    provider: str
    model: str
    emitted_count: int
    time_to_first_token_ms: float | None = None
    total_duration_ms: float | None = None
    tokens: Mapping[str, Any] | None = None
    error: str | None = None
    extra: Mapping[str, Any] | None = None


@runtime_checkable
class MetricsExporter(Protocol):
    """What takes the payloads; must not raise and must not wait."""

    def emit_stream_metrics(self, payload: StreamMetricsPayload) -> None:
        """Take one stream's figures."""
        ...


class NoOpMetricsExporter:
    """Drops every payload; what is used until a program sets another exporter."""

    def emit_stream_metrics(self, payload: StreamMetricsPayload) -> None:
        """Drop ``payload``."""


_default: MetricsExporter = NoOpMetricsExporter()


def get_default_exporter() -> MetricsExporter:
    """The process-wide exporter.

    Replacing this function, here or as ``crux_providers.base.metrics.get_default_exporter``,
    takes effect at the next stream.
    """
    return _default


def set_default_exporter(exporter: MetricsExporter | None) -> MetricsExporter:
    """Set the process-wide exporter (None: the no-op one); returns the one before."""
    global _default
    before, _default = _default, exporter if exporter is not None else NoOpMetricsExporter()
    return before


def export_enabled() -> bool:
    """Whether ``PROVIDERS_METRICS_EXPORT`` is ``1`` or ``true``, read now."""
    return os.environ.get(FLAG, "").strip().lower() in ("1", "true")


def emit(payload: StreamMetricsPayload, logger: logging.Logger | None = None) -> None:
    """Hand ``payload`` to the exporter; a failure is one ``metrics.export.error`` record."""
    try:
        _exporter_in_force()().emit_stream_metrics(payload)
    except Exception as exc:  # noqa: BLE001  # an exporter is foreign code; it must not end a stream
        log_event(
            logger if logger is not None else get_logger(),
            logging.ERROR,
            "metrics.export.error",
            provider=payload.provider,
            model=payload.model,
            operation="metrics.export",
            stage="finalize",
            failure_class=type(exc).__name__,
            error=str(exc)[:200],
        )


_original = get_default_exporter


def _exporter_in_force() -> Callable[[], MetricsExporter]:
    # Both names of the hook are public, so a replaced one is found by either.
    for module in (sys.modules.get(__package__ or ""), sys.modules[__name__]):
        found: Callable[[], MetricsExporter] = getattr(module, "get_default_exporter", _original)
        if found is not _original:
            return found
    return _original
