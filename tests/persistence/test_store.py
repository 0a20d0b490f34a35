"""The store on both engines: facts, evidence, the ledger, and what happens when storage fails."""

from __future__ import annotations

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
from crux_providers.persistence.rows import Attempt
from crux_providers.persistence.sink import add_evidence, summarize
from crux_providers.persistence.store import Store, store_at


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


def test_of_several_observations_between_two_looks_the_last_counts(store: Store) -> None:
    store.observe(seen())
    assert store.snapshot()[("p", "m")].flags(time.time()) == {"tools": True}
    store.observe(seen(value=False))
    store.observe(seen())
    assert store.snapshot()[("p", "m")].flags(time.time()) == {"tools": True}
    store.observe(seen())
    store.observe(seen(value=False))
    assert store.snapshot()[("p", "m")].flags(time.time()) == {"tools": False}


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
