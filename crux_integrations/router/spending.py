"""What routes have spent and set aside, exactly, within this process; and what hedges may add."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from crux_providers.persistence.facts import utc_day

from .routes import RouteConfig


class Stored(Protocol):
    """What the ledger has of a route's day: all of it, and what this process wrote of it."""

    @property
    def total_usd(self) -> float:
        """US dollars of every process, as far as they are written."""
        ...

    @property
    def own_usd(self) -> float:
        """This process's part of it."""
        ...


LookUp = Callable[[str, float], Stored]
"""``(route, now)``: what the ledger has of the route on the UTC day of ``now``; never waits."""


class Reserved(NamedTuple):
    """Dollars set aside for an attempt, by route, on one UTC day."""

    day: str
    routes: tuple[str, ...]
    usd: float


class Spending:
    """Dollars by route and UTC day; safe to use from many threads.

    An attempt sets its estimate aside before it is sent and pays what it cost after, so that calls
    at the same time cannot spend the same dollar. What other processes spent, and this one in an
    earlier life, comes from the ledger (``look_up``).
    """

    def __init__(self, look_up: LookUp | None = None) -> None:
        self._look_up = look_up
        self._day = ""
        self._paid: dict[str, float] = {}
        self._aside: dict[str, float] = {}
        self._lock = threading.Lock()

    def spent(self, route: str, now: float) -> float:
        """Dollars spent or set aside on the UTC day of ``now``."""
        others, own = self._stored(route, now)
        with self._lock:
            return self._spent(route, utc_day(now), others, own)

    def reserve(
        self, routes: Sequence[RouteConfig], usd: float, now: float
    ) -> Reserved | tuple[RouteConfig, float]:
        """Set ``usd`` aside in every route, or (route, its dollars) where one has not that much."""
        day = utc_day(now)
        stored = [self._stored(route.name, now) for route in routes]
        with self._lock:
            for route, (others, own) in zip(routes, stored, strict=True):
                limit = route.budget.per_day
                spent = self._spent(route.name, day, others, own)
                if limit is not None and usd > 0 and spent + usd > limit:
                    return route, spent
            names = tuple(route.name for route in routes)
            for name in names:
                self._aside[name] = self._aside.get(name, 0.0) + usd
            return Reserved(day, names, usd)

    def settle(self, reserved: Reserved, usd: float) -> None:
        """The attempt is over and cost ``usd``."""
        with self._lock:
            if reserved.day != self._day:  # its day is over: the ledger has it
                return
            for name in reserved.routes:
                self._aside[name] = max(0.0, self._aside.get(name, 0.0) - reserved.usd)
                self._paid[name] = self._paid.get(name, 0.0) + usd

    def _stored(self, route: str, now: float) -> tuple[float, float]:
        if self._look_up is None:
            return 0.0, 0.0
        found = self._look_up(route, now)
        return found.total_usd - found.own_usd, found.own_usd

    def _spent(self, route: str, day: str, others: float, own: float) -> float:
        if day > self._day:
            self._day, self._paid, self._aside = day, {}, {}
        # What this process wrote without having gone through here counts, too.
        paid = max(self._paid.get(route, 0.0), own)
        return others + paid + self._aside.get(route, 0.0)

    def after_fork(self) -> None:
        """In a forked child: what the parent set aside is the parent's."""
        self._lock = threading.Lock()
        self._paid, self._aside = {}, {}


class Ledger(Protocol):
    """Where spending is kept."""

    def spent_today(self, route: str | None, now: float | None = None) -> Stored:
        """What the route cost on the UTC day of ``now``."""
        ...


_shared: weakref.WeakKeyDictionary[Ledger, Spending] = weakref.WeakKeyDictionary()
_shared_lock = threading.Lock()


def shared_spending(ledger: Ledger) -> Spending:
    """The one Spending of a database in this process, whichever router asks."""
    with _shared_lock:
        found = _shared.get(ledger)
        if found is None:
            known = weakref.ref(ledger)

            def look_up(route: str, now: float) -> Stored:
                there = known()
                return _NOTHING if there is None else there.spent_today(route, now)

            found = _shared[ledger] = Spending(look_up)
        return found


class _Nothing(NamedTuple):
    total_usd: float = 0.0
    own_usd: float = 0.0


_NOTHING = _Nothing()


def _after_fork_in_child() -> None:
    global _shared_lock
    _shared_lock = threading.Lock()
    for spending in list(_shared.values()):
        spending.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


HEDGE_WINDOW_S = 3600.0
"""How fast what hedges cost is forgotten: to about a third in this time."""


class HedgeAccount:
    """What a route's calls cost of late, and what hedges added. Its owner has the lock.

    Both decay, so that the share is that of the recent past. Where a price is unknown requests are
    counted instead of dollars.
    """

    __slots__ = ("_at", "_calls", "_extra_calls", "_extra_usd", "_usd")

    def __init__(self) -> None:
        self._at = 0.0
        self._usd = self._extra_usd = self._calls = self._extra_calls = 0.0

    def call(self, now: float, usd: float | None) -> None:
        """A call's own attempt cost ``usd`` (None: unknown)."""
        self._decay(now)
        self._calls += 1
        self._usd += usd or 0.0

    def may(self, now: float, usd: float | None, max_extra: float) -> bool:
        """Whether one more request of ``usd`` keeps within the share; the first of all may."""
        self._decay(now)
        if usd is None:
            return self._extra_calls < 0.5 or self._extra_calls + 1 <= max_extra * self._calls
        return self._extra_usd <= 0 or self._extra_usd + usd <= max_extra * self._usd

    def hedge(self, now: float, usd: float | None) -> None:
        """A hedge is sent, that will cost about ``usd``."""
        self._decay(now)
        self._extra_calls += 1
        self._extra_usd += usd or 0.0

    def correct(self, now: float, estimated: float | None, usd: float | None) -> None:
        """A hedge that was estimated at ``estimated`` cost ``usd``."""
        self._decay(now)
        if usd is not None:
            self._extra_usd = max(0.0, self._extra_usd + usd - (estimated or 0.0))

    def take_back(self, now: float, estimated: float | None) -> None:
        """A hedge that was counted is not sent."""
        self._decay(now)
        self._extra_calls = max(0.0, self._extra_calls - 1)
        self._extra_usd = max(0.0, self._extra_usd - (estimated or 0.0))

    def _decay(self, now: float) -> None:
        if self._at and now > self._at:
            kept = math.exp((self._at - now) / HEDGE_WINDOW_S)
            self._usd *= kept
            self._extra_usd *= kept
            self._calls *= kept
            self._extra_calls *= kept
        self._at = max(self._at, now)


def over_per_call(
    routes: Sequence[RouteConfig], spent: Mapping[str, float], usd: float
) -> RouteConfig | None:
    """The route whose ``per_call`` an attempt of ``usd`` would break after what the call spent."""
    for route in routes:
        limit = route.budget.per_call
        if limit is not None and usd > 0 and spent.get(route.name, 0.0) + usd > limit:
            return route
    return None
