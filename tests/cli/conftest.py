"""The command line in this process, a provider on a socket for it to call, both databases."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from crux_integrations.cli.main import main
from crux_providers.persistence.store import get_store
from tests.databases import place, postgres, store
from tests.faults.wires import PRESENT
from tests.servers.scripted_server import Exchange, ScriptedServer

__all__ = ["place", "postgres", "store"]  # tests here run against both database engines

WIRE = next(wire for wire in PRESENT if wire.dialect == "openai_chat")


@dataclass(frozen=True)
class Ran:
    """What a command did: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The log records on stderr."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]

    @property
    def lines(self) -> list[str]:
        """What stderr says besides."""
        return [line for line in self.err.splitlines() if not line.startswith("{")]


@pytest.fixture
def crux(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ran]]:
    """Run ``crux`` with these words."""
    logger = logging.getLogger("crux_providers")
    before = list(logger.handlers)

    def run(*words: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(words)
        get_store().close()  # what the end of the process does
        captured = capsys.readouterr()
        return Ran(int(caught.value.code or 0), captured.out, captured.err)

    yield run
    logger.handlers = before


def answer(exchange: Exchange) -> None:
    """A good answer, whole or streamed as asked."""
    if not json.loads(exchange.body).get("stream"):
        exchange.answer(json.dumps(WIRE.whole).encode())
        return
    exchange.begin_stream()
    for frame in (*WIRE.opening, WIRE.text("Hello"), WIRE.text(" there"), *WIRE.ending):
        exchange.chunk(frame)
    exchange.end_stream()


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A server that is OpenAI to everything in this test."""
    with ScriptedServer(answer) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "as-real-as-a-key-can-be")
        yield server
