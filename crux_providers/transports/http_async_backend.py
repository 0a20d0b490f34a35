"""httpcore's network backend for asyncio, on plain non-blocking sockets.

No asyncio transport stands between: the socket is ours, so that shutting it down from any thread
ends a read, and a pool whose loop is long closed can still close it. It runs on asyncio's loops and
uvloop, not on trio.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

import httpcore

from ..base.abandon import wait_for
from .http_call import Call, Line, Lines
from .http_sync_backend import HELD_BYTES, a_call, numeric_addresses, tune
from .http_tls import RECORD_BYTES, Steps, TLSSession

T = TypeVar("T")

LEAVE_S = 0.1
"""What a cancelled task gets to clean up; a well-behaved one needs a turn of the loop or two."""

TURN_READS = 16
"""Reads after which other tasks get a turn: a stream that never runs dry would never suspend."""


class AsyncBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections for one pool of one event loop; ``lines`` are those still open."""

    def __init__(self) -> None:
        self.lines = Lines()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first address of ``host`` that answers."""
        call = a_call(timeout)
        seconds = call.left(connecting=True)
        try:
            async with asyncio.timeout(seconds):
                line = await waited_for(_dial(host, port, call), call)
        except TimeoutError:
            raise call.expired() from None
        self.lines.add(line)
        return AsyncStream(line)


async def waited_for(awaitable: Awaitable[T], call: Call) -> T:
    """Await what cannot be ended through a socket; where its time is over it is cancelled.

    It gets a moment to close what it has open, so that nothing is left when this returns.
    """
    work = asyncio.ensure_future(awaitable)
    try:
        return await wait_for(work, call.scope)
    except BaseException:
        if not work.done():
            await asyncio.wait({work}, timeout=LEAVE_S)
        if work.done() and not work.cancelled():
            work.exception()  # seen: asyncio need not complain that nobody looked
        raise


async def _dial(host: str, port: int, call: Call) -> Line:
    loop = asyncio.get_running_loop()
    addresses = numeric_addresses(host, port)
    if addresses is None:
        try:
            addresses = list(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as exc:
            raise httpcore.ConnectError(f"{host}: {exc}") from exc
    failure: Exception = httpcore.ConnectError(f"{host} has no address")
    for place, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        line = Line(sock)
        try:
            line.serve(call)
            seconds = call.left(connecting=True)
            ways = len(addresses) - place
            share = None if seconds is None or ways == 1 else seconds / ways
            async with asyncio.timeout(share):
                await loop.sock_connect(sock, address)
            tune(sock)
        except OSError as exc:
            line.close()
            refused = httpcore.ConnectError(f"{host}:{port}: {exc}")
            failure = call.broken(call.expired() if isinstance(exc, TimeoutError) else refused)
            call.left(connecting=True)
        except BaseException:
            line.close()
            raise
        else:
            return line
    raise failure


class _Plain:
    """Bytes over a line's socket."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._reads = 0

    async def receive(self, size: int, call: Call, *, connecting: bool = False) -> bytes:
        self._reads += 1
        if self._reads % TURN_READS == 0:
            await asyncio.sleep(0)
        call.wait_begins(connecting=connecting)
        try:
            data = await asyncio.get_running_loop().sock_recv(self.line.sock, size)
        except OSError as exc:
            raise call.broken(httpcore.ReadError(str(exc))) from exc
        finally:
            call.wait_ends()
        if not data and (failure := call.broken(_END)) is not _END:
            raise failure
        return data

    async def send(self, data: bytes, call: Call, *, connecting: bool = False) -> None:
        call.left(connecting=connecting)
        sock = self.line.sock
        try:
            sent = sock.send(data)  # the system's buffer mostly has room: nothing to wait for
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as exc:
            raise call.broken(httpcore.WriteError(str(exc))) from exc
        if sent == len(data):
            return
        call.wait_begins(connecting=connecting)
        try:
            await asyncio.get_running_loop().sock_sendall(sock, memoryview(data)[sent:])
        except OSError as exc:
            raise call.broken(httpcore.WriteError(str(exc))) from exc
        finally:
            call.wait_ends()


_END = httpcore.ReadError("the connection ended")


class _Secure:
    """Bytes through TLS, over a plain channel or another secure one."""

    def __init__(
        self, inner: _Plain | _Secure, context: ssl.SSLContext, server_hostname: str | None
    ) -> None:
        self._inner = inner
        self.session = TLSSession(context, server_hostname)

    async def handshake(self, call: Call) -> None:
        await self._run(self.session.handshake(), call, connecting=True)

    async def receive(self, size: int, call: Call, *, connecting: bool = False) -> bytes:
        try:
            data: bytes = await self._run(self.session.read(size), call, connecting=connecting)
        except ssl.SSLError as exc:
            raise call.broken(httpcore.ReadError(str(exc))) from exc
        return data

    async def send(self, data: bytes, call: Call, *, connecting: bool = False) -> None:
        try:
            await self._run(self.session.write(data), call, connecting=connecting)
        except ssl.SSLError as exc:
            raise call.broken(httpcore.WriteError(str(exc))) from exc

    async def _run(self, steps: Steps, call: Call, *, connecting: bool) -> Any:
        received: bytes | None = None
        while True:
            try:
                wanted = steps.send(received)
            except StopIteration as stop:
                return stop.value
            received = None
            if wanted is None:
                received = await self._inner.receive(RECORD_BYTES, call, connecting=connecting)
            else:
                await self._inner.send(wanted, call, connecting=connecting)


class AsyncStream(httpcore.AsyncNetworkStream):
    """A connection: ``line`` can be shut down, the channel over it (perhaps TLS) is read."""

    def __init__(self, line: Line, channel: _Plain | _Secure | None = None) -> None:
        self.line = line
        self._channel = channel if channel is not None else _Plain(line)
        self._held = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Up to ``max_bytes``; b"" at the end."""
        call = self.line.serve(timeout)
        if self._held:
            held, self._held = self._held, b""
            try:
                await self._channel.send(held, call)
            except httpcore.WriteError:
                pass  # the server may have answered before it hung up
        return await self._channel.receive(max_bytes, call)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send ``buffer``, at the latest with the next read."""
        call = self.line.serve(timeout)
        data = self._held + buffer if self._held else bytes(buffer)
        if len(data) < HELD_BYTES:
            self._held = data
            return
        self._held = b""
        await self._channel.send(data, call)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """TLS over this connection; over TLS too, as a tunnel through an https proxy needs."""
        call = self.line.serve(timeout)
        try:
            channel = _Secure(self._channel, ssl_context, server_hostname)
            await channel.handshake(call)
        except (httpcore.NetworkError, ssl.SSLError, ValueError) as exc:
            self.line.close()
            raise call.broken(httpcore.ConnectError(f"TLS: {exc}")) from exc
        except BaseException:
            self.line.close()
            raise
        return AsyncStream(self.line, channel)

    async def aclose(self) -> None:
        """Close the socket."""
        self.line.close()

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks about a connection."""
        sock = self.line.sock
        match info:
            case "is_readable":
                return self.line.is_readable()
            case "ssl_object":
                return self._channel.session.object if isinstance(self._channel, _Secure) else None
            case "socket":
                return sock
            case "client_addr":
                return sock.getsockname()
            case "server_addr":
                return sock.getpeername()
            case _:
                return None
