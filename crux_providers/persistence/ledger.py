"""Reading the ledger: calls and their attempts, sums, means, and what models were seen to do.

Each function takes an open :class:`~.database.Database`; ``Store.read`` opens one::

    store.read(partial(list_attempts, route="default", limit=20), [])
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .database import Database
from .facts import day_bounds
from .rows import Attempt, Call

_ATTEMPT = f"SELECT {', '.join(Attempt._fields)} FROM attempts"
_CALL = f"SELECT {', '.join(Call._fields)} FROM calls"


def _where(conditions: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """A WHERE clause of the conditions whose value is not None; keys end in an operator."""
    kept = {text: value for text, value in conditions.items() if value is not None}
    clause = " AND ".join(f"{text} ?" for text in kept)
    return (f" WHERE {clause}" if clause else ""), list(kept.values())


def _attempt(row: Sequence[Any]) -> Attempt:
    made = Attempt(*row)
    return made._replace(stream=bool(made.stream), extra=_parsed(made.extra))


def _call(row: Sequence[Any]) -> Call:
    made = Call(*row)
    return made._replace(
        stream=bool(made.stream),
        needs=_parsed(made.needs),
        candidates=_parsed(made.candidates),
        extra=_parsed(made.extra),
    )


def _parsed(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def list_attempts(
    database: Database,
    *,
    route: str | None = None,
    provider: str | None = None,
    model: str | None = None,
    outcome: str | None = None,
    error_code: str | None = None,
    since: float | None = None,
    until: float | None = None,
    limit: int = 100,
) -> list[Attempt]:
    """Attempts, the latest first; ``since`` and ``until`` are seconds since 1970."""
    where, values = _where(
        {
            "route =": route,
            "provider =": provider,
            "model =": model,
            "outcome =": outcome,
            "error_code =": error_code,
            "started_at >=": since,
            "started_at <": until,
        }
    )
    sql = f"{_ATTEMPT}{where} ORDER BY started_at DESC, seq DESC LIMIT ?"
    return [_attempt(row) for row in database.execute(sql, (*values, limit))]


def show_call(database: Database, call_id: str) -> tuple[Call | None, list[Attempt]]:
    """One call and its attempts in order; ``call_id`` may be cut short where it is unambiguous.

    The call is None where only its attempts were written.
    """
    ids = database.execute(
        "SELECT call_id FROM attempts WHERE call_id = ? OR substr(call_id, 1, ?) = ? "
        "UNION SELECT call_id FROM calls WHERE call_id = ? OR substr(call_id, 1, ?) = ? LIMIT 2",
        (call_id, len(call_id), call_id) * 2,
    )
    if len(ids) != 1:
        return None, []
    calls = database.execute(f"{_CALL} WHERE call_id = ?", ids[0])
    rows = database.execute(f"{_ATTEMPT} WHERE call_id = ? ORDER BY seq", ids[0])
    return (_call(calls[0]) if calls else None), [_attempt(row) for row in rows]


def calls(
    database: Database,
    *,
    route: str | None = None,
    since: float | None = None,
    until: float | None = None,
    page: int = 1000,
) -> Iterator[Call]:
    """Every call in the order they began, for a replay; read a page at a time."""
    last: tuple[float, str] = (float("-inf") if since is None else since, "")
    where, values = _where({"route =": route, "started_at <": until})
    joint = f"{where} AND" if where else " WHERE"
    sql = (
        f"{_CALL}{joint} (started_at > ? OR (started_at = ? AND call_id > ?)) "
        "ORDER BY started_at, call_id LIMIT ?"
    )
    while rows := database.execute(sql, (*values, last[0], last[0], last[1], page)):
        yield from map(_call, rows)
        end = _call(rows[-1])
        last = (end.started_at, end.call_id)


def traffic(
    database: Database,
    *,
    route: str | None = None,
    since: float | None = None,
    until: float | None = None,
    page: int = 500,
) -> Iterator[tuple[Call, list[Attempt]]]:
    """Every call with its attempts in their order; read a page at a time."""
    waiting: list[Call] = []
    for call in calls(database, route=route, since=since, until=until, page=page):
        waiting.append(call)
        if len(waiting) == page:
            yield from _with_attempts(database, waiting)
            waiting = []
    yield from _with_attempts(database, waiting)


def _with_attempts(
    database: Database, some: Sequence[Call]
) -> Iterator[tuple[Call, list[Attempt]]]:
    if not some:
        return
    marks = ", ".join("?" * len(some))
    found: dict[str, list[Attempt]] = {}
    for row in database.execute(
        f"{_ATTEMPT} WHERE call_id IN ({marks}) ORDER BY seq", [call.call_id for call in some]
    ):
        attempt = _attempt(row)
        found.setdefault(attempt.call_id, []).append(attempt)
    for call in some:
        yield call, found.get(call.call_id, [])


class RouteSums(NamedTuple):
    """What a route did on one UTC day; tokens and dollars count what is known."""

    route: str | None
    calls: int
    attempts: int
    failed: int
    cost_usd: float
    unpriced: int
    prompt_tokens: int
    completion_tokens: int


def sums_by_route(database: Database, day: str) -> list[RouteSums]:
    """The sums of each route on a UTC day (``YYYY-MM-DD``), the dearest first."""
    rows = database.execute(
        "SELECT route, COUNT(DISTINCT call_id), COUNT(*), COUNT(error_code), "
        "COALESCE(SUM(cost_usd), 0), COUNT(*) - COUNT(cost_usd), "
        "COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0) "
        "FROM attempts WHERE started_at >= ? AND started_at < ? GROUP BY route",
        day_bounds(day),
    )
    found = [
        RouteSums(route, int(c), int(n), int(f), float(usd), int(u), int(p), int(t))
        for route, c, n, f, usd, u, p, t in rows
    ]
    return sorted(found, key=lambda sums: (-sums.cost_usd, sums.route or ""))


class CandidateStats(NamedTuple):
    """How one model did since some moment; times in milliseconds, None where none succeeded.

    ``p50``/``p95`` are of successful attempts; ``cached_share`` is cached over prompt tokens,
    ``completion_mean`` the mean answer in tokens.
    """

    provider: str
    model: str
    attempts: int
    failed: int
    ttft_p50: float | None
    ttft_p95: float | None
    duration_p50: float | None
    duration_p95: float | None
    cost_usd: float
    completion_mean: float | None
    cached_share: float | None


def candidate_stats(
    database: Database, since: float, *, newest: int = 20_000
) -> list[CandidateStats]:
    """Every model's figures over its attempts since a moment (at most the ``newest`` of all)."""
    groups: dict[tuple[str, str], list[Sequence[Any]]] = {}
    for provider, model, *rest in database.execute(
        "SELECT provider, model, error_code, ttft_ms, duration_ms, cost_usd, prompt_tokens, "
        "completion_tokens, cached_tokens FROM attempts WHERE started_at >= ? "
        "ORDER BY started_at DESC LIMIT ?",
        (since, newest),
    ):
        groups.setdefault((provider, model), []).append(rest)
    return [_stats(*key, rows) for key, rows in sorted(groups.items())]


