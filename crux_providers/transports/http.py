"""The default transport: HTTP without httpx's Client, and mostly without httpx.

Client spends its time on cookies, redirects and merging that no provider needs. What it did that
they do need is done here: the usual headers, decoding, proxies and certificates from the
environment, redirects refused with a clear error. Calls go over bare connections of ours (see
:mod:`.http_direct`); through a proxy, and where somebody has replaced ``handle_request`` of httpx's
transports or httpcore's connections, which is looked up at each call since vcrpy does, they go
through those.

Deadlines and cancellation act on the socket (see :mod:`.http_call`): they are exact, need no
watching thread, and no ping puts them off. A connection that the server closed while it was idle
is noticed before it is used again; one that it closes in the very moment of the request is reported
as ``cut``, since nobody can know what the server made of it. Nothing is ever sent twice.

Besides WireFailure and CancelledError two more may leave: ProviderError (malformed) for an event
without end, from the framing, and what is no network error at all, such as vcrpy's miss.
"""

from __future__ import annotations

import weakref
from typing import Any

import httpx

from ..base.errors import WireFailure
from ..base.wire import Endpoint, WireRequest
from .http_call import Call
from .http_connections import Leases
from .http_direct import listened_to
from .http_direct_exchange import AsyncDirectExchange, DirectExchange, Written
from .http_exchange import (
    AsyncExchange,
    AsyncForeignExchange,
    Exchange,
    ForeignExchange,
    InProcessExchange,
)
from .http_request import RequestBuilder, own_timeouts, plain_timeouts
from .http_transport import ExchangeTransport

IN_PROCESS = (httpx.MockTransport, httpx.WSGITransport)
"""Transports that run the caller's own code, which expects the caller's thread."""


class HttpTransport(ExchangeTransport):
    """Calls ``endpoint`` over HTTP/1.1; serves threads and event loops alike, any number at once.

    ``httpx_transport`` is an httpx transport of the user's (sync, async or both: a proxy, mTLS,
    MockTransport) through which everything then goes; it stays the user's to close. Without one
    connections come from pools that all transports of the process share.
    """

    def __init__(self, endpoint: Endpoint, *, httpx_transport: Any = None) -> None:
        self._endpoint = endpoint
        self._foreign = httpx_transport
        self._requests = RequestBuilder(endpoint)
        self._leases = Leases(self._requests.pool_key)
        weakref.finalize(self, self._leases.release)

    def __repr__(self) -> str:
        return f"HttpTransport({self._endpoint!r})"

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
            pool = self._leases.pool()
            if pool.connections.key.bare and not listened_to():
                return DirectExchange(pool, call)
            return Exchange(pool, call)
        if not hasattr(foreign, "handle_request"):
            raise WireFailure("local", "this httpx transport answers async calls only")
        kind = InProcessExchange if isinstance(foreign, IN_PROCESS) else ForeignExchange
        return kind(foreign, call)

    def _async_exchange(self, call: Call) -> AsyncExchange:
        foreign = self._foreign
        if foreign is None:
            pool = self._leases.async_pool()
            if pool.connections.key.bare and not listened_to():
                return AsyncDirectExchange(pool, call)
            return AsyncExchange(pool, call)
        if not hasattr(foreign, "handle_async_request"):
            raise WireFailure("local", "this httpx transport answers sync calls only")
        return AsyncForeignExchange(foreign, call)

    def _prepared(
        self, request: WireRequest, exchange: Exchange | AsyncExchange
    ) -> httpx.Request | Written:
        if isinstance(exchange, DirectExchange | AsyncDirectExchange):
            return Written(request.method, self._requests.written(request))
        call = exchange.call
        timeouts = own_timeouts(call) if self._foreign is None else plain_timeouts(call)
        return self._requests.build(request, timeouts)
