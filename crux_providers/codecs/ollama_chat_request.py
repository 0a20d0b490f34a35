"""Requests of Ollama's chat dialect, both ways: ours to the wire, and the wire's to ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import JSON, ChatRequest, ContentPart, Message, Tool, ToolCall
from crux_providers.base.wire import WireRequest

from .reading import (
    as_bool,
    as_count,
    as_list,
    as_mapping,
    as_number,
    as_text,
    json_text,
    need_list,
    need_mapping,
    need_text,
    opt_text,
    or_none,
    parse_json,
    rest_of,
)
from .repair import repair
from .repair_rules import Rules, owned

DIALECT = "ollama_chat"

_OPTION_FIELDS = (
    ("num_predict", "max_tokens"),
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("seed", "seed"),
)
_MESSAGE_FIELDS = frozenset(
    {"role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id", "name"}
)
_BODY_FIELDS = frozenset(
    {"model", "messages", "tools", "format", "options", "stream", "think", "logprobs",
     "top_logprobs"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """The dialect's knobs.

    - ``tool_call_ids``: send the ids of calls and results, which servers before 0.12 pass over.
    - ``provider``: whose own fields may go back (None: anybody's).
    """

    tool_call_ids: bool = True
    provider: str | None = None


RULES = Rules(
    dialect=DIALECT,
    unowned_items=False,
    named=frozenset({"system", "developer", "user", "assistant"}),
    error_mark=False,
    object_arguments=True,
    results="free",
    tool_id=r"[\s\S]*",
    unique_ids="turn",
    result_names=True,
)
"""Little: a model's own template lays the turns out, and the server
refuses none for their order; a result has to name its tool."""


def rules(options: Options = Options()) -> Rules:
    """What Ollama asks of a history."""
    return replace(RULES, provider=options.provider)


def unsupported(what: str, feature: str | None) -> ProviderError:
    """The error for what this dialect has no field for."""
    return ProviderError(ErrorCode.UNSUPPORTED, f"Ollama's chat API has no {what}", feature=feature)


def encode(request: ChatRequest, *, stream: bool, options: Options = Options()) -> WireRequest:
    """The ``/api/chat`` call of ``request``.

    Raises ``unsupported`` for a tool that must be called, PDF and audio parts, and images given by
    URL (no image is fetched here).
    """
    history, lost = repair(request.messages, rules(options))
    degraded = list(lost)
    body: dict[str, JSON] = {
        "model": request.model,
        "messages": [_message(message, options) for message in history],
        "stream": stream,
    }
    if (tools := _tools(request, degraded)) is not None:
        body["tools"] = tools
    if request.response_format == "json_object":
        body["format"] = "json"
    elif request.response_format == "json_schema":
        body["format"] = dict(request.json_schema or {})
    _reasoning(request, body, degraded)
    if request.logprobs is not None:
        body["logprobs"] = request.logprobs
    if request.top_logprobs is not None:
        body["top_logprobs"] = request.top_logprobs
    wanted: dict[str, JSON] = {
        wire: value
        for wire, ours in _OPTION_FIELDS
        if (value := getattr(request, ours)) is not None
    }
    if request.stop is not None:
        wanted["stop"] = list(request.stop)
    extra = dict(request.extra)
    own = extra.pop("options", None)
    if isinstance(own, Mapping):
        wanted.update(own)
    elif own is not None:
        extra["options"] = own
    if wanted:
        body["options"] = wanted
    body.update(extra)
    return WireRequest("/api/chat", body, stream=stream, framing="ndjson", degraded=tuple(degraded))


def _tools(request: ChatRequest, degraded: list[str]) -> list[JSON] | None:
    match request.tool_choice:
        case None | "auto":
            pass
        case "none":
            return None  # a model without tools calls none
        case _:
            raise unsupported("tool that must be called", "tool_choice")
    if not request.tools:
        return None
    if request.parallel_tool_calls is False:
        degraded.append("parallel_tool_calls: Ollama cannot hold a model to one call at a time")
    return [_tool(tool, degraded) for tool in request.tools if _sendable(tool, degraded)]


def _sendable(tool: Tool, degraded: list[str]) -> bool:
    if tool.raw is None or tool.dialect in (None, DIALECT):
        return True
    degraded.append(f"tool {tool.name!r} belongs to {tool.dialect} and was left out")
    return False


def _tool(tool: Tool, degraded: list[str]) -> JSON:
    if tool.raw is not None:
        return dict(tool.raw)
    function: dict[str, JSON] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = dict(tool.parameters)
    if tool.dialect in (None, DIALECT):
        function.update(tool.extra or {})
    return {"type": "function", "function": function}


def _reasoning(request: ChatRequest, body: dict[str, JSON], degraded: list[str]) -> None:
    effort, budget = request.reasoning_effort, request.reasoning_budget
    if effort is not None:
        words: Mapping[str, JSON] = {"none": False, "on": True, "minimal": "low"}
        body["think"] = words.get(effort, effort)
    elif budget is not None:
        body["think"] = budget > 0
    if budget is not None and budget > 0:
        degraded.append("reasoning_budget: Ollama has no token budget for reasoning")


def _message(message: Message, options: Options) -> JSON:
    made: dict[str, JSON] = {"role": "system" if message.role == "developer" else message.role}
    texts: list[str] = []
    thinking: list[str] = []
    images: list[str] = []
    for part in message.parts:
        match part.type:
            case "text":
                texts.append(part.text or "")
            case "image":
                images.append(_image(part))
            case "reasoning":
                thinking.append(part.text or "")
            case "raw":
                made.update(as_mapping(part.data))
            case kind:
                raise unsupported(f"{kind} input", kind)
    made["content"] = "".join(texts)
    if thinking:
        made["thinking"] = "".join(thinking)
    if images:
        made["images"] = images
    if message.tool_calls:
        made["tool_calls"] = [_call(call, options) for call in message.tool_calls]
    if message.role == "tool":
        if message.name:
            made["tool_name"] = message.name
        if message.tool_call_id and options.tool_call_ids:
            made["tool_call_id"] = message.tool_call_id
    elif message.name:
        made["name"] = message.name
    made.update(message.extra or {})
    return made


def _image(part: ContentPart) -> str:
    if isinstance(part.data, str):
        return part.data
    if part.url and part.url.startswith("data:") and ";base64," in part.url[:100]:
        return part.url.partition(";base64,")[2]
    raise unsupported("image by URL", "vision")


def _call(call: ToolCall, options: Options) -> JSON:
    function: dict[str, JSON] = {"name": call.name, "arguments": dict(call.arguments)}
    made: dict[str, JSON] = {"function": function}
    if call.id and options.tool_call_ids:
        made["id"] = call.id
    own = dict(call.extra or {})
    function.update(as_mapping(own.pop("function", None)))
    made.update(own)
    return made


# -- the other way ---------------------------------------------------------------------------------


def parse_request(body: Any) -> ChatRequest:
    """The request in an ``/api/chat`` body; unknown fields go to ``extra``.

    Raises ``malformed`` for a body that is none.
    """
    body = need_mapping(parse_json(body), "the request")
    options = as_mapping(body.get("options"))
    fields: dict[str, Any] = {}
    known: set[str] = set()
    for wire, ours in _OPTION_FIELDS:
        value = options.get(wire)
        read = as_count(value) if ours in ("max_tokens", "seed") else as_number(value)
        if read is not None:
            fields[ours] = read
            known.add(wire)
    stop = options.get("stop")
    if isinstance(stop, list) and stop and all(isinstance(s, str) for s in stop):
        fields["stop"] = stop
        known.add("stop")
    match body.get("format"):
        case "json":
            fields["response_format"] = "json_object"
        case dict() as schema:
            fields["json_schema"] = schema
            fields["response_format"] = "json_schema"
    match body.get("think"):
        case bool() as on:
            fields["reasoning_effort"] = "on" if on else "none"
        case str() as effort if effort:
            fields["reasoning_effort"] = effort
    extra = rest_of(body, _BODY_FIELDS)
    if rest := rest_of(options, known):
        extra["options"] = rest
    messages = need_list(body.get("messages"), "messages")
    return ChatRequest(
        model=as_text(body.get("model")),
        messages=owned((_parse_message(m, i) for i, m in enumerate(messages)), DIALECT),
        tools=[_parse_tool(t) for t in as_list(body.get("tools"))],
        logprobs=as_bool(body.get("logprobs")),
        top_logprobs=as_count(body.get("top_logprobs")),
        extra=extra,
        **fields,
    )


def _parse_tool(value: JSON) -> Tool:
    tool = need_mapping(value, "a tool")
    function = need_mapping(tool.get("function"), "a tool's function")
    return Tool(
        need_text(function.get("name"), "a tool's name"),
        as_text(function.get("description")),
        as_mapping(function.get("parameters")),
        extra=or_none(rest_of(function, ("name", "description", "parameters"))),
    )


def _parse_message(value: JSON, place: int) -> Message:
    message = need_mapping(value, f"messages[{place}]")
    role = need_text(message.get("role"), f"messages[{place}].role")
    text = opt_text(message.get("content"), f"messages[{place}].content") or ""
    parts: list[ContentPart] = []
    if thinking := as_text(message.get("thinking")):
        parts.append(ContentPart("reasoning", thinking, dialect=DIALECT))
    images = [
        ContentPart("image", data=need_text(i, "an image")) for i in as_list(message.get("images"))
    ]
    content: str | Sequence[ContentPart] = text
    if parts or images:
        content = [*parts, *([ContentPart("text", text)] if text else []), *images]
    try:
        return Message(
            role,
            content,
            name=as_text(message.get("tool_name")) or as_text(message.get("name")),
            tool_calls=parse_calls(message.get("tool_calls"), str(place)),
            tool_call_id=as_text(message.get("tool_call_id")),
            extra=or_none(rest_of(message, _MESSAGE_FIELDS)),
        )
    except ValueError as exc:
        raise ProviderError(ErrorCode.MALFORMED, str(exc), cause=exc) from exc


def parse_calls(value: JSON, salt: str) -> list[ToolCall]:
    """The tool calls of a message. Where the wire has no id, one is made from ``salt``, the call's
    place, name and arguments: the same message gives the same ids."""
    calls: list[ToolCall] = []
    for place, item in enumerate(as_list(value)):
        call = need_mapping(item, "a tool call")
        function = need_mapping(call.get("function"), "a tool call's function")
        name = need_text(function.get("name"), "a tool call's name")
        arguments = function.get("arguments")
        if isinstance(arguments, str):  # some servers before 0.3 sent text
            raw = arguments
        else:
            raw = json_text(need_mapping(arguments if arguments is not None else {}, "arguments"))
        extra = rest_of(call, ("id", "function", "type"))
        if inner := rest_of(function, ("name", "arguments", "index")):
            extra["function"] = inner
        identity = as_text(call.get("id")) or made_id(salt, place, name, raw)
        calls.append(ToolCall.from_text(identity, name, raw, dialect=DIALECT, extra=or_none(extra)))
    return calls


def made_id(*parts: object) -> str:
    """A tool-call id out of what identifies the call."""
    from hashlib import sha256

    text = "\x00".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return f"call_{sha256(text).hexdigest()[:16]}"
