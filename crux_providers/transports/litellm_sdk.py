"""LiteLLM's library as a transport: ``completion(**body)`` for the vendors that crux has no folder
for, never its Router, its retries or its callbacks.

It answers in the OpenAI dialect, as dicts. The price map is the one in its package and no tokenizer
is fetched, telemetry is off, a parameter that a vendor has not is refused and not dropped. Where a
vendor counts no tokens, LiteLLM counts them itself.
Without a key of ours it finds the vendor's own in its usual variable (``GROQ_API_KEY`` …).

Its sockets are its own: a call is waited for in a thread or a task that is left behind where a
deadline or a cancel ends the wait. Where a stream breaks off LiteLLM writes ``finish_reason: stop``
itself; that end is not handed on, and the stream ends as cut. So does one that a vendor ends with
``[DONE]`` and no finish reason, which LiteLLM does not tell from it.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from ..base.errors import ErrorCode, ProviderError, WireFailure
from ..base.wire import Endpoint, WireRequest
from .network_errors import wire_failure, wire_kind
from .sdk_errors import chain
from .sdk_items import AsyncItemExchange, SdkTransport, Seen, limits_of, need_sdk

LOCAL_PRICES = "LITELLM_LOCAL_MODEL_COST_MAP"
"""The variable that keeps LiteLLM's import from fetching a price map."""

CODES: Mapping[str, str] = {
    "ContextWindowExceededError": "context_length_exceeded",
    "ContentPolicyViolationError": "content_filter",
}
"""What LiteLLM says by the class of an exception, as the dialect's code."""


UNREAD = frozenset({"APIError", "InternalServerError"})
"""What LiteLLM raises, with a 500 of its own making, where it stumbles over a good answer."""


class LiteLLMTransport(SdkTransport):
    """Calls whatever vendor the model's prefix names (``groq/llama-3.3-70b``).

    ``endpoint.base_url`` and its key are passed on where they are given. ``client`` takes nothing:
    LiteLLM makes the vendors' clients itself.
    """

    def __init__(self, endpoint: Endpoint, *, client: Any = None) -> None:
        if client is not None:
            raise ProviderError(
                ErrorCode.UNSUPPORTED, "litellm makes its clients itself: it takes no client="
            )
        self._endpoint = endpoint
        os.environ.setdefault(LOCAL_PRICES, "True")
        self._litellm = need_sdk("litellm", "litellm")
        self._litellm.telemetry = False
        self._litellm.suppress_debug_info = True  # it prints advice to stdout at each error
        # Else it fetches a tokenizer from a hub, on the event loop, to reckon what an answer cost.
        self._litellm.disable_hf_tokenizer_download = True

    def __repr__(self) -> str:
        return f"LiteLLMTransport({self._endpoint!r})"

    def close(self) -> None:
        """Nothing to do: LiteLLM keeps its clients."""

    async def aclose(self) -> None:
        """The async twin of :meth:`close`."""

    def _translate(self, exc: BaseException, seen: Seen) -> Exception | None:
        return translate(exc)

    def _arguments(self, request: WireRequest, exchange: Any) -> dict[str, Any]:
        import httpx

        connect, read = limits_of(exchange.call)
        endpoint = self._endpoint
        arguments: dict[str, Any] = {
            **dict(request.body or {}),
            "timeout": httpx.Timeout(connect=connect, read=read, write=read, pool=connect),
            "num_retries": 0,
            "max_retries": 0,
            "drop_params": False,
        }
        headers = {**endpoint.headers, **request.headers}
        if endpoint.api_key and headers.get("authorization") == f"Bearer {endpoint.api_key}":
            del headers["authorization"]  # each vendor wants the key in a place of its own
        if headers:
            arguments["extra_headers"] = headers
        if endpoint.base_url:
            arguments["api_base"] = endpoint.base_url
        if endpoint.api_key:
            arguments["api_key"] = endpoint.api_key
        return arguments

    def _whole(self, request: WireRequest, exchange: Any) -> Callable[[], Any]:
        def ask() -> Any:
            answer = self._litellm.completion(**self._arguments(request, exchange))
            note(answer, exchange.seen)
            return plain(answer)

        async def aask() -> Any:
            answer = await self._litellm.acompletion(**self._arguments(request, exchange))
            note(answer, exchange.seen)
            return plain(answer)

        return aask if isinstance(exchange, AsyncItemExchange) else ask

    def _items(self, request: WireRequest, exchange: Any) -> Callable[[], Any]:
        def start() -> Iterator[Any]:
            stream = self._litellm.completion(**self._arguments(request, exchange))
            note(stream, exchange.seen)
            return chunks(stream)

        async def astart() -> AsyncIterator[Any]:
            stream = await self._litellm.acompletion(**self._arguments(request, exchange))
            note(stream, exchange.seen)
            return achunks(stream)

        return astart if isinstance(exchange, AsyncItemExchange) else start


OWN = "litellm"
WRAPPERS = frozenset({OWN, "openai"})
"""The packages whose exceptions LiteLLM raises: its own stand on those of OpenAI's SDK."""


