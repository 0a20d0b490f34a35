"""The background writer: rows go in at once, a thread writes them in batches.

``put`` appends to a queue in memory and, where the thread sleeps, wakes it; it does no I/O, waits
for nothing and never raises. The thread is started by the first row; it alone opens, uses and
closes the sink, so a fork leaves nothing of the parent's connection in use. A batch is written
when :data:`BATCH_ROWS` rows wait or the oldest has waited :data:`INTERVAL_S`.

What is waiting is written by ``close()``, at the end of the process, and at the end of a
``multiprocessing`` child (which runs finalizers but, before Python 3.13, no ``atexit``).
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Protocol

from ..base.logging import get_logger, log_event
from ..config import defaults
from .errors import StorageError

BATCH_ROWS = defaults.WRITER_BATCH_ROWS
INTERVAL_S = defaults.WRITER_INTERVAL_S
QUEUE_ROWS = 32_768
"""Rows that may wait in memory; further ones are dropped and counted."""
CLOSE_TIMEOUT_S = 10.0
"""How long the end of the process waits for the last rows."""
RETRY_MAX_S = 5.0
"""The longest pause between two tries while the storage does not work."""
FORK_WAIT_S = 1.0
"""How long a fork waits for the thread to come out of the database."""


class Sink(Protocol):
    """Where batches go; made and used by the writer's thread alone."""

    def write(self, records: Sequence[Any], /) -> None:
        """Write all or nothing; StorageError says whether trying again may help."""
        ...

    def close(self) -> None:
        """Release what it holds; it may be written to again."""
        ...


class WriterStats(NamedTuple):
    """Counts since the process began: rows written, lost in failed writes, dropped for want of
    room; ``waiting`` is what is in the queue now."""

    written: int
    failed: int
    dropped: int
    waiting: int


class _Task(NamedTuple):
    """Something the thread does between two batches, after all rows put before it."""

    run: Callable[[Any], None]
    done: threading.Event


