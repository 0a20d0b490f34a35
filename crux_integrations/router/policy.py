"""What a candidate is known to offer, and the rules that let it serve a request or not. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from crux_providers.base.pricing import estimate_usd

from .compiled import (
    CAPABILITY_BITS,
    UNKNOWN_FACT,
    CapabilityFact,
    Compiled,
    CompiledRoute,
    Lookup,
    compile_route,
    known_facts,
)
from .needs import CHARS_PER_TOKEN, Needs, needs_of
from .routes import DEFAULT_OUTPUT_TOKENS

__all__ = [
    "AdmissionView",
    "BreakerView",
    "Call",
    "CandidateStats",
    "CapabilityFact",
    "Compiled",
    "CompiledRoute",
    "Fit",
    "Lookup",
    "Needs",
    "ObservedFact",
    "ObservedFacts",
    "PlanState",
    "Rejection",
    "Rule",
    "call_of",
    "compile_route",
    "judge",
    "known_facts",
    "needs_of",
    "resolve_capability",
]

Rule: TypeAlias = Literal[
    "key", "allowed", "capability", "context", "budget", "breaker", "admission"
]


class ObservedFact(Protocol):
    """One thing seen: ``at`` is a Unix time, ``reason`` the provider's words."""

    @property
    def value(self) -> bool:
        """Whether it worked."""
        ...

    @property
    def at(self) -> float:
        """When, as a Unix time."""
        ...

    @property
    def mode(self) -> str:
        """``whole``, ``stream`` or ``any``."""
        ...

    @property
    def reason(self) -> str | None:
        """The provider's words, where it gave any."""
        ...


class ObservedFacts(Protocol):
    """What was seen of one model."""

    def fact(self, feature: str, mode: str, now: float, expire: float) -> ObservedFact | None:
        """What counts at ``now`` for a call in ``mode`` (``whole`` or ``stream``)."""
        ...


# -- the state a plan is made in ------------------------------------------------------------------


class BreakerView(NamedTuple):
    """A breaker that is not closed: no call before ``until`` (Unix time).

    A candidate that recovers takes ``share`` of the calls until then; to the others it is the last
    resort. ``probing`` says that the one probe is out, and may come back sooner.
    """

    until: float
    evidence: str = "too many failures"
    since: str | None = None
    share: float = 0.0
    probing: bool = False


class AdmissionView(NamedTuple):
    """What rate-limit headers left until ``until`` (Unix time); None is not limited. ``output`` is
    tokens to write where those are counted apart."""

    until: float
    requests: int | None = None
    tokens: int | None = None
    since: str | None = None
    output: int | None = None


class CandidateStats(NamedTuple):
    """What was seen of a candidate; None where nothing was.

    ``latency`` and ``first_token`` are median seconds of a whole answer and to a stream's first
    content. ``cost_ratio`` is dollars paid per good answer over its list price: below one with
    cache hits, above it with retries and discarded attempts.
    """

    latency: float | None = None
    first_token: float | None = None
    successes: int = 0
    failures: int = 0
    cost_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class PlanState:
    """All a plan may know of the world; nothing is looked up elsewhere.

    ``missing_keys`` maps a provider that cannot be used to the words that say why, ``unready`` a
    ``(provider, model)`` that needs something else first (weights, a package). ``allow`` (None:
    all) has providers, ``provider:model`` or tags that this caller may use. ``observed`` maps
    provider and model to what was seen. ``breakers``, ``admission`` and ``stats`` go by
    ``(provider, model)``, ``spent`` (US dollars today, UTC) and ``mean_output`` (tokens) by route.
    ``chars_per_token`` is what was measured, by ``(provider, model)``: a call's estimated tokens
    are corrected by it. ``expire`` is how long an observed refusal counts, in seconds.
    """

    missing_keys: Mapping[str, str] = field(default_factory=dict)
    unready: Mapping[tuple[str, str], str] = field(default_factory=dict)
    allow: frozenset[str] | None = None
    observed: Mapping[str, Mapping[str, ObservedFacts]] = field(default_factory=dict)
    breakers: Mapping[tuple[str, str], BreakerView] = field(default_factory=dict)
    admission: Mapping[tuple[str, str], AdmissionView] = field(default_factory=dict)
    stats: Mapping[tuple[str, str], CandidateStats] = field(default_factory=dict)
    spent: Mapping[str, float] = field(default_factory=dict)
    mean_output: Mapping[str, float] = field(default_factory=dict)
    chars_per_token: Mapping[tuple[str, str], float] = field(default_factory=dict)
    expire: float = 7 * 86400.0


