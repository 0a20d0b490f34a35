"""What this process saw of candidates after the ledger's figures were made.

The ledger's figures are some seconds old, and with ``CRUX_DB=off`` there are none; a plan that
prefers latency or reliability learns from this process's own calls at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from statistics import median
from typing import NamedTuple

from .policy import CandidateStats
from .state import Key, Mode

SAMPLES = 64
"""Attempts kept of each candidate."""

_NONE = CandidateStats()


class Seen(NamedTuple):
    """How one attempt ended: when, and the seconds that latency means (None where unknown)."""

    at: float
    mode: Mode
    good: bool
    seconds: float | None


class Recent:
    """The latest attempts of each candidate; safe to use from many threads."""

    def __init__(self) -> None:
        self._seen: dict[Key, deque[Seen]] = {}

    def saw(self, key: Key, seen: Seen) -> None:
        """Take one attempt's end."""
        rows = self._seen.get(key)
        if rows is None:
            rows = self._seen.setdefault(key, deque(maxlen=SAMPLES))
        rows.append(seen)

    def over(self, stats: Mapping[Key, CandidateStats], since: float) -> RecentStats:
        """``stats``, made at ``since`` (seconds since 1970), with what was seen after it."""
        return RecentStats(self, stats, since)

    def after(self, key: Key, since: float) -> list[Seen]:
        """What was seen of a candidate after a moment."""
        rows = self._seen.get(key)
        return [] if rows is None else [row for row in rows.copy() if row.at > since]


class RecentStats:
    """Figures by candidate, as plans read them; worked out for those that are asked for."""

    __slots__ = ("_recent", "_since", "_stats")

    def __init__(self, recent: Recent, stats: Mapping[Key, CandidateStats], since: float) -> None:
        self._recent = recent
        self._stats = stats
        self._since = since

    def get(self, key: Key, default: CandidateStats = _NONE) -> CandidateStats:
        """The figures of one candidate."""
        known = self._stats.get(key, default)
        rows = self._recent.after(key, self._since)
        if not rows:
            return known
        good = sum(row.good for row in rows)
        return known._replace(
            latency=_or_median(known.latency, rows, "whole"),
            first_token=_or_median(known.first_token, rows, "stream"),
            successes=known.successes + good,
            failures=known.failures + len(rows) - good,
        )


def _or_median(known: float | None, rows: list[Seen], mode: Mode) -> float | None:
    if known is not None:
        return known
    times = [row.seconds for row in rows if row.mode == mode and row.seconds is not None]
    return median(times) if times else None
