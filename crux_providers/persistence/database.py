"""One small face over both engines: SQL with ``?``, tuples out, explicit transactions.

The SQL of this package is what SQLite and PostgreSQL share; the few words that differ are
attributes of the engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, ClassVar, Self

from .errors import StorageError
from .location import Location

Row = tuple[Any, ...]


class Database(ABC):
    """One connection, used by one thread at a time.

    Raises StorageError for what is wrong with the storage; mistakes in SQL or values pass as the
    driver's own exceptions.
    """

    begin: ClassVar[str]
    """Starts a transaction that means to write."""
    identity: ClassVar[str]
    """The type of a key that counts up by itself."""
    now: ClassVar[str]
    """An expression for the present time in UTC as ``YYYY-MM-DD HH:MM:SS``."""

    location: Location

    @abstractmethod
    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run one statement; the rows it gives, none for one that gives none."""

    @abstractmethod
    def change(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run one statement; how many rows it changed."""

    @abstractmethod
    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each of ``rows``."""

    @abstractmethod
    def roll_back(self) -> None:
        """Undo the open transaction; nothing where there is none or the connection is gone."""

    @abstractmethod
    def serialize(self, name: str) -> None:
        """Let one transaction at a time, of all processes, pass this point until it ends."""

    @abstractmethod
    def columns(self, table: str) -> frozenset[str]:
        """The columns of ``table``; empty where there is no such table."""

    @abstractmethod
    def current(self) -> bool:
        """Whether the connection still leads to the database at its location."""

    @abstractmethod
    def close(self) -> None:
        """Release the connection; may be called twice."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits at its end; an exception that leaves it undoes everything."""
        self.execute(self.begin)
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            self.roll_back()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def open_database(location: Location) -> Database:
    """A connection to the database at ``location``, made and migrated where that is needed.

    Raises StorageError, SchemaTooNewError for a database of a newer version.
    """
    from .schema import migrate

    database = connect_database(location)
    try:
        migrate(database)
    except BaseException:
        database.close()
        raise
    return database


def connect_database(location: Location, *, create: bool = True) -> Database:
    """A connection to the database at ``location`` as it is; ``create`` makes a missing file.

    Raises StorageError.
    """
    match location.kind:
        case "sqlite":
            from .sqlite.engine import SqliteDatabase, connect

            return SqliteDatabase(location, connect(location.path, create=create))
        case "postgres":
            from .postgres import PostgresDatabase

            return PostgresDatabase(location)
        case "off":
            raise StorageError("CRUX_DB=off: nothing is kept")
