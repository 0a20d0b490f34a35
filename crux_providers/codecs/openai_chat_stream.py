"""Streams and whole answers of the OpenAI chat dialect: wire events in, normalized events out."""

from __future__ import annotations

from typing import Any

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.events import ChatStreamEvent, StreamFolder
from crux_providers.base.models import ChatResponse
from crux_providers.base.wire import WireEvent

from .openai_chat_answer import Answer
from .openai_chat_errors import in_band
from .reading import malformed, need_list, need_mapping, parse_event, parse_json

DONE = "[DONE]"
"""The marker after the last chunk; a chunk with ``finish_reason`` is a proper end as well."""

_NAMES = frozenset({"", "message", "error"})
_SHORT = 16  # no chunk is shorter; only such data can be the marker or nothing at all


class Decoder:
    """One stream's chunks; feed every wire event in order, then call ``finish`` once.

    ``complete``: the answer's finish reason or ``[DONE]`` was seen. ``ended``: ``[DONE]`` was.
    ``skipped`` counts events of a name nobody knows that hold no chunk.
    """

    __slots__ = ("_answer", "complete", "ended", "skipped")

    def __init__(self) -> None:
        self._answer = Answer(whole=False)
        self.complete = False
        self.ended = False
        self.skipped = 0

    def feed(self, event: WireEvent) -> list[ChatStreamEvent]:
        """The events of one wire event; raises the error it holds, ``malformed`` for damage."""
        data, name = event
        if self.ended:
            return []
        if isinstance(data, (str, bytes)) and len(data) < _SHORT and (short := _short(data)):
            return self._done() if short == DONE else []
        if name is None or name in _NAMES:
            chunk = parse_event(data)
        else:
            chunk = self._foreign(data)
            if chunk is None:
                return []
        if type(chunk) is not dict:
            raise malformed(f"a chunk is {type(chunk).__name__}, not an object")
        if name == "error" and not chunk.get("error"):
            raise in_band(chunk)
        answer = self._answer
        try:
            events = answer.chunk(chunk)
        except RecursionError as exc:
            raise malformed("nested too deep", exc) from exc
        self.complete = answer.complete
        return events

    def _done(self) -> list[ChatStreamEvent]:
        self.complete = self.ended = True
        return self._close()

    def _foreign(self, data: Any) -> Any:
        """The chunk in an event of an unknown name, or None where it holds none (a ping)."""
        try:
            chunk = parse_json(data)
        except ProviderError:
            chunk = None
        if isinstance(chunk, dict) and ("choices" in chunk or chunk.get("error")):
            return chunk
        self.skipped += 1
        return None

    def finish(self) -> list[ChatStreamEvent]:
        """What was held back; raises ``transient`` where the proper end never came."""
        if not self.complete:
            raise ProviderError(
                ErrorCode.TRANSIENT, "stream ended without [DONE] or a finish_reason"
            )
        return self._close()

    def _close(self) -> list[ChatStreamEvent]:
        try:
            return self._answer.close()
        except RecursionError as exc:
            raise malformed("nested too deep", exc) from exc


def _short(data: str | bytes) -> str | None:
    """``[DONE]``, "ping" for data that is empty, or None for what may be a chunk."""
    word = data.strip()
    if word in (DONE, b"[DONE]"):
        return DONE
    return None if word else "ping"


def decode(payload: Any) -> ChatResponse:
    """A whole answer: JSON already parsed, text or bytes.

    Raises ProviderError: the error it holds, by its own code, or ``malformed``.
    """
    answer, folder = Answer(whole=True), StreamFolder()
    try:
        body = need_mapping(parse_json(payload), "the answer")
        if not body.get("error") and body.get("object") != "error":
            need_list(body.get("choices"), "choices")
        for event in answer.chunk(body):
            folder.add(event)
        for event in answer.close():
            folder.add(event)
        return folder.response()
    except RecursionError as exc:
        raise malformed("nested too deep", exc) from exc
