"""Where the database is: ``CRUX_DB``, then ``PROVIDERS_DB_PATH``, then the user's data directory.

The variables are read at use. ``off`` keeps nothing; ``postgresql://…`` names a server; anything
else is the path of a SQLite file (``sqlite:///path`` is taken too).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import StorageError

VARIABLES = ("CRUX_DB", "PROVIDERS_DB_PATH")
FILE_NAME = "crux.db"
DIRECTORY = "crux"

Kind = Literal["sqlite", "postgres", "off"]
_HOME_VARIABLES = ("HOME", "XDG_DATA_HOME")


@dataclass(frozen=True, slots=True)
class Location:
    """A database's place: ``target`` is a path or an URL."""

    kind: Kind
    target: str = ""

    def __str__(self) -> str:
        return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", self.target) or self.kind

    def __repr__(self) -> str:  # an URL may hold a password
        return f"Location({self.kind!r}, {str(self)!r})"

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return Path(self.target)

    def exists(self) -> bool:
        """Whether there can be anything to read: a file that is there, or any server."""
        match self.kind:
            case "sqlite":
                return os.path.exists(self.target)
            case "postgres":
                return True
            case "off":
                return False


OFF = Location("off")


def environment() -> tuple[str | None, ...]:
    """The variables that decide the place, as they are now; equal tuples mean the same place."""
    get = os.environ.get
    first = get("CRUX_DB")
    if first:  # the usual case in a server: one look is enough
        return (first,)
    second = get("PROVIDERS_DB_PATH")
    return (second, "") if second else tuple(get(name) for name in _HOME_VARIABLES)


def current() -> Location:
    """The place the environment names now. Raises StorageError for an URL of another database."""
    for name in VARIABLES:
        if word := os.environ.get(name, "").strip():
            return parse(word)
    from platformdirs import user_data_path  # 5 ms of import that a set variable saves

    return Location("sqlite", str(user_data_path(DIRECTORY, appauthor=False) / FILE_NAME))


def parse(word: str | os.PathLike[str]) -> Location:
    """The place that ``word`` names; a relative path is taken from the working directory."""
    text = os.fspath(word).strip()
    if text.lower() == "off":
        return OFF
    scheme, separator, rest = text.partition("://")
    if not separator:
        if text.startswith(":memory:"):
            raise StorageError(
                "a database in memory cannot be shared between threads: name a file, or set "
                "CRUX_DB=off to keep nothing"
            )
        return Location("sqlite", os.path.abspath(os.path.expanduser(text)))
    match scheme.lower():
        case "postgresql" | "postgres":
            return Location("postgres", text)
        case "sqlite":  # sqlite:///relative and sqlite:////absolute, as SQLAlchemy writes them
            return Location("sqlite", os.path.abspath(os.path.expanduser(rest.removeprefix("/"))))
        case _:
            raise StorageError(
                f"CRUX_DB names {scheme}://, which is neither a file nor postgresql://"
            )
