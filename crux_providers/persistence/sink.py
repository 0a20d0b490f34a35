"""Where batches end: one transaction a batch, in the writer's thread."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

from ..base.capabilities import Observation
from .database import Database, open_database
from .location import Location
from .rows import Attempt, Call, ChatLog, Metric

Record: TypeAlias = Observation | Call | Attempt | Metric | ChatLog
Key = tuple[str, str, str, str]


class _Insert(NamedTuple):
    table: str
    fields: Sequence[str]
    once: str = ""

    @property
    def sql(self) -> str:
        marks = ", ".join("?" * len(self.fields))
        return f"INSERT INTO {self.table} ({', '.join(self.fields)}) VALUES ({marks}){self.once}"


# A batch whose commit was in doubt is written again; a key keeps its rows from standing twice.
_INSERTS: dict[type, str] = {
    Call: _Insert("calls", Call._fields, " ON CONFLICT (call_id) DO NOTHING").sql,
    Attempt: _Insert("attempts", Attempt._fields, " ON CONFLICT (call_id, seq) DO NOTHING").sql,
    Metric: _Insert("metrics", Metric._fields).sql,
    ChatLog: _Insert("chat_logs", ChatLog._fields).sql,
}

JSON_FIELDS = frozenset({"needs", "candidates", "extra", "request", "response"})
"""Columns that hold JSON text always, so that a text is told from the JSON it may spell."""

_ADD_EVIDENCE = """
INSERT INTO capability_evidence (provider, model_id, feature, mode, value, successes, refusals,
                                 first_at, last_at, last_reason, source)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (provider, model_id, feature, mode) DO UPDATE SET
  successes = capability_evidence.successes + excluded.successes,
  refusals = capability_evidence.refusals + excluded.refusals,
  first_at = CASE WHEN excluded.first_at < capability_evidence.first_at
                  THEN excluded.first_at ELSE capability_evidence.first_at END,
  value = CASE WHEN excluded.last_at >= capability_evidence.last_at
               THEN excluded.value ELSE capability_evidence.value END,
  source = CASE WHEN excluded.last_at >= capability_evidence.last_at
                THEN excluded.source ELSE capability_evidence.source END,
  last_reason = COALESCE(excluded.last_reason, capability_evidence.last_reason),
  last_at = CASE WHEN excluded.last_at >= capability_evidence.last_at
                 THEN excluded.last_at ELSE capability_evidence.last_at END
"""

_SET_CAPABILITY = """
INSERT INTO observed_capabilities (provider, model_id, feature, value, updated_at)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (provider, model_id, feature) DO UPDATE SET
  value = excluded.value, updated_at = excluded.updated_at
