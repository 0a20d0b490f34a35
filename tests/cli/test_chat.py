"""``crux chat``: its options, what it prints, and how it fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from crux_providers.config import defaults
from tests.cli.conftest import Ran
from tests.servers.scripted_server import ScriptedServer

Crux = Callable[..., Ran]


@pytest.mark.contract("S46")
@pytest.mark.parametrize(
    "words",
    [
        ("chat", "hi", "--model", "openai:gpt-4o"),
        ("chat", "--prompt", "hi", "--provider", "openai", "--model", "gpt-4o"),
        ("chat", "hi", "--model", "gpt-4o"),  # of the default provider
    ],
)
def test_it_streams_the_answer(words: tuple[str, ...], crux: Crux, openai: ScriptedServer) -> None:
    done = crux(*words)
    assert (done.code, done.out, done.err) == (0, "Hello there\n", "")
    (exchange,) = openai.exchanges
    assert json.loads(exchange.body)["model"] == "gpt-4o"


@pytest.mark.contract("S46")
def test_json_says_what_happened(crux: Crux, openai: ScriptedServer) -> None:
    done = crux("chat", "hi", "--model", "openai:gpt-4o", "--json")
    assert done.code == 0
    assert done.json["text"] == "Hello there"
    assert done.json["token_usage"] == {"prompt": 3, "completion": 2, "total": 5}
    assert done.json["crux"]["attempts"][0]["outcome"] == "success"


@pytest.mark.contract("S46")
def test_a_route_of_a_file(crux: Crux, openai: ScriptedServer, tmp_path: Path) -> None:
    routes = tmp_path / "routes.yaml"
    routes.write_text("version: 1\nroutes: {mine: {candidates: ['openai:gpt-4o']}}\n")
    assert crux("chat", "hi", "--routes", str(routes), "--route", "mine").out == "Hello there\n"
    assert crux("chat", "hi", "--route", "mine", "--model", "openai:x").code == 2


def test_what_a_server_answered_is_not_hidden_behind_what_could_be_set_up(
    crux: Crux, openai: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway of the file that says no is the news, also where no provider has a key."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name)
    refusal = b'{"error": {"message": "no such key", "code": "invalid_api_key"}}'
    openai.play(lambda exchange: exchange.answer(refusal, status=401))
    routes = """version: 1
providers: {lab: {dialect: openai_chat, base_url: "URL", api_key: x}}
routes: {default: {candidates: ["lab:m"]}}
""".replace("URL", openai.url)
    (tmp_path / "routes.yaml").write_text(routes)
    done = crux("chat", "hi")
    assert (done.code, done.out) == (1, "")
    assert "lab:m: auth (HTTP 401): no such key" in done.err
    assert "nobody here can answer" not in done.err
    (tmp_path / "routes.yaml").write_text(routes.replace(openai.url, "http://127.0.0.1:1/v1"))
    assert "nobody here can answer" in crux("chat", "hi").err
    assert "lab:m: transient" in crux("chat", "hi", "--routes", "routes.yaml").err


@pytest.mark.contract("S35", 12)
def test_the_default_provider_is_the_defaults(
    crux: Crux, openai: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "DEFAULT_PROVIDER", "ollama")
    done = crux("chat", "hi", "--model", "gpt-4o")
    assert done.code == 1
    assert "ollama:gpt-4o" in done.err
    assert openai.requests == 0


@pytest.mark.contract(187)
def test_a_failed_call_exits_non_zero(crux: Crux, openai: ScriptedServer) -> None:
    openai.play(lambda x: x.answer(b'{"error": {"message": "bad", "code": "invalid"}}', 400))
    for more in ((), ("--json",)):
        done = crux("chat", "hi", "--model", "openai:gpt-4o", *more)
        assert (done.code, done.out) == (1, "")
        assert "bad_request" in done.lines[0]


@pytest.mark.contract(97, 98)
def test_the_level_of_the_environment_shows_every_record(
    crux: Crux, openai: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVIDERS_LOG_LEVEL", "info")
    done = crux("chat", "hi", "--model", "openai:gpt-4o")
    assert done.out == "Hello there\n"
    assert [record["event"] for record in done.records] == ["stream.adapter.end"]


def test_nothing_to_say_is_a_usage_error(crux: Crux) -> None:
    done = crux("chat")
    assert done.code == 2
    assert "say something" in done.err
