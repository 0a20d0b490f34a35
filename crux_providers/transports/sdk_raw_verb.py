"""Transports that go through the raw verb of an SDK in the shape of OpenAI's and Anthropic's.

Both SDKs are made by one generator: a sync and an async client with ``post``, ``Stream`` and
``AsyncStream``, ``Timeout``, ``DefaultHttpxClient``. A subclass names them. What is used of them is
public and the same in openai 2 and 3 and anthropic 1 and 2; their HTTP library, which is not, is
never named.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from functools import cached_property
from types import ModuleType
from typing import Any, ClassVar

from ..base.errors import WireFailure
from ..base.wire import Endpoint, WireRequest
from .http_call import Call
from .http_content import ACCEPT_ENCODING, encode_json
from .http_exchange import AsyncExchange, Exchange
from .http_request import plain_timeouts
from .http_stream import BodyFeed, EventFeed
from .http_transport import ExchangeTransport
from .sdk_bridges import HandedOverExchange, Home, LoopExchange, ThreadedExchange, running_loop
from .sdk_exchange import (
    AsyncReadyExchange,
    AsyncSdkExchange,
    ParsedFeed,
    ReadyExchange,
    SdkExchange,
    is_parsed,
)
from .sdk_http import SdkHttp
from .sdk_imports import import_sdk

NO_KEY = "none"
"""What an SDK that insists on a key is given; :class:`SdkHttp` sends no header made of it."""


class RawVerbTransport(ExchangeTransport):
    """Calls ``endpoint`` through the SDK; sync and async, threads and event loops, any number.

    ``client`` is a ready client of the user's, sync or async, of whatever class: it keeps its URL,
    its credentials, its HTTP client and its settings, and stays the user's to close. Only retries
    are off, call by call. Without one the SDK's clients are made here, over our own connections.
    """

    module: ClassVar[str]
    extra: ClassVar[str]
    sync_client: ClassVar[str]
    async_client: ClassVar[str]

    def __init__(self, endpoint: Endpoint, *, client: Any = None) -> None:
        self._endpoint = endpoint
        self._ready = client
        self._http = SdkHttp(endpoint)
        self._home = Home(type(client).__name__)
        try:
            self._sdk  # noqa: B018  # imported here, since a second of imports is no call's time
        except WireFailure:
            pass  # each call says so

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint!r})"

    def close(self) -> None:
        """Give the connections back. A ready client stays open; the transport may be used again."""
        self._http.release()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`."""
        self.close()

    # -- the SDK ----------------------------------------------------------------------------------

    @cached_property
    def _sdk(self) -> ModuleType:
        return import_sdk(self.module, self.extra)

    @cached_property
    def _ready_is_async(self) -> bool:
        verb = getattr(self._ready, "post", None)
        if verb is None:
            raise WireFailure(
                "local",
                f"client= takes a client of the SDK {self.module!r} ({self.sync_client}, "
                f"{self.async_client} or one of their kind), not {type(self._ready).__name__}",
            )
        return inspect.iscoroutinefunction(verb)

    @cached_property
    def _own(self) -> Any:
        return self._make(self.sync_client, self._sdk.DefaultHttpxClient)

    @cached_property
    def _own_async(self) -> Any:
        return self._make(self.async_client, self._sdk.DefaultAsyncHttpxClient)

    def _make(self, name: str, http_client: Any) -> Any:
        endpoint = self._endpoint
        return getattr(self._sdk, name)(
            api_key=endpoint.api_key or NO_KEY,
            base_url=endpoint.base_url,
            default_headers=dict(endpoint.headers),
            max_retries=0,
            http_client=http_client(transport=self._http, trust_env=False, follow_redirects=False),
        )

    # -- one exchange -----------------------------------------------------------------------------

    def _exchange(self, call: Call) -> Exchange:
        if self._ready is None:
            return SdkExchange(self._verb, call)
        if self._ready_is_async:
            return LoopExchange(self._async_verb, call, self._home)
        return ReadyExchange(self._verb, call)

    def _async_exchange(self, call: Call) -> AsyncExchange:
        if self._ready is None:
            return AsyncSdkExchange(self._async_verb, call)
        if not self._ready_is_async:
            return ThreadedExchange(self._verb, call)
        if self._home.loop() is running_loop():
            return AsyncReadyExchange(self._async_verb, call)
        return HandedOverExchange(self._async_verb, call, self._home)

    def _prepared(self, request: WireRequest, exchange: Exchange | AsyncExchange) -> WireRequest:
        return request

    def _feed(self, headers: Mapping[str, str], request: WireRequest) -> EventFeed:
        return ParsedFeed() if is_parsed(headers) else BodyFeed(headers, request.framing)

    # -- the verb ---------------------------------------------------------------------------------

    def _verb(self, request: WireRequest, call: Call) -> Any:
        client = self._own if self._ready is None else self._ready
        return self._call(client, self._sdk.Stream[object], request, call)

    def _async_verb(self, request: WireRequest, call: Call) -> Any:
        client = self._own_async if self._ready is None else self._ready
        return self._call(client, self._sdk.AsyncStream[object], request, call)

    def _call(self, client: Any, stream_cls: Any, request: WireRequest, call: Call) -> Any:
        arguments: dict[str, Any] = {}
        if request.body is not None:
            # Plain and a copy: SDKs take parts out of the body they are given.
            arguments["body"] = json.loads(encode_json(request.body))
        return getattr(client, request.method.lower())(
            request.path,
            cast_to=object,
            stream=True,
            stream_cls=stream_cls,
            options={
                "headers": self._headers(request),
                "max_retries": 0,
                "follow_redirects": False,
                # Deadlines of a client of ours are kept by its connections, to the instant.
                "timeout": None
                if self._ready is None
                else self._sdk.Timeout(**plain_timeouts(call)),
            },
            **arguments,
        )

    def _headers(self, request: WireRequest) -> dict[str, str]:
        headers = {
            "accept": "text/event-stream, application/json"
            if request.stream
            else "application/json",
            # A packed stream comes in the packer's pieces, not the model's.
            "accept-encoding": "identity" if request.stream else ACCEPT_ENCODING,
        }
        if self._ready is not None:
            headers |= self._headers_for_ready
        return headers | dict(request.headers)

    @cached_property
    def _headers_for_ready(self) -> dict[str, str]:
        """The user's headers: a key found in the environment is nothing to a ready client."""
        key = self._endpoint.api_key
        return {
            name: value
            for name, value in self._endpoint.headers.items()
            if key is None or key not in value
        }
