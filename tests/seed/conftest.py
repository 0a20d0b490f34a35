"""A provider on a socket, and an empty project folder to work in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.wires import PRESENT
from tests.servers.scripted_server import Exchange, ScriptedServer

WIRES = {wire.dialect: wire for wire in PRESENT}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(exchange: Exchange) -> None:
    """OpenAI's good answer, on either endpoint, whole or streamed."""
    wire = WIRES["openai_responses" if exchange.target.endswith("/responses") else "openai_chat"]
    if not json.loads(exchange.body).get("stream"):
        exchange.answer(json.dumps(wire.whole).encode(), headers={"x-request-id": "req-1"})
        return
    exchange.begin_stream({"x-request-id": "req-1"})
    for frame in (*wire.opening, wire.text("Hello"), wire.text(" there"), *wire.ending):
        exchange.chunk(frame)
    exchange.end_stream()


@pytest.fixture
def openai(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A server that is OpenAI to everything in this test, and a key for it in the environment."""
    with ScriptedServer(answer) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "as-real-as-a-key-can-be")
        yield server
