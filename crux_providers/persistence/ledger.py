"""Reading the ledger: calls and their attempts, sums, means, and what models were seen to do.

Each function takes an open :class:`~.database.Database`; ``Store.read`` opens one::

    store.read(partial(list_attempts, route="default", limit=20), [])
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

from ..base.errors import HARMLESS
from .database import Database
from .facts import day_bounds
from .rows import Attempt, Call

_ATTEMPT = f"SELECT {', '.join(Attempt._fields)} FROM attempts"
_CALL = f"SELECT {', '.join(Call._fields)} FROM calls"


def _where(conditions: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """A WHERE clause of the conditions (with a ``?`` each) whose value is not None."""
    kept = {text: value for text, value in conditions.items() if value is not None}
    return (f" WHERE {' AND '.join(kept)}" if kept else ""), list(kept.values())


def _attempt(row: Sequence[Any]) -> Attempt:
    made = Attempt(*row)
    return made._replace(
        stream=bool(made.stream),
        extra=_parsed(made.extra),
        accepted=None if made.accepted is None else bool(made.accepted),
    )


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
    """Attempts, the latest first; ``since`` and ``until`` are seconds since 1970.

    ``model`` is the provider's own name, or ``provider:model``.
    """
    where, values = _where(
        {
            "route = ?": route,
            "provider = ?": provider,
            "? IN (model, provider || ':' || model)": model,
            "outcome = ?": outcome,
            "error_code = ?": error_code,
            "started_at >= ?": since,
            "started_at < ?": until,
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


def latest_call(database: Database) -> str | None:
    """The id of the call that began last."""
    rows = database.execute("SELECT call_id FROM calls ORDER BY started_at DESC LIMIT 1")
    return rows[0][0] if rows else None


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
    where, values = _where({"route = ?": route, "started_at < ?": until})
    joint = f"{where} AND" if where else " WHERE"
    sql = (
        f"{_CALL}{joint} (started_at > ? OR (started_at = ? AND call_id > ?)) "
        "ORDER BY started_at, call_id LIMIT ?"
    )
    while rows := database.execute(sql, (*values, last[0], last[0], last[1], page)):
        yield from map(_call, rows)
        end = _call(rows[-1])
        last = (end.started_at, end.call_id)


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
    """How one model did since some moment; times in milliseconds, None where nothing was seen.

    ``succeeded`` counts the answers that callers got (``streamed`` of them streams), ``failed``
    the attempts that speak against the model: not those a caller left, nor refusals that are about
    the request (errors.HARMLESS).
    ``duration_*`` are of whole answers, ``stream_*`` of streams to their end, ``ttft_*`` of streams
    to their first token. ``prompt_tokens`` and ``completion_tokens`` are sums over the answers, so
    that the two give the real mix; ``cached_share`` is cached over prompt tokens where the provider
    counts them, ``completion_mean`` the mean answer. ``cost_usd`` is everything paid, discarded
    attempts included, as far as it is known (``unpriced`` counts the answers without a price);
    ``cost_ratio`` is that over the list price of the answers with nothing cached: below one with
    cache hits, above it with discarded attempts. ``chars_per_token`` is measured over answers to
    requests of text alone.
    """

    provider: str
    model: str
    attempts: int = 0
    succeeded: int = 0
    failed: int = 0
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    duration_p50: float | None = None
    duration_p95: float | None = None
    stream_p50: float | None = None
    stream_p95: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    completion_mean: float | None = None
    cached_share: float | None = None
    cost_usd: float = 0.0
    unpriced: int = 0
    cost_ratio: float | None = None
    chars_per_token: float | None = None
    streamed: int = 0

    @property
    def cost_per_answer(self) -> float | None:
        """Dollars paid for each answer a caller got; None without one or without a price."""
        return self.cost_usd / self.succeeded if self.succeeded and not self.unpriced else None


class _Seen(NamedTuple):
    """What the figures need of an attempt."""

    provider: str
    model: str
    stream: bool
    accepted: bool
    error_code: str | None
    ttft_ms: float | None
    duration_ms: float | None
    prompt: int | None
    completion: int | None
    cached: int | None
    cost_usd: float | None
    list_usd: float | None
    input_chars: int | None


# Grouped here rather than ranked by the engine: over 20,000 rows that takes a third of the time.
_SEEN = """
SELECT a.provider, a.model, a.stream, a.accepted, a.error_code, a.ttft_ms, a.duration_ms,
  a.prompt_tokens, a.completion_tokens, a.cached_tokens, a.cost_usd, a.list_usd, c.input_chars
