"""Anthropic Messages, the server half: a client's request read, a whole answer written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import JSON, ChatRequest, ChatResponse, ContentPart, Message, Tool

from .anthropic_messages_answer import STOP_REASONS, write_usage
from .anthropic_messages_blocks import (
    DIALECT,
    read_content,
    read_parts,
    write_block,
    write_call,
)
from .anthropic_messages_request import EFFORTS, TOOL_CHOICES
from .reading import (
    as_mapping,
    need_list,
    need_mapping,
    need_text,
    opt_list,
    opt_text,
    or_none,
    parse_json,
    rest_of,
)
from .repair import in_wire_order
from .repair_rules import owned
from .repair_words import Notes


def parse_request(body: Any) -> ChatRequest:
    """A client's body as a request; ``stream`` is the caller's to read.

    What has no place of its own is in ``extra``, so that encoding the request again gives a body
    the provider reads the same. Raises ``bad_request`` for one that is not this dialect's.
    """
    try:
        return _parse(need_mapping(parse_json(body), "the request"))
    except ProviderError as exc:
        raise ProviderError(ErrorCode.BAD_REQUEST, exc.message, cause=exc) from exc
    except (TypeError, ValueError) as exc:  # the vocabulary's own checks
        raise ProviderError(ErrorCode.BAD_REQUEST, str(exc), cause=exc) from exc


def _parse(body: dict[str, JSON]) -> ChatRequest:
    extra = dict(body)
    take = extra.pop
    take("stream", None)
    messages = _system_messages(take("system", None))
    names: dict[str, str] = {}
    for message in need_list(take("messages", None), "messages"):
        messages += _messages(need_mapping(message, "a message"), names)
    tools = tuple(_tool(t) for t in opt_list(take("tools", None), "tools") or ())
    choice, parallel = _tool_choice(extra)
    budget = _budget(extra)
    effort, schema = _output_config(extra)
    stops = opt_list(take("stop_sequences", None), "stop_sequences")
    return ChatRequest(
        model=opt_text(take("model", None), "model"),
        messages=owned(messages, DIALECT),
        max_tokens=_number(take("max_tokens", None), "max_tokens", int),
        temperature=_number(take("temperature", None), "temperature", float),
        top_p=_number(take("top_p", None), "top_p", float),
        stop=None if stops is None else [need_text(s, "a stop sequence") for s in stops],
        json_schema=schema,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        reasoning_effort=effort,
        reasoning_budget=budget,
        extra=extra,
    )


def _number(value: JSON, name: str, kind: type[int] | type[float]) -> Any:
    if value is None or (isinstance(value, (int, kind)) and not isinstance(value, bool)):
        return value
    raise ProviderError(ErrorCode.BAD_REQUEST, f"{name} is not a number")


def _system_messages(system: JSON) -> list[Message]:
    if not system:
        return []
    if isinstance(system, str):
        return [Message("system", system)]
    return [Message("system", read_parts(need_list(system, "system"), "system"))]


def _messages(message: dict[str, JSON], names: dict[str, str]) -> list[Message]:
    """One wire message as turns: each tool result is a turn, what stands around it another."""
    role = need_text(message.get("role"), "a message's role")
    content = message.get("content")
    extra = or_none(rest_of(message, ("role", "content")))
    if role == "system" and content is None:
        content = ""
    if isinstance(content, str):
        return [Message(_ROLES[role], content, extra=extra)] if role in _ROLES else _no_role(role)
    blocks = need_list(content, "a message's content")
    match role:
        case "assistant":
            parts, calls = read_content(blocks, "an assistant message")
            names.update((c.id, c.name) for c in calls)
            return [Message("assistant", parts, tool_calls=calls, extra=extra)]
        case "system":
            return [Message("system", read_parts(blocks, "a system message"), extra=extra)]
        case "user":
            return _user_turns(blocks, extra, names)
        case _:
            return _no_role(role)


_ROLES = {"user": "user", "assistant": "assistant", "system": "system"}


def _no_role(role: str) -> list[Message]:
    raise ProviderError(ErrorCode.BAD_REQUEST, f"a message's role is {role!r}")


def _user_turns(
    blocks: list[JSON], extra: Mapping[str, JSON] | None, names: Mapping[str, str]
) -> list[Message]:
    turns: list[Message] = []
    said: list[JSON] = []
    for block in [*blocks, None]:
        result = block is None or as_mapping(block).get("type") == "tool_result"
        if not result:
            said.append(block)
            continue
        if said:
            turns.append(Message("user", read_parts(said, "a user message"), extra=extra))
            said = []
        if block is not None:
            turns.append(_result(block, names))
    return turns or [Message("user", (), extra=extra)]


def _result(block: dict[str, JSON], names: Mapping[str, str]) -> Message:
    content = block.get("content")
    call_id = need_text(block.get("tool_use_id"), "a tool_result's tool_use_id")
    failed = block.get("is_error")
    return Message(
        "tool",
        (content or "")
        if content is None or isinstance(content, str)
        else read_parts(need_list(content, "a tool_result's content"), "a tool result"),
        name=names.get(call_id),
        tool_call_id=call_id,
        is_error=failed is True,
        extra=or_none(rest_of(block, ("type", "tool_use_id", "content", "is_error"))),
    )


def _tool(value: JSON) -> Tool:
    wire = need_mapping(value, "a tool")
    name = wire.get("name") or wire.get("mcp_server_name")
    if wire.get("type", "custom") not in (None, "custom") or "input_schema" not in wire:
        # A server tool, or a client tool whose schema the provider knows: whole, for this dialect.
        return Tool(name if isinstance(name, str) else "", raw=wire, dialect=DIALECT)
    strict = wire.get("strict")
    known = ["name", "description", "input_schema"] + ["strict"] * isinstance(strict, bool)
    extra = or_none(rest_of(wire, known))
    return Tool(
        need_text(name, "a tool's name"),
        opt_text(wire.get("description"), "a tool's description"),
        need_mapping(wire["input_schema"], "a tool's input_schema"),
        strict if isinstance(strict, bool) else None,
        extra,
        dialect=DIALECT if extra else None,
    )


_CHOICE_WORDS = {"auto": "auto", "none": "none", "any": "required"}


def _tool_choice(extra: dict[str, JSON]) -> tuple[str | None, bool | None]:
    """``(tool_choice, parallel_tool_calls)``; one the vocabulary cannot say stays in ``extra``."""
    match extra.get("tool_choice"):
        case {"type": "tool", "name": str(name), **rest} if name not in TOOL_CHOICES:
            word = name
        case {"type": "auto" | "none" | "any" as kind, **rest}:
            word = _CHOICE_WORDS[kind]
        case _:
            return None, None
    alone = rest.pop("disable_parallel_tool_use", None)
    if rest or not (alone is None or isinstance(alone, bool)):
        return None, None
    del extra["tool_choice"]
    return word, None if alone is None else not alone


def _budget(extra: dict[str, JSON]) -> int | None:
    match extra.get("thinking"):
        case {"type": "enabled", "budget_tokens": int(budget), **rest} if not rest:
            del extra["thinking"]
            return budget
    return None


def _output_config(extra: dict[str, JSON]) -> tuple[str | None, Mapping[str, JSON] | None]:
    config = extra.pop("output_config", None)
    if config is None:
        return None, None
    left = dict(need_mapping(config, "output_config"))
    effort = left.get("effort")
    if isinstance(effort, str) and effort != "none" and effort not in EFFORTS:
        del left["effort"]
    else:
        effort = None
    schema: dict[str, JSON] | None = None
    wanted = as_mapping(left.get("format"))
    if set(wanted) == {"type", "schema"} and wanted["type"] == "json_schema":
        schema = need_mapping(left.pop("format")["schema"], "the schema of output_config.format")
    if left:
        extra["output_config"] = left
    return effort, schema


# --- the answer --------------------------------------------------------------------------------


def render_response(response: ChatResponse) -> dict[str, JSON]:
    """The body of a whole answer; what this dialect has no block for is left out."""
    notes = Notes()
    content: list[JSON] = []
    for item in in_wire_order(response.parts, response.tool_calls):
        if isinstance(item, ContentPart):
            block = answer_block(item, notes)
            if block is not None:
                content.append(block)
        else:
            content.append(write_call(item, item.id))
    fields = own_fields(response.meta.extra.get("wire_fields"))
    body: dict[str, JSON] = {
        "id": response.meta.response_id or "",
        "type": "message",
        "role": "assistant",
        "model": response.meta.model_name or "",
        "content": content,
        "stop_sequence": None,
        **ending(response.finish_reason, response.refusal, fields),
    }
    left = as_mapping(fields.pop("usage", None))
    return {**body, **fields, "usage": write_usage(response.usage, left)}


def own_fields(fields: Any) -> dict[str, JSON]:
    """``wire_fields`` where they are this dialect's (its ``type`` says so), else none."""
    return dict(fields) if as_mapping(fields).get("type") == "message" else {}


def answer_block(part: ContentPart, notes: Notes) -> dict[str, JSON] | None:
    """A part of an answer as a block, or None where there is none for it.

    Another provider's reasoning is shown as thinking without a signature, which Anthropic will
    not take back; a refusal's words stand in ``stop_details``.
    """
    match part.type:
        case "refusal" | "audio":
            return None
        case "reasoning" if part.dialect != DIALECT:
            shown = {"type": "thinking", "thinking": part.text, "signature": ""}
            return shown if part.text else None
        case "text" if not part.text:
            return {"type": "text", "text": "", **part.extra} if part.extra else None
        case "image" | "pdf" if not isinstance(part.data, str) and part.url is None:
            return None
        case _:
            return write_block(part, notes)


def ending(finish: str | None, refusal: str | None, fields: Mapping[str, JSON]) -> dict[str, JSON]:
    """``stop_reason``, and ``stop_details`` where another dialect's refusal has words."""
    if "stop_reason" in fields:
        return {"stop_reason": fields["stop_reason"]}
    if refusal is None or "stop_details" in fields:
        return {"stop_reason": STOP_REASONS.get(finish or "")}
    details = {"type": "refusal", "category": None, "explanation": refusal}
    return {"stop_reason": "refusal", "stop_details": details}
