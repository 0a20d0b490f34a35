"""Pools: open connections kept for the next call, shared by the transports of one process.

A pool serves one origin under one set of proxy and TLS settings, for threads or for one event loop.
Transports lease it: the last one out closes its idle connections, and with an event loop its pools
go too. A forked child starts with none; it only drops its copies of the parent's sockets, so that
the parent's go on.

httpcore's own pool walks over all connections twice per request, queues requests where it could
open a connection, and with asyncio can lose one to a cancelled task. With one origin a pool is
just the list of its idle connections, so httpcore's is used here for what it knows best: making
connections through proxies, and serving whoever comes with httpx's requests. Where no proxy stands
between, a call may take a bare connection (see :mod:`.http_direct`), at about half the cost.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import ssl
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from ..base.errors import WireFailure
from .http_async_backend import AsyncBackend
from .http_call import Call
from .http_direct import AsyncDirectConnection, DirectConnection
from .http_environment import Certificates, forget_locks_after_fork, ssl_context
from .http_sync_backend import SyncBackend

KEEPALIVE_S = 30.0
"""How long an idle connection is kept; servers drop theirs after 5 s (uvicorn) to minutes."""

MAX_IDLE = 256
"""Idle connections kept by one pool. Connections in use have no limit: a call never queues."""


@dataclass(frozen=True, slots=True)
class PoolKey:
    """What connections must have in common to be shared."""

    scheme: str
    host: str
    port: int
    proxy: str | None
    certificates: Certificates

    @property
    def bare(self) -> bool:
        """Whether bare connections serve it: no proxy stands between."""
        return self.proxy is None

    def origin(self) -> httpcore.Origin:
        """The server, as httpcore names it."""
        return httpcore.Origin(self.scheme.encode(), self.host.encode("ascii"), self.port)

    def connection_options(self) -> dict[str, Any]:
        """What both kinds of httpcore pool take; raises WireFailure(local) for a proxy it cannot
        speak to or certificates it cannot read."""
        return {
            "ssl_context": self.tls(),
            "proxy": self._proxy(),
            "keepalive_expiry": KEEPALIVE_S,
        }

    def tls(self) -> ssl.SSLContext | None:
        """What connections to the server are encrypted with; made once for all that ask."""
        return ssl_context(self.certificates) if self.scheme == "https" else None

    def _proxy(self) -> httpcore.Proxy | None:
        if self.proxy is None:
            return None
        try:
            proxy = httpx.Proxy(self.proxy)
        except (ValueError, httpx.InvalidURL):
            # No cause: its message repeats the URL, which may hold a password.
            raise WireFailure("local", "the proxy is no http, https or socks5 URL") from None
        url = proxy.url
        if url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
            raise WireFailure(
                "local", "a SOCKS proxy needs the package socksio (pip install 'httpx[socks]')"
            )
        return httpcore.Proxy(
            url=httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            auth=proxy.raw_auth,
            headers=proxy.headers.raw,
            ssl_context=ssl_context(self.certificates) if url.scheme == "https" else None,
        )


class Connections:
    """A pool for threads: idle connections, the latest used first."""

    def __init__(self, key: PoolKey) -> None:
        self.backend = SyncBackend()
        self.closed = False
        self.key = key
        self._origin = key.origin()
        self._factory = httpcore.ConnectionPool(
            **key.connection_options(), network_backend=self.backend
        )
        self._idle: deque[httpcore.ConnectionInterface] = deque()
        self._direct: deque[DirectConnection] = deque()

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        """One request on an idle connection that still lives, else on a new one."""
        connection = _alive(self._idle) or self._factory.create_connection(self._origin)
        response = connection.handle_request(request)
        response.stream = _Body(response.stream, connection, self)
        return response

    def direct(self, call: Call) -> DirectConnection:
        """A bare connection for a call: an idle one that still lives, else a new one."""
        return _alive(self._direct) or DirectConnection.open(
            self.backend, self.key.host, self.key.port, self.key.tls(), call
        )

    def give_back(self, connection: httpcore.ConnectionInterface | DirectConnection) -> None:
        """Keep a connection whose answer was read to its end; close any other."""
        bare = isinstance(connection, DirectConnection)
        idle: deque[Any] = self._direct if bare else self._idle
        if connection.is_idle() and not self.closed and len(idle) < MAX_IDLE:
            if isinstance(connection, DirectConnection):
                connection.keep(KEEPALIVE_S)
            idle.append(connection)
            _prune(idle)
        else:
            connection.close()

    def retire(self, *, idle_only: bool = False) -> None:
        """Close the sockets, or those of idle connections; none is kept from here on."""
        self.closed = True
        self.backend.lines.close(idle_only=idle_only)
        self._idle.clear()
        self._direct.clear()

    def forget(self) -> None:
        """In a forked child: none of these connections is ours."""
        self.closed = True
        self.backend.lines.drop_copies()
        self._idle.clear()
        self._direct.clear()


def _alive(idle: deque[Any]) -> Any:
    """The connection used last that still lives, or None; the others are closed."""
    while idle:
        try:
            connection = idle.pop()
        except IndexError:  # another thread was faster
            break
        if connection.is_idle() and not connection.has_expired():
            return connection
        connection.close()
    return None


def _prune(idle: deque[Any]) -> None:
    while len(idle) > 1:
        try:
            oldest = idle.popleft()
        except IndexError:  # other threads took them
            return
        if not oldest.has_expired():
            idle.appendleft(oldest)
            return
        oldest.close()


class _Body:
    """A response's body; closing it returns the connection."""

    def __init__(
        self, stream: Any, connection: httpcore.ConnectionInterface, pool: Connections
    ) -> None:
        self._stream = stream
        self._connection: httpcore.ConnectionInterface | None = connection
        self._pool = pool

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._stream.close()
            self._pool.give_back(connection)


