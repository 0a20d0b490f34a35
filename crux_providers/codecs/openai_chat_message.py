"""Reading the message of an answer, or its deltas, in the OpenAI chat dialect.

The parts stand in one order, whatever the order of the fields: reasoning, content, refusal,
images, audio, tool calls.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from crux_providers.base.events import ChatStreamEvent, ToolCallDelta
from crux_providers.base.models import JSON, ContentPart

from .openai_chat_media import image_part
from .openai_chat_tables import DIALECT, made_id
from .reading import (
    as_mapping,
    as_text,
    dig,
    json_text,
    malformed,
    need_mapping,
    need_text,
    opt_list,
    opt_mapping,
    opt_text,
    or_none,
    rest_of,
)

_HANDLED = frozenset(
    {
        "role", "content", "refusal", "reasoning", "reasoning_content", "reasoning_details",
        "tool_calls", "function_call", "audio", "images", "extra_content", "index",
    }
)  # fmt: skip
_REPLACED = frozenset({"role", "type", "index", "id"})


@dataclass(slots=True)
class _Block:
    """A reasoning part that several pieces make up; ``number`` is the event's ``block``."""

    number: int
    attributes: dict[str, JSON]
    text: str | None = None  # "" once any text field was seen; the pieces themselves are events
    signature: str | None = None
    data: str | None = None
    shown: bool = False  # the part as it stands was handed over
    told: list[str] | None = None  # the pieces of plain text, which has nothing to complete

    def part(self) -> ContentPart:
        return ContentPart(
            "reasoning",
            self.text,
            data=self.data,
            signature=self.signature,
            dialect=DIALECT,
            extra=dict(self.attributes),
        )


@dataclass(slots=True)
class _Call:
    number: int
    id: str | None
    name: str | None
    extra: dict[str, JSON] = field(default_factory=dict)


