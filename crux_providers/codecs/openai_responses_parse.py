"""Requests in the OpenAI Responses dialect, read: what a server that speaks it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import JSON, ChatRequest, ContentPart, Message, Tool, ToolCall

from .openai_chat_media import split_data_uri
from .openai_responses_items import (
    CALL_FIELDS,
    DIALECT,
    Piece,
    read_call,
    read_content,
    read_item,
)
from .openai_responses_request import (
    DOCUMENT_NAMES,
    INSTRUCTIONS,
    LOGPROBS,
    TOOL_MODES,
    is_content,
)
from .reading import (
    as_bool,
    as_count,
    as_mapping,
    as_number,
    as_text,
    malformed,
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

_PLAIN_FIELDS: Mapping[str, tuple[str, Callable[[JSON], Any]]] = {
    "max_output_tokens": ("max_tokens", as_count),
    "temperature": ("temperature", as_number),
    "top_p": ("top_p", as_number),
    "top_logprobs": ("top_logprobs", as_count),
    "parallel_tool_calls": ("parallel_tool_calls", as_bool),
}
"""Fields of the body with a word of their own; a value of another type stays in ``extra``."""

_ROLES = ("user", "system", "developer")
_RESULTS: Mapping[str, str] = {
    "computer_call_output": "call_id",
    "local_shell_call_output": "call_id",
    "apply_patch_call_output": "call_id",
    "mcp_approval_response": "approval_request_id",
}
"""Whole items that answer a call which is itself a raw part, with the field of its id."""


def parse_request(body: Any) -> ChatRequest:
    """The request in ``body`` (bytes, text or parsed JSON); raises ``bad_request`` for damage.

    ``stream`` is the caller's to read. What has no place of its own is in ``extra``, so that
    encoding the request again gives a body that the provider reads the same.
    """
    try:
        return _request(need_mapping(parse_json(body), "the body"))
    except ProviderError as exc:
        raise ProviderError(ErrorCode.BAD_REQUEST, exc.message, cause=exc) from exc
    except (TypeError, ValueError, RecursionError) as exc:
        message = str(exc) or "nested too deep"
        raise ProviderError(ErrorCode.BAD_REQUEST, message, cause=exc) from exc


def _request(body: dict[str, JSON]) -> ChatRequest:
    extra = rest_of(body, ("model", "input", "instructions", "stream", "tools"))
    known: dict[str, Any] = {"model": opt_text(body.get("model"), "model")}
    for name, (word, read) in _PLAIN_FIELDS.items():
        if name in extra and (value := read(extra[name])) is not None:
            known[word] = value
            del extra[name]
    tools = opt_list(body.get("tools"), "tools") or []
    known["tools"] = [_tool(need_mapping(tool, "a tool")) for tool in tools]
    _take_tool_choice(known, extra)
    _take_reasoning(known, extra)
    _take_format(known, extra)
    _take_included(known, extra)
    messages = _Conversation()
    if (instructions := opt_text(body.get("instructions"), "instructions")) is not None:
        part = ContentPart("text", instructions, dialect=DIALECT, extra=INSTRUCTIONS)
        messages.turns.append(Message("system", (part,)))
    known["messages"] = owned(messages.read(body.get("input")), DIALECT)
    return ChatRequest(extra=extra, **known)


def _tool(wire: dict[str, JSON]) -> Tool:
    if wire.get("type") != "function" or not isinstance(wire.get("name"), str):
        name = as_text(wire.get("name")) or need_text(wire.get("type"), "the type of a tool")
        return Tool(name, raw=wire, dialect=DIALECT)
    strict = as_bool(wire.get("strict"))
    known = ["type", "name", "description", "parameters"] + ["strict"] * (strict is not None)
    extra = or_none(rest_of(wire, known))
    return Tool(
        wire["name"],
        opt_text(wire.get("description"), "the description of a tool"),
        opt_mapping(wire.get("parameters"), "the parameters of a tool") or {},
        strict,
        extra,
        dialect=DIALECT if extra else None,
    )


def _take_tool_choice(known: dict[str, Any], extra: dict[str, JSON]) -> None:
    choice = extra.get("tool_choice")
    functions = {tool.name for tool in known["tools"] if tool.raw is None}
    match choice:
        case str() if choice in TOOL_MODES:
            known["tool_choice"] = choice
        case {"type": "function", "name": str(name), **rest} if not rest and name in functions:
            if name in TOOL_MODES:
                return
            known["tool_choice"] = name
        case _:
            return
    del extra["tool_choice"]


def _take_reasoning(known: dict[str, Any], extra: dict[str, JSON]) -> None:
    asked = extra.get("reasoning")
    if isinstance(asked, dict) and isinstance(asked.get("effort"), str):
        known["reasoning_effort"] = asked["effort"]
        if rest := rest_of(asked, ("effort",)):
            extra["reasoning"] = rest
        else:
            del extra["reasoning"]


def _take_format(known: dict[str, Any], extra: dict[str, JSON]) -> None:
    text = as_mapping(extra.get("text"))
    wanted = as_mapping(text.get("format"))
    left = rest_of(text, ("format",))
    match wanted:
        case {"type": "text" | "json_object" as kind}:
            known["response_format"] = kind
            rest = rest_of(wanted, ("type",))
        case {"type": "json_schema", "name": str(name), "schema": dict(schema)}:
            strict = as_bool(wanted.get("strict"))
            known |= {"json_schema": schema, "schema_name": name, "schema_strict": strict}
            known["response_format"] = "json_schema"
            taken = ["type", "name", "schema"] + ["strict"] * (strict is not None)
            rest = rest_of(wanted, taken)
        case _:
            return
    if rest:
        left["format"] = rest
    if left:
        extra["text"] = left
    else:
        del extra["text"]


def _take_included(known: dict[str, Any], extra: dict[str, JSON]) -> None:
    included = extra.get("include")
    if isinstance(included, list) and LOGPROBS in included:
        known["logprobs"] = True
        extra["include"] = [word for word in included if word != LOGPROBS]
        if not extra["include"]:
            del extra["include"]
    if extra.get("store") is False:
        extra.setdefault("include", [])  # what was not asked for is not to be asked for


@dataclass(slots=True)
class _Turn:
    """An assistant's turn in the making: what one model said between two inputs."""

    parts: list[ContentPart] = field(default_factory=list)
    calls: list[tuple[int, ToolCall]] = field(default_factory=list)
    last: tuple[str, JSON] | None = None
    text: str | None = None

    def message(self) -> Message:
        """The turn as a message; text that came as a string stays one."""
        content: str | list[ContentPart] = self.parts or ""
        if self.text and self.parts == [ContentPart("text", self.text)]:
            content = self.text
        calls = [
            ToolCall(
                c.id, c.name, c.arguments, c.raw_arguments,
                after=None if at == len(self.parts) else at, dialect=c.dialect, extra=c.extra,
            )
            for at, c in self.calls
        ]  # fmt: skip
        return Message("assistant", content, tool_calls=calls)


