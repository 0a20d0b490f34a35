"""Anthropic Messages, the server half: normalized events as a stream of this dialect."""

from __future__ import annotations

from dataclasses import dataclass, field

from crux_providers.base.errors import ErrorCode
from crux_providers.base.events import ChatStreamEvent, ToolCallDelta
from crux_providers.base.models import JSON, ContentPart, Usage, parse_arguments
from crux_providers.base.wire import WireEvent

from .anthropic_messages_answer import write_usage
from .anthropic_messages_blocks import DIALECT, is_mine
from .anthropic_messages_errors import error_body
from .anthropic_messages_server import answer_block, ending, own_fields
from .reading import as_list, as_mapping
from .repair_words import Notes


@dataclass(slots=True)
class OpenBlock:
    """A block that has begun on the wire; a call's stays known after its end."""

    index: int
    kind: str
    block: int | None = None
    arguments: list[str] = field(default_factory=list)
    ended: bool = False


@dataclass(slots=True)
class RenderState:
    """What rendering one stream has to remember.

    ``response_id`` and ``model`` stand in ``message_start``; what the events say beats them.
    ``created`` (unix seconds) has no place in this dialect.
    """

    model: str = ""
    response_id: str = ""
    created: int = 0
    started: bool = False
    index: int = 0
    current: OpenBlock | None = None
    calls: dict[int, OpenBlock] = field(default_factory=dict)
    usage: Usage | None = None
    finish_reason: str | None = None
    refusal: list[str] = field(default_factory=list)
    fields: dict[str, JSON] = field(default_factory=dict)


def render_event(event: ChatStreamEvent, state: RenderState) -> list[WireEvent]:
    """The wire events one event becomes; the terminal one ends the message or says its error.

    Their data are objects, which :func:`crux_providers.codecs.framing.render_sse` writes.
    """
    if event.meta:
        state.model = event.meta.get("model_name") or state.model
        state.response_id = event.meta.get("response_id") or state.response_id
        state.fields.update(own_fields(event.meta.get("wire_fields")))
    if event.usage is not None:
        state.usage = event.usage
    state.finish_reason = event.finish_reason or state.finish_reason
    if event.finish and event.error is not None:
        return [_error(event.error)]
    out: list[WireEvent] = []
    if not state.started:
        _start(state, out)
    if event.delta:
        _text("text", event.delta, event.block, state, out)
    if event.reasoning:
        _text("thinking", event.reasoning, event.block, state, out)
    if event.refusal:
        state.refusal.append(event.refusal)
    if event.part is not None:
        _part(event.part, event.block, state, out)
    if event.tool_call is not None:
        _call(event.tool_call, state, out)
    if event.finish:
        _finish(state, out)
    return out


def _event(kind: str, **data: JSON) -> WireEvent:
    return WireEvent({"type": kind, **data}, kind)


def _error(error: str) -> WireEvent:
    word, _, message = error.partition(":")
    code = ErrorCode(word) if word in ErrorCode.__members__.values() else ErrorCode.INTERNAL
    return WireEvent(error_body(code, message or error), "error")


def _start(state: RenderState, out: list[WireEvent]) -> None:
    state.started = True
    usage = write_usage(state.usage, {})
    # Clients add these up as they come, before anything is known.
    counts = {k: 0 if v is None else v for k, v in usage.items()}
    message: dict[str, JSON] = {
        "id": state.response_id,
        "type": "message",
        "role": "assistant",
        "model": state.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": counts,
    }
    out.append(_event("message_start", message=message))


def _finish(state: RenderState, out: list[WireEvent]) -> None:
    _close(state, out)
    for call in state.calls.values():
        if not call.ended:
            _stop(call, out)
    fields = dict(state.fields)
    refusal = "".join(state.refusal) if state.refusal else None
    delta: dict[str, JSON] = {"stop_sequence": None}
    delta.update(ending(state.finish_reason, refusal, fields))
    left = as_mapping(fields.pop("usage", None))
    for name in ("stop_reason", "stop_sequence", "stop_details", "container"):
        if name in fields:
            delta[name] = fields.pop(name)
    counts = {k: v for k, v in write_usage(state.usage, left).items() if v is not None}
    counts.setdefault("output_tokens", 0)
    ends = {**fields, "type": "message_delta", "delta": delta, "usage": counts}
    out.append(WireEvent(ends, "message_delta"))
    out.append(_event("message_stop"))


