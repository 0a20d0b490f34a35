"""The routes in force: compiled once, and taken anew from a file that has changed and is valid."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from crux_providers.base.logging import get_logger, log_event

from .compiled import Compiled, CompiledRoute, compile_route, flat
from .config import RoutesConfig, RoutesError, catalog_lookup, load_routes
from .provider_trust import key_variables
from .routes import Candidate, RouteConfig
from .steps import Rules
from .usable import Candidates

RELOAD_EVERY_S = 1.0
"""How often a routes file is looked at, at most."""
SETTLE_S = 0.2
"""How long a changed file must have been left alone before it is read: one that is being written
may be valid half way."""


class Reach(NamedTuple):
    """The providers and models that a route can come to, the variables that may hold their keys,
    and the routes in it with a budget of the day."""

    candidates: Candidates
    variables: tuple[str, ...]
    daily: tuple[str, ...]

    @classmethod
    def of(cls, compiled: CompiledRoute) -> Reach:
        """What the route and those inside it reach, in the order of the file."""
        members = flat(compiled)
        daily = (r.name for c in members for r in c.budgets if r.budget.per_day is not None)
        candidates = tuple(dict.fromkeys((c.provider, c.model) for c in members))
        providers = {provider for provider, _ in candidates}
        variables = (name for name, owner in key_variables().items() if owner in providers)
        return cls(candidates, tuple(variables), tuple(dict.fromkeys(daily)))


class InForce:
    """One configuration with its compiled routes."""

    def __init__(self, config: RoutesConfig) -> None:
        self.config = config
        self.lookup = catalog_lookup(config)
        self._compiled: dict[str, CompiledRoute] = {}
        self._alone: dict[tuple[str, str], CompiledRoute] = {}
        self._ids: dict[int, Rules] = {}
        self._reach: dict[int, Reach] = {}

    def route(self, name: str) -> CompiledRoute:
        """The route, compiled once; raises RoutesError where there is none."""
        found = self._compiled.get(name)
        if found is None:
            self.config.route(name)
            found = compile_route(self.config.routes, name, self.config.models, self.lookup)
            self._compiled[name] = found
        return found

    def alone(self, model: str, route: str) -> CompiledRoute:
        """The rules of ``route`` over one model that a call names itself."""
        found = self._alone.get((model, route))
        if found is None:
            provider, _, name = model.partition(":")
            if not name:
                raise ValueError(f"model {model!r} has no provider: write provider:model")
            rules = self.config.routes.get(route) or RouteConfig()
            single = replace(rules, candidates=(Candidate(provider, name),), require=frozenset())
            found = compile_route({route: single}, route, self.config.models, self.lookup)
            self._alone[(model, route)] = found
        return found

    def reach(self, compiled: CompiledRoute) -> Reach:
        """What a compiled route of this configuration reaches."""
        known = self._reach.get(id(compiled))
        if known is None:  # compiled routes live as long as this does
            known = self._reach[id(compiled)] = Reach.of(compiled)
        return known

    def rules(self, compiled: Compiled) -> Rules:
        """The rules of a candidate's routes, worked out once."""
        known = self._ids.get(id(compiled.routes))
        if known is None:  # the tuple lives as long as the compiled route that holds it
            known = self._ids[id(compiled.routes)] = Rules.of(compiled.routes)
        return known


class RoutesInForce:
    """The configuration that calls begin with; safe to use from many threads.

    ``source`` is what :func:`load_routes` takes, or what it gave. A file is looked at again when a
    call begins, at most every :data:`RELOAD_EVERY_S`. One that is valid takes over for the calls
    that begin then; one that is not is refused, logged once, and the old one stays. A call that has
    begun keeps what it began with, and none waits for a reload in another thread.
    """

    def __init__(self, source: Any) -> None:
        self._path: Path | None = None
        if isinstance(source, (str, os.PathLike)) and not _is_text(source):
            self._path = Path(source)
        self._stamp = self._stat()  # before the file is read: what changes meanwhile is seen later
        config = source if isinstance(source, RoutesConfig) else load_routes(source)
        self._now = InForce(config)
        self._look_at = time.monotonic() + RELOAD_EVERY_S
        self._lock = threading.Lock()
        _in_force.add(self)

    def current(self) -> InForce:
        """The configuration for a call that begins now."""
        if (
            self._path is not None
            and time.monotonic() > self._look_at
            and self._lock.acquire(blocking=False)
        ):
            try:
                self._look(self._path)
            finally:
                self._lock.release()
        return self._now

    def _look(self, path: Path) -> None:
        self._look_at = time.monotonic() + RELOAD_EVERY_S
        stamp = self._stat()
        if stamp is None or stamp == self._stamp:
            return
        if 0 <= time.time() - stamp[0] / 1e9 < SETTLE_S:
            self._look_at = time.monotonic() + SETTLE_S
            return
        self._stamp = stamp
        try:
            self._now = InForce(load_routes(path))
        except (RoutesError, OSError) as exc:
            log_event(
                get_logger(),
                logging.ERROR,
                "routes.reload.refused",
                file=str(path),
                failure_class=type(exc).__name__,
                error=str(exc),
            )
        else:
            log_event(get_logger(), logging.INFO, "routes.reload.done", file=str(path))

    def _stat(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        try:
            seen = self._path.stat()
        except OSError:
            return None
        return seen.st_mtime_ns, seen.st_size, seen.st_ino

    def after_fork(self) -> None:
        """In a forked child: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()


_in_force: weakref.WeakSet[RoutesInForce] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for routes in list(_in_force):
        routes.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _is_text(source: Any) -> bool:
    return isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{"))
