"""Our connections for an SDK that takes an httpx transport: its requests, on lines we can end.

The SDK's own httpx Client writes the request and reads the answer; beneath it every wait obeys the
call that travels with the request as an extension, and what breaks is a WireFailure already.

It is for an SDK that reads the answer itself, so the body is unpacked and its damage noticed here,
before the SDK's Client would miss it. Where an SDK has a raw verb, :mod:`.sdk_http` hands the bytes
on untouched, in httpx2 as well, and our own exchange reads them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx

from ..base.wire import Endpoint
from .http_call import Call
from .http_connections import Leases
from .http_content import ContentDecoder, content_decoder
from .http_exchange import AsyncExchange, Exchange
from .http_request import RequestBuilder, own_timeouts
from .http_stream import NetworkErrors
from .http_transport import plain_headers
from .sdk_items import Seen

CALL = "crux_call"
"""The request extension that holds ``(Call, Seen)``."""


class HttpxBridge(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """An httpx transport over the pools that all of this process's calls share.

    Serves threads and event loops alike. A request must come with its call in the extension
    :data:`CALL`; status and headers of its answer are written down in the Seen beside it. An
    ``authorization`` that the endpoint does not name (an SDK takes keys from the environment on
    its own) is not sent.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._leases = Leases(RequestBuilder(endpoint).pool_key)
        self._authorized = any(name.lower() == "authorization" for name in endpoint.headers)

    def release(self) -> None:
        """Give the pools back; may be called twice, and the bridge used again."""
        self._leases.release()

    def _prepare(self, request: httpx.Request) -> tuple[Call, Seen]:
        call, seen = request.extensions[CALL]
        request.extensions = {"timeout": own_timeouts(call)}
        if not self._authorized and not request.url.userinfo:
            request.headers.pop("authorization", None)
        return call, seen

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request; raises what a transport raises."""
        call, seen = self._prepare(request)
        exchange: Exchange | None = None
        try:
            with NetworkErrors(call):
                exchange = Exchange(self._leases.pool(), call)
                response = exchange.open(request)
                decoder = _note(response, seen)
                return _plain(response, seen, _Body(exchange, decoder))
        except BaseException:
            if exchange is not None:
                exchange.close()
            raise

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The async twin of :meth:`handle_request`."""
        call, seen = self._prepare(request)
        exchange: AsyncExchange | None = None
        try:
            with NetworkErrors(call):
                exchange = AsyncExchange(self._leases.async_pool(), call)
                response = await exchange.open(request)
                decoder = _note(response, seen)
                return _plain(response, seen, _AsyncBody(exchange, decoder))
        except BaseException:
            if exchange is not None:
                await exchange.close()
            raise


def _note(response: httpx.Response, seen: Seen) -> ContentDecoder | None:
    seen.status, seen.headers = response.status_code, plain_headers(response)
    return content_decoder(seen.headers)


def _plain(response: httpx.Response, seen: Seen, body: Any) -> httpx.Response:
    # Unpacked here, where damage and a missing end are noticed, and not by httpx.
    packed = ("content-encoding", "content-length")
    headers = {k: v for k, v in seen.headers.items() if k not in packed}
    return httpx.Response(response.status_code, headers=headers, stream=body)


class _Body(httpx.SyncByteStream):
    """An answer's body as it is read; a failure closes its connection, a proper end keeps it."""

    def __init__(self, exchange: Exchange, decoder: ContentDecoder | None) -> None:
        self._exchange = exchange
        self._decoder = decoder
        self._broken = False

    def __iter__(self) -> Iterator[bytes]:
        exchange, decoder = self._exchange, self._decoder
        try:
            with NetworkErrors(exchange.call):
                while (chunk := exchange.read()) is not None:
                    yield chunk if decoder is None else decoder.decode(chunk)
                if decoder is not None:
                    decoder.finish()
        except GeneratorExit:
            raise  # left early: close() follows
        except BaseException:
            self._broken = True
            raise

    def close(self) -> None:
        if self._broken:
            self._exchange.close()
        else:
            self._exchange.leave()


class _AsyncBody(httpx.AsyncByteStream):
    """The async twin of :class:`_Body`."""

    def __init__(self, exchange: AsyncExchange, decoder: ContentDecoder | None) -> None:
        self._exchange = exchange
        self._decoder = decoder
        self._broken = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        exchange, decoder = self._exchange, self._decoder
        try:
            with NetworkErrors(exchange.call):
                while (chunk := await exchange.read()) is not None:
                    yield chunk if decoder is None else decoder.decode(chunk)
                if decoder is not None:
                    decoder.finish()
        except GeneratorExit:
            raise  # left early: aclose() follows
        except BaseException:
            self._broken = True
            raise

    async def aclose(self) -> None:
        if self._broken:
            await self._exchange.close()
        else:
            await self._exchange.leave()
