"""Answers in the OpenAI chat dialect, written: what a server that speaks it replies.

What this module writes of an answer that was read here is read again as the same answer. Parts of
other dialects that this one has no place for (their raw items, encrypted reasoning) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.events import ChatStreamEvent, ToolCallDelta
from crux_providers.base.models import JSON, ChatResponse, ContentPart, ToolCall, Usage
from crux_providers.base.wire import WireEvent

from .openai_chat_answer import MESSAGE_FIELDS
from .openai_chat_media import own_extra, render_image
from .openai_chat_request import reasoning_detail, render_call, thinking_item
from .openai_chat_stream import DONE
from .openai_chat_tables import DIALECT, render_usage
from .reading import as_list, as_mapping, dig

_STATUSES: Mapping[ErrorCode, tuple[int, str, str]] = {
    ErrorCode.AUTH: (401, "authentication_error", "invalid_api_key"),
    ErrorCode.PERMISSION: (403, "permission_error", "permission_denied"),
    ErrorCode.BAD_REQUEST: (400, "invalid_request_error", "invalid_request"),
    ErrorCode.CONTEXT_LENGTH: (400, "invalid_request_error", "context_length_exceeded"),
    ErrorCode.UNSUPPORTED: (400, "invalid_request_error", "unsupported"),
    ErrorCode.CONTENT_FILTER: (400, "invalid_request_error", "content_filter"),
    ErrorCode.NOT_FOUND: (404, "invalid_request_error", "model_not_found"),
    ErrorCode.CONFLICT: (409, "invalid_request_error", "conflict"),
    ErrorCode.QUOTA: (429, "insufficient_quota", "insufficient_quota"),
    ErrorCode.RATE_LIMIT: (429, "rate_limit_error", "rate_limit_exceeded"),
    ErrorCode.OVERLOADED: (503, "server_error", "overloaded"),
    ErrorCode.SERVER_ERROR: (500, "server_error", "server_error"),
    ErrorCode.TRANSIENT: (502, "server_error", "transient"),
    ErrorCode.TIMEOUT: (504, "server_error", "timeout"),
    ErrorCode.CANCELLED: (499, "server_error", "cancelled"),
    ErrorCode.MALFORMED: (502, "server_error", "malformed"),
    ErrorCode.INTERNAL: (500, "server_error", "internal"),
}
"""Status, type and code of each error; ``classify`` reads the same ErrorCode from them."""


def render_error(error: ProviderError) -> tuple[int, dict[str, JSON]]:
    """Status and body of a failed call, in OpenAI's shape."""
    status, kind, code = _STATUSES[error.code]
    body = {"message": error.message, "type": kind, "param": None, "code": code}
    return status, {"error": body}


def _wire_fields(extra: Mapping[str, JSON]) -> dict[str, JSON]:
    return dict(as_mapping(extra.get("wire_fields")))


def _top(fields: Mapping[str, JSON]) -> dict[str, JSON]:
    """The fields of ``wire_fields`` that stand at the top of an answer."""
    inner = {"choice", "choices", "message", "usage", *MESSAGE_FIELDS}
    return {k: v for k, v in fields.items() if k not in inner}


def render_response(response: ChatResponse) -> dict[str, JSON]:
    """The ``chat.completion`` object of an answer.

    ``created`` is the provider's where it is known, else 0: whoever serves it has the clock.
    """
    fields = _wire_fields(response.meta.extra)
    choice: dict[str, JSON] = {"index": 0, "message": _message(response, fields)}
    choice["finish_reason"] = response.finish_reason
    choice.update(as_mapping(fields.get("choice")))
    if logprobs := response.meta.extra.get("logprobs"):
        choice["logprobs"] = {**as_mapping(choice.get("logprobs")), "content": list(logprobs)}
    else:
        choice.setdefault("logprobs", None)
    body: dict[str, JSON] = {
        "id": response.meta.response_id or "",
        "object": "chat.completion",
        "created": 0,
        "model": response.meta.model_name or "",
        "choices": [choice, *as_list(fields.get("choices"))],
    }
    body |= {k: v for k, v in _top(fields).items() if k == "created" or k not in body}
    if response.meta.request_id is not None:
        body["request_id"] = response.meta.request_id
    if (usage := _usage(response.usage, fields)) is not None:
        body["usage"] = usage
    return body


def _usage(usage: Usage, fields: Mapping[str, JSON]) -> JSON:
    rest = as_mapping(fields.get("usage"))
    if usage.prompt is None and usage.completion is None and usage.total is None and not rest:
        return None
    return render_usage(usage, rest)


