"""The SQLite engine: settings, modes of files, and errors in plain words."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from pathlib import Path

import pytest

from crux_providers.config import defaults
from crux_providers.persistence.errors import StorageError
from crux_providers.persistence.location import parse
from crux_providers.persistence.sqlite import engine
from crux_providers.persistence.sqlite.engine import SqliteDatabase, connect


def test_settings_come_from_defaults(tmp_path: Path) -> None:
    connection = connect(tmp_path / "x.db")
    try:
        ((journal,),) = connection.execute("PRAGMA journal_mode").fetchall()
        ((timeout,),) = connection.execute("PRAGMA busy_timeout").fetchall()
        ((sync,),) = connection.execute("PRAGMA synchronous").fetchall()
    finally:
        connection.close()
    assert journal.upper() == defaults.SQLITE_JOURNAL_MODE
    assert timeout == defaults.SQLITE_BUSY_TIMEOUT_MS
    assert {0: "OFF", 1: "NORMAL", 2: "FULL"}[sync] == defaults.SQLITE_SYNCHRONOUS


def test_other_settings_take_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "SQLITE_JOURNAL_MODE", "DELETE")
    monkeypatch.setattr(defaults, "SQLITE_BUSY_TIMEOUT_MS", 123)
    connection = connect(tmp_path / "x.db")
    try:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (123,)
    finally:
        connection.close()


def test_values_are_not_converted(tmp_path: Path) -> None:
    # With detect_types=PARSE_DECLTYPES a TIMESTAMP column would come back as a naive datetime.
    connection = connect(tmp_path / "x.db")
    try:
        connection.execute("CREATE TABLE t (at TIMESTAMP)")
        connection.execute("INSERT INTO t VALUES ('2025-01-01 10:00:00')")
        assert connection.execute("SELECT at FROM t").fetchone() == ("2025-01-01 10:00:00",)
    finally:
        connection.close()


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_the_file_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        connection = connect(tmp_path / "new" / "x.db")
    finally:
        os.umask(before)
    connection.execute("CREATE TABLE t (x INTEGER)")
    try:
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
        for name in ("x.db", "x.db-wal", "x.db-shm"):
            assert stat.S_IMODE((tmp_path / "new" / name).stat().st_mode) == 0o600
    finally:
        connection.close()


def test_a_missing_file_is_made_only_on_purpose(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no database at"):
        connect(tmp_path / "x.db", create=False)
    assert not (tmp_path / "x.db").exists()


def test_what_is_no_database_is_said_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    file.write_bytes(b"these are not the pages you are looking for" * 100)
    with pytest.raises(StorageError, match=r"is no SQLite database: move it away") as caught:
        connect(file)
    assert "\n" not in str(caught.value)
    assert not caught.value.passing
    assert file.read_bytes().startswith(b"these are")


def test_a_directory_that_cannot_be_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="CRUX_DB") as caught:
        connect(tmp_path / "file" / "x.db")
    assert not caught.value.passing


def test_a_full_disk_is_passing_and_the_database_stays_whole(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    database = SqliteDatabase(parse(file))
    database.execute("CREATE TABLE t (x TEXT)")
    database.execute("INSERT INTO t VALUES ('kept')")
    ((pages,),) = database.execute("PRAGMA page_count")
    database.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageError, match="no room to grow") as caught, database.transaction():
        database.execute_many("INSERT INTO t VALUES (?)", [("y" * 1000,)] * 100)
    assert caught.value.passing
    assert database.execute("SELECT x FROM t") == [("kept",)]
    assert database.execute("PRAGMA integrity_check") == [("ok",)]
    database.close()


def test_a_locked_database_is_passing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "SQLITE_BUSY_TIMEOUT_MS", 10)
    file = tmp_path / "x.db"
    database = SqliteDatabase(parse(file))
    other = connect(file)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StorageError, match="locked") as caught, database.transaction():
            pass
        assert caught.value.passing
    finally:
        other.close()
        database.close()


def test_a_mistake_in_sql_is_no_storage_error(tmp_path: Path) -> None:
    database = SqliteDatabase(parse(tmp_path / "x.db"))
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        database.execute("SELECT * FROM nowhere")
    database.close()


def test_it_notices_that_the_file_is_gone(tmp_path: Path) -> None:
    database = SqliteDatabase(parse(tmp_path / "x.db"))
    assert database.current()
    (tmp_path / "x.db").rename(tmp_path / "y.db")
    assert not database.current()
    (tmp_path / "x.db").write_bytes(b"")
    assert not database.current()
    database.close()


def test_every_fault_says_what_to_do() -> None:
    assert len(engine._FAULTS) > 10
    for passing, words in engine._FAULTS.values():
        assert passing or "CRUX_DB" in words
