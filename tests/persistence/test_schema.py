"""One versioned schema, the same on both engines."""

from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from crux_providers.persistence import schema
from crux_providers.persistence.database import Database, open_database
from crux_providers.persistence.errors import SchemaTooNewError
from crux_providers.persistence.location import Location, parse
from crux_providers.service.db import init_db

TABLES = {
    "schema_version": {"version", "applied_at"},
    "models": {"provider", "model_id", "context_length", "capabilities", "updated_at"},
    "registry_snapshots": {"provider", "fetched_via", "fetched_at", "metadata"},
    "observed_capabilities": {"provider", "model_id", "feature", "value", "updated_at"},
    "capability_evidence": {"mode", "successes", "refusals", "first_at", "last_at", "last_reason"},
    "metrics": {"provider", "model", "created_at"},
    "chat_logs": {"request", "response", "created_at"},
    "prefs": {"key", "value", "updated_at"},
    "calls": {"call_id", "needs", "input_tokens", "stream", "candidates", "seed", "outcome",
              "duration_ms", "input_chars", "policy"},
    "attempts": {"call_id", "seq", "route", "provider", "model", "outcome", "error_code",
                 "ttft_ms", "duration_ms", "cost_usd", "request_id", "response_id", "stream",
                 "accepted", "list_usd"},
}  # fmt: skip


def test_a_fresh_database_has_every_table(place: Location) -> None:
    with open_database(place) as database:
        for table, columns in TABLES.items():
            assert columns <= database.columns(table), table
        assert schema.version_of(database) == len(schema.MIGRATIONS)
        assert len(database.execute("SELECT version FROM schema_version")) == len(schema.MIGRATIONS)


def test_migrations_run_once_in_order_from_any_version(place: Location) -> None:
    ran: list[int] = []

    def step(number: int) -> schema.Callable[[Database], None]:
        def migrate(database: Database) -> None:
            ran.append(number)
            database.execute(f"CREATE TABLE step_{number} (x INTEGER)")

        return migrate

    steps = [step(number) for number in (1, 2, 3, 4)]
    with _bare(place) as database:
        schema.migrate(database, steps[:2])
        schema.migrate(database, steps[:2])
        assert ran == [1, 2]
        schema.migrate(database, steps)
        assert ran == [1, 2, 3, 4]
        assert schema.version_of(database) == 4


def test_attempts_of_before_are_told_apart_by_their_outcome(place: Location) -> None:
    with _bare(place) as database:
        schema.migrate(database, schema.MIGRATIONS[:3])
        for number, outcome in enumerate(("success", "error", "empty"), 1):
            database.execute(
                "INSERT INTO attempts (call_id, seq, outcome, started_at) VALUES ('c', ?, ?, 1.0)",
                (number, outcome),
            )
        schema.migrate(database)
        found = database.execute("SELECT accepted FROM attempts ORDER BY seq")
    assert found == [(1,), (0,), (0,)]


def test_a_failing_migration_changes_nothing(place: Location) -> None:
    def good(database: Database) -> None:
        database.execute("CREATE TABLE good (x INTEGER)")

    def bad(database: Database) -> None:
        database.execute("CREATE TABLE bad (x INTEGER)")
        raise ZeroDivisionError

    with _bare(place) as database:
        with pytest.raises(ZeroDivisionError):
            schema.migrate(database, [good, bad])
        assert not database.columns("good")
        assert not database.columns("bad")
        assert schema.version_of(database) == 0


def test_a_newer_database_is_refused_and_left_alone(place: Location) -> None:
    with open_database(place) as database:
        database.execute("INSERT INTO schema_version (version) VALUES (99)")
        database.execute("DROP TABLE prefs")
    with pytest.raises(SchemaTooNewError, match=r"version 99.*upgrade crux-integrations") as caught:
        open_database(place)
    assert "\n" not in str(caught.value)
    with pytest.raises(SchemaTooNewError):
        init_db()
    with _bare(place) as database:
        assert not database.columns("prefs")


def test_tables_of_an_older_program_are_taken_over(place: Location) -> None:
    with _bare(place) as database:
        database.execute(
            "CREATE TABLE observed_capabilities (provider TEXT, model_id TEXT, feature TEXT, "
            "value INTEGER, updated_at TEXT, PRIMARY KEY (provider, model_id, feature))"
        )
        database.execute(
            "INSERT INTO observed_capabilities VALUES ('p', 'm', 'tools', 1, '2025-01-01 00:00:00')"
        )
        database.execute("CREATE TABLE metrics (provider TEXT, created_at TEXT)")
        database.execute("INSERT INTO metrics VALUES ('p', '2025-01-01T00:00:00')")
    with open_database(place) as database:
        assert database.execute("SELECT value FROM observed_capabilities") == [(1,)]
        assert database.execute("SELECT provider, latency_ms FROM metrics") == [("p", None)]


def _migrate_at(target: str, start: multiprocessing.synchronize.Barrier) -> None:
    start.wait(30)
    open_database(parse(target)).close()


def test_four_processes_may_make_it_at_once(place: Location) -> None:
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    start = context.Barrier(4)
    workers = [context.Process(target=_migrate_at, args=(place.target, start)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    with open_database(place) as database:
        versions = database.execute("SELECT version FROM schema_version ORDER BY version")
        assert versions == [(n + 1,) for n in range(len(schema.MIGRATIONS))]


def test_init_db_says_where(place: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    assert init_db() == str(place)
    assert init_db() == str(place)
    monkeypatch.setenv("CRUX_DB", "off")
    assert init_db() is None


def test_init_db_takes_a_path(tmp_path: Path) -> None:
    file = tmp_path / "there.db"
    assert init_db(file) == str(file)
    with sqlite3.connect(file) as connection:
        names = {n for (n,) in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    assert set(TABLES) <= names


def _bare(place: Location) -> Database:
    """A connection with no schema."""
    if place.kind == "sqlite":
        from crux_providers.persistence.sqlite.engine import SqliteDatabase

        return SqliteDatabase(place)
    from crux_providers.persistence.postgres import PostgresDatabase

    return PostgresDatabase(place)
