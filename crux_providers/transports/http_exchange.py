"""One request and its answer, read in pieces: in this thread, in one that can be left, or async.

On connections of our own every wait obeys the call by itself. On a transport of the user's nobody
can interrupt a read, so it is waited for: in a thread that is left behind when a deadline or a
cancel comes, or, on an event loop, in a task that is cancelled.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import httpcore
import httpx

from ..base.abandon import ThreadReader
from ..base.cancellation import CancelledError
from ..base.errors import WireFailure
from .http_async_backend import waited_for
from .http_call import Call

T = TypeVar("T")

DRAIN_S = 0.002
"""How long leaving a stream waits for the few bytes that may follow the dialect's last event."""

DRAIN_BYTES = 16 * 1024
"""How many of them are worth reading to keep a connection."""

BARE_ERRORS = (httpcore.NetworkError, httpcore.ProtocolError)
"""What a bare connection raises; httpx's transports have errors of their own."""

GIVEN_UP = (WireFailure, CancelledError, httpx.HTTPError, *BARE_ERRORS, OSError)
"""What may end the reading of bytes that nobody needs."""


class Exchange:
    """On our own connections, and on transports that answer inside the process."""

    def __init__(self, transport: Any, call: Call) -> None:
        self.call = call
        self._transport = transport  # also keeps the pool open
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def open(self, request: httpx.Request) -> httpx.Response:
        """Send, and wait for the status and the headers."""
        self.call.left()
        response: httpx.Response = self._transport.handle_request(request)
        if not isinstance(response.stream, httpx.SyncByteStream):
            raise WireFailure("local", "this httpx transport answers async calls only")
        self._response = response
        self._chunks = iter(response.stream)
        return response

    def read(self) -> bytes | None:
        """The next piece of the body as it came, or None at its end."""
        return next(self._chunks, None)

    def read_all(self) -> bytes:
        """The rest of the body."""
        return b"".join(self._chunks)

    def leave(self) -> None:
        """Close, but keep the connection where the answer's end is here already."""
        call, size = self.call, 0
        call.drain(DRAIN_S)
        try:
            while size < DRAIN_BYTES and (chunk := self.read()) is not None:
                size += len(chunk)
        except GIVEN_UP:
            pass  # it is closed instead
        self.close()

    def close(self) -> None:
        """Done. A connection whose answer was read to its end is kept, any other is closed."""
        self.call.end()
        response, self._response = self._response, None
        if response is not None:
            response.stream.close()  # type: ignore[union-attr]  # open() has looked at its type


class InProcessExchange(Exchange):
    """On a transport that runs the caller's own code: there is nothing to interrupt."""

    def read(self) -> bytes | None:
        """The next piece, if there is time for it."""
        self.call.left()
        return super().read()

    def leave(self) -> None:
        """Close."""
        self.close()


class ForeignExchange(Exchange):
    """On a transport of the user's, in a thread that is left behind where it does not come back."""

    def __init__(self, transport: Any, call: Call) -> None:
        super().__init__(transport, call)
        self._reader = ThreadReader(call.scope)
        self._inside = False

    def _wait(self, job: Callable[[], T]) -> T:
        def tracked() -> T:
            self._inside = True
            try:
                return job()
            finally:
                self._inside = False

        return self._reader.call(tracked)

    def open(self, request: httpx.Request) -> httpx.Response:
        """Send, and wait for the status and the headers."""
        return self._wait(lambda: super(ForeignExchange, self).open(request))

    def read(self) -> bytes | None:
        """The next piece of the body as it came, or None at its end."""
        return self._wait(super().read)

    def read_all(self) -> bytes:
        """The rest of the body."""
        return self._wait(super().read_all)

    def leave(self) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Done. A read that was left behind ends with its socket, or by httpx's own timeout; the
        thread it is in closes the response then."""
        if self._inside:
            shut_socket(self._response)
            self._reader.close(super().close)
        else:
            self._reader.close(None)
            super().close()


def shut_socket(response: Any) -> None:
    """Wake whoever reads an answer (of httpx or httpx2) in a thread that was left behind."""
    stream = None if response is None else response.extensions.get("network_stream")
    sock = None if stream is None else stream.get_extra_info("socket")
    if isinstance(sock, socket.socket):
        try:
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            pass  # it is closed already


class AsyncExchange:
    """The async twin of :class:`Exchange`."""

    def __init__(self, transport: Any, call: Call) -> None:
        self.call = call
        self._transport = transport
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes]

    async def open(self, request: httpx.Request) -> httpx.Response:
        """Send, and wait for the status and the headers."""
        self.call.left()
        answer = self._transport.handle_async_request(request)
        response: httpx.Response = await self._bounded(answer)
        if not isinstance(response.stream, httpx.AsyncByteStream):
            raise WireFailure("local", "this httpx transport answers sync calls only")
        self._response = response
        self._chunks = aiter(response.stream)
        return response

    async def _bounded(self, awaitable: Any) -> Any:
        return await awaitable

    async def read(self) -> bytes | None:
        """The next piece of the body as it came, or None at its end."""
        try:
            chunk: bytes = await self._bounded(anext(self._chunks))
        except StopAsyncIteration:
            return None
        return chunk

    async def read_all(self) -> bytes:
        """The rest of the body."""
        return b"".join([chunk async for chunk in self._chunks])

    async def leave(self) -> None:
        """Close, but keep the connection where the answer's end is here already."""
        call, size = self.call, 0
        call.drain(DRAIN_S)
        try:
            while size < DRAIN_BYTES and (chunk := await self.read()) is not None:
                size += len(chunk)
        except GIVEN_UP:
            pass  # it is closed instead
        await self.close()

    async def close(self) -> None:
        """Done. A connection whose answer was read to its end is kept, any other is closed."""
        self.call.end()
        response, self._response = self._response, None
        if response is not None:
            await response.stream.aclose()  # type: ignore[union-attr]  # open() saw its type


class AsyncForeignExchange(AsyncExchange):
    """On a transport of the user's: what does not come back in time is cancelled."""

    async def _bounded(self, awaitable: Any) -> Any:
        return await waited_for(awaitable, self.call)

    async def read_all(self) -> bytes:
        """The rest of the body."""
        pieces = []
        while (chunk := await self.read()) is not None:
            pieces.append(chunk)
        return b"".join(pieces)

    async def leave(self) -> None:
        """Close."""
        await self.close()
