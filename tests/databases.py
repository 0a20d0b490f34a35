"""The two database engines, and the fixtures of tests that run against both."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from crux_providers.persistence.location import Location, parse
from crux_providers.persistence.store import Store, store_at

# Read here, before the fixture that clears the environment.
SERVER = os.environ.get("CRUX_TEST_PG") or "postgresql://postgres@127.0.0.1:5432/test"


@contextmanager
def own_schema(server: str = SERVER) -> Iterator[str]:
    """The URL of a schema made for this caller alone, gone at the end."""
    import psycopg

    schema = f"crux_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True, connect_timeout=3) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        joint = "&" if "?" in server else "?"
        try:
            yield f"{server}{joint}options={quote(f'-csearch_path={schema}')}"
        finally:
            connection.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of a schema of this test's own on a PostgreSQL server; skips where there is none."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgres)")
    with ExitStack() as stack:
        try:
            url = stack.enter_context(own_schema())
        except psycopg.OperationalError as exc:
            pytest.skip(f"no PostgreSQL server: {exc}")
        yield url


@pytest.fixture(
    params=["sqlite", pytest.param("postgres", marks=pytest.mark.integration)],
)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Location:
    """An empty database on either engine, which CRUX_DB names."""
    if request.param == "sqlite":
        target = str(tmp_path / "data" / "crux.db")
    else:
        target = request.getfixturevalue("postgres")
    monkeypatch.setenv("CRUX_DB", target)
    return parse(target)


@pytest.fixture
def store(place: Location) -> Iterator[Store]:
    """The store of that database, closed at the end."""
    made = store_at(place)
    yield made
    made.close()
