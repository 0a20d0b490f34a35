"""Requests of Gemini's clients: the wire's bodies read into the vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crux_providers.base.models import JSON, ChatRequest, ContentPart, Message, Tool, ToolCall

from .gemini_generate_parts import (
    DIALECT,
    call_arguments,
    camel,
    camel_body,
    made_id,
    read_call,
    read_part,
    read_result,
)
from .gemini_generate_request import CONFIG_FIELDS, LEVELS
from .reading import (
    as_bool,
    as_count,
    as_list,
    as_mapping,
    as_number,
    as_text,
    malformed,
    need_list,
    need_mapping,
    need_text,
    or_none,
    parse_json,
    rest_of,
)
from .repair_rules import owned

_READERS = {"max_tokens": as_count, "temperature": as_number, "top_p": as_number, "seed": as_count,
            "logprobs": as_bool, "top_logprobs": as_count}  # fmt: skip
_BODY_FIELDS = frozenset({"model", "contents", "systemInstruction", "tools"})
_ROLES = {"user": "user", "model": "assistant", "function": "user", None: "user", "": "user"}
_NOT_IN_JSON_SCHEMA = frozenset({"propertyOrdering", "property_ordering", "nullable"})
_TYPE_NUMBERS = {1: "string", 2: "number", 3: "integer", 4: "boolean", 5: "array", 6: "object",
                 7: "null"}  # fmt: skip
_SCHEMA_MAPS = frozenset({"properties", "$defs", "defs"})


def parse_request(body: Any) -> ChatRequest:
    """The request in a ``generateContent`` body; unknown fields go to ``extra``.

    The path carries the model, so ``model`` is None unless the body names one. Raises
    ``malformed`` for a body that is none.
    """
    given = camel_body(need_mapping(parse_json(body), "the request"))
    extra = rest_of(given, _BODY_FIELDS)
    fields: dict[str, Any] = {}
    _read_config(extra, fields)
    _read_choice(extra, fields)
    messages: list[Message] = []
    if given.get("systemInstruction") is not None:
        messages.append(_system(given["systemInstruction"]))
    calls = _Calls()
    for place, content in enumerate(need_list(given.get("contents"), "contents")):
        messages += _content(content, place, calls)
    return ChatRequest(
        model=as_text(given.get("model")),
        messages=owned(messages, DIALECT),
        tools=[t for item in as_list(given.get("tools")) for t in _tools(item)],
        extra=extra,
        **fields,
    )


# -- contents --------------------------------------------------------------------------------------


class _Calls:
    """The calls that wait for a result: a result without an id answers the first of its name."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, str]] = []

    def add(self, id: str, name: str) -> None:
        self.waiting.append((id, name))

    def answer(self, id: str | None, name: str | None, place: str) -> str:
        for found in self.waiting:
            if found[0] == id or (id is None and found[1] == name):
                self.waiting.remove(found)
                return found[0]
        return id or made_id("result", place, name)


def _system(value: JSON) -> Message:
    if isinstance(value, str):
        return Message("system", value)
    content = camel(need_mapping(value, "systemInstruction"))
    parts = [
        read_part(p, f"systemInstruction.parts[{i}]")
        for i, p in enumerate(_parts_of(content, "systemInstruction"))
    ]
    return Message("system", _simple(parts), extra=None)


def _parts_of(content: Mapping[str, JSON], where: str) -> list[JSON]:
    parts = content.get("parts")
    if isinstance(parts, dict):  # Google takes one part in place of a list of one
        return [parts]
    return need_list([] if parts is None else parts, f"{where}.parts")


def _simple(parts: Sequence[ContentPart]) -> str | Sequence[ContentPart]:
    match parts:
        case []:
            return ""
        case [ContentPart(type="text", dialect=None) as only]:
            return only.text or ""
    return parts


def _content(value: JSON, place: int, calls: _Calls) -> list[Message]:
    where = f"contents[{place}]"
    content = camel(need_mapping(value, where))
    role = _ROLES.get(content.get("role")) if _hashable(content.get("role")) else None
    if role is None:
        raise malformed(f"{where}.role is {str(content.get('role'))[:40]!r}, not user or model")
    messages: list[Message] = []
    parts: list[ContentPart] = []
    made: list[ToolCall] = []
    extra = or_none(rest_of(content, ("role", "parts")))

    def close() -> None:
        if parts or made or not messages:
            closed = [_placed(c, len(parts)) for c in made]
            messages.append(Message(role, _simple(list(parts)), tool_calls=closed, extra=extra))
            parts.clear()
            made.clear()

    for number, item in enumerate(_parts_of(content, where)):
        here = f"{where}.parts[{number}]"
        part = camel(need_mapping(item, here))
        if isinstance(part.get("functionCall"), dict):
            call = camel(part["functionCall"])
            name, text = as_text(call.get("name")), call_arguments(call)
            id = as_text(call.get("id")) or made_id(place, number, name, text)
            calls.add(id, name or "")
            read = read_call(part, call, id, text)
            made.append(_after(read, len(parts)))
        elif isinstance(part.get("functionResponse"), dict) and len(part) == 1:
            if parts or made:
                close()
            given = camel(part["functionResponse"])
            id = calls.answer(as_text(given.get("id")), as_text(given.get("name")), here)
            messages.append(read_result(given, id, f"{here}.functionResponse"))
        else:
            parts.append(read_part(part, here))
    close()
    return messages


def _hashable(value: JSON) -> bool:
    return value is None or isinstance(value, str)


