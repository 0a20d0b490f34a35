"""The backfill tool: what it counts, what it changes, how it ends."""

from __future__ import annotations

import io
import json
import os
import pty
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crux_providers.persistence.sqlite.backfill_timestamps import _SCHEMA, main
from crux_providers.persistence.sqlite.repos import MetricsRepository
from crux_providers.service.db import init_db

MODULE = "crux_providers.persistence.sqlite.backfill_timestamps"
NAIVE = "2025-09-16T18:22:04.123456"
AWARE = f"{NAIVE}+00:00"


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    """A database with one naive row in each table, beside rows that are to stay as they are."""
    file = tmp_path / "providers.db"
    init_db(file)
    with closing(sqlite3.connect(file)) as connection:
        for table in ("metrics", "chat_logs"):
            for text in (AWARE, NAIVE):
                connection.execute(f"INSERT INTO {table} (created_at) VALUES (?)", (text,))
        connection.execute("INSERT INTO metrics (created_at) VALUES ('not-a-date')")
        connection.commit()
    return file


def texts(file: Path, table: str) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return [t for (t,) in connection.execute(f"SELECT created_at FROM {table} ORDER BY rowid")]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    code = main(list(arguments))
    out, err = capsys.readouterr()
    return code, json.loads(out) if "--json" in arguments and out else out, err


DRY = {
    "phase": "dry_run",
    "tables": [
        {"table": "metrics", "scanned": 3, "legacy_naive": 1, "updated": 0},
        {"table": "chat_logs", "scanned": 2, "legacy_naive": 1, "updated": 0},
    ],
    "totals": {"legacy_naive": 2, "updated": 0},
}


def test_a_dry_run_counts_and_changes_nothing(
    legacy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = legacy.read_bytes()
    code, document, _ = run(capsys, "--db", str(legacy), "--json")
    assert (code, document) == (3, DRY)
    assert list(document) == ["phase", "tables", "totals"]
    assert legacy.read_bytes() == before


def test_apply_rewrites_and_says_what_was(legacy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, document, _ = run(capsys, "--db", str(legacy), "--apply", "--yes", "--json")
    assert code == 0
    assert document == {
        "phase": "applied",
        "tables": [
            {"table": "metrics", "scanned": 3, "legacy_naive": 1, "updated": 1},
            {"table": "chat_logs", "scanned": 2, "legacy_naive": 1, "updated": 1},
        ],
        "totals": {"legacy_naive": 2, "updated": 2},
        "dry_run": DRY,
    }
    assert texts(legacy, "metrics") == [AWARE, AWARE, "not-a-date"]
    assert texts(legacy, "chat_logs") == [AWARE, AWARE]


def test_a_second_apply_finds_nothing_and_still_names_the_tables(
    legacy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "--db", str(legacy), "--apply", "--yes")[0] == 0
    code, document, _ = run(capsys, "--db", str(legacy), "--apply", "--yes", "--json")
    assert code == 0
    assert [row["table"] for row in document["tables"]] == ["metrics", "chat_logs"]
    assert document["totals"] == {"legacy_naive": 0, "updated": 0}
    assert run(capsys, "--db", str(legacy), "--json")[0] == 0


def test_what_is_rewritten_is_read_as_the_same_instant(legacy: Path) -> None:
    before = [entry.created_at for entry in MetricsRepository(legacy).list()]
    assert main(["--db", str(legacy), "--apply", "--yes"]) == 0
    assert [entry.created_at for entry in MetricsRepository(legacy).list()] == before


def test_many_rows_and_gaps(legacy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(legacy)) as connection:
        rows = [((n - 1250) * 4 - 1, "2025-01-01 00:00:00") for n in range(2500)]
        connection.executemany("INSERT INTO chat_logs (id, created_at) VALUES (?, ?)", rows)
        connection.commit()
    code, document, _ = run(capsys, "--db", str(legacy), "--apply", "--yes", "--json")
    assert code == 0
    assert document["tables"][1]["updated"] == 2501
    assert set(texts(legacy, "chat_logs")) == {AWARE, "2025-01-01T00:00:00+00:00"}


def test_without_a_terminal_it_declines(
    legacy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    for more in ([], ["--json"]):
        code, _, err = run(capsys, "--db", str(legacy), "--apply", *more)
        assert code == 2
        assert "nothing was changed" in err
    assert texts(legacy, "metrics")[1] == NAIVE


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("yes", 0), ("n", 2), ("", 2)])
def test_at_a_terminal_it_asks(legacy: Path, answer: str, code: int) -> None:
    primary, secondary = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE, "--db", str(legacy), "--apply", "--json"],
            stdin=secondary,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.write(primary, f"{answer}\n".encode())
        out, err = process.communicate(timeout=30)
    finally:
        os.close(primary)
        os.close(secondary)
    assert process.returncode == code
    assert "[y/N]" in err
    assert json.loads(out)["phase"] == ("applied" if code == 0 else "dry_run")
    assert texts(legacy, "metrics")[1] == (AWARE if code == 0 else NAIVE)


def test_a_missing_database_is_an_error_and_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "no" / "where.db"
    for more in ([], ["--apply", "--yes"]):
        code, out, err = run(capsys, "--db", str(missing), *more)
        assert (code, out) == (1, "")
        assert err.count("\n") == 1
        assert str(missing) in err
    assert not missing.parent.exists()


def test_errors_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"garbage" * 1000)
    monkeypatch.setenv("CRUX_DB", "off")
    for arguments in (["--db", str(garbage)], ["--db", "postgresql://h/d"], []):
        code, out, err = run(capsys, *arguments)
        assert (code, out, err.count("\n")) == (1, "", 1), arguments


def test_the_default_is_the_users_database(
    crux_db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init_db()
    code, document, _ = run(capsys, "--json")
    assert code == 0
    assert document["totals"] == {"legacy_naive": 0, "updated": 0}


def test_tables_that_are_not_there_have_no_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE metrics (x INTEGER, created_at TIMESTAMP)")
        connection.execute("INSERT INTO metrics VALUES (1, ?)", (NAIVE,))
        connection.commit()
    code, document, _ = run(capsys, "--db", str(file), "--json")
    assert code == 3
    assert document["tables"][1] == {
        "table": "chat_logs", "scanned": 0, "legacy_naive": 0, "updated": 0,
    }  # fmt: skip


def test_usage_errors_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--frobnicate"])
    assert caught.value.code == 1


def test_the_schema_is_printed_without_a_database(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sqlite3, "connect", None)
    assert main(["--print-schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == _SCHEMA
    assert set(printed["properties"]["tables"]["items"]["properties"]) == {
        "table", "scanned", "legacy_naive", "updated",
    }  # fmt: skip


def test_reports_fit_the_schema(legacy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(_SCHEMA)
    validator = jsonschema.Draft202012Validator(_SCHEMA)
    for more in ([], ["--apply", "--yes"], ["--apply", "--yes"]):
        _, document, _ = run(capsys, "--db", str(legacy), "--json", *more)
        validator.validate(document)
        del document["tables"][0]["updated"]
        assert not validator.is_valid(document)


def test_as_a_program(legacy: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", MODULE, "--db", str(legacy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "metrics" in done.stdout