def note(answer: Any, seen: Seen) -> None:
    """The vendor's headers, where LiteLLM kept them."""
    seen.status = 200
    headers = getattr(answer, "_response_headers", None) or {}
    seen.headers = {str(name).lower(): str(value) for name, value in headers.items()}


def plain(item: Any) -> dict[str, Any]:
    """An answer or a chunk as the dialect's JSON; fields it set aside stand where they were."""
    made: dict[str, Any] = item.model_dump(exclude_none=True)
    for choice in made.get("choices", ()):
        for holder in (choice, choice.get("message"), choice.get("delta")):
            aside = holder.pop("provider_specific_fields", None) if holder else None
            if isinstance(aside, dict):
                holder.update({k: v for k, v in aside.items() if k not in holder and v is not None})
    return made


def chunks(stream: Any) -> Iterator[Any]:
    """The chunks of a stream, but for an end that LiteLLM made up."""
    try:
        for item in stream:
            yield _unless_made_up(item, stream)
    finally:
        for holder in (stream, getattr(stream, "completion_stream", None)):
            if callable(close := getattr(holder, "close", None)):
                close()


async def achunks(stream: Any) -> AsyncIterator[Any]:
    """The async twin of :func:`chunks`."""
    try:
        async for item in stream:
            yield _unless_made_up(item, stream)
    finally:
        await stream.aclose()


def _unless_made_up(item: Any, stream: Any) -> dict[str, Any]:
    chunk = plain(item)
    ends = any(choice.get("finish_reason") for choice in chunk.get("choices", ()))
    if ends and getattr(stream, "received_finish_reason", "") is None:
        raise WireFailure(
            "cut",
            "the stream ended without a finish reason",
            cause=EOFError("litellm writes one itself"),
        )
    return chunk


def translate(exc: BaseException) -> Exception | None:
    """An exception of LiteLLM's as what a transport raises.

    It gives every failure a status, so what is beneath comes first: a network error is one.
    """
    links = list(chain(exc))
    name = type(exc).__name__
    # Its own checks of a request have no class of their own; acompletion wraps them in one.
    bare = next((link for link in links if type(link) is Exception), None)
    if bare is not None and name not in UNREAD and not any(map(wire_kind, links)):
        return ProviderError(ErrorCode.UNSUPPORTED, f"litellm refuses the request: {bare}")
    if not any(_home(link) in WRAPPERS for link in links):
        return None
    message = str(getattr(exc, "message", exc))
    if name == "UnsupportedParamsError":
        # Its advice, to drop the parameters, is not ours.
        return ProviderError(ErrorCode.UNSUPPORTED, message.partition(" To drop these")[0])
    for link in links:
        kind = wire_kind(link)
        if kind is not None and kind[0] != "status":
            # Its innermost cause: those of httpx hold the request with its keys.
            failure = wire_failure(link)
            if isinstance(failure, WireFailure):
                return WireFailure(
                    failure.kind, failure.message, cause=list(chain(link))[-1], phase=failure.phase
                )
    if any(isinstance(link, json.JSONDecodeError | UnicodeDecodeError) for link in links):
        return ProviderError(ErrorCode.MALFORMED, message)
    status = _answered(links)
    if "Timeout" in name and status is None:
        return WireFailure("timeout", message, phase="total")
    if status is None and name in UNREAD:
        words = message.partition(" Traceback")[0].partition("\n")[0]  # beneath stands the answer
        return ProviderError(ErrorCode.MALFORMED, f"litellm cannot read the answer: {words}")
    if status is None:
        status = getattr(exc, "status_code", None)
    body = {"error": _error(links, name, message)}
    if name == "MidStreamFallbackError" or not isinstance(status, int):
        return WireFailure("in_band", message, body=body)
    return WireFailure(
        "status", f"HTTP {status}", status=status, headers=_headers(links), body=body
    )


def _home(exc: BaseException) -> str:
    return type(exc).__module__.partition(".")[0]


def _answered(links: list[BaseException]) -> int | None:
    """The status that a vendor has answered with; LiteLLM's own exceptions make theirs up."""
    for link in links:
        status = getattr(getattr(link, "response", None), "status_code", None)
        if _home(link) != OWN and isinstance(status, int):
            return status
    return None


def _error(links: list[BaseException], name: str, message: str) -> dict[str, Any]:
    """The vendor's error object where one was kept, else LiteLLM's words."""
    bodies = (getattr(link, "body", None) for link in links)
    error: dict[str, Any] = dict(next((b for b in bodies if isinstance(b, dict) and b), {}))
    inner = error.get("error")
    if isinstance(inner, dict):
        error = dict(inner)
    error.setdefault("message", message)
    if name in CODES:
        error["code"] = CODES[name]
    return error


def _headers(links: list[BaseException]) -> dict[str, str]:
    for link in links:
        held = getattr(getattr(link, "response", None), "headers", None)
        for headers in (getattr(link, "litellm_response_headers", None), held):
            if headers:
                return {str(k).lower(): str(v) for k, v in headers.items()}
    return {}