def _stats(provider: str, model: str, rows: list[Sequence[Any]]) -> CandidateStats:
    good = [row for row in rows if row[0] is None]
    ttft = sorted(row[1] for row in good if row[1] is not None)
    durations = sorted(row[2] for row in good if row[2] is not None)
    answers = [row[5] for row in good if row[5] is not None]
    split = [(row[4], row[6]) for row in good if row[4] and row[6] is not None]
    return CandidateStats(
        provider,
        model,
        attempts=len(rows),
        failed=len(rows) - len(good),
        ttft_p50=percentile(ttft, 0.5),
        ttft_p95=percentile(ttft, 0.95),
        duration_p50=percentile(durations, 0.5),
        duration_p95=percentile(durations, 0.95),
        cost_usd=sum(row[3] or 0.0 for row in rows),
        completion_mean=sum(answers) / len(answers) if answers else None,
        cached_share=sum(c for _, c in split) / sum(p for p, _ in split) if split else None,
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value at ``share`` of an ascending sequence, between neighbours in proportion."""
    if not ordered:
        return None
    place = (len(ordered) - 1) * share
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def mean_completion(database: Database, since: float) -> dict[str | None, float]:
    """route → the mean length of its answers in tokens since a moment."""
    rows = database.execute(
        "SELECT route, AVG(completion_tokens) FROM attempts "
        "WHERE started_at >= ? AND completion_tokens IS NOT NULL AND error_code IS NULL "
        "GROUP BY route",
        (since,),
    )
    return {route: float(mean) for route, mean in rows}


class CapabilityEvidence(NamedTuple):
    """What one observed capability of a model rests on, in one mode; times since 1970."""

    provider: str
    model: str
    feature: str
    mode: str
    value: bool
    successes: int
    refusals: int
    first_at: float
    last_at: float
    last_reason: str | None
    source: str | None


def list_capabilities(
    database: Database, *, provider: str | None = None, model: str | None = None
) -> list[CapabilityEvidence]:
    """The evidence, by provider, model, feature and mode."""
    where, values = _where({"provider =": provider, "model_id =": model})
    rows = database.execute(
        "SELECT provider, model_id, feature, mode, value, successes, refusals, first_at, last_at, "
        f"last_reason, source FROM capability_evidence{where} "
        "ORDER BY provider, model_id, feature, mode",
        values,
    )
    found = [CapabilityEvidence(*row) for row in rows]
    return [evidence._replace(value=bool(evidence.value)) for evidence in found]


def forget_capabilities(
    database: Database, *, provider: str | None = None, model: str | None = None
) -> int:
    """Delete what was observed, so that it is found out anew; how many capabilities went."""
    where, values = _where({"provider =": provider, "model_id =": model})
    database.change(f"DELETE FROM capability_evidence{where}", values)
    return database.change(f"DELETE FROM observed_capabilities{where}", values)