class MessageReader:
    """What the message says so far; ``fields`` are those the vocabulary has no word for."""

    __slots__ = (
        "_audio", "_blocks", "_by_index", "_details", "calls", "fields", "open", "seed", "whole",
    )  # fmt: skip

    def __init__(self, *, whole: bool) -> None:
        self.whole = whole
        self.seed: JSON = None  # what made-up ids of tool calls are made from
        self.calls: list[_Call] = []
        self.fields: dict[str, JSON] = {}
        self._by_index: dict[int, _Call] = {}
        self._blocks: list[_Block] = []
        self._details: dict[tuple[JSON, JSON], _Block] = {}
        self.open: _Block | None = None  # the reasoning part that is being told
        self._audio: dict[str, JSON] = {}

    def settle(self, events: list[ChatStreamEvent]) -> None:
        """Something else begins: complete the reasoning part that was being told."""
        block, self.open = self.open, None
        if block is not None and not block.shown and block.told is None:
            block.shown = True
            events.append(ChatStreamEvent(part=block.part(), block=block.number))

    def _begin(self, block: _Block, events: list[ChatStreamEvent]) -> _Block:
        if block is not self.open:
            self.settle(events)
            self.open = block
        return block

    def take(self, delta: dict[str, JSON], events: list[ChatStreamEvent]) -> None:
        """Add the events of a message or a delta."""
        get = delta.get
        self._take_reasoning(delta, events)
        if extra := get("extra_content"):
            self._take_extra_content(need_mapping(extra, "extra_content"), events)
        content = get("content")
        if isinstance(content, list):
            for item in content:
                self._take_item(item, events)
        elif text := opt_text(content, "content"):
            self.settle(events)
            events.append(ChatStreamEvent(text))
        if refusal := opt_text(get("refusal"), "refusal"):
            events.append(ChatStreamEvent(refusal=refusal))
        for image in opt_list(get("images"), "images") or ():
            events.append(ChatStreamEvent(part=image_part(need_mapping(image, "image"))))
        if audio := opt_mapping(get("audio"), "audio"):
            self._audio = merged(self._audio, audio)
        for entry in opt_list(get("tool_calls"), "tool_calls") or ():
            self._take_call(need_mapping(entry, "tool call"), events)
        if call := opt_mapping(get("function_call"), "function_call"):
            self._take_function_call(call, events)
        unknown = {k: v for k, v in delta.items() if k not in _HANDLED and v not in (None, [])}
        if unknown:
            self.fields = merged(self.fields, unknown)

    def _take_reasoning(self, delta: dict[str, JSON], events: list[ChatStreamEvent]) -> None:
        details = opt_list(delta.get("reasoning_details"), "reasoning_details") or ()
        told = False
        for entry in details:
            told |= self._take_detail(need_mapping(entry, "reasoning detail"), events)
        # OpenRouter says the text of the details once more in `reasoning`; providers that send
        # both `reasoning` and `reasoning_content` say the same in each.
        plain = opt_text(delta.get("reasoning_content"), "reasoning_content") or opt_text(
            delta.get("reasoning"), "reasoning"
        )
        if plain and not told:
            block = self.open
            if block is None or block.told is None:
                block = self._begin(self._block(told=[]), events)
            if block.told is not None:
                block.told.append(plain)
            events.append(ChatStreamEvent(reasoning=plain, block=block.number))

    def _take_detail(self, entry: dict[str, JSON], events: list[ChatStreamEvent]) -> bool:
        """One entry of ``reasoning_details``; whether it has text."""
        kind = opt_text(entry.get("type"), "type of a reasoning detail") or "reasoning.text"
        field_name = "summary" if kind == "reasoning.summary" else "text"
        text = opt_text(entry.get(field_name), field_name)
        key = (kind, _plain_value(entry.get("index")))
        block = None if self.whole else self._details.get(key)
        new = block is None
        if block is None:
            block = self._told_before(text) or self._block()
            self._details[key] = block
        again = block.told is not None  # the text came as plain deltas, its shape comes now
        block.told = None
        self._begin(block, events)
        known = {field_name, "type"}
        block.attributes["type"] = kind
        if text is not None:
            block.text = ""
        if (signature := entry.get("signature")) is not None:
            block.signature = (block.signature or "") + need_text(signature, "signature")
            known.add("signature")
        if isinstance(entry.get("data"), str):
            block.data = (block.data or "") + entry["data"]
            known.add("data")
        for name, value in entry.items():
            if name not in known and (value is not None or name not in block.attributes):
                block.attributes[name] = value
        block.shown = False
        if text and not again:
            events.append(ChatStreamEvent(reasoning=text, block=block.number))
        elif new and not text and (self.whole or block.data or block.signature):
            # Keeps its place among the parts; it is shown once more if more of it comes. One that
            # says nothing yet is held back: it would commit the stream.
            block.shown = True
            events.append(ChatStreamEvent(part=block.part(), block=block.number))
        return bool(text)

    def _told_before(self, text: str | None) -> _Block | None:
        """The open part of plain text, where ``text`` says all of it once more."""
        block = self.open
        if self.whole or not text or block is None or block.told is None:
            return None
        return block if "".join(block.told) == text else None

    def _block(self, told: list[str] | None = None, **attributes: JSON) -> _Block:
        block = _Block(len(self._blocks), attributes, told=told)
        self._blocks.append(block)
        return block

    def _take_extra_content(self, extra: dict[str, JSON], events: list[ChatStreamEvent]) -> None:
        """Gemini's OpenAI endpoint: the thought signature of the message, to be sent back."""
        key = ("extra_content", None)
        block = self._details.get(key)
        if block is None:
            block = self._details[key] = self._block()
        block.attributes = merged(block.attributes, {"extra_content": extra})
        block.signature = as_text(
            dig(block.attributes, "extra_content", "google", "thought_signature")
        )
        block.shown = True
        events.append(ChatStreamEvent(part=block.part(), block=block.number))

    def _take_item(self, item: JSON, events: list[ChatStreamEvent]) -> None:
        """One item of a content list (Mistral)."""
        if isinstance(item, str):
            item = {"type": "text", "text": item}
        item = need_mapping(item, "content item")
        kind = item.get("type")
        if kind == "thinking":
            self._take_thinking(item, events)
            return
        self.settle(events)
        match kind:
            case "text":
                text = need_text(item.get("text"), "text")
                if extra := rest_of(item, ("type", "text")):
                    part = ContentPart("text", text, dialect=DIALECT, extra=extra)
                    events.append(ChatStreamEvent(part=part))
                elif text:
                    events.append(ChatStreamEvent(text))
            case "refusal":
                events.append(ChatStreamEvent(refusal=need_text(item.get("refusal"), "refusal")))
            case "image_url":
                events.append(ChatStreamEvent(part=image_part(item)))
            case _:
                part = ContentPart("raw", data=item, dialect=DIALECT)
                events.append(ChatStreamEvent(part=part))

    def _take_thinking(self, item: dict[str, JSON], events: list[ChatStreamEvent]) -> None:
        block = self.open
        if (
            block is None
            or block.attributes.get("type") != "thinking"
            or block.attributes.get("closed")
        ):
            block = self._begin(self._block(type="thinking"), events)
        for piece in opt_list(item.get("thinking"), "thinking") or ():
            piece = {"type": "text", "text": piece} if isinstance(piece, str) else piece
            piece = need_mapping(piece, "thinking")
            if piece.get("type") == "text" and len(piece) == 2:
                block.text = ""
                if text := need_text(piece.get("text"), "text"):
                    events.append(ChatStreamEvent(reasoning=text, block=block.number))
            else:  # a reference inside a thought
                block.attributes.setdefault("thinking", []).append(piece)
        if signature := as_text(item.get("signature")):
            block.signature = signature
        block.attributes.update(rest_of(item, ("type", "thinking", "signature")))

    def _take_call(self, entry: dict[str, JSON], events: list[ChatStreamEvent]) -> None:
        wire = read_call(entry)
        if wire is None:
            self.fields = merged(self.fields, {"tool_calls": [entry]})
            return
        self.settle(events)
        wire_id, name, arguments, extra = wire
        index = entry.get("index")
        call = None if self.whole else self._open_call(index, wire_id, name)
        if call is None:
            call = self._begin_call(wire_id, name)
            if type(index) is int:
                self._by_index[index] = call
            head = ToolCallDelta(
                call.number,
                call.id,
                name,
                arguments,
                dialect=DIALECT if extra else None,
                extra=or_none(extra),
            )
            events.append(ChatStreamEvent(tool_call=head))
            return
        late_id = wire_id if call.id is None else None
        late_name = name if call.name is None else None
        call.id, call.name = call.id or wire_id, call.name or name
        if extra == call.extra:
            extra = {}
        if arguments or late_id or late_name or extra:
            piece = ToolCallDelta(
                call.number,
                late_id,
                late_name,
                arguments,
                dialect=DIALECT if extra else None,
                extra=or_none(extra),
            )
            events.append(ChatStreamEvent(tool_call=piece))
        call.extra = extra or call.extra

    def _open_call(self, index: JSON, wire_id: str | None, name: str | None) -> _Call | None:
        """The call that an entry goes on with, or None where it begins another.

        Most entries have an index; Mistral, Gemini and Ollama send whole calls without one. Some
        gateways number every parallel call 0: another id with a name is another call.
        """
        if type(index) is int:
            call = self._by_index.get(index)
            if call is None or not (name and wire_id and call.id):
                return call
            return call if wire_id == call.id else None
        last = self.calls[-1] if self.calls else None
        if last is None or (wire_id is not None and wire_id != last.id):
            return None
        return None if name and wire_id is None else last

    def _begin_call(self, wire_id: str | None, name: str | None) -> _Call:
        number = len(self.calls)
        if wire_id is None and name is not None:
            wire_id = made_id(self.seed, number, name)
        call = _Call(number, wire_id, name)
        self.calls.append(call)
        return call

    def _take_function_call(self, inner: dict[str, JSON], events: list[ChatStreamEvent]) -> None:
        """OpenAI's single call of before there were tools; it has no id."""
        call = self._by_index.get(-1)
        if call is None:
            name = need_text(inner.get("name"), "name of a function")
            call = self._by_index[-1] = self._begin_call(None, name)
            head = ToolCallDelta(
                call.number, call.id, name, dialect=DIALECT, extra={"type": "function_call"}
            )
            events.append(ChatStreamEvent(tool_call=head))
        if text := opt_text(inner.get("arguments"), "arguments"):
            events.append(ChatStreamEvent(tool_call=ToolCallDelta(call.number, arguments=text)))

    def close(self) -> list[ChatStreamEvent]:
        """The parts that are complete only now; raises ``malformed`` for a call without a name."""
        events: list[ChatStreamEvent] = []
        for block in self._blocks:  # what came late for a part that was passed by, too
            self.open = block
            self.settle(events)
        if self._audio:
            events.append(ChatStreamEvent(part=_audio_part(self._audio)))
        for call in self.calls:
            if call.name is None:
                raise malformed("tool call without a name")
            if call.id is None:
                made = made_id(self.seed, call.number, call.name)
                events.append(ChatStreamEvent(tool_call=ToolCallDelta(call.number, made)))
        return events


