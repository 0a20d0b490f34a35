"""Streams of the OpenAI Responses dialect: wire events in, normalized events out.

Every item is told three times: in deltas, when it is done, and in the final event. So a malformed
event need not end the stream. After one, the deltas of the items it may have belonged to are passed
over, and what they would have said follows from the later tellings; what was streamed before is
always a beginning of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.events import ChatStreamEvent, ToolCallDelta
from crux_providers.base.models import JSON, ContentPart, ToolCall, parse_arguments
from crux_providers.base.wire import WireEvent

from .openai_responses_answer import finish_reason, read_frame
from .openai_responses_errors import failed, in_band
from .openai_responses_items import (
    CALL_FIELDS,
    DIALECT,
    Piece,
    Place,
    call_extra,
    read_content,
    read_item,
    read_thought,
    says_something,
)
from .reading import as_list, as_mapping, as_text, malformed, need_mapping, need_text, parse_event

ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
"""The events that end a stream properly."""

DELTAS: dict[str, tuple[str, str, str | None]] = {
    "response.output_text.delta": ("text", "content", None),
    "response.refusal.delta": ("refusal", "content", None),
    "response.reasoning_text.delta": ("reasoning", "content", "reasoning_text"),
    "response.reasoning_summary_text.delta": ("reasoning", "summary", "summary_text"),
}
"""Events of text: the type of the part, the place in its item, the wire's type of a reasoning."""

PARTS: dict[str, str] = {
    "output_text": "response.output_text.delta",
    "refusal": "response.refusal.delta",
    "reasoning_text": "response.reasoning_text.delta",
    "summary_text": "response.reasoning_summary_text.delta",
}
"""Pieces that may begin with text, as the delta that would say it."""

_TEXT_FIELDS = {"text": "delta", "reasoning": "reasoning", "refusal": "refusal"}


@dataclass(slots=True)
class _Block:
    """A part in the making; ``told`` is the last completion that was emitted."""

    number: int
    type: str
    pieces: list[str] = field(default_factory=list)
    told: ContentPart | None = None
    open: bool = True


@dataclass(slots=True)
class _Item:
    """What is known of one output item; ``whole`` says that none of its deltas can be lost."""

    type: str | None
    id: JSON
    whole: bool
    blocks: dict[Place, _Block] = field(default_factory=dict)
    done: bool = False
    call: int | None = None
    arguments: list[str] = field(default_factory=list)
    extra: dict[str, JSON] = field(default_factory=dict)
    logprobs: list[JSON] = field(default_factory=list)
    parts: list[ContentPart] = field(default_factory=list)


