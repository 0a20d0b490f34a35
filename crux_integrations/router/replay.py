"""Recorded traffic under another policy: which requests move, and what that would come to. Pure.

The ledger keeps of each call its needs, size and candidates, and of each attempt what came of it.
:func:`replay` plans every call again with the routes of another file, and sets what was beside what
is to be expected. A call that keeps its first candidate keeps its recorded figures; for one that
moves they are estimated from what the same ledger saw of the candidates it moves to:

- the chance that a candidate answers is that of its recorded attempts (rule of succession; a
  candidate never seen counts as the mean of all, and is named under ``unseen``);
- dollars are list price times the call's own recorded tokens (else its estimate), retries and
  fallbacks by their chance; an unknown price makes the call's dollars unknown, never zero;
- milliseconds are drawn from the candidate's recorded attempts, good and failed ones by that
  chance, with the call's own seed: the same ledger and file give the same report.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from crux_providers.base.pricing import estimate_usd

from .compiled import CompiledRoute, Lookup, compile_route
from .needs import Needs
from .plan import Plan, Step, plan
from .policy import CandidateStats, PlanState, uniform
from .routes import DEFAULT_OUTPUT_TOKENS, ModelConfig, RouteConfig

MOVES_SHOWN = 50
NOBODY = "nobody"
"""The candidate of a call that nobody could serve."""

Key = tuple[str, str]


class _Call(Protocol):
    """A row of ``calls``, as far as a replay reads it."""

    @property
    def call_id(self) -> str: ...
    @property
    def route(self) -> str | None: ...
    @property
    def started_at(self) -> float: ...
    @property
    def needs(self) -> Any: ...
    @property
    def seed(self) -> int | str | None: ...
    @property
    def stream(self) -> bool: ...
    @property
    def outcome(self) -> str | None: ...
    @property
    def duration_ms(self) -> float | None: ...
    @property
    def extra(self) -> Any: ...


class _Attempt(Protocol):
    """A row of ``attempts``, as far as a replay reads it."""

    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def started_at(self) -> float: ...
    @property
    def ttft_ms(self) -> float | None: ...
    @property
    def duration_ms(self) -> float | None: ...
    @property
    def prompt_tokens(self) -> int | None: ...
    @property
    def completion_tokens(self) -> int | None: ...
    @property
    def cost_usd(self) -> float | None: ...
    @property
    def accepted(self) -> bool | None: ...


Traffic = Sequence[tuple[_Call, Sequence[_Attempt]]]


class _Routes(Protocol):
    """What a replay reads of a routes file."""

    @property
    def routes(self) -> Mapping[str, RouteConfig]: ...
    @property
    def models(self) -> Mapping[str, ModelConfig]: ...


@dataclass(slots=True)
class Seen:
    """What the traffic shows of one candidate: the milliseconds of its good and its failed
    attempts, and those to the first content of streams."""

    good: list[float] = field(default_factory=list)
    bad: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)

    def add(self, attempt: _Attempt) -> None:
        """One more attempt; one that the caller ended counts neither way."""
        if attempt.outcome in ("cancelled", "hedged"):
            return
        (self.good if _good(attempt) else self.bad).append(attempt.duration_ms or 0.0)
        if attempt.ttft_ms is not None:
            self.first.append(attempt.ttft_ms)

    @property
    def chance(self) -> float:
        """The chance that its next attempt answers: (successes + 1) / (attempts + 2)."""
        return (len(self.good) + 1) / (len(self.good) + len(self.bad) + 2)

    def stats(self) -> CandidateStats:
        """The same as a plan reads it, in seconds."""
        return CandidateStats(
            latency=_median(self.good),
            first_token=_median(self.first),
            successes=len(self.good),
            failures=len(self.bad),
        )


@dataclass(frozen=True, slots=True)
class Move:
    """One call that another candidate would serve first."""

    call_id: str
    route: str
    before: str
    after: str


@dataclass(slots=True)
class Side:
    """The figures of one side. ``usd`` counts the calls whose dollars are known, ``unpriced`` the
    others; ``p95_ms`` is over the calls that were or would be answered, None where there is none;
    ``failures`` is a count, or an expectation."""

    usd: float = 0.0
    unpriced: int = 0
    failures: float = 0.0
    p95_ms: float | None = None
    _times: list[float] = field(default_factory=list, repr=False)

    def add(self, usd: float | None, failed: float, ms: float | None) -> None:
        """One call."""
        if usd is None:
            self.unpriced += 1
        else:
            self.usd += usd
        self.failures += failed
        if ms is not None:
            self._times.append(ms)

    def done(self) -> None:
        """No more calls: work out the percentile (nearest rank)."""
        if self._times:
            ordered = sorted(self._times)
            self.p95_ms = ordered[math.ceil(0.95 * len(ordered)) - 1]

    def as_json(self) -> dict[str, Any]:
        """The side as a mapping."""
        return {
            "usd": round(self.usd, 6),
            "unpriced_calls": self.unpriced,
            "p95_ms": None if self.p95_ms is None else round(self.p95_ms, 1),
            "failures": round(self.failures, 2),
        }


@dataclass(slots=True)
class Report:
    """What a replay found: ``before`` as recorded, ``after`` as expected.

    ``moves`` counts pairs (before, after); ``moved`` has the calls themselves, at most
    :data:`MOVES_SHOWN` of them. ``skipped`` counts calls that cannot be planned: of a route that
    the new file does not have, or recorded without needs. ``rejections`` counts the reasons why the
    candidate that served a call is out for it now.
    """

    calls: int = 0
    before: Side = field(default_factory=Side)
    after: Side = field(default_factory=Side)
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    moved: list[Move] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    rejections: Counter[str] = field(default_factory=Counter)
    unseen: set[str] = field(default_factory=set)

    def as_json(self) -> dict[str, Any]:
        """The report as a mapping."""
        return {
            "calls": self.calls,
            "moved": sum(self.moves.values()),
            "before": self.before.as_json(),
            "after": self.after.as_json(),
            "moves": [
                {"before": before, "after": after, "calls": count}
                for (before, after), count in self.moves.most_common()
            ],
            "requests": [
                {"call_id": m.call_id, "route": m.route, "before": m.before, "after": m.after}
                for m in self.moved
            ],
            "rejections": dict(self.rejections.most_common()),
            "unseen": sorted(self.unseen),
            "skipped": dict(self.skipped),
        }

    def as_text(self) -> str:
        """The report for people."""
        total = sum(self.moves.values())
        lines = [f"{self.calls} calls, {total} would begin with another candidate"]
        lines += [
            f"  {count:>6}  {before} → {after}"
            for (before, after), count in self.moves.most_common()
        ]
        rows = [("", "as recorded", "as expected")]
        for title, text in (("dollars", _dollars), ("p95", _p95), ("failures", _failures)):
            rows.append((title, text(self.before), text(self.after)))
        width = max(len(row[1]) for row in rows)
        lines += [f"{title:<10}{before:<{width + 3}}{after}" for title, before, after in rows]
        for words, count in self.rejections.most_common(5):
            lines.append(f"out now, {count} calls: {words}")
        if self.unseen:
            names = ", ".join(sorted(self.unseen))
            lines.append(f"never seen in this ledger, so taken as the mean of all: {names}")
        lines += [f"left out, {count} calls: {words}" for words, count in self.skipped.items()]
        return "\n".join(lines)


def _dollars(side: Side) -> str:
    more = f" + {side.unpriced} calls of unknown cost" if side.unpriced else ""
    return f"${side.usd:.4f}{more}"


def _p95(side: Side) -> str:
    return "unknown" if side.p95_ms is None else f"{side.p95_ms:.0f} ms"


def _failures(side: Side) -> str:
    return f"{side.failures:.1f}".removesuffix(".0")


# -- replaying ------------------------------------------------------------------------------------


def replay(
    traffic: Traffic, policy: _Routes, lookup: Lookup, state: PlanState | None = None
) -> Report:
    """Every recorded call planned again under ``policy``, as of when it was made.

    ``state`` says what else holds (missing keys, what was observed); latency and reliability come
    from the traffic itself. Nothing is called and nothing is read besides the arguments.
    """
    seen = seen_in(attempt for _, attempts in traffic for attempt in attempts)
    everybody = Seen()
    for figures in seen.values():
        everybody.good += figures.good
        everybody.bad += figures.bad
    base = state or PlanState()
    known = PlanState(
        missing_keys=base.missing_keys,
        unready=base.unready,
        allow=base.allow,
        observed=base.observed,
        stats={key: figures.stats() for key, figures in seen.items()},
        mean_output=mean_outputs(traffic),
        expire=base.expire,
    )
    compiled: dict[str, CompiledRoute] = {}
    report = Report()
    for call, attempts in traffic:
        name = call.route or "default"
        needs = needs_from_json(call.needs, stream=call.stream)
        if isinstance(call.extra, Mapping) and call.extra.get("model"):
            report.skipped["they name a model themselves"] += 1
            continue
        if needs is None:
            report.skipped["recorded without what they need"] += 1
            continue
        if name not in policy.routes:
            report.skipped[f"no route {name!r} in the new file"] += 1
            continue
        if name not in compiled:
            compiled[name] = compile_route(policy.routes, name, policy.models, lookup)
        route = compiled[name]
        seed = int(call.seed or 0)
        made = plan(needs, route.members, known, route.policy, call.started_at, seed)
        _take(report, call, attempts, made, known, seen, everybody)
    report.before.done()
    report.after.done()
    return report


def seen_in(attempts: Iterable[_Attempt]) -> dict[Key, Seen]:
    """What the attempts show of each candidate."""
    found: dict[Key, Seen] = {}
    for attempt in attempts:
        found.setdefault((attempt.provider, attempt.model), Seen()).add(attempt)
    return found


def needs_from_json(value: Any, *, stream: bool = False) -> Needs | None:
    """The needs that :meth:`Needs.as_json` wrote; None for what it did not write."""
    if not isinstance(value, Mapping):
        return None
    words = {w: True for w in value.get("capabilities") or () if w in Needs.__slots__}
    try:
        return Needs(
            **{"streaming": stream, **words},
            input_tokens=int(value.get("input_tokens") or 0),
            output_tokens=value.get("output_tokens"),
            tags=frozenset(value.get("tags") or ()),
        )
    except (TypeError, ValueError):
        return None


def _take(
    report: Report,
    call: _Call,
    attempts: Sequence[_Attempt],
    made: Plan,
    state: PlanState,
    seen: Mapping[Key, Seen],
    everybody: Seen,
) -> None:
    report.calls += 1
    usd, failed, ms = _recorded(call, attempts)
    report.before.add(usd, failed, ms)
    before = f"{attempts[0].provider}:{attempts[0].model}" if attempts else NOBODY
    after = made.steps[0].candidate if made.steps else NOBODY
    if before == after:
        report.after.add(usd, failed, ms)
        return
    report.moves[before, after] += 1
    if len(report.moved) < MOVES_SHOWN:
        report.moved.append(Move(call.call_id, made.route, before, after))
    for out in made.rejected:
        if f"{out.provider}:{out.model}" == before:
            report.rejections[f"{before}: {out.rule}: {out.evidence}"] += 1
    report.unseen |= {
        step.candidate for step in made.steps[:1] if (step.provider, step.model) not in seen
    }
    tokens = _tokens(made.needs, attempts, state.mean_output.get(made.route))
    usd, failed = _expected(made.steps, tokens, call.started_at, seen, everybody)
    report.after.add(usd, failed, _drawn(made.steps, int(call.seed or 0), seen))


def _good(attempt: _Attempt) -> bool:
    return attempt.outcome == "success" if attempt.accepted is None else attempt.accepted


def _recorded(
    call: _Call, attempts: Sequence[_Attempt]
) -> tuple[float | None, float, float | None]:
    """Dollars, failed or not, and milliseconds of a call as it was."""
    good = any(_good(a) for a in attempts)
    usd: float | None = 0.0
    for attempt in attempts:
        if attempt.cost_usd is not None:
            usd = None if usd is None else usd + attempt.cost_usd
        elif _good(attempt):
            usd = None
    if call.outcome == "cancelled":
        return usd, 0.0, None
    return usd, 0.0 if good else 1.0, call.duration_ms if good else None


def _tokens(
    needs: Needs, attempts: Sequence[_Attempt], mean_output: float | None
) -> tuple[int, int]:
    """Input and output tokens of the call: as counted where it was answered, else estimated."""
    for attempt in reversed(attempts):
        if _good(attempt) and attempt.completion_tokens is not None:
            return attempt.prompt_tokens or needs.input_tokens, attempt.completion_tokens
    if mean_output is not None:
        return needs.input_tokens, round(mean_output)
    return needs.input_tokens, needs.output_tokens or DEFAULT_OUTPUT_TOKENS


def mean_outputs(traffic: Traffic) -> dict[str, float]:
    """route → the mean length of its answers in tokens."""
    sums: dict[str, list[int]] = {}
    for call, attempts in traffic:
        for attempt in attempts:
            if _good(attempt) and attempt.completion_tokens is not None:
                sums.setdefault(call.route or "default", []).append(attempt.completion_tokens)
    return {route: sum(counts) / len(counts) for route, counts in sums.items()}


def _expected(
    steps: Sequence[Step],
    tokens: tuple[int, int],
    now: float,
    seen: Mapping[Key, Seen],
    everybody: Seen,
) -> tuple[float | None, float]:
    """Dollars of a call that goes through ``steps``, and the chance that it fails."""
    reached: float = 1.0
    usd: float | None = 0.0
    for step in steps:
        chance = seen.get((step.provider, step.model), everybody).chance
        cost = estimate_usd(step.compiled.price_at(now), *tokens)
        usd = None if usd is None or cost is None else usd + reached * chance * cost
        reached *= 1 - chance
    return usd, reached


def _drawn(steps: Sequence[Step], seed: int, seen: Mapping[Key, Seen]) -> float | None:
    """Milliseconds of a call that goes through ``steps``; None where the draw has no answer, or
    comes to a candidate whose times nobody knows."""
    spent = 0.0
    for step in steps:
        known = seen.get((step.provider, step.model))
        if known is None:
            return None
        good = uniform(seed + step.rank) < known.chance
        times = known.good if good else known.bad
        if times:
            spent += times[int(uniform(seed - step.rank) * len(times))]
        elif good:
            return None
        if good:
            return spent
    return None


def _median(times: Sequence[float]) -> float | None:
    """Seconds at the middle of ``times`` (milliseconds)."""
    return sorted(times)[len(times) // 2] / 1000 if times else None
