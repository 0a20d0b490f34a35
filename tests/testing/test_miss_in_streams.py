"""A request that no cassette holds is the test's fault: it leaves every kind of call as itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from crux_integrations import Router
from crux_integrations.testing import CassetteMiss, use_cassette
from crux_providers.base import ChatRequest, Message

REQUEST = ChatRequest(messages=[Message("user", "hi")])
ROUTES = {
    "version": 1,
    "providers": {"p": {"dialect": "openai_chat", "base_url": "http://127.0.0.1:9/v1"}},
    "routes": {"default": {"candidates": ["p:m"]}},
}


async def drain(events: Any) -> list[Any]:
    return [event async for event in events]


@pytest.mark.parametrize(
    "ask",
    [
        lambda r: r.generate(REQUEST),
        lambda r: list(r.stream(REQUEST)),
        lambda r: asyncio.run(r.agenerate(REQUEST)),
        lambda r: asyncio.run(drain(r.astream(REQUEST))),
    ],
    ids=["generate", "stream", "agenerate", "astream"],
)
def test_a_miss_is_never_a_provider_failure(ask: Any, tmp_path: Path) -> None:
    cassette = use_cassette(tmp_path / "none.yaml")
    cassette.__enter__()
    try:
        with pytest.raises(CassetteMiss):
            ask(Router(ROUTES))
    finally:
        with pytest.raises(CassetteMiss):  # and once more when the cassette closes
            cassette.__exit__(None, None, None)
