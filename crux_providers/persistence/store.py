"""The store: what the rest of the library hands rows to and reads facts from.

One store for each database, shared by the whole process. Nothing is opened, imported or started
before the first row or the first look.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from ..base.capabilities import ModelFacts, Observation
from ..base.logging import get_logger, log_event
from ..base.models import ModelRegistrySnapshot
from .database import Database, open_database
from .errors import StorageError
from .facts import (
    Facts,
    ObservedFacts,
    OwnSpending,
    Snapshot,
    Spending,
    Spent,
    load_facts,
    load_spending,
    utc_day,
)
from .figures import NOTHING, REFRESH_S, Figures, load_figures
from .location import OFF, Location, current, environment, parse
from .registry import load_snapshot, save_snapshot
from .rows import Attempt, Call, ChatLog, Metric
from .sink import Sink
from .writer import Writer

LEDGER_KEEP_S = 30 * 86400.0
"""How long attempts and calls are kept where nobody says otherwise."""
PRUNE_EVERY_S = 3600.0
FIRST_LOOK_S = 0.5
"""The longest that the first look at facts or spending waits for the database."""

T = TypeVar("T")


class Store:
    """One database as the library uses it; with ``CRUX_DB=off`` it lives in memory only.

    The methods that take rows return at once and never raise for what is wrong with the storage
    (counted, and logged once). Those that read from the database wait for the rows put before
    them and raise StorageError.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self.keep_ledger_s: float | None = LEDGER_KEEP_S
        self._own = OwnSpending()
        self._pruned_at: float | None = None
        self._complained: set[str] = set()
        self._registry: dict[str, ModelRegistrySnapshot] = {}
        self._spending: dict[str, Snapshot[Spending]] = {}
        self.writer: Writer | None = None
        self._hand_over: Callable[[Any], object] = _keep_nothing
        if location.kind != "off":
            after = weakref.WeakMethod(self._after_batch)

            def on_written(records: Sequence[Any]) -> None:
                if (method := after()) is not None:
                    method(records)

            self.writer = Writer(partial(Sink, location, on_written), name=location.kind)
            self._hand_over = self.writer.put
            weakref.finalize(self, self.writer.retire).atexit = False
        self.facts = ObservedFacts(
            partial(self._look, load_facts), partial(self._ask, load_facts), FIRST_LOOK_S
        )
        self._note = self.facts.note
        self._figures = self._fresh_figures()

    def __repr__(self) -> str:
        return f"Store({str(self.location)!r})"

    # -- rows in ------------------------------------------------------------------------------

    def observe(self, observation: Observation) -> None:
        """Take one observation; what plans see changes at once."""
        self._note(observation)
        self._hand_over(observation)

    def observe_all(self, observations: Iterable[Observation]) -> None:
        """Take what one call's outcome proves."""
        for observation in observations:
            self.observe(observation)

    def put(self, row: Call | Attempt | Metric | ChatLog) -> None:
        """Take one row of the ledger, the metrics or the chat logs."""
        self._hand_over(row)

    # -- what is known without asking -----------------------------------------------------------

    def snapshot(self) -> Facts:
        """(provider, model) → ModelFacts: never changes, reads no database.

        The first look waits up to FIRST_LOOK_S for the writer's thread to load it.
        """
        return self.facts.snapshot()

    def figures(self) -> Figures:
        """What the ledger says of each model and route, at most some seconds old; never waits.

        Empty until the first look has had its answer, and with ``CRUX_DB=off``.
        """
        return self._figures.get()

    def spent_today(self, route: str | None, now: float | None = None) -> Spent:
        """What ``route`` cost on the present UTC day, by a snapshot at most a few seconds old."""
        day = utc_day(time.time() if now is None else now)
        known = self._spending.get(day)
        if known is None:
            ask = partial(self._ask, partial(self._load_spending, day))
            known = Snapshot(ask, {}, wait=FIRST_LOOK_S)
            self._spending = {day: known}
        return known.get().get(route) or Spent()

    # -- reading --------------------------------------------------------------------------------

    def observed(self, provider: str) -> Mapping[str, ModelFacts]:
        """model → facts of one provider, as stored and as seen by this process.

        Where the database cannot be read it is what this process saw, and one warning.
        """
        self.flush()
        found = self.facts.reload()
        return {model: facts for (name, model), facts in found.items() if name == provider}

    def read(self, query: Callable[[Database], T], empty: T) -> T:
        """``query`` over an open database that holds every row put before; ``empty`` where nothing
        was ever kept. Raises StorageError."""
        self.flush()
        if not self.location.exists():
            return empty
        with open_database(self.location) as database:
            return query(database)

    def change(self, work: Callable[[Database], T]) -> T:
        """``work`` over an open database, made where it is missing, in one transaction.

        For writes that must be done when this returns (a registry snapshot, a preference). Raises
        StorageError, also where ``CRUX_DB=off``.
        """
        self.flush()
        with open_database(self.location) as database, database.transaction():
            return work(database)

    def load_registry(self, provider: str) -> ModelRegistrySnapshot:
        """The provider's stored listing; an empty snapshot where nothing was stored."""
        kept = self._registry.get(provider)
        if kept is not None:
            return kept
        empty = ModelRegistrySnapshot(provider)
        return self.read(lambda database: load_snapshot(database, provider), empty)

    def save_registry(self, snapshot: ModelRegistrySnapshot) -> None:
        """Replace the provider's stored listing; in memory only where ``CRUX_DB=off``."""
        if self.writer is None:
            self._registry[snapshot.provider] = snapshot
        else:
            self.change(lambda database: save_snapshot(database, snapshot))

    def flush(self, timeout: float | None = 10.0) -> bool:
        """Wait until every row put before is in the database; False where time ran out."""
        return self.writer is None or self.writer.flush(timeout)

    def close(self) -> None:
        """Write what waits and release the connection; the store may be used again."""
        if self.writer is not None:
            self.writer.close()

    def after_fork(self) -> None:
        """In a forked child: locks as new; what the parent spent is not this process's own."""
        self.facts.renew_lock()
        self._own.clear()
        self._spending = {}
        self._figures = self._fresh_figures()

    # -- in the writer's thread -----------------------------------------------------------------

    def _after_batch(self, records: Sequence[Any]) -> None:
        self._own.add(records)
        now = time.monotonic()
        due = self._pruned_at is None or now - self._pruned_at > PRUNE_EVERY_S
        if due and self.keep_ledger_s is not None and self.writer is not None:
            self._pruned_at = now
            self.writer.run(partial(_prune, before=time.time() - self.keep_ledger_s))

    def _ask(
        self, load: Callable[[Database], T], take: Callable[[T], None]
    ) -> threading.Event | None:
        """Have the writer's thread load something and hand it to ``take``."""

        def task(sink: Sink) -> None:
            if self.location.exists():
                try:
                    take(load(sink.database()))
                except StorageError as exc:
                    self._complain(exc)

        return None if self.writer is None else self.writer.run(task)

    def _look(self, load: Callable[[Database], T]) -> T | None:
        """Load something now; None, and one warning, where it cannot be read."""
        if not self.location.exists():
            return None
        try:
            with open_database(self.location) as database:
                return load(database)
        except StorageError as exc:
            self._complain(exc)
            return None

    def _complain(self, exc: StorageError) -> None:
        if str(exc) not in self._complained:
            self._complained.add(str(exc))
            log_event(
                get_logger(), logging.WARNING, "persistence.unreadable",
                operation="read", stage="storage", failure_class=type(exc).__name__,
                error=str(exc),
            )  # fmt: skip

    def _fresh_figures(self) -> Snapshot[Figures]:
        return Snapshot(partial(self._ask, load_figures), NOTHING, refresh=REFRESH_S)

    def _load_spending(self, day: str, database: Database) -> Spending:
        return load_spending(database, day, self._own.of(day))