class Writer:
    """Batches rows into a sink, in the order they came. Safe from any thread, and across a fork.

    After ``close`` it may be used again: the next row starts it anew.
    """

    def __init__(
        self,
        make_sink: Callable[[], Sink],
        *,
        name: str = "database",
        batch_rows: int = BATCH_ROWS,
        interval: float = INTERVAL_S,
        queue_rows: int = QUEUE_ROWS,
    ) -> None:
        self._make_sink = make_sink
        self._name = name
        self._batch_rows = batch_rows
        self._interval = interval
        self._queue_rows = queue_rows
        self._begin_anew()
        _writers.add(self)

    def _begin_anew(self) -> None:
        # Also what a forked child does: the parent's rows are the parent's to write, its thread is
        # not here, and its locks may have been held.
        self._queue: deque[Any] = deque()
        self._written = self._failed = self._dropped = 0
        self._logged: set[str] = set()
        # Rung to wake the thread. A SimpleQueue may be put to from anywhere, a finalizer that
        # interrupts another put of the same thread included; an Event may not.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._awake = False  # the thread will look at the queue without being rung for
        self._hurry = False  # it will not wait for the end of the interval
        self._closing = threading.Event()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.in_use = threading.Lock()  # held while the thread is in the sink

    # -- what callers do ----------------------------------------------------------------------

    def put(self, row: Any) -> bool:
        """Hand over one row; False where there was no room for it."""
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._queue_rows:
            self._drop()
            return False
        queue.append(row)
        if not self._awake:
            self._rouse()
        elif waiting >= self._batch_rows and not self._hurry:
            self._ring()
        return True

    def run(self, task: Callable[[Any], None]) -> threading.Event:
        """Have the thread call ``task(sink)`` after every row put before; sets what it returns."""
        done = threading.Event()
        self._queue.append(_Task(task, done))
        self._hurry = True
        self._rouse()
        return done

    def flush(self, timeout: float | None = CLOSE_TIMEOUT_S) -> bool:
        """Wait until every row put before is written (or given up); False where time ran out."""
        if not self._queue and not self._awake:
            return True
        return self.run(lambda sink: None).wait(timeout)

    def close(self, timeout: float | None = CLOSE_TIMEOUT_S) -> None:
        """Write what waits, release the connection, end the thread. May be called twice."""
        thread = self._thread
        self.retire()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        if self._queue:
            with self._start_lock:
                if not self._running():  # rows that came while the interpreter was ending
                    sink = self._make_sink()
                    self._work_off(sink)
                    sink.close()
        if self._queue and self._closing.is_set():
            self._log("failed", f"{len(self._queue)} rows could not be written in {timeout} s")

    def retire(self) -> None:
        """As ``close``, without waiting for it."""
        self._closing.set()
        if self._thread is not None:
            self._ring()

    @property
    def stats(self) -> WriterStats:
        """The counts so far."""
        return WriterStats(self._written, self._failed, self._dropped, len(self._queue))

    # -- the thread ---------------------------------------------------------------------------

    def _running(self) -> bool:
        thread = self._thread
        return thread is not None and thread.is_alive()

    def _rouse(self) -> None:
        self._awake = True
        if not self._running() and self._start_lock.acquire(blocking=False):
            try:
                if not self._running():
                    self._start()
            finally:
                self._start_lock.release()
        self._bell.put(None)

    def _ring(self) -> None:
        self._hurry = True
        self._bell.put(None)

    def _start(self) -> None:
        _flush_at_exit()
        self._closing.clear()
        thread = threading.Thread(target=self._loop, name=f"crux-writer-{self._name}", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending: close() writes what waits
            self._thread = None

    def _loop(self) -> None:
        sink = self._make_sink()
        try:
            while not self._closing.is_set():
                self._awake = False
                if not self._queue:  # looked at after _awake, so that no row is overlooked
                    self._bell.get()
                self._awake = True
                self._gather()
                self._hurry = False
                self._work_off(sink)
            self._work_off(sink)
        finally:
            with self.in_use:
                sink.close()
            self._awake = False
            self._thread = None
            if self._queue:  # looked at after _thread, so that a row put just now finds a thread
                self._rouse()

    def _gather(self) -> None:
        """Wait until a batch is full, somebody is in a hurry, or the interval is over."""
        until = time.monotonic() + self._interval
        while not self._hurry and len(self._queue) < self._batch_rows:
            try:
                self._bell.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                return

    def _work_off(self, sink: Sink) -> None:
        """Write the rows that wait now, in batches; run the tasks among them in their turn."""
        batch: list[Any] = []
        for _ in range(len(self._queue)):
            item = self._queue.popleft()
            if not isinstance(item, _Task):
                batch.append(item)
                if len(batch) < self._batch_rows:
                    continue
            self._write(sink, batch)
            batch = []
            if isinstance(item, _Task):
                self._do(sink, item)
        self._write(sink, batch)

    def _do(self, sink: Sink, task: _Task) -> None:
        try:
            with self.in_use:
                task.run(sink)
        except Exception as exc:  # noqa: BLE001  # whatever a task raises must not end the thread
            self._log("read", exc)
        finally:
            task.done.set()

    def _write(self, sink: Sink, batch: list[Any]) -> None:
        pause = self._interval
        while batch:
            try:
                with self.in_use:
                    sink.write(batch)
                self._written += len(batch)
                return
            except StorageError as exc:
                with self.in_use:
                    sink.close()
                if not exc.passing or self._closing.is_set():
                    self._lose(len(batch), exc)
                    return
                self._log("delayed", exc)
                self._closing.wait(pause)
                pause = min(pause * 2, RETRY_MAX_S)
            except Exception as exc:  # noqa: BLE001  # a row nobody can store; the others can be
                if len(batch) == 1:
                    self._lose(1, exc)
                    return
                for row in batch:
                    self._write(sink, [row])
                return

    # -- what goes wrong ----------------------------------------------------------------------

    def _drop(self) -> None:
        self._dropped += 1
        if self._dropped == 1:
            log_event(
                get_logger(), logging.WARNING, "persistence.dropped",
                operation="write", stage="queue", failure_class="QueueFull",
                error=f"{self._queue_rows} rows wait to be written; further ones are dropped",
            )  # fmt: skip

    def _lose(self, rows: int, reason: object) -> None:
        self._failed += rows
        self._log("failed", reason)

    def _log(self, what: str, reason: object) -> None:
        key = f"{what}:{type(reason).__name__}:{reason}"
        if key in self._logged or len(self._logged) > 100:
            return
        self._logged.add(key)
        log_event(
            get_logger(), logging.WARNING, f"persistence.{what}",
            operation="write", stage="storage", failure_class=type(reason).__name__,
            error=str(reason),
        )  # fmt: skip


# -- the end of the process, and forks ----------------------------------------------------------

_writers: weakref.WeakSet[Writer] = weakref.WeakSet()
_finalized_pid: int | None = None
_held: list[threading.Lock] = []


def close_all() -> None:
    """Close every writer of this process; all of them may be used again."""
    for writer in list(_writers):
        writer.close()


def _flush_at_exit() -> None:
    global _finalized_pid
    if _finalized_pid == os.getpid():
        return
    _finalized_pid = os.getpid()
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, close_all, exitpriority=10)


def _before_fork() -> None:
    # A lock that SQLite or libpq holds in another thread would stay locked in the child for good.
    for writer in list(_writers):
        if writer.in_use.acquire(timeout=FORK_WAIT_S):
            _held.append(writer.in_use)


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().release()


def _after_fork_in_child() -> None:
    _held.clear()
    for writer in list(_writers):
        writer._begin_anew()


atexit.register(close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
