"""The two drivers of a stream, sync and async, over one lifecycle.

Every provider stream goes through here: start with timeout and retry, then deltas, then exactly
one terminal event. Nothing is sent before the first event is asked for.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator
from inspect import iscoroutinefunction
from typing import Any

from .abandon import AsyncThreadReader, ThreadReader, asleep, sleep, wait_for
from .cancellation import CancellationToken
from .errors import ProviderError
from .events import ChatStreamEvent
from .flow import Attempt, AttemptFlow, attempts
from .logging import LogContext, get_logger
from .retry import RetryConfig
from .streaming_lifecycle import (
    CLOSED_EARLY,
    Hook,
    StreamLifecycle,
    Translator,
    starter_parts,
)
from .timeouts import CallScope, TimeoutConfig, get_timeout_config

RetryFactory = Callable[[str], RetryConfig | None]


class _AdapterBase:
    """What both adapters share: arguments, lifecycle, the attempt flow."""

    def __init__(
        self,
        *,
        ctx: LogContext,
        provider_name: str,
        model: str,
        starter: Callable[[], Any],
        translator: Translator | None = None,
        retry_config_factory: RetryFactory | None = None,
        logger: logging.Logger | None = None,
        cancellation_token: CancellationToken | None = None,
        timeouts: TimeoutConfig | None = None,
        response_format: str | None = None,
        owned: bool = False,
        on_first: Hook | None = None,
        on_end: Hook | None = None,
    ) -> None:
        self.ctx = ctx
        self.starter = starter
        self.owned = owned
        self.token = cancellation_token if cancellation_token is not None else CancellationToken()
        self.timeouts = timeouts if timeouts is not None else get_timeout_config()
        self.scope = CallScope(self.timeouts, self.token)
        self._retry_config_factory = retry_config_factory
        self.lifecycle = StreamLifecycle(
            ctx=ctx,
            provider=provider_name,
            model=model,
            translator=translator,
            logger=logger if logger is not None else get_logger(),
            response_format=response_format,
            on_first=on_first,
            on_end=on_end,
        )

    def _flow(self) -> AttemptFlow:
        factory = self._retry_config_factory
        retry = (factory("start") if factory is not None else None) or RetryConfig()
        return attempts(retry, random.random)

    def _begin_attempt(self, step: Attempt) -> CallScope:
        self.lifecycle.begin_attempt(step.number)
        self.scope = CallScope(self.timeouts, self.token)
        return self.scope


class BaseStreamingAdapter(_AdapterBase):
    """Drives one synchronous stream.

    ``starter()`` opens it and returns an iterable of native chunks, ``(stream, mapping)`` or a
    mapping with ``stream`` (ids under ``request_id`` and ``response_id``); ``translator(chunk)``
    gives text, a ChatStreamEvent, a list of them, or None. ``retry_config_factory("start")`` says
    how often the start is tried. ``owned`` promises that starter and stream obey ``self.scope``;
    otherwise they run in a thread that is abandoned when a deadline or a cancel ends the wait.
    ``on_first`` and ``on_end`` are told of the first content and of the end.
    """

    def run(self) -> Iterator[ChatStreamEvent]:
        """The events, the terminal one last. Raises nothing but what is not an Exception."""
        life = self.lifecycle
        life.begin()
        try:
            yield from self._events()
            error = None
        except GeneratorExit:
            life.closed_early()
            raise
        except Exception as exc:  # noqa: BLE001  # every failure becomes the terminal event
            error = life.classify(exc)
        except BaseException:
            life.closed_early()
            raise
        yield life.end(error)

    def _events(self) -> Iterator[ChatStreamEvent]:
        life, flow = self.lifecycle, self._flow()
        step = next(flow)
        while True:
            if not isinstance(step, Attempt):
                sleep(step.seconds, self.token)
                step = flow.send(None)
                continue
            scope = self._begin_attempt(step)
            source = _OwnedSource(self) if self.owned else _ForeignSource(self, scope)
            try:
                try:
                    held, source_iter = self._start(source)
                except Exception as exc:  # noqa: BLE001  # the flow decides what is next
                    error = life.classify(exc)
                    try:
                        step = flow.send(error)
                    except StopIteration:
                        raise error from exc
                    continue
                for event in held:
                    yield event
                scope.resume()
                token = self.token
                for native in source_iter:
                    if token.reason is not None:
                        break
                    events = life.translate(native)
                    if events:
                        for event in events:
                            life.note(event)
                            yield event
                        scope.resume()
                token.raise_if_cancelled()
                return
            finally:
                source.close()

    def _start(
        self, source: _OwnedSource | _ForeignSource
    ) -> tuple[list[ChatStreamEvent], Iterator[Any]]:
        """Open the stream and read to the first committing event: the start phase."""
        life = self.lifecycle
        self.token.raise_if_cancelled()
        iterator = iter(source.open())
        held: list[ChatStreamEvent] = []
        for native in iterator:
            self.token.raise_if_cancelled()
            for event in life.translate(native):
                held.append(event)
                if life.note(event):
                    self.scope.committed()
            if life.emitted:
                return held, iterator  # what was counted is handed out, cancelled or not
        self.token.raise_if_cancelled()
        return held, iterator


class _OwnedSource:
    """A stream whose reads obey the scope: read in the consumer's own thread."""

    def __init__(self, adapter: BaseStreamingAdapter) -> None:
        self._adapter = adapter
        self._stream: Any = None

    def open(self) -> Any:
        self._stream, ids = starter_parts(self._adapter.starter())
        self._adapter.lifecycle.take_ids(ids)
        return self._stream

    def close(self) -> None:
        self._adapter.lifecycle.close_quietly(self._stream)