# --- blocks ------------------------------------------------------------------------------------


def _begin(
    kind: str, wire: dict[str, JSON], block: int | None, state: RenderState, out: list[WireEvent]
) -> OpenBlock:
    _close(state, out)
    begun = state.current = OpenBlock(state.index, kind, block)
    state.index += 1
    out.append(_event("content_block_start", index=begun.index, content_block=wire))
    return begun


def _close(state: RenderState, out: list[WireEvent]) -> None:
    """End the current block, and the calls whose arguments are whole.

    Pieces of parallel calls may interleave in other dialects, so another block's beginning does
    not tell that a call is over.
    """
    if state.current is not None:
        _stop(state.current, out)
        state.current = None
    for call in state.calls.values():
        if not call.ended and call.arguments and _is_whole(call):
            _stop(call, out)


def _is_whole(call: OpenBlock) -> bool:
    return parse_arguments("".join(call.arguments)) is not None


def _stop(block: OpenBlock, out: list[WireEvent]) -> None:
    block.ended = True
    out.append(_event("content_block_stop", index=block.index))


def _delta(block: OpenBlock, out: list[WireEvent], **delta: JSON) -> None:
    out.append(_event("content_block_delta", index=block.index, delta=delta))


def _text(
    kind: str, text: str, block: int | None, state: RenderState, out: list[WireEvent]
) -> None:
    current = state.current
    if current is None or current.kind != kind or current.block != block:
        wire = {"type": kind, kind: ""} | ({"signature": ""} if kind == "thinking" else {})
        current = _begin(kind, wire, block, state, out)
    if kind == "text":
        _delta(current, out, type="text_delta", text=text)
    else:
        _delta(current, out, type="thinking_delta", thinking=text)


_KINDS = {"text": "text", "reasoning": "thinking"}


def _part(part: ContentPart, block: int | None, state: RenderState, out: list[WireEvent]) -> None:
    if part.type == "refusal":
        state.refusal.append(part.text or "")
        return
    current = state.current
    if (
        current is not None
        and block is not None
        and current.block == block
        and current.kind == _KINDS.get(part.type)
    ):
        _complete(current, part, out)
        _close(state, out)
        return
    wire = answer_block(part, Notes())
    if wire is None:
        return
    kind = _KINDS.get(part.type)
    if kind is None or wire["type"] != kind:
        _begin("raw", wire, None, state, out)
    else:
        # As the API begins them: empty, with what the deltas cannot carry.
        begins = {k: v for k, v in wire.items() if k not in ("citations", "signature")}
        text = wire[kind]
        begun = _begin(kind, {**begins, kind: ""}, None, state, out)
        if text and kind == "text":
            _delta(begun, out, type="text_delta", text=text)
        elif text:
            _delta(begun, out, type="thinking_delta", thinking=text)
        _complete(begun, part, out)
    _close(state, out)


def _complete(block: OpenBlock, part: ContentPart, out: list[WireEvent]) -> None:
    if block.kind == "thinking" and part.signature is not None and part.dialect == DIALECT:
        _delta(block, out, type="signature_delta", signature=part.signature)
    if block.kind == "text" and part.extra and is_mine(part.dialect):
        for citation in as_list(part.extra.get("citations")):
            _delta(block, out, type="citations_delta", citation=citation)


def _call(piece: ToolCallDelta, state: RenderState, out: list[WireEvent]) -> None:
    block = state.calls.get(piece.index)
    if block is None:
        wire: dict[str, JSON] = {
            "type": "tool_use",
            "id": piece.id or "",
            "name": piece.name or "",
            "input": {},
        }
        if piece.extra and is_mine(piece.dialect):
            wire.update(piece.extra)
        block = _begin("tool_use", wire, None, state, out)
        state.current = None
        state.calls[piece.index] = block
    if piece.arguments:
        block.arguments.append(piece.arguments)
        _delta(block, out, type="input_json_delta", partial_json=piece.arguments)
