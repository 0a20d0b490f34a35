"""The database, made ready: for programs that want its errors at the start."""

from __future__ import annotations

import os

from ..persistence.database import open_database
from ..persistence.location import current, parse

__all__ = ["init_db"]


def init_db(path: str | os.PathLike[str] | None = None) -> str | None:
    """Make the database at ``path`` (else where the environment says) and bring it up to date.

    Returns its path (an URL without its password for a server), None where ``CRUX_DB=off``. May be
    called again at any time. Raises StorageError, SchemaTooNewError for one of a newer version.
    Nothing has to call it: the first row that is written does the same.
    """
    location = current() if path is None else parse(path)
    if location.kind == "off":
        return None
    open_database(location).close()
    return str(location)
