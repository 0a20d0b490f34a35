"""Answers in the OpenAI Responses dialect, written: what a server that speaks it replies.

What this module writes of an answer that was read here is read again as the same answer, whole or
streamed. Parts of other dialects that this one has no item for are left out; their reasoning is
shown as a summary. A whole answer is a stream of whole parts, so the two cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.events import ChatStreamEvent, ToolCallDelta
from crux_providers.base.models import (
    JSON,
    ChatResponse,
    ContentPart,
    ToolCall,
    Usage,
    parse_arguments,
)
from crux_providers.base.wire import WireEvent

from .openai_chat_render import render_error
from .openai_responses_answer import own_fields, write_frame
from .openai_responses_items import (
    DIALECT,
    content_piece,
    is_mine,
    own_extra,
    reasoning_piece,
    write_call,
)
from .reading import as_list, as_mapping
from .repair import in_wire_order

_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc"}
_DELTAS = {
    "output_text": "response.output_text.delta",
    "refusal": "response.refusal.delta",
    "reasoning_text": "response.reasoning_text.delta",
    "summary_text": "response.reasoning_summary_text.delta",
}
_FIELDS = {"output_text": "text", "refusal": "refusal"}


@dataclass(slots=True)
class _Piece:
    """A piece of an item: where it stands, its text so far, its other fields."""

    item: _Item
    part: ContentPart
    place: str
    index: int
    texts: list[str] = field(default_factory=list)
    foreign: bool = False
    closed: bool = False

    def build(self) -> dict[str, Any]:
        whole = ContentPart(self.part.type, "".join(self.texts), data=self.part.data)
        extra = own_extra(self.part)
        extra.pop("item", None)
        if self.place == "summary" or self.part.type == "reasoning":
            return reasoning_piece(whole, extra)[1]
        piece = content_piece(whole, extra)
        return {"annotations": [], "logprobs": [], **piece} if whole.type == "text" else piece


@dataclass(slots=True)
class _Item:
    """An output item in the making; ``raw`` is a whole one, ``call`` one with arguments."""

    index: int
    kind: str
    fields: dict[str, Any]
    pieces: list[_Piece] = field(default_factory=list)
    raw: JSON = None
    encrypted: JSON = None
    call: ToolCallDelta | None = None
    arguments: list[str] = field(default_factory=list)
    done: bool = False

    @property
    def id(self) -> str:
        return str(self.fields.get("id") or "")

    def build(self) -> dict[str, Any]:
        if self.raw is not None:
            return dict(as_mapping(self.raw))
        if self.call is not None:
            text = "".join(self.arguments)
            call = ToolCall.from_text(
                self.call.id or "", self.call.name or "", text, dialect=DIALECT, extra=self.fields
            )
            mine = self.call.dialect == DIALECT  # else its client may want to parse it
            return write_call(call, call.id, empty="" if mine else "{}")
        item: dict[str, Any] = {"type": self.kind}
        if self.kind == "message":
            item |= {"role": "assistant", **self.fields, "content": []}
        else:
            item |= {**self.fields, "summary": []}
            if self.encrypted is not None:
                item["encrypted_content"] = self.encrypted
        for piece in self.pieces:
            item.setdefault(piece.place, []).append(piece.build())
        return item


@dataclass(slots=True)
class RenderState:
    """What rendering a stream has to remember.

    ``model``, ``response_id`` and ``created`` (Unix seconds) stand in where the events name none.
    """

    model: str | None = None
    response_id: str | None = None
    created: int | None = None
    sequence: int = 0
    begun: bool = False
    finish_reason: str | None = None
    usage: Usage | None = None
    fields: dict[str, JSON] = field(default_factory=dict)
    logprobs: list[JSON] = field(default_factory=list)
    output: list[_Item] = field(default_factory=list)
    pieces: dict[tuple[str, int | None], _Piece] = field(default_factory=dict)
    calls: dict[int, _Item] = field(default_factory=dict)
    last: _Piece | None = None


def render_response(response: ChatResponse) -> dict[str, JSON]:
    """The body of a whole answer."""
    meta = response.meta
    state = RenderState(model=meta.model_name, response_id=meta.response_id)
    state.usage = meta.usage
    state.finish_reason = response.finish_reason
    state.fields = own_fields(meta.extra)
    state.logprobs = as_list(meta.extra.get("logprobs"))
    out: list[WireEvent] = []
    calls = {id(call): index for index, call in enumerate(response.tool_calls)}
    for entry in in_wire_order(response.parts, response.tool_calls):
        if isinstance(entry, ContentPart):
            _part(entry, None, state, out)
            continue
        piece = ToolCallDelta(
            calls[id(entry)], entry.id, entry.name, entry.raw_arguments or "",
            dialect=entry.dialect, extra=entry.extra,
        )  # fmt: skip
        _call(piece, state, out)
    return _response(state)


def render_event(event: ChatStreamEvent, state: RenderState) -> list[WireEvent]:
    """The wire events of one event; the terminal one renders the final event, or the failure."""
    out: list[WireEvent] = []
    if event.meta:
        _take_meta(event.meta, state)
    state.usage = event.usage or state.usage
    state.finish_reason = event.finish_reason or state.finish_reason
    if not state.begun and (event.commits or event.finish or state.response_id is not None):
        state.begun = True
        _emit(state, out, "response.created", response=_frame(state))
        _emit(state, out, "response.in_progress", response=_frame(state))
    for kind, text in (
        ("text", event.delta), ("reasoning", event.reasoning), ("refusal", event.refusal),
    ):  # fmt: skip
        if text:
            part = event.part if event.part is not None and event.part.type == kind else None
            _text(kind, text, event.block, part, state, out)
    if event.part is not None:
        _part(event.part, event.block, state, out)
    if event.tool_call is not None:
        _call(event.tool_call, state, out)
    if event.finish:
        _end(event.error, state, out)
    return out


def _emit(state: RenderState, out: list[WireEvent], kind: str, **fields: JSON) -> None:
    out.append(WireEvent({"type": kind, "sequence_number": state.sequence, **fields}, kind))
    state.sequence += 1


def _take_meta(meta: Mapping[str, Any], state: RenderState) -> None:
    state.response_id = meta.get("response_id") or state.response_id
    state.model = meta.get("model_name") or state.model
    state.fields |= own_fields(meta)
    state.logprobs += as_list(meta.get("logprobs"))


# --- the response around the items --------------------------------------------------------------


def _frame(state: RenderState) -> dict[str, JSON]:
    """The response as it begins."""
    frame = write_frame(
        response_id=state.response_id, model=state.model, finish=None, usage=None,
        fields={}, output=(),
    )  # fmt: skip
    return {**frame, "created_at": state.created or 0, "status": "in_progress"}


def _response(state: RenderState) -> dict[str, JSON]:
    output = [item.build() for item in state.output]
    if state.logprobs:
        for piece in (p for item in output for p in as_list(item.get("content"))):
            if as_mapping(piece).get("type") == "output_text":
                piece["logprobs"] = list(state.logprobs)
                break
    response = write_frame(
        response_id=state.response_id, model=state.model, finish=state.finish_reason,
        usage=state.usage, fields=state.fields, output=output,
    )  # fmt: skip
    if state.created is not None and not response["created_at"]:
        response["created_at"] = state.created
    return response


def _end(error: str | None, state: RenderState, out: list[WireEvent]) -> None:
    _close(state, out, everything=True)
    response = _response(state)
    if error is None:
        ended = "incomplete" if response["status"] == "incomplete" else "completed"
        _emit(state, out, f"response.{ended}", response=response)
        return
    word, _, message = error.partition(":")
    code = ErrorCode(word) if word in ErrorCode.__members__.values() else ErrorCode.INTERNAL
    said = render_error(ProviderError(code, message))[1]["error"]
    response |= {"status": "failed", "error": {"code": said["code"], "message": message}}
    _emit(state, out, "response.failed", response=response)


# --- items --------------------------------------------------------------------------------------


def _begin(
    kind: str, fields: Mapping[str, JSON] | None, state: RenderState, out: list[WireEvent]
) -> _Item:
    """Another item; one that came without fields of this dialect is given an id and a status."""
    _close(state, out)
    index = len(state.output)
    if fields is None:
        seed = "" if state.response_id is None else f"{state.response_id}_"
        fields = {"id": f"{_PREFIXES[kind]}_{seed}{index}", "status": "completed"}
    item = _Item(index, kind, dict(fields))
    state.output.append(item)
    return item


def _announce(item: _Item, state: RenderState, out: list[WireEvent]) -> None:
    begun = item.build()
    if item.raw is None:
        begun["status"] = "in_progress"
    if item.call is not None:
        begun["input" if begun["type"] == "custom_tool_call" else "arguments"] = ""
    _emit(state, out, "response.output_item.added", output_index=item.index, item=begun)


def _close(state: RenderState, out: list[WireEvent], *, everything: bool = False) -> None:
    """End the items that are over; a call only where its arguments are whole."""
    for item in state.output:
        if item.done or not (everything or item.call is None or _is_whole(item)):
            continue
        item.done = True
        built = item.build()
        for piece in item.pieces:
            _close_piece(piece, state, out)
        if item.call is not None:
            custom = built["type"] == "custom_tool_call"
            name = "input" if custom else "arguments"
            kind = "custom_tool_call_input" if custom else "function_call_arguments"
            said = {name: built[name]} if custom else {name: built[name], "name": built["name"]}
            _emit(
                state, out, f"response.{kind}.done", item_id=item.id, output_index=item.index,
                **said,
            )  # fmt: skip
        _emit(state, out, "response.output_item.done", output_index=item.index, item=built)
    state.last = None


def _is_whole(item: _Item) -> bool:
    return bool(item.arguments) and parse_arguments("".join(item.arguments)) is not None


# --- pieces -------------------------------------------------------------------------------------


def _text(
    kind: str, text: str, block: int | None, part: ContentPart | None, state: RenderState,
    out: list[WireEvent],
) -> None:  # fmt: skip
    piece = state.pieces.get((kind, block))
    if piece is None or (block is None and piece is not state.last):
        begun = part if part is not None else ContentPart(kind, "")
        piece = _begin_piece(begun, block, state, out)
    piece.texts.append(text)
    wire = _wire_type(piece)
    _emit(state, out, _DELTAS.get(wire, _DELTAS["reasoning_text"]), **_at(piece), delta=text)


def _wire_type(piece: _Piece) -> str:
    match piece.part.type:
        case "text":
            return "output_text"
        case "reasoning" if piece.place == "summary":
            return "summary_text"
        case "reasoning":
            return "reasoning_text"
        case kind:
            return kind


def _at(piece: _Piece) -> dict[str, JSON]:
    """Where a piece stands, as its events say it."""
    at = {"item_id": piece.item.id, "output_index": piece.item.index}
    at[f"{piece.place}_index"] = piece.index
    if piece.part.type == "text":
        at["logprobs"] = []
    return at


def _begin_piece(
    part: ContentPart, block: int | None, state: RenderState, out: list[WireEvent]
) -> _Piece:
    extra = own_extra(part)
    fields = extra.get("item")
    if not isinstance(fields, Mapping):
        fields = None
    kind = "reasoning" if part.type == "reasoning" else "message"
    item = state.last.item if state.last is not None else None
    if (
        item is None
        or item.kind != kind
        or (fields is not None and item.fields.get("id") != fields.get("id"))
        or (kind == "reasoning" and part.data is not None)
    ):
        item = _begin(kind, fields, state, out)
        _announce(item, state, out)
    for before in item.pieces:
        _close_piece(before, state, out)
    place = "content"
    if kind == "reasoning":
        place, _ = reasoning_piece(part, extra)
        item.encrypted = item.encrypted if part.data is None else part.data
    index = sum(p.place == place for p in item.pieces)
    piece = _Piece(item, part, place, index, foreign=fields is None)
    state.pieces[part.type, block] = state.last = piece
    if kind == "message" or part.text is not None:
        item.pieces.append(piece)
        name = "reasoning_summary_part" if place == "summary" else "content_part"
        at = {k: v for k, v in _at(piece).items() if k != "logprobs"}
        _emit(state, out, f"response.{name}.added", **at, part=piece.build())
    return piece


def _close_piece(piece: _Piece, state: RenderState, out: list[WireEvent]) -> None:
    if piece.closed:
        return
    piece.closed = True
    built = piece.build()
    wire = _wire_type(piece)
    if wire in _DELTAS:
        name = _FIELDS.get(wire, "text")
        done = _DELTAS[wire].removesuffix("delta") + "done"
        _emit(state, out, done, **_at(piece), **{name: built[name]})
    name = "reasoning_summary_part" if piece.place == "summary" else "content_part"
    at = {k: v for k, v in _at(piece).items() if k != "logprobs"}
    _emit(state, out, f"response.{name}.done", **at, part=built)


def _part(part: ContentPart, block: int | None, state: RenderState, out: list[WireEvent]) -> None:
    """A whole part, or what completes one that deltas began."""
    begun = state.pieces.get((part.type, block)) if block is not None else None
    if begun is not None:
        _complete(begun, part)
        return
    mine = is_mine(part.dialect)
    match part.type:
        case "text" | "refusal":
            if part.text or own_extra(part):
                _begin_piece(part, block, state, out)
        case "reasoning" if part.dialect == DIALECT or part.text:
            _begin_piece(part, block, state, out)
        case "raw" if mine and "item" in own_extra(part):
            _begin_piece(part, block, state, out)
        case "raw" if mine and isinstance(part.data, dict):
            item = _begin(str(part.data.get("type")), {}, state, out)
            item.raw = part.data
            _announce(item, state, out)
            state.pieces["raw", block] = _Piece(item, part, "item", 0)
            return
        case _:
            return
    piece = state.pieces.get((part.type, block))
    if piece is not None and part.text and piece.part is part:
        piece.texts.append(part.text)
        _emit(state, out, _DELTAS[_wire_type(piece)], **_at(piece), delta=part.text)


def _complete(piece: _Piece, part: ContentPart) -> None:
    if not is_mine(part.dialect):
        return
    if piece.place == "item":
        piece.item.raw = part.data
        return
    fields = own_extra(part).get("item")
    if isinstance(fields, Mapping) and not piece.foreign:
        piece.item.fields = dict(fields)
    if part.type == "reasoning" and part.data is not None:
        piece.item.encrypted = part.data
    piece.part = part


def _call(piece: ToolCallDelta, state: RenderState, out: list[WireEvent]) -> None:
    extra = dict(piece.extra) if piece.extra and is_mine(piece.dialect) else {}
    item = state.calls.get(piece.index)
    if item is None:
        kind = "custom_tool_call" if extra.get("type") == "custom_tool_call" else "function_call"
        item = _begin(kind, extra if piece.dialect == DIALECT else None, state, out)
        item.fields |= extra
        item.call = piece
        state.calls[piece.index] = item
        _announce(item, state, out)
    item.fields |= extra
    if piece.arguments:
        item.arguments.append(piece.arguments)
        custom = item.kind == "custom_tool_call"
        kind = "custom_tool_call_input" if custom else "function_call_arguments"
        _emit(
            state, out, f"response.{kind}.delta", item_id=item.id, output_index=item.index,
            delta=piece.arguments,
        )  # fmt: skip


def render_stream(events: Iterator[ChatStreamEvent], state: RenderState) -> Iterator[WireEvent]:
    """All the wire events of a stream of events."""
    for event in events:
        yield from render_event(event, state)
