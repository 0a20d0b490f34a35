"""What this process knows of the database without asking it: observed facts and money spent.

Both are snapshots in memory, loaded by the writer's thread. The first look waits for it, but not
long; later ones cost a dictionary lookup, and where the snapshot is older than :data:`REFRESH_S`
they ask for a newer one and go on with what is there. So what another process saw is known here at
most REFRESH_S and one refresh later, in a process that plans at all.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

from ..base.capabilities import NO_FACTS, Fact, ModelFacts, Observation
from .database import Database
from .rows import Attempt
from .times import parse_created_at

REFRESH_S = 5.0
"""How old a snapshot may be before a look at it asks for a newer one."""

RECENT = 16_384
"""Own observations that wait for somebody to look; of more, the oldest are known from the database
alone."""

ModelKey = tuple[str, str]
Facts = Mapping[ModelKey, ModelFacts]
T = TypeVar("T")

_NONE: Facts = MappingProxyType({})


class Snapshot(Generic[T]):
    """A value loaded now and then by another thread; a look at it never reads the database.

    ``ask(take)`` has ``take`` called with a newer value soon, in another thread, and returns what
    is set when that was tried (None: there is nothing to wait for). The very first look waits for
    it, ``wait`` seconds at most; no later one waits. ``refresh`` (None: :data:`REFRESH_S`) is how
    old the value may be before a look asks again.
    """

    def __init__(
        self,
        ask: Callable[[Callable[[T], None]], threading.Event | None],
        empty: T,
        *,
        wait: float = 0.0,
        refresh: float | None = None,
    ) -> None:
        self._ask = ask
        self._empty = empty
        self._wait = wait
        self._refresh = refresh
        self._value: T = empty
        self._loaded_at = self._asked_at = -math.inf
        self._looked = False
        self._lock = threading.Lock()

    def get(self) -> T:
        """The value as it was last loaded; asks for a newer one where it is old."""
        now = time.monotonic()
        refresh = REFRESH_S if self._refresh is None else self._refresh
        if now - self._loaded_at > refresh:
            if not self._looked:
                self._first_look(now)
            elif now - self._asked_at > refresh:
                self._asked_at = now
                self._ask(self.take)
        return self._value

    def take(self, value: T) -> None:
        """Replace the value."""
        self._value = value
        self._loaded_at = time.monotonic()
        self._looked = True

    def forget(self) -> None:
        """Start over with the next look."""
        self._value, self._looked = self._empty, False
        self._loaded_at = self._asked_at = -math.inf

    def renew_lock(self) -> None:
        """In a forked child: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    def _first_look(self, now: float) -> None:
        with self._lock:  # whoever looks meanwhile waits for the same answer
            if self._looked:
                return
            self._asked_at = now
            asked = self._ask(self.take)
            if asked is not None and self._wait:
                asked.wait(self._wait)
            self._looked = True


class ObservedFacts:
    """Observed facts by (provider, model), this process's own observations included at once.

    A snapshot is a mapping that never changes; the first look after a fact changed makes a new one.
    So an observation is handed over by ``note``, which is an append and no more.
    """

    def __init__(
        self,
        load: Callable[[], Facts | None],
        ask: Callable[[Callable[[Facts | None], None]], threading.Event | None],
        wait: float = 0.0,
    ) -> None:
        self._load = load
        self._stored: Snapshot[Facts | None] = Snapshot(ask, None, wait=wait)
        self._recent: deque[Observation] = deque(maxlen=RECENT)
        self.note: Callable[[Observation], None] = self._recent.append
        self._base: Facts = _NONE
        self._own: dict[tuple[str, str, str, str], Observation] = {}
        self._merged: Facts = _NONE
        self._lock = threading.Lock()  # around everything but the deque, which needs none

    def snapshot(self) -> Facts:
        """What is known now, without I/O: others' observations once they are REFRESH_S old."""
        stored = self._stored.get()
        if self._recent or (stored is not None and stored is not self._base):
            self._merge(stored)
        return self._merged

    def reload(self) -> Facts:
        """What is known, as the database has it this moment."""
        self._stored.take(self._load())
        self._merge(self._stored.get())
        return self._merged

    def forget(self) -> None:
        """Drop everything, this process's own observations too."""
        with self._lock:
            self._own.clear()
            self._recent.clear()
            self._stored.forget()
            self._base = self._merged = _NONE

    def renew_lock(self) -> None:
        """In a forked child: another thread of the parent may have held the locks."""
        self._lock = threading.Lock()
        self._stored.renew_lock()

    def _merge(self, stored: Facts | None) -> None:
        with self._lock:
            changed = self._take_in()
            if stored is not None and stored is not self._base:
                self._base, changed = stored, True
                for key, seen in list(self._own.items()):
                    known = stored.get(key[:2], NO_FACTS).facts.get(key[2:])
                    if known is not None and known.at >= seen.at:
                        del self._own[key]
            if changed:  # stored None: it cannot be read just now; what was known stays
                self._merged = overlay(self._base, self._own.values())

    def _take_in(self) -> bool:
        """The recent observations as own ones; a truth that is known already changes nothing."""
        changed = False
        while True:
            try:
                seen = self._recent.popleft()
            except IndexError:
                return changed
            key = (seen.provider, seen.model, seen.feature, seen.mode)
            known: Observation | Fact | None = self._own.get(key)
            if known is None:
                known = self._merged.get(key[:2], NO_FACTS).facts.get(key[2:])
            if not (seen.value and known is not None and known.value):
                self._own[key] = seen
                changed = True


