"""``crux models``: what is known with its source and date, refreshing, what has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from crux_integrations.cli.main import main
from crux_integrations.cli.model_facts import FactFinder
from crux_integrations.router.config import load_routes
from crux_providers.base.capabilities import record_observation
from crux_providers.base.get_models_base import load_snapshot, save_provider_models
from crux_providers.base.repositories.model_registry import ModelRegistryRepository
from tests.servers.scripted_server import ScriptedServer

TODAY = datetime.now(UTC).date().isoformat()
ROUTES = """
version: 1
models:
  openai:gpt-4o: {context: 1000, price: {input: 0, output: 0}, capabilities: [tools]}
routes:
  default: {candidates: ["openai:gpt-4o"]}
"""


@pytest.fixture
def routes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(ROUTES)
    monkeypatch.setenv("CRUX_ROUTES", str(path))
    return path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    with ScriptedServer() as made:
        monkeypatch.setenv("OPENAI_BASE_URL", made.url)
        monkeypatch.setenv("OPENAI_API_KEY", "key")
        yield made


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["models", *arguments])
    return int(ended.value.code or 0)


def listed(ids: dict[str, int]) -> Any:
    data = [{"id": name, "created": created} for name, created in ids.items()]
    return lambda exchange: exchange.answer(json.dumps({"data": data}).encode())


def test_each_figure_has_its_source_and_date(
    crux_db: Path, routes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    item = {"id": "gpt-4o", "context_window": 128000, "capabilities": {"tools": False, "pdf": True}}
    save_provider_models("openai", [item, {"id": "o3-mini", "max_output_tokens": 7}])
    record_observation("openai", "gpt-4o", "vision", True)
    assert run("list", "--provider", "openai", "--json") == 0
    (provider,) = json.loads(capsys.readouterr().out)
    assert (provider["provider"], provider["source"]) == ("openai", "api")
    first, second = provider["models"]
    assert first["context"] == {
        "value": 1000, "source": "declared", "date": None, "stale": False,
    }  # fmt: skip
    assert first["price"]["value"] == {"input": 0, "output": 0}  # a declared zero is zero
    said = {word: (f["value"], f["source"], f["date"]) for word, f in first["capabilities"].items()}
    assert said["tools"] == (True, "declared", None)
    assert said["vision"] == (True, "observed", TODAY)
    assert said["pdf"] == (True, "api", TODAY)
    assert second["capabilities"]["reasoning"]["source"] in ("catalogue", "heuristic")
    assert second["max_output"] == {"value": 7, "source": "api", "date": TODAY, "stale": False}
    assert second["price"]["source"] == "catalogue"
    assert run("list", "--provider", "openai") == 0
    shown = capsys.readouterr().out
    assert "1,000 (declared)" in shown
    assert f"vision (observed {TODAY})" in shown


def test_figures_older_than_ninety_days_are_flagged(crux_db: Path, routes: Path) -> None:
    snapshot = ModelRegistryRepository().list_models("anthropic")
    config = load_routes(routes)

    def of(day: date) -> Any:
        found = FactFinder(config, day).models(snapshot)
        return next(facts for facts in found if facts.id == "claude-3-haiku")

    price = of(date(2026, 11, 28)).price
    assert (price.source, price.stale) == ("catalogue", False)
    old = of(date(2099, 1, 1)).as_json()
    assert "price" in old["stale"]
    assert old["price"]["stale"] is True


def test_a_gateway_of_the_routes_file_is_shown_as_declared(
    routes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    routes.write_text(
        ROUTES.replace("models:", "models:\n  groq:mine: {context: 9}", 1).replace(
            "version: 1",
            "version: 1\nproviders:\n  groq: {dialect: openai_chat, base_url: 'http://127.0.0.1:9'}",
        )
    )
    assert run("list", "--provider", "groq", "--json") == 0
    (provider,) = json.loads(capsys.readouterr().out)
    (model,) = provider["models"]  # none of the vendor's of that name
    assert (model["id"], model["context"]["value"], model["price"]) == ("mine", 9, None)


def test_what_nobody_states_is_unknown(
    crux_db: Path, routes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_provider_models("xai", ["nobody-knows-it"])
    assert run("list", "--provider", "xai", "--json") == 0
    ((model,),) = [p["models"] for p in json.loads(capsys.readouterr().out)]
    assert (model["context"], model["price"], model["capabilities"]) == (None, None, {})


def test_refresh_stores_and_reports(
    crux_db: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.play(listed({"a": 1, "b": 2}))
    assert run("refresh", "--provider", "openai", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["totals"] == {"loaded": 1, "skipped": 0, "failed": 0}
    server.play(lambda exchange: exchange.answer(b"{}", 500))
    assert run("refresh", "--provider", "openai") == 1
    assert "[openai] failed: server_error" in capsys.readouterr().out
    assert [m.id for m in load_snapshot("openai").models] == ["a", "b"]
    assert run("refresh", "--provider", "xai") == 1  # named, and not set up


def test_diff_compares_and_stores_nothing(
    crux_db: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.play(listed({"kept": 1700000000, "moved": 1700000000, "gone": 1}))
    assert run("refresh", "--provider", "openai") == 0
    before = load_snapshot("openai")
    server.play(listed({"kept": 1700000000, "moved": 1720000000, "fresh": 1}))
    capsys.readouterr()
    assert run("diff", "--provider", "openai", "--json") == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["new"], report["gone"]) == (["fresh"], ["gone"])
    assert report["changed"] == {"moved": {"updated_at": ["2023-11-14", "2024-07-03"]}}
    assert load_snapshot("openai") == before
    assert run("diff", "--provider", "openai") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  + fresh", "  - gone", "  ~ moved  updated_at: 2023-11-14 → 2024-07-03",
    ]  # fmt: skip


def test_diff_of_a_provider_that_does_not_answer_fails(
    crux_db: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.play(lambda exchange: exchange.answer(b'{"data": []}'))
    assert run("diff", "--provider", "openai", "--json") == 1
    (report,) = json.loads(capsys.readouterr().out)
    assert "no models" in report["error"]
    assert run("diff", "--provider", "xai") == 1
    assert "XAI_API_KEY" in capsys.readouterr().out


def test_an_unknown_provider_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--provider", "nobody") == 2
    assert "'nobody' is none of anthropic" in capsys.readouterr().err
