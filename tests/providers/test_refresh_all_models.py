"""``refresh_all_models``: every fetcher, who failed and who is not set up, and the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crux_providers.base.get_models_base import load_cached_models, save_provider_models
from crux_providers.config.declaration import declarations
from crux_providers.utils.refresh_all_models import Outcome, main, progress, refresh_all
from tests.providers.listings import serve
from tests.servers.scripted_server import Exchange, ScriptedServer

PATHS = {
    "/v1/models": "openai", "/v1/models?limit=1000": "anthropic", "/api/tags": "ollama",
    "/api/show": "ollama",
}  # fmt: skip


@pytest.fixture
def server(crux_db: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """OpenAI answers, Anthropic is out of order, Ollama answers; the others have no key."""

    def scenario(exchange: Exchange) -> None:
        provider = PATHS[exchange.target]
        if provider == "anthropic":
            exchange.answer(b'{"type": "error", "error": {"type": "api_error"}}', 500)
            return
        serve(provider)(exchange)

    with ScriptedServer(scenario) as made:
        monkeypatch.setenv("OPENAI_BASE_URL", made.url)
        monkeypatch.setenv("OPENAI_API_KEY", "one")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", made.url.removesuffix("/v1"))
        monkeypatch.setenv("ANTHROPIC_API_KEY", "two")
        monkeypatch.setenv("OLLAMA_HOST", made.url.removesuffix("/v1"))
        monkeypatch.setitem(sys.modules, "litellm", None)
        yield made


def test_every_provider_is_reported(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    save_provider_models("anthropic", ["kept"])
    assert main(["--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    outcomes = {outcome["provider"]: outcome for outcome in document["providers"]}
    assert list(outcomes) == sorted(declarations())
    assert {name: o["status"] for name, o in outcomes.items()} == {
        "anthropic": "failed", "deepseek": "skipped", "gemini": "skipped", "litellm": "skipped",
        "local": "skipped", "ollama": "loaded", "openai": "loaded", "openrouter": "skipped",
        "xai": "skipped",
    }  # fmt: skip
    assert outcomes["openai"]["source"] == "openai_sdk_enriched"
    assert outcomes["anthropic"]["code"] == "server_error"
    assert "XAI_API_KEY" in outcomes["xai"]["error"]
    assert document["totals"] == {"loaded": 2, "skipped": 6, "failed": 1}
    assert [m["id"] for m in load_cached_models("anthropic")] == ["kept"]
    assert len(load_cached_models("openai")) == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--provider", "anthropic"], 0),
        (["--provider", "anthropic", "--fail-on-error"], 1),
        (["--provider", "openai", "--provider", "xai", "--fail-on-error"], 0),
    ],
)
def test_fail_on_error_sets_the_exit_code(
    arguments: list[str], code: int, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    out = capsys.readouterr().out
    if "openai" in arguments:
        assert "[openai] loaded 2 models\n[xai] skipped: no API key for xai" in out
    else:
        assert "[anthropic] failed: server_error" in out
        assert "0 stored models stay" in out


def test_a_provider_that_does_not_exist_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--provider", "nobody"])
    assert caught.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


def test_a_refused_key_has_failed_and_is_not_skipped(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.play(lambda exchange: exchange.answer(b'{"error": {"message": "no such key"}}', 401))
    assert main(["--provider", "openai", "--fail-on-error"]) == 1
    assert "[openai] failed: auth: " in capsys.readouterr().out


def test_an_unreachable_provider_has_failed(monkeypatch: pytest.MonkeyPatch, crux_db: Path) -> None:
    with ScriptedServer() as gone:
        monkeypatch.setenv("OLLAMA_HOST", gone.url.removesuffix("/v1"))
    (outcome,) = refresh_all(["ollama"])
    assert (outcome.status, outcome.code) == ("failed", "transient")


def test_it_runs_as_a_program_and_importing_it_does_nothing(crux_db: Path) -> None:
    module = "crux_providers.utils.refresh_all_models"
    code = f"import sys\nimport {module}\nprint([m for m in sys.modules if 'get_' in m and "
    code += "m.endswith('_models')], sorted({'rich', 'httpx', 'openai'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"
    assert not crux_db.exists()
    done = subprocess.run(
        [sys.executable, "-m", module, "--provider", "xai", "--fail-on-error"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("[xai] skipped: no API key for xai: set XAI_API_KEY")


@pytest.mark.parametrize("rich", ["with", "without"])
def test_the_progress_shows_on_a_terminal_only(
    rich: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = Outcome("xai", "loaded", 3)
    with progress(1) as told:
        told(outcome)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    if rich == "without":
        monkeypatch.setitem(sys.modules, "rich.console", None)
    with progress(1) as told:
        told(outcome)
    captured = capsys.readouterr()
    assert "xai: loaded" in captured.err
    assert captured.out == ""