FROM attempts a LEFT JOIN calls c ON c.call_id = a.call_id
WHERE a.started_at >= ? ORDER BY a.started_at DESC LIMIT ?
"""


def candidate_stats(
    database: Database, since: float, *, newest: int = 20_000
) -> list[CandidateStats]:
    """Every model's figures over its attempts since a moment (at most the ``newest`` of all)."""
    groups: dict[tuple[str, str], list[_Seen]] = {}
    for row in map(_Seen._make, database.execute(_SEEN, (since, newest))):
        groups.setdefault((row.provider, row.model), []).append(row)
    return [_stats(*key, rows) for key, rows in sorted(groups.items())]


def _stats(provider: str, model: str, rows: Sequence[_Seen]) -> CandidateStats:
    good = [row for row in rows if row.accepted]
    bad = sum(not row.accepted and row.error_code not in HARMLESS for row in rows)
    streams = [row for row in good if row.stream]
    firsts = sorted(row.ttft_ms for row in streams if row.ttft_ms is not None)
    ends = sorted(row.duration_ms for row in streams if row.duration_ms is not None)
    wholes = sorted(
        row.duration_ms for row in good if not row.stream and row.duration_ms is not None
    )
    answers = [row.completion for row in good if row.completion is not None]
    split = [(row.cached, row.prompt) for row in good if row.cached is not None and row.prompt]
    sized = [(row.input_chars, row.prompt) for row in good if row.input_chars and row.prompt]
    paid = sum(row.cost_usd or 0.0 for row in rows)
    unpriced = sum(row.cost_usd is None for row in good)
    listed = sum(row.list_usd or 0.0 for row in good)
    return CandidateStats(
        provider,
        model,
        attempts=len(rows),
        succeeded=len(good),
        failed=bad,
        ttft_p50=percentile(firsts, 0.5),
        ttft_p95=percentile(firsts, 0.95),
        duration_p50=percentile(wholes, 0.5),
        duration_p95=percentile(wholes, 0.95),
        stream_p50=percentile(ends, 0.5),
        stream_p95=percentile(ends, 0.95),
        prompt_tokens=sum(row.prompt or 0 for row in good),
        completion_tokens=sum(answers),
        completion_mean=sum(answers) / len(answers) if answers else None,
        cached_share=_share(split),
        cost_usd=paid,
        unpriced=unpriced,
        cost_ratio=paid / listed if listed and not unpriced else None,
        chars_per_token=_share(sized),
        streamed=len(streams),
    )


def _share(pairs: Sequence[tuple[int, int]]) -> float | None:
    """The sum of the first ones over that of the second ones."""
    whole = sum(second for _, second in pairs)
    return sum(first for first, _ in pairs) / whole if whole else None


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The nearest rank in an ascending sequence: at least ``share`` of it is no greater."""
    return ordered[max(0, ceil(len(ordered) * share) - 1)] if ordered else None


def mean_completion(database: Database, since: float) -> dict[str | None, float]:
    """route → the mean length of its answers in tokens since a moment."""
    rows = database.execute(
        "SELECT route, AVG(completion_tokens) FROM attempts "
        "WHERE started_at >= ? AND completion_tokens IS NOT NULL AND accepted = 1 "
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


def _observed(
    provider: str | None, model: str | None, feature: str | None
) -> tuple[str, list[Any]]:
    return _where(
        {
            "provider = ?": provider,
            "? IN (model_id, provider || ':' || model_id)": model,
            "feature = ?": feature,
        }
    )


def list_capabilities(
    database: Database,
    *,
    provider: str | None = None,
    model: str | None = None,
    feature: str | None = None,
) -> list[CapabilityEvidence]:
    """The evidence, by provider, model (also as ``provider:model``), feature and mode."""
    where, values = _observed(provider, model, feature)
    rows = database.execute(
        "SELECT provider, model_id, feature, mode, value, successes, refusals, first_at, last_at, "
        f"last_reason, source FROM capability_evidence{where} "
        "ORDER BY provider, model_id, feature, mode",
        values,
    )
    found = [CapabilityEvidence(*row) for row in rows]
    return [evidence._replace(value=bool(evidence.value)) for evidence in found]


def forget_capabilities(
    database: Database,
    *,
    provider: str | None = None,
    model: str | None = None,
    feature: str | None = None,
) -> int:
    """Delete what was observed, so that it is found out anew; how many capabilities went."""
    where, values = _observed(provider, model, feature)
    database.change(f"DELETE FROM capability_evidence{where}", values)
    return database.change(f"DELETE FROM observed_capabilities{where}", values)
