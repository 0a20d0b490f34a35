"""The configuration in force and what is known of the world, made into plans; and the ledger."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crux_providers.base.errors import ProviderError
from crux_providers.base.flow import Action
from crux_providers.base.logging import get_logger, log_event
from crux_providers.base.models import ChatRequest, Usage
from crux_providers.base.pricing import cost_usd
from crux_providers.base.repositories.keys import KeysRepository
from crux_providers.base.retry import RetryConfig
from crux_providers.base.timeouts import TimeoutConfig
from crux_providers.config.declaration import ProviderDeclaration
from crux_providers.persistence.rows import new_call_id
from crux_providers.persistence.store import get_store

from .compiled import Compiled, CompiledRoute, compile_route
from .config import RoutesConfig, RoutesError, catalog_lookup, digest, load_routes
from .needs import Needs, needs_of
from .plan import Plan, PlanState, Step, plan
from .provider_trust import key_in_environment, provider_settings
from .records import attempt_row, call_row, chat_row
from .routes import Candidate, RouteConfig
from .state import RouterState

if TYPE_CHECKING:
    from .call import RouteCall
    from .router import CallOptions

RELOAD_EVERY_S = 1.0
KEYS_EVERY_S = 2.0


def find_routes(env: Mapping[str, str]) -> Path:
    """The routes file: ``$CRUX_ROUTES``, ``./routes.yaml``, else the packaged default."""
    if named := env.get("CRUX_ROUTES"):
        return Path(named)
    here = Path("routes.yaml")
    if here.is_file():
        return here.resolve()
    packaged = files("crux_integrations.router") / "default_routes.yaml"
    if packaged.is_file():
        return Path(str(packaged))
    return Path(__file__).resolve().parents[2] / "routes.yaml"


def find_key(declared: ProviderDeclaration, env: Mapping[str, str]) -> str | None:
    """The provider's key by environment, ``.env`` or ``config.yaml``."""
    return key_in_environment(declared, env) or KeysRepository().get_api_key(declared.name)


@dataclass(frozen=True, slots=True)
class RuntimeStep:
    """A plan's step with the rules that hold for it worked out."""

    step: Step
    retry: RetryConfig
    actions: Mapping[str, Action]
    limits: TimeoutConfig
    hold: float | None

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.step.compiled.provider

    @property
    def model(self) -> str:
        """The provider's own name of the model."""
        return self.step.compiled.model

    def timeouts(self, provider: TimeoutConfig) -> TimeoutConfig:
        """The limits of an attempt: the route's, and the provider's where the route says none."""
        own = self.limits
        return TimeoutConfig(
            connect=provider.connect if own.connect is None else own.connect,
            first_token=provider.first_token if own.first_token is None else own.first_token,
            idle=own.idle,
            total=provider.total if own.total is None else own.total,
            explicit=own.explicit or provider.explicit,
        )


@dataclass(frozen=True, slots=True)
class _Rules:
    """The rules of one chain of routes, worked out once."""

    retry: RetryConfig
    actions: Mapping[str, Action]
    limits: TimeoutConfig
    hold: float | None

    @classmethod
    def of(cls, routes: tuple[RouteConfig, ...]) -> _Rules:
        own = routes[-1]
        totals = [r.timeout.total for r in routes if r.timeout.total is not None]
        return cls(
            own.retry.config(),
            own.on.actions,
            TimeoutConfig(
                connect=own.timeout.connect,
                first_token=own.timeout.first_token,
                idle=own.stream.idle,
                total=min(totals) if totals else None,
                explicit=own.timeout.first_token is not None,
            ),
            own.stream.hold,
        )


class _InForce:
    """One configuration with its compiled routes."""

    def __init__(self, config: RoutesConfig) -> None:
        self.config = config
        self.lookup = catalog_lookup(config)
        self._compiled: dict[str, CompiledRoute] = {}
        self._alone: dict[tuple[str, str], CompiledRoute] = {}
        self._ids: dict[int, _Rules] = {}

    def route(self, name: str) -> CompiledRoute:
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

    def rules(self, compiled: Compiled) -> _Rules:
        known = self._ids.get(id(compiled.routes))
        if known is None:  # the tuple lives as long as the compiled route that holds it
            known = self._ids[id(compiled.routes)] = _Rules.of(compiled.routes)
        return known


