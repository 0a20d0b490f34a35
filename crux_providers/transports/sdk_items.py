"""Calls through a provider's SDK, read item by item: on lines of our own, or left behind.

An SDK that takes an HTTP transport of ours obeys every deadline by itself. In any other nobody can
interrupt a read, so it is waited for: in a thread that is left behind when a deadline or a cancel
comes, or, where the SDK is async itself, in a task that is cancelled. Either way the caller goes on
at once; a read that was left behind ends by the time limit it was given.

An exchange is what :class:`~.http_stream.HttpStream` reads from; its items are events as the SDK
parsed them.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from ..base.abandon import AsyncThreadReader, ThreadReader
from ..base.errors import ErrorCode, ProviderError, WireFailure, passes_through
from ..base.timeouts import CallScope
from ..base.wire import WireEvent, WireRequest, WireResponse
from .http_async_backend import waited_for
from .http_call import Call
from .http_exchange import AsyncExchange, Exchange
from .http_stream import AsyncHttpStream, HttpStream
from .network_errors import wire_failure
from .sdk_bridges import HandedOverExchange, Home, LoopExchange
from .sdk_errors import chain
from .sdk_imports import import_sdk

T = TypeVar("T")

Translate = Callable[[BaseException, "Seen"], Exception | None]
"""An SDK's exception as what a transport raises, or None where it is not the SDK's to explain."""


@dataclass(slots=True)
class Seen:
    """What is known of the HTTP answer beneath: its status, its headers (names in lower case)."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def need_sdk(module: str, extra: str) -> Any:
    """The SDK's module; raises ProviderError ``unsupported`` with the command that installs it."""
    try:
        return import_sdk(module, extra)
    except WireFailure as failure:
        raise ProviderError(ErrorCode.UNSUPPORTED, failure.message, cause=failure) from failure


def raise_as(exc: BaseException, translated: Exception | None, call: Call) -> NoReturn:
    """Raise ``translated``, else what the network table makes of ``exc``, else ``exc`` itself.

    A cassette's miss beneath it leaves as itself.
    """
    if (miss := next(filter(passes_through, chain(exc)), None)) is not None:
        raise miss
    found = translated or wire_failure(exc, phase=call.phase)
    if found is None or found is exc:
        raise exc
    try:
        raise found from found.__cause__
    finally:
        found.__context__ = found.__cause__  # not the SDK's, which may hold the request's headers


def limits_of(call: Call) -> tuple[float | None, float | None]:
    """Seconds for an SDK's own limits: of connecting, and of one read.

    The waiting for it is what keeps the call's deadlines; these end what is left behind. They are
    the same from call to call, since SDKs keep a client for each that they meet.
    """
    read = call.scope.timeouts.total
    connect = None if call == math.inf else float(call)
    return (read if connect is None else connect), read


class ItemFeed:
    """Items that an SDK has parsed already, as wire events."""

    __slots__ = ()

    def take(self, item: Any) -> list[WireEvent]:
        """The item's event."""
        return [item if isinstance(item, WireEvent) else WireEvent(item)]

    def finish(self) -> list[WireEvent]:
        """Nothing is held back."""
        return []


class ItemExchange:
    """A call in this thread, or (``leave_behind``) in one that can be left.

    A stream's first item is read when it is opened: SDKs send nothing before they are asked for
    it, and only then are status and headers known.
    """

    def __init__(self, scope: CallScope, translate: Translate, *, leave_behind: bool) -> None:
        self.call = Call(scope)
        self.seen = Seen()
        self._translate = translate
        self._reader = ThreadReader(scope) if leave_behind else None
        self._inside = False
        self._items: Iterator[Any] = iter(())
        self._first: list[Any] = []

    def run(self, job: Callable[[], T]) -> T:
        """The job's result under the call's deadlines; its errors as a transport's."""
        self.call.left()
        work = self._tracked(job)
        return work() if self._reader is None else self._reader.call(work)

    def _tracked(self, job: Callable[[], T]) -> Callable[[], T]:
        def tracked() -> T:
            self._inside = True
            try:
                return job()
            except Exception as exc:  # noqa: BLE001  # raised again as what it means
                # Here, where it was raised: raising it in another thread changes its context.
                raise_as(exc, self._translate(exc, self.seen), self.call)
            finally:
                self._inside = False

        return tracked

    def open(self, start: Callable[[], Iterator[Any]]) -> None:
        """Send, and wait for the first item."""

        def begin() -> Any:
            self._items = start()
            return next(self._items, None)

        self._first = [self.run(begin)]

    def read(self) -> Any:
        """The next item, or None at the end."""
        if self._first:
            return self._first.pop()
        return self.run(lambda: next(self._items, None))

    def leave(self) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Done. What a thread that was left behind has open, it closes when it comes to."""
        if self._reader is None:
            close_items(self._items)
        elif self._inside:
            self._reader.close(lambda: close_items(self._items))
        else:
            self._reader.close(None)
            close_items(self._items)
        self.call.end()


class AsyncItemExchange:
    """The async twin of :class:`ItemExchange`, for SDKs that are async themselves."""

    def __init__(self, scope: CallScope, translate: Translate, *, leave_behind: bool) -> None:
        self.call = Call(scope)
        self.seen = Seen()
        self._translate = translate
        self._leave_behind = leave_behind
        self._items: AsyncIterator[Any] | None = None
        self._first: list[Any] = []

    async def run(self, job: Callable[[], Awaitable[T]]) -> T:
        """The job's result under the call's deadlines; its errors as a transport's."""
        self.call.left()
        work = self._mapped(job)
        return await (waited_for(work, self.call) if self._leave_behind else work)

    async def _mapped(self, job: Callable[[], Awaitable[T]]) -> T:
        try:
            return await job()
        except Exception as exc:  # noqa: BLE001  # raised again as what it means
            raise_as(exc, self._translate(exc, self.seen), self.call)

    async def open(self, start: Callable[[], Awaitable[AsyncIterator[Any]]]) -> None:
        """Send, and wait for the first item."""

        async def begin() -> Any:
            self._items = await start()
            return await anext(self._items, None)

        self._first = [await self.run(begin)]

    async def read(self) -> Any:
        """The next item, or None at the end."""
        if self._first:
            return self._first.pop()
        items = self._items
        if items is None:
            return None

        async def step() -> Any:
            return await anext(items, None)

        return await self.run(step)

    async def leave(self) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Done."""
        close = getattr(self._items, "aclose", None)
        self._items = None
        if close is not None:
            await close()
        self.call.end()


class AsyncThreadItems:
    """An async call of an SDK that knows only threads: it works in one, which can be left."""

    def __init__(self, scope: CallScope, translate: Translate) -> None:
        self._inner = ItemExchange(scope, translate, leave_behind=False)
        self._thread = AsyncThreadReader(scope)
        self.call = self._inner.call
        self.seen = self._inner.seen

    async def run(self, job: Callable[[], T]) -> T:
        """The job's result under the call's deadlines; its errors as a transport's."""
        return await self._thread.call(lambda: self._inner.run(job))

    async def open(self, start: Callable[[], Iterator[Any]]) -> None:
        """Send, and wait for the first item."""
        await self._thread.call(lambda: self._inner.open(start))

    async def read(self) -> Any:
        """The next item, or None at the end."""
        return await self._thread.call(self._inner.read)

    async def leave(self) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Done. The thread closes what is open, now or when it comes to."""
        self.call.end()
        self._thread.close(self._inner.close)


class LoopItems(LoopExchange):
    """A sync call on a ready async client: this thread waits while the client's loop works."""

    def __init__(self, inner: AsyncItemExchange, home: Home) -> None:
        Exchange.__init__(self, None, inner.call)
        self._inner: Any = inner
        self._home = home
        self.seen = inner.seen

    def run(self, job: Callable[[], Awaitable[T]]) -> T:
        """The job's result under the call's deadlines; its errors as a transport's."""
        result: T = self._run(self._inner.run(job))
        return result


