"""LangChain messages as the library's own, in one pass and without loss.

Every turn stays, in order; text and tool payloads stay byte for byte. Messages that ``ChatCrux``
made carry back what their dialect needs (see :mod:`answers`); those of other packages are read in
their providers' own forms. What LangChain keeps beside a conversation (``id``, ``artifact``,
``response_metadata``, ``usage_metadata``) is not sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from crux_providers.base.models import (
    ContentPart,
    Message,
    ToolCall,
    compact_json,
    parse_arguments,
)

from .answers import NOTES, REFUSAL
from .blocks import ANTHROPIC, CALL_BLOCKS, CHAT, GEMINI, ORIGINS, RESPONSES, parts_of

GEMINI_SIGNATURES = "__gemini_function_call_thought_signatures__"
"""Where ChatGoogleGenerativeAI keeps the signatures of calls, by call id (its version 3, 2025)."""

_NOTED = ("signature", "dialect", "extra", "provider")
"""Fields of a call or a refusal that its notes may hold."""

_CHAT_ROLES: Mapping[str, str] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
}


def to_messages(messages: Iterable[BaseMessage]) -> list[Message]:
    """The conversation in the library's words, every turn in order.

    Raises ValueError for a message or block no provider takes: a FunctionMessage, an unknown role
    of a ChatMessage, an unknown content block.
    """
    found: list[Message] = []
    for message in messages:
        read = _READERS.get(type(message))
        if read is None:
            read = next((r for kind, r in _READERS.items() if isinstance(message, kind)), _refuse)
        read(message, found)
    return found


def _refuse(message: BaseMessage, found: list[Message]) -> None:
    raise ValueError(f"a message of type {type(message).__name__} cannot be sent to a model")


def _refuse_function(message: BaseMessage, found: list[Message]) -> None:
    raise ValueError(
        "FunctionMessage belongs to OpenAI's retired functions: answer a tool call with a "
        "ToolMessage and its tool_call_id"
    )


def _content(message: BaseMessage) -> str | list[ContentPart]:
    content = message.content
    if isinstance(content, str):
        return content
    parts = [part for block in content for part in parts_of(block)]
    match parts:
        case [ContentPart(type="text", extra=None, signature=None) as only]:
            return only.text or ""
        case _:
            return parts


def _system(message: BaseMessage, found: list[Message]) -> None:
    role = message.additional_kwargs.get("__openai_role__", "system")
    found.append(Message(role, _content(message), message.name))


def _human(message: BaseMessage, found: list[Message]) -> None:
    content = message.content
    if isinstance(content, str):
        found.append(Message("user", content, message.name))
        return
    parts: list[ContentPart] = []
    said = False
    for block in content:
        if isinstance(block, dict) and block.get("type") == "tool_result":
            if parts:  # Anthropic's form: results of calls stand in a user's turn
                found.append(Message("user", parts, message.name))
                parts = []
            found.append(_tool_result(block))
            said = True
        else:
            parts.extend(parts_of(block))
    if parts or not said:
        found.append(Message("user", parts, message.name))


def _tool_result(block: Mapping[str, Any]) -> Message:
    content = block.get("content") or ""
    if not isinstance(content, str):
        content = [part for b in content for part in parts_of(b)]
    id_ = block.get("tool_use_id")
    extra = {"cache_control": block["cache_control"]} if "cache_control" in block else None
    if extra and isinstance(content, str):
        content = [ContentPart("text", content, dialect=ANTHROPIC, extra=extra)]
    return Message("tool", content, tool_call_id=id_, is_error=bool(block.get("is_error")))


def _tool(message: BaseMessage, found: list[Message]) -> None:
    message = cast("ToolMessage", message)
    found.append(
        Message(
            "tool",
            _content(message),
            message.name,
            tool_call_id=message.tool_call_id,
            is_error=message.status == "error",
        )
    )


def _chat(message: BaseMessage, found: list[Message]) -> None:
    said = cast("ChatMessage", message).role
    role = _CHAT_ROLES.get(said)
    if role is None:
        raise ValueError(
            f"a ChatMessage has the role {said!r}, not one of {', '.join(_CHAT_ROLES)}"
        )
    found.append(Message(role, _content(message), message.name))


# -- the assistant's turns ------------------------------------------------------------------------


def _assistant(message: BaseMessage, found: list[Message]) -> None:
    message = cast("AIMessage", message)
    content = message.content
    kwargs = message.additional_kwargs
    if isinstance(content, str) and not kwargs and not message.invalid_tool_calls:
        calls = [
            ToolCall(c["id"] or "", c["name"], c["args"]) for c in message.tool_calls
        ]  # fmt: skip
        found.append(Message("assistant", content, message.name, calls))
        return
    if "function_call" in kwargs and not message.tool_calls:
        raise ValueError(
            "additional_kwargs['function_call'] belongs to OpenAI's retired functions: use "
            "tool_calls"
        )
    found.append(_Turn(message).read())


class _Turn:
    """Reads one AIMessage that is more than plain text and calls."""

    def __init__(self, message: AIMessage) -> None:
        self._message = message
        self._kwargs = message.additional_kwargs
        self._notes: Mapping[str, Any] = self._kwargs.get(NOTES) or {}
        self._origin = ORIGINS.get(str(message.response_metadata.get("model_provider")))
        self._parts: list[ContentPart] = []
        self._places: dict[str, int] = {}
        self._blocks: dict[str, Mapping[str, Any]] = {}

    def read(self) -> Message:
        message = self._message
        self._read_content()
        self._read_beside()
        content: str | list[ContentPart] = self._parts
        match self._parts:
            case []:
                content = ""
            case [ContentPart(type="text", extra=None, signature=None) as only]:
                content = only.text or ""
        audio = self._kwargs.get("audio")
        extra = None
        if isinstance(audio, dict) and "id" in audio:  # OpenAI takes its audio back by id
            extra = {"audio": {"id": audio["id"]}}
        return Message(
            "assistant",
            content,
            message.name,
            tool_calls=self._read_calls(),
            extra=extra,
            dialect=CHAT if extra else None,
        )

    def _read_content(self) -> None:
        content = self._message.content
        blocks: Sequence[Any] = [content] if isinstance(content, str) else content
        note = self._notes.get("text")  # the extras of the first text
        for block in blocks:
            if isinstance(block, dict) and block.get("type") in CALL_BLOCKS:
                self._read_place(block)
                continue
            if note is not None and _is_text(block):
                text = block if isinstance(block, str) else block.get("text", "")
                block, note = {"type": "text", "text": text, "extras": note}, None
            self._parts.extend(parts_of(block, self._origin))

    def _read_place(self, block: Mapping[str, Any]) -> None:
        id_ = block.get("call_id") or block.get("id")
        if isinstance(id_, str) and id_ not in self._places:
            self._places[id_] = len(self._parts)
            self._blocks[id_] = block

    def _read_beside(self) -> None:
        """Reasoning and refusals that other packages, or this one, keep beside the content."""
        kwargs = self._kwargs
        kinds = {p.type for p in self._parts}
        if "reasoning" not in kinds:
            words = kwargs.get("reasoning_content")
            item = kwargs.get("reasoning")
            if isinstance(words, str) and words:
                dialect = self._origin or ORIGINS["deepseek"]
                self._insert([ContentPart("reasoning", words, dialect=dialect)])
            elif isinstance(item, dict) and item:  # ChatOpenAI before its version 1
                self._insert(parts_of({"summary": [], **item, "type": "reasoning"}))
        refusal = kwargs.get(REFUSAL)
        if isinstance(refusal, str) and "refusal" not in kinds:
            note = self._notes.get("refusal") or {}
            self._parts.append(
                ContentPart(
                    "refusal", refusal, **{k: note[k] for k in _NOTED if k in note}
                )
            )  # fmt: skip

    def _insert(self, parts: Sequence[ContentPart]) -> None:
        self._parts[:0] = parts
        self._places = {id_: place + len(parts) for id_, place in self._places.items()}

    def _read_calls(self) -> list[ToolCall]:
        message = self._message
        calls = [self._valid(c["id"] or "", c["name"], c["args"]) for c in message.tool_calls]
        calls += [self._invalid(c) for c in message.invalid_tool_calls]
        if not calls and self._blocks:  # written by hand, in a provider's form
            calls = [c for b in self._blocks.values() if (c := self._from_block(b)) is not None]
        order = {id_: n for n, id_ in enumerate(self._notes.get("tool_calls") or ())}
        if message.invalid_tool_calls and order:
            calls.sort(key=lambda c: order.get(c.id, len(order)))
        return calls

    def _valid(self, id_: str, name: str, args: dict[str, Any]) -> ToolCall:
        note = self._note(id_)
        raw = note.get("arguments")
        if raw is not None:  # as the model wrote them, unless somebody changed the call since
            parsed = parse_arguments(raw)
            if parsed is None or compact_json(parsed) != compact_json(args):
                raw = None
        return ToolCall(id_, name, args, raw, **self._fields(id_, note))

    def _invalid(self, call: Mapping[str, Any]) -> ToolCall:
        id_ = call.get("id") or ""
        more = self._fields(id_, self._note(id_))
        return ToolCall.from_text(id_, call.get("name") or "", call.get("args") or "", **more)

    def _from_block(self, block: Mapping[str, Any]) -> ToolCall | None:
        name = block.get("name")
        id_ = block.get("call_id") or block.get("id") or ""
        args = block.get("input", block.get("args", block.get("arguments")))
        if not isinstance(name, str):
            return None
        more = self._fields(id_, {})
        if isinstance(args, str):
            return ToolCall.from_text(id_, name, args, **more)
        return ToolCall(id_, name, args or {}, **more)

    def _note(self, id_: str) -> Mapping[str, Any]:
        return (self._notes.get("tool_calls") or {}).get(id_) or {}

    def _fields(self, id_: str, note: Mapping[str, Any]) -> dict[str, Any]:
        after = note.get("after", self._places.get(id_))
        if after is not None and after >= len(self._parts):
            after = None
        fields: dict[str, Any] = {"after": after}
        block = self._blocks.get(id_) or {}
        if block.get("type") == "function_call":
            fields.update(dialect=RESPONSES, extra=_call_extra(block))
        fields.update({k: note[k] for k in _NOTED if k in note})
        if "signature" not in note:
            extras = block.get("extras") or {}
            kept = self._kwargs.get(GEMINI_SIGNATURES) or {}
            signature = kept.get(id_) or extras.get("signature")
            if signature is not None:
                dialect = GEMINI if kept.get(id_) else self._origin
                fields.update(signature=signature, dialect=dialect)
        return fields


def _call_extra(item: Mapping[str, Any]) -> dict[str, Any] | None:
    known = ("type", "index", "call_id", "name", "arguments")
    return {k: v for k, v in item.items() if k not in known} or None


def _is_text(block: Any) -> bool:
    if isinstance(block, str):
        return bool(block)
    return block.get("type") == "text" and "extras" not in block


_READERS: Mapping[type[BaseMessage], Callable[[BaseMessage, list[Message]], None]] = {
    HumanMessage: _human,
    AIMessage: _assistant,
    ToolMessage: _tool,
    SystemMessage: _system,
    ChatMessage: _chat,
    FunctionMessage: _refuse_function,
}
