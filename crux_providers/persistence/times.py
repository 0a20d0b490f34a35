"""Times as text: written with an offset, read as aware UTC whatever stands there."""

from __future__ import annotations

from datetime import UTC, datetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def created_at_text(at: datetime | str | None = None) -> str:
    """``at`` (now where None) as ISO 8601 with an offset; a naive time counts as UTC."""
    if at is None:
        return datetime.now(UTC).isoformat()
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).isoformat()


def parse_created_at(value: object) -> datetime:
    """A stored time as an aware datetime in UTC; a naive one counts as UTC.

    What is no time at all gives the epoch, so that one bad row never stops a reader.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return EPOCH
    if not isinstance(value, datetime):
        return EPOCH
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return EPOCH
