"""Metrics of streams, exported where ``PROVIDERS_METRICS_EXPORT`` is on."""

from .exporter import (
    MetricsExporter,
    NoOpMetricsExporter,
    StreamMetricsPayload,
    emit,
    export_enabled,
    get_default_exporter,
    set_default_exporter,
)

__all__ = [
    "MetricsExporter",
    "NoOpMetricsExporter",
    "StreamMetricsPayload",
    "emit",
    "export_enabled",
    "get_default_exporter",
    "set_default_exporter",
]
