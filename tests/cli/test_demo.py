"""``crux demo``: recorded sessions, then an answer that nobody recorded."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from crux_integrations.cli import demo
from crux_providers.local import weights
from tests.weights_for_tests import model_file


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Console:
    monkeypatch.chdir(tmp_path)
    return Console(file=io.StringIO(), width=160)


def said(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_without_weights_it_says_so_in_a_line_and_ends_well(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "version: 1\nroutes: {default: {candidates: [xai:grok-4]}}\n"
    Path("routes.yaml").write_text(own)  # a file of the user's own changes nothing
    monkeypatch.setattr(weights, "installer", lambda: None)
    assert demo.run(console) == 0
    text = said(console)
    assert "It is 18 degrees Celsius" in text
    last = text.strip().splitlines()[-1]
    assert last.startswith("The model inside the process is not here to answer it: ")


@pytest.mark.integration
def test_the_last_candidate_answers_for_real(
    console: Console, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the user's other keys set, nothing leaves this machine: whoever is asked says 503."""
    gguf = model_file(Path(request.config.cache.mkdir("crux-models")))
    monkeypatch.setenv("CRUX_LOCAL_GGUF", str(gguf))
    monkeypatch.setenv("GEMINI_API_KEY", "the-users-own")
    assert demo.alive(console) == 0
    text = said(console)
    assert "Paris" in text
    assert f"answered here and now by local:{gguf.stem}" in text
    rows = [line for line in text.splitlines() if "503" in line]
    assert sum("openai:gpt-5-mini" in row for row in rows) == 2
    assert any("anthropic:" in row for row in rows)
    assert any("lab:" in row for row in rows)
    assert "gemini" not in text