class WireCall(NamedTuple):
    """An entry of ``tool_calls`` as read; ``extra`` holds what the vocabulary has no word for."""

    id: str | None
    name: str | None
    arguments: str
    extra: dict[str, JSON]


def read_call(entry: dict[str, JSON]) -> WireCall | None:
    """One entry of ``tool_calls``, whole or a piece; None for a kind that nobody here knows."""
    kind = opt_text(entry.get("type"), "type of a tool call")
    inner = entry.get("custom") if kind == "custom" else entry.get("function")
    if inner is None and kind not in (None, "", "function"):
        return None
    inner = opt_mapping(inner, "function") or {}
    arguments = inner.get("input" if kind == "custom" else "arguments")
    if not isinstance(arguments, str):
        # Cohere's and Ollama's compatible endpoints have sent objects and null here.
        arguments = "" if arguments is None else json_text(need_mapping(arguments, "arguments"))
    given = entry.get("id")
    extra = rest_of(entry, ("index", "id", "type", "function", "custom"))
    if kind not in (None, "", "function"):
        extra["type"] = kind
    if unknown := rest_of(inner, ("name", "arguments", "input")):
        extra["function"] = unknown
    return WireCall(
        str(given) if type(given) is int else as_text(given),
        opt_text(inner.get("name"), "name of a tool") or None,
        arguments,
        extra,
    )


