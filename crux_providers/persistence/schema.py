"""The one schema: numbered migrations, each a function, in order.

A migration never changes once released; a change of the schema is a new one at the end. Tables
that an older program made without a version are taken over: missing columns are added.

Times: columns ``…_at`` of type TEXT are ISO 8601 (``prefs`` and ``schema_version`` in the form of
CURRENT_TIMESTAMP), those of type DOUBLE PRECISION are seconds since 1970 in UTC. Money is US
dollars, durations are milliseconds, truth values are 0 and 1, JSON is text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .database import Database
from .errors import SchemaTooNewError


def _ensure(
    database: Database, table: str, columns: Mapping[str, str], key: Sequence[str] = ()
) -> None:
    """Make ``table``, or add the columns it lacks."""
    there = database.columns(table)
    if not there:
        parts = [f"{name} {kind}" for name, kind in columns.items()]
        if key:
            parts.append(f"PRIMARY KEY ({', '.join(key)})")
        database.execute(f"CREATE TABLE {table} ({', '.join(parts)})")
        return
    for name, kind in columns.items():
        if name not in there:
            for constraint in (" NOT NULL", " DEFAULT (", " PRIMARY KEY"):
                kind = kind.split(constraint)[0]
            database.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")


def registry_and_records(database: Database) -> None:
    """1: the model registry, observed capabilities, metrics, chat logs, preferences."""
    _ensure(
        database,
        "registry_snapshots",
        {
            "provider": "TEXT PRIMARY KEY",
            "fetched_via": "TEXT",
            "fetched_at": "TEXT NOT NULL",
            "metadata": "TEXT",
        },
    )
    _ensure(
        database,
        "models",
        {
            "provider": "TEXT NOT NULL",
            "model_id": "TEXT NOT NULL",
            "place": "BIGINT",
            "name": "TEXT",
            "family": "TEXT",
            "context_length": "BIGINT",
            "max_output_tokens": "BIGINT",
            "capabilities": "TEXT",
            "capability_sources": "TEXT",
            "updated_at": "TEXT",
            "extra": "TEXT",
        },
        key=("provider", "model_id"),
    )
    _ensure(
        database,
        "observed_capabilities",
        {
            "provider": "TEXT NOT NULL",
            "model_id": "TEXT NOT NULL",
            "feature": "TEXT NOT NULL",
            "value": "INTEGER NOT NULL",
            "updated_at": f"TEXT NOT NULL DEFAULT ({database.now})",
        },
        key=("provider", "model_id", "feature"),
    )
    _ensure(
        database,
        "metrics",
        {
            "id": database.identity,
            "provider": "TEXT",
            "model": "TEXT",
            "operation": "TEXT",
            "latency_ms": "DOUBLE PRECISION",
            "time_to_first_token_ms": "DOUBLE PRECISION",
            "tokens_prompt": "BIGINT",
            "tokens_completion": "BIGINT",
            "tokens_total": "BIGINT",
            "success": "INTEGER",
            "error_code": "TEXT",
            "extra": "TEXT",
            "created_at": "TEXT NOT NULL",
        },
    )
    _ensure(
        database,
        "chat_logs",
        {
            "id": database.identity,
            "call_id": "TEXT",
            "route": "TEXT",
            "provider": "TEXT",
            "model": "TEXT",
            "request": "TEXT",
            "response": "TEXT",
            "extra": "TEXT",
            "created_at": "TEXT NOT NULL",
        },
    )
    _ensure(
        database,
        "prefs",
        {
            "key": "TEXT PRIMARY KEY",
            "value": "TEXT",
            "updated_at": f"TEXT NOT NULL DEFAULT ({database.now})",
        },
    )


def capability_evidence(database: Database) -> None:
    """2: what observed capabilities rest on, by mode, with counts and the last reason."""
    _ensure(
        database,
        "capability_evidence",
        {
            "provider": "TEXT NOT NULL",
            "model_id": "TEXT NOT NULL",
            "feature": "TEXT NOT NULL",
            "mode": "TEXT NOT NULL",
            "value": "INTEGER NOT NULL",
            "successes": "BIGINT NOT NULL",
            "refusals": "BIGINT NOT NULL",
            "first_at": "DOUBLE PRECISION NOT NULL",
            "last_at": "DOUBLE PRECISION NOT NULL",
            "last_reason": "TEXT",
            "source": "TEXT",
        },
        key=("provider", "model_id", "feature", "mode"),
    )


def ledger(database: Database) -> None:
    """3: every call with what its plan was made of, and every attempt of it."""
    _ensure(
        database,
        "calls",
        {
            "call_id": "TEXT PRIMARY KEY",
            "route": "TEXT",
            "started_at": "DOUBLE PRECISION NOT NULL",
            "needs": "TEXT",
            "input_tokens": "BIGINT",
            "max_tokens": "BIGINT",
            "stream": "INTEGER",
            "candidates": "TEXT",
            "seed": "TEXT",
            "extra": "TEXT",
        },
    )
    _ensure(
        database,
        "attempts",
        {
            "call_id": "TEXT NOT NULL",
            "seq": "INTEGER NOT NULL",
            "route": "TEXT",
            "provider": "TEXT",
            "model": "TEXT",
            "outcome": "TEXT",
            "started_at": "DOUBLE PRECISION NOT NULL",
            "stream": "INTEGER",
            "error_code": "TEXT",
            "status": "INTEGER",
            "reason": "TEXT",
            "ttft_ms": "DOUBLE PRECISION",
            "duration_ms": "DOUBLE PRECISION",
            "prompt_tokens": "BIGINT",
            "completion_tokens": "BIGINT",
            "total_tokens": "BIGINT",
            "cached_tokens": "BIGINT",
            "cache_write_tokens": "BIGINT",
            "reasoning_tokens": "BIGINT",
            "cost_usd": "DOUBLE PRECISION",
            "request_id": "TEXT",
            "response_id": "TEXT",
            "model_name": "TEXT",
            "retry_after": "DOUBLE PRECISION",
            "extra": "TEXT",
        },
        key=("call_id", "seq"),
    )
    for name, columns in {
        "attempts_by_time": "started_at",
        "attempts_by_route": "route, started_at",
        "attempts_by_model": "provider, model, started_at",
    }.items():
        database.execute(f"CREATE INDEX IF NOT EXISTS {name} ON attempts ({columns})")
    database.execute("CREATE INDEX IF NOT EXISTS calls_by_time ON calls (started_at)")


def outcomes(database: Database) -> None:
    """4: how a call ended and under which policy; which attempt was the answer, its list price."""
    _ensure(
        database,
        "calls",
        {
            "outcome": "TEXT",
            "duration_ms": "DOUBLE PRECISION",
            "input_chars": "BIGINT",
            "policy": "TEXT",
        },
    )
    _ensure(database, "attempts", {"accepted": "INTEGER", "list_usd": "DOUBLE PRECISION"})
    database.execute(
        "UPDATE attempts SET accepted = CASE WHEN outcome = 'success' THEN 1 ELSE 0 END "
        "WHERE accepted IS NULL"
    )


MIGRATIONS: Sequence[Callable[[Database], None]] = (
    registry_and_records,
    capability_evidence,
    ledger,
    outcomes,
)
"""In order; the number of a migration is its place, counted from 1."""


def version_of(database: Database) -> int:
    """The schema's version; 0 for an empty or foreign database."""
    if not database.columns("schema_version"):
        return 0
    ((version,),) = database.execute("SELECT MAX(version) FROM schema_version")
    return int(version or 0)


def migrate(
    database: Database, migrations: Sequence[Callable[[Database], None]] | None = None
) -> None:
    """Bring the schema up to date, in one transaction; safe for many processes at once.

    Raises SchemaTooNewError, and changes nothing, where the database is ahead of this version.
    """
    steps = MIGRATIONS if migrations is None else migrations
    if _behind(database, len(steps)) == 0:
        return
    with database.transaction():
        database.serialize("schema")
        behind = _behind(database, len(steps))
        if behind == len(steps):
            _ensure(
                database,
                "schema_version",
                {
                    "version": "INTEGER PRIMARY KEY",
                    "applied_at": f"TEXT NOT NULL DEFAULT ({database.now})",
                },
            )
        for number in range(len(steps) - behind, len(steps)):
            steps[number](database)
            database.execute("INSERT INTO schema_version (version) VALUES (?)", (number + 1,))


def _behind(database: Database, latest: int) -> int:
    version = version_of(database)
    if version > latest:
        raise SchemaTooNewError(
            f"the database {database.location} has schema version {version}, made by a newer "
            f"crux; this one knows {latest}: upgrade crux-integrations, or set CRUX_DB to another"
        )
    return latest - version
