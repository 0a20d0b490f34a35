"""Which candidates, in what order, and why: a pure function of its arguments.

``plan(needs, candidates, state, policy, now, seed)``: the rules of :mod:`policy` first, then an
order key: certainty, ``prefer``, file order. An inner route is one block that keeps its place in
the file, with its own rules inside. Clock and seed are arguments, so the same arguments give the
same plan, in a test, in ``explain`` and in a replay alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile, zip_longest
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from .compiled import Compiled, CompiledRoute
from .needs import Needs
from .policy import (
    Call,
    CandidateStats,
    Fit,
    PlanState,
    Rejection,
    call_of,
    draw,
    judge,
    words_of,
)
from .routes import Candidate, Preference, RouteConfig

__all__ = ["Plan", "PlanState", "Rejection", "Step", "plan"]


class Step(NamedTuple):
    """One candidate in its turn; ``rank`` counts from 1.

    ``est_cost_usd`` is the list price of the call as estimated, None where it is unknown.
    ``scores`` are the figures that ``prefer`` looked at, in its order; ``unknown`` the needed
    capabilities that nobody has declared or seen, as bits; ``aside`` why it stands behind all
    others whatever they say.
    """

    compiled: Compiled
    rank: int
    est_cost_usd: float | None
    scores: tuple[float | None, ...]
    unknown: int
    aside: str = ""

    @property
    def candidate(self) -> str:
        """``provider:model``."""
        return self.compiled.candidate.ref

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.compiled.provider

    @property
    def model(self) -> str:
        """The provider's own name of the model."""
        return self.compiled.model

    @property
    def params(self) -> Mapping[str, Any]:
        """Request fields that hold where the call says nothing."""
        return self.compiled.candidate.params

    @property
    def config(self) -> Candidate:
        """The candidate as the file has it."""
        return self.compiled.candidate

    @property
    def routes(self) -> tuple[RouteConfig, ...]:
        """The routes it stands in, outermost first; the last one's rules hold for it."""
        return self.compiled.routes

    @property
    def policy(self) -> RouteConfig:
        """The route whose ``on``, ``retry`` and ``timeout`` hold for it."""
        return self.compiled.routes[-1]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it stands where it does, in words."""
        said = [self.aside] if self.aside else []
        for word, score in zip_longest(self.policy.prefer, self.scores):
            said.append(_REASONS[word](self, score))
            if word == "order":
                break
        if self.unknown:
            said.append(f"not known to have: {', '.join(words_of(self.unknown))}")
        if len(self.routes) > 1:
            said.append(f"in route {self.policy.name}")
        return tuple(said)

    def as_json(self) -> dict[str, Any]:
        """The step as a mapping."""
        return {
            "rank": self.rank,
            "candidate": self.candidate,
            "provider": self.provider,
            "model": self.model,
            "route": [route.name for route in self.routes],
            "params": dict(self.params),
            "reasons": list(self.reasons),
            "est_cost_usd": self.est_cost_usd,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """The order of a call: ``steps`` to try in turn, ``rejected`` with rule, evidence and date."""

    route: str
    steps: tuple[Step, ...]
    rejected: tuple[Rejection, ...]
    needs: Needs = field(default_factory=Needs)

    def as_json(self) -> dict[str, Any]:
        """The plan as a mapping."""
        return {
            "route": self.route,
            "needs": self.needs.as_json(),
            "steps": [step.as_json() for step in self.steps],
            "rejected": [rejection.as_json() for rejection in self.rejected],
        }

    def as_text(self) -> str:
        """The plan for people, a line for each candidate."""
        needs = ", ".join(self.needs.words()) or "nothing in particular"
        lines = [f"route {self.route}: needs {needs}; about {self.needs.input_tokens} tokens in"]
        for step in self.steps:
            cost = "price unknown" if step.est_cost_usd is None else f"${step.est_cost_usd:.6f}"
            lines.append(f"{step.rank:>3}. {step.candidate}  {cost}  {'; '.join(step.reasons)}")
        if not self.steps:
            lines.append("  no candidate is left")
        for out in self.rejected:
            since = f" (since {out.since})" if out.since else ""
            lines.append(f"  -  {out.provider}:{out.model}  {out.rule}: {out.evidence}{since}")
        return "\n".join(lines)


def plan(
    needs: Needs,
    candidates: Sequence[Compiled | CompiledRoute],
    state: PlanState,
    policy: RouteConfig,
    now: float,
    seed: int,
) -> Plan:
    """The plan of one call. ``candidates`` are the members of the compiled route whose rules are
    ``policy``; ``now`` is a Unix time, ``seed`` decides what ``weighted`` draws."""
    steps: list[Step] = []
    rejected: list[Rejection] = []
    aside: list[Step] = []
    _place(candidates, policy, call_of(needs, state, now, seed), steps, rejected, aside)
    for step in aside:
        steps.append(step._replace(rank=len(steps) + 1))
    return Plan(policy.name, tuple(steps), tuple(rejected), needs)


_Entry: TypeAlias = tuple[tuple[Any, ...], Compiled, Fit, tuple[float | None, ...]]


def _place(
    members: Iterable[Compiled | CompiledRoute],
    policy: RouteConfig,
    call: Call,
    steps: list[Step],
    rejected: list[Rejection],
    aside: list[Step],
) -> None:
    # `order` leaves no tie for what stands behind it.
    measures = [_MEASURES[word] for word in takewhile("order".__ne__, policy.prefer)]
    last = policy.unknown == "last"
    segment: list[_Entry] = []
    for member in members:
        if isinstance(member, CompiledRoute):
            _close(segment, steps, aside)
            segment = []
            _place(member.members, member.policy, call, steps, rejected, aside)
            continue
        verdict = judge(member, call)
        if isinstance(verdict, Rejection):
            rejected.append(verdict)
            continue
        uncertain = 1 if last and verdict.unknown else 0
        if not measures:
            segment.append(((uncertain, member.place), member, verdict, ()))
            continue
        scores = tuple([measure(member, verdict, call) for measure in measures])
        key = (uncertain, *[math.inf if s is None else s for s in scores], member.place)
        segment.append((key, member, verdict, scores))
    _close(segment, steps, aside)


def _close(segment: list[_Entry], steps: list[Step], aside: list[Step]) -> None:
    # The place is unique, so that a comparison never reaches what stands behind the key.
    segment.sort()
    rank = len(steps)
    for _, member, fit, scores in segment:
        if fit.aside:
            aside.append(Step(member, 0, fit.cost, scores, fit.unknown, fit.aside))
            continue
        rank += 1
        steps.append(Step(member, rank, fit.cost, scores, fit.unknown))


# -- what prefer looks at: less is better, None comes after every figure --------------------------

_NO_STATS = CandidateStats()


def _cost(c: Compiled, fit: Fit, call: Call) -> float | None:
    return fit.cost


def _effective_cost(c: Compiled, fit: Fit, call: Call) -> float | None:
    """List price times what was really paid per good answer; list price without evidence."""
    if fit.cost is None:
        return None
    ratio = call.state.stats.get((c.provider, c.model), _NO_STATS).cost_ratio
    return fit.cost if ratio is None else fit.cost * ratio


def _latency(c: Compiled, fit: Fit, call: Call) -> float | None:
    """Median seconds as the caller feels them: to the first token of a stream, else to the end."""
    stats = call.state.stats.get((c.provider, c.model), _NO_STATS)
    return stats.first_token if call.mode == "stream" else stats.latency


def _reliability(c: Compiled, fit: Fit, call: Call) -> float | None:
    """Expected share of failures (rule of succession): unseen is one half, each failure raises it
    and each success lowers it."""
    stats = call.state.stats.get((c.provider, c.model), _NO_STATS)
    return (stats.failures + 1) / (stats.successes + stats.failures + 2)


def _weighted(c: Compiled, fit: Fit, call: Call) -> float | None:
    """A draw that puts each candidate first with probability weight / sum of weights.

    Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006): sort by an
    exponential variate of rate weight. Each candidate draws from the seed and its own name, so
    that one more or one less candidate leaves the others' draws alone. Weight 0 comes last.
    """
    weight = c.candidate.weight
    if weight <= 0:
        return None
    return -math.log(draw(call.seed, c)) / weight


_Measure: TypeAlias = Callable[[Compiled, Fit, Call], float | None]
_MEASURES: Mapping[Preference, _Measure] = MappingProxyType(
    {
        "cost": _cost,
        "effective_cost": _effective_cost,
        "latency": _latency,
        "reliability": _reliability,
        "weighted": _weighted,
    }
)


def _dollars(label: str) -> Callable[[Step, float | None], str]:
    return lambda step, score: f"{label} unknown" if score is None else f"{label} ${score:.6f}"


_REASONS: Mapping[Preference, Callable[[Step, float | None], str]] = MappingProxyType(
    {
        "order": lambda step, score: "file order",
        "cost": _dollars("cost"),
        "effective_cost": _dollars("effective cost"),
        "latency": lambda step, score: (
            "latency not seen" if score is None else f"latency {score:.3g} s"
        ),
        "reliability": lambda step, score: (
            "reliability not seen" if score is None else f"reliability {1 - score:.0%}"
        ),
        "weighted": lambda step, score: f"drawn with weight {step.config.weight:g}",
    }
)
