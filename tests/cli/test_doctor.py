"""``crux doctor``: each thing it looks at, good, doubtful and bad; and that it changes nothing."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from crux_integrations.cli import doctor as doctor_module
from crux_integrations.cli.doctor import Finding
from crux_integrations.cli.main import main
from crux_integrations.router.ageing import figure_report
from crux_integrations.router.config import load_routes
from crux_providers import catalog
from crux_providers.persistence.database import open_database
from crux_providers.persistence.location import Location, parse

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def crux(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        return int(ended.value.code or 0), capsys.readouterr().out

    return run


def found(check: Callable[[], Any]) -> list[tuple[str, str]]:
    return [(one.name, one.verdict) for one in check()]


def test_the_whole_on_a_fresh_machine(crux: Run, isolated_environment: Path) -> None:
    code, out = crux("doctor", "--json")
    report = json.loads(out)
    names = {one["name"] for one in report["findings"]}
    assert names >= {"python", "crux", "httpx", "keys", "database", "routes", "catalogue"}
    assert (code, report["ok"]) == (0, True)
    assert list(isolated_environment.iterdir()) == []
    lines = crux("doctor")[1].splitlines()
    assert len(lines) == len(report["findings"])
    assert all(line.split()[0] in ("ok", "warn", "fail") for line in lines)


def test_a_failure_is_exit_1(crux: Run, crux_db: Path) -> None:
    crux_db.write_text("no database")
    crux_db.chmod(0o600)
    code, out = crux("doctor", "--json")
    failed = [one for one in json.loads(out)["findings"] if one["verdict"] == "fail"]
    assert code == 1
    assert [one["name"] for one in failed] == ["database"]


# -- keys -----------------------------------------------------------------------------------------

SECRET = "".join(["s", "k-live-", "9f8e7d6c5b4a3928", "1706f5e4d3c2b1a0"])


def test_keys_are_named_by_their_variable_never_shown(
    crux: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert found(doctor_module.keys) == [("keys", "warn")]
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("GOOGLE_API_KEY", SECRET)  # the other name of Gemini's
    monkeypatch.setenv("XAI_API_KEY", "your-api-key-here")  # none
    (tmp_path / ".env").write_text(f"ANTHROPIC_API_KEY={SECRET}\n")
    (tmp_path / "config.yaml").write_text(f"api: {{deepseek: {{api_key: {SECRET}}}}}\n")
    (line,) = doctor_module.keys()
    assert line.verdict == "ok"
    assert line.detail == (
        "anthropic (ANTHROPIC_API_KEY in .env), deepseek (config.yaml), "
        "gemini (GOOGLE_API_KEY), openai (OPENAI_API_KEY)"
    )
    assert SECRET not in crux("doctor", "--json")[1]


def test_a_file_of_keys_that_cannot_be_read_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("api: [")
    (line,) = doctor_module.keys()
    assert line.verdict == "fail"
    assert "config.yaml" in line.detail


# -- packages -------------------------------------------------------------------------------------


def test_a_package_outside_its_bounds_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"openai": "1.9.0", "httpx": "0.20.0"}
    real = doctor_module.metadata.version

    def version(name: str) -> str:
        if name == "anthropic":
            raise doctor_module.metadata.PackageNotFoundError(name)
        return versions.get(name) or real(name)

    monkeypatch.setattr(doctor_module.metadata, "version", version)
    lines = {one.name: one for one in doctor_module.packages()}
    assert lines["openai"].verdict == "warn"
    assert "<4" in lines["openai"].detail  # the extra's own bounds, not those litellm needs
    assert lines["httpx"].verdict == "fail"  # not an extra: nothing works without
    assert lines["anthropic"].verdict == "ok"
    assert "crux-integrations[anthropic]" in lines["anthropic"].detail


# -- the database ---------------------------------------------------------------------------------


def test_the_database_is_looked_at_and_left_as_it_is(place: Location) -> None:
    (line,) = doctor_module.database()
    assert line.verdict == "ok"
    if place.kind == "sqlite":
        assert "made at the first use" in line.detail
        assert not place.exists()
    with open_database(place) as database:
        assert found(doctor_module.database) == [("database", "ok")]
        database.execute("DELETE FROM schema_version WHERE version > 2")
        (line,) = doctor_module.database()
        assert "schema 2, becomes" in line.detail
        database.execute("INSERT INTO schema_version (version) VALUES (99)")
        (line,) = doctor_module.database()
        assert line.verdict == "fail"
        assert "schema 99 is of a newer crux" in line.detail


def test_a_database_that_others_may_read_is_doubtful(crux_db: Path) -> None:
    open_database(parse(crux_db)).close()
    assert stat.S_IMODE(crux_db.stat().st_mode) == 0o600
    crux_db.chmod(0o644)
    assert found(doctor_module.database) == [("database", "warn"), ("database", "ok")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_is_read_only_is_doubtful(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setenv("CRUX_DB", str(tmp_path / "data" / "crux.db"))
    assert found(doctor_module.database) == [("database", "warn")]
    tmp_path.chmod(0o700)


def test_a_folder_that_is_a_file_is_doubtful(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("CRUX_DB", str(tmp_path / "file" / "crux.db"))
    (line,) = doctor_module.database()
    assert line.verdict == "warn"


@pytest.mark.integration
def test_a_server_that_does_not_answer_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgres)")
    monkeypatch.setenv("CRUX_DB", "postgresql://me:hunter2@127.0.0.1:1/none")
    (line,) = doctor_module.database()
    assert line.verdict == "fail"
    assert "hunter2" not in line.detail


# -- the state ------------------------------------------------------------------------------------


def test_no_state_is_no_line() -> None:
    assert list(doctor_module.state()) == []


@pytest.mark.integration
def test_the_state_server(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = pytest.importorskip("redis", reason="redis is not installed (extra redis)")
    try:
        redis.Redis.from_url("redis://127.0.0.1:6379", socket_connect_timeout=1).ping()
    except redis.RedisError:
        pytest.skip("no Redis server on 127.0.0.1:6379")
    monkeypatch.setenv("CRUX_STATE", "redis://127.0.0.1:6379/0")
    (line,) = doctor_module.state()
    assert line.verdict == "ok"
    assert line.detail.startswith("redis://127.0.0.1:6379: redis ")


def test_a_state_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRUX_STATE", "redis://:hunter2@127.0.0.1:1/0")
    (line,) = doctor_module.state()
    assert line.verdict == "fail"
    assert "hunter2" not in line.detail
    monkeypatch.setenv("CRUX_STATE", "memcached://x")
    assert found(doctor_module.state) == [("state", "fail")]


# -- routes, model, catalogue ---------------------------------------------------------------------


def test_the_routes_file(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text("version: 1\nroutes: {default: {candidates: ['openai:gpt-5'], retri: 1}}\n")
    (line,) = doctor_module.routes(file)
    assert line.verdict == "fail"
    assert "retri" in line.detail
    (line,) = doctor_module.routes(tmp_path / "missing.yaml")
    assert line.verdict == "fail"


def test_the_local_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, isolated_environment: Path
) -> None:
    assert found(doctor_module.local_model) == [("local model", "ok")]
    monkeypatch.setenv("CRUX_LOCAL_GGUF", str(tmp_path / "m.gguf"))
    assert found(doctor_module.local_model) == [("local model", "fail")]
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    (line,) = doctor_module.local_model()
    assert line == Finding("local model", "ok", str(tmp_path / "m.gguf"))


def test_the_catalogue_ages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "stale", lambda source, today: False)
    assert found(doctor_module.catalogue) == [("catalogue", "ok")]
    monkeypatch.setattr(catalog, "stale", lambda source, today: True)
    (line,) = doctor_module.catalogue()
    assert line.verdict == "warn"
    assert "older than 90 days" in line.detail


def test_old_figures_of_candidates_are_flagged() -> None:
    config = load_routes(
        {
            "version": 1,
            "models": {"anthropic:claude-haiku-4-5": {"price": {"input": 1, "output": 5}}},
            "routes": {
                "default": {
                    "candidates": ["openai:gpt-5-mini", "anthropic:claude-haiku-4-5",
                                   "ollama:who-knows", {"route": "b"}]
                },
                "b": {"candidates": ["openai:gpt-5-mini"]},
            },
        }
    )  # fmt: skip
    entry = catalog.lookup("openai", "gpt-5-mini")
    assert entry is not None
    fresh = date.fromisoformat(min(source.date for source in entry.sources.values()))
    assert not any("openai:gpt-5-mini" in line for line in figure_report(config, fresh))
    claude, gpt = figure_report(config, date(2030, 1, 1))
    assert gpt.startswith("openai:gpt-5-mini: price, ")
    assert entry.sources["max_input"].date in gpt or entry.sources["price"].date in gpt
    assert "price" not in claude  # the file declares its own


def test_routes_check_says_so_too(
    crux: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text("version: 1\nroutes: {default: {candidates: ['openai:gpt-5-mini']}}\n")
    monkeypatch.setattr(catalog, "stale", lambda source, today: True)
    code, out = crux("routes", "check", str(file), "--json")
    assert code == 0
    assert any("older than 90 days" in note for note in json.loads(out)["notes"])
