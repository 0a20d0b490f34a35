"""Streaming adapters over plain iterables, and what their runs left in the log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from crux_providers.base.events import ChatStreamEvent
from crux_providers.base.logging import LogContext, get_logger
from crux_providers.base.retry import RetryConfig
from crux_providers.base.streaming_adapter import (
    AsyncBaseStreamingAdapter,
    AsyncStreamController,
    BaseStreamingAdapter,
    StreamController,
)

FINALIZE = ("stream.adapter.end", "stream.adapter.error")


def adapter_arguments(starter: Callable[[], Any], **more: Any) -> dict[str, Any]:
    """The arguments of an adapter over ``starter`` whose chunks are text already."""
    return {
        "ctx": LogContext(provider="fake", model="m"),
        "provider_name": "fake",
        "model": "m",
        "starter": starter,
        "translator": lambda chunk: chunk,
        "retry_config_factory": lambda phase: RetryConfig(max_attempts=1),
        "logger": get_logger(),
        **more,
    }


def run_sync(starter: Callable[[], Any], **more: Any) -> tuple[list[ChatStreamEvent], Any]:
    """Every event of one stream, and its controller."""
    controller = StreamController(BaseStreamingAdapter(**adapter_arguments(starter, **more)))
    return list(controller), controller


def run_async(starter: Callable[[], Any], **more: Any) -> tuple[list[ChatStreamEvent], Any]:
    """The same through the async adapter, on a loop of its own."""

    async def main() -> tuple[list[ChatStreamEvent], Any]:
        adapter = AsyncBaseStreamingAdapter(**adapter_arguments(starter, **more))
        controller = AsyncStreamController(adapter)
        return [event async for event in controller], controller

    return asyncio.run(main())


BOTH = pytest.mark.parametrize("run", [run_sync, run_async])


def only_terminal(events: list[ChatStreamEvent]) -> ChatStreamEvent:
    """The terminal event: there is one, and it is the last."""
    assert [e.finish for e in events].count(True) == 1
    assert events[-1].finish
    return events[-1]


def records(caplog: pytest.LogCaptureFixture, *events: str) -> list[dict[str, Any]]:
    """The log records of these events, as the JSON they are."""
    said = [json.loads(r.getMessage()) for r in caplog.records if r.getMessage().startswith("{")]
    return [record for record in said if record["event"] in events]


def finalize_records(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The finalize records, of success and of error."""
    return records(caplog, *FINALIZE)
