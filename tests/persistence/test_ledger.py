"""The ledger on both engines: calls and attempts, sums, figures, and what is tidied away."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from crux_providers.persistence import facts as facts_module
from crux_providers.persistence import ledger
from crux_providers.persistence.database import open_database
from crux_providers.persistence.location import parse
from crux_providers.persistence.rows import Attempt, Call, ChatLog, Metric, new_call_id
from crux_providers.persistence.store import Store, store_at

DAY = 86400.0


def attempt(seq: int = 1, **more: object) -> Attempt:
    fields: dict[str, object] = {
        "call_id": "c",
        "route": "default",
        "provider": "p",
        "model": "m",
        "outcome": "success",
        "started_at": time.time(),
        **more,
    }
    return Attempt(seq=seq, **fields)  # type: ignore[arg-type]  # a row under construction


def test_calls_and_attempts_come_back_as_they_went_in(store: Store) -> None:
    now = time.time()
    call = Call(
        new_call_id(), "default", now, {"tools": True}, 123, 512, True,
        [{"provider": "p", "model": "m"}], str(2**80), {"tags": ["a"]},
    )  # fmt: skip
    rows = [
        Attempt(
            call.call_id, 1, "default", "p", "m", "error", now, True, "rate_limit", 429,
            "slow down", None, 12.5, retry_after=3.0, request_id="req_1",
        ),
        Attempt(
            call.call_id, 2, "default", "q", "n", "success", now + 1, True, None, 200, None, 80.25,
            900.5, 100, 20, 120, 64, 8, 16, 0.00125, "req_2", "resp_2", "n-2025", None,
            {"degraded": ["x"]},
        ),
    ]  # fmt: skip
    store.put(call)
    for row in rows:
        store.put(row)
    assert store.read(partial(ledger.show_call, call_id=call.call_id), (None, [])) == (call, rows)
    assert store.read(partial(ledger.show_call, call_id=call.call_id[:14]), (None, [])) == (
        call,
        rows,
    )
    assert store.read(ledger.list_attempts, []) == rows[::-1]
    assert store.read(partial(ledger.list_attempts, error_code="rate_limit"), []) == rows[:1]
    assert store.read(partial(ledger.list_attempts, provider="q", limit=1), []) == rows[1:]
    assert store.read(partial(ledger.list_attempts, since=now + 0.5), []) == rows[1:]
    for name in ("n", "q:n"):
        assert store.read(partial(ledger.list_attempts, model=name), []) == rows[1:]
    assert store.read(partial(ledger.list_attempts, model="p:n"), []) == []
    assert store.read(ledger.latest_call, None) == call.call_id
    assert store.read(lambda db: list(ledger.calls(db)), []) == [call]


def test_a_batch_written_twice_stands_once(store: Store) -> None:
    # As after a commit whose answer was lost.
    for _ in range(2):
        store.put(attempt(cost_usd=1.0))
        store.put(Call("c", "default", 1.0))
        store.flush()
    assert len(store.read(ledger.list_attempts, [])) == 1
    assert len(store.read(lambda db: list(ledger.calls(db)), [])) == 1


def test_calls_are_paged_for_a_replay(store: Store) -> None:
    made = [Call(f"{n % 7}-{n:03}", "r", float(n // 10)) for n in range(95)]
    for call in reversed(made):
        store.put(call)
    store.keep_ledger_s = None
    found = store.read(lambda db: list(ledger.calls(db, page=10)), [])
    assert found == sorted(made, key=lambda call: (call.started_at, call.call_id))
    later = store.read(lambda db: list(ledger.calls(db, since=5.0, until=6.0, page=3)), [])
    assert {call.started_at for call in later} == {5.0}


def test_sums_by_route_and_day(store: Store) -> None:
    noon = datetime(2025, 5, 2, 12, tzinfo=UTC).timestamp()
    store.keep_ledger_s = None
    store.put(attempt(call_id="a", started_at=noon, cost_usd=0.25, prompt_tokens=10))
    store.put(attempt(2, call_id="a", started_at=noon, error_code="timeout", outcome="error"))
    store.put(attempt(call_id="b", started_at=noon + DAY / 2, cost_usd=9.0))  # the next day
    store.put(attempt(call_id="d", started_at=noon, route=None, cost_usd=0.5, completion_tokens=7))
    sums = store.read(partial(ledger.sums_by_route, day="2025-05-02"), [])
    assert sums == [
        ledger.RouteSums(None, 1, 1, 0, 0.5, 0, 0, 7),
        ledger.RouteSums("default", 1, 2, 1, 0.25, 1, 10, 0),
    ]
    assert store.spent_today("default", noon) == facts_module.Spent(0.25, 0.25, 2, 1)
    assert store.spent_today("default", noon + DAY).total_usd == 9.0
    assert store.spent_today("nowhere", noon) == facts_module.Spent()


def test_what_others_spent_is_told_apart(store: Store) -> None:
    other = Store(store.location)
    other.put(attempt(call_id="x", cost_usd=1.5))
    other.close()
    store.put(attempt(call_id="y", cost_usd=0.5))
    store.flush()
    spent = store.spent_today("default")
    assert (spent.total_usd, spent.own_usd) == (2.0, 0.5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_what_the_parent_spent_is_not_the_childs_own(crux_db: Path) -> None:
    store = store_at(parse(crux_db))
    store.put(attempt(cost_usd=2.0))
    store.flush()
    assert store.spent_today("default").own_usd == 2.0
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            spent = store.spent_today("default")
            code = 0 if (spent.total_usd, spent.own_usd) == (2.0, 0.0) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    store.close()


def test_figures_of_candidates(store: Store) -> None:
    for n in range(1, 102):
        paid = {"prompt_tokens": 100, "cached_tokens": 25, "cost_usd": 0.01, "list_usd": 0.02}
        store.put(attempt(n, duration_ms=10.0 * n, completion_tokens=n, accepted=True, **paid))
        stream = {"model": "streamed", "stream": True, "ttft_ms": float(n)}
        store.put(attempt(n, call_id="s", duration_ms=1000.0 + n, accepted=True, **stream))
    bad = {"outcome": "error", "accepted": False, "duration_ms": 1e9}
    store.put(attempt(200, error_code="timeout", **bad))
    store.put(attempt(201, error_code="context_length", **bad))  # says nothing of the model
    store.put(attempt(202, error_code="cancelled", **{**bad, "outcome": "cancelled"}))
    store.put(attempt(203, **{**bad, "outcome": "empty"}, cost_usd=0.5, completion_tokens=1000))
    whole, streamed = store.read(partial(ledger.candidate_stats, since=time.time() - 60), [])
    assert (whole.provider, whole.model, whole.attempts) == ("p", "m", 105)
    assert (whole.succeeded, whole.failed) == (101, 2)
    assert (whole.duration_p50, whole.duration_p95) == (510.0, 960.0)
    assert (whole.stream_p50, whole.ttft_p50) == (None, None)
    assert (whole.streamed, streamed.streamed, streamed.succeeded) == (0, 101, 101)
    assert (streamed.duration_p50, streamed.stream_p50, streamed.stream_p95) == (None, 1051, 1096)
    assert (streamed.ttft_p50, streamed.ttft_p95) == (51.0, 96.0)
    assert whole.completion_mean == 51.0
    assert whole.cached_share == 0.25
    assert (whole.prompt_tokens, whole.completion_tokens) == (10_100, 51 * 101)
    # The discarded answer was paid for, and no caller got it.
    assert whole.cost_usd == pytest.approx(1.51)
    assert whole.cost_ratio == pytest.approx(1.51 / 2.02)
    assert whole.cost_per_answer == pytest.approx(1.51 / 101)
    assert (streamed.cost_ratio, streamed.cost_per_answer, streamed.unpriced) == (None, None, 101)
    means = store.read(partial(ledger.mean_completion, since=time.time() - 60), {})
    assert means == {"default": 51.0}


def test_figures_count_the_window_only(store: Store) -> None:
    now = time.time()
    store.put(attempt(1, started_at=now - 3600, duration_ms=1.0, accepted=True))
    for n in range(2, 6):
        store.put(attempt(n, started_at=now - 10 + n, duration_ms=float(n), accepted=True))
    (newest,) = store.read(partial(ledger.candidate_stats, since=now - 60, newest=2), [])
    assert (newest.attempts, newest.duration_p50) == (2, 4.0)
    (recent,) = store.read(partial(ledger.candidate_stats, since=now - 60), [])
    assert (recent.attempts, recent.duration_p95) == (4, 5.0)


def test_characters_of_a_token_are_measured_over_text_alone(store: Store) -> None:
    for name, chars in (("a", 3000), ("b", 600), ("picture", None)):
        store.put(Call(name, "default", time.time(), input_chars=chars))
    store.put(attempt(call_id="a", prompt_tokens=1000, accepted=True))
    store.put(attempt(call_id="b", prompt_tokens=200, accepted=True))
    store.put(attempt(call_id="picture", prompt_tokens=9000, accepted=True))
    store.put(attempt(call_id="no call", prompt_tokens=9000, accepted=True))
    (stats,) = store.read(partial(ledger.candidate_stats, since=time.time() - 60), [])
    assert stats.chars_per_token == 3.0


def test_old_rows_of_the_ledger_go(store: Store) -> None:
    now = time.time()
    store.put(attempt(call_id="old", started_at=now - 31 * DAY))
    store.put(Call("old", "default", now - 31 * DAY))
    store.put(attempt(call_id="new", started_at=now - 29 * DAY))
    store.flush()  # writes, and finds that it is time to tidy up
    assert [row.call_id for row in store.read(ledger.list_attempts, [])] == ["new"]
    assert store.read(lambda db: list(ledger.calls(db)), []) == []


def test_what_was_said_goes_with_its_call(store: Store) -> None:
    now = time.time()
    store.put(Call("old", "default", now - 31 * DAY))
    store.put(Call("new", "default", now))
    for call in ("old", "new", None):
        store.put(ChatLog(datetime.now(UTC).isoformat(), call, request=[], response="x"))
    store.flush()
    left = store.read(lambda db: db.execute("SELECT call_id FROM chat_logs"), [])
    assert {call for (call,) in left} == {"new", None}  # of no call: not the ledger's


def test_any_text_is_stored(store: Store) -> None:
    store.put(attempt(reason="nul \x00, half a pair \ud83d, snow \u2603"))
    store.put(attempt(2, reason="fine"))
    store.put(ChatLog("2025-01-01T00:00:00+00:00", request="\x00\ud83d"))
    rows = store.read(ledger.list_attempts, [])
    assert {row.reason for row in rows} == {"nul \ufffd, half a pair ?, snow \u2603", "fine"}
    assert store.writer is not None
    assert store.writer.stats.failed == 0


def test_metrics_and_chat_logs(store: Store) -> None:
    store.put(Metric("2025-01-01T00:00:00+00:00", "p", "m", "chat", 12.5, success=True))
    store.put(ChatLog("2025-01-01T00:00:00+00:00", "c", "r", "p", "m", [{"role": "user"}], "42"))
    store.flush()
    with open_database(store.location) as database:
        assert database.execute("SELECT latency_ms, success FROM metrics") == [(12.5, 1)]
        rows = database.execute("SELECT request, response FROM chat_logs")
    assert [tuple(map(json.loads, row)) for row in rows] == [([{"role": "user"}], "42")]


def test_call_ids_are_unique_and_sort_by_time() -> None:
    ids = [new_call_id() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert {len(one) for one in ids} == {27}
    assert [one[:11] for one in ids] == sorted(one[:11] for one in ids)
