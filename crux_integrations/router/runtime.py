"""The configuration in force and what is known of the world, made into plans; and the ledger."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from crux_providers.base.models import ChatRequest, Usage
from crux_providers.base.pricing import cost_usd
from crux_providers.persistence.figures import NOTHING, Figures
from crux_providers.persistence.rows import new_call_id
from crux_providers.persistence.store import Store, get_store

from .call import CallOptions, RouteCall
from .compiled import CompiledRoute, flat
from .config import RoutesConfig, digest
from .evidence import NO_EVIDENCE, Evidence
from .in_force import InForce, Reach, RoutesInForce
from .needs import Needs, needs_of
from .plan import Plan, PlanState, plan
from .recent import Recent
from .records import attempt_row, call_row, chat_row
from .spending import Spending, shared_spending
from .state import Key, LocalState, Mode, State
from .steps import RuntimeStep, Steps
from .usable import Candidates, Unusable, unusable

KEYS_EVERY_S = 2.0
FIRST_PLAN_S = 1.0


def find_routes(env: Mapping[str, str]) -> Path:
    """The routes file: ``$CRUX_ROUTES``, ``./routes.yaml``, else the packaged default."""
    if named := env.get("CRUX_ROUTES"):
        return Path(named)
    here = Path("routes.yaml")
    if here.is_file():
        return here.resolve()
    return packaged_routes()


def packaged_routes() -> Path:
    """The routes file that crux ships."""
    packaged = files("crux_integrations.router") / "default_routes.yaml"
    if packaged.is_file():
        return Path(str(packaged))
    return Path(__file__).resolve().parents[2] / "routes.yaml"


class Runtime:
    """Plans for a routes source; reloads a changed file, remembers health, writes the ledger."""

    def __init__(self, source: Any = None) -> None:
        self._routes = RoutesInForce(find_routes(os.environ) if source is None else source)
        self._usable: dict[Candidates, tuple[float, tuple[Any, ...], Unusable]] = {}
        self._figures: tuple[Figures, Evidence] = (NOTHING, NO_EVIDENCE)
        self.recent = Recent()
        self._store: weakref.ref[Store] | None = None
        self._looked = False
        self.state: State = LocalState()
        self.has_provider: Callable[[str], bool] = lambda name: False

    # -- configuration ----------------------------------------------------------------------------

    @property
    def config(self) -> RoutesConfig:
        """The configuration in force."""
        return self.current().config

    def current(self) -> InForce:
        """The configuration for a call that begins now."""
        return self._routes.current()

    def digest(self, route: str) -> str:
        """A digest of the route's declaration."""
        return digest(self.config, route)

    def profile(self, route: str) -> dict[str, Any]:
        """What the route can serve: true where any candidate can, the largest window."""
        return route_profile(self.current().route(route))

    # -- plans ------------------------------------------------------------------------------------

    def plan(self, request: ChatRequest, route: str, *, stream: bool, seed: int) -> Plan:
        """The plan of a request."""
        return self.plan_for(needs_of(request, stream=stream), route, seed=seed)

    def plan_for(self, needs: Needs, route: str, *, seed: int) -> Plan:
        """The plan of a call with these needs, for somebody who wants to see it.

        Unlike a call, the first look waits (a second at most) for what the ledger knows.
        """
        if not self._looked:
            self._looked = True
            store = get_store()
            store.figures()
            store.flush(FIRST_PLAN_S)
        in_force = self.current()
        return self._plan(in_force, needs, in_force.route(route), seed)

    def _plan(self, in_force: InForce, needs: Needs, compiled: CompiledRoute, seed: int) -> Plan:
        now = time.time()
        state = self._state(in_force, compiled, now)
        return plan(needs, compiled.members, state, compiled.policy, now, seed)

    def _state(self, in_force: InForce, compiled: CompiledRoute, now: float) -> PlanState:
        store = self._current_store()
        evidence = self.evidence(store)
        reach = in_force.reach(compiled)
        state = self.state
        out = self._unusable(in_force.config, reach)
        return PlanState(
            missing_keys=out.providers,
            unready=out.models,
            observed=_Observed(store.snapshot()),  # type: ignore[arg-type]  # has get, all a plan uses
            breakers=state.breakers(now),
            admission=state.admission(now),
            stats=self.recent.over(evidence.stats, self._figures[0].at),  # type: ignore[arg-type]  # has get, all a plan uses
            spent={name: state.spent(name, now) for name in reach.daily},
            mean_output=evidence.mean_output,
            chars_per_token=evidence.chars_per_token,
            expire=in_force.config.observed.expire,
        )

    def _current_store(self) -> Store:
        """The store in force; money is counted together by all who use the same database."""
        store = get_store()
        if self._store is None or self._store() is not store:
            self._store = weakref.ref(store)
            kept = store.writer is not None
            self.state.count_in(shared_spending(store) if kept else Spending())
        return store

    def evidence(self, store: Store | None = None) -> Evidence:
        """What the ledger has seen of late; never waits for it."""
        figures = (store or get_store()).figures()
        known = self._figures
        if known[0] is not figures:
            known = self._figures = (figures, Evidence.of(figures))
        return known[1]

    def _unusable(self, config: RoutesConfig, reach: Reach) -> Unusable:
        """Who of a route cannot be used; looked up again after a moment or a change of a key."""
        seen = (config, *[os.environ.get(variable) for variable in reach.variables])
        now = time.monotonic()
        known = self._usable.get(reach.candidates)
        if known is not None and now - known[0] < KEYS_EVERY_S and known[1] == seen:
            return known[2]
        found = unusable(config, reach.candidates, os.environ, self.has_provider)
        self._usable[reach.candidates] = (now, seen, found)
        return found

    def steps(
        self,
        request: ChatRequest,
        route: str,
        *,
        stream: bool,
        seed: int,
        options: CallOptions,
        in_force: InForce | None = None,
    ) -> tuple[Plan, Steps, InForce]:
        """The plan of a call, and its steps with their rules; of a call that has begun already,
        under the configuration it began with (``in_force``)."""
        in_force = in_force or self.current()
        compiled = (
            in_force.route(route) if options.model is None else in_force.alone(options.model, route)
        )
        made = self._plan(in_force, needs_of(request, stream=stream), compiled, seed)
        steps = Steps(made.steps, in_force.rules, options.max_retries)
        return made, steps, in_force

    def route_total(self, in_force: InForce, route: str) -> float | None:
        """Seconds that all attempts together may take."""
        found = in_force.config.routes.get(route)
        return found.timeout.route_total if found is not None else None

    # -- what came of it --------------------------------------------------------------------------

    def cost_of(self, target: RuntimeStep, usage: Usage) -> float | None:
        """Dollars of an attempt at list price; None where usage or price is unknown."""
        return cost_usd(usage, target.step.compiled.price_at(time.time()))

    def p95(self, key: Key, mode: Mode) -> float | None:
        """The candidate's own 95th percentile in seconds, by this process or else the ledger."""
        own = self.state.p95(key, mode)
        return self.evidence().p95.get((key, mode)) if own is None else own

    def save(self, call: RouteCall, config: RoutesConfig) -> None:
        """Hand the call and its attempts to the ledger; returns at once."""
        store = (self._store and self._store()) or get_store()  # that of the latest plan
        if store.writer is None or (not call.attempts and not call.plan.rejected):
            return
        store.keep_ledger_s = config.ledger.keep or store.keep_ledger_s
        call_id = new_call_id()
        policy = digest(config, call.route) if call.route in config.routes else None
        store.put(call_row(call, call_id, policy))
        for number, record in enumerate(call.attempts, 1):
            store.put(attempt_row(call, call_id, number, record))
        if config.chat_logs:
            store.put(chat_row(call, call_id))


