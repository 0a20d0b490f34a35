"""Ollama through its official client (``transport="sdk"``, or a ready ``client=``).

Its typed ``chat()`` would drop what its types do not know: most of a tool's JSON Schema, the ids of
calls, new fields of an answer. So the body goes through the one method that all of the client's
verbs are made of, ``_request``, with ``dict`` as the type of the answer; it is there, alike, in
every version from 0.5 on, and a test holds it in the lowest and the highest.

A client of ours runs on our own connections: deadlines and cancelling act on the socket. A client
of the user's keeps its own connections, and a read of it that nobody waits for any more ends by the
time limit it was given. Both are sent one request a call: this SDK never retries.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from ..base.errors import ErrorCode, ProviderError, WireFailure
from ..base.timeouts import CallScope
from ..base.wire import Endpoint, WireRequest
from .http_call import Call
from .http_transport import refusal
from .httpx_bridge import CALL, HttpxBridge
from .network_errors import wire_failure
from .sdk_bridges import Home, running_loop
from .sdk_items import (
    AsyncItemExchange,
    AsyncThreadItems,
    HandedOverItems,
    LoopItems,
    SdkTransport,
    Seen,
    limits_of,
    need_sdk,
)


class OllamaSdkTransport(SdkTransport):
    """Calls ``endpoint`` through ``ollama.Client`` and ``ollama.AsyncClient``.

    ``client`` is a ready one of either kind; it serves sync and async calls, at its own address.
    """

    def __init__(self, endpoint: Endpoint, *, client: Any = None) -> None:
        self._endpoint = endpoint
        self._foreign = client
        self._clients: dict[str, Any] = {}
        self._bridge = HttpxBridge(endpoint)
        self._leave_behind = client is not None
        self._is_async = inspect.iscoroutinefunction(getattr(client, "_request", None))
        self._home = Home("ollama.AsyncClient")
        if client is None:  # made here, since no call's deadline is for that
            self._clients = {kind: self._client(kind) for kind in ("Client", "AsyncClient")}
        elif not hasattr(client, "_request"):
            raise ProviderError(
                ErrorCode.BAD_REQUEST,
                f"client= takes an ollama.Client or an ollama.AsyncClient, not a "
                f"{type(client).__name__}",
            )

    def __repr__(self) -> str:
        return f"OllamaSdkTransport({self._endpoint!r})"

    # -- what the SDK is asked --------------------------------------------------------------------

    def _exchange(self, scope: CallScope) -> Any:
        if self._is_async:
            return LoopItems(self._ready_exchange(scope), self._home)
        return super()._exchange(scope)

    def _async_exchange(self, scope: CallScope) -> Any:
        if self._foreign is None:
            return super()._async_exchange(scope)
        if not self._is_async:
            return AsyncThreadItems(scope, translate)
        inner = self._ready_exchange(scope)
        if self._home.loop() is running_loop():
            return inner
        return HandedOverItems(inner, self._home)

    def _ready_exchange(self, scope: CallScope) -> AsyncItemExchange:
        return AsyncItemExchange(scope, translate, leave_behind=True)

    def _whole(self, request: WireRequest, exchange: Any) -> Callable[[], Any]:
        return self._asker(request, exchange)

    def _items(self, request: WireRequest, exchange: Any) -> Callable[[], Any]:
        ask = self._asker(request, exchange)
        if not self._asks_async(exchange):
            return lambda: _lines(ask())

        async def start() -> AsyncIterator[Any]:
            return _alines(await ask())

        return start

    def _asks_async(self, exchange: Any) -> bool:
        """Whether the call is one of the SDK's async client."""
        if self._foreign is not None:
            return self._is_async
        return isinstance(exchange, AsyncItemExchange)

    def close(self) -> None:
        """Give the pools back; a client of the user's stays the user's to close."""
        self._bridge.release()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`; no socket of ours needs its loop to close."""
        self.close()

    def _translate(self, exc: BaseException, seen: Seen) -> Exception | None:
        return translate(exc, seen)

    def _client(self, kind: str) -> Any:
        """A client of ours of that kind, over our own connections."""
        return getattr(need_sdk("ollama", "ollama"), kind)(
            host=self._endpoint.base_url,
            transport=self._bridge,
            trust_env=False,  # proxies and certificates are the bridge's
            follow_redirects=False,
        )

    def _asker(self, request: WireRequest, exchange: Any) -> Callable[[], Any]:
        """The SDK's request, ready to be sent in whatever thread or task it is called in."""
        call, seen = exchange.call, exchange.seen
        headers = dict(request.headers)
        if request.stream:
            headers["accept-encoding"] = "identity"
        arguments: dict[str, Any] = {
            "json": None if request.body is None else dict(request.body),
            "stream": request.stream,
        }
        if self._foreign is None:
            client = self._clients["AsyncClient" if self._asks_async(exchange) else "Client"]
            url = self._endpoint.base_url.rstrip("/") + request.path
            arguments["headers"] = {**self._endpoint.headers, **headers}
            arguments["extensions"] = {CALL: (call, seen)}
            return lambda: client._request(dict, request.method, url, **arguments)
        client = self._foreign
        trace = _atracer(seen) if self._is_async else _tracer(seen)

        def ask() -> Any:
            return client._request(
                dict,
                request.method,
                request.path,
                headers=headers,
                extensions={"trace": trace},
                timeout=_timeout(call),
                **arguments,
            )

        return ask


def _timeout(call: Call) -> Any:
    import httpx

    connect, read = limits_of(call)
    return httpx.Timeout(connect=connect, read=read, write=read, pool=connect)


def _lines(items: Iterator[Any]) -> Iterator[Any]:
    """The objects of a stream; an error among them is one, as the wire had it."""
    try:
        yield from items
    except Exception as exc:
        if (error := _in_band(exc)) is None:
            raise
        yield error
    finally:
        items.close()  # type: ignore[attr-defined]  # a generator of the SDK's


async def _alines(items: Any) -> AsyncIterator[Any]:
    try:
        async for item in items:
            yield item
    except Exception as exc:
        if (error := _in_band(exc)) is None:
            raise
        yield error
    finally:
        await items.aclose()


def _in_band(exc: Exception) -> dict[str, Any] | None:
    if type(exc).__name__ == "ResponseError" and getattr(exc, "status_code", None) == -1:
        return {"error": getattr(exc, "error", str(exc))}
    return None


def _tracer(seen: Seen) -> Any:
    """httpcore's trace of one request, of which the answer's head is kept."""

    def trace(name: str, info: Mapping[str, Any]) -> None:
        if name.endswith("receive_response_headers.complete"):
            _note(info["return_value"], seen)

    return trace


def _atracer(seen: Seen) -> Any:
    async def trace(name: str, info: Mapping[str, Any]) -> None:
        if name.endswith("receive_response_headers.complete"):
            _note(info["return_value"], seen)

    return trace


def _note(head: Any, seen: Seen) -> None:
    # HTTP/1.1: (version, status, reason, headers, …); HTTP/2: (status, headers).
    numbers = [part for part in head if isinstance(part, int)]
    lists = [part for part in head if isinstance(part, list)]
    if numbers and lists:
        seen.status = numbers[0]
        seen.headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in lists[0]}


def translate(exc: BaseException, seen: Seen) -> Exception | None:
    """An exception of the SDK's as what a transport raises; network errors are not its own."""
    status = getattr(exc, "status_code", None)
    if type(exc).__name__ == "ResponseError" and isinstance(status, int):
        if status == -1:
            return WireFailure("in_band", str(exc), body=_in_band_body(exc), cause=exc)
        body = {"error": getattr(exc, "error", "")}
        if status < 400:
            return refusal(status, seen.headers, b"")
        return WireFailure(
            "status", f"HTTP {status}", status=status, headers=seen.headers, body=body, cause=exc
        )
    if seen.status is not None and seen.status >= 400 and wire_kind_of(exc) == "cut":
        return refusal(seen.status, seen.headers, b"")  # the error's text broke off
    if type(exc) is ConnectionError:  # the SDK's word for "nobody listens", and only for that
        return WireFailure("connect", str(exc), cause=exc)
    if isinstance(exc, json.JSONDecodeError):
        return ProviderError(
            ErrorCode.MALFORMED, f"the answer has a line that is no JSON: {exc}", cause=exc
        )
    return None


def wire_kind_of(exc: BaseException) -> str | None:
    """The kind of a network failure, whether it is one already or an HTTP library's."""
    failure = wire_failure(exc)
    return failure.kind if isinstance(failure, WireFailure) else None


def _in_band_body(exc: BaseException) -> dict[str, Any]:
    return {"error": getattr(exc, "error", str(exc))}
