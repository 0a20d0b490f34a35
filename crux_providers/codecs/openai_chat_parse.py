"""Requests of the OpenAI chat dialect, read: what a server that speaks it is asked.

Nothing is lost: what the vocabulary has no word for stays in an ``extra``, and ``encode`` of the
result is a body that a provider reads the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import JSON, ChatRequest, ContentPart, Message, Tool, ToolCall

from .openai_chat_media import audio_part, document_part, image_part
from .openai_chat_message import read_call
from .openai_chat_request import OUTER_TOOL_FIELDS, TOOL_MODES
from .openai_chat_tables import DIALECT, made_id
from .reading import (
    as_bool,
    as_count,
    as_mapping,
    as_number,
    as_text,
    dig,
    need_list,
    need_mapping,
    need_text,
    opt_list,
    opt_mapping,
    opt_text,
    or_none,
    parse_json,
    rest_of,
)
from .repair_rules import owned

# Body fields that are words of the vocabulary, and how each is read; a value of another kind stays
# in `extra`, for the provider to judge.
_PLAIN_FIELDS: Mapping[str, tuple[str, Callable[[JSON], Any]]] = {
    "max_tokens": ("max_tokens", as_count),
    "max_completion_tokens": ("max_tokens", as_count),
    "temperature": ("temperature", as_number),
    "top_p": ("top_p", as_number),
    "seed": ("seed", as_count),
    "parallel_tool_calls": ("parallel_tool_calls", as_bool),
    "reasoning_effort": ("reasoning_effort", as_text),
    "logprobs": ("logprobs", as_bool),
    "top_logprobs": ("top_logprobs", as_count),
}
_ASSISTANT_FIELDS = (
    "reasoning_content", "reasoning", "reasoning_details", "extra_content", "refusal", "images",
    "audio", "tool_calls", "function_call",
)  # fmt: skip


def parse_request(body: Any) -> ChatRequest:
    """The request in ``body`` (bytes, text or parsed JSON); raises ``bad_request`` for damage.

    ``stream`` is not part of a request here: whoever serves it reads that field itself, and what
    else ``stream_options`` says stays in ``extra``.
    """
    try:
        return _request(need_mapping(parse_json(body), "the body"))
    except ProviderError as exc:
        raise ProviderError(ErrorCode.BAD_REQUEST, exc.message, cause=exc) from exc
    except (TypeError, ValueError, RecursionError) as exc:
        message = str(exc) or "nested too deep"
        raise ProviderError(ErrorCode.BAD_REQUEST, message, cause=exc) from exc


def _request(body: dict[str, JSON]) -> ChatRequest:
    known: dict[str, Any] = {"model": opt_text(body.get("model"), "model")}
    extra = {
        k: v for k, v in body.items() if k not in ("model", "messages", "stream") and v is not None
    }
    for name, (word, read) in _PLAIN_FIELDS.items():
        if name == "max_tokens" and "max_completion_tokens" in extra:
            continue
        if name in extra and (value := read(extra[name])) is not None:
            known[word] = value
            del extra[name]
    if isinstance(options := extra.get("stream_options"), dict):
        extra.pop("stream_options")
        if more := rest_of(options, ("include_usage",)):
            extra["stream_options"] = more
    match extra.get("stop"):
        case str() as word:
            known["stop"] = (extra.pop("stop"),)
        case list() as words if words and all(isinstance(w, str) for w in words):
            known["stop"] = tuple(extra.pop("stop"))
        case _:
            pass
    _take_reasoning(known, extra)
    _take_response_format(known, extra)
    if (tools := opt_list(extra.pop("tools", None), "tools")) is not None:
        known["tools"] = [_tool(need_mapping(tool, "tool")) for tool in tools]
    _take_tool_choice(known, extra)
    reader = _Conversation()
    turns = need_list(body.get("messages"), "messages")
    found = [reader.turn(need_mapping(turn, "message")) for turn in turns]
    known["messages"] = owned(found, DIALECT)
    return ChatRequest(extra=extra, **known)


def _take_reasoning(known: dict[str, Any], extra: dict[str, JSON]) -> None:
    """OpenRouter's ``reasoning`` where an effort and a budget are all it says."""
    asked = extra.get("reasoning")
    if not isinstance(asked, dict) or not asked or rest_of(asked, ("effort", "max_tokens")):
        return
    effort, budget = as_text(asked.get("effort")), as_count(asked.get("max_tokens"))
    if len(asked) == sum(v is not None for v in (effort, budget)) and not known.get(
        "reasoning_effort"
    ):
        del extra["reasoning"]
        known["reasoning_effort"], known["reasoning_budget"] = effort, budget


