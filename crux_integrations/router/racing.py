"""Waiting for more than one thing: two candidates at once, or a held stream and the clock.

Sync waits are for a thread that does the work (context variables go along), async ones for a task.
What is decided of what came is in :mod:`run`.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeAlias

from crux_providers.base.errors import ProviderError
from crux_providers.base.events import ChatStreamEvent

from .run import Lane, Run
from .sink import Sink

Judge: TypeAlias = Callable[[Lane, Any], ProviderError | None]
"""What came of an attempt's work as its outcome: None where it is good."""

Finish: TypeAlias = tuple[Lane | None, ProviderError | None]
"""The attempt that won, or the error of the first one."""

# -- two candidates -------------------------------------------------------------------------------


class _Race:
    """What both races keep: who is under way, when the next may start, who failed how."""

    def __init__(self, run: Run, first: Lane, after: float, judge: Judge) -> None:
        self._run = run
        self._first = first
        self._after = after
        self._judge = judge
        self._due: float | None = time.monotonic() + after
        self._error: ProviderError | None = None
        self.lanes = [first]
        first.own_token()

    def timeout(self) -> float | None:
        """Seconds until a second candidate is to be asked; None: there is nothing to wait for."""
        return None if self._due is None else max(0.0, self._due - time.monotonic())

    def second(self) -> Lane | None:
        """The time is over: the second attempt, where one is allowed."""
        self._due = None
        lane = self._run.hedge(self._first, self._after)
        if lane is not None:
            self.lanes.append(lane)
        return lane

    def came(self, lane: Lane, result: Any, exc: BaseException | None) -> Finish | None:
        """Take what one attempt came to; None where the other one is still to be waited for."""
        self.lanes.remove(lane)
        match exc:
            case None:
                error = self._judge(lane, result)
            case ProviderError():
                error = self._run.fail(lane, exc)
            case _:
                self._run.leave(lane)
                raise exc
        if error is not None and lane is self._first:
            self._error, self._due = error, None
        if error is None or (lane is self._first and lane.target.action(error) == "stop"):
            for loser in self.lanes:
                self._run.lose(loser, lane)
            return (lane, None) if error is None else (None, error)
        return None if self.lanes else (None, self._error or error)

    def left(self) -> None:
        """The caller went away."""
        for lane in self.lanes:
            lane.token.cancel("the caller left")
            self._run.leave(lane)


def race(run: Run, first: Lane, after: float, work: Callable[[Lane], Any], judge: Judge) -> Finish:
    """Do ``work`` for ``first`` and, ``after`` seconds without an end of it, for the next candidate
    too; the first good one wins, the other is ended at once."""
    inbox: queue.SimpleQueue[tuple[_Worker, Any, BaseException | None]] = queue.SimpleQueue()
    contest = _Race(run, first, after, judge)
    workers = [_Worker(first, work, inbox)]
    try:
        while True:
            try:
                worker, result, exc = inbox.get(timeout=contest.timeout())
            except queue.Empty:
                if (lane := contest.second()) is not None:
                    workers.append(_Worker(lane, work, inbox))
                continue
            workers.remove(worker)
            finish = contest.came(worker.lane, result, exc)
            if finish is not None:
                return finish
    except BaseException:
        contest.left()
        raise
    finally:
        for worker in workers:
            worker.drop()


class _Worker:
    """A thread that does an attempt's work and reports it, or cleans up where nobody wants it."""

    def __init__(
        self,
        lane: Lane,
        work: Callable[[Lane], Any],
        inbox: queue.SimpleQueue[tuple[_Worker, Any, BaseException | None]],
    ) -> None:
        self.lane = lane
        self._work = work
        self._inbox = inbox
        self._lock = threading.Lock()
        self._done = self._dropped = False
        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(self._run,), name="crux-hedge", daemon=True
        ).start()

    def _run(self) -> None:
        result: Any = None
        exc: BaseException | None = None
        try:
            result = self._work(self.lane)
        except BaseException as caught:  # noqa: BLE001  # carried to the caller's thread and judged there
            exc = caught
        with self._lock:
            self._done, dropped = True, self._dropped
        if dropped:
            _close(self.lane)
        else:
            self._inbox.put((self, result, exc))

    def drop(self) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self._dropped, done = True, self._done
        if done:
            _close(self.lane)


def _close(lane: Lane) -> None:
    if lane.controller is not None:
        lane.controller.close()