class AsyncConnections:
    """A pool for one event loop; the async twin of :class:`Connections`."""

    def __init__(self, key: PoolKey) -> None:
        self.backend = AsyncBackend()
        self.closed = False
        self.key = key
        self._origin = key.origin()
        self._factory = httpcore.AsyncConnectionPool(
            **key.connection_options(), network_backend=self.backend
        )
        self._idle: deque[httpcore.AsyncConnectionInterface] = deque()
        self._direct: deque[AsyncDirectConnection] = deque()

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """One request on an idle connection that still lives, else on a new one."""
        connection = await self._take()
        response = await connection.handle_async_request(request)
        response.stream = _AsyncBody(response.stream, connection, self)
        return response

    async def _take(self) -> httpcore.AsyncConnectionInterface:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_idle() and not connection.has_expired():
                return connection
            await connection.aclose()
        return self._factory.create_connection(self._origin)

    async def direct(self, call: Call) -> AsyncDirectConnection:
        """The async twin of :meth:`Connections.direct`."""
        return _alive(self._direct) or await AsyncDirectConnection.open(
            self.backend, self.key.host, self.key.port, self.key.tls(), call
        )

    def give_back_direct(self, connection: AsyncDirectConnection) -> None:
        """As :meth:`give_back`, for a bare connection: closing one needs no turn of the loop."""
        idle = self._direct
        if connection.is_idle() and not self.closed and len(idle) < MAX_IDLE:
            connection.keep(KEEPALIVE_S)
            idle.append(connection)
            _prune(idle)
        else:
            connection.close()

    async def give_back(self, connection: httpcore.AsyncConnectionInterface) -> None:
        """Keep a connection whose answer was read to its end; close any other."""
        if connection.is_idle() and not self.closed and len(self._idle) < MAX_IDLE:
            while self._idle and self._idle[0].has_expired():
                await self._idle.popleft().aclose()
            self._idle.append(connection)
        else:
            await connection.aclose()

    def retire(self, *, idle_only: bool = False) -> None:
        """Close the sockets, or those of idle connections; plain sockets need no running loop."""
        self.closed = True
        self.backend.lines.close(idle_only=idle_only)
        self._idle.clear()
        self._direct.clear()

    def forget(self) -> None:
        """In a forked child: none of these connections is ours."""
        self.closed = True
        self.backend.lines.drop_copies()
        self._idle.clear()
        self._direct.clear()


