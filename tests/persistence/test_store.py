"""The store on both engines: facts, evidence, the ledger, and what happens when storage fails."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from crux_providers.base.capabilities import Observation, load_observed, record_observation
from crux_providers.base.models import ModelInfo, ModelRegistrySnapshot
from crux_providers.config import defaults
from crux_providers.persistence import facts as facts_module
from crux_providers.persistence import ledger
from crux_providers.persistence.database import open_database
from crux_providers.persistence.errors import StorageError
from crux_providers.persistence.location import OFF, Location, parse
from crux_providers.persistence.rows import Attempt, Call, ChatLog, Metric, new_call_id
from crux_providers.persistence.sink import add_evidence, summarize
from crux_providers.persistence.store import Store, store_at

DAY = 86400.0


def seen(
    feature: str = "tools",
    value: bool = True,
    *,
    mode: str = "whole",
    model: str = "m",
    at: float | None = None,
    reason: str | None = None,
) -> Observation:
    return Observation("p", model, feature, value, mode, at or time.time(), reason)


def attempt(seq: int = 1, **more: object) -> Attempt:
    fields: dict[str, object] = {
        "call_id": "c",
        "route": "default",
        "provider": "p",
        "model": "m",
        "outcome": "ok",
        "started_at": time.time(),
        **more,
    }
    return Attempt(seq=seq, **fields)  # type: ignore[arg-type]  # a row under construction


# -- observations -------------------------------------------------------------------------------


def test_an_observation_is_known_at_once_and_stored_soon(store: Store) -> None:
    assert store.snapshot() == {}
    store.observe(seen())
    assert store.snapshot()[("p", "m")].flags(time.time()) == {"tools": True}
    assert load_observed("p") == {"m": {"tools": True}}
    with open_database(store.location) as database:
        rows = database.execute(
            "SELECT provider, model_id, feature, value FROM observed_capabilities"
        )
        assert rows == [("p", "m", "tools", 1)]
        ((stamp,),) = database.execute("SELECT updated_at FROM observed_capabilities")
    assert datetime.fromisoformat(stamp).tzinfo is not None


def test_record_observation_reaches_the_database_the_environment_names(store: Store) -> None:
    record_observation("p", "m", "json_output", False, mode="stream", reason="no such thing")
    assert load_observed("p") == {"m": {"json_output": False}}
    assert load_observed("other") == {}
    (evidence,) = store.read(ledger.list_capabilities, [])
    assert evidence[:7] == ("p", "m", "json_output", "stream", False, 0, 1)
    assert evidence.last_reason == "no such thing"


def test_evidence_counts_by_mode(store: Store) -> None:
    for _ in range(300):
        store.observe(seen())
    store.observe(seen(mode="stream", value=False, reason="not while streaming"))
    store.flush()
    store.observe(seen())
    whole, stream = sorted(store.read(ledger.list_capabilities, []), key=lambda e: e.mode)[::-1]
    assert (whole.mode, whole.value, whole.successes, whole.refusals) == ("whole", True, 301, 0)
    assert (stream.mode, stream.value, stream.successes, stream.refusals) == ("stream", False, 0, 1)
    assert whole.first_at <= whole.last_at
    # True where any mode is.
    assert load_observed("p") == {"m": {"tools": True}}
    now = time.time()
    known = store.snapshot()[("p", "m")]
    assert known.fact("tools", "stream", now) is not None
    assert known.fact("tools", "stream", now).value is False  # type: ignore[union-attr]
    assert known.fact("tools", "whole", now).value is True  # type: ignore[union-attr]


def test_the_latest_in_one_mode_counts_whatever_the_order_of_writing(store: Store) -> None:
    now = time.time()
    store.observe(seen(value=False, at=now))
    store.flush()
    store.observe(seen(value=True, at=now - 60))  # older, written later
    assert load_observed("p") == {"m": {"tools": False}}
    store.observe(seen(value=True, at=now + 1))
    assert load_observed("p") == {"m": {"tools": True}}


def test_a_refusal_expires_and_a_success_does_not(store: Store) -> None:
    old = time.time() - defaults.OBSERVED_EXPIRE_S - 60
    store.observe(seen("tools", False, at=old))
    store.observe(seen("vision", True, at=old))
    store.observe(seen("pdf", False, at=old + 120))
    assert load_observed("p") == {"m": {"vision": True, "pdf": False}}
    known = store.snapshot()[("p", "m")]
    assert known.fact("tools", "whole", time.time()) is None
    assert known.fact("tools", "whole", old + 1) is not None


def test_rows_without_evidence_count_too(store: Store) -> None:
    with open_database(store.location) as database:
        for feature, value, at in (
            ("tools", 1, "2020-01-01 00:00:00"),
            ("vision", 0, "2020-01-01 00:00:00"),
            ("pdf", 0, datetime.now(UTC).isoformat()),
        ):
            database.execute(
                "INSERT INTO observed_capabilities "
                "(provider, model_id, feature, value, updated_at) VALUES ('p', 'm', ?, ?, ?)",
                (feature, value, at),
            )
    assert load_observed("p") == {"m": {"tools": True, "pdf": False}}


def test_another_process_is_seen_after_a_refresh(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts_module, "REFRESH_S", 0.0)
    store.observe(seen())
    store.flush()
    other = Store(store.location)  # as another process has it
    other.observe(seen("vision", model="other"))
    other.close()
    deadline = time.monotonic() + 10
    while ("p", "other") not in store.snapshot() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert store.snapshot()[("p", "other")].flags(time.time()) == {"vision": True}
    assert ("p", "m") in store.snapshot()


def test_a_snapshot_never_changes(store: Store) -> None:
    store.observe(seen())
    before = store.snapshot()
    store.observe(seen("vision"))
    store.observe(seen("tools", False))
    assert before[("p", "m")].flags(time.time()) == {"tools": True}
    assert store.snapshot()[("p", "m")].flags(time.time()) == {"tools": False, "vision": True}


def test_known_truths_cost_no_new_snapshot(store: Store) -> None:
    store.observe(seen())
    before = store.snapshot()
    for _ in range(100):
        store.observe(seen())
    assert store.snapshot() is before


def test_evidence_of_a_batch_is_the_same_however_it_is_cut() -> None:
    rows = [seen(value=bool(n % 3), at=1000.0 + n % 7, reason=f"r{n}") for n in range(20)]
    (whole,) = summarize(rows).values()
    assert (whole.successes, whole.refusals) == (13, 7)
    assert (whole.first_at, whole.last_at) == (1000.0, 1006.0)
    assert whole.value is True  # of those at the latest time, the last one given
    assert whole.reason == "r13"


def test_two_modes_written_at_once_agree_with_the_row_of_both(place: Location) -> None:
    # Without a lock the second transaction would not see the first one's evidence, and would
    # write down a refusal where one mode is known to work.
    open_database(place).close()
    begun = threading.Event()

    def second() -> None:
        with open_database(place) as database:
            begun.set()
            with database.transaction():
                add_evidence(database, summarize([seen(value=False, mode="stream")]))

    thread = threading.Thread(target=second)
    with open_database(place) as database:
        with database.transaction():
            add_evidence(database, summarize([seen(value=True, mode="whole")]))
            thread.start()
            assert begun.wait(10)
            thread.join(0.3)  # it waits for this transaction, or has read too early
        thread.join(30)
        assert database.execute("SELECT value FROM observed_capabilities") == [(1,)]


def test_what_was_observed_can_be_forgotten(store: Store) -> None:
    store.observe(seen())
    store.observe(seen(model="n"))
    assert store.change(partial(ledger.forget_capabilities, provider="p", model="m")) == 1
    store.facts.forget()
    assert load_observed("p") == {"n": {"tools": True}}


# -- the ledger ---------------------------------------------------------------------------------


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
            call.call_id, 2, "default", "q", "n", "ok", now + 1, True, None, 200, None, 80.25,
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
            store._spending = {}
            spent = store.spent_today("default")
            code = 0 if (spent.total_usd, spent.own_usd) == (2.0, 0.0) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    store.close()


def test_figures_of_candidates(store: Store) -> None:
    for n in range(1, 102):
        store.put(attempt(n, ttft_ms=float(n), duration_ms=10.0 * n, completion_tokens=n,
                          prompt_tokens=100, cached_tokens=25, cost_usd=0.01))  # fmt: skip
    store.put(attempt(200, error_code="timeout", outcome="error", duration_ms=1e9))
    (stats,) = store.read(partial(ledger.candidate_stats, since=time.time() - 60), [])
    assert (stats.provider, stats.model, stats.attempts, stats.failed) == ("p", "m", 102, 1)
    assert (stats.ttft_p50, stats.ttft_p95, stats.duration_p95) == (51.0, 96.0, 960.0)
    assert stats.completion_mean == 51.0
    assert stats.cached_share == 0.25
    assert stats.cost_usd == pytest.approx(1.01)
    means = store.read(partial(ledger.mean_completion, since=time.time() - 60), {})
    assert means == {"default": 51.0}


def test_old_rows_of_the_ledger_go(store: Store) -> None:
    now = time.time()
    store.put(attempt(call_id="old", started_at=now - 31 * DAY))
    store.put(Call("old", "default", now - 31 * DAY))
    store.put(attempt(call_id="new", started_at=now - 29 * DAY))
    store.flush()  # writes, and finds that it is time to tidy up
    assert [row.call_id for row in store.read(ledger.list_attempts, [])] == ["new"]
    assert store.read(lambda db: list(ledger.calls(db)), []) == []


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


# -- the registry -------------------------------------------------------------------------------


def test_a_snapshot_of_models_replaces_the_one_before(store: Store) -> None:
    first = ModelRegistrySnapshot(
        "p",
        [
            ModelInfo("b", "B", 1000, {"tools": True}, "2025-01-01", "p", "fam", 50,
                      {"tools": "api"}, {"x": [1]}),
            ModelInfo("a", provider="p"),
        ],
        "api",
        "2025-05-01T00:00:00+00:00",
        {"source": "openai_sdk_enriched"},
    )  # fmt: skip
    other = ModelRegistrySnapshot("q", [ModelInfo("z", provider="q")], "api", "t", {})
    store.save_registry(first)
    store.save_registry(other)
    assert store.load_registry("p") == first
    second = ModelRegistrySnapshot("p", [ModelInfo("c", provider="p")], "api", "later", {})
    store.save_registry(second)
    assert store.load_registry("p") == second
    assert store.load_registry("q") == other
    assert store.load_registry("nobody") == ModelRegistrySnapshot("nobody")


# -- when storage fails -------------------------------------------------------------------------


@pytest.fixture
def file_store(crux_db: Path) -> Iterator[Store]:
    made = store_at(parse(crux_db))
    yield made
    made.close()


def test_off_keeps_nothing_but_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(OFF)
    store.observe(seen())
    store.put(attempt())
    assert store.flush()
    assert store.snapshot()[("p", "m")].flags(time.time()) == {"tools": True}
    assert store.observed("p").keys() == {"m"}
    snapshot = ModelRegistrySnapshot("p", [ModelInfo("a")], "api", "t", {})
    store.save_registry(snapshot)
    assert store.load_registry("p") == snapshot
    assert store.read(ledger.list_attempts, []) == []
    with pytest.raises(StorageError, match="CRUX_DB=off"):
        store.change(ledger.forget_capabilities)
    assert list(tmp_path.iterdir()) == []


def test_reading_makes_no_database(file_store: Store) -> None:
    assert load_observed("p") == {}
    assert file_store.snapshot() == {}
    assert file_store.read(ledger.list_attempts, []) == []
    assert not file_store.location.exists()


def test_a_newer_database_is_one_warning_and_is_left_alone(
    file_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with open_database(file_store.location) as database:
        database.execute("INSERT INTO schema_version (version) VALUES (99)")
    with caplog.at_level(logging.WARNING, logger="crux_providers"):
        for _ in range(3):
            file_store.observe(seen())
            file_store.flush()
    assert len(caplog.records) == 1
    assert "upgrade crux-integrations" in caplog.records[0].getMessage()
    with caplog.at_level(logging.WARNING, logger="crux_providers"):
        caplog.clear()
        assert load_observed("p") == {"m": {"tools": True}}  # what this process saw itself
        assert load_observed("p") == {"m": {"tools": True}}
    assert len(caplog.records) == 1


def test_an_unreadable_database_fails_no_chat(
    file_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    Path(file_store.location.target).write_bytes(b"no database at all" * 1000)
    with caplog.at_level(logging.WARNING, logger="crux_providers"):
        assert file_store.snapshot() == {}
        file_store.observe(seen())
        file_store.put(attempt())
        file_store.flush()
    assert 1 <= len(caplog.records) <= 2
    assert all("move it away" in record.getMessage() for record in caplog.records)
    assert Path(file_store.location.target).read_bytes().startswith(b"no database")


def test_a_deleted_database_is_made_again(file_store: Store) -> None:
    file_store.observe(seen())
    file_store.flush()
    for name in os.listdir(file_store.location.path.parent):
        if name.startswith(file_store.location.path.name):
            (file_store.location.path.parent / name).unlink()
    file_store.observe(seen(model="again"))
    file_store.flush()
    with open_database(file_store.location) as database:
        assert database.execute("SELECT model_id FROM observed_capabilities") == [("again",)]


def test_rows_wait_while_another_process_holds_the_lock(
    file_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "SQLITE_BUSY_TIMEOUT_MS", 10)
    open_database(file_store.location).close()
    with open_database(file_store.location) as other:
        other.execute("BEGIN IMMEDIATE")
        file_store.observe(seen())
        assert not file_store.flush(0.3)
        other.execute("COMMIT")
    assert file_store.flush(30)
    assert load_observed("p") == {"m": {"tools": True}}
    assert file_store.writer is not None
    assert file_store.writer.stats.failed == 0


def test_many_threads_read_and_write_at_once(store: Store) -> None:
    errors: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for n in range(100):
                store.observe(seen(model=f"m{name}", value=bool(n % 2)))
                store.put(attempt(n, call_id=f"t{name}"))
                store.snapshot()
                if n % 50 == 0:
                    load_observed("p")
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    evidence = store.read(ledger.list_capabilities, [])
    assert [(e.successes, e.refusals) for e in evidence] == [(50, 50)] * 8
    assert len(store.read(partial(ledger.list_attempts, limit=10_000), [])) == 800


@pytest.mark.integration
def test_a_server_that_is_not_there_costs_a_chat_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgres)")
    store = Store(Location("postgres", "postgresql://me:hunter2@127.0.0.1:1/none"))
    with caplog.at_level(logging.WARNING, logger="crux_providers"):
        start = time.monotonic()
        assert store.snapshot() == {}
        store.observe(seen())
        assert time.monotonic() - start < 5
        assert ("p", "m") in store.snapshot()
        store.close()
    assert store.writer is not None
    assert store.writer.stats.failed == 1
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "cannot be used" in said
    assert "hunter2" not in said


def test_postgres_without_its_driver_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "psycopg", None)
    store = Store(parse("postgresql://localhost/none"))
    with pytest.raises(StorageError, match=r"pip install 'crux-integrations\[postgres\]'"):
        store.read(ledger.list_attempts, [])
    with caplog.at_level(logging.WARNING, logger="crux_providers"):
        store.observe(seen())
        store.close()
    assert len(caplog.records) == 1
