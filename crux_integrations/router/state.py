"""What a router remembers between calls: health, rate limits, money, how long answers take.

:class:`State` is the seam: a router asks it before each attempt (:meth:`State.enter`) and tells it
how the attempt ended (:meth:`State.settle`). :class:`LocalState` keeps it all in this process; a
shared one takes its place behind the same methods.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

from crux_providers.base.errors import HARMLESS, ProviderError
from crux_providers.base.rate_limits import rate_limits

from .admission import Allowance
from .breaker import FIRST, Circuit, Pass
from .policy import AdmissionView, BreakerView, Rejection, breaker_evidence, short_of
from .routes import Breaker, Hedge, RouteConfig
from .spending import HedgeAccount, Reserved, Spending, over_per_call

Key: TypeAlias = tuple[str, str]
Mode: TypeAlias = Literal["whole", "stream"]

P95_SAMPLES = 20
"""Answers that must have been seen before their 95th percentile is more than the slowest."""
SAMPLES_KEPT = 200


class Ask(NamedTuple):
    """What an attempt asks for: whose, under which rules, and about how large.

    ``budgets`` are the routes around it that have one, ``call_spent`` what this call has cost in
    each so far, ``est_usd`` the list price as estimated (None: unknown), ``tokens`` of its input.
    """

    key: Key
    rules: Breaker
    tokens: int = 0
    est_usd: float | None = None
    budgets: Sequence[RouteConfig] = ()
    call_spent: Mapping[str, float] = {}


class Ticket:
    """An attempt that was let through. To be settled once; a second time changes nothing."""

    __slots__ = ("begun", "key", "passed", "reserved", "rules", "settled")

    def __init__(
        self,
        key: Key,
        rules: Breaker,
        passed: Pass | None,
        begun: tuple[int, int],
        reserved: Reserved | None,
    ) -> None:
        self.key = key
        self.rules = rules
        self.passed = passed
        self.begun = begun
        self.reserved = reserved
        self.settled = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    ``answered`` with ``error`` None: well. ``answered`` False with ``error`` None: nobody's fault
    (cancelled, left early, a hedge that lost). ``waited`` says that the error's Retry-After is
    being waited for. ``usd`` is what it cost (0 where it cannot have cost anything).
    """

    answered: bool = False
    error: ProviderError | None = None
    waited: bool = False
    usd: float = 0.0


class State(Protocol):
    """What routers of one or many processes remember together. Every method returns at once and
    may be called from any thread; ``now`` is a Unix time."""

    def count_in(self, spending: Spending) -> None:
        """Count money here from now on: with whoever else uses the same ledger."""
        ...

    def breakers(self, now: float) -> Mapping[Key, BreakerView]:
        """The candidates that calls must leave alone, all or some of them."""
        ...

    def admission(self, now: float) -> Mapping[Key, AdmissionView]:
        """What rate limits leave, by candidate."""
        ...

    def spent(self, route: str, now: float) -> float:
        """US dollars that ``route`` spent or set aside on the UTC day of ``now``."""
        ...

    def enter(self, ask: Ask, now: float) -> Ticket | Rejection:
        """Let an attempt through, reserving what it takes, or say why not. What a plan found may
        have changed since; this decides."""
        ...

    def alive(self, ticket: Ticket, now: float) -> None:
        """First content came: a probe needs to wait no longer."""
        ...

    def headers(self, ticket: Ticket, headers: Mapping[str, str], now: float) -> None:
        """Response headers of the attempt, lower-case names."""
        ...

    def settle(self, ticket: Ticket, outcome: Outcome, now: float) -> None:
        """The attempt is over."""
        ...

    def took(self, key: Key, mode: Mode, seconds: float) -> None:
        """A good answer took so long: whole to its end, streamed to its first content."""
        ...

    def p95(self, key: Key, mode: Mode) -> float | None:
        """The 95th percentile of what :meth:`took` was told, None without evidence."""
        ...

    def called(self, route: str, usd: float | None, now: float) -> None:
        """A call of a route that hedges has cost this (None: unknown)."""
        ...

    def may_hedge(self, route: str, hedge: Hedge, usd: float | None, now: float) -> bool:
        """Whether the route may add one more request of about ``usd``; it is counted if so."""
        ...

    def hedged(self, route: str, estimated: float | None, usd: float | None, now: float) -> None:
        """What a hedge of about ``estimated`` cost in truth (None: still unknown)."""
        ...

    def unhedged(self, route: str, estimated: float | None, now: float) -> None:
        """A hedge that was allowed is not sent."""
        ...