async def arace(
    run: Run, first: Lane, after: float, work: Callable[[Lane], Awaitable[Any]], judge: Judge
) -> Finish:
    """The async twin of :func:`race`."""
    contest = _Race(run, first, after, judge)
    tasks: dict[asyncio.Future[Any], Lane] = {asyncio.ensure_future(work(first)): first}
    try:
        while True:
            done, _ = await asyncio.wait(
                tasks, timeout=contest.timeout(), return_when=asyncio.FIRST_COMPLETED
            )
            if not done and (lane := contest.second()) is not None:
                tasks[asyncio.ensure_future(work(lane))] = lane
            for task in done:
                lane = tasks.pop(task)
                exc = asyncio.CancelledError() if task.cancelled() else task.exception()
                finish = contest.came(lane, None if exc is not None else task.result(), exc)
                if finish is not None:
                    return finish
    except BaseException:
        contest.left()
        raise
    finally:
        await _end(tasks)


async def _end(tasks: Mapping[asyncio.Future[Any], Lane]) -> None:
    """End the attempts that nobody waits for any more, their streams and sockets closed."""
    under_way = [task for task in tasks if not task.done()]
    for task in under_way:
        task.cancel()
        task.add_done_callback(_retrieve)
    for task, lane in tasks.items():
        if task not in under_way and lane.controller is not None:
            await lane.controller.aclose()
    if under_way:  # a turn or two of the loop; code that is not ours may take longer
        await asyncio.wait(under_way, timeout=LEAVING_S)


LEAVING_S = 0.1
"""How long an answer waits for the attempts that lost to let go of what they hold."""


def _retrieve(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


def head(controller: Any) -> list[ChatStreamEvent]:
    """The events of a stream up to its first content or its end."""
    events = []
    for event in controller:
        events.append(event)
        if event.commits or event.finish:
            break
    return events


async def ahead(controller: Any) -> list[ChatStreamEvent]:
    """The async twin of :func:`head`; closes the stream where it does not get there."""
    events = []
    try:
        async for event in controller:
            events.append(event)
            if event.commits or event.finish:
                break
    except BaseException:
        await controller.aclose()
        raise
    return events


# -- a held stream and the clock ------------------------------------------------------------------


def timed(lane: Lane) -> Generator[ChatStreamEvent | None, None, None]:
    """The events of a stream, with a None when what is held back must go out and nothing came.

    Read in the caller's thread but while content is held: then a thread waits for the stream and
    the caller for the clock.
    """
    sink, controller = lane.opened()
    yield from lane.head
    while sink.waits_for_content:
        event = next(controller, None)
        if event is None:
            return
        yield event
    if not sink.committed:
        with _Stepper(controller) as stepper:
            yield from _held(sink, stepper)
    yield from controller


def _held(sink: Sink, stepper: _Stepper) -> Iterator[ChatStreamEvent | None]:
    while not sink.committed or stepper.waiting:
        due = sink.due()
        try:
            event = stepper.get(None if due is None else max(0.0, due))
        except queue.Empty:
            yield None
            continue
        if event is None:
            return
        yield event


class _Stepper:
    """Reads a stream in a thread, an event at a time; a wait for one may end before it comes."""

    def __init__(self, controller: Any) -> None:
        self._controller = controller
        self._jobs: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[ChatStreamEvent | None, BaseException | None]]
        self._results = queue.SimpleQueue()
        self.waiting = False
        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(self._run,), name="crux-held-stream", daemon=True
        ).start()

    def _run(self) -> None:
        while self._jobs.get():
            try:
                self._results.put((next(self._controller, None), None))
            except BaseException as exc:  # noqa: BLE001  # carried to the caller's thread and raised there
                self._results.put((None, exc))

    def get(self, timeout: float | None) -> ChatStreamEvent | None:
        """The next event, None at the end; queue.Empty where it has not come in time, and then the
        next call waits for the same one."""
        if not self.waiting:
            self._jobs.put(True)
            self.waiting = True
        event, exc = self._results.get(timeout=timeout)
        self.waiting = False
        if exc is not None:
            raise exc
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self.waiting:  # the read must be over before anybody closes the stream
            self._controller.cancel("closed by the consumer")
            self._results.get()
        self._jobs.put(False)


async def atimed(lane: Lane) -> AsyncGenerator[ChatStreamEvent | None, None]:
    """The async twin of :func:`timed`."""
    sink, controller = lane.opened()
    for event in lane.head:
        yield event
    pending: asyncio.Future[ChatStreamEvent] | None = None
    try:
        while not sink.committed or pending is not None:
            if pending is None:
                pending = asyncio.ensure_future(anext(controller))
            due = sink.due()
            await asyncio.wait({pending}, timeout=None if due is None else max(0.0, due))
            if not pending.done():
                yield None
                continue
            done, pending = pending, None
            try:
                event = done.result()
            except StopAsyncIteration:
                return
            yield event
    finally:
        if pending is not None:
            pending.cancel()
            await asyncio.wait({pending})
            _retrieve(pending)
    async for event in controller:
        yield event
