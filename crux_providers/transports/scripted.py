"""A transport that plays a script: for tests of whatever stands on a provider, with no network.

>>> transport = ScriptedTransport([
...     WireFailure("status", "slow down", status=429, headers={"retry-after": "1"}),
...     {"id": "1", "choices": [...]},
...     [WireEvent('{"choices": [...]}'), Pause(0.2), b"data: [DONE]\\n\\n"],
... ])
>>> provider = OpenAIProvider(api_key="test", transport=transport)

It obeys cancellation and deadlines as the real ones do, and remembers what it was asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..base.abandon import asleep, expired, sleep
from ..base.errors import WireFailure
from ..base.timeouts import CallScope
from ..base.wire import Framing, WireEvent, WireRequest, WireResponse
from ..codecs.framing import framing_decoder


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing comes for ``seconds``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class StreamScript:
    """An answer in pieces; a plain list is one with no headers.

    ``items``: WireEvent; str, an event's data; bytes, cut into events as a body would be; Pause;
    an exception, raised where it stands; a WireResponse, the whole answer after some pauses.
    """

    items: Sequence[Any]
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = WireResponse | StreamScript | Mapping[str, Any] | Sequence[Any] | Exception
"""One answer of a script; a mapping is a whole JSON answer with status 200."""

Script = Sequence[Answer] | Callable[[WireRequest], Answer]
"""Answers in the order of the calls, or a function that answers each call."""


class ScriptedTransport:
    """Plays ``script``, one answer per call, sync and async alike, from any thread.

    ``requests`` are the calls so far; ``streams`` those opened, each with ``closed`` (the consumer
    left or it ended). A call beyond the script raises WireFailure(local). A WireResponse whose
    status is 400 or more is raised as the WireFailure(status) a real transport makes of it.
    """

    owned = True

    def __init__(self, script: Script) -> None:
        self._script = script
        self._lock = threading.Lock()
        self.requests: list[WireRequest] = []
        self.streams: list[ScriptedStream] = []
        self.closed = False

    def _next(self, request: WireRequest, scope: CallScope) -> StreamScript:
        scope.token.raise_if_cancelled()
        with self._lock:
            place = len(self.requests)
            self.requests.append(request)
        if callable(self._script):
            answer = self._script(request)
        elif place < len(self._script):
            answer = self._script[place]
        else:
            raise WireFailure("local", f"the script has {place} answers; this is one call more")
        match answer:
            case StreamScript():
                return answer
            case WireResponse():
                return StreamScript([answer], answer.headers)
            case Exception():
                return StreamScript([answer])
            case Mapping():
                return StreamScript([WireResponse(200, {}, answer)])
            case _:
                return StreamScript(answer)

    def send(self, request: WireRequest, scope: CallScope) -> WireResponse:
        """The next answer of the script, whole."""
        for item in self._next(request, scope).items:
            if isinstance(item, Pause):
                _pause(item, scope)
            else:
                return _whole(item)
        raise _no_whole_answer()

    async def asend(self, request: WireRequest, scope: CallScope) -> WireResponse:
        """The async twin of :meth:`send`."""
        for item in self._next(request, scope).items:
            if isinstance(item, Pause):
                await _apause(item, scope)
            else:
                return _whole(item)
        raise _no_whole_answer()

    def stream(self, request: WireRequest, scope: CallScope) -> ScriptedStream:
        """The next answer of the script as a stream."""
        opened = ScriptedStream(self._next(request, scope), request.framing, scope)
        self.streams.append(opened)
        return opened

    async def astream(self, request: WireRequest, scope: CallScope) -> AsyncScriptedStream:
        """The async twin of :meth:`stream`."""
        opened = AsyncScriptedStream(self._next(request, scope), request.framing, scope)
        self.streams.append(opened)
        return opened

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    async def aclose(self) -> None:
        """The async twin of :meth:`close`."""
        self.close()


def _no_whole_answer() -> WireFailure:
    return WireFailure("local", "the script has no answer here")


def _whole(item: Any) -> WireResponse:
    match item:
        case BaseException():
            raise item
        case WireResponse(status=status) if status >= 400:
            raise WireFailure(
                "status", f"HTTP {status}", status=status, headers=item.headers, body=item.body
            )
        case WireResponse():
            return item
        case _:
            raise WireFailure("local", "the script has a stream where a whole answer was asked for")


def _wait(pause: Pause, scope: CallScope) -> tuple[float, bool]:
    """Seconds to wait, and whether a deadline comes first."""
    left, _ = scope.remaining()
    return (pause.seconds, False) if left is None or left > pause.seconds else (max(left, 0), True)


def _pause(pause: Pause, scope: CallScope) -> None:
    seconds, too_long = _wait(pause, scope)
    sleep(seconds, scope.token)
    if too_long:
        raise expired(scope)


async def _apause(pause: Pause, scope: CallScope) -> None:
    seconds, too_long = _wait(pause, scope)
    await asleep(seconds, scope.token)
    if too_long:
        raise expired(scope)


class ScriptedStream:
    """A stream of the script; ``closed`` once it ended or was left."""

    owned = True

    def __init__(self, script: StreamScript, framing: Framing, scope: CallScope) -> None:
        self.status = 200
        self.headers = script.headers
        self.closed = False
        self._scope = scope
        self._steps = _steps(script.items, framing)
        for item in script.items[:1]:  # what comes before the headers is raised before the stream
            if isinstance(item, WireResponse | BaseException):
                _whole(item)

    def __iter__(self) -> ScriptedStream:
        return self

    def __next__(self) -> WireEvent:
        while (step := self._step()) is not None:
            if isinstance(step, WireEvent):
                return step
            try:
                _pause(step, self._scope)
            except BaseException:
                self.closed = True
                raise
        raise StopIteration

    def _step(self) -> WireEvent | Pause | None:
        if self.closed:
            return None
        try:
            self._scope.token.raise_if_cancelled()
            step = next(self._steps, None)
        except BaseException:
            self.closed = True
            raise
        self.closed = step is None
        return step

    def close(self) -> None:
        """Leave."""
        self.closed = True


class AsyncScriptedStream(ScriptedStream):
    """The async twin of :class:`ScriptedStream`."""

    def __aiter__(self) -> AsyncScriptedStream:
        return self

    async def __anext__(self) -> WireEvent:
        while (step := self._step()) is not None:
            if isinstance(step, WireEvent):
                return step
            try:
                await _apause(step, self._scope)
            except BaseException:
                self.closed = True
                raise
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Leave."""
        self.close()


def _steps(items: Sequence[Any], framing: Framing) -> Iterator[WireEvent | Pause]:
    frames = framing_decoder(framing)
    for item in items:
        match item:
            case Pause() | WireEvent():
                yield item
            case bytes():
                yield from frames.feed(item)
            case str():
                yield WireEvent(item)
            case WireResponse(body=bytes() as body):
                yield from frames.feed(body)
            case WireResponse(body=body):
                yield WireEvent(body)
            case BaseException():
                raise item
            case _:
                raise TypeError(f"a script's stream holds no {type(item).__name__}")
    yield from frames.finish()