def _plain_value(value: JSON) -> JSON:
    return value if isinstance(value, (str, int)) else None


def _audio_part(audio: dict[str, JSON]) -> ContentPart:
    return ContentPart(
        "audio",
        opt_text(audio.get("transcript"), "transcript"),
        data=opt_text(audio.get("data"), "audio data"),
        dialect=DIALECT,
        extra=or_none(rest_of(audio, ("transcript", "data"))),
    )


def merged(old: JSON, new: dict[str, JSON]) -> dict[str, JSON]:
    """``old`` with another delta added: texts and lists grow, what names a thing is replaced.

    List entries with an ``index`` are merged with the entry of that index. Neither argument
    changes.
    """
    result: dict[str, JSON] = dict(as_mapping(old))
    for key, value in new.items():
        had = result.get(key)
        match had, value:
            case _, None:
                result.setdefault(key, None)
            case (str(), str()) if key not in _REPLACED:
                result[key] = had + value
            case dict(), dict():
                result[key] = merged(had, value)
            case list(), list():
                result[key] = _merged_list(had, value)
            case _:
                result[key] = value
    return result


def _merged_list(old: list[JSON], new: list[JSON]) -> list[JSON]:
    result = list(old)
    for entry in new:
        index = entry.get("index") if isinstance(entry, dict) else None
        at = next(
            (i for i, e in enumerate(result) if index is not None and dig(e, "index") == index),
            None,
        )
        if at is None:
            result.append(entry)
        else:
            result[at] = merged(result[at], entry)
    return result
