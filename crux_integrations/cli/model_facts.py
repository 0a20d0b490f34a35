"""What is known of a model, each figure with its source and date: for ``crux models``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from crux_integrations.router.config import RoutesConfig, catalog_lookup
from crux_integrations.router.routes import ModelConfig
from crux_providers import catalog
from crux_providers.base.models import ModelInfo, ModelRegistrySnapshot
from crux_providers.catalog import CatalogEntry, Price
from crux_providers.config import defaults
from crux_providers.config.declaration import declarations
from crux_providers.persistence.store import get_store


@dataclass(frozen=True, slots=True)
class Sourced:
    """A figure, where it comes from and of what day it is.

    ``source`` is ``declared`` (the routes file), ``observed``, ``api`` (the provider's listing),
    ``heuristic`` (an id's words), or ``catalogue``. ``date`` is ``YYYY-MM-DD``, None where it has
    none; ``stale`` says that it is more than 90 days old.
    """

    value: Any
    source: str
    date: str | None = None
    stale: bool = False


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One model; a figure that nobody states is None, a capability that nobody states not there.

    ``price`` is in US dollars per million tokens.
    """

    provider: str
    id: str
    name: str | None = None
    updated_at: str | None = None
    context: Sourced | None = None
    max_output: Sourced | None = None
    price: Sourced | None = None
    capabilities: Mapping[str, Sourced] = field(default_factory=dict)

    def figures(self) -> Iterator[tuple[str, Sourced]]:
        """Every figure by name."""
        for name in ("context", "max_output", "price"):
            if (figure := getattr(self, name)) is not None:
                yield name, figure
        yield from self.capabilities.items()

    def as_json(self) -> dict[str, Any]:
        """The facts as JSON, with the names of those that are old under ``stale``."""
        return {**asdict(self), "stale": [name for name, fact in self.figures() if fact.stale]}


class FactFinder:
    """Puts together what listing, observation, routes file and catalogue say of a model.

    Of two sources the first here counts: declared, observed, api, catalogue, heuristic.
    """

    def __init__(self, config: RoutesConfig, today: date) -> None:
        self._declared = config.models
        self._catalogue = catalog_lookup(config)
        self._today = today

    def models(self, snapshot: ModelRegistrySnapshot) -> list[ModelFacts]:
        """Every model of a provider: those listed, in order, else those the catalogue names."""
        provider = snapshot.provider
        listed = {model.id: model for model in snapshot.models}
        # A gateway of the file's own may be named like a vendor without being it.
        known = catalog.model_names(provider) if provider in declarations() else ()
        names = list(listed or known)
        own = (ref.partition(":") for ref in self._declared)
        names += [m for p, _, m in own if p == provider and m not in listed and m not in names]
        day = _day_of(snapshot.fetched_at)
        seen = _observed_days(provider)
        return [self._facts(provider, name, listed.get(name), day, seen) for name in names]

    def _facts(
        self,
        provider: str,
        name: str,
        listed: ModelInfo | None,
        day: str | None,
        seen: Mapping[tuple[str, str], str],
    ) -> ModelFacts:
        declared = self._declared.get(f"{provider}:{name}")
        entry = self._catalogue(provider, name)
        return ModelFacts(
            provider,
            name,
            listed.name if listed else None,
            listed.updated_at if listed else None,
            self._figure(
                (declared.context if declared else None, "declared", None),
                (listed.context_length if listed else None, "api", day),
                *_limits(entry, "context", "max_input"),
            ),
            self._figure(
                (listed.max_output_tokens if listed else None, "api", day),
                *_limits(entry, "max_output"),
            ),
            self._price(declared, entry),
            dict(sorted(self._capabilities(declared, listed, entry, day, seen))),
        )

    def _figure(self, *said: tuple[Any, str, str | None]) -> Sourced | None:
        found = next((figure for figure in said if figure[0] is not None), None)
        return None if found is None else self._sourced(*found)

    def _price(self, declared: ModelConfig | None, entry: CatalogEntry | None) -> Sourced | None:
        listed = entry.price_at(time.time()) if entry is not None else None
        return self._figure(
            (_price(declared.price if declared else None), "declared", None),
            (_price(listed), *_origin(entry, "price")),
        )

    def _capabilities(
        self,
        declared: ModelConfig | None,
        listed: ModelInfo | None,
        entry: CatalogEntry | None,
        day: str | None,
        seen: Mapping[tuple[str, str], str],
    ) -> Iterator[tuple[str, Sourced]]:
        origin = _origin(entry, "capabilities")
        said: dict[str, list[tuple[int, bool, str, str | None]]] = {}
        for word, value in (declared.capabilities if declared else {}).items():
            said.setdefault(word, []).append((0, value, "declared", None))
        for word, value in (listed.capabilities if listed else {}).items():
            source = listed.capability_sources.get(word, "api") if listed else "api"
            rank = {"observed": 1, "api": 2, "heuristic": 4}.get(source, 2)
            when = seen.get((listed.id, word), day) if listed and rank == 1 else day
            said.setdefault(word, []).append((rank, value, source, when))
        for word, value in (entry.capabilities if entry else {}).items():
            said.setdefault(word, []).append((3, value, *origin))
        for word, facts in said.items():
            yield word, self._sourced(*min(facts, key=lambda fact: fact[0])[1:])

    def _sourced(self, value: Any, source: str, day: str | None) -> Sourced:
        old = day is not None and (
            (self._today - date.fromisoformat(day)).days > defaults.CATALOG_STALE_DAYS
        )
        return Sourced(value, source, day, old)


def changes(
    old: Sequence[ModelInfo], new: Sequence[ModelInfo]
) -> dict[str, dict[str, tuple[Any, Any]]]:
    """model → field → (before, now) for the models that stand in both listings and differ."""
    before = {model.id: model for model in old}
    found: dict[str, dict[str, tuple[Any, Any]]] = {}
    for model in new:
        if (known := before.get(model.id)) is None:
            continue
        differing = {
            name: (getattr(known, name), getattr(model, name))
            for name in _COMPARED
            if getattr(known, name) != getattr(model, name)
        }
        if differing:
            found[model.id] = differing
    return found


_COMPARED = (
    "name", "family", "context_length", "max_output_tokens", "capabilities", "updated_at",
)  # fmt: skip


def _limits(
    entry: CatalogEntry | None, *names: str
) -> Iterator[tuple[int | None, str, str | None]]:
    for name in names:
        yield (getattr(entry, name) if entry else None, *_origin(entry, name))


def _origin(entry: CatalogEntry | None, figure: str) -> tuple[str, str | None]:
    source = entry.sources.get(figure) if entry is not None else None
    return "catalogue", source.date if source is not None else None


def _price(price: Price | None) -> dict[str, float] | None:
    if price is None:
        return None
    said = {name: getattr(price, name) for name in ("input", "output", "cached", "cache_write")}
    return {name: value for name, value in said.items() if value is not None} or None


def _day_of(stamp: str | None) -> str | None:
    return stamp[:10] if stamp else None


def _observed_days(provider: str) -> dict[tuple[str, str], str]:
    """(model, feature) → the day it was last seen."""
    days: dict[tuple[str, str], str] = {}
    for model, facts in get_store().observed(provider).items():
        for (feature, _), fact in facts.facts.items():
            day = datetime.fromtimestamp(fact.at, UTC).date().isoformat()
            days[model, feature] = max(day, days.get((model, feature), day))
    return days