def _message(response: ChatResponse, fields: Mapping[str, JSON]) -> dict[str, JSON]:
    message: dict[str, JSON] = {"role": "assistant", "content": None}
    items: list[JSON] = []
    for part in response.parts:
        delta, item = _part(part)
        if items and part.type == "reasoning" and _kind(part) == "thinking":
            delta, item = {}, thinking_item(part)  # a thought between texts keeps its place
        for name, value in delta.items():
            had = message.get(name)
            message[name] = value if had is None else had + value
        if item is not None:
            items.append(item)
    plain = all(item.keys() == {"type", "text"} and item["type"] == "text" for item in items)
    if items:
        message["content"] = "".join(item["text"] for item in items) if plain else items
    message.setdefault("refusal", None)
    for call in response.tool_calls:
        entry = _call_entry(call)
        if entry.get("type") == "function_call":
            message["function_call"] = entry["function"]
        else:
            message.setdefault("tool_calls", []).append(entry)
    for name in MESSAGE_FIELDS:
        if name in fields:
            message[name] = fields[name]
    rest = dict(as_mapping(fields.get("message")))
    unknown_calls = as_list(rest.pop("tool_calls", None))
    if unknown_calls:
        message["tool_calls"] = [*message.get("tool_calls", []), *unknown_calls]
    return {**rest, **message}


def _part(part: ContentPart) -> tuple[dict[str, JSON], JSON]:
    """Where a part stands in a message: as fields of it, or as an item of its content."""
    extra = own_extra(part)
    match part.type:
        case "text":
            item = {"type": "text", "text": part.text or "", **extra}
            return {}, item if part.text or extra else None
        case "refusal":
            return {"refusal": part.text or ""}, None
        case "reasoning" if _kind(part):
            told = {"reasoning_content": part.text} if part.text else {}
            return {"reasoning_details": [reasoning_detail(part)], **told}, None
        case "reasoning" if isinstance(extra.get("extra_content"), Mapping):
            return {"extra_content": dict(extra["extra_content"])}, None
        case "reasoning" if part.text:
            return {"reasoning_content": part.text}, None
        case "image":
            return {"images": [render_image(part)]}, None
        case "audio" if part.dialect == DIALECT:
            spoken = {"data": part.data, "transcript": part.text, **extra}
            return {"audio": {k: v for k, v in spoken.items() if v is not None}}, None
        case "raw" if part.dialect == DIALECT and isinstance(part.data, Mapping):
            return {}, dict(part.data)
        case _:
            return {}, None


def _kind(part: ContentPart) -> str | None:
    """The type of a reasoning part that this dialect's wire gave one, else None."""
    kind = own_extra(part).get("type")
    return kind if isinstance(kind, str) and part.dialect == DIALECT else None


def _call_entry(call: ToolCall) -> dict[str, JSON]:
    extra = dict(call.extra or {}) if call.dialect in (None, DIALECT) else {}
    entry = render_call(call, extra)
    if not call.raw_arguments and entry["type"] != "custom":
        entry["function"]["arguments"] = ""
    return entry


@dataclass(slots=True)
class RenderState:
    """What rendering a stream remembers; ``created`` is a Unix time, the server's to say."""

    model: str = ""
    response_id: str = ""
    created: int = 0
    include_usage: bool = True
    fields: dict[str, JSON] = field(default_factory=dict)
    usage: Usage | None = None
    finish_reason: str | None = None
    request_id: str | None = None
    begun: bool = False
    kinds: dict[int, str] = field(default_factory=dict)  # of calls, by index
    told: dict[int, list[str]] = field(default_factory=dict)  # reasoning, by block


def render_event(event: ChatStreamEvent, state: RenderState) -> list[WireEvent]:
    """The chunks that say ``event``; the last event renders the end, or the error in its place."""
    deltas = list(_deltas(event, state))
    if event.meta:
        _take_meta(event.meta, state)
    if event.usage is not None:
        state.usage = event.usage
    if event.finish_reason is not None:
        state.finish_reason = event.finish_reason
    chunks = [_chunk(state, delta) for delta in deltas]
    if event.meta and (logprobs := event.meta.get("logprobs")):
        if not chunks:
            chunks.append(_chunk(state, {}))
        chunks[0].data["choices"][0]["logprobs"] = {"content": list(logprobs)}
    if chunks and not state.begun:
        state.begun = True
        delta = chunks[0].data["choices"][0]["delta"]
        chunks[0].data["choices"][0]["delta"] = {"role": "assistant", **delta}
    if not event.finish:
        return chunks
    if event.error is not None:
        return [*chunks, _error_chunk(event.error)]
    return [*chunks, *_end(state), WireEvent(DONE)]