class _ForeignSource:
    """A stream that nobody can interrupt: read in a thread that can be left behind."""

    def __init__(self, adapter: BaseStreamingAdapter, scope: CallScope) -> None:
        self._adapter = adapter
        self._reader = ThreadReader(scope)
        self._stream: Any = None

    def open(self) -> Any:
        def start() -> None:
            self._stream, ids = starter_parts(self._adapter.starter())
            self._adapter.lifecycle.take_ids(ids)
            if not hasattr(self._stream, "__next__"):
                self._stream = iter(self._stream)

        self._reader.call(start)
        return self._chunks()

    def _chunks(self) -> Iterator[Any]:
        done = object()
        while (native := self._reader.call(lambda: next(self._stream, done))) is not done:
            yield native

    def close(self) -> None:
        self._reader.close(lambda: self._adapter.lifecycle.close_quietly(self._stream))


class StreamController:
    """An iterator over a stream's events that anybody may cancel.

    ``ctx`` holds request and response ids as they become known, ``error`` the ProviderError after
    an error terminal. Leaving early: ``close()``, or use it as a context manager.
    """

    def __init__(self, adapter: BaseStreamingAdapter) -> None:
        self._adapter = adapter
        self._events = adapter.run()

    @property
    def ctx(self) -> LogContext:
        """The log context with the ids of the stream."""
        return self._adapter.ctx

    @property
    def metrics(self) -> StreamLifecycle:
        """Counts, times and usage of the stream so far."""
        return self._adapter.lifecycle

    @property
    def error(self) -> ProviderError | None:
        """What ended the stream; None while it runs and after success."""
        return self._adapter.lifecycle.error

    def __iter__(self) -> Iterator[ChatStreamEvent]:
        return self

    def __next__(self) -> ChatStreamEvent:
        return next(self._events)

    def cancel(self, reason: str = "cancelled") -> None:
        """End the stream at once, from any thread; its terminal event is ``cancelled:<reason>``."""
        self._adapter.token.cancel(reason)

    def close(self) -> None:
        """Leave early: the socket is closed, the finalize record written.

        Safe to call twice, and from another thread: a reader that is inside ends at once with
        the terminal event of a cancelled stream.
        """
        try:
            self._events.close()  # type: ignore[attr-defined]  # run() is a generator
        except ValueError:  # another thread is inside the generator
            self._adapter.token.cancel(CLOSED_EARLY)

    def __enter__(self) -> StreamController:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class AsyncBaseStreamingAdapter(_AdapterBase):
    """The async twin of :class:`BaseStreamingAdapter`.

    ``starter`` may be a coroutine function or a plain one; its stream an async or a plain iterable.
    Where they are not ``owned``, plain ones run in a thread: they may block.
    """

    async def run(self) -> AsyncIterator[ChatStreamEvent]:
        """The events, the terminal one last."""
        life = self.lifecycle
        life.begin()
        events = self._events()
        try:
            async for event in events:
                yield event
            error = None
        except GeneratorExit:
            life.closed_early()
            raise
        except Exception as exc:  # noqa: BLE001  # every failure becomes the terminal event
            error = life.classify(exc)
        except BaseException:
            life.closed_early()
            raise
        finally:
            await events.aclose()  # type: ignore[attr-defined]  # _events() is a generator
        yield life.end(error)

    async def _events(self) -> AsyncIterator[ChatStreamEvent]:
        life, flow = self.lifecycle, self._flow()
        step = next(flow)
        while True:
            if not isinstance(step, Attempt):
                await asleep(step.seconds, self.token)
                step = flow.send(None)
                continue
            scope = self._begin_attempt(step)
            source = _AsyncSource(self, scope)
            try:
                try:
                    held = await self._start(source)
                except Exception as exc:  # noqa: BLE001  # the flow decides what is next
                    error = life.classify(exc)
                    try:
                        step = flow.send(error)
                    except StopIteration:
                        raise error from exc
                    continue
                for event in held:
                    yield event
                scope.resume()
                token = self.token
                async for native in source.chunks:
                    if token.reason is not None:
                        break
                    events = life.translate(native)
                    if events:
                        for event in events:
                            life.note(event)
                            yield event
                        scope.resume()
                token.raise_if_cancelled()
                return
            finally:
                await source.aclose()

    async def _start(self, source: _AsyncSource) -> list[ChatStreamEvent]:
        life = self.lifecycle
        self.token.raise_if_cancelled()
        await source.open()
        held: list[ChatStreamEvent] = []
        async for native in source.chunks:
            self.token.raise_if_cancelled()
            for event in life.translate(native):
                held.append(event)
                if life.note(event):
                    self.scope.committed()
            if life.emitted:
                return held
        self.token.raise_if_cancelled()
        return held


