"""Waiting for code that cannot be interrupted: the wait ends at once, the work is left behind."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from .cancellation import CancelledError
from .errors import WireFailure
from .timeouts import CallScope

T = TypeVar("T")

_CANCELLED = object()

CLOSE_WAIT_S = 1.0
"""How long a stream that nobody reads may take to close before it is left to close alone."""


def expired(scope: CallScope) -> WireFailure:
    """The failure of the deadline that is over."""
    _, phase = scope.remaining()
    return WireFailure("timeout", f"operation timed out ({phase})", phase=phase)


class ThreadReader:
    """Runs calls one after another in a daemon thread, in the caller's context.

    ``call`` waits for the result under the scope's deadlines and its token; when either ends the
    wait, the thread is abandoned: it exits after the call it is in, running ``on_exit`` there.
    """

    def __init__(self, scope: CallScope) -> None:
        self._scope = scope
        self._jobs: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._on_exit: Callable[[], None] | None = None
        self._inside = False  # whether the thread is in a call
        self._forget = scope.token.on_cancel(lambda: self._results.put((_CANCELLED, None)))
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name="crux-stream-reader", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._results.put((job(), None))
            except BaseException as exc:  # noqa: BLE001  # carried to the caller's thread and raised there
                self._results.put((None, exc))
        if self._on_exit is not None:
            self._on_exit()

    def call(self, job: Callable[[], T]) -> T:
        """The result of ``job``; raises what it raised, CancelledError, or a timeout failure."""
        self._scope.token.raise_if_cancelled()
        self._inside = True
        self._jobs.put(job)
        seconds, _ = self._scope.remaining()
        try:
            value, exc = self._results.get(timeout=None if seconds is None else max(seconds, 0))
        except queue.Empty:
            raise expired(self._scope) from None
        if value is _CANCELLED:
            raise CancelledError(self._scope.token.reason or "cancelled")
        self._inside = False
        if exc is not None:
            raise exc
        result: T = value
        return result

    def close(self, on_exit: Callable[[], None] | None) -> None:
        """End the thread after its last call; ``on_exit`` (closing the iterator) runs in it.

        It has run when this returns, unless the thread is still inside a call that was abandoned.
        """
        self._forget()
        self._on_exit = on_exit
        self._jobs.put(None)
        if not self._inside and self._thread is not threading.current_thread():
            self._thread.join(CLOSE_WAIT_S)


class AsyncThreadReader:
    """The async twin of :class:`ThreadReader`: blocking calls of a task, in a thread of their own.

    A call that does not come back in time is abandoned with the thread, which exits after it.
    """

    def __init__(self, scope: CallScope) -> None:
        self._scope = scope
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._on_exit: Callable[[], None] | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name="crux-call", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        if self._on_exit is not None:
            self._on_exit()

    async def call(self, job: Callable[[], T]) -> T:
        """The result of ``job``, which must not raise StopIteration; raises what it raised,
        CancelledError, or a timeout failure."""
        self._scope.token.raise_if_cancelled()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            try:
                result = job()
            except BaseException as exc:  # noqa: BLE001  # carried to the caller's task and raised there
                settle, value = _fail, exc
            else:
                settle, value = _succeed, result  # type: ignore[assignment]  # one of two pairs
            try:
                loop.call_soon_threadsafe(settle, done, value)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

        self._jobs.put(run)
        return await wait_for(done, self._scope)

    def close(self, on_exit: Callable[[], None] | None) -> None:
        """End the thread after its last call; ``on_exit`` runs in it."""
        self._on_exit = on_exit
        self._jobs.put(None)


def _succeed(done: asyncio.Future[Any], value: Any) -> None:
    if not done.done():
        done.set_result(value)


def _fail(done: asyncio.Future[Any], exc: BaseException) -> None:
    if not done.done():
        done.set_exception(exc)


async def wait_for(awaitable: Awaitable[T], scope: CallScope) -> T:
    """The async twin of :meth:`ThreadReader.call`: await under the scope, abandon when it ends."""
    scope.token.raise_if_cancelled()
    loop = asyncio.get_running_loop()
    work = asyncio.ensure_future(awaitable)
    stop: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not stop.done():
            stop.set_result(None)

    def wake_soon() -> None:
        loop.call_soon_threadsafe(wake)

    forget = scope.token.on_cancel(wake_soon)
    try:
        seconds, _ = scope.remaining()
        waiting: set[asyncio.Future[Any]] = {work, stop}
        await asyncio.wait(
            waiting,
            timeout=None if seconds is None else max(seconds, 0),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if work.done():
            return work.result()
        scope.token.raise_if_cancelled()
        raise expired(scope)
    finally:
        forget()
        stop.cancel()
        if not work.done():
            work.cancel()


def sleep(seconds: float, scope_token: Any) -> None:
    """Sleep, but wake and raise CancelledError when the token is cancelled."""
    wake = threading.Event()
    forget = scope_token.on_cancel(wake.set)
    try:
        wake.wait(seconds)
    finally:
        forget()
    scope_token.raise_if_cancelled()


async def asleep(seconds: float, scope_token: Any) -> None:
    """The async twin of :func:`sleep`."""
    loop = asyncio.get_running_loop()
    wake = asyncio.Event()
    forget = scope_token.on_cancel(lambda: loop.call_soon_threadsafe(wake.set))
    try:
        await asyncio.wait_for(wake.wait(), seconds)
    except TimeoutError:
        pass
    finally:
        forget()
    scope_token.raise_if_cancelled()