class Rejection(NamedTuple):
    """Why a candidate is out: the rule, the evidence in words, and the date it is from.

    ``since`` is an ISO date or time, None where the evidence is of this moment.
    """

    provider: str
    model: str
    rule: Rule
    evidence: str
    since: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The rejection as a mapping."""
        return self._asdict()


# -- the rules ------------------------------------------------------------------------------------


class Call(NamedTuple):
    """A request's needs, made ready for many candidates."""

    bits: int
    mode: Literal["whole", "stream"]
    input_tokens: int
    output_tokens: int | None
    tags: frozenset[str]
    state: PlanState
    now: float
    seed: int = 0


class Fit(NamedTuple):
    """A candidate that may serve: its estimated dollars (None: unknown), the capabilities needed
    of it that nobody has declared or seen, as bits, and why it is to stand aside until all others
    have failed (empty: it is not)."""

    cost: float | None
    unknown: int
    aside: str = ""


def call_of(needs: Needs, state: PlanState, now: float, seed: int = 0) -> Call:
    """The call that :func:`judge` asks each candidate about; ``seed`` decides what is drawn."""
    bits = 0
    for word, bit in _BIT_ITEMS:
        if getattr(needs, word):
            bits |= bit
    mode: Literal["whole", "stream"] = "stream" if needs.streaming else "whole"
    return Call(bits, mode, needs.input_tokens, needs.output_tokens, needs.tags, state, now, seed)


def judge(c: Compiled, call: Call) -> Fit | Rejection:
    """The rules in their order: key, allowed, capability, context, budget, breaker, admission."""
    state = call.state
    if state.missing_keys and c.provider in state.missing_keys:
        return _no(c, "key", state.missing_keys[c.provider])
    if state.unready and (c.provider, c.model) in state.unready:
        return _no(c, "key", state.unready[(c.provider, c.model)])
    if call.tags and not call.tags <= c.tags:
        lacking = ", ".join(sorted(call.tags - c.tags))
        return _no(c, "allowed", f"the call asks for a candidate tagged {lacking}")
    if state.allow is not None and not _allowed(c, state.allow):
        return _no(c, "allowed", "not among what this caller may use")

    bits = call.bits | c.required
    refused = bits & c.no
    unknown = bits & ~(c.yes | c.no)
    if state.observed and bits:
        facts = _facts_of(c, state)
        if facts is not None:
            refused, unknown = _observed(bits, refused, unknown, facts, call)
    if refused or (unknown and c.routes[-1].unknown == "reject"):
        return _capability(c, refused or unknown, call)

    key = (c.provider, c.model)
    tokens = call.input_tokens
    if state.chars_per_token and (measured := state.chars_per_token.get(key)):
        tokens = corrected(tokens, measured)
    stated = call.output_tokens if call.output_tokens is not None else c.output_tokens
    if (c.context is not None and tokens + (stated or 0) > c.context) or (
        c.max_input is not None and tokens > c.max_input
    ):
        room = (
            c.context
            if c.context is not None and (c.max_input is None or tokens <= c.max_input)
            else c.max_input
        )
        wanted = f"about {tokens} tokens" + (f" and {stated} to write" if stated else "")
        return _no(c, "context", f"{wanted}, room for {room} ({c.limits_from})", c.limits_since)
    if c.max_output is not None and (call.output_tokens or 0) > c.max_output:
        too_long = f"max_tokens {call.output_tokens}, it writes at most {c.max_output}"
        return _no(c, "context", f"{too_long} ({c.limits_from})", c.limits_since)

    cost: float | None = None
    price = c.price_at(call.now)
    if price is not None:
        if stated is None:
            mean = state.mean_output.get(c.routes[0].name) if state.mean_output else None
            stated = DEFAULT_OUTPUT_TOKENS if mean is None else round(mean)
        cost = estimate_usd(price, tokens, stated)
    if c.budgets and (over := _over_budget(c, cost, state)) is not None:
        return _no(c, "budget", over)

    aside = ""
    if state.breakers:
        breaker = state.breakers.get(key)
        if breaker is not None and call.now < breaker.until:
            if not breaker.share:
                return _no(c, "breaker", breaker_evidence(breaker, call.now), breaker.since)
            if draw(call.seed ^ _RECOVERY, c) >= breaker.share:
                aside = f"{breaker.evidence}: takes {breaker.share:.0%} of the calls for now"
    if state.admission:
        limit = state.admission.get(key)
        if limit is not None and call.now < limit.until:
            short = short_of(limit, tokens)
            if short is not None:
                wait = limit.until - call.now
                return _no(c, "admission", f"{short}; more in {wait:.3g} s", limit.since)
    return Fit(cost, unknown, aside)


_MIX = 0xFFFFFFFFFFFFFFFF
_RECOVERY = 0x9E3779B97F4A7C15
"""Keeps the draws for a recovering candidate apart from those of ``weighted``."""