class _Observed:
    """Facts by provider, then model, as plans read them."""

    __slots__ = ("_facts",)

    def __init__(self, facts: Mapping[tuple[str, str], Any]) -> None:
        self._facts = facts

    def __bool__(self) -> bool:
        return bool(self._facts)

    def get(self, provider: str) -> _Models:
        return _Models(self._facts, provider)


class _Models:
    __slots__ = ("_facts", "_provider")

    def __init__(self, facts: Mapping[tuple[str, str], Any], provider: str) -> None:
        self._facts = facts
        self._provider = provider

    def get(self, model: str) -> Any:
        return self._facts.get((self._provider, model))


_PROFILE = {
    "tool_calling": "tools",
    "tool_choice": "tool_choice",
    "structured_output": "json_schema",
    "image_inputs": "vision",
    "image_url_inputs": "vision",
    "pdf_inputs": "pdf",
    "audio_inputs": "audio",
    "reasoning_output": "reasoning",
}


def route_profile(route: CompiledRoute) -> dict[str, Any]:
    """What a route can serve, in LangChain's profile words; what nobody knows is left out."""
    members = flat(route)
    found: dict[str, Any] = {}
    for word, capability in _PROFILE.items():
        known = [f.value for c in members if (f := c.facts.get(capability)) and f.value is not None]
        if known:
            found[word] = any(known)
    inputs = [n for c in members if (n := c.max_input or c.context)]
    outputs = [c.max_output for c in members if c.max_output]
    if inputs:
        found["max_input_tokens"] = max(inputs)
    if outputs:
        found["max_output_tokens"] = max(outputs)
    return found


def needs_from_words(
    request: ChatRequest, words: str, input_tokens: int | None, *, stream: bool
) -> Needs:
    """The needs of a request with capabilities added by name; ValueError for an unknown one."""
    needs = needs_of(request, stream=stream)
    named = {word.strip() for word in words.split(",") if word.strip()}
    if wrong := named - set(Needs().__slots__):
        raise ValueError(f"unknown capability: {', '.join(sorted(wrong))}")
    changes: dict[str, Any] = dict.fromkeys(named, True)
    if input_tokens is not None:
        changes["input_tokens"] = input_tokens
    return replace(needs, **changes)
