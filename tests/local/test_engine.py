"""What an engine does around its server; a server of our own stands in for llama.cpp's."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crux_providers.base.errors import WireFailure
from crux_providers.transports import llamacpp_engine
from crux_providers.transports.llamacpp_engine import Engine, Run, engine_for, refusal, release

WAIT_S = 10.0


class Server:
    """Says that a call has begun, then waits until it may go on."""

    def __init__(self) -> None:
        self.begun: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.go = threading.Event()
        self.seen: list[Any] = []

    def handle_chat_completions(self, body: Any, callback: Callable[[Any], bool]) -> None:
        self.seen.append(body["n"])
        self.begun.put(body["n"])
        assert self.go.wait(WAIT_S)
        for piece in range(100):
            if callback({"piece": piece}):
                return


def run_of(number: int) -> tuple[Run, queue.SimpleQueue[Any]]:
    items: queue.SimpleQueue[Any] = queue.SimpleQueue()
    return Run({"n": number}, items.put), items


def all_of(items: queue.SimpleQueue[Any]) -> list[Any]:
    found = []
    while (item := items.get(timeout=WAIT_S)) is not None:
        found.append(item)
    return found


def test_one_after_another_and_none_that_nobody_waits_for(tmp_path: Path) -> None:
    server = Server()
    engine = Engine(tmp_path / "m.gguf", lambda path: server)
    runs = [run_of(number) for number in range(4)]
    for run, _ in runs:
        assert engine.take(run)
    assert server.begun.get(timeout=WAIT_S) == 0
    runs[1][0].left = True  # in the queue
    runs[0][0].left = True  # in the middle
    server.go.set()
    assert all_of(runs[0][1]) == []
    assert len(all_of(runs[2][1])) == len(all_of(runs[3][1])) == 100
    assert server.seen == [0, 2, 3]
    engine.close()
    assert not engine.take(runs[1][0])


def test_a_load_that_fails_fails_everybody_who_waits_and_nobody_later(tmp_path: Path) -> None:
    path, go, server = tmp_path / "m.gguf", threading.Event(), Server()
    server.go.set()

    def fail(path: Path) -> Any:
        assert go.wait(WAIT_S)
        raise refusal(501, "unsupported", "no model")

    engine = engine_for(path, -1, fail)
    runs = [run_of(number) for number in range(2)]
    for run, _ in runs:
        assert engine.take(run)
    go.set()
    for _, items in runs:
        (failure,) = all_of(items)
        assert isinstance(failure, WireFailure)
    again = engine_for(path, -1, lambda path: server)
    assert again is not engine
    run, items = run_of(7)
    assert again.take(run)
    assert len(all_of(items)) == 100
    release(-1)
    assert path not in llamacpp_engine._engines


def test_a_call_in_the_middle_is_answered_after_the_last_user_left(tmp_path: Path) -> None:
    server, path = Server(), tmp_path / "m.gguf"
    engine = engine_for(path, -1, lambda path: server)
    assert engine_for(path, -2, pytest.fail) is engine
    run, items = run_of(0)
    assert engine.take(run)
    release(-1)
    assert llamacpp_engine._engines[path] is engine
    release(-2)
    assert path not in llamacpp_engine._engines
    server.go.set()
    assert len(all_of(items)) == 100


def test_a_release_in_the_middle_of_a_change_waits_for_its_end(tmp_path: Path) -> None:
    """As when the garbage collector drops a transport while another one is given its engine."""
    path = tmp_path / "m.gguf"
    engine_for(path, -1, lambda path: Server())
    with llamacpp_engine._lock:
        release(-1)  # must not wait
        assert path in llamacpp_engine._engines
    other = tmp_path / "other.gguf"
    engine_for(other, -2, lambda path: Server())
    assert path not in llamacpp_engine._engines
    release(-2)


def test_stopping_ends_the_call_and_those_that_wait(tmp_path: Path) -> None:
    server = Server()
    engine = Engine(tmp_path / "m.gguf", lambda path: server)
    runs = [run_of(number) for number in range(3)]
    for run, _ in runs:
        engine.take(run)
    server.begun.get(timeout=WAIT_S)
    server.go.set()
    engine.stop()
    assert engine.server is None
    assert len(server.seen) <= 3
    assert not engine._thread.is_alive()


def test_a_consumer_that_is_gone_has_left() -> None:
    def put(item: Any) -> None:
        raise RuntimeError("Event loop is closed")

    run = Run({}, put)
    assert run.on_chunk({"choices": []}) is True
    run.put(None)
