"""The README's code, run from its first line to its last, and the examples as their user would."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crux_integrations.router.config import load_routes
from tests.faults.wires import WIRES, Wire
from tests.servers.scripted_server import Exchange, ScriptedServer

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
ANTHROPIC = next(w for w in WIRES if w.dialect == "anthropic_messages")
OPENAI = next(w for w in WIRES if w.dialect == "openai_responses")


def answer(wire: Wire) -> Any:
    def play(x: Exchange) -> None:
        if not json.loads(x.body).get("stream"):
            x.answer(json.dumps(wire.whole).encode())
            return
        x.begin_stream()
        for frame in (*wire.opening, wire.text("Hello"), wire.text(" there"), *wire.ending):
            x.chunk(frame)
        x.end_stream()

    return play


def test_the_code_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 2
    with ScriptedServer(answer(ANTHROPIC)) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url.removesuffix("/v1"))
        exec(blocks[0], names)
        assert capsys.readouterr().out == "Hello there"
        assert server.requests == 1
        exec(blocks[1], names)
    assert capsys.readouterr().out.startswith("The capital of… The capital of")


def test_the_routes_load() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert load_routes(text).routes["default"].candidates


def test_every_command_it_names_is_there() -> None:
    from click import Group

    from crux_integrations.cli.commands import cli

    table = re.findall(r"^\| `crux ([^`]+)`((?:, `[a-z]+`)*)", README, re.MULTILINE)
    assert len(table) >= 8
    for words, more in table:
        path = [w for w in words.split() if not w.startswith("-") and not w.endswith(".yaml")]
        for last in [path[-1], *re.findall(r"`([a-z]+)`", more)]:
            command: Any = cli
            for word in [*path[:-1], last]:
                assert isinstance(command, Group)
                command = command.get_command(None, word)  # type: ignore[arg-type]  # unused
                assert command is not None, f"crux {words}"
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {
        word
        for line in re.findall(r"^\| (`make .*?) \|", README, re.MULTILINE)
        for call in re.findall(r"`make ([^`]+)`", line)
        for word in call.split()
    }
    assert named <= targets, named - targets


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(answer(OPENAI)) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "a-key")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        chain = subprocess.run(
            [sys.executable, "examples/chain.py"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert chain.returncode == 0, chain.stderr
    first, _, who, tried, *_ = chain.stdout.splitlines()
    assert first == "Hello there"
    assert who.startswith("openai:")
    assert tried.startswith("  openai:gpt-5-mini: success")
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "2 passed" in tests.stdout, tests.stdout
