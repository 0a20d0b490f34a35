"""The default transport: HTTP with httpx's transports, without httpx's Client.

Client spends its time on cookies, redirects and merging that no provider needs. What it did that
they do need is done here: the usual headers, decoding, proxies and certificates from the
environment, redirects refused with a clear error. ``handle_request`` is looked up at each call,
since vcrpy patches the classes.

Deadlines and cancellation act on the socket (see :mod:`.http_call`): they are exact, need no
watching thread, and no ping puts them off. A connection that the server closed while it was idle
is noticed before it is used again; one that it closes in the very moment of the request is reported
as ``cut``, since nobody can know what the server made of it. Nothing is ever sent twice.

Besides WireFailure and CancelledError two more may leave: ProviderError (malformed) for an event
without end, from the framing, and what is no network error at all, such as vcrpy's miss.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Mapping
from typing import Any

import httpx

from ..base.errors import WireFailure
from ..base.timeouts import CallScope
from ..base.wire import Endpoint, Framing, WireEvent, WireRequest, WireResponse
from ..codecs.framing import FrameDecoder, framing_decoder
from .http_call import Call
from .http_connections import Leases
from .http_content import content_decoder
from .http_exchange import (
    AsyncExchange,
    AsyncForeignExchange,
    Exchange,
    ForeignExchange,
    InProcessExchange,
)
from .http_request import RequestBuilder, own_timeouts, plain_timeouts
from .network_errors import wire_failure

MAX_ERROR_BYTES = 1024 * 1024
"""How much of an error's body is read and kept."""

IN_PROCESS = (httpx.MockTransport, httpx.WSGITransport)
"""Transports that run the caller's own code, which expects the caller's thread."""


