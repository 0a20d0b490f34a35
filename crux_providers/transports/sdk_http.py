"""The HTTP beneath an SDK's client, when the client is ours: connections, deadlines, cancellation.

An SDK takes an HTTP client, and that takes a transport. :class:`SdkHttp` is one, over the same
pools as the ``http`` transport, so that an SDK's calls obey their scope to the socket. Which HTTP
library it is (httpx, or httpx2 in the newer SDKs) is never named: the request that comes knows.

It hands the answer on as it came, since an SDK with a raw verb lets us read it: our exchange does
the unpacking, the deadlines and the errors. Where the SDK reads the answer itself (Ollama's), all
of that must stand beneath it: there :mod:`.httpx_bridge` is what is needed.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import Any

import httpx

from ..base.errors import WireFailure
from ..base.wire import Endpoint, WireRequest
from .http_call import Call
from .http_connections import Leases
from .http_request import RequestBuilder, own_timeouts


class SdkCall:
    """What an SDK is doing for us: ``call`` of ``request``; ``answered`` once the headers came."""

    __slots__ = ("answered", "call", "request")

    def __init__(self, call: Call, request: WireRequest) -> None:
        self.call = call
        self.request = request
        self.answered: httpx.Response | None = None


current_call: ContextVar[SdkCall] = ContextVar("crux_sdk_call")
"""Set around an SDK's verb, which passes on nothing of ours."""

SDK_HEADERS = (
    "accept",
    "anthropic-version",
    "connection",
    "content-",
    "host",
    "idempotency-key",
    "user-agent",
    "x-stainless-",
)
"""Beginnings of the header names that an SDK may send of its own. What else it finds in the
environment (another key, an organization, custom headers) stays here: crux's settings decide."""


class SdkHttp:
    """A transport of the SDK's HTTP library, sync and async, over the pools of ``endpoint``."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._leases = Leases(RequestBuilder(endpoint).pool_key)
        self._ours = frozenset(endpoint.headers)
        weakref.finalize(self, self._leases.release)

    def handle_request(self, request: Any) -> Any:
        """Send the SDK's request on a connection of ours; the answer is its library's Response."""
        current = _current()
        response = self._leases.pool().handle_request(self._translated(request, current))
        return _answer(request, response, current)

    async def handle_async_request(self, request: Any) -> Any:
        """The async twin of :meth:`handle_request`."""
        pool = self._leases.async_pool()
        current = _current()
        response = await pool.handle_async_request(self._translated(request, current))
        return _answer(request, response, current)

    def _translated(self, request: Any, current: SdkCall) -> httpx.Request:
        return httpx.Request(
            request.method,
            str(request.url),
            headers=list(self._wanted(request.headers.raw, current.request.headers)),
            stream=httpx.ByteStream(request.read()),
            extensions={"timeout": own_timeouts(current.call)},
        )

    def _wanted(
        self, headers: Iterable[tuple[bytes, bytes]], ours: Mapping[str, str]
    ) -> Iterator[tuple[bytes, bytes]]:
        for raw_name, value in headers:
            name = raw_name.decode("ascii").lower()
            if name in self._ours or name in ours or name.startswith(SDK_HEADERS):
                yield raw_name, value

    def release(self) -> None:
        """Give the pools back; they are leased again at the next call."""
        self._leases.release()

    def close(self) -> None:
        """What the SDK's client calls when it is closed."""
        self.release()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`."""
        self.release()


def library_of(request: Any) -> ModuleType:
    """The HTTP library that made ``request``."""
    return sys.modules[type(request).__module__.partition(".")[0]]


def _current() -> SdkCall:
    current = current_call.get(None)
    if current is None:
        raise WireFailure("local", "this client serves crux's calls only")
    return current


def _answer(request: Any, response: httpx.Response, current: SdkCall) -> Any:
    current.answered = response
    library = library_of(request)
    return library.Response(
        response.status_code,
        headers=response.headers.raw,
        stream=_body_class(library)(response.stream),
        extensions=response.extensions,
    )


@cache
def _body_class(library: ModuleType) -> Any:
    """A body that is both a sync and an async stream of ``library``."""

    class Body(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc, name-defined]  # a class of a module that is known only now
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __iter__(self) -> Iterator[bytes]:
            return iter(self._stream)

        def __aiter__(self) -> AsyncIterator[bytes]:
            return aiter(self._stream)

        def close(self) -> None:
            self._stream.close()

        async def aclose(self) -> None:
            await self._stream.aclose()

    return Body
