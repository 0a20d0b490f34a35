"""The four calls of a transport, over whatever exchanges requests for answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from ..base.errors import WireFailure
from ..base.timeouts import CallScope
from ..base.wire import WireRequest, WireResponse
from .http_call import Call
from .http_content import content_decoder
from .http_exchange import BARE_ERRORS, AsyncExchange, Exchange
from .http_stream import AsyncHttpStream, BodyFeed, EventFeed, HttpStream, NetworkErrors

MAX_ERROR_BYTES = 1024 * 1024
"""How much of an error's body is read and kept."""


class ExchangeTransport:
    """A transport but for :meth:`_exchange`, :meth:`_async_exchange` and :meth:`_prepared`."""

    owned = True

    def _exchange(self, call: Call) -> Exchange:
        raise NotImplementedError

    def _async_exchange(self, call: Call) -> AsyncExchange:
        raise NotImplementedError

    def _prepared(self, request: WireRequest, exchange: Exchange | AsyncExchange) -> Any:
        """``request`` as the exchange's ``open`` takes it."""
        raise NotImplementedError

    def _feed(self, headers: Mapping[str, str], request: WireRequest) -> EventFeed:
        """What makes events of the pieces that the exchange reads."""
        return BodyFeed(headers, request.framing)

    def send(self, request: WireRequest, scope: CallScope) -> WireResponse:
        """The whole answer; raises WireFailure for everything but a 2xx status."""
        call = Call(scope)
        exchange: Exchange | None = None
        try:
            with NetworkErrors(call):
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
            with NetworkErrors(call):
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
            with NetworkErrors(call):
                exchange = self._exchange(call)
                status, headers = self._open(exchange, request)
                return HttpStream(status, headers, self._feed(headers, request), exchange)
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
            with NetworkErrors(call):
                exchange = self._async_exchange(call)
                status, headers = await self._aopen(exchange, request)
                return AsyncHttpStream(status, headers, self._feed(headers, request), exchange)
        except BaseException:
            call.end()
            if exchange is not None:
                await exchange.close()
            raise

    def _open(self, exchange: Exchange, request: WireRequest) -> tuple[int, dict[str, str]]:
        response = exchange.open(self._prepared(request, exchange))
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
        response = await exchange.open(self._prepared(request, exchange))
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


_CUT = (WireFailure, httpx.HTTPError, *BARE_ERRORS, OSError)


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