class HandedOverItems(HandedOverExchange):
    """An async call on a ready async client from another event loop than the client's."""

    def __init__(self, inner: AsyncItemExchange, home: Home) -> None:
        AsyncExchange.__init__(self, None, inner.call)
        self._inner: Any = inner
        self._home = home
        self.seen = inner.seen

    async def run(self, job: Callable[[], Awaitable[T]]) -> T:
        """The job's result under the call's deadlines; its errors as a transport's."""
        result: T = await self._run(self._inner.run(job))
        return result


def close_items(items: Any) -> None:
    """Close an iterator that can be closed."""
    close = getattr(items, "close", None)
    if close is not None:
        close()


class SdkTransport:
    """The four calls over an SDK, but for how it is asked.

    A subclass says how: ``_whole`` and ``_items`` return a job that asks and gives back the
    answer's JSON or an iterator of events, in the manner (blocking or async) of the exchange they
    are given. ``_exchange`` and ``_async_exchange`` choose that.
    """

    owned = True
    _leave_behind = True

    def _translate(self, exc: BaseException, seen: Seen) -> Exception | None:
        raise NotImplementedError

    def _whole(self, request: WireRequest, exchange: Any) -> Callable[[], Any]:
        raise NotImplementedError

    def _items(self, request: WireRequest, exchange: Any) -> Callable[[], Any]:
        raise NotImplementedError

    def _exchange(self, scope: CallScope) -> Any:
        return ItemExchange(scope, self._translate, leave_behind=self._leave_behind)

    def _async_exchange(self, scope: CallScope) -> Any:
        return AsyncItemExchange(scope, self._translate, leave_behind=self._leave_behind)

    def send(self, request: WireRequest, scope: CallScope) -> WireResponse:
        """The whole answer as JSON; raises WireFailure for everything but a 2xx status."""
        exchange = self._exchange(scope)
        try:
            body = exchange.run(self._whole(request, exchange))
            return WireResponse(exchange.seen.status or 200, exchange.seen.headers, body)
        finally:
            exchange.close()

    async def asend(self, request: WireRequest, scope: CallScope) -> WireResponse:
        """The async twin of :meth:`send`."""
        exchange = self._async_exchange(scope)
        try:
            body = await exchange.run(self._whole(request, exchange))
            return WireResponse(exchange.seen.status or 200, exchange.seen.headers, body)
        finally:
            await exchange.close()

    def stream(self, request: WireRequest, scope: CallScope) -> HttpStream:
        """The open answer, once its first event is here."""
        exchange = self._exchange(scope)
        try:
            exchange.open(self._items(request, exchange))
        except BaseException:
            exchange.close()
            raise
        seen = exchange.seen
        return HttpStream(seen.status or 200, seen.headers, ItemFeed(), exchange)

    async def astream(self, request: WireRequest, scope: CallScope) -> AsyncHttpStream:
        """The async twin of :meth:`stream`."""
        exchange = self._async_exchange(scope)
        try:
            await exchange.open(self._items(request, exchange))
        except BaseException:
            await exchange.close()
            raise
        seen = exchange.seen
        return AsyncHttpStream(seen.status or 200, seen.headers, ItemFeed(), exchange)