class _Conversation:
    """Reads input items as turns; what an assistant said in a row is one turn."""

    def __init__(self) -> None:
        self.turns: list[Message] = []
        self._open: _Turn | None = None
        self._custom: set[str] = set()

    def read(self, given: JSON) -> list[Message]:
        """The turns of ``input``: a text, items, or nothing."""
        if isinstance(given, str):
            self.turns.append(Message("user", given))
        elif given is not None:
            for index, item in enumerate(need_list(given, "input")):
                self._item(need_mapping(item, f"input[{index}]"), f"input[{index}]")
        self._close()
        return self.turns

    def _close(self) -> None:
        if self._open is not None:
            self.turns.append(self._open.message())
            self._open = None

    def _turn(self) -> _Turn:
        if self._open is None:
            self._open = _Turn()
        return self._open

    def _item(self, item: dict[str, JSON], where: str) -> None:
        kind, role = item.get("type"), item.get("role")
        if kind is None and role is not None:
            kind = "message"
        match kind:
            case "message" if role == "assistant":
                self._answer(item, where)
            case "message":
                self._say(item, role, where)
            case "reasoning":
                self._pieces(item, read_item(item, where))
            case str() if kind in CALL_FIELDS:
                call = read_call(item, where)
                if kind == "custom_tool_call":
                    self._custom.add(call.id)
                turn = self._turn()
                turn.calls.append((len(turn.parts), call))
                turn.last = None
            case "function_call_output":
                self._result(item, where)
            case "custom_tool_call_output" if item.get("call_id") in self._custom:
                self._result(item, where)
            case _:
                self._whole(item, kind, role)

    def _whole(self, item: dict[str, JSON], kind: JSON, role: JSON) -> None:
        """An item without a word in the vocabulary, for this dialect only."""
        part = ContentPart("raw", data=item, dialect=DIALECT)
        if isinstance(kind, str) and kind in _RESULTS:
            self._close()
            call_id = as_text(item.get(_RESULTS[kind]))
            self.turns.append(Message("tool", (part,), tool_call_id=call_id))
        elif role in _ROLES:
            self._close()
            self.turns.append(Message(str(role), (part,)))
        else:
            turn = self._turn()
            turn.parts.append(part)
            turn.last = None

    def _result(self, item: dict[str, JSON], where: str) -> None:
        self._close()
        output = item.get("output")
        self.turns.append(
            Message(
                "tool",
                output if isinstance(output, str) else _content(output, f"output of {where}"),
                tool_call_id=need_text(item.get("call_id"), f"call_id of {where}"),
                extra=or_none(rest_of(item, ("type", "call_id", "output"))),
            )
        )

    def _say(self, item: dict[str, JSON], role: JSON, where: str) -> None:
        if role not in _ROLES:
            raise malformed(f"the role of {where} is {role!r}")
        self._close()
        content = item.get("content")
        self.turns.append(
            Message(
                str(role),
                content if isinstance(content, str) else _content(content, f"content of {where}"),
                extra=or_none(rest_of(item, ("type", "role", "content"))),
            )
        )

    def _answer(self, item: dict[str, JSON], where: str) -> None:
        fields = or_none(rest_of(item, ("type", "role", "content")))
        content = item.get("content")
        if self._open is not None and self._open.last == ("message", fields):
            self._close()  # two messages that nothing tells apart: two turns
        if isinstance(content, str) and fields is None:
            turn = self._turn()
            if content:
                turn.parts.append(ContentPart("text", content))
            turn.text = content
        else:
            if isinstance(content, str):
                content = [{"type": "output_text", "text": content}]
            turn = self._turn()
            turn.text = None
            for entry in need_list(content, f"content of {where}"):
                turn.parts.append(_answered(need_mapping(entry, f"a piece of {where}"), fields))
        turn.last = ("message", fields)

    def _pieces(self, item: dict[str, JSON], pieces: list[Piece]) -> None:
        fields = rest_of(item, ("type", "summary", "content", "encrypted_content"))
        if self._open is not None and self._open.last == ("reasoning", fields):
            self._close()
        turn = self._turn()
        turn.parts += [p.value for p in pieces if isinstance(p.value, ContentPart)]
        turn.last = ("reasoning", fields)


