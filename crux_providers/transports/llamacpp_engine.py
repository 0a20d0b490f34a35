"""Engines: a llama.cpp server for each model file, its thread, and what ends with the process.

One :class:`Engine` per file and process: a thread that owns the server, loads it at the first call
and answers one call after another. Several at once would gain nothing on the processors such a
model is for (four answers of 40 tokens: 1.3 s in a row, 1.2 s two at a time), cost the window's
memory once more each, and make a seed worthless, since a batch changes the arithmetic. Callers
wait for their turn under their own deadlines; one that leaves while it waits costs nothing.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import queue
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..base.errors import WireFailure

EXIT_S = 10.0
"""What a process that ends gives an engine to stop; a token takes far less."""

Load = Callable[[Path], Any]
"""Makes the server of a file; raises WireFailure where there can be none."""


def refusal(status: int, code: str, message: str) -> WireFailure:
    """An error of this side in the form that the dialect's providers give theirs."""
    error = {"error": {"message": message, "code": code}}
    return WireFailure("status", message, status=status, body=error)


class Run:
    """One call in an engine: ``put`` gets each chunk, a WireFailure, and None at the end."""

    __slots__ = ("_put", "body", "left")

    def __init__(self, body: dict[str, Any], put: Callable[[Any], None]) -> None:
        self.body = body
        self.left = False  # nobody waits any more
        self._put = put

    def put(self, item: Any) -> None:
        """Hand over; a consumer whose event loop is gone is one that has left."""
        try:
            self._put(item)
        except RuntimeError:
            self.left = True

    def on_chunk(self, chunk: Any) -> bool:
        """Called by the server; true ends the computing. Must not raise: that would be an end."""
        if not self.left and "prompt_progress" not in chunk:
            self.put(_failed(chunk) if "error" in chunk else chunk)
        return self.left

    def compute(self, server: Any) -> None:
        """Answer, in the engine's thread."""
        try:
            server.handle_chat_completions(self.body, self.on_chunk)
        except (ValueError, TypeError) as exc:  # what it says of a request it cannot read
            self.put(refusal(400, "invalid_request_error", str(exc)))
        except RuntimeError as exc:
            self.put(refusal(500, "server_error", str(exc)))
        self.put(None)


def _failed(chunk: Mapping[str, Any]) -> WireFailure:
    error = chunk["error"]
    status = error.get("code") if isinstance(error, Mapping) else None
    status = status if isinstance(status, int) else 500
    return WireFailure("status", f"HTTP {status}", status=status, body=dict(chunk))


class Engine:
    """A thread that owns the server of one model file and answers runs in their order."""

    def __init__(self, path: Path, load: Load) -> None:
        self.path = path
        self._load = load
        self._queue: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._stopping = False
        self._current: Run | None = None
        self.server: Any = None
        name = f"crux-model-{path.stem}"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def take(self, run: Run) -> bool:
        """Put ``run`` into the queue; False where the engine takes no more."""
        with self._lock:
            if not self._closed:
                self._queue.put(run)
            return not self._closed

    def close(self) -> None:
        """Take no more, answer what waits, then free the memory; returns at once."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)

    def stop(self) -> None:
        """Compute no further: the process ends. Waits until the thread is out of native code."""
        self._stopping = True
        if (run := self._current) is not None:
            run.left = True
        self.close()
        self._thread.join(EXIT_S)

    def _work(self) -> None:
        try:
            self.server = self._load(self.path)
        except WireFailure as failure:
            _forget(self)
            self._drain(failure)
            return
        _alive.add(self)
        if _orphan:
            _keep_for_ever(self.server)
        while (run := self._queue.get()) is not None and not self._stopping:
            self._current = run
            if not run.left and not self._stopping:
                run.compute(self.server)
            self._current = run = None
        self.server = None
        _alive.discard(self)

    def _drain(self, failure: WireFailure) -> None:
        self.close()
        while (run := self._queue.get()) is not None:
            run.put(failure)
            run.put(None)


_lock = threading.Lock()
_engines: dict[Path, Engine] = {}
_users: defaultdict[Path, set[int]] = defaultdict(set)
_gone: deque[int] = deque()
"""Users that are no more, still to be taken out of the table."""
_alive: set[Engine] = set()
"""Those whose server is in memory, given back ones that still answer among them."""


def engine_for(path: Path, user: int, load: Load) -> Engine:
    """The engine of a file, which ``user`` (a number of its own) has until it is released."""
    with _lock:
        _users[path].add(user)
        engine = _engines.get(path)
        if engine is None:
            engine = _engines[path] = Engine(path, load)
    _sweep()
    return engine


def release(user: int) -> None:
    """Give back what ``user`` has; an engine that nobody has frees its memory.

    The garbage collector may call it in the middle of anything, so it waits for no lock: whoever
    holds the lock sweeps when that is done.
    """
    _gone.append(user)
    _sweep()


def _sweep() -> None:
    unused: list[Engine] = []
    while _gone and _lock.acquire(blocking=False):
        try:
            while _gone:
                user = _gone.popleft()
                for path in [path for path, users in _users.items() if user in users]:
                    _users[path].discard(user)
                    if not _users[path]:
                        del _users[path]
                        if (engine := _engines.pop(path, None)) is not None:
                            unused.append(engine)
        finally:
            _lock.release()
    for engine in unused:
        engine.close()


def _forget(engine: Engine) -> None:
    with _lock:
        if _engines.get(engine.path) is engine:
            del _engines[engine.path]


@atexit.register
def _stop_all() -> None:
    """A thread inside native code when the interpreter goes would end the process with an abort."""
    with _lock:
        engines = {*_engines.values(), *_alive}
        _engines.clear()
    for engine in engines:
        engine.stop()


_orphan = False
"""Whether this process was forked from one with a server: nothing native can be freed any more."""


def _after_fork() -> None:
    """The child builds its own: the threads behind the parent's server are not here.

    Freeing a server would wait for those threads for ever, and so would the library's destructors
    when the process exits. So servers are made immortal, and ``exit`` ends where Python has ended.
    """
    global _lock, _orphan
    _lock = threading.Lock()
    servers = [engine.server for engine in _alive if engine.server is not None]
    _alive.clear()
    _engines.clear()
    _users.clear()
    for server in servers:
        _keep_for_ever(server)
    if servers and not _orphan:
        _orphan = True
        libc = ctypes.CDLL(None)
        if hasattr(libc, "on_exit"):  # glibc; elsewhere forking is not the usual way to a process
            libc.on_exit(libc._exit, None)


def _keep_for_ever(server: Any) -> None:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(server))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