def _keep_nothing(row: Any) -> None:
    """Where rows go with ``CRUX_DB=off``."""


def _prune(sink: Sink, before: float) -> None:
    database = sink.database()
    with database.transaction():
        database.execute(
            "DELETE FROM chat_logs WHERE call_id IN "
            "(SELECT call_id FROM calls WHERE started_at < ?)",
            (before,),
        )
        for table in ("attempts", "calls"):
            database.execute(f"DELETE FROM {table} WHERE started_at < ?", (before,))


# -- the store of this process --------------------------------------------------------------------

_stores: weakref.WeakValueDictionary[Location, Store] = weakref.WeakValueDictionary()
_in_force: tuple[tuple[str | None, ...], Store] | None = None
_lock = threading.Lock()


def get_store() -> Store:
    """The store of the database that the environment names now; never raises.

    Where it names none that can be (another kind of database), there is one warning and nothing
    is kept.
    """
    global _in_force
    names = environment()
    known = _in_force
    if known is not None and known[0] == names:
        return known[1]
    try:
        location = current()
    except StorageError as exc:
        log_event(
            get_logger(), logging.WARNING, "persistence.failed",
            operation="open", stage="storage", failure_class=type(exc).__name__, error=str(exc),
        )  # fmt: skip
        location = OFF
    store = store_at(location)
    with _lock:
        before, _in_force = _in_force, (names, store)
    if before is not None and before[1] is not store and before[1].writer is not None:
        before[1].writer.retire()
    return store


def store_at(place: Location | str | None) -> Store:
    """The store of the database at ``place`` (a path, an URL, ``off``; None: the environment's).

    Raises StorageError for an URL of another kind of database.
    """
    if place is None:
        return get_store()
    location = place if isinstance(place, Location) else parse(place)
    with _lock:
        store = _stores.get(location)
        if store is None:
            store = _stores[location] = Store(location)
    return store


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for store in list(_stores.values()):
        store.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