def overlay(facts: Facts, seen: Iterable[Observation]) -> Facts:
    """``facts`` with newer observations over them; pure."""
    merged = dict(facts)
    for one in seen:
        key, place = (one.provider, one.model), (one.feature, one.mode)
        model = merged.get(key, NO_FACTS)
        known = model.facts.get(place)
        if known is not None and known.at > one.at:
            continue
        fact = Fact(
            one.value,
            one.at,
            one.mode,
            one.reason,
            one.source,
            (known.successes if known else 0) + one.value,
            (known.refusals if known else 0) + (not one.value),
        )
        merged[key] = ModelFacts(MappingProxyType({**model.facts, place: fact}))
    return MappingProxyType(merged)


_FACTS = """
SELECT provider, model_id, feature, mode, value, last_at, last_reason, source, successes, refusals
FROM capability_evidence
"""
_BARE = """
SELECT o.provider, o.model_id, o.feature, o.value, o.updated_at
FROM observed_capabilities o LEFT JOIN capability_evidence e
  ON e.provider = o.provider AND e.model_id = o.model_id AND e.feature = o.feature
WHERE e.provider IS NULL
"""


def load_facts(database: Database) -> Facts:
    """Everything observed, as the database has it; rows without evidence stand under ``any``."""
    found: dict[ModelKey, dict[tuple[str, str], Fact]] = {}
    for provider, model, feature, mode, value, at, reason, source, yes, no in database.execute(
        _FACTS
    ):
        facts = found.setdefault((provider, model), {})
        facts[(feature, mode)] = Fact(bool(value), at, mode, reason, source or "", yes, no)
    for provider, model, feature, value, stamp in database.execute(_BARE):
        at = parse_created_at(stamp).timestamp()
        facts = found.setdefault((provider, model), {})
        facts[(feature, "any")] = Fact(bool(value), at, "any", None, "stored")
    return MappingProxyType(
        {key: ModelFacts(MappingProxyType(facts)) for key, facts in found.items()}
    )


# -- money --------------------------------------------------------------------------------------


class Spent(NamedTuple):
    """What a route cost on one UTC day, in US dollars, as the ledger has it.

    ``own_usd`` is the part that this process itself wrote, at the same moment, so that a budget
    can take ``total_usd - own_usd`` for the others and its own running sum for itself.
    ``unpriced`` counts the attempts whose cost is unknown.
    """

    total_usd: float = 0.0
    own_usd: float = 0.0
    attempts: int = 0
    unpriced: int = 0


Spending = Mapping[str | None, Spent]
DayRoute = tuple[str, str | None]


class OwnSpending:
    """What this process has written to the ledger, by UTC day and route; of the writer's thread."""

    def __init__(self) -> None:
        self._sums: dict[DayRoute, float] = {}

    def add(self, records: Sequence[Any]) -> None:
        """Count what a batch wrote; days before yesterday are dropped."""
        for record in records:
            if isinstance(record, Attempt) and record.cost_usd:
                key = (utc_day(record.started_at), record.route)
                if key not in self._sums:
                    oldest = utc_day(record.started_at - 2 * 86400)
                    self._sums = {k: v for k, v in self._sums.items() if k[0] > oldest}
                self._sums[key] = self._sums.get(key, 0.0) + record.cost_usd

    def clear(self) -> None:
        """Start from nothing."""
        self._sums = {}

    def of(self, day: str) -> dict[str | None, float]:
        """route → dollars on ``day``."""
        return {route: usd for (at, route), usd in list(self._sums.items()) if at == day}


def utc_day(at: float) -> str:
    """The UTC day of a time in seconds since 1970, as ``YYYY-MM-DD``."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def day_bounds(day: str) -> tuple[float, float]:
    """The first moment of a UTC day and that of the next, in seconds since 1970."""
    start = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
    return start, start + 86400


def load_spending(database: Database, day: str, own: Mapping[str | None, float]) -> Spending:
    """route → :class:`Spent` on a UTC day, over all processes."""
    rows = database.execute(
        "SELECT route, SUM(cost_usd), COUNT(*), COUNT(cost_usd) FROM attempts "
        "WHERE started_at >= ? AND started_at < ? GROUP BY route",
        day_bounds(day),
    )
    return {
        route: Spent(float(usd or 0.0), own.get(route, 0.0), count, count - priced)
        for route, usd, count, priced in rows
    }
