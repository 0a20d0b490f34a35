"""The finalize record: its names, keys and figures, and what else a stream logs."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_providers.base import metrics
from crux_providers.base.events import ChatStreamEvent
from crux_providers.base.logging import LogContext, configure_logging, get_logger
from crux_providers.base.metrics import StreamMetricsPayload, set_default_exporter
from crux_providers.base.models import Usage
from tests.streaming.adapters import BOTH, finalize_records, records, run_sync

KEYS = {
    "event", "provider", "model", "phase", "attempt", "error_code", "emitted", "emitted_count",
    "time_to_first_token_ms", "total_duration_ms", "tokens",
}  # fmt: skip
IDS = {"request_id": "req_abc123", "response_id": "resp_def456"}


def chunks(count: int) -> Iterator[str]:
    time.sleep(0.002)
    for number in range(count):
        yield f"{number} "


@BOTH
@pytest.mark.contract(70, 72, 73, 74, 75, 77, 78, 79, 81, 83, 99, 101)
def test_the_record_of_a_success(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="crux_providers")
    ctx = LogContext(provider="openai", model="gpt-4o")
    run(lambda: (chunks(27), IDS), ctx=ctx, provider_name="openai", model="gpt-4o")
    (record,) = finalize_records(caplog)
    assert set(record) == KEYS | set(IDS)
    first, total = record.pop("time_to_first_token_ms"), record.pop("total_duration_ms")
    assert record == {
        "event": "stream.adapter.end", "provider": "openai", "model": "gpt-4o",
        "phase": "finalize", "attempt": 1, "error_code": None, "emitted": True,
        "emitted_count": 27, "tokens": {"prompt": None, "completion": None, "total": None}, **IDS,
    }  # fmt: skip
    assert isinstance(first, float)
    assert 0 < first <= total


@BOTH
@pytest.mark.contract(61, 71, 75, 77, 78, 80, 81, 84, 101)
def test_the_record_of_an_internal_error(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="crux_providers")
    run(lambda: {"request_id": "x"}, provider_name="openai", model="gpt-4o")
    (record,) = finalize_records(caplog)
    assert record.pop("total_duration_ms") > 0
    assert record == {
        "event": "stream.adapter.error", "provider": "openai", "model": "gpt-4o",
        "phase": "finalize", "attempt": 1, "error_code": "internal", "emitted": False,
        "emitted_count": 0, "time_to_first_token_ms": None,
        "tokens": {"prompt": None, "completion": None, "total": None},
        "error": "internal:starter() mapping missing 'stream' key",
    }  # fmt: skip


@pytest.mark.contract(72, 73, 74, 75, 76, 81)
@given(
    chunks=st.lists(st.sampled_from(["a", "", None, "usage", "bad"]), max_size=6),
    end=st.sampled_from([None, ConnectionError("cut"), KeyError("odd"), TimeoutError("late")]),
)
def test_what_holds_between_the_figures(chunks: list[Any], end: Exception | None) -> None:
    seen: list[dict[str, Any]] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(json.loads(record.getMessage()))  # type: ignore[method-assign]
    logger = logging.getLogger("crux_providers.test_figures")
    logger.propagate, logger.handlers = False, [handler]
    logger.setLevel(logging.INFO)

    def source() -> Iterator[Any]:
        yield from chunks
        if end is not None:
            raise end

    def translate(chunk: Any) -> Any:
        if chunk == "bad":
            raise ValueError(chunk)
        return ChatStreamEvent(usage=Usage(1, 2)) if chunk == "usage" else chunk

    events, controller = run_sync(source, translator=translate, logger=logger)
    (record,) = [r for r in seen if r.get("phase") == "finalize"]
    count = chunks.count("a")
    assert (record["emitted_count"], record["emitted"]) == (count, count > 0)
    assert sum(event.delta is not None for event in events) == count
    if count:
        assert 0 < record["time_to_first_token_ms"] <= record["total_duration_ms"]
    else:
        assert record["time_to_first_token_ms"] is None
    assert record["total_duration_ms"] > 0
    assert (record["error_code"] is None) == (end is None) == (events[-1].error is None)
    assert record["tokens"]["total"] == (3 if "usage" in chunks else None)
    assert controller.metrics.total_duration_ms == record["total_duration_ms"]


@BOTH
@pytest.mark.contract(68, 98)
@pytest.mark.parametrize(("word", "deltas", "finals"), [("debug", 3, 1), ("INFO", 0, 1)])
def test_a_record_for_each_delta_at_debug_only(
    run: Any, word: str, deltas: int, finals: int, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PROVIDERS_LOG_LEVEL", word)
    run(lambda: list("abc"), logger=get_logger())
    found = records(caplog, "stream.adapter.delta")
    assert len(found) == deltas
    assert [r["emitted_count"] for r in found] == list(range(1, deltas + 1))
    assert len(finalize_records(caplog)) == finals


@pytest.mark.contract(98)
def test_a_success_is_quiet_above_info(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVIDERS_LOG_LEVEL", "warning")
    run_sync(lambda: ["a"], logger=get_logger())
    assert caplog.records == []
    run_sync(dict, logger=get_logger())
    assert len(finalize_records(caplog)) == 1


@pytest.mark.contract(102)
def test_each_record_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    handler = configure_logging()
    try:
        run_sync(lambda: (["a\nb"], IDS), logger=get_logger())
    finally:
        logging.getLogger("crux_providers").removeHandler(handler)
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert record["event"] == "stream.adapter.end"
    assert line.count('"emitted_count"') == 1
    assert "a\\nb" not in line  # figures, never content


# -- metrics --------------------------------------------------------------------------------------


class Kept:
    """An exporter that keeps what it is given."""

    def __init__(self) -> None:
        self.payloads: list[StreamMetricsPayload] = []

    def emit_stream_metrics(self, payload: StreamMetricsPayload) -> None:
        self.payloads.append(payload)


@pytest.fixture
def kept() -> Iterator[Kept]:
    exporter = Kept()
    before = set_default_exporter(exporter)
    yield exporter
    set_default_exporter(before)


@BOTH
@pytest.mark.contract(103, 104, 105)
def test_a_stream_exports_one_payload_where_the_flag_is_set(
    run: Any, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = ChatStreamEvent(usage=Usage(3, 4))

    def once() -> Any:
        return run(lambda: ["a", usage], provider_name="p", model="m")

    once()
    assert kept.payloads == []
    monkeypatch.setenv("PROVIDERS_METRICS_EXPORT", " TRUE ")
    _, controller = once()
    (payload,) = kept.payloads
    assert (payload.provider, payload.model, payload.emitted_count) == ("p", "m", 1)
    assert payload.tokens == {"prompt": 3, "completion": 4, "total": 7}
    assert payload.time_to_first_token_ms == controller.metrics.time_to_first_token_ms
    assert payload.total_duration_ms == controller.metrics.total_duration_ms
    assert (payload.error, payload.extra) == (None, None)
    monkeypatch.setenv("PROVIDERS_METRICS_EXPORT", "1")
    run(dict, provider_name="p", model="m")
    assert kept.payloads[1].error == "internal:starter() mapping missing 'stream' key"
    assert kept.payloads[1].time_to_first_token_ms is None
    monkeypatch.setenv("PROVIDERS_METRICS_EXPORT", "0")
    once()
    assert len(kept.payloads) == 2


@BOTH
@pytest.mark.contract(106, 108, 109)
@pytest.mark.parametrize(
    "home", ["crux_providers.base.metrics", "crux_providers.base.metrics.exporter"]
)
def test_an_exporter_put_in_place_by_hand_that_breaks_breaks_no_stream(
    run: Any, home: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    class Broken:
        def emit_stream_metrics(self, payload: StreamMetricsPayload) -> None:
            raise ConnectionError("backend down")

    caplog.set_level(logging.INFO, logger="crux_providers")
    monkeypatch.setenv("PROVIDERS_METRICS_EXPORT", "1")
    monkeypatch.setattr(f"{home}.get_default_exporter", Broken)
    events, _ = run(lambda: ["a"])
    assert events[-1] == ChatStreamEvent(finish=True)
    (record,) = records(caplog, "metrics.export.error")
    assert record["failure_class"] == "ConnectionError"
    assert len(finalize_records(caplog)) == 1


@pytest.mark.contract(104)
def test_a_stream_left_early_exports_once_too(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    from crux_providers.base.streaming_adapter import BaseStreamingAdapter, StreamController
    from tests.streaming.adapters import adapter_arguments

    monkeypatch.setenv("PROVIDERS_METRICS_EXPORT", "1")
    controller = StreamController(BaseStreamingAdapter(**adapter_arguments(lambda: ["a", "b"])))
    next(controller)
    controller.close()
    controller.close()
    (payload,) = kept.payloads
    assert (payload.error, payload.emitted_count) == ("cancelled:closed by the consumer", 1)
    assert metrics.get_default_exporter() is kept