class Runtime:
    """Plans for a routes source; reloads a changed file, remembers health, writes the ledger."""

    def __init__(self, source: Any = None) -> None:
        self._path: Path | None = None
        if source is None:
            source = find_routes(os.environ)
        if isinstance(source, (str, os.PathLike)) and not _is_text(source):
            self._path = Path(source)
        self._in_force = _InForce(load_routes(source))
        self._stamp = self._stat()
        self._looked = time.monotonic()
        self._keys: dict[tuple[str, ...], tuple[float, tuple[Any, ...], dict[str, str]]] = {}
        self.state = RouterState()
        self.has_provider: Callable[[str], bool] = lambda name: False

    # -- configuration ----------------------------------------------------------------------------

    @property
    def config(self) -> RoutesConfig:
        """The configuration in force."""
        return self.current().config

    def current(self) -> _InForce:
        """The configuration in force, after a look at the file at most once a second.

        A changed file that is valid takes over; one that is not is refused, logged once, and the
        old one stays. A call that has begun keeps what it began with.
        """
        now = time.monotonic()
        if self._path is not None and now - self._looked > RELOAD_EVERY_S:
            self._looked = now
            stamp = self._stat()
            if stamp is not None and stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._in_force = _InForce(load_routes(self._path))
                except (RoutesError, OSError) as exc:
                    log_event(
                        get_logger(),
                        logging.ERROR,
                        "routes.reload.refused",
                        file=str(self._path),
                        failure_class=type(exc).__name__,
                        error=str(exc),
                    )
                else:
                    log_event(
                        get_logger(), logging.INFO, "routes.reload.done", file=str(self._path)
                    )
        return self._in_force

    def _stat(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        try:
            seen = self._path.stat()
        except OSError:
            return None
        return seen.st_mtime_ns, seen.st_size, seen.st_ino

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
        """The plan of a call with these needs."""
        in_force = self.current()
        return self._plan(in_force, needs, in_force.route(route), seed)

    def _plan(self, in_force: _InForce, needs: Needs, compiled: CompiledRoute, seed: int) -> Plan:
        now = time.time()
        state = self._state(in_force, compiled, now)
        return plan(needs, compiled.members, state, compiled.policy, now, seed)

    def _state(self, in_force: _InForce, compiled: CompiledRoute, now: float) -> PlanState:
        store = get_store()
        budgets = {r.name for c in flat(compiled) for r in c.budgets if r.budget.per_day}
        return PlanState(
            missing_keys=self._missing_keys(in_force.config, compiled),
            observed=_Observed(store.snapshot()),  # type: ignore[arg-type]  # has get, all a plan uses
            breakers=self.state.breakers(now),
            spent={name: store.spent_today(name, now).total_usd for name in budgets},
            expire=in_force.config.observed.expire,
        )

    def _missing_keys(self, config: RoutesConfig, compiled: CompiledRoute) -> Mapping[str, str]:
        names = tuple(dict.fromkeys(c.provider for c in flat(compiled)))
        from .provider_trust import key_variables

        seen = tuple(os.environ.get(variable) for variable in key_variables())
        now = time.monotonic()
        known = self._keys.get(names)
        if known is not None and now - known[0] < KEYS_EVERY_S and known[1] == (config, *seen):
            return known[2]
        missing = {}
        for name in names:
            if self.has_provider(name):
                continue
            try:
                words = provider_settings(config, name, os.environ, find_key).missing
            except KeyError:
                words = f"nobody declares a provider {name!r}"
            if words is not None:
                missing[name] = words
        self._keys[names] = (now, (config, *seen), missing)
        return missing

    def steps(
        self,
        request: ChatRequest,
        route: str,
        *,
        stream: bool,
        seed: int,
        options: CallOptions,
    ) -> tuple[Plan, list[RuntimeStep], _InForce]:
        """The plan of a call, and its steps with their rules."""
        in_force = self.current()
        compiled = (
            in_force.route(route) if options.model is None else in_force.alone(options.model, route)
        )
        made = self._plan(in_force, needs_of(request, stream=stream), compiled, seed)
        steps = []
        for step in made.steps:
            rules = in_force.rules(step.compiled)
            retry = rules.retry
            if options.max_retries is not None:
                retry = replace(retry, max_attempts=1 + options.max_retries)
            steps.append(RuntimeStep(step, retry, rules.actions, rules.limits, rules.hold))
        return made, steps, in_force

    def route_total(self, in_force: _InForce, route: str) -> float | None:
        """Seconds that all attempts together may take."""
        found = in_force.config.routes.get(route)
        return found.timeout.route_total if found is not None else None

    # -- what came of it --------------------------------------------------------------------------

    def cost_of(self, target: RuntimeStep, usage: Usage) -> float | None:
        """Dollars of an attempt at list price; None where usage or price is unknown."""
        return cost_usd(usage, target.step.compiled.price_at(time.time()))

    def record(
        self, target: RuntimeStep, error: ProviderError | None, *, waited: bool = False
    ) -> None:
        """Take an outcome into account for the plans to come."""
        key = (target.provider, target.model)
        if error is None:
            self.state.succeeded(key)
        else:
            self.state.failed(key, error, target.step.policy.breaker, waited=waited)

    def save(self, call: RouteCall, config: RoutesConfig) -> None:
        """Hand the call and its attempts to the ledger; returns at once."""
        store = get_store()
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


def flat(route: CompiledRoute) -> list[Compiled]:
    """Every candidate of a route and of those inside it."""
    found: list[Compiled] = []
    for member in route.members:
        found.extend(flat(member) if isinstance(member, CompiledRoute) else (member,))
    return found


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


def key_report(config: RoutesConfig, env: Mapping[str, str]) -> list[str]:
    """A line for each provider of the routes that cannot be used now, saying why."""
    names = sorted(
        {c.provider for route in config.routes.values() for c in route.candidates if c.provider}
    )
    lines = []
    for name in names:
        missing = provider_settings(config, name, env, find_key).missing
        if missing is not None:
            lines.append(f"{name}: its candidates are rejected: {missing}")
    return lines


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


def _is_text(source: Any) -> bool:
    return isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{"))
