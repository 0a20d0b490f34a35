"""Reading the ledger: calls and their attempts, sums, means, and what models were seen to do.

Each function takes an open :class:`~.database.Database`; ``Store.read`` opens one::

    store.read(partial(list_attempts, route="default", limit=20), [])
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..base.errors import HARMLESS
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

    ``succeeded`` counts the answers that callers got, ``failed`` the attempts that speak against
    the model: not those a caller left, nor refusals that are about the request (errors.HARMLESS).
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

    @property
    def cost_per_answer(self) -> float | None:
        """Dollars paid for each answer a caller got; None without one or without a price."""
        return self.cost_usd / self.succeeded if self.succeeded and not self.unpriced else None


# The window is ranked by the server, so that neither engine ships or sorts rows in Python. A
# percentile is the nearest rank: the least value that at least that share of the values reaches.
_RECENT = (
    "WITH recent AS (SELECT * FROM attempts WHERE started_at >= ? ORDER BY started_at DESC LIMIT ?)"
)
_COUNTS = f"""
{_RECENT}
SELECT a.provider, a.model, COUNT(*), SUM(CASE WHEN a.accepted = 1 THEN 1 ELSE 0 END),
  SUM(CASE WHEN a.accepted = 1 THEN 0 WHEN a.error_code IN ({", ".join("?" * len(HARMLESS))}) THEN 0
      ELSE 1 END),
  SUM(CASE WHEN a.accepted = 1 THEN a.prompt_tokens END),
  SUM(CASE WHEN a.accepted = 1 THEN a.completion_tokens END),
  AVG(CASE WHEN a.accepted = 1 THEN a.completion_tokens END),
  SUM(CASE WHEN a.accepted = 1 THEN a.cached_tokens END),
  SUM(CASE WHEN a.accepted = 1 AND a.cached_tokens IS NOT NULL THEN a.prompt_tokens END),
  SUM(a.cost_usd), SUM(CASE WHEN a.accepted = 1 AND a.cost_usd IS NULL THEN 1 ELSE 0 END),
  SUM(CASE WHEN a.accepted = 1 THEN a.list_usd END),
  SUM(CASE WHEN a.accepted = 1 AND c.input_chars > 0 AND a.prompt_tokens > 0
      THEN c.input_chars END),
  SUM(CASE WHEN a.accepted = 1 AND c.input_chars > 0 AND a.prompt_tokens > 0
      THEN a.prompt_tokens END)
FROM recent a LEFT JOIN calls c ON c.call_id = a.call_id
GROUP BY a.provider, a.model
"""


def _ranked(figure: str) -> str:
    return f"""
{_RECENT},
ranked AS (SELECT provider, model, stream, {figure} AS figure,
  ROW_NUMBER() OVER (PARTITION BY provider, model, stream ORDER BY {figure}) AS place,
  COUNT(*) OVER (PARTITION BY provider, model, stream) AS n
  FROM recent WHERE accepted = 1 AND {figure} IS NOT NULL)
SELECT provider, model, stream, MIN(CASE WHEN place >= 0.5 * n THEN figure END),
  MIN(CASE WHEN place >= 0.95 * n THEN figure END)
FROM ranked GROUP BY provider, model, stream
"""


def candidate_stats(
    database: Database, since: float, *, newest: int = 20_000
) -> list[CandidateStats]:
    """Every model's figures over its attempts since a moment (at most the ``newest`` of all)."""
    window = (since, newest)
    durations = _by_mode(database.execute(_ranked("duration_ms"), window))
    firsts = _by_mode(database.execute(_ranked("ttft_ms"), window))
    found = []
    for row in sorted(database.execute(_COUNTS, (*window, *sorted(map(str, HARMLESS))))):
        provider, model, *counts = row
        whole, stream = (durations.get((provider, model, mode), _UNSEEN) for mode in (False, True))
        found.append(
            _stats(provider, model, counts, whole, stream,
                   firsts.get((provider, model, True), _UNSEEN))
        )  # fmt: skip
    return found


_Middle = tuple[float | None, float | None]
_UNSEEN: _Middle = (None, None)


def _by_mode(rows: Iterable[Sequence[Any]]) -> dict[tuple[str, str, bool], _Middle]:
    return {
        (provider, model, bool(stream)): (p50, p95) for provider, model, stream, p50, p95 in rows
    }


def _stats(
    provider: str,
    model: str,
    counts: Sequence[Any],
    whole: _Middle,
    stream: _Middle,
    first: _Middle,
) -> CandidateStats:
    # PostgreSQL gives sums and means of whole numbers as Decimal.
    (attempts, good, bad, prompt, completion, mean, cached, counted, paid, unpriced, listed, chars,
     tokens) = (None if value is None else float(value) for value in counts)  # fmt: skip
    return CandidateStats(
        provider,
        model,
        int(attempts or 0),
        int(good or 0),
        int(bad or 0),
        *first,
        *whole,
        *stream,
        prompt_tokens=int(prompt or 0),
        completion_tokens=int(completion or 0),
        completion_mean=mean,
        cached_share=cached / counted if cached is not None and counted else None,
        cost_usd=paid or 0.0,
        unpriced=int(unpriced or 0),
        cost_ratio=paid / listed if paid is not None and listed and not unpriced else None,
        chars_per_token=chars / tokens if chars is not None and tokens else None,
    )


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