class _AsyncBody:
    def __init__(
        self, stream: Any, connection: httpcore.AsyncConnectionInterface, pool: AsyncConnections
    ) -> None:
        self._stream = stream
        self._connection: httpcore.AsyncConnectionInterface | None = connection
        self._pool = pool

    def __aiter__(self) -> AsyncIterator[bytes]:
        iterator: AsyncIterator[bytes] = aiter(self._stream)
        return iterator

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._stream.aclose()
            await self._pool.give_back(connection)


class PooledTransport(httpx.HTTPTransport):
    """httpx's transport over a pool of ours. What it inherits is what vcrpy patches.

    It makes no pool and no SSL context of its own: ``_pool``, which ``handle_request`` calls, is
    the one thing of httpx's inside that is relied on (a test holds it). ``users`` counts leases.
    """

    def __init__(self, key: PoolKey) -> None:
        self.users = 0
        self.connections = Connections(key)
        self._pool = self.connections  # type: ignore[assignment]  # has the one method that is used
        _connections.add(self.connections)


class AsyncPooledTransport(httpx.AsyncHTTPTransport):
    """The async twin of :class:`PooledTransport`."""

    def __init__(self, key: PoolKey) -> None:
        self.users = 0
        self.connections = AsyncConnections(key)
        self._pool = self.connections  # type: ignore[assignment]  # has the one method that is used
        _connections.add(self.connections)
        weakref.finalize(self, self.connections.retire)  # it goes with its event loop


_connections: weakref.WeakSet[Connections | AsyncConnections] = weakref.WeakSet()
_pools: dict[PoolKey, PooledTransport] = {}
_async_pools: weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, dict[PoolKey, AsyncPooledTransport]
] = weakref.WeakKeyDictionary()
_lock = threading.RLock()  # re-entrant: a transport that nobody holds releases in its finalizer


class Leases:
    """The pools one transport uses. A pool nobody leases any more closes its idle connections.

    Neither a pool nor a lease keeps an event loop alive.
    """

    def __init__(self, key: Callable[[], PoolKey]) -> None:
        self._key = key
        self._pool: PooledTransport | None = None
        self._async_pools: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, AsyncPooledTransport
        ] = weakref.WeakKeyDictionary()

    def pool(self) -> PooledTransport:
        """The pool for threads."""
        pool = self._pool
        if pool is None or pool.connections.closed:
            key = self._key()
            with _lock:
                pool = _pools.get(key)
                if pool is None or pool.connections.closed:
                    _drop_retired(_pools)
                    pool = _pools[key] = PooledTransport(key)
                pool.users += 1
                self._pool = pool
        return pool

    def async_pool(self) -> AsyncPooledTransport:
        """The pool for the running event loop."""
        loop = asyncio.get_running_loop()
        pool = self._async_pools.get(loop)
        if pool is None or pool.connections.closed:
            key = self._key()
            with _lock:
                pools = _async_pools.setdefault(loop, {})
                pool = pools.get(key)
                if pool is None or pool.connections.closed:
                    _drop_retired(pools)
                    pool = pools[key] = AsyncPooledTransport(key)
                pool.users += 1
                self._async_pools[loop] = pool
        return pool

    def release(self) -> None:
        """Give all of them back. May be called twice, and pools leased again."""
        with _lock:
            pools = [self._pool, *self._async_pools.values()]
            self._pool = None
            self._async_pools.clear()
            for pool in pools:
                if pool is None:
                    continue
                pool.users -= 1
                if pool.users == 0:
                    pool.connections.retire(idle_only=True)


def _drop_retired(registry: dict[PoolKey, Any]) -> None:
    for key, pool in list(registry.items()):
        if pool.connections.closed:
            del registry[key]


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    forget_locks_after_fork()
    for connections in list(_connections):
        connections.forget()
    _pools.clear()
    _async_pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
