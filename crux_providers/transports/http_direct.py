"""Bare connections: one request at a time over a stream of ours, with nothing between.

What httpx and httpcore do for a call (three kinds of request, locks, hooks, a state machine that
checks what we wrote ourselves) costs more than the sockets do. This is the same exchange without
it, for the common case: no proxy, and nobody who listens in. Whoever wants to see the traffic
replaces a method of httpx or httpcore (vcrpy, respx, tracers): :func:`listened_to` notices that,
and the call goes their way.
"""

from __future__ import annotations

import ssl
import time
from types import FunctionType
from typing import Any, Self

import httpcore
import httpx

from .http_async_backend import AsyncBackend
from .http_call import Call
from .http_sync_backend import SyncBackend
from .http_wire import AnswerReader

READ_BYTES = 64 * 1024
_ALPN = ["http/1.1"]

_SEAMS: tuple[tuple[type[Any], str], ...] = (
    (httpx.HTTPTransport, "handle_request"),
    (httpx.AsyncHTTPTransport, "handle_async_request"),
    (httpcore.HTTPConnection, "handle_request"),
    (httpcore.AsyncHTTPConnection, "handle_async_request"),
)
"""Where tools that record, replay or trace put themselves."""

_OWN_FILES = {  # a replacement, even one that calls itself the same, is written somewhere else
    seam: seam[0].__init__.__code__.co_filename for seam in _SEAMS
}


def listened_to() -> bool:
    """Whether somebody has replaced one of the methods through which traffic can be seen."""
    for seam in _SEAMS:
        method = getattr(*seam)
        if type(method) is not FunctionType or method.__code__.co_filename != _OWN_FILES[seam]:
            return True
    return False


class _Keepable:
    """What both kinds of connection have in common."""

    __slots__ = ("_expire_at", "answer", "stream")

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.answer: AnswerReader | None = None
        self._expire_at = 0.0

    def is_idle(self) -> bool:
        """Whether it may serve a request: the last answer was read to its end."""
        return self.answer is None or self.answer.reusable

    def keep(self, seconds: float) -> None:
        """It waits for the next request, so long."""
        self.answer = None
        self._expire_at = time.monotonic() + seconds

    def has_expired(self) -> bool:
        """Whether its time is over, or the server closed it (or said something unasked)."""
        return time.monotonic() > self._expire_at or self.stream.line.is_readable()

    def close(self) -> None:
        """Close the socket."""
        self.stream.line.close()


class DirectConnection(_Keepable):
    """A connection for threads."""

    __slots__ = ()

    @classmethod
    def open(
        cls, backend: SyncBackend, host: str, port: int, tls: ssl.SSLContext | None, call: Call
    ) -> Self:
        """Connect; raises what the backend raises."""
        stream: Any = backend.connect_tcp(host, port, call)
        if tls is not None:
            tls.set_alpn_protocols(_ALPN)
            stream = stream.start_tls(tls, host, call)
        return cls(stream)

    def ask(self, method: str, request: bytes, call: Call) -> AnswerReader:
        """Send, and wait for the head of the answer."""
        answer = self.answer = AnswerReader(method)
        stream = self.stream
        try:
            stream.write(request, call)
        except httpcore.WriteError:
            pass  # the server may have answered before it hung up
        while answer.status_code == 0:
            answer.receive(stream.read(READ_BYTES, call))
        return answer


class AsyncDirectConnection(_Keepable):
    """The async twin of :class:`DirectConnection`."""

    __slots__ = ()

    @classmethod
    async def open(
        cls, backend: AsyncBackend, host: str, port: int, tls: ssl.SSLContext | None, call: Call
    ) -> Self:
        """Connect; raises what the backend raises."""
        stream: Any = await backend.connect_tcp(host, port, call)
        if tls is not None:
            tls.set_alpn_protocols(_ALPN)
            stream = await stream.start_tls(tls, host, call)
        return cls(stream)

    async def ask(self, method: str, request: bytes, call: Call) -> AnswerReader:
        """Send, and wait for the head of the answer."""
        answer = self.answer = AnswerReader(method)
        stream = self.stream
        try:
            await stream.write(request, call)
        except httpcore.WriteError:
            pass  # the server may have answered before it hung up
        while answer.status_code == 0:
            answer.receive(await stream.read(READ_BYTES, call))
        return answer