class LocalState:
    """The state of one process; safe to use from many threads."""

    def __init__(self) -> None:
        self._circuits: dict[Key, Circuit] = {}
        self._allowances: dict[Key, Allowance] = {}
        self._times: dict[tuple[Key, Mode], deque[float]] = {}
        self._hedges: dict[str, HedgeAccount] = {}
        self._limited = False
        self._lock = threading.Lock()
        self.spending = Spending()
        _states.add(self)

    def count_in(self, spending: Spending) -> None:
        """As :meth:`State.count_in`."""
        self.spending = spending

    def breakers(self, now: float) -> Mapping[Key, BreakerView]:
        """As :meth:`State.breakers`."""
        if not self._circuits:
            return {}
        with self._lock:
            return {
                key: view
                for key, circuit in self._circuits.items()
                if (view := circuit.view(now)) is not None
            }

    def admission(self, now: float) -> Mapping[Key, AdmissionView]:
        """As :meth:`State.admission`; each candidate's is worked out when it is asked for."""
        return _Admission(self._allowances, now) if self._limited else {}

    def spent(self, route: str, now: float) -> float:
        """As :meth:`State.spent`."""
        return self.spending.spent(route, now)

    def enter(self, ask: Ask, now: float) -> Ticket | Rejection:
        """As :meth:`State.enter`."""
        key = ask.key
        passed: Pass | None = None
        with self._lock:
            allowance = self._allowances.get(key)
            if allowance is None:
                allowance = self._allowances[key] = Allowance()
            elif self._limited and (view := allowance.view(now)) is not None:
                short = short_of(view, ask.tokens)
                if short is not None:
                    words = f"{short}; more in {view.until - now:.3g} s"
                    return Rejection(*key, "admission", words, view.since)
            reserved: Reserved | None = None
            if ask.budgets and ask.est_usd is not None:
                over = self._reserve(ask, ask.est_usd, now)
                if isinstance(over, Rejection):
                    return over
                reserved = over
            circuit = self._circuits.get(key)
            if circuit is not None:
                through = circuit.enter(now)
                if isinstance(through, BreakerView):
                    if reserved is not None:
                        self.spending.settle(reserved, 0.0)
                    return Rejection(*key, "breaker", breaker_evidence(through, now), through.since)
                passed = through
            return Ticket(key, ask.rules, passed, allowance.begin(ask.tokens), reserved)

    def _reserve(self, ask: Ask, usd: float, now: float) -> Reserved | Rejection | None:
        route = over_per_call(ask.budgets, ask.call_spent, usd)
        if route is not None:
            said = f"about ${usd:.4g} after ${ask.call_spent.get(route.name, 0.0):.4g} in this call"
            words = f"{said}, per_call of route {route.name!r} is ${route.budget.per_call:g}"
            return Rejection(*ask.key, "budget", words)
        daily = [route for route in ask.budgets if route.budget.per_day is not None]
        if not daily:
            return None
        found = self.spending.reserve(daily, usd, now)
        if isinstance(found, Reserved):
            return found
        route, spent = found
        words = (
            f"about ${usd:.4g}, route {route.name!r} has spent ${spent:.4g} of "
            f"${route.budget.per_day:g} today"
        )
        return Rejection(*ask.key, "budget", words)

    def alive(self, ticket: Ticket, now: float) -> None:
        """As :meth:`State.alive`."""
        if ticket.passed is not None:
            self._answered(ticket, now)

    def headers(self, ticket: Ticket, headers: Mapping[str, str], now: float) -> None:
        """As :meth:`State.headers`."""
        limits = rate_limits(headers, now)
        if limits:
            with self._lock:
                self._limited = True
                self._allowances[ticket.key].report(limits, now, ticket.begun)

    def settle(self, ticket: Ticket, outcome: Outcome, now: float) -> None:
        """As :meth:`State.settle`."""
        if ticket.settled:
            return
        ticket.settled = True
        if ticket.reserved is not None:
            self.spending.settle(ticket.reserved, outcome.usd)
        error = outcome.error
        if error is not None and (error.code not in HARMLESS or ticket.passed is not None):
            with self._lock:
                circuit = self._circuits.get(ticket.key)
                if circuit is None:
                    circuit = self._circuits[ticket.key] = Circuit()
                passed = ticket.passed or FIRST
                circuit.failed(now, passed, error, ticket.rules, waited=outcome.waited)
                self._forget(ticket.key, circuit)
        elif ticket.passed is not None or ticket.key in self._circuits:
            if outcome.answered:
                self._answered(ticket, now)
            elif ticket.passed is not None:
                with self._lock:
                    if (circuit := self._circuits.get(ticket.key)) is not None:
                        circuit.left(ticket.passed)

    def _answered(self, ticket: Ticket, now: float) -> None:
        with self._lock:
            circuit = self._circuits.get(ticket.key)
            if circuit is not None:
                circuit.answered(now, ticket.passed or FIRST)
                self._forget(ticket.key, circuit)

    def _forget(self, key: Key, circuit: Circuit) -> None:
        if circuit.healthy:
            del self._circuits[key]

    # -- hedging ----------------------------------------------------------------------------------

    def took(self, key: Key, mode: Mode, seconds: float) -> None:
        """As :meth:`State.took`."""
        times = self._times.get((key, mode))
        if times is None:
            times = self._times.setdefault((key, mode), deque(maxlen=SAMPLES_KEPT))
        times.append(seconds)

    def p95(self, key: Key, mode: Mode) -> float | None:
        """As :meth:`State.p95`."""
        times = self._times.get((key, mode))
        if times is None or len(times) < P95_SAMPLES:
            return None
        ordered = sorted(times.copy())
        return ordered[math.ceil(0.95 * len(ordered)) - 1]

    def called(self, route: str, usd: float | None, now: float) -> None:
        """As :meth:`State.called`."""
        with self._lock:
            self._account(route).call(now, usd)

    def may_hedge(self, route: str, hedge: Hedge, usd: float | None, now: float) -> bool:
        """As :meth:`State.may_hedge`."""
        with self._lock:
            account = self._account(route)
            allowed = account.may(now, usd, hedge.max_extra)
            if allowed:
                account.hedge(now, usd)
            return allowed

    def hedged(self, route: str, estimated: float | None, usd: float | None, now: float) -> None:
        """As :meth:`State.hedged`."""
        with self._lock:
            self._account(route).correct(now, estimated, usd)

    def unhedged(self, route: str, estimated: float | None, now: float) -> None:
        """As :meth:`State.unhedged`."""
        with self._lock:
            self._account(route).take_back(now, estimated)

    def _account(self, route: str) -> HedgeAccount:
        found = self._hedges.get(route)
        if found is None:
            found = self._hedges[route] = HedgeAccount()
        return found

    def after_fork(self) -> None:
        """In a forked child: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()


class _Admission(Mapping[Key, AdmissionView]):
    """What rate limits leave at one moment, worked out for those that are asked for."""

    __slots__ = ("_allowances", "_now")

    def __init__(self, allowances: dict[Key, Allowance], now: float) -> None:
        self._allowances = allowances
        self._now = now

    def __getitem__(self, key: Key) -> AdmissionView:
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def get(self, key: Key, default: AdmissionView | None = None) -> AdmissionView | None:  # type: ignore[override]  # no other default is meant
        """What is left of ``key``, None where no limit is known."""
        allowance = self._allowances.get(key)
        if allowance is None or not allowance.limited:
            return default
        return allowance.view(self._now) or default

    def __iter__(self) -> Iterator[Key]:
        return (key for key in list(self._allowances) if self.get(key) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return True


_states: weakref.WeakSet[LocalState] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for state in list(_states):
        state.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