def draw(seed: int, c: Compiled) -> float:
    """A number in (0, 1) that is the candidate's own at this seed, whoever stands beside it."""
    return uniform(seed ^ c.identity)


def uniform(seed: int) -> float:
    """A number in (0, 1), the same in every process.

    splitmix64's finalizer (Steele, Lea, Flood 2014) spreads neighbouring seeds.
    """
    x = seed & _MIX
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MIX
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MIX
    x ^= x >> 31
    return (x + 1) / (_MIX + 2)


def corrected(tokens: int, chars_per_token: float) -> int:
    """An estimate made with CHARS_PER_TOKEN, by what was measured (2 to 8 is believed)."""
    return round(tokens * CHARS_PER_TOKEN / min(8.0, max(2.0, chars_per_token)))


def breaker_evidence(breaker: BreakerView, now: float) -> str:
    """Why a candidate is left alone, and for how long still."""
    return f"{breaker.evidence}; closed for {breaker.until - now:.3g} s more"


_BIT_ITEMS = tuple(CAPABILITY_BITS.items())


def words_of(bits: int) -> list[str]:
    """The capability words of a bit set."""
    return [word for word, bit in _BIT_ITEMS if bits & bit]


def _facts_of(c: Compiled, state: PlanState) -> ObservedFacts | None:
    seen = state.observed.get(c.provider)
    return None if seen is None else seen.get(c.model)


def _no(c: Compiled, rule: Rule, evidence: str, since: str | None = None) -> Rejection:
    return Rejection(c.provider, c.model, rule, evidence, since)


def _allowed(c: Compiled, allow: frozenset[str]) -> bool:
    return c.provider in allow or c.candidate.ref in allow or not allow.isdisjoint(c.tags)


def _observed(
    bits: int, refused: int, unknown: int, facts: ObservedFacts, call: Call
) -> tuple[int, int]:
    """What was seen stands over what was declared, in both directions."""
    for word, bit in _BIT_ITEMS:
        if bits & bit:
            fact = facts.fact(word, call.mode, call.now, call.state.expire)
            if fact is not None:
                unknown &= ~bit
                refused = refused & ~bit if fact.value else refused | bit
    return refused, unknown


def _capability(c: Compiled, bits: int, call: Call) -> Rejection:
    observed = _facts_of(c, call.state)
    said: list[str] = []
    since: str | None = None
    for word in words_of(bits):
        fact = resolve_capability(word, call.mode, c.facts, observed, call.now, call.state.expire)
        said.append(f"{word}: {fact.evidence}")
        since = since or fact.since
    return _no(c, "capability", "; ".join(said), since)


def _over_budget(c: Compiled, cost: float | None, state: PlanState) -> str | None:
    for route in c.budgets:
        budget = route.budget
        if cost is None:
            return (
                f"its price is unknown, so the budget of route {route.name!r} could not be kept; "
                f"declare it under models:"
            )
        if budget.per_call is not None and cost > budget.per_call:
            return f"about ${cost:.4g}, per_call of route {route.name!r} is ${budget.per_call:g}"
        if budget.per_day is not None:
            spent = state.spent.get(route.name, 0.0)
            # Used up is used up, for a free candidate nothing is.
            if spent + cost > budget.per_day and cost > 0:
                return (
                    f"about ${cost:.4g}, route {route.name!r} has spent ${spent:.4g} of "
                    f"${budget.per_day:g} today"
                )
    return None


def short_of(limit: AdmissionView, tokens: int) -> str | None:
    """What a call of about ``tokens`` lacks by the rate limits; None where it may go."""
    if limit.requests is not None and limit.requests <= 0:
        return "no request left by its rate limit"
    if limit.tokens is not None and limit.tokens < tokens:
        return f"{limit.tokens} tokens left by its rate limit, about {tokens} needed"
    if limit.output is not None and limit.output <= 0:
        return "no token to write left by its rate limit"
    return None


def resolve_capability(
    word: str,
    mode: str,
    known: Mapping[str, CapabilityFact],
    observed: ObservedFacts | None,
    now: float,
    expire: float,
) -> CapabilityFact:
    """One capability in one mode: observed, else declared, else catalogued, else unknown."""
    if observed is not None:
        seen = observed.fact(word, mode, now, expire)
        if seen is not None:
            how = "worked" if seen.value else "refused"
            said = f": {seen.reason}" if seen.reason else ""
            return CapabilityFact(
                seen.value, "observed", iso_time(seen.at), f"{how} ({seen.mode}){said}"
            )
    return known.get(word, UNKNOWN_FACT)


def iso_time(at: float) -> str:
    """A Unix time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