def _take_response_format(known: dict[str, Any], extra: dict[str, JSON]) -> None:
    wanted = as_mapping(extra.get("response_format"))
    match wanted:
        case {"type": "text" | "json_object" as kind}:
            known["response_format"] = kind
            whole = len(wanted) == 1
        case {"type": "json_schema", "json_schema": {"schema": dict() as schema} as inner}:
            known["response_format"] = "json_schema"
            known["json_schema"] = schema
            known["schema_name"] = as_text(inner.get("name"))
            known["schema_strict"] = as_bool(inner.get("strict"))
            whole = len(wanted) == 2 and not rest_of(inner, ("name", "schema", "strict"))
        case _:
            return
    if whole:
        del extra["response_format"]


def _take_tool_choice(known: dict[str, Any], extra: dict[str, JSON]) -> None:
    choice = extra.get("tool_choice")
    name = dig(choice, "function", "name")
    if choice == {"type": "function", "function": {"name": name}} and name not in TOOL_MODES:
        known["tool_choice"] = need_text(name, "name of a tool")
    elif choice in TOOL_MODES:
        known["tool_choice"] = choice
    else:
        return
    del extra["tool_choice"]


def _tool(entry: dict[str, JSON]) -> Tool:
    inner = entry.get("function")
    kind = entry.get("type", "function")
    plain = kind == "function" and not rest_of(entry, ("type", "function", *OUTER_TOOL_FIELDS))
    if not plain or not isinstance(inner, dict):
        name = dig(entry, "custom", "name") or dig(entry, "function", "name") or kind
        return Tool(need_text(name, "type of a tool"), raw=entry, dialect=DIALECT)
    extra = rest_of(inner, ("name", "description", "parameters", "strict"))
    extra.update({k: entry[k] for k in OUTER_TOOL_FIELDS if k in entry})
    return Tool(
        need_text(inner.get("name"), "name of a tool"),
        opt_text(inner.get("description"), "description of a tool"),
        opt_mapping(inner.get("parameters"), "parameters of a tool") or {},
        as_bool(inner.get("strict")),
        extra=or_none(extra),
        dialect=DIALECT if extra else None,
    )


class _Conversation:
    """Reads the turns; remembers the last function call, which its result does not name."""

    def __init__(self) -> None:
        self._turns = 0
        self._function_id: str | None = None

    def turn(self, wire: dict[str, JSON]) -> Message:
        """One message."""
        self._turns += 1
        role = need_text(wire.get("role"), "role")
        known = ["role", "content", "name"]
        content = _content(wire.get("content"))
        calls: list[ToolCall] = []
        call_id = None
        if role == "assistant":
            known += _ASSISTANT_FIELDS
            content = _assistant_content(wire, content)
            calls = self._calls(wire)
        elif role in ("tool", "function"):
            known.append("tool_call_id")
            call_id = opt_text(wire.get("tool_call_id"), "tool_call_id")
        extra = {k: v for k, v in wire.items() if k not in known and v is not None}
        if role == "function":  # OpenAI, from before there were tools
            role, call_id, extra["role"] = "tool", self._function_id, "function"
        name = opt_text(wire.get("name"), "name of a message")
        return Message(role, content, name, calls, call_id, extra=or_none(extra))

    def _calls(self, wire: Mapping[str, JSON]) -> list[ToolCall]:
        found: list[ToolCall] = []
        for entry in opt_list(wire.get("tool_calls"), "tool_calls") or ():
            call = read_call(need_mapping(entry, "tool call"))
            if call is None:
                raise ProviderError(ErrorCode.BAD_REQUEST, "a tool call of an unknown type")
            name = need_text(call.name, "name of a tool")
            id = call.id or made_id(self._turns, len(found), name)
            found.append(_call(id, call.arguments, name, call.extra))
        if old := opt_mapping(wire.get("function_call"), "function_call"):
            name = need_text(old.get("name"), "name of a function")
            self._function_id = made_id(self._turns, name)
            text = opt_text(old.get("arguments"), "arguments") or ""
            found.append(_call(self._function_id, text, name, {"type": "function_call"}))
        return found


