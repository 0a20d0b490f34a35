"""The server half of Ollama's chat dialect: answers, streams and errors for its clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crux_providers.base.errors import STATUS_CODES, ErrorCode, ProviderError
from crux_providers.base.events import ChatStreamEvent
from crux_providers.base.models import JSON, ChatResponse, ToolCall, Usage
from crux_providers.base.wire import WireEvent

from .ollama_chat_request import DIALECT
from .reading import as_mapping, json_text, rest_of

EPOCH = "1970-01-01T00:00:00Z"
_REASONS = {"stop": "stop", "tool_calls": "stop", "length": "length"}
_STATUSES: Mapping[ErrorCode, int] = {
    **{code: status for status, code in reversed(list(STATUS_CODES.items()))},
    ErrorCode.CONTEXT_LENGTH: 400,
    ErrorCode.UNSUPPORTED: 400,
    ErrorCode.CONTENT_FILTER: 400,
    ErrorCode.TRANSIENT: 503,
    ErrorCode.CANCELLED: 499,
    ErrorCode.MALFORMED: 502,
    ErrorCode.INTERNAL: 500,
}


@dataclass
class RenderState:
    """What rendering a stream must remember: tool calls are sent whole, at its end."""

    model: str = ""
    created_at: str = EPOCH
    usage: Usage | None = None
    finish_reason: str | None = None
    wire: dict[str, JSON] = field(default_factory=dict)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    logprobs: list[JSON] = field(default_factory=list)


def render_response(response: ChatResponse) -> dict[str, JSON]:
    """The one object of a whole answer."""
    wire = dict(as_mapping(response.meta.extra.get("wire_fields")))
    message: dict[str, JSON] = {"role": "assistant", "content": response.text}
    if response.refusal:
        message["content"] = response.text + response.refusal
    if response.reasoning is not None:
        message["thinking"] = response.reasoning
    if response.tool_calls:
        message["tool_calls"] = [_call(c) for c in response.tool_calls]
    message.update(as_mapping(wire.pop("message", None)))
    body: dict[str, JSON] = {
        "model": response.meta.model_name or "",
        "created_at": wire.pop("created_at", EPOCH),
        "message": message,
    }
    if logprobs := response.meta.extra.get("logprobs"):
        body["logprobs"] = list(logprobs)
    return body | _end(response.usage, response.finish_reason, wire)


def _end(usage: Usage, finish: str | None, wire: Mapping[str, JSON]) -> dict[str, JSON]:
    end: dict[str, JSON] = {"done": True, "done_reason": _REASONS.get(finish or "stop", "stop")}
    if usage.prompt is not None:
        end["prompt_eval_count"] = usage.prompt
    if usage.completion is not None:
        end["eval_count"] = usage.completion
    return end | dict(wire)


def _call(call: ToolCall) -> JSON:
    return _call_object(call.id, call.name, dict(call.arguments), call.dialect, call.extra)


def _call_object(
    id: str | None, name: str, arguments: JSON, dialect: str | None, extra: Any
) -> JSON:
    own = dict(extra or {}) if dialect in (None, DIALECT) else {}
    inner = as_mapping(own.pop("function", None))
    made: dict[str, JSON] = {"function": {"name": name, "arguments": arguments, **inner}, **own}
    return {"id": id, **made} if id else made


def render_event(event: ChatStreamEvent, state: RenderState) -> list[WireEvent]:
    """The lines of one event; the terminal event gives ``done: true``, or the error."""
    meta = event.meta or {}
    state.model = meta.get("model_name") or state.model
    state.wire.update(as_mapping(meta.get("wire_fields")))
    state.created_at = str(state.wire.get("created_at", state.created_at))
    state.logprobs.extend(meta.get("logprobs") or ())
    state.usage = event.usage or state.usage
    state.finish_reason = event.finish_reason or state.finish_reason
    message: dict[str, JSON] = {}
    if event.reasoning:
        message["thinking"] = event.reasoning
    if event.delta or event.refusal:
        message["content"] = (event.delta or "") + (event.refusal or "")
    lines = [_line(state, message)] if message else []
    if event.tool_call is not None:
        piece = event.tool_call
        call = state.calls.setdefault(
            piece.index, {"id": None, "name": "", "text": [], "dialect": None, "extra": {}}
        )
        call["id"] = call["id"] or piece.id
        call["name"] = call["name"] or piece.name or ""
        call["text"].append(piece.arguments)
        call["dialect"] = piece.dialect or call["dialect"]
        call["extra"].update(piece.extra or {})
    if event.finish:
        lines += _last(event, state)
    return lines


def _last(event: ChatStreamEvent, state: RenderState) -> list[WireEvent]:
    if event.error is not None:
        _, _, words = event.error.partition(":")
        return [WireEvent(json_text({"error": words or event.error}))]
    lines = []
    if state.calls:
        calls = [
            _call_object(
                c["id"],
                c["name"],
                dict(ToolCall.from_text("", "", "".join(c["text"])).arguments),
                c["dialect"],
                c["extra"],
            )
            for _, c in sorted(state.calls.items())
        ]
        lines.append(_line(state, {"tool_calls": calls}))
    wire = dict(state.wire)
    message = {"role": "assistant", "content": "", **as_mapping(wire.pop("message", None))}
    body: dict[str, JSON] = {
        "model": state.model,
        "created_at": state.created_at,
        "message": message,
    }
    if state.logprobs:
        body["logprobs"] = list(state.logprobs)
    body |= _end(state.usage or Usage(), state.finish_reason, rest_of(wire, ("created_at",)))
    return [*lines, WireEvent(json_text(body))]


def _line(state: RenderState, message: dict[str, JSON]) -> WireEvent:
    body = {
        "model": state.model,
        "created_at": state.created_at,
        "message": {"role": "assistant", "content": "", **message},
        "done": False,
    }
    return WireEvent(json_text(body))


def render_error(error: ProviderError) -> tuple[int, dict[str, JSON]]:
    """Status and body of a failed call."""
    return _STATUSES.get(error.code, 500), {"error": error.message}