def _take_meta(meta: Mapping[str, JSON], state: RenderState) -> None:
    state.model = meta.get("model_name") or state.model
    state.response_id = meta.get("response_id") or state.response_id
    state.request_id = meta.get("request_id") or state.request_id
    if fields := meta.get("wire_fields"):
        state.fields.update(fields)
        if type(created := state.fields.get("created")) is int:
            state.created = state.created or created


def _chunk(state: RenderState, delta: dict[str, JSON] | None, **more: JSON) -> WireEvent:
    choices: list[JSON] = []
    if delta is not None:
        choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]
    body = {
        "id": state.response_id,
        "object": "chat.completion.chunk",
        "created": state.created,
        "model": state.model,
        "choices": choices,
    }
    return WireEvent({**body, **more})


def _deltas(event: ChatStreamEvent, state: RenderState) -> list[dict[str, JSON]]:
    found: list[dict[str, JSON]] = []
    if event.part is not None or event.reasoning:
        found += _reasoning_deltas(event, state)
    if event.delta:
        found.append({"content": event.delta})
    if event.refusal:
        found.append({"refusal": event.refusal})
    if event.part is not None and event.part.type != "reasoning":
        delta, item = _part(event.part)
        if item is not None:
            delta = {**delta, "content": [item]}
        if delta:
            found.append(delta)
    if event.tool_call is not None:
        found.append(_call_delta(event.tool_call, state))
    return found


def _reasoning_deltas(event: ChatStreamEvent, state: RenderState) -> list[dict[str, JSON]]:
    """Text as it comes; what completes a part repeats its text beside the signature.

    Clients that know ``reasoning_details`` get each whole and can send it back; the others have
    the text already.
    """
    found: list[dict[str, JSON]] = []
    told = None if event.block is None else state.told.get(event.block)
    if event.reasoning:
        found.append({"reasoning_content": event.reasoning})
        if event.block is not None:
            told = state.told.setdefault(event.block, [])
            told.append(event.reasoning)
    part = event.part
    if part is None or part.type != "reasoning":
        return found
    if told is None:
        delta, _ = _part(part)
        return [*found, delta] if delta else found
    if _kind(part):
        detail = reasoning_detail(replace(part, text="".join(told)))
        found.append({"reasoning_details": [detail]})
    return found


def _call_delta(call: ToolCallDelta, state: RenderState) -> dict[str, JSON]:
    extra = dict(call.extra or {}) if call.dialect in (None, DIALECT) else {}
    kind = state.kinds.setdefault(call.index, str(extra.get("type", "function")))
    inner: dict[str, JSON] = {} if call.name is None else {"name": call.name}
    inner["input" if kind == "custom" else "arguments"] = call.arguments
    inner.update(as_mapping(extra.pop("function", None)))
    if kind == "function_call":
        return {"function_call": inner}
    entry: dict[str, JSON] = {"index": call.index}
    if call.id is not None:
        entry |= {"id": call.id, "type": kind}
    entry["custom" if kind == "custom" else "function"] = inner
    return {"tool_calls": [{**entry, **{k: v for k, v in extra.items() if k != "type"}}]}


def _end(state: RenderState) -> list[WireEvent]:
    """The chunks after the content: what was collected, the finish reason, the usage."""
    fields = state.fields
    choice = as_mapping(fields.get("choice"))
    said = {name: fields[name] for name in MESSAGE_FIELDS if name in fields}
    said |= as_mapping(fields.get("message"))
    last = _chunk(state, said, **_top(fields))
    if state.request_id is not None:
        last.data["request_id"] = state.request_id
    last.data["choices"][0] |= {"finish_reason": state.finish_reason or "stop", **choice}
    chunks: list[WireEvent] = []
    for number, other in enumerate(as_list(fields.get("choices")), 1):
        chunk = _chunk(state, as_mapping(dig(other, "message")))
        rest = {k: v for k, v in as_mapping(other).items() if k != "message"}
        if type(rest.get("index")) is not int or rest["index"] < 1:  # never the answer's own
            rest["index"] = number
        chunk.data["choices"][0] |= rest
        chunks.append(chunk)
    chunks.append(last)
    if state.include_usage:
        usage = _usage(state.usage or Usage(), fields)
        if usage is not None:
            chunks.append(_chunk(state, None, usage=usage))
    return chunks


def _error_chunk(error: str) -> WireEvent:
    """The in-band error of a stream, from the terminal event's ``code:message``."""
    word, _, message = error.partition(":")
    code = ErrorCode(word) if word in ErrorCode.__members__.values() else ErrorCode.INTERNAL
    return WireEvent(render_error(ProviderError(code, message))[1])


def render_stream(events: Sequence[ChatStreamEvent], state: RenderState) -> list[WireEvent]:
    """All the chunks of a finished list of events."""
    return [chunk for event in events for chunk in render_event(event, state)]
