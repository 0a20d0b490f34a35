"""Anthropic Messages: a stream's events as normalized events.

``message_start``, then for each block ``content_block_start``, deltas and ``content_block_stop``,
then ``message_delta`` and ``message_stop``, the proper end; ``ping`` anywhere, ``error`` instead
of what was to come (build-with-claude/streaming, read 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure
from crux_providers.base.events import ChatStreamEvent, ToolCallDelta
from crux_providers.base.models import JSON, parse_arguments
from crux_providers.base.wire import WireEvent

from .anthropic_messages_answer import (
    MESSAGE_FIELDS,
    finish_reason,
    is_error,
    read_usage,
    refusal_part,
    wire_fields,
)
from .anthropic_messages_blocks import DIALECT, read_block
from .anthropic_messages_errors import classify
from .reading import (
    as_list,
    as_mapping,
    as_text,
    dig,
    json_text,
    malformed,
    need_mapping,
    need_text,
    or_none,
    parse_event,
    rest_of,
)
from .repair import INVALID_ARGUMENTS

CONTENT_EVENTS = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    }
)
"""Events that carry something; any other is passed over, whatever is in it."""


_BELONGS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "tool_use",
    "citations_delta": "text",
    "signature_delta": "thinking",
}
"""Which of the known kinds of block a delta belongs to; any other kind may have it too."""


class _Block:
    """One block that has begun: its kind decides where its deltas go."""

    __slots__ = ("call", "citations", "index", "kind", "pieces", "wire")

    def __init__(self, index: int, kind: str, wire: dict[str, JSON], call: int) -> None:
        self.index = index
        self.kind = kind  # text, thinking, tool_use, or raw for all others
        self.wire = wire  # the block as it began, completed by its deltas
        self.call = call  # which tool call of the answer it is
        self.pieces: list[str] = []  # of its input, as JSON text
        self.citations: list[JSON] = []


class Decoder:
    """One stream's decoder: feed it every event in order, then call ``finish`` once."""

    __slots__ = (
        "_answer", "_begun", "_calls", "_counts", "_ends_in_call", "_open", "_refused", "_started",
        "complete", "ended", "skipped",
    )  # fmt: skip

    def __init__(self) -> None:
        self.complete = False
        self.ended = False
        self.skipped = 0
        self._started = False
        self._open: dict[int, _Block] = {}
        self._begun = -1  # the highest index of a block so far
        self._calls = 0
        self._ends_in_call = False  # whether nothing stands after the latest call
        self._counts: dict[str, JSON] = {}
        self._answer: dict[str, JSON] = {}  # the message's fields but its content
        self._refused = False

    def feed(self, event: WireEvent) -> list[ChatStreamEvent]:
        """The events in one wire event.

        Raises the classified error of an ``error`` event, and ``malformed`` for content that is
        not what the dialect says.
        """
        if self.ended:
            return []
        try:
            payload = parse_event(event.data)
        except ProviderError:
            if event.name == "error":
                raise classify(WireFailure("in_band", body=event.data)) from None
            if event.name is None or event.name in CONTENT_EVENTS:
                raise
            self.skipped += 1
            return []
        if type(payload) is not dict:
            raise malformed(f"an event is {type(payload).__name__}, not an object")
        kind = payload.get("type") or event.name
        if kind == "content_block_delta":
            return self._delta(payload)
        handle = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if handle is not None:
            return handle(self, payload)
        if event.name == "error" or is_error(payload):
            return self._fail(payload)
        return []

    def finish(self) -> list[ChatStreamEvent]:
        """Nothing is held back; raises ``transient`` where ``message_stop`` never came."""
        if not self.complete:
            raise ProviderError(ErrorCode.TRANSIENT, "stream ended without message_stop")
        return []

    # --- content --------------------------------------------------------------------------------

    def _delta(self, payload: dict[str, JSON]) -> list[ChatStreamEvent]:
        index = payload.get("index")
        block = self._open.get(index) if type(index) is int else None
        if block is None:
            raise malformed("a delta for a content block that is not open")
        delta = payload.get("delta")
        if type(delta) is not dict:
            raise malformed("a content block's delta is not an object")
        kind = delta.get("type")
        if kind == "text_delta" and block.kind == "text":
            text = delta.get("text")
            if type(text) is not str:
                raise malformed("a text_delta has no text")
            if not text:
                return []
            self._ends_in_call = False
            return [ChatStreamEvent(delta=text, block=index)]
        if kind == "input_json_delta" and block.kind in ("tool_use", "raw"):
            return self._input(block, need_text(delta.get("partial_json"), "partial_json"))
        if kind == "thinking_delta" and block.kind == "thinking":
            text = need_text(delta.get("thinking"), "a thinking_delta's thinking")
            return [ChatStreamEvent(reasoning=text, block=index)] if text else []
        if not isinstance(kind, str):
            raise malformed("a content block's delta has no type")
        if _BELONGS.get(kind, block.kind) != block.kind != "raw":
            raise malformed(f"a {kind} for a {block.kind} block")
        if kind == "citations_delta":
            block.citations.append(delta.get("citation"))
        elif kind == "signature_delta":
            block.wire["signature"] = need_text(delta.get("signature"), "a signature")
        else:
            _complete(block.wire, delta)
        return []

    def _input(self, block: _Block, piece: str) -> list[ChatStreamEvent]:
        if not piece:
            return []
        block.pieces.append(piece)
        if block.kind != "tool_use":
            return []
        return [ChatStreamEvent(tool_call=ToolCallDelta(block.call, arguments=piece))]

    def _block_start(self, payload: dict[str, JSON]) -> list[ChatStreamEvent]:
        self._need_start()
        index = payload.get("index")
        if type(index) is not int or index <= self._begun:
            raise malformed("a content block begins out of turn")
        return self._begin(index, need_mapping(payload.get("content_block"), "content_block"))

    def _begin(self, index: int, wire: dict[str, JSON]) -> list[ChatStreamEvent]:
        self._begun = index
        kind = need_text(wire.get("type"), "a content block's type")
        block = _Block(index, kind, dict(wire), self._calls)
        self._open[index] = block
        match kind:
            case "text":
                text = need_text(wire.get("text"), "a text block's text")
                if not text:
                    return []
                self._ends_in_call = False
                return [ChatStreamEvent(delta=text, block=index)]
            case "thinking":
                text = need_text(wire.get("thinking"), "a thinking block's thinking")
                return [ChatStreamEvent(reasoning=text, block=index)] if text else []
            case "tool_use":
                self._calls += 1
                self._ends_in_call = True
                extra = or_none(rest_of(wire, ("type", "id", "name", "input")))
                begun = ToolCallDelta(
                    block.call,
                    need_text(wire.get("id"), "a tool_use block's id"),
                    need_text(wire.get("name"), "a tool_use block's name"),
                    dialect=DIALECT if extra else None,
                    extra=extra,
                )
                return [ChatStreamEvent(tool_call=begun)]
            case _:
                block.kind = "raw"
                return []

    def _block_stop(self, payload: dict[str, JSON]) -> list[ChatStreamEvent]:
        index = payload.get("index")
        block = self._open.pop(index, None) if type(index) is int else None
        if block is None:
            raise malformed("a content block ends that is not open")
        return self._end(block)

    def _end(self, block: _Block) -> list[ChatStreamEvent]:
        wire = block.wire
        if block.citations:
            wire["citations"] = [*as_list(wire.get("citations")), *block.citations]
        if block.kind == "tool_use":
            if block.pieces:
                return []
            # No pieces: a call without arguments, or one whose input came with its beginning.
            given = wire.get("input")
            arguments = json_text({} if given is None else need_mapping(given, "a call's input"))
            return [ChatStreamEvent(tool_call=ToolCallDelta(block.call, arguments=arguments))]
        if block.pieces:
            text = "".join(block.pieces)
            given = parse_arguments(text)
            wire["input"] = {INVALID_ARGUMENTS: text} if given is None else given
        if block.kind in ("text", "thinking"):
            wire[block.kind] = ""  # said already, piece by piece
        part = read_block(wire, "the stream")
        if part is None:
            return []
        self._ends_in_call = False
        if block.kind == "raw" and wire["type"] == "fallback":
            # Another model goes on from here; the answer is its own.
            served = as_text(dig(wire, "to", "model"))
            return [ChatStreamEvent(part=part, block=block.index, meta={"model_name": served})]
        return [ChatStreamEvent(part=part, block=block.index)]

    # --- the message ----------------------------------------------------------------------------

    def _message_start(self, payload: dict[str, JSON]) -> list[ChatStreamEvent]:
        if self._begun >= 0:
            raise malformed("a second message begins inside the first")
        self._started = True
        message = need_mapping(payload.get("message"), "message_start's message")
        self._take(message, as_mapping(message.get("usage")))
        meta = {
            "response_id": as_text(message.get("id")),
            "model_name": as_text(message.get("model")),
        }
        events = [ChatStreamEvent(meta=meta, usage=read_usage(self._counts))]
        # A turn that goes on after results for code that waits comes whole, with its beginning.
        for index, wire in enumerate(as_list(message.get("content"))):
            events += self._begin(index, need_mapping(wire, "a block of content"))
            events += self._end(self._open.pop(index))
        return events

    def _message_delta(self, payload: dict[str, JSON]) -> list[ChatStreamEvent]:
        self._need_start()
        self._take(need_mapping(payload.get("delta"), "message_delta's delta"), {})
        self._take(rest_of(payload, ("type", "delta")), as_mapping(payload.get("usage")))
        usage = read_usage(self._counts)
        events = [] if usage is None else [ChatStreamEvent(usage=usage)]
        refusal = refusal_part(as_text(self._answer.get("stop_reason")), self._answer)
        if refusal is not None and not self._refused:
            self._refused = True
            events.append(ChatStreamEvent(part=refusal))
        return events

    def _take(self, fields: Mapping[str, JSON], counts: Mapping[str, JSON]) -> None:
        # Counts are cumulative; what a later event leaves out or null stays as it was.
        self._counts.update((k, v) for k, v in counts.items() if v is not None)
        self._answer.update((k, v) for k, v in fields.items() if v is not None)

    def _message_stop(self, payload: dict[str, JSON]) -> list[ChatStreamEvent]:
        self._need_start()
        events = [e for block in self._open.values() for e in self._end(block)]
        self._open.clear()
        self._take(rest_of(payload, ("type",)), {})
        reason = as_text(self._answer.get("stop_reason"))
        finish = finish_reason(reason, self._calls > 0, self._ends_in_call)
        fields = wire_fields(self._answer, MESSAGE_FIELDS, self._counts, reason, finish)
        meta = {"wire_fields": fields} if fields else None
        events.append(ChatStreamEvent(finish_reason=finish, meta=meta))
        self.complete = self.ended = True
        return events

    def _need_start(self) -> None:
        if not self._started:
            raise malformed("an event before message_start")

    def _fail(self, payload: dict[str, JSON]) -> list[ChatStreamEvent]:
        raise classify(WireFailure("in_band", body=payload))


def _complete(wire: dict[str, JSON], delta: Mapping[str, JSON]) -> None:
    """A delta of a kind or on a block nobody here knows: its texts are appended, the rest is set.

    ``compaction_delta`` is one of them: its block begins empty, and one delta holds all.
    """
    for key, value in delta.items():
        if key == "type":
            continue
        before = wire.get(key)
        both = isinstance(before, str) and isinstance(value, str)
        wire[key] = before + value if both else value


_HANDLERS: Mapping[str, Callable[[Decoder, dict[str, Any]], list[ChatStreamEvent]]] = {
    "message_start": Decoder._message_start,
    "content_block_start": Decoder._block_start,
    "content_block_stop": Decoder._block_stop,
    "message_delta": Decoder._message_delta,
    "message_stop": Decoder._message_stop,
    "error": Decoder._fail,
}