def _call(id: str, arguments: str, name: str, extra: dict[str, JSON]) -> ToolCall:
    dialect = DIALECT if extra else None
    return ToolCall.from_text(id, name, arguments, dialect=dialect, extra=or_none(extra))


def _content(content: JSON) -> str | list[ContentPart]:
    if isinstance(content, list):
        return [_part(need_mapping(item, "content part")) for item in content]
    return opt_text(content, "content") or ""


def _part(item: dict[str, JSON]) -> ContentPart:
    part: ContentPart | None = None
    match item.get("type"):
        case "text":
            text = need_text(item.get("text"), "text")
            extra = rest_of(item, ("type", "text"))
            dialect = DIALECT if extra else None
            part = ContentPart("text", text, dialect=dialect, extra=or_none(extra))
        case "image_url":
            part = image_part(item)
        case "file" | "document_url":
            part = document_part(item)
        case "input_audio":
            part = audio_part(item)
        case "refusal" if len(item) == 2:
            part = ContentPart("refusal", need_text(item.get("refusal"), "refusal"))
        case "thinking":
            part = _thinking(item)
        case _:
            pass
    return part if part is not None else ContentPart("raw", data=item, dialect=DIALECT)


def _thinking(item: dict[str, JSON]) -> ContentPart | None:
    """Mistral's item, where its thoughts are plain text."""
    pieces = item.get("thinking")
    if not isinstance(pieces, list):
        return None
    texts = [t for p in pieces if isinstance(t := dig(p, "text"), str)]
    if len(texts) < len(pieces):
        return None
    return ContentPart(
        "reasoning",
        "".join(texts),
        signature=as_text(item.get("signature")),
        dialect=DIALECT,
        extra=rest_of(item, ("thinking", "signature")),
    )


def _assistant_content(
    wire: Mapping[str, JSON], content: str | list[ContentPart]
) -> str | list[ContentPart]:
    before = list(_reasoning_parts(wire))
    after: list[ContentPart] = []
    if refusal := opt_text(wire.get("refusal"), "refusal"):
        after.append(ContentPart("refusal", refusal))
    for image in opt_list(wire.get("images"), "images") or ():
        after.append(image_part(need_mapping(image, "image")))
    if audio := opt_mapping(wire.get("audio"), "audio"):
        after.append(ContentPart("audio", dialect=DIALECT, extra=audio))
    if not before and not after:
        return content
    said = content if isinstance(content, list) else []
    if isinstance(content, str) and content:
        said = [ContentPart("text", content)]
    return before + said + after


def _told(parts: list[ContentPart]) -> str | None:
    return "".join(p.text or "" for p in parts) if parts else None


def _reasoning_parts(wire: Mapping[str, JSON]) -> list[ContentPart]:
    parts: list[ContentPart] = []
    for entry in opt_list(wire.get("reasoning_details"), "reasoning_details") or ():
        entry = need_mapping(entry, "reasoning detail")
        field = "summary" if entry.get("type") == "reasoning.summary" else "text"
        data = entry.get("data") if isinstance(entry.get("data"), str) else None
        known = {field} | ({"signature"} if as_text(entry.get("signature")) is not None else set())
        part = ContentPart(
            "reasoning",
            opt_text(entry.get(field), field),
            data=data,
            signature=as_text(entry.get("signature")),
            dialect=DIALECT,
            extra=rest_of(entry, known | ({"data"} if data is not None else set())),
        )
        parts.append(part)
    # An empty text is kept as well: DeepSeek's thinking mode wants the field in every turn.
    plain = opt_text(wire.get("reasoning_content"), "reasoning_content")
    if not plain:
        plain = opt_text(wire.get("reasoning"), "reasoning") or plain
    if plain is not None and (plain or not parts) and plain != _told(parts):
        parts.append(ContentPart("reasoning", plain))
    if extra := as_mapping(wire.get("extra_content")):
        signature = as_text(dig(extra, "google", "thought_signature"))
        parts.append(
            ContentPart(
                "reasoning",
                signature=signature,
                dialect=DIALECT,
                extra={"extra_content": extra},
            )
        )
    return parts