def _answered(piece: dict[str, JSON], fields: Mapping[str, JSON] | None) -> ContentPart:
    part = read_content(piece, fields, "input")
    if part.type == "text" and "logprobs" in piece:  # an answer's; here they go back as they came
        extra = {**(part.extra or {}), "logprobs": piece["logprobs"]}
        return ContentPart("text", part.text, dialect=DIALECT, extra=extra)
    return part


def _content(content: JSON, where: str) -> list[ContentPart]:
    return [_part(need_mapping(c, f"a piece of {where}")) for c in need_list(content, where)]


def _part(piece: dict[str, JSON]) -> ContentPart:
    """One piece of input content; what is not plainly text or a file is ``raw``."""
    match piece:
        case {"type": "input_text", "text": str(text)}:
            return _own("text", piece, ("type", "text"), text=text)
        case {"type": "input_image", "image_url": str(url)}:
            return _own("image", piece, ("type", "image_url"), **_located(url))
        case {"type": "input_file", "file_url": str(url)} if "file_data" not in piece:
            return _own("pdf", piece, ("type", "file_url"), url=url)
        case {"type": "input_file", "filename": str(name), "file_data": str(data)} if (
            located := _located(data)
        ).get("media_type") in DOCUMENT_NAMES:
            known = None if name == DOCUMENT_NAMES[located["media_type"]] else name
            taken = ("type", "filename", "file_data")
            return _own("pdf", piece, taken, name=known, **located)
        case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(form)}} if (
            len(piece["input_audio"]) == 2
        ):
            media_type = "audio/mpeg" if form == "mp3" else f"audio/{form}"
            return _own("audio", piece, ("type", "input_audio"), data=data, media_type=media_type)
        case _:
            if not is_content(piece):
                raise malformed(f"a piece of content has the type {piece.get('type')!r}")
            return ContentPart("raw", data=piece, dialect=DIALECT)


def _own(kind: str, piece: dict[str, JSON], known: tuple[str, ...], **more: Any) -> ContentPart:
    extra = or_none(rest_of(piece, known))
    return ContentPart(kind, dialect=DIALECT if extra else None, extra=extra, **more)


def _located(url: str) -> dict[str, str]:
    split = split_data_uri(url)
    return {"url": url} if split is None else {"media_type": split[0], "data": split[1]}