def _after(call: ToolCall, after: int | None) -> ToolCall:
    return ToolCall(
        call.id,
        call.name,
        call.arguments,
        call.raw_arguments,
        after,
        call.signature,
        call.dialect,
        call.extra,
    )


def _placed(call: ToolCall, total: int) -> ToolCall:
    return _after(call, None) if call.after == total else call


# -- tools -----------------------------------------------------------------------------------------


def _tools(value: JSON) -> list[Tool]:
    item = camel(need_mapping(value, "a tool"))
    functions = [_function(f) for f in as_list(item.pop("functionDeclarations", None))]
    if item:
        functions.append(Tool(next(iter(item)), raw=item, dialect=DIALECT))
    return functions


def _function(value: JSON) -> Tool:
    function = camel(need_mapping(value, "a function declaration"))
    extra = rest_of(function, ("name", "description", "parametersJsonSchema"))
    parameters = as_mapping(function.get("parametersJsonSchema"))
    if not parameters:
        # Kept as it stands in ``extra``, since it is no JSON Schema; the other dialects get one.
        parameters = json_schema(as_mapping(function.get("parameters")))
    return Tool(
        need_text(function.get("name"), "a function's name"),
        function.get("description") if isinstance(function.get("description"), str) else None,
        parameters,
        extra=or_none(extra),
        dialect=DIALECT if extra else None,
    )


def json_schema(schema: Mapping[str, JSON]) -> dict[str, JSON]:
    """Gemini's ``Schema`` (a subset of OpenAPI's, types in capitals) as JSON Schema."""
    made: dict[str, JSON] = {}
    for key, value in schema.items():
        if key in _NOT_IN_JSON_SCHEMA:
            continue
        match key, value:
            case "type", str():
                made[key] = value.lower()
            case "type", int() if value in _TYPE_NUMBERS:
                made[key] = _TYPE_NUMBERS[value]
            case (("items" | "additionalProperties"), dict()):
                made[key] = json_schema(value)
            case (("anyOf" | "any_of"), list()):
                made["anyOf"] = [json_schema(v) if isinstance(v, dict) else v for v in value]
            case _, dict() if key in _SCHEMA_MAPS:
                made[key] = {
                    k: json_schema(v) if isinstance(v, dict) else v for k, v in value.items()
                }
            case _:
                made[key] = value
    if schema.get("nullable") is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made


def _read_choice(extra: dict[str, JSON], fields: dict[str, Any]) -> None:
    """Take what ``tool_choice`` can say out of ``toolConfig``; the rest stays in ``extra``."""
    if not isinstance(extra.get("toolConfig"), dict):
        return
    config = camel(extra["toolConfig"])
    calling = camel(as_mapping(config.get("functionCallingConfig")))
    choice: str | None = None
    match calling:
        case {"mode": "AUTO" | "NONE" as mode, **rest} if not rest:
            choice = mode.lower()
        case {"mode": "ANY", **rest} if not rest:
            choice = "required"
        case {"mode": "ANY", "allowedFunctionNames": [str(name)], **rest} if not rest:
            choice = name if name not in ("auto", "none", "required", "any") else None
    if choice is None:
        return
    fields["tool_choice"] = choice
    del config["functionCallingConfig"]
    extra["toolConfig"] = config
    if not config:
        del extra["toolConfig"]


# -- generationConfig ------------------------------------------------------------------------------


def _read_config(extra: dict[str, JSON], fields: dict[str, Any]) -> None:
    """Take what the vocabulary has words for out of ``generationConfig``."""
    if not isinstance(extra.get("generationConfig"), dict):
        return
    config = camel(extra["generationConfig"])
    for wire, ours in CONFIG_FIELDS:
        read = _READERS[ours](config.get(wire))
        if read is not None:
            fields[ours] = read
            del config[wire]
    stop = config.get("stopSequences")
    if isinstance(stop, list) and stop and all(isinstance(s, str) for s in stop):
        fields["stop"] = config.pop("stopSequences")
    _read_format(config, fields)
    if isinstance(config.get("thinkingConfig"), dict):
        thinking = camel(config["thinkingConfig"])
        _read_thinking(thinking, fields)
        config["thinkingConfig"] = thinking
        if not thinking:
            del config["thinkingConfig"]
    extra["generationConfig"] = config
    if not config:
        del extra["generationConfig"]


def _read_format(config: dict[str, JSON], fields: dict[str, Any]) -> None:
    match config.get("responseMimeType"):
        case "text/plain":
            fields["response_format"] = "text"
        case "application/json" if isinstance(config.get("responseJsonSchema"), dict):
            fields["json_schema"] = config.pop("responseJsonSchema")
            fields["response_format"] = "json_schema"
        case "application/json" if isinstance(config.get("responseSchema"), dict):
            fields["json_schema"] = json_schema(config["responseSchema"])
            fields["response_format"] = "json_schema"
        case "application/json":
            fields["response_format"] = "json_object"
        case _:
            return
    del config["responseMimeType"]


def _read_thinking(thinking: dict[str, JSON], fields: dict[str, Any]) -> None:
    level, budget = thinking.get("thinkingLevel"), as_count(thinking.get("thinkingBudget"))
    shown = as_bool(thinking.get("includeThoughts")) or False
    if isinstance(level, str) and level.lower() in LEVELS and budget is None:
        fields["reasoning_effort"] = level.lower()
        del thinking["thinkingLevel"]
        expected = True
    elif budget is not None and level is None:
        fields["reasoning_budget"] = budget
        del thinking["thinkingBudget"]
        expected = budget != 0
    else:
        return
    thinking.pop("includeThoughts", None)
    if shown != expected:  # what encode would say otherwise
        thinking["includeThoughts"] = shown
