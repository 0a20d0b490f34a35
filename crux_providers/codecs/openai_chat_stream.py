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

_NAMES = frozenset({None, "", "message", "error"})


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
        data = event.data
        if self.ended or data == "":
            return []
        if data == DONE or (isinstance(data, (str, bytes)) and _is_done(data)):
            self.complete = self.ended = True
            return self._close()
        if event.name not in _NAMES:
            chunk = self._foreign(event)
            if chunk is None:
                return []
        else:
            chunk = parse_event(data)
        if type(chunk) is not dict:
            raise malformed(f"a chunk is {type(chunk).__name__}, not an object")
        if event.name == "error" and not chunk.get("error"):
            raise in_band(chunk)
        answer = self._answer
        try:
            events = answer.chunk(chunk)
        except RecursionError as exc:
            raise malformed("nested too deep", exc) from exc
        self.complete = answer.complete
        return events

    def _foreign(self, event: WireEvent) -> Any:
        """The chunk in an event of an unknown name, or None where it holds none (a ping)."""
        try:
            chunk = parse_json(event.data)
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


def _is_done(data: str | bytes) -> bool:
    return len(data) < 16 and data.strip() in (DONE, b"[DONE]")


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
