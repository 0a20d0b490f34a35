"""SQLite: connections with this library's settings, and its errors in plain words.

Values stay what SQLite gives (``detect_types`` is off): times are text or numbers, read by those
who know which.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...config import defaults
from ..database import Database, Row
from ..errors import StorageError
from ..location import Location

_ELSEWHERE = "set CRUX_DB to another file (CRUX_DB=off keeps nothing)"

_FAULTS: Mapping[int, tuple[bool, str]] = {
    # primary result code: (passing, what to say and do); https://www.sqlite.org/rescode.html
    sqlite3.SQLITE_BUSY: (True, "is locked by another process"),
    sqlite3.SQLITE_LOCKED: (True, "is locked"),
    sqlite3.SQLITE_PROTOCOL: (True, "is locked by another process"),
    sqlite3.SQLITE_NOMEM: (True, "could not be used: out of memory"),
    sqlite3.SQLITE_IOERR: (True, "cannot be read or written just now"),
    sqlite3.SQLITE_FULL: (True, f"has no room to grow: free some disk space, or {_ELSEWHERE}"),
    sqlite3.SQLITE_PERM: (False, f"may not be used: {_ELSEWHERE}"),
    sqlite3.SQLITE_READONLY: (False, f"is read-only: {_ELSEWHERE}"),
    sqlite3.SQLITE_CANTOPEN: (False, f"cannot be opened: {_ELSEWHERE}"),
    sqlite3.SQLITE_AUTH: (False, f"may not be used: {_ELSEWHERE}"),
    sqlite3.SQLITE_CORRUPT: (False, f"is damaged: move it away, or {_ELSEWHERE}"),
    sqlite3.SQLITE_NOTADB: (False, f"is no SQLite database: move it away, or {_ELSEWHERE}"),
}


def connect(path: str | os.PathLike[str], *, create: bool = True) -> sqlite3.Connection:
    """A connection in autocommit mode with the journal, sync and timeout of ``config.defaults``.

    ``create`` makes a missing file (mode 0600) in a missing directory (mode 0700); without it a
    missing file is an error. Raises StorageError in one line that names the file.
    """
    file = Path(path)
    if create:
        _make(file)
    elif not os.path.isfile(file):
        raise StorageError(f"there is no database at {file}")
    wait = defaults.SQLITE_BUSY_TIMEOUT_MS / 1000
    with plain_errors(file):
        connection = sqlite3.connect(file, timeout=wait, isolation_level=None)
        try:
            _set_journal(connection, wait)
            connection.execute(f"PRAGMA synchronous={defaults.SQLITE_SYNCHRONOUS}")
        except BaseException:
            connection.close()
            raise
    return connection


def _make(file: Path) -> None:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except PermissionError:
        if not os.path.isfile(file):  # Path.is_file would raise where a directory is closed
            raise StorageError(f"{file} cannot be written: {_ELSEWHERE}") from None
        # There, but not for writing: it can still be read.
    except OSError as exc:
        passing = exc.errno in _NO_ROOM
        raise StorageError(
            f"{file} cannot be opened ({os.strerror(exc.errno or 0)}): {_ELSEWHERE}",
            passing=passing,
        ) from None


def _no_room() -> frozenset[int]:
    import errno

    return frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})


_NO_ROOM = _no_room()


def _set_journal(connection: sqlite3.Connection, wait: float) -> None:
    # Changing the mode needs the file alone, and SQLite does not always wait for that itself
    # (https://www.sqlite.org/wal.html#concurrency), so a second process that starts at the same
    # moment tries until the first is done.
    wanted = defaults.SQLITE_JOURNAL_MODE
    until = time.monotonic() + wait
    while connection.execute("PRAGMA journal_mode").fetchone()[0].upper() != wanted:
        try:
            connection.execute(f"PRAGMA journal_mode={wanted}").fetchone()
            return
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY:
                return
            if time.monotonic() > until or exc.sqlite_errorcode & 0xFF not in (
                sqlite3.SQLITE_BUSY,
                sqlite3.SQLITE_LOCKED,
            ):
                raise
            time.sleep(0.005)


@contextmanager
def plain_errors(file: Path) -> Iterator[None]:
    """SQLite's errors about storage as StorageError; others (a mistake in SQL) as they are."""
    try:
        yield
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", None)
        if code is None:
            raise
        if code == sqlite3.SQLITE_READONLY_DBMOVED:
            raise StorageError(f"the database {file} was moved away", passing=True) from exc
        fault = _FAULTS.get(code & 0xFF)
        if fault is None:
            raise
        passing, words = fault
        raise StorageError(f"the database {file} {words}", passing=passing) from exc


class SqliteDatabase(Database):
    """A SQLite file."""

    begin = "BEGIN IMMEDIATE"  # takes the write lock at once, so no later statement has to fail
    identity = "INTEGER PRIMARY KEY"
    now = "CURRENT_TIMESTAMP"

    def __init__(self, location: Location, connection: sqlite3.Connection | None = None) -> None:
        self.location = location
        self._file = location.path
        self._connection = connection if connection is not None else connect(self._file)
        self._identity = _file_identity(self._file)

    def execute(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        with plain_errors(self._file):
            return self._connection.execute(sql, values).fetchall()

    def change(self, sql: str, values: Sequence[object] = ()) -> int:
        with plain_errors(self._file):
            return self._connection.execute(sql, values).rowcount

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        with plain_errors(self._file):
            self._connection.executemany(sql, rows)

    def roll_back(self) -> None:
        if self._connection.in_transaction:
            with plain_errors(self._file):
                self._connection.execute("ROLLBACK")

    def serialize(self, name: str) -> None:
        """Nothing to do: the write lock of the transaction does it."""

    def columns(self, table: str) -> frozenset[str]:
        found = self.execute("SELECT name FROM pragma_table_info(?)", (table,))
        return frozenset(name for (name,) in found)

    def current(self) -> bool:
        """False once the file was deleted or replaced: what is written then would be lost."""
        return self._identity is not None and _file_identity(self._file) == self._identity

    def close(self) -> None:
        self._connection.close()


def _file_identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
