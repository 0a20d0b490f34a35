"""An answer that comes in pieces, read as events; what every transport over HTTP has in common."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from ..base.errors import ProviderError
from ..base.wire import Framing, WireEvent
from ..codecs.framing import FrameDecoder, framing_decoder
from ..codecs.reading import parse_json
from .http_call import Call
from .http_content import content_decoder
from .http_exchange import AsyncExchange, Exchange
from .network_errors import wire_failure


class NetworkErrors:
    """Within it a network error becomes a WireFailure; anything else passes as itself."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: object
    ) -> None:
        if exc is None:
            return
        failure = wire_failure(exc, phase=self._call.phase)
        if failure is not None and failure is not exc:
            raise failure


class EventFeed(Protocol):
    """What makes events of the pieces that an exchange reads."""

    def take(self, chunk: Any, /) -> list[WireEvent]:
        """The events that are complete with this piece."""
        ...

    def finish(self) -> list[WireEvent]:
        """What was held back when the pieces end."""
        ...


class BodyFeed:
    """From a body's pieces to events, without reading anything."""

    __slots__ = ("_content", "_frames", "_json")

    def __init__(self, headers: Mapping[str, str], framing: Framing) -> None:
        self._content = content_decoder(headers)
        self._frames: FrameDecoder = framing_decoder(framing)
        # Servers answer a stream's request with an error as plain JSON, and status 200.
        self._json = framing == "sse" and headers.get("content-type", "").startswith(
            "application/json"
        )

    def take(self, chunk: bytes) -> list[WireEvent]:
        """The events that are complete with this piece of the body."""
        data = chunk if self._content is None else self._content.decode(chunk)
        if self._json and (start := data.lstrip()[:1]):
            self._json = False
            if start in b"{[":
                self._frames = _OneJson()
        return self._frames.feed(data)

    def finish(self) -> list[WireEvent]:
        """What was held back at the body's end; raises WireFailure(cut) where that is missing."""
        if self._content is not None:
            self._content.finish()
        return [event for event in self._frames.finish() if _whole(event)]


def _whole(event: WireEvent) -> bool:
    # The last event, whose end never came. One that stops within its JSON was cut off: without it
    # the stream misses its end, which is what its decoder then says.
    try:
        parse_json(event.data)
    except ProviderError:
        return bool(event.data == "[DONE]")
    return True


class _OneJson:
    """A whole body as one event."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[WireEvent]:
        self._pieces.append(data)
        return []

    def finish(self) -> list[WireEvent]:
        return [WireEvent(b"".join(self._pieces))]


class HttpStream:
    """An open stream. Iterate for events; ``close`` ends it early, from any thread."""

    owned = True
    __slots__ = (
        "_exchange",
        "_feed",
        "_left",
        "_lock",
        "_over",
        "_reading",
        "_ready",
        "headers",
        "status",
    )

    def __init__(
        self, status: int, headers: Mapping[str, str], feed: EventFeed, exchange: Exchange
    ) -> None:
        self.status = status
        self.headers = headers
        self._feed = feed
        self._exchange = exchange
        self._ready: deque[WireEvent] = deque()
        self._lock = threading.Lock()  # between a reader and whoever closes
        self._reading = False
        self._over = False
        self._left = False  # by whoever closed it, perhaps in the middle of a read

    def __iter__(self) -> HttpStream:
        return self

    def __next__(self) -> WireEvent:
        ready = self._ready
        while not ready:
            if not self._pull():
                raise StopIteration
        return ready.popleft()

    def _pull(self) -> bool:
        """Read once; False where the stream is over."""
        exchange = self._exchange
        with self._lock:
            if self._over:
                return False
            self._reading = True
        try:
            with NetworkErrors(exchange.call):
                chunk = exchange.read()
                events = self._feed.finish() if chunk is None else self._feed.take(chunk)
        except BaseException:
            self._over = True
            exchange.close()
            raise
        with self._lock:
            self._reading = False
            self._over = self._left or chunk is None
        if self._over:
            exchange.close()
        if self._left:
            return False
        self._ready.extend(events)
        return True

    def close(self) -> None:
        """End the stream. The socket is closed unless the answer's end has come already."""
        with self._lock:
            if self._over:
                return
            self._over = self._left = True
            reading = self._reading
        self._ready.clear()
        if reading:
            self._exchange.call.interrupt()  # the reader, in another thread, closes the rest
        else:
            self._exchange.leave()

    def __del__(self) -> None:
        if not self._over:
            self._exchange.call.drop()


class AsyncHttpStream:
    """The async twin of :class:`HttpStream`."""

    owned = True
    __slots__ = ("_exchange", "_feed", "_left", "_over", "_reading", "_ready", "headers", "status")

    def __init__(
        self, status: int, headers: Mapping[str, str], feed: EventFeed, exchange: AsyncExchange
    ) -> None:
        self.status = status
        self.headers = headers
        self._feed = feed
        self._exchange = exchange
        self._ready: deque[WireEvent] = deque()
        self._reading = False
        self._over = False
        self._left = False  # by whoever closed it, perhaps in the middle of a read

    def __aiter__(self) -> AsyncHttpStream:
        return self

    async def __anext__(self) -> WireEvent:
        ready = self._ready
        while not ready:
            if not await self._pull():
                raise StopAsyncIteration
        return ready.popleft()

    async def _pull(self) -> bool:
        """Read once; False where the stream is over."""
        exchange = self._exchange
        if self._over:
            return False
        self._reading = True
        try:
            with NetworkErrors(exchange.call):
                chunk = await exchange.read()
                events = self._feed.finish() if chunk is None else self._feed.take(chunk)
        except BaseException:
            self._over = True
            await exchange.close()
            raise
        self._reading = False
        self._over = self._left or chunk is None
        if self._over:
            await exchange.close()
        if self._left:
            return False
        self._ready.extend(events)
        return True

    async def aclose(self) -> None:
        """End the stream. The socket is closed unless the answer's end has come already."""
        if self._over:
            return
        self._over = self._left = True
        self._ready.clear()
        if self._reading:
            self._exchange.call.interrupt()  # the reader, another task, closes the rest
        else:
            await self._exchange.leave()

    def __del__(self) -> None:
        if not self._over:
            self._exchange.call.drop()
