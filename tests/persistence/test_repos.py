"""The repositories: times in and out, and entries of any shape."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from crux_providers.persistence.database import open_database
from crux_providers.persistence.location import Location
from crux_providers.persistence.sqlite.repos import (
    ChatLogEntry,
    ChatLogRepository,
    MetricEntry,
    MetricsRepository,
    PrefsRepository,
)

REPOSITORIES = [MetricsRepository, ChatLogRepository]
NAIVE = datetime(2025, 9, 16, 18, 22, 4, 123456)  # noqa: DTZ001  # the case under test
AWARE = NAIVE.replace(tzinfo=UTC)


@pytest.mark.parametrize("kind", REPOSITORIES)
def test_a_naive_time_is_stored_as_utc_and_comes_back_aware(
    kind: type[MetricsRepository], place: Location
) -> None:
    kind().add({"provider": "p", "model": "m", "created_at": NAIVE})
    (entry,) = kind().list()
    assert entry.created_at == AWARE
    assert entry["created_at"].utcoffset() == timedelta(0)
    with open_database(place) as database:
        ((text,),) = database.execute(f"SELECT created_at FROM {kind.table}")
    assert text == AWARE.isoformat() == "2025-09-16T18:22:04.123456+00:00"


@pytest.mark.parametrize("kind", REPOSITORIES)
def test_other_offsets_keep_the_instant(kind: type[MetricsRepository], place: Location) -> None:
    there = NAIVE.replace(tzinfo=timezone(timedelta(hours=-7)))
    kind().add({"created_at": there})
    (entry,) = kind().list()
    assert entry.created_at == there
    assert entry.created_at is not None
    assert entry.created_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize("kind", REPOSITORIES)
def test_no_time_is_now(kind: type[MetricsRepository], place: Location) -> None:
    kind().add({})
    (entry,) = kind().list()
    assert entry.created_at is not None
    assert abs(datetime.now(UTC) - entry.created_at) < timedelta(minutes=1)


@pytest.mark.parametrize("kind", REPOSITORIES)
def test_what_stands_in_the_database_never_comes_back_naive(
    kind: type[MetricsRepository], place: Location
) -> None:
    kind().add({})
    with open_database(place) as database:
        for text in ("2025-01-01T00:00:00", "2025-01-01 00:00:00", "nonsense"):
            database.execute(f"INSERT INTO {kind.table} (created_at) VALUES (?)", (text,))
    times = [entry.created_at for entry in kind().list()]
    assert len(times) == 4
    assert all(at is not None and at.utcoffset() == timedelta(0) for at in times)
    assert datetime(1970, 1, 1, tzinfo=UTC) in times


def test_entries_of_any_shape(place: Location) -> None:
    repository = MetricsRepository()
    first = repository.add(MetricEntry(provider="p", model="m", latency_ms=1.5, success=True))
    second = repository.add({"provider": "p", "tokens_total": 7, "note": "beside the columns"})
    assert second == first + 1
    late, early = repository.list(provider="p")
    assert (early.latency_ms, early.success, early.id) == (1.5, True, first)
    assert late.extra == {"note": "beside the columns"}
    assert dict(late)["tokens_total"] == 7
    with pytest.raises(KeyError):
        late["nothing"]


def test_texts_are_told_from_the_json_they_spell(place: Location) -> None:
    repository = ChatLogRepository()
    for said in ("42", '{"a": 1}', "", {"a": 1}, [1], None, "caf\u00e9 \u2603"):
        repository.add(ChatLogEntry(request=said, response=said))
    entries = repository.list(limit=None)[::-1]
    assert [e.request for e in entries] == [
        "42",
        '{"a": 1}',
        "",
        {"a": 1},
        [1],
        None,
        "caf\u00e9 \u2603",
    ]
    assert [e.request for e in entries] == [e.response for e in entries]


def test_list_filters_sorts_and_stops(place: Location) -> None:
    repository = MetricsRepository()
    for day in (3, 1, 2):
        repository.add({"model": f"m{day}", "created_at": f"2025-01-0{day}T00:00:00"})
    assert [e.model for e in repository.list()] == ["m3", "m2", "m1"]
    assert [e.model for e in repository.list(limit=1)] == ["m3"]
    assert [e.model for e in repository.list(model="m1")] == ["m1"]
    since = datetime(2025, 1, 2, tzinfo=UTC)
    assert [e.model for e in repository.list(since=since)] == ["m3", "m2"]


def test_places(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    MetricsRepository(file).add({"provider": "by path"})
    with open_database(Location("sqlite", str(file))) as database:
        MetricsRepository(database).add({"provider": "by database"})
    with closing(sqlite3.connect(file)) as connection:
        MetricsRepository(connection).add({"provider": "by connection"})
        assert len(MetricsRepository(connection).list()) == 3
    assert {e.provider for e in MetricsRepository(str(file)).list()} == {
        "by path", "by database", "by connection",
    }  # fmt: skip


def test_prefs(place: Location) -> None:
    prefs = PrefsRepository()
    assert prefs.get("theme") is None
    prefs.set("theme", {"dark": True})
    prefs.set("theme", "light")
    prefs.set("n", 1)
    assert prefs.get("theme") == "light"
    assert prefs.all() == {"n": 1, "theme": "light"}
    prefs.set("n", None)
    assert prefs.get("n", 7) == 7
    with open_database(place) as database:
        ((stamp,),) = database.execute("SELECT updated_at FROM prefs")
    assert datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007  # as CURRENT_TIMESTAMP
