"""Repositories of metrics, chat logs and preferences.

``created_at`` goes in as ISO 8601 with an offset (a naive time counts as UTC) and comes out as an
aware datetime in UTC, whatever stands in the database.
"""

from __future__ import annotations

import builtins
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from os import PathLike, fspath
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from ..database import Database, open_database
from ..location import Location, current, parse
from ..sink import json_text, stored_row
from ..times import created_at_text, parse_created_at

Place: TypeAlias = Database | Location | sqlite3.Connection | str | PathLike[str] | None

_parse_created_at = parse_created_at


class _Entry(Mapping[str, Any]):
    """A dataclass that can also be read as a mapping of its fields."""

    __slots__ = ()

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return any(f.name == key for f in fields(self))  # type: ignore[arg-type]  # a dataclass

    def __iter__(self) -> Iterator[str]:
        return (f.name for f in fields(self))  # type: ignore[arg-type]  # a dataclass

    def __len__(self) -> int:
        return len(fields(self))  # type: ignore[arg-type]  # a dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricEntry(_Entry):
    """One measured operation; times in milliseconds, ``extra`` is JSON."""

    provider: str | None = None
    model: str | None = None
    operation: str | None = None
    latency_ms: float | None = None
    time_to_first_token_ms: float | None = None
    tokens_prompt: int | None = None
    tokens_completion: int | None = None
    tokens_total: int | None = None
    success: bool | None = None
    error_code: str | None = None
    extra: Any = None
    created_at: datetime | None = None
    id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatLogEntry(_Entry):
    """What was said in one call: ``request`` and ``response`` are text or JSON."""

    provider: str | None = None
    model: str | None = None
    call_id: str | None = None
    route: str | None = None
    request: Any = None
    response: Any = None
    extra: Any = None
    created_at: datetime | None = None
    id: int | None = None


E = TypeVar("E", MetricEntry, ChatLogEntry)


class _Repository(Generic[E]):
    """Adds and lists the rows of one table.

    ``place`` is a path, an URL, a Location, an open Database or sqlite3 connection (which stays the
    caller's), or None for the database that the environment names.
    """

    table: ClassVar[str]
    _kind: type[E]
    _json: ClassVar[frozenset[str]]

    def __init__(self, place: Place = None) -> None:
        self._place = place

    @contextmanager
    def _open(self) -> Iterator[Database]:
        with opened(self._place) as database:
            yield database

    def add(self, entry: E | Mapping[str, Any]) -> int:
        """Store ``entry`` (of any kind that has the fields); returns its id.

        A mapping's keys that the table has no column for go under ``extra``.
        """
        names = [f.name for f in fields(self._kind) if f.name != "id"]
        given = dict(entry)
        row = {name: given.pop(name, None) for name in names}
        row["created_at"] = created_at_text(row["created_at"])
        given.pop("id", None)
        if given:
            kept = row["extra"] if isinstance(row["extra"], Mapping) else {}
            row["extra"] = {**kept, **given}
        marks = ", ".join("?" * len(names))
        sql = f"INSERT INTO {self.table} ({', '.join(names)}) VALUES ({marks}) RETURNING id"
        with self._open() as database:
            ((number,),) = database.execute(sql, stored_row(row))
        return int(number or 0)  # a table of an older program may have no key

    def list(
        self,
        limit: int | None = 100,
        *,
        provider: str | None = None,
        model: str | None = None,
        since: datetime | None = None,
    ) -> builtins.list[E]:
        """Entries, the latest first; ``since`` keeps those from that time on."""
        asked = {"provider": provider, "model": model}
        wanted = {name: value for name, value in asked.items() if value is not None}
        names = [f.name for f in fields(self._kind)]
        where = " AND ".join(f"{name} = ?" for name in wanted)
        sql = f"SELECT {', '.join(names)} FROM {self.table}{' WHERE ' + where if where else ''}"
        with self._open() as database:
            rows = database.execute(f"{sql} ORDER BY id DESC", list(wanted.values()))
        # Sorted and cut here, since the text of a time sorts as time only within one offset.
        found = [self._entry(dict(zip(names, row, strict=True))) for row in rows]
        if since is not None:
            start = parse_created_at(since)
            found = [entry for entry in found if parse_created_at(entry.created_at) >= start]
        found.sort(key=lambda entry: parse_created_at(entry.created_at), reverse=True)
        return found if limit is None else found[:limit]

    def _entry(self, row: dict[str, Any]) -> E:
        row["created_at"] = parse_created_at(row["created_at"])
        for name in self._json:
            row[name] = _from_json(row[name])
        if row.get("success") is not None:
            row["success"] = bool(row["success"])
        return self._kind(**row)


class MetricsRepository(_Repository[MetricEntry]):
    """The table ``metrics``."""

    table = "metrics"
    _kind = MetricEntry
    _json = frozenset({"extra"})


class ChatLogRepository(_Repository[ChatLogEntry]):
    """The table ``chat_logs``."""

    table = "chat_logs"
    _kind = ChatLogEntry
    _json = frozenset({"extra", "request", "response"})


class PrefsRepository:
    """The table ``prefs``: small settings by name, as JSON values."""

    def __init__(self, place: Place = None) -> None:
        self._place = place

    def get(self, key: str, default: Any = None) -> Any:
        """The value under ``key``, else ``default``."""
        with opened(self._place) as database:
            rows = database.execute("SELECT value FROM prefs WHERE key = ?", (key,))
        return _from_json(rows[0][0]) if rows else default

    def set(self, key: str, value: Any) -> None:
        """Store ``value`` under ``key``; None removes it."""
        with opened(self._place) as database:
            if value is None:
                database.execute("DELETE FROM prefs WHERE key = ?", (key,))
                return
            database.execute(
                "INSERT INTO prefs (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET "
                f"value = excluded.value, updated_at = ({database.now})",
                (key, json_text(value)),
            )

    def all(self) -> dict[str, Any]:
        """Every preference."""
        with opened(self._place) as database:
            rows = database.execute("SELECT key, value FROM prefs ORDER BY key")
        return {str(key): _from_json(value) for key, value in rows}


@contextmanager
def opened(place: Place) -> Iterator[Database]:
    """The database at ``place``, closed at the end unless it was open already.

    Raises StorageError.
    """
    match place:
        case Database():
            yield place
        case sqlite3.Connection():
            from ..schema import migrate
            from .engine import SqliteDatabase

            borrowed = SqliteDatabase(Location("sqlite", _file_of(place)), place)
            migrate(borrowed)
            yield borrowed
            if place.in_transaction:
                place.commit()
        case Location() | None:
            with open_database(place if place is not None else current()) as database:
                yield database
        case _:
            with open_database(parse(fspath(place))) as database:
                yield database


def _file_of(connection: sqlite3.Connection) -> str:
    for _, name, file in connection.execute("PRAGMA database_list"):
        if name == "main":
            return str(file)
    return ""


def _from_json(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
