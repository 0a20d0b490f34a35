"""The figures kept in memory: what a plan reads of the ledger without ever waiting for it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crux_providers.persistence import facts as facts_module
from crux_providers.persistence.database import open_database
from crux_providers.persistence.facts import Snapshot
from crux_providers.persistence.figures import NOTHING, Figures, load_figures
from crux_providers.persistence.location import OFF
from crux_providers.persistence.rows import Attempt
from crux_providers.persistence.store import FIRST_LOOK_S, Store, get_store


def answer(number: int, **more: object) -> Attempt:
    fields: dict[str, object] = {
        "accepted": True, "duration_ms": 10.0, "completion_tokens": 7, **more,
    }  # fmt: skip
    return Attempt(f"c{number}", 1, "r", "p", "m", "success", time.time(), **fields)  # type: ignore[arg-type]


def until(look: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not look() and time.monotonic() < deadline:
        time.sleep(0.005)
    return look()


def test_the_figures_come_in_the_background(store: Store) -> None:
    store.put(answer(1))
    store.flush()
    assert store.figures() is NOTHING  # the first look waits for nothing
    assert until(lambda: store.figures().at > 0)
    seen = store.figures()
    assert seen.candidates[("p", "m")].succeeded == 1
    assert seen.mean_completion == {"r": 7.0}
    assert store.figures() is seen


def test_they_are_refreshed_while_somebody_looks(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store._figures, "_refresh", 0.0)
    store.put(answer(1))
    assert until(lambda: ("p", "m") in store.figures().candidates)
    other = Store(store.location)  # as another process has it
    other.put(answer(2))
    other.close()
    assert until(lambda: store.figures().candidates[("p", "m")].succeeded == 2)


def test_nothing_kept_gives_no_figures() -> None:
    assert Store(OFF).figures() == Figures()


def test_an_empty_ledger_gives_no_figures(store: Store) -> None:
    with open_database(store.location) as database:
        assert load_figures(database)[:2] == ({}, {})


def test_nothing_a_call_does_with_the_ledger_is_io_in_its_own_thread(crux_db: Path) -> None:
    """Audit events are raised by every open, connect and import, whoever does them; in a process of
    its own, since a hook stays."""
    code = """
import asyncio, json, sys, threading
from crux_integrations.router.router import Router
from crux_providers.base import ChatRequest, Message
from crux_providers.openai.client import OpenAIProvider
from crux_providers.persistence.store import get_store
from crux_providers.transports.scripted import ScriptedTransport
ANSWER = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}]}
provider = OpenAIProvider(api_key="k", api="chat", transport=ScriptedTransport(lambda r: ANSWER))
router = Router(
    {"version": 1, "models": {"openai:m": {"price": {"input": 1, "output": 1}}},
     "routes": {"default": {"candidates": ["openai:m"], "budget": {"per_day": 9}}}},
    providers={"openai": provider})
request = ChatRequest(messages=[Message("user", "hello")])
me, seen, watching = threading.get_ident(), [], [False]
kinds = ("open", "import", "os", "socket", "sqlite3", "subprocess")
sys.addaudithook(lambda event, args: seen.append((event, str(args)[:80])) if watching[0]
    and threading.get_ident() == me and event.split(".")[0] in kinds else None)
store = get_store()
router.generate(request)  # imports what is imported late
asyncio.run(router.agenerate(request))
watching[0] = True
for _ in range(50):
    router.generate(request)
    store.snapshot(), store.figures(), store.spent_today("default")
watching[0] = False
store.close()
print(json.dumps({"io": seen, "rows": store.writer.stats.written}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["io"] == []
    assert said["rows"] >= 104  # 52 calls, an attempt each


def test_a_locked_database_holds_up_no_plan(crux_db: Path) -> None:
    # Even the first look of a process, while another one has the file to itself.
    open_database(get_store().location).close()
    other = sqlite3.connect(crux_db, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    store = Store(get_store().location)
    try:
        began = time.monotonic()
        assert store.snapshot() == {}
        assert store.figures() is NOTHING
        first = time.monotonic() - began
        began = time.monotonic()
        for _ in range(1000):
            store.snapshot()
            store.figures()
        later = time.monotonic() - began
    finally:
        other.execute("ROLLBACK")
        other.close()
        store.close()
    assert first < FIRST_LOOK_S + 1.0
    assert later < FIRST_LOOK_S


def test_only_the_first_look_waits_and_all_who_look_meanwhile_share_it() -> None:
    asked: list[Callable[[int], None]] = []
    answered = threading.Event()

    def ask(take: Callable[[int], None]) -> threading.Event:
        asked.append(take)
        return answered

    snapshot = Snapshot(ask, 0, wait=30.0)
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(snapshot.get())) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert until(lambda: len(asked) == 1)
    asked[0](42)
    answered.set()
    for thread in threads:
        thread.join(10)
    assert got == [42] * 4
    assert len(asked) == 1


def test_an_answer_that_comes_late_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Callable[[int], None]] = []

    def ask(take: Callable[[int], None]) -> threading.Event:
        asked.append(take)
        return threading.Event()

    snapshot = Snapshot(ask, 0, wait=0.01)
    assert [snapshot.get(), snapshot.get()] == [0, 0]
    assert len(asked) == 1
    asked[0](42)
    assert snapshot.get() == 42
    monkeypatch.setattr(facts_module, "REFRESH_S", -1.0)
    assert snapshot.get() == 42
    assert len(asked) == 2