class _AsyncSource:
    """An async stream, owned or not; ``chunks`` iterates it under the scope.

    A plain starter or iterator that is not owned may block, so it runs in a thread that can be
    left behind and never in the loop's own.
    """

    def __init__(self, adapter: AsyncBaseStreamingAdapter, scope: CallScope) -> None:
        self._adapter = adapter
        self._scope = scope
        self._reader: AsyncThreadReader | None = None
        self._started: Any = None
        self._stream: Any = None
        self.chunks: AsyncIterator[Any]

    async def open(self) -> None:
        adapter = self._adapter
        if adapter.owned or iscoroutinefunction(adapter.starter):
            result = adapter.starter()
        else:
            result = await self._in_thread(self._start)
        if hasattr(result, "__await__"):
            result = await (result if adapter.owned else wait_for(result, self._scope))
        self._stream, ids = starter_parts(result)
        adapter.lifecycle.take_ids(ids)
        if not hasattr(self._stream, "__aiter__"):
            ready = adapter.owned or isinstance(self._stream, (list, tuple))
            self.chunks = _plain(self._stream) if ready else self._threaded()
        elif adapter.owned:
            self.chunks = aiter(self._stream)
        else:
            self.chunks = self._guarded(aiter(self._stream))

    def _start(self) -> Any:
        self._started = self._adapter.starter()
        return self._started

    async def _in_thread(self, job: Callable[[], Any]) -> Any:
        if self._reader is None:
            self._reader = AsyncThreadReader(self._scope)

        def unless_exhausted() -> Any:
            try:
                return job()
            except StopIteration as exc:  # which no future can hold
                raise RuntimeError("StopIteration outside of an iterator") from exc

        return await self._reader.call(unless_exhausted)

    async def _threaded(self) -> AsyncIterator[Any]:
        done = object()
        iterator = await self._in_thread(lambda: iter(self._stream))
        while (native := await self._in_thread(lambda: next(iterator, done))) is not done:
            yield native

    async def _guarded(self, iterator: AsyncIterator[Any]) -> AsyncIterator[Any]:
        while True:
            try:
                native = await wait_for(anext(iterator), self._scope)
            except StopAsyncIteration:
                return
            yield native

    async def aclose(self) -> None:
        stream, life = self._stream, self._adapter.lifecycle
        foreign = self._reader is not None and not hasattr(stream, "__aiter__")
        if self._reader is not None:  # what the thread is in the middle of is closed after it
            self._reader.close(self._close_late if foreign else None)
        close = getattr(stream, "aclose", None) or getattr(stream, "close", None)
        if foreign or not callable(close):
            return
        try:
            closing = close()
            if hasattr(closing, "__await__"):
                await closing
        except Exception as exc:  # noqa: BLE001  # foreign code; the stream is over whatever it says
            # An abandoned read is still inside the generator: it ends with its task.
            if not getattr(stream, "ag_running", False):
                life.close_failed(exc)

    def _close_late(self) -> None:
        stream = self._stream
        if stream is None and self._started is not None:  # a start that was left behind
            try:
                stream, _ = starter_parts(self._started)
            except ProviderError:
                return
        self._adapter.lifecycle.close_quietly(stream)


async def _plain(iterable: Any) -> AsyncIterator[Any]:
    for item in iterable:
        yield item


class AsyncStreamController:
    """The async twin of :class:`StreamController`: an async iterator with cancel and aclose."""

    def __init__(self, adapter: AsyncBaseStreamingAdapter) -> None:
        self._adapter = adapter
        self._events = adapter.run()

    @property
    def ctx(self) -> LogContext:
        """The log context with the ids of the stream."""
        return self._adapter.ctx

    @property
    def metrics(self) -> StreamLifecycle:
        """Counts, times and usage of the stream so far."""
        return self._adapter.lifecycle

    @property
    def error(self) -> ProviderError | None:
        """What ended the stream; None while it runs and after success."""
        return self._adapter.lifecycle.error

    def __aiter__(self) -> AsyncIterator[ChatStreamEvent]:
        return self

    async def __anext__(self) -> ChatStreamEvent:
        return await anext(self._events)

    def cancel(self, reason: str = "cancelled") -> None:
        """End the stream at once, from any thread; its terminal event is ``cancelled:<reason>``."""
        self._adapter.token.cancel(reason)

    async def aclose(self) -> None:
        """Leave early: the socket is closed, the finalize record written.

        Safe to call twice, and from another task: a reader that is inside ends at once with the
        terminal event of a cancelled stream.
        """
        try:
            await self._events.aclose()  # type: ignore[attr-defined]  # run() is a generator
        except RuntimeError:
            if not getattr(self._events, "ag_running", False):
                raise
            self._adapter.token.cancel(CLOSED_EARLY)  # another task is inside the generator

    async def __aenter__(self) -> AsyncStreamController:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()
