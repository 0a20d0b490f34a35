"""Give old naive ``created_at`` values their explicit offset.

Readers take a naive time for UTC anyway; this tool writes it down, for those who look at the file
by other means. Without ``--apply`` it only counts::

    python -m crux_providers.persistence.sqlite.backfill_timestamps [--db PATH] [--apply] [--yes]

Exit status: 0 nothing to do, or done; 1 an error, said in one line on stderr; 2 declined; 3 a dry
run found rows to rewrite.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from ..errors import StorageError
from ..location import Location, current, parse
from .engine import connect, plain_errors

TABLES = ("metrics", "chat_logs")
DONE, ERROR, DECLINED, FOUND = 0, 1, 2, 3
_PAGE = 1000

_COUNT = {"type": "integer", "minimum": 0}
_REPORT: dict[str, Any] = {
    "phase": {"enum": ["dry_run", "applied"]},
    "tables": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "table": {"enum": list(TABLES)},
                "scanned": _COUNT,
                "legacy_naive": _COUNT,
                "updated": _COUNT,
            },
            "required": ["table", "scanned", "legacy_naive", "updated"],
            "additionalProperties": False,
        },
    },
    "totals": {
        "type": "object",
        "properties": {"legacy_naive": _COUNT, "updated": _COUNT},
        "required": ["legacy_naive", "updated"],
        "additionalProperties": False,
    },
}
_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Report of backfill_timestamps",
    "type": "object",
    "properties": {
        **_REPORT,
        "dry_run": {
            "description": "The scan before the change; present where phase is applied.",
            "type": "object",
            "properties": {**_REPORT, "phase": {"const": "dry_run"}},
            "required": ["phase", "tables", "totals"],
            "additionalProperties": False,
        },
    },
    "required": ["phase", "tables", "totals"],
    "additionalProperties": False,
    "if": {"properties": {"phase": {"const": "applied"}}},
    "then": {"required": ["dry_run"]},
}


@dataclass(slots=True)
class TableCount:
    """One table: rows looked at, naive ones among them, and how many were rewritten."""

    table: str
    scanned: int = 0
    legacy_naive: int = 0
    updated: int = 0


Counts = list[TableCount]


def explicit_utc(value: object) -> str | None:
    """The text of a naive time with its UTC offset; None where there is nothing to rewrite."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return at.replace(tzinfo=UTC).isoformat() if at.tzinfo is None else None


def scan(connection: sqlite3.Connection) -> Counts:
    """Count the naive rows of each table; a table that is not there has none."""
    return [_walk(connection, table, apply=False) for table in TABLES]


def apply(connection: sqlite3.Connection) -> Counts:
    """Rewrite the naive rows of each table, all in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        counts = [_walk(connection, table, apply=True) for table in TABLES]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return counts


def _walk(connection: sqlite3.Connection, table: str, *, apply: bool) -> TableCount:
    count = TableCount(table)
    for page in _pages(connection, table):
        count.scanned += len(page)
        naive = [(text, row) for row, value in page if (text := explicit_utc(value)) is not None]
        count.legacy_naive += len(naive)
        if apply:
            connection.executemany(f"UPDATE {table} SET created_at = ? WHERE rowid = ?", naive)
            count.updated += len(naive)
    return count


def _pages(connection: sqlite3.Connection, table: str) -> Iterator[list[tuple[int, object]]]:
    columns = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")}
    if "created_at" not in columns:
        return
    last: int | None = None
    sql = (
        f"SELECT rowid, created_at FROM {table} WHERE ? IS NULL OR rowid > ? ORDER BY rowid LIMIT ?"
    )
    while page := connection.execute(sql, (last, last, _PAGE)).fetchall():
        last = page[-1][0]
        yield page


def report(phase: str, counts: Counts) -> dict[str, Any]:
    """The JSON report of one scan or change."""
    return {
        "phase": phase,
        "tables": [asdict(count) for count in counts],
        "totals": {
            "legacy_naive": sum(count.legacy_naive for count in counts),
            "updated": sum(count.updated for count in counts),
        },
    }


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # 2 means declined here, so wrong usage is 1.
        self.exit(ERROR, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="backfill_timestamps",
        description="Rewrite naive created_at values of metrics and chat_logs with a UTC offset.",
    )
    parser.add_argument("--db", metavar="PATH", help="the database (default: the user's own)")
    parser.add_argument("--apply", action="store_true", help="rewrite; without it only count")
    parser.add_argument("--yes", action="store_true", help="do not ask before rewriting")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument(
        "--print-schema", action="store_true", help="print the JSON Schema of --json and exit"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    options = _parser().parse_args(argv)
    if options.print_schema:
        print(json.dumps(_SCHEMA, indent=2))
        return DONE
    try:
        file = _file(current() if options.db is None else parse(options.db))
        with closing(connect(file, create=False)) as connection, plain_errors(file):
            return _run(connection, file, options)
    except (StorageError, sqlite3.Error) as exc:
        print(f"backfill_timestamps: {exc}", file=sys.stderr)
        return ERROR


def _file(location: Location) -> Path:
    if location.kind != "sqlite":
        raise StorageError(f"{location} is no SQLite file: name one with --db")
    return location.path


def _run(connection: sqlite3.Connection, file: Path, options: argparse.Namespace) -> int:
    before = scan(connection)
    found = sum(count.legacy_naive for count in before)
    dry_run = report("dry_run", before)
    if not options.apply:
        _show(dry_run, file, options.json)
        return FOUND if found else DONE
    if not options.yes and not _confirmed(file, found):
        _show(dry_run, file, options.json)
        print("declined: nothing was changed", file=sys.stderr)
        return DECLINED
    _show({**report("applied", apply(connection)), "dry_run": dry_run}, file, options.json)
    return DONE


def _confirmed(file: Path, found: int) -> bool:
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"Rewrite {found} naive timestamps in {file}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _show(document: dict[str, Any], file: Path, as_json: bool) -> None:
    if as_json:
        print(json.dumps(document, indent=2))
        return
    print(f"{file} ({document['phase']})")
    for row in document["tables"]:
        print(
            f"  {row['table']:<10} {row['scanned']:>8} scanned {row['legacy_naive']:>8} naive "
            f"{row['updated']:>8} updated"
        )


if __name__ == "__main__":
    sys.exit(main())