class HttpTransport:
    """Calls ``endpoint`` over HTTP/1.1; serves threads and event loops alike, any number at once.

    ``httpx_transport`` is an httpx transport of the user's (sync, async or both: a proxy, mTLS,
    MockTransport) through which everything then goes; it stays the user's to close. Without one
    connections come from pools that all transports of the process share.
    """

    owned = True

    def __init__(self, endpoint: Endpoint, *, httpx_transport: Any = None) -> None:
        self._endpoint = endpoint
        self._foreign = httpx_transport
        self._requests = RequestBuilder(endpoint)
        self._leases = Leases(self._requests.pool_key)
        weakref.finalize(self, self._leases.release)

    def __repr__(self) -> str:
        return f"HttpTransport({self._endpoint!r})"

    # -- calls ------------------------------------------------------------------------------------

    def send(self, request: WireRequest, scope: CallScope) -> WireResponse:
        """The whole answer; raises WireFailure for everything but a 2xx status."""
        call = Call(scope)
        exchange: Exchange | None = None
        try:
            with _Mapping(call):
                exchange = self._exchange(call)
                status, headers = self._open(exchange, request)
                body = exchange.read_all()
                if (decoder := content_decoder(headers)) is not None:
                    body = decoder.decode(body)
                    decoder.finish()
                return WireResponse(status, headers, body)
        finally:
            call.end()
            if exchange is not None:
                exchange.close()

    async def asend(self, request: WireRequest, scope: CallScope) -> WireResponse:
        """The async twin of :meth:`send`."""
        call = Call(scope)
        exchange: AsyncExchange | None = None
        try:
            with _Mapping(call):
                exchange = self._async_exchange(call)
                status, headers = await self._aopen(exchange, request)
                body = await exchange.read_all()
                if (decoder := content_decoder(headers)) is not None:
                    body = decoder.decode(body)
                    decoder.finish()
                return WireResponse(status, headers, body)
        finally:
            call.end()
            if exchange is not None:
                await exchange.close()

    def stream(self, request: WireRequest, scope: CallScope) -> HttpStream:
        """The open answer, once its status and headers are here."""
        call = Call(scope)
        exchange: Exchange | None = None
        try:
            with _Mapping(call):
                exchange = self._exchange(call)
                status, headers = self._open(exchange, request)
                return HttpStream(status, headers, _Feed(headers, request.framing), exchange)
        except BaseException:
            call.end()
            if exchange is not None:
                exchange.close()
            raise

    async def astream(self, request: WireRequest, scope: CallScope) -> AsyncHttpStream:
        """The async twin of :meth:`stream`."""
        call = Call(scope)
        exchange: AsyncExchange | None = None
        try:
            with _Mapping(call):
                exchange = self._async_exchange(call)
                status, headers = await self._aopen(exchange, request)
                return AsyncHttpStream(status, headers, _Feed(headers, request.framing), exchange)
        except BaseException:
            call.end()
            if exchange is not None:
                await exchange.close()
            raise

    def close(self) -> None:
        """Give the pools back; the last transport out closes their idle connections.

        May be called twice, and the transport used again.
        """
        self._leases.release()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`; no socket of ours needs its loop to close."""
        self.close()

    # -- one exchange -----------------------------------------------------------------------------

    def _exchange(self, call: Call) -> Exchange:
        foreign = self._foreign
        if foreign is None:
            return Exchange(self._leases.pool(), call)
        if not hasattr(foreign, "handle_request"):
            raise WireFailure("local", "this httpx transport answers async calls only")
        kind = InProcessExchange if isinstance(foreign, IN_PROCESS) else ForeignExchange
        return kind(foreign, call)

    def _async_exchange(self, call: Call) -> AsyncExchange:
        foreign = self._foreign
        if foreign is None:
            return AsyncExchange(self._leases.async_pool(), call)
        if not hasattr(foreign, "handle_async_request"):
            raise WireFailure("local", "this httpx transport answers sync calls only")
        return AsyncForeignExchange(foreign, call)

    def _http_request(self, request: WireRequest, call: Call) -> httpx.Request:
        timeouts = own_timeouts(call) if self._foreign is None else plain_timeouts(call)
        return self._requests.build(request, timeouts)

    def _open(self, exchange: Exchange, request: WireRequest) -> tuple[int, dict[str, str]]:
        response = exchange.open(self._http_request(request, exchange.call))
        status, headers = response.status_code, plain_headers(response)
        if 200 <= status < 300:
            return status, headers
        body = _ErrorBody(headers)
        try:
            while body.wanted and (chunk := exchange.read()) is not None:
                body.take(chunk)
        except _CUT:
            pass  # the status says more than how its text broke off
        raise refusal(status, headers, body.text())

    async def _aopen(
        self, exchange: AsyncExchange, request: WireRequest
    ) -> tuple[int, dict[str, str]]:
        response = await exchange.open(self._http_request(request, exchange.call))
        status, headers = response.status_code, plain_headers(response)
        if 200 <= status < 300:
            return status, headers
        body = _ErrorBody(headers)
        try:
            while body.wanted and (chunk := await exchange.read()) is not None:
                body.take(chunk)
        except _CUT:
            pass  # the status says more than how its text broke off
        raise refusal(status, headers, body.text())


_CUT = (WireFailure, httpx.HTTPError, OSError)


class _Mapping:
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


def plain_headers(response: httpx.Response) -> dict[str, str]:
    """A response's headers with lower-case names; repeated ones are joined with commas."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> WireFailure:
    """The failure of an answer whose status is not 2xx."""
    if status >= 400:
        return WireFailure("status", f"HTTP {status}", status=status, headers=headers, body=body)
    message = f"HTTP {status} is no answer"
    if 300 <= status < 400:
        message = f"redirected to {headers.get('location', 'nowhere')!r}: mend the base URL"
    return WireFailure("local", message, status=status, headers=headers, body=body)


class _ErrorBody:
    """The text of an error, unpacked and bounded."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        try:
            self._decoder = content_decoder(headers)
        except WireFailure:
            self._decoder = None  # packed in a way nobody here reads: the codec sees the bytes

    @property
    def wanted(self) -> bool:
        return self._size < MAX_ERROR_BYTES

    def take(self, chunk: bytes) -> None:
        piece = chunk if self._decoder is None else self._decoder.decode(chunk)
        self._pieces.append(piece)
        self._size += len(piece)

    def text(self) -> bytes:
        return b"".join(self._pieces)[:MAX_ERROR_BYTES]


class _Feed:
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
        data = chunk if self._content is None else self._content.decode(chunk)
        if self._json and (start := data.lstrip()[:1]):
            self._json = False
            if start in b"{[":
                self._frames = _OneJson()
        return self._frames.feed(data)

    def finish(self) -> list[WireEvent]:
        if self._content is not None:
            self._content.finish()
        return self._frames.finish()


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
        self, status: int, headers: Mapping[str, str], feed: _Feed, exchange: Exchange
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
            with _Mapping(exchange.call):
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
        self, status: int, headers: Mapping[str, str], feed: _Feed, exchange: AsyncExchange
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
            with _Mapping(exchange.call):
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
