"""One request and its answer through an SDK's raw verb: on a client of ours, or on a ready one.

The verb is ``client.post(path, cast_to=object, body=…, stream=True, stream_cls=Stream[object])``:
the SDK makes the URL, signs, sends and raises its typed errors; nothing is typed by reflection, and
``stream.response`` is the answer with its status, headers and bytes. Those are read as the ``http``
transport reads them, so that a damaged body, a ping or an event nobody knows is the same to both.
Only AWS's event stream is left to the SDK, which alone knows how it was signed and framed.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol

from ..base.errors import WireFailure, WireKind
from ..base.wire import WireEvent, WireRequest
from .http_call import Call
from .http_exchange import AsyncExchange, AsyncForeignExchange, Exchange, ForeignExchange
from .http_transport import plain_headers, refusal
from .sdk_errors import sdk_failure
from .sdk_http import SdkCall, current_call

PARSED = "application/vnd.amazon.eventstream"
"""The content type of streams that the SDK itself takes apart."""


class Verb(Protocol):
    """Makes the call on a client: returns the SDK's Stream, or a coroutine of its AsyncStream."""

    def __call__(self, request: WireRequest, call: Call) -> Any:
        """Send ``request``."""
        ...


def is_parsed(headers: Any) -> bool:
    """Whether the SDK takes the events of an answer with these headers apart."""
    kind: str = headers.get("content-type", "")
    return kind.startswith(PARSED)


class ParsedFeed:
    """The events of a stream whose pieces are JSON already."""

    def take(self, chunk: Any, /) -> list[WireEvent]:
        """One event; its name is its type, as in the dialect's own stream."""
        return [WireEvent(chunk, chunk.get("type") if isinstance(chunk, dict) else None)]

    def finish(self) -> list[WireEvent]:
        """Nothing is held back."""
        return []


class SdkErrors:
    """Within it an SDK's exception becomes what a transport raises; see :func:`sdk_failure`."""

    __slots__ = ("_before", "_call", "_otherwise")

    def __init__(self, call: Call, otherwise: WireKind = "local") -> None:
        self._call = call
        self._otherwise = otherwise

    def __enter__(self) -> None:
        self._before = sys.exception()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: object
    ) -> None:
        if not isinstance(exc, Exception):
            return
        failure = sdk_failure(
            exc, phase=self._call.phase, otherwise=self._otherwise, before=self._before
        )
        if failure is not exc:
            try:
                raise failure from failure.__cause__
            finally:
                failure.__context__ = failure.__cause__  # not the SDK's, which has the request


def _status_first(failure: WireFailure, current: SdkCall) -> None:
    """The text of an error may break off; its status, if it came, says more than how."""
    answered = current.answered
    if failure.kind != "status" and answered is not None and answered.status_code >= 400:
        raise refusal(answered.status_code, plain_headers(answered), b"") from failure


class SdkExchange(Exchange):
    """On a sync client whose connections are ours."""

    def __init__(self, verb: Verb, call: Call) -> None:
        super().__init__(verb, call)
        self._verb = verb

    def open(self, request: Any) -> Any:
        """Send, and wait for the status and the headers."""
        call = self.call
        call.left()
        current = SdkCall(call, request)
        mark = current_call.set(current)
        try:
            with SdkErrors(call):
                answer = self._verb(request, call)
        except WireFailure as failure:
            _status_first(failure, current)
            raise
        finally:
            current_call.reset(mark)
        response = self._response = answer.response
        self._chunks = iter(answer) if is_parsed(response.headers) else response.iter_raw()
        return response

    def read(self) -> Any:
        """The next piece, or None at the end."""
        with SdkErrors(self.call, "cut"):
            return next(self._chunks, None)

    def read_all(self) -> bytes:
        """The rest of the body."""
        with SdkErrors(self.call, "cut"):
            return b"".join(self._chunks)

    def close(self) -> None:
        """Done."""
        self.call.end()
        response, self._response = self._response, None
        if response is not None:
            response.close()


class ReadyExchange(ForeignExchange, SdkExchange):
    """On a ready sync client, whose reads nobody can interrupt: in a thread that can be left."""


class AsyncSdkExchange(AsyncExchange):
    """The async twin of :class:`SdkExchange`."""

    def __init__(self, verb: Verb, call: Call) -> None:
        super().__init__(verb, call)
        self._verb = verb

    async def open(self, request: Any) -> Any:
        """Send, and wait for the status and the headers."""
        call = self.call
        call.left()
        current = SdkCall(call, request)
        mark = current_call.set(current)
        try:
            with SdkErrors(call):
                answer = await self._bounded(self._verb(request, call))
        except WireFailure as failure:
            _status_first(failure, current)
            raise
        finally:
            current_call.reset(mark)
        response = self._response = answer.response
        self._chunks = aiter(answer) if is_parsed(response.headers) else response.aiter_raw()
        return response

    async def read(self) -> Any:
        """The next piece, or None at the end."""
        with SdkErrors(self.call, "cut"):
            return await super().read()

    async def read_all(self) -> bytes:
        """The rest of the body."""
        with SdkErrors(self.call, "cut"):
            return await super().read_all()

    async def close(self) -> None:
        """Done."""
        self.call.end()
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()


class AsyncReadyExchange(AsyncForeignExchange, AsyncSdkExchange):
    """On a ready async client: what does not come back in time is cancelled."""
