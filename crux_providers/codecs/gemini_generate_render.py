"""The server half of Gemini's dialect: answers, streams and errors for its clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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

from .gemini_generate_parts import Options, own, write_call, write_part
from .reading import as_list, as_mapping, json_text

_REASONS = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "error": "MALFORMED_RESPONSE",
    "other": "OTHER",
}
ERRORS: Mapping[ErrorCode, tuple[int, str]] = {
    ErrorCode.AUTH: (401, "UNAUTHENTICATED"),
    ErrorCode.PERMISSION: (403, "PERMISSION_DENIED"),
    ErrorCode.BAD_REQUEST: (400, "INVALID_ARGUMENT"),
    ErrorCode.CONTEXT_LENGTH: (400, "INVALID_ARGUMENT"),
    ErrorCode.UNSUPPORTED: (400, "INVALID_ARGUMENT"),
    ErrorCode.CONTENT_FILTER: (400, "INVALID_ARGUMENT"),
    ErrorCode.NOT_FOUND: (404, "NOT_FOUND"),
    ErrorCode.CONFLICT: (409, "ABORTED"),
    ErrorCode.QUOTA: (429, "RESOURCE_EXHAUSTED"),
    ErrorCode.RATE_LIMIT: (429, "RESOURCE_EXHAUSTED"),
    ErrorCode.OVERLOADED: (503, "UNAVAILABLE"),
    ErrorCode.SERVER_ERROR: (500, "INTERNAL"),
    ErrorCode.TRANSIENT: (503, "UNAVAILABLE"),
    ErrorCode.TIMEOUT: (504, "DEADLINE_EXCEEDED"),
    ErrorCode.CANCELLED: (499, "CANCELLED"),
    ErrorCode.MALFORMED: (502, "INTERNAL"),
    ErrorCode.INTERNAL: (500, "INTERNAL"),
}
_EVERY_URL = Options(file_urls=("",))  # what a provider answered is told as it stands


def _part(part: ContentPart) -> dict[str, JSON] | None:
    """A part of an answer for a client; what only another dialect reads is left out."""
    if part.type == "reasoning" and not own(part.dialect):
        return {"text": part.text, "thought": True} if part.text else None
    if part.type in ("image", "pdf", "audio") and part.data is None and part.url is None:
        return None
    return write_part(part, _EVERY_URL)


def render_response(response: ChatResponse) -> dict[str, JSON]:
    """The body of a whole answer."""
    parts: list[JSON] = []
    calls = list(response.tool_calls)
    for place, part in enumerate(response.parts):
        while calls and calls[0].after is not None and calls[0].after <= place:
            parts.append(write_call(calls.pop(0), _EVERY_URL))
        if (written := _part(part)) is not None:
            parts.append(written)
    parts += [write_call(call, _EVERY_URL) for call in calls]
    extra = response.meta.extra
    body = _body(parts, response.meta.model_name, response.meta.response_id)
    _close(
        body, response.usage, response.finish_reason,
        as_mapping(extra.get("wire_fields")), extra.get("logprobs") or (),
    )  # fmt: skip
    return body


def _body(parts: list[JSON], model: str | None, response_id: str | None) -> dict[str, JSON]:
    content = {"parts": parts, "role": "model"}
    body: dict[str, JSON] = {"candidates": [{"content": content, "index": 0}]}
    if model:
        body["modelVersion"] = model
    if response_id:
        body["responseId"] = response_id
    return body


def _close(
    body: dict[str, JSON],
    usage: Usage,
    finish: str | None,
    wire_fields: Mapping[str, JSON],
    logprobs: Iterable[JSON],
) -> None:
    """Put the proper end into a body."""
    wire = dict(wire_fields)
    candidate = body["candidates"][0]
    candidate["finishReason"] = _REASONS.get(finish or "stop", "OTHER")
    result = _logprobs(logprobs)
    own_fields = as_mapping(wire.pop("candidate", None))
    candidate.update(own_fields)
    if result:
        candidate["logprobsResult"] = {**as_mapping(own_fields.get("logprobsResult")), **result}
    body["candidates"] += as_list(wire.pop("candidates", None))
    counts = _usage(usage) | as_mapping(wire.pop("usageMetadata", None))
    if counts:
        body["usageMetadata"] = counts
    body.update(wire)


def _logprobs(entries: Iterable[JSON]) -> dict[str, JSON]:
    chosen, tops = [], []
    for entry in entries:
        given = dict(as_mapping(entry))
        tops.append({"candidates": given.pop("topCandidates", [])})
        chosen.append(given)
    if not chosen:
        return {}
    made: dict[str, JSON] = {"chosenCandidates": chosen}
    if any(top["candidates"] for top in tops):
        made["topCandidates"] = tops
    return made


def _usage(usage: Usage) -> dict[str, JSON]:
    details = usage.details
    tools, thoughts = details.get("toolUsePromptTokenCount", 0), details.get("reasoning", 0)
    made = {
        "promptTokenCount": None if usage.prompt is None else usage.prompt - tools,
        "toolUsePromptTokenCount": tools or None,
        "candidatesTokenCount": None if usage.completion is None else usage.completion - thoughts,
        "thoughtsTokenCount": thoughts or None,
        "cachedContentTokenCount": details.get("cached"),
        "totalTokenCount": usage.total,
    }
    return {name: count for name, count in made.items() if count is not None}


# -- streams ---------------------------------------------------------------------------------------


@dataclass
class RenderState:
    """What rendering a stream must remember.

    Calls are sent whole: once other content follows them, or at the end. A text that may yet get
    its signature (``held``) waits for the next event, since both stand on one part.
    """

    model: str = ""
    response_id: str = ""
    usage: Usage | None = None
    finish_reason: str | None = None
    wire: dict[str, JSON] = field(default_factory=dict)
    logprobs: list[JSON] = field(default_factory=list)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    blocks: set[tuple[str, int]] = field(default_factory=set)
    held: tuple[str, int, str] | None = None


def render_event(event: ChatStreamEvent, state: RenderState) -> list[WireEvent]:
    """The chunks of one event; the terminal event gives the finish reason, or the error."""
    if event.meta:
        _note(event.meta, state)
    state.usage = event.usage or state.usage
    state.finish_reason = event.finish_reason or state.finish_reason
    parts: list[JSON] = []
    if event.part is not None or event.delta or event.reasoning or event.refusal:
        _content(event, state, parts)
    if event.tool_call is not None:
        _release(state, parts)
        _take_piece(event.tool_call, state)
    if event.finish:
        return _last(event, state, parts)
    return [_chunk(parts, state)] if parts else []


def _note(meta: Mapping[str, Any], state: RenderState) -> None:
    state.model = meta.get("model_name") or state.model
    state.response_id = meta.get("response_id") or state.response_id
    state.wire.update(as_mapping(meta.get("wire_fields")))
    state.logprobs.extend(meta.get("logprobs") or ())


def _content(event: ChatStreamEvent, state: RenderState, parts: list[JSON]) -> None:
    part = event.part
    if (
        part is not None
        and state.held is not None
        and state.held[:2] == (part.type, event.block)
        and not (event.delta or event.reasoning or event.refusal)
    ):
        part = replace(part, text=state.held[2])
        state.held = None
        _put(_part(part), parts)
        return
    _release(state, parts)
    _send_calls(state, parts)
    for kind, text in (
        ("text", event.delta),
        ("reasoning", event.reasoning),
        ("refusal", event.refusal),
    ):
        if not text:
            continue
        key = None if event.block is None else (kind, event.block)
        if key is not None and key not in state.blocks and part is None:
            state.blocks.add(key)
            state.held = (*key, text)
        else:
            _put(_part(ContentPart(kind, text)), parts)
    if part is None:
        return
    if event.block is not None and (part.type, event.block) in state.blocks:
        # Its text is sent: what completes it follows on an empty one.
        if part.signature is None or not own(part.dialect):
            return
        part = replace(part, text="")
    _put(_part(part), parts)


def _put(written: dict[str, JSON] | None, parts: list[JSON]) -> None:
    if written is not None:
        parts.append(written)


def _release(state: RenderState, parts: list[JSON]) -> None:
    if state.held is not None:
        kind, _, text = state.held
        state.held = None
        _put(_part(ContentPart(kind, text)), parts)


def _take_piece(piece: ToolCallDelta, state: RenderState) -> None:
    call = state.calls.setdefault(
        piece.index,
        {"id": "", "name": "", "text": [], "signature": None, "dialect": None, "extra": {}},
    )
    call["id"] = call["id"] or piece.id or ""
    call["name"] = call["name"] or piece.name or ""
    call["text"].append(piece.arguments)
    call["signature"] = piece.signature or call["signature"]
    call["dialect"] = piece.dialect or call["dialect"]
    call["extra"].update(piece.extra or {})


def _send_calls(state: RenderState, parts: list[JSON], *, all: bool = False) -> None:
    texts = ("".join(c["text"]) for c in state.calls.values())
    if not all and any(parse_arguments(text) is None for text in texts):
        return  # one is not whole yet
    for _, call in sorted(state.calls.items()):
        made = ToolCall.from_text(
            call["id"], call["name"], "".join(call["text"]), signature=call["signature"],
            dialect=call["dialect"], extra=call["extra"] or None,
        )  # fmt: skip
        parts.append(write_call(made, _EVERY_URL))
    state.calls.clear()


def _chunk(parts: list[JSON], state: RenderState) -> WireEvent:
    return WireEvent(json_text(_body(parts, state.model, state.response_id)))


def _last(event: ChatStreamEvent, state: RenderState, parts: list[JSON]) -> list[WireEvent]:
    if event.error is not None:
        code, _, words = event.error.partition(":")
        known = ErrorCode(code) if code in ERRORS else ErrorCode.INTERNAL
        _, body = render_error(ProviderError(known, words or event.error))
        return [WireEvent(json_text(body))]
    _release(state, parts)
    _send_calls(state, parts, all=True)
    body = _body(parts, state.model, state.response_id)
    _close(body, state.usage or Usage(), state.finish_reason, state.wire, state.logprobs)
    return [WireEvent(json_text(body))]


def render_error(error: ProviderError) -> tuple[int, dict[str, JSON]]:
    """Status and body of a failed call."""
    status, word = ERRORS.get(error.code, (500, "INTERNAL"))
    made: dict[str, JSON] = {"code": status, "message": error.message, "status": word}
    details: list[JSON] = []
    if error.code is ErrorCode.QUOTA:
        failure = {"violations": [{"quotaId": "PerDay"}]}
        details.append({"@type": "type.googleapis.com/google.rpc.QuotaFailure", **failure})
    if error.retry_after is not None:
        delay = {"retryDelay": f"{error.retry_after:.9f}".rstrip("0").rstrip(".") + "s"}
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", **delay})
    if details:
        made["details"] = details
    return status, {"error": made}