class Decoder:
    """One stream's events; feed every wire event in order, then call ``finish`` once.

    ``complete`` and ``ended``: the final event was seen. ``skipped`` counts malformed events.
    """

    __slots__ = (
        "_block_count", "_broken", "_call_count", "_fed", "_first", "_gap", "_items", "_model",
        "_response_id", "_texts", "complete", "ended", "skipped",
    )  # fmt: skip

    def __init__(self) -> None:
        self.complete = False
        self.ended = False
        self.skipped = 0
        self._items: dict[int, _Item] = {}
        self._texts: dict[Any, _Block] = {}  # by output_index and content_index
        self._block_count = 0
        self._broken = False
        self._fed = 0
        self._first: int | None = None  # sequence_number of the event before the first
        self._gap = False
        self._call_count = 0
        self._response_id: str | None = None
        self._model: str | None = None

    def feed(self, event: WireEvent) -> list[ChatStreamEvent]:
        """The events of one wire event; raises the error it holds.

        A malformed event is counted and skipped, unless it is the final one, which would have
        mended it: then this raises ``malformed``.
        """
        if self.ended:
            return []
        data = event.data
        if data in ("", "[DONE]"):  # OpenRouter; it ends nothing without a final event
            return []
        self._fed += 1
        try:
            message = parse_event(data)
            if type(message) is not dict:
                raise malformed(f"an event is {type(message).__name__}, not an object")
        except ProviderError:
            return self._skip()
        kind = message.get("type")
        if kind == "response.output_text.delta":  # most events are this one
            delta = message.get("delta")
            try:
                block = self._texts[message["output_index"], message["content_index"]]
            except (KeyError, TypeError):
                block = None
            if block is not None and type(delta) is str:
                if not delta or not block.open:
                    return []
                block.pieces.append(delta)
                return [ChatStreamEvent(delta, block=block.number)]
        return self._other(kind, message, event.name)

    def finish(self) -> list[ChatStreamEvent]:
        """Nothing; raises ``transient`` where the final event never came."""
        if not self.complete:
            raise ProviderError(ErrorCode.TRANSIENT, "stream ended without response.completed")
        return []

    def _other(
        self, kind: JSON, message: dict[str, JSON], name: str | None
    ) -> list[ChatStreamEvent]:
        if kind is None and name is not None:  # a server that only names the event
            kind = name
            message = {**message, "type": name}
        self._count(message.get("sequence_number"))
        handle = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if handle is None:
            if kind == "error" or message.get("error"):
                raise in_band(message)
            return []
        try:
            return handle(self, message)
        except RecursionError as exc:
            raise malformed("nested too deep", exc) from exc
        except ProviderError as exc:
            if kind in ENDS or self._broken or exc.code is not ErrorCode.MALFORMED:
                raise
            return self._skip()

    def _count(self, number: JSON) -> None:
        """Whether the numbers say that more events were sent than arrived."""
        if type(number) is int:
            if self._first is None:
                self._first = number - self._fed
            self._gap = number - self._fed > self._first

    def _skip(self) -> list[ChatStreamEvent]:
        self.skipped += 1
        for item in self._items.values():
            item.whole = False
            for block in item.blocks.values():
                block.open = False
        return []

    # -- the life of the response -----------------------------------------------------------------

    def _begun(self, message: dict[str, JSON]) -> list[ChatStreamEvent]:
        response = as_mapping(message.get("response"))
        return self._identify(as_text(response.get("id")), as_text(response.get("model")))

    def _identify(self, response_id: str | None, model: str | None) -> list[ChatStreamEvent]:
        meta = {}
        if response_id is not None and response_id != self._response_id:
            meta["response_id"] = self._response_id = response_id
        if model is not None and model != self._model:
            meta["model_name"] = self._model = model
        return [ChatStreamEvent(meta=meta)] if meta else []

    def _final(self, message: dict[str, JSON]) -> list[ChatStreamEvent]:
        response = need_mapping(message.get("response"), "the response")
        frame = read_frame(response)
        events = self._identify(frame.response_id, frame.model)
        left = dict(self._items)
        output = as_list(response.get("output"))
        if self.skipped and not output:
            raise malformed("an event was malformed and the final event repeats nothing")
        for index, value in enumerate(output):
            where = f"output[{index}]"
            item = need_mapping(value, where)
            pieces = read_item(item, where)
            events += self._settle(self._find(left, item), pieces)
        if self.skipped and not all(item.whole or item.done for item in self._items.values()):
            raise malformed("what a malformed event said is not in the final event")
        items = self._items.values()
        parts = [part for item in items for part in item.parts]
        logprobs = [entry for item in items for entry in item.logprobs]
        meta: dict[str, Any] = {"logprobs": logprobs} if logprobs else {}
        if frame.fields:
            meta["wire_fields"] = frame.fields
        reason = finish_reason(frame.finish_reason, parts, calls=bool(self._call_count))
        events.append(ChatStreamEvent(usage=frame.usage, finish_reason=reason, meta=meta or None))
        self.complete = self.ended = True
        return events

    def _find(self, left: dict[int, _Item], item: dict[str, JSON]) -> _Item:
        """The item that the final event repeats here: by its id, else the next of its type.

        Neither ids nor positions can be trusted alone: GitHub Copilot gives every event other ids,
        OpenRouter the final items (recorded: _bodies/openai/responses__github-copilot-id-rotation,
        openrouter/responses_reasoning_stream__pydantic-ai), and positions may have gaps.
        """
        kind, id = item.get("type"), item.get("id")
        alike = [index for index, known in left.items() if known.type == kind]
        same = (i for i in alike if id is not None and left[i].id == id)
        index = next(same, alike[0] if alike else None)
        if index is not None:
            return left.pop(index)
        found = _Item(as_text(kind), id, whole=False)
        self._items[max(self._items, default=-1) + 1] = found
        return found

    def _failed(self, message: dict[str, JSON]) -> list[ChatStreamEvent]:
        response = as_mapping(message.get("response"))
        raise failed({**response, "error": response.get("error") or message.get("error")})

    # -- items ------------------------------------------------------------------------------------

    def _item(self, message: dict[str, JSON], kind: str | None = None) -> _Item:
        """The item an event speaks of; one that was never announced may have lost its beginning."""
        index = _index(message, "output_index")
        item = self._items.get(index)
        if item is None:
            item = self._items[index] = _Item(kind, message.get("item_id"), not self.skipped)
        return item

    def _added(self, message: dict[str, JSON]) -> list[ChatStreamEvent]:
        wire = message.get("item")
        if wire is None:  # OpenAI's SDK passes over an announcement without its item
            return []
        wire = need_mapping(wire, "an added item")
        kind = need_text(wire.get("type"), "the type of an added item")
        index = _index(message, "output_index")
        if index in self._items:
            raise malformed(f"output_index {index} is announced twice")
        whole = not self._waiting(index)
        item = self._items[index] = _Item(kind, wire.get("id"), whole)
        name, call_id = wire.get("name"), wire.get("call_id")
        if kind not in CALL_FIELDS or not (whole and as_text(name) and as_text(call_id)):
            return []
        extra = {k: v for k, v in call_extra(wire).items() if k != "status"}
        begun = ToolCallDelta(self._call(item), as_text(call_id), as_text(name), dialect=DIALECT)
        text = as_text(wire.get(CALL_FIELDS[kind])) or ""
        if text:
            item.arguments.append(text)
        item.extra |= extra
        return [ChatStreamEvent(tool_call=replace(begun, arguments=text, extra=extra or None))]

    def _waiting(self, index: int) -> bool:
        """Whether an item before this one still has to be mended: then this one comes after it."""
        return bool(self.skipped) and any(
            at < index and not (known.whole or known.done) for at, known in self._items.items()
        )

    def _call(self, item: _Item) -> int:
        item.call = self._call_count
        self._call_count += 1
        return item.call

    def _done(self, message: dict[str, JSON]) -> list[ChatStreamEvent]:
        wire = need_mapping(message.get("item"), "a finished item")
        pieces = read_item(wire, "a finished item")
        item = self._item(message)
        item.type, item.id = as_text(wire.get("type")), wire.get("id")
        if self._waiting(_index(message, "output_index")):
            item.whole = False
            return []
        return self._settle(item, pieces)

    def _settle(self, item: _Item, pieces: list[Piece]) -> list[ChatStreamEvent]:
        """What a finished item says that was not said yet."""
        events: list[ChatStreamEvent] = []
        item.done = True
        item.parts = [p.value for p in pieces if isinstance(p.value, ContentPart)]
        item.logprobs = [entry for p in pieces for entry in p.logprobs]
        for piece in pieces:
            if isinstance(piece.value, ToolCall):
                self._settle_call(item, piece.value, events)
            else:
                self._settle_part(item, piece.place, piece.value, events)
        return events

    def _settle_part(
        self, item: _Item, place: Place, part: ContentPart, events: list[ChatStreamEvent]
    ) -> None:
        block = item.blocks.get(place)
        if block is None or block.type != part.type:
            block = self._block(item, place, part.type)
        block.open = False
        rest: str | None = None
        word = _TEXT_FIELDS.get(part.type)
        if word is not None and part.text is not None:
            said = "".join(block.pieces)
            if part.text.startswith(said):
                rest = part.text[len(said) :] or None
            elif self.skipped or self._gap:
                raise self._contradiction("text does not begin with")
            # Else nothing was lost, and what the caller has seen stands.
            part = replace(part, text="")
        if rest is not None:
            block.pieces.append(rest)
        told = None if part == block.told else part
        block.told = part
        if rest is None:
            if told is not None:
                events.append(ChatStreamEvent(part=told, block=block.number))
        else:
            said_now: dict[str, Any] = {word: rest} if word is not None else {}
            events.append(ChatStreamEvent(**said_now, part=told, block=block.number))

    def _settle_call(self, item: _Item, call: ToolCall, events: list[ChatStreamEvent]) -> None:
        said, text = "".join(item.arguments), call.raw_arguments or ""
        rest = text[len(said) :] if text.startswith(said) else ""
        if not rest and said != text and parse_arguments(said) != parse_arguments(text):
            raise self._contradiction("arguments of a call are not")
        extra = dict(call.extra or {})
        begins = item.call is None
        if not begins and not rest and extra.items() <= item.extra.items():
            return
        piece = ToolCallDelta(
            self._call(item) if item.call is None else item.call,
            call.id if begins else None,
            call.name if begins else None,
            rest,
            dialect=DIALECT,
            extra=extra or None,
        )
        item.arguments.append(rest)
        item.extra |= extra
        events.append(ChatStreamEvent(tool_call=piece))

    def _contradiction(self, what: str) -> ProviderError:
        self._broken = True  # nothing later can mend it
        return malformed(f"the finished {what} what was streamed")

    # -- deltas -----------------------------------------------------------------------------------

    def _block(self, item: _Item, place: Place, kind: str) -> _Block:
        block = item.blocks[place] = _Block(self._block_count, kind, open=item.whole)
        self._block_count += 1
        return block

    def _delta(self, message: dict[str, JSON]) -> list[ChatStreamEvent]:
        return self._say(message["type"], message, need_text(message.get("delta"), "a delta"))

    def _piece(self, message: dict[str, JSON]) -> list[ChatStreamEvent]:
        """A piece is announced; what text it begins with counts as its first delta."""
        part = as_mapping(message.get("part"))
        kind = PARTS.get(part.get("type") or "") if isinstance(part.get("type"), str) else None
        text = as_text(part.get("refusal" if part.get("type") == "refusal" else "text"))
        return [] if kind is None or text is None else self._say(kind, message, text)

    def _piece_done(self, message: dict[str, JSON]) -> list[ChatStreamEvent]:
        """A piece that had no deltas (of an unknown type, cited without words) is told here."""
        wire = need_mapping(message.get("part"), "a finished piece")
        item = self._item(message, "message")
        name = "summary" if "summary_index" in message else "content"
        place = (name, _index(message, f"{name}_index"))
        if place in item.blocks or not item.whole:
            return []
        fields: dict[str, JSON] = {} if item.id is None else {"id": item.id}
        if item.type == "reasoning":
            part = read_thought(wire, fields, "a finished piece")
        else:
            part = read_content(wire, fields, "a finished piece")
            if not says_something(part):
                return []
        events: list[ChatStreamEvent] = []
        self._settle_part(item, place, part, events)
        return events

    def _say(self, kind: str, message: dict[str, JSON], text: str) -> list[ChatStreamEvent]:
        type, name, wire_type = DELTAS[kind]
        item = self._item(message, "reasoning" if type == "reasoning" else "message")
        place = (name, _index(message, f"{name}_index"))
        block = item.blocks.get(place)
        begins = block is None or block.type != type
        if block is None or begins:
            block = self._block(item, place, type)
            if type == "text":
                self._texts[message["output_index"], place[1]] = block
        if not block.open or not text:
            return []
        part = None
        if not block.pieces:
            extra: dict[str, JSON] = {"item": {} if item.id is None else {"id": item.id}}
            if wire_type is not None:
                extra["type"] = wire_type
            part = block.told = ContentPart(type, "", dialect=DIALECT, extra=extra)
        block.pieces.append(text)
        said: dict[str, Any] = {_TEXT_FIELDS[type]: text}
        return [ChatStreamEvent(**said, part=part, block=block.number)]

    def _arguments(self, message: dict[str, JSON]) -> list[ChatStreamEvent]:
        text = need_text(message.get("delta"), "a delta")
        item = self._item(message)
        if item.call is None or not item.whole or not text:
            return []  # the finished item will say it
        item.arguments.append(text)
        return [ChatStreamEvent(tool_call=ToolCallDelta(item.call, arguments=text))]


def _index(message: dict[str, JSON], name: str) -> int:
    index = message.get(name)
    if type(index) is not int:
        raise malformed(f"{name} is {type(index).__name__}, not a number")
    return index


_HANDLERS: dict[str, Callable[[Decoder, dict[str, JSON]], list[ChatStreamEvent]]] = {
    "response.created": Decoder._begun,
    "response.queued": Decoder._begun,
    "response.in_progress": Decoder._begun,
    "response.output_item.added": Decoder._added,
    "response.output_item.done": Decoder._done,
    "response.content_part.added": Decoder._piece,
    "response.content_part.done": Decoder._piece_done,
    "response.reasoning_summary_part.added": Decoder._piece,
    "response.reasoning_summary_part.done": Decoder._piece_done,
    "response.function_call_arguments.delta": Decoder._arguments,
    "response.custom_tool_call_input.delta": Decoder._arguments,
    "response.completed": Decoder._final,
    "response.incomplete": Decoder._final,
    "response.failed": Decoder._failed,
    **dict.fromkeys(DELTAS, Decoder._delta),
}
"""What each event means; all others (progress of server tools, repeated texts) say nothing new."""
