"""A route with all that does not change between calls worked out once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from crux_providers.base.pricing import Price
from crux_providers.catalog.entry import CatalogEntry

from .routes import CAPABILITIES, Candidate, ModelConfig, RouteConfig

Lookup: TypeAlias = Callable[[str, str], CatalogEntry | None]
"""What the catalogue has of a provider's model."""

CAPABILITY_BITS: Mapping[str, int] = MappingProxyType(
    {word: 1 << i for i, word in enumerate(CAPABILITIES)}
)
"""Capabilities as bits, so that a rule over all of them is one operation."""


@dataclass(frozen=True, slots=True)
class CapabilityFact:
    """Whether a candidate has a capability, who says so, and since when (an ISO date or time).

    ``value`` None is unknown: nobody has declared or seen it.
    """

    value: bool | None = None
    source: Literal["declared", "catalog", "observed"] | None = None
    since: str | None = None
    evidence: str = "nobody has declared or seen it"


UNKNOWN_FACT = CapabilityFact()
_STREAMS = CapabilityFact(True, "declared", None, "every dialect streams")
"""Streaming is a matter of the dialect; that a model does not is what somebody has to say."""


class Compiled(NamedTuple):
    """A candidate with all that does not change between calls; ``place`` is its place in the file.

    ``yes`` and ``no`` are bit sets of the capabilities declared or catalogued; ``routes`` the
    routes it stands in, outermost first, the last being its own; ``budgets`` those of them with a
    budget; ``required`` the bits that its own route requires besides the request's.
    """

    candidate: Candidate
    provider: str
    model: str
    place: int
    routes: tuple[RouteConfig, ...]
    facts: Mapping[str, CapabilityFact]
    yes: int
    no: int
    required: int
    tags: frozenset[str]
    budgets: tuple[RouteConfig, ...]
    context: int | None
    max_input: int | None
    max_output: int | None
    limits_from: str
    limits_since: str | None
    entry: CatalogEntry | None
    price: Price | None
    output_tokens: int | None
    identity: int

    def price_at(self, now: float) -> Price | None:
        """The list price at ``now``: the file's, else the catalogue's, else None."""
        if self.price is not None or self.entry is None:
            return self.price
        return self.entry.price_at(now)


@dataclass(frozen=True, slots=True)
class CompiledRoute:
    """A route and its members in file order; an inner route is a member of its own."""

    policy: RouteConfig
    members: tuple[Compiled | CompiledRoute, ...]


def compile_route(
    routes: Mapping[str, RouteConfig],
    name: str,
    models: Mapping[str, ModelConfig],
    lookup: Lookup,
) -> CompiledRoute:
    """Route ``name`` ready for planning; done once for a configuration. Raises KeyError."""
    return _compile(routes, name, models, lookup, (), frozenset(), [0], {})


def _compile(
    routes: Mapping[str, RouteConfig],
    name: str,
    models: Mapping[str, ModelConfig],
    lookup: Lookup,
    outer: tuple[RouteConfig, ...],
    tags: frozenset[str],
    counter: list[int],
    seen: dict[str, int],
) -> CompiledRoute:
    route = routes[name]
    if any(o.name == name for o in outer):
        raise ValueError(f"route {name!r} stands inside itself")
    chain = (*outer, route)
    members: list[Compiled | CompiledRoute] = []
    for candidate in route.candidates:
        own_tags = candidate.tags | tags
        if candidate.route is not None:
            members.append(
                _compile(routes, candidate.route, models, lookup, chain, own_tags, counter, seen)
            )
            continue
        counter[0] += 1
        members.append(
            _candidate(
                candidate,
                counter[0],
                chain,
                own_tags,
                models.get(candidate.ref),
                lookup(candidate.provider, candidate.model),
                seen,
            )
        )
    return CompiledRoute(route, tuple(members))


def _candidate(
    candidate: Candidate,
    place: int,
    chain: tuple[RouteConfig, ...],
    tags: frozenset[str],
    declared: ModelConfig | None,
    entry: CatalogEntry | None,
    seen: dict[str, int],
) -> Compiled:
    facts = known_facts(declared, entry)
    own_window = declared.context if declared is not None else None
    source = entry.sources.get("max_input") or entry.sources.get("context") if entry else None
    # The same model may stand twice with other params; each draws its own lot when weighted.
    text = f"{candidate.ref}|{sorted(candidate.params.items(), key=repr)!r}"
    twin = seen.setdefault(text, 0)
    seen[text] += 1
    max_tokens = candidate.params.get("max_tokens")
    return Compiled(
        candidate=candidate,
        provider=candidate.provider,
        model=candidate.model,
        place=place,
        routes=chain,
        facts=facts,
        yes=_bits(word for word, fact in facts.items() if fact.value),
        no=_bits(word for word, fact in facts.items() if fact.value is False),
        required=_bits(chain[-1].require),
        tags=tags,
        budgets=tuple(
            r for r in chain if r.budget.per_call is not None or r.budget.per_day is not None
        ),
        context=own_window or (entry.context if entry else None),
        max_input=None if own_window or not entry else entry.max_input,
        max_output=entry.max_output if entry else None,
        limits_from="declared" if own_window else f"catalogue: {source}" if source else "catalogue",
        limits_since=None if own_window or source is None else source.date,
        entry=entry,
        price=declared.price if declared is not None else None,
        output_tokens=max_tokens if isinstance(max_tokens, int) else None,
        identity=_hash(f"{text}|{twin}"),
    )


def known_facts(
    declared: ModelConfig | None, entry: CatalogEntry | None
) -> Mapping[str, CapabilityFact]:
    """What the file and the catalogue say; the file's word stands over the catalogue's."""
    facts = {"streaming": _STREAMS}
    if entry is not None:
        source = entry.sources.get("capabilities")
        since = source.date if source is not None else None
        for word, value in entry.capabilities.items():
            facts[word] = CapabilityFact(value, "catalog", since, f"catalogue: {source}")
    if declared is not None:
        for word, value in declared.capabilities.items():
            facts[word] = CapabilityFact(value, "declared", None, "declared in the routes file")
    return MappingProxyType(facts)


def flat(route: CompiledRoute) -> list[Compiled]:
    """Every candidate of a route and of those inside it."""
    found: list[Compiled] = []
    for member in route.members:
        found.extend(flat(member) if isinstance(member, CompiledRoute) else (member,))
    return found


def _bits(words: Iterable[str]) -> int:
    bits = 0
    for word in words:
        bits |= CAPABILITY_BITS[word]
    return bits


def _hash(text: str) -> int:
    """FNV-1a, 64 bits: the same number in every process."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value
