"""The backfill tool's documents and exit codes as its users were shown them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from crux_providers.persistence.sqlite import backfill_timestamps
from crux_providers.service.db import init_db

NAIVE, AWARE = "2025-09-16T18:22:04.123456", "2025-09-16T18:22:04.123456+00:00"
TABLES = ("metrics", "chat_logs")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Two rows in each table, one of them naive."""
    path = tmp_path / "providers.db"
    init_db(path)
    with sqlite3.connect(path) as connection:
        for table in TABLES:
            for stamp in (NAIVE, AWARE):
                connection.execute(f"INSERT INTO {table} (created_at) VALUES (?)", (stamp,))
    connection.close()
    return path


def tables(legacy: int, updated: int) -> list[dict[str, Any]]:
    return [
        {"table": table, "scanned": 2, "legacy_naive": legacy, "updated": updated}
        for table in TABLES
    ]


def totals(legacy: int, updated: int) -> dict[str, int]:
    return {"legacy_naive": legacy, "updated": updated}


@pytest.mark.contract(162, 163, 164, 165, 166, 168, 170, 171, 172, 173, 175)
def test_the_documents(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> tuple[int, Any]:
        code = backfill_timestamps.main(["--db", str(database), "--json", *words])
        return code, json.loads(capsys.readouterr().out)

    before = database.read_bytes()
    dry_run = {"phase": "dry_run", "tables": tables(1, 0), "totals": totals(2, 0)}
    assert run() == (3, dry_run)
    assert database.read_bytes() == before
    applied = {
        "phase": "applied", "tables": tables(1, 1), "totals": totals(2, 2), "dry_run": dry_run,
    }  # fmt: skip
    assert run("--apply", "--yes") == (0, applied)
    nothing = {"phase": "dry_run", "tables": tables(0, 0), "totals": totals(0, 0)}
    assert run("--apply", "--yes") == (0, {**nothing, "phase": "applied", "dry_run": nothing})
    assert run() == (0, nothing)
    with sqlite3.connect(database) as connection:
        for table in TABLES:
            found = connection.execute(f"SELECT created_at FROM {table} ORDER BY rowid").fetchall()
            assert found == [(AWARE,), (AWARE,)]
    connection.close()


@pytest.mark.contract(167, "S45")
def test_nobody_to_ask_is_a_no(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = database.read_bytes()
    assert backfill_timestamps.main(["--db", str(database), "--apply", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["phase"] == "dry_run"
    assert database.read_bytes() == before


@pytest.mark.contract(174, 175)
def test_the_schema(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **more: object) -> object:
        raise AssertionError("no database is touched")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    assert backfill_timestamps.main(["--print-schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema == backfill_timestamps._SCHEMA
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    item = schema["properties"]["tables"]["items"]["properties"]
    assert set(item) == {"table", "scanned", "legacy_naive", "updated"}
    assert set(schema["properties"]) == {"phase", "tables", "totals", "dry_run"}


@pytest.mark.contract(152, 153, 154, 155, 156)
def test_how_stored_times_are_read() -> None:
    from datetime import UTC, datetime

    from crux_providers.persistence.sqlite.repos import _parse_created_at

    when = datetime(2025, 9, 16, 18, 22, 4, 123456, tzinfo=UTC)
    assert _parse_created_at(AWARE) == when
    assert _parse_created_at(NAIVE) == when
    assert _parse_created_at("not-a-date") == datetime(1970, 1, 1, tzinfo=UTC)
    assert _parse_created_at(when.replace(tzinfo=None)) == when
    assert _parse_created_at(when) is when
    assert _parse_created_at(NAIVE).tzinfo is UTC
