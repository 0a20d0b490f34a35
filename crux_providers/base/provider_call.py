"""One prepared call of a provider, and its wire stream read as events, sync and async."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .cancellation import CancellationToken
from .errors import ProviderError, WireFailure, classify_exception, request_id_of
from .events import ChatStreamEvent
from .flow import AttemptFlow, attempts
from .interfaces import AsyncWireStream, Codec, Decoder, WireStream
from .logging import get_logger, log_event
from .models import ChatRequest, ChatResponse, ContentPart
from .provider_settings import kept_headers
from .retry import RetryConfig
from .timeouts import TimeoutConfig
from .wire import WireRequest


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What one call may change: limits, the cancel switch, retries after the first request."""

    timeouts: TimeoutConfig | None = None
    token: CancellationToken | None = None
    max_retries: int | None = None


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A request made ready: whose it is, the codec, the HTTP call, the limits."""

    provider: str
    request: ChatRequest
    model: str
    codec: Codec
    wire: WireRequest
    timeouts: TimeoutConfig
    token: CancellationToken
    retry: RetryConfig

    def flow(self) -> AttemptFlow:
        """The attempts this call may make."""
        return attempts(self.retry, random.random)

    def head(self, stream: WireStream | AsyncWireStream) -> Sequence[ChatStreamEvent]:
        """What is known before the first event: what was degraded, ids, rate-limit headers."""
        meta: dict[str, Any] = {}
        if self.wire.degraded:
            meta["degraded"] = list(self.wire.degraded)
        if headers := kept_headers(stream.headers):
            meta["headers"] = headers
        if request_id := request_id_of(stream.headers):
            meta["request_id"] = request_id
        return (ChatStreamEvent(meta=meta),) if meta else ()

    def signed(self, response: ChatResponse) -> ChatResponse:
        """The answer with this provider's name on all that only its maker understands."""
        name = self.provider
        if not any(map(_owned, response.parts)) and all(
            call.dialect is None for call in response.tool_calls
        ):
            return response
        return replace(
            response,
            parts=[replace(p, provider=name) if _owned(p) else p for p in response.parts],
            tool_calls=[
                replace(c, provider=name) if c.dialect is not None else c
                for c in response.tool_calls
            ],
        )

    def signed_event(self, event: ChatStreamEvent) -> ChatStreamEvent:
        """The same for a piece of a streamed answer."""
        part, call = event.part, event.tool_call
        if part is not None and _owned(part):
            event = replace(event, part=replace(part, provider=self.provider))
        if call is not None and call.dialect is not None:
            event = replace(event, tool_call=replace(call, provider=self.provider))
        return replace(event, provider=self.provider) if event.reasoning else event

    def located(self, error: ProviderError, stream: WireStream | AsyncWireStream) -> ProviderError:
        """The error with the ids of this stream where it has none."""
        if error.request_id is None:
            error.request_id = request_id_of(stream.headers)
        return error.locate(self.provider, self.model)


def _owned(part: ContentPart) -> bool:
    """Whether a part has something that only its maker understands."""
    return part.dialect is not None or part.type in ("reasoning", "raw")


def unclassified(provider: str, model: str, exc: Exception) -> ProviderError:
    """The error of a call that failed in a way nobody classified, which is logged."""
    error = classify_exception(exc).locate(provider, model)
    log_event(
        get_logger(), logging.ERROR, "chat.unclassified", exc_info=exc,
        provider=provider, model=model, operation="chat", stage="call",
        failure_class=type(exc).__name__, error_code=str(error.code),
    )  # fmt: skip
    return error


def events_of(call: PreparedCall, stream: WireStream) -> Iterator[ChatStreamEvent]:
    """The events of an open stream; raises ProviderError, and always closes the stream."""
    decoder = call.codec.Decoder()
    try:
        yield from call.head(stream)
        try:
            for wire_event in stream:
                for event in decoder.feed(wire_event):
                    yield call.signed_event(event)
                if decoder.ended:
                    break
        except WireFailure as failure:
            if not decoder.complete:  # a cut after the proper end loses nothing
                raise call.codec.classify(failure) from failure
        for event in _tail(decoder):
            yield call.signed_event(event)
    except ProviderError as error:
        raise call.located(error, stream) from error.cause
    finally:
        stream.close()


async def aevents_of(call: PreparedCall, stream: AsyncWireStream) -> AsyncIterator[ChatStreamEvent]:
    """The async twin of :func:`events_of`."""
    decoder = call.codec.Decoder()
    try:
        for event in call.head(stream):
            yield event
        try:
            async for wire_event in stream:
                for event in decoder.feed(wire_event):
                    yield call.signed_event(event)
                if decoder.ended:
                    break
        except WireFailure as failure:
            if not decoder.complete:
                raise call.codec.classify(failure) from failure
        for event in _tail(decoder):
            yield call.signed_event(event)
    except ProviderError as error:
        raise call.located(error, stream) from error.cause
    finally:
        await stream.aclose()


def _tail(decoder: Decoder) -> Sequence[ChatStreamEvent]:
    last = decoder.finish()
    if decoder.skipped:
        return (*last, ChatStreamEvent(meta={"skipped": decoder.skipped}))
    return last
