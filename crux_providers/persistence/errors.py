"""What can go wrong with storage, in one line that says what to do."""

from __future__ import annotations


class StorageError(Exception):
    """The database could not be opened, read or written.

    ``passing`` says that it may work a moment later (locked, full, connection lost), so rows are
    worth keeping; otherwise nothing is kept until somebody changes something.
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class SchemaTooNewError(StorageError):
    """The database was written by a newer version of this library; it is left untouched."""
