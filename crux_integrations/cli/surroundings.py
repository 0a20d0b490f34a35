"""What can answer here: keys that are set, a server that happens to run, a model on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from crux_integrations.router.config import RoutesConfig, load_routes
from crux_integrations.router.plan import Plan
from crux_integrations.router.router import Router
from crux_integrations.router.routes import DEFAULT_ROUTE, Candidate, RouteConfig
from crux_providers.base.models import ChatRequest
from crux_providers.base.ports import load
from crux_providers.config.declaration import ProviderDeclaration, declarations


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A routes file made to fit what is here.

    ``config`` is the file's own where a key is set. Without one its default route also asks the
    servers of this machine that run, before the model inside the process. ``nothing``, where
    nobody is left that could be known to answer, is one line that says what to do; a gateway of the
    file's own may still be up.
    """

    config: RoutesConfig
    nothing: str | None = None

    @classmethod
    def of(cls, file: Path, request: ChatRequest) -> Surroundings:
        """Look around for ``request`` on the default route of ``file``."""
        config = load_routes(file)
        if DEFAULT_ROUTE not in config.routes:
            return cls(config)
        with Router(config) as router:
            plan = router.explain(request)
        if any(_has_key(step.provider) for step in plan.steps):
            return cls(config)
        if found := _nearby(config):
            return cls(_with(config, found))
        if any(_is_embedded(step.provider) for step in plan.steps):
            return cls(config)
        return cls(config, _nothing(plan))


def _declared(provider: str) -> ProviderDeclaration | None:
    return declarations().get(provider)


def _has_key(provider: str) -> bool:
    declared = _declared(provider)
    return declared is not None and declared.key_required


def _is_embedded(provider: str) -> bool:
    declared = _declared(provider)
    return declared is not None and declared.unready is not None


def _nearby(config: RoutesConfig) -> list[Candidate]:
    """One model of each running server that the file does not speak of itself."""
    named = {c.provider for route in config.routes.values() for c in route.candidates}
    found = []
    for declared in declarations().values():
        if declared.nearby is not None and declared.name not in named:
            found += [Candidate(declared.name, model) for model in load(declared.nearby)()[:1]]
    return found


def _with(config: RoutesConfig, more: list[Candidate]) -> RoutesConfig:
    """The default route with ``more`` before whatever holds the embedded model, else at its end."""
    route = config.routes[DEFAULT_ROUTE]
    own = route.candidates
    place = next((i for i, c in enumerate(own) if _holds(c, config.routes)), len(own))
    longer = replace(route, candidates=(*own[:place], *more, *own[place:]))
    return replace(config, routes=MappingProxyType({**config.routes, DEFAULT_ROUTE: longer}))


def _holds(candidate: Candidate, routes: Mapping[str, RouteConfig]) -> bool:
    if candidate.route is None:
        return _is_embedded(candidate.provider)
    return any(_holds(inner, routes) for inner in routes[candidate.route].candidates)


def _nothing(plan: Plan) -> str:
    out = {r.provider: r.evidence for r in plan.rejected if r.rule == "key"}
    declared = [found for name in out if (found := _declared(name)) is not None]
    ways = [f"set {d.env_key} or another provider's key" for d in declared if d.env_key][:1]
    ways += [f"start {d.name}" for d in declarations().values() if d.nearby is not None]
    ways += [f"have a small model in this process ({out[d.name]})" for d in declared if d.unready]
    return f"nobody here can answer: {'; or '.join(ways)}"
