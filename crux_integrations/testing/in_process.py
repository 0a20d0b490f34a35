"""Replayed answers as streams: event by event, with faults, for httpx and httpx2.

vcrpy hands back a whole body. Here it is cut at the dialect's events again and played. A reset
raises the library's ReadError. A stall is a read on a socket that stays silent: it ends at the
client's own deadline, when the call is cancelled, or when the stream is closed, just as a read from
a silent provider would.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from functools import cache
from types import ModuleType
from typing import Any

from crux_providers.transports.http_call import Call, Line

from .faults import Playback, Send, Wait


def replayed_response(library: ModuleType, request: Any, playback: Playback) -> Any:
    """``playback`` as a response of ``library`` (httpx or httpx2) to ``request``."""
    timeout = request.extensions.get("timeout", {}).get("read")
    return library.Response(
        playback.status,
        headers=list(playback.headers.items()),
        stream=_stream_type(library)(playback, timeout),
    )


@cache
def _stream_type(library: ModuleType) -> Any:
    class ReplayedStream(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[name-defined, misc]  # one class per library
        def __init__(self, playback: Playback, timeout: float | None) -> None:
            self._playback = playback
            self._silence = _Silence(library, timeout)

        def __iter__(self) -> Iterator[bytes]:
            for step in self._playback.steps:
                match step:
                    case Send(data):
                        yield data
                    case Wait(seconds):
                        self._silence.last(seconds)
            self._end()

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for step in self._playback.steps:
                match step:
                    case Send(data):
                        yield data
                    case Wait(seconds):
                        await self._silence.alast(seconds)
            self._end()

        def close(self) -> None:
            self._silence.close()

        async def aclose(self) -> None:
            self._silence.close()

        def _end(self) -> None:
            if self._playback.reset:
                raise library.ReadError("[Errno 104] Connection reset by peer")

    return ReplayedStream


class _Silence:
    """A provider that says nothing. ``timeout`` is the request's read timeout: our transport's own
    is a :class:`Call`, which knows its deadlines and can be interrupted."""

    def __init__(self, library: ModuleType, timeout: float | None) -> None:
        self._library = library
        self._timeout = timeout
        self._socket: socket.socket | None = None

    def last(self, seconds: float) -> None:
        """Block for ``seconds``; raises what a read that is ended early raises."""
        call = self._timeout if isinstance(self._timeout, Call) else None
        limit = call.left() if call else self._timeout
        near, far = socket.socketpair()
        with near, far:
            self._begin(near, call)
            near.settimeout(max(0.001, seconds if limit is None else min(seconds, limit)))
            try:
                near.recv(1)
            except TimeoutError:
                if limit is None or seconds <= limit:
                    return
                raise self._ended(call) from None
            raise self._closed(call)

    async def alast(self, seconds: float) -> None:
        """The async twin of :meth:`last`."""
        call = self._timeout if isinstance(self._timeout, Call) else None
        if call is None:
            import anyio  # what httpx itself waits with; foreign transports may run under trio

            limit = self._timeout
            await anyio.sleep(seconds if limit is None else min(seconds, limit))
            if limit is not None and limit < seconds:
                raise self._ended(None)
            return
        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)
            self._begin(near, call)
            call.wait_begins()  # at the deadline it interrupts, and the read comes back empty
            try:
                async with asyncio.timeout(seconds):
                    await asyncio.get_running_loop().sock_recv(near, 1)
            except TimeoutError:
                return
            finally:
                call.wait_ends()
            raise self._closed(call)

    def close(self) -> None:
        """End a wait in another thread."""
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # nobody waits any more

    def _begin(self, near: socket.socket, call: Call | None) -> None:
        self._socket = near
        if call is not None:
            Line(near).serve(call)

    def _ended(self, call: Call | None) -> Exception:
        if call is not None:
            return call.broken(call.expired())
        timeout: Exception = self._library.ReadTimeout("The read operation timed out")
        return timeout

    def _closed(self, call: Call | None) -> Exception:
        closed: Exception = self._library.ReadError("the stream was closed while it was silent")
        return closed if call is None else call.broken(closed)