"""


class Evidence(NamedTuple):
    """What a batch adds to one row of ``capability_evidence``."""

    value: bool
    successes: int
    refusals: int
    first_at: float
    last_at: float
    reason: str | None
    source: str

    def plus(self, seen: Observation) -> Evidence:
        """With one more observation."""
        newer = seen.at >= self.last_at
        return Evidence(
            seen.value if newer else self.value,
            self.successes + seen.value,
            self.refusals + (not seen.value),
            min(self.first_at, seen.at),
            max(self.last_at, seen.at),
            (seen.reason or self.reason) if newer else (self.reason or seen.reason),
            seen.source if newer else self.source,
        )


def summarize(observations: Iterable[Observation]) -> dict[Key, Evidence]:
    """Observations as evidence by (provider, model, feature, mode), sorted; pure."""
    found: dict[Key, Evidence] = {}
    for seen in observations:
        key = (seen.provider, seen.model, seen.feature, seen.mode)
        known = found.get(key)
        if known is None:
            found[key] = Evidence(
                seen.value, int(seen.value), int(not seen.value),
                seen.at, seen.at, seen.reason, seen.source,
            )  # fmt: skip
        else:
            found[key] = known.plus(seen)
    return dict(sorted(found.items()))


class Sink:
    """Writes batches to the database at ``location``, opened at the first one.

    Belongs to one thread. ``on_written`` is told of each batch after its commit.
    """

    def __init__(
        self, location: Location, on_written: Callable[[Sequence[Record]], None] | None = None
    ) -> None:
        self._location = location
        self._on_written = on_written
        self._database: Database | None = None

    def write(self, records: Sequence[Record]) -> None:
        """Write all of ``records`` or none. Raises StorageError, or what a bad value raises."""
        database = self.database()
        with database.transaction():
            write(database, records)
        if self._on_written is not None:
            self._on_written(records)

    def database(self) -> Database:
        """The open database; opened again where its file was deleted or its connection lost."""
        if self._database is not None and not self._database.current():
            self.close()
        if self._database is None:
            self._database = open_database(self._location)
        return self._database

    def close(self) -> None:
        """Release the connection; the next batch opens another."""
        database, self._database = self._database, None
        if database is not None:
            database.close()


def write(database: Database, records: Sequence[Record]) -> None:
    """Write ``records``, inside a transaction of the caller's."""
    seen: list[Observation] = []
    others: dict[type, list[tuple[Any, ...]]] = {}
    for record in records:
        if isinstance(record, Observation):
            seen.append(record)
        else:
            others.setdefault(type(record), []).append(_row(record))
    for kind, rows in others.items():
        database.execute_many(_INSERTS[kind], rows)
    if seen:
        add_evidence(database, summarize(seen))


def add_evidence(database: Database, evidence: dict[Key, Evidence]) -> None:
    """Add ``evidence`` and bring ``observed_capabilities`` in line with it."""
    database.serialize("observations")
    database.execute_many(
        _ADD_EVIDENCE,
        [
            tuple(
                map(storable, (*key, int(e.value), e.successes, e.refusals, e.first_at, e.last_at,
                                e.reason, e.source))
            )
            for key, e in evidence.items()
        ],
    )  # fmt: skip
    for provider, model, feature in sorted({key[:3] for key in evidence}):
        modes = database.execute(
            "SELECT value, last_at FROM capability_evidence "
            "WHERE provider = ? AND model_id = ? AND feature = ?",
            (provider, model, feature),
        )
        value, at = max(modes)  # true where any mode is; the latest time among those that agree
        stamp = datetime.fromtimestamp(at, UTC).isoformat()
        database.execute(_SET_CAPABILITY, (provider, model, feature, value, stamp))


_AS_IT_IS = frozenset({type(None), float, int})
_JSON_PLACES = {
    kind: frozenset(place for place, name in enumerate(kind._fields) if name in JSON_FIELDS)
    for kind in (Call, Attempt, Metric, ChatLog)
}


def _row(record: Call | Attempt | Metric | ChatLog) -> tuple[Any, ...]:
    """:func:`stored_row` of a record: there are some forty values a call."""
    in_json = _JSON_PLACES[type(record)]
    return tuple(
        [
            json_text(value)
            if place in in_json
            else value
            if type(value) in _AS_IT_IS
            else storable(value)
            for place, value in enumerate(record)
        ]
    )


def stored_row(fields: Mapping[str, Any]) -> tuple[Any, ...]:
    """A row's values as they are stored, in the order of ``fields``."""
    return tuple(
        json_text(value) if name in JSON_FIELDS else storable(value)
        for name, value in fields.items()
    )


def storable(value: Any) -> Any:
    """``value`` as both engines take it: numbers and text as they are, all else as JSON text."""
    match value:
        case None | float():
            return value
        case int():  # and bool
            return int(value)
        case str():
            # Neither engine takes a lone surrogate, PostgreSQL no NUL.
            if value.isascii() and "\x00" not in value:
                return value
            return value.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
        case _:
            return json_text(value)


def json_text(value: Any) -> str | None:
    """``value`` as JSON text; None stays None. Mappings of any kind are objects."""
    if value is None:
        return None
    text: str = storable(_encode(value))
    return text


def _jsonable(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


_encode = json.JSONEncoder(ensure_ascii=False, default=_jsonable).encode
