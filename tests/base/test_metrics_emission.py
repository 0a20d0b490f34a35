"""Metrics export: the default, the ways to replace it, and what a broken exporter costs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from crux_providers.base import metrics
from crux_providers.base.metrics import (
    MetricsExporter,
    NoOpMetricsExporter,
    StreamMetricsPayload,
    emit,
    export_enabled,
    exporter,
    get_default_exporter,
    set_default_exporter,
)

PAYLOAD = StreamMetricsPayload("p", "m", 3, 12.5, 40.0, {"prompt": 1}, None, None)


class Kept:
    def __init__(self) -> None:
        self.payloads: list[StreamMetricsPayload] = []

    def emit_stream_metrics(self, payload: StreamMetricsPayload) -> None:
        self.payloads.append(payload)


class Broken:
    def emit_stream_metrics(self, payload: StreamMetricsPayload) -> None:
        raise RuntimeError("backend down")


@pytest.fixture(autouse=True)
def default_again() -> Iterator[None]:
    yield
    set_default_exporter(None)


def test_the_default_does_nothing() -> None:
    assert isinstance(get_default_exporter(), NoOpMetricsExporter)
    assert get_default_exporter() is get_default_exporter()
    assert isinstance(get_default_exporter(), MetricsExporter)
    emit(PAYLOAD)


def test_a_set_exporter_gets_each_payload_once() -> None:
    kept = Kept()
    before = set_default_exporter(kept)
    emit(PAYLOAD)
    assert kept.payloads == [PAYLOAD]
    assert set_default_exporter(before) is kept
    emit(PAYLOAD)
    assert kept.payloads == [PAYLOAD]


@pytest.mark.parametrize("module", [metrics, exporter])
def test_replacing_the_function_takes_effect_by_either_name(
    module: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept()
    monkeypatch.setattr(module, "get_default_exporter", lambda: kept)
    emit(PAYLOAD)
    assert kept.payloads == [PAYLOAD]
    monkeypatch.undo()
    emit(PAYLOAD)
    assert kept.payloads == [PAYLOAD]


@pytest.mark.parametrize("broken_hook", [False, True])
def test_a_broken_exporter_is_one_log_record(
    broken_hook: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def hook() -> MetricsExporter:
        if broken_hook:
            raise RuntimeError("backend down")
        return Broken()

    monkeypatch.setattr(metrics, "get_default_exporter", hook)
    with caplog.at_level(logging.INFO, logger="crux_providers"):
        emit(PAYLOAD)
    (record,) = [json.loads(r.getMessage()) for r in caplog.records]
    assert record["event"] == "metrics.export.error"
    assert record["failure_class"] == "RuntimeError"
    assert (record["provider"], record["model"]) == ("p", "m")


@pytest.mark.parametrize(
    ("word", "on"),
    [
        (None, False),
        ("", False),
        ("0", False),
        ("no", False),
        ("1", True),
        ("true", True),
        ("TRUE", True),
    ],
)
def test_the_flag(word: str | None, on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if word is not None:
        monkeypatch.setenv("PROVIDERS_METRICS_EXPORT", word)
    assert export_enabled() is on


def test_the_payload_has_the_fields_of_the_contract() -> None:
    assert StreamMetricsPayload.__slots__ == (
        "provider", "model", "emitted_count", "time_to_first_token_ms", "total_duration_ms",
        "tokens", "error", "extra",
    )  # fmt: skip
