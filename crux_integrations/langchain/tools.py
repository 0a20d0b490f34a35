"""Tools, tool choices and response schemas: LangChain's many forms as the library's one.

What is bound to a model stays plain JSON in OpenAI's form, which LangChain's traces and caches
understand; :func:`to_tools` reads it for the request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.utils.function_calling import convert_to_openai_tool

from crux_providers.base.models import Tool

from .blocks import ANTHROPIC, GEMINI, RESPONSES

_ANTHROPIC_TYPE = re.compile(r"[a-z_]+_\d{8}\Z|mcp_toolset\Z")
"""Anthropic dates its server tools (``web_search_20250305``):
platform.claude.com/docs/en/agents-and-tools/tool-use/overview (2026-11)."""

_RESPONSES_TYPE = re.compile(
    r"(?:apply_patch|code_interpreter|computer|custom|file_search|image_generation|local_shell|mcp"
    r"|namespace|shell|tool_search|web_search)(?:_[a-z0-9_]+)?\Z"
)
"""OpenAI's hosted tools: platform.openai.com/docs/guides/tools (2026-11)."""

_GEMINI_KEYS: Mapping[str, str] = {
    "code_execution": "codeExecution",
    "computer_use": "computerUse",
    "file_search": "fileSearch",
    "google_maps": "googleMaps",
    "google_search": "googleSearch",
    "google_search_retrieval": "googleSearchRetrieval",
    "url_context": "urlContext",
}
"""Gemini's own tools are mappings with one key: ai.google.dev/gemini-api/docs/tools (2026-11)."""
_GEMINI_WIRE = frozenset(_GEMINI_KEYS.values())

_CHOICES: Mapping[str, str] = {
    "auto": "auto",
    "none": "none",
    "any": "required",
    "required": "required",
}


# -- tools ----------------------------------------------------------------------------------------


def bindable(tool: Any, *, strict: bool | None = None) -> dict[str, Any]:
    """One tool as JSON to bind: OpenAI's form, a provider's own server tool as it stands.

    Takes a LangChain tool, a pydantic or TypedDict class, a callable, a :class:`Tool`, a JSON
    Schema with a title, and OpenAI's, Anthropic's and Bedrock's forms. Raises ValueError for
    anything else.
    """
    if isinstance(tool, Tool):
        return dict(tool.raw) if tool.raw is not None else _from_tool(tool, strict)
    if isinstance(tool, Mapping) and _server_dialect(tool) is not None:
        return dict(tool)
    made = convert_to_openai_tool(tool, strict=strict)
    beside = _beside(tool)
    if beside and isinstance(made.get("function"), dict):
        made = {**made, "function": {**made["function"], **beside}}
    return made


def _beside(tool: Any) -> dict[str, Any]:
    """Provider fields beside a tool's description: of Anthropic's form or a LangChain tool."""
    if isinstance(tool, Mapping):
        if "input_schema" not in tool:
            return {}
        known = ("name", "description", "input_schema", "type", "strict")
        return {k: v for k, v in tool.items() if k not in known}
    extras = getattr(tool, "extras", None)
    return dict(extras) if isinstance(extras, dict) else {}


def _from_tool(tool: Tool, strict: bool | None) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = dict(tool.parameters)
    wanted = tool.strict if strict is None else strict
    if wanted is not None:
        function["strict"] = wanted
    function.update(tool.extra or {})
    return {"type": "function", "function": function}


def to_tools(tools: Iterable[Any]) -> list[Tool]:
    """Bound tools (and any other form :func:`bindable` takes) for the request."""
    return [_to_tool(tool) for tool in tools]


def _to_tool(tool: Any) -> Tool:
    if isinstance(tool, Tool):
        return tool
    if not isinstance(tool, Mapping):
        tool = bindable(tool)
    dialect = _server_dialect(tool)
    if dialect is not None:
        return Tool(_server_name(tool), raw=_server_wire(tool, dialect), dialect=dialect)
    if tool.get("type") != "function":
        tool = bindable(tool)
        dialect = _server_dialect(tool)
        if dialect is not None:  # a LangChain tool that is an OpenAI custom tool
            return Tool(_server_name(tool), raw=tool, dialect=dialect)
    made = Tool.parse(tool)
    # What OpenAI's function form has no place for came from an Anthropic tool.
    return replace(made, dialect=ANTHROPIC) if made.extra else made


def _server_dialect(tool: Mapping[str, Any]) -> str | None:
    """The dialect of a tool that the provider runs itself, None for a function of the caller's."""
    kind = tool.get("type")
    if kind is None:
        return GEMINI if len(tool) == 1 and _gemini_key(tool) is not None else None
    if not isinstance(kind, str) or kind == "function" or "input_schema" in tool:
        return None
    if _ANTHROPIC_TYPE.match(kind):
        return ANTHROPIC
    if _RESPONSES_TYPE.match(kind):
        return RESPONSES
    if "properties" in tool or "title" in tool or "parameters" in tool:
        return None  # a JSON Schema, whose type is "object"
    raise ValueError(
        f"a tool of type {kind!r} is not known: pass Tool(name, raw={{...}}, dialect='...')"
    )


def _gemini_key(tool: Mapping[str, Any]) -> str | None:
    key = next(iter(tool))
    return _GEMINI_KEYS.get(key) or (key if key in _GEMINI_WIRE else None)


def _server_name(tool: Mapping[str, Any]) -> str:
    name = tool.get("name") or tool.get("type") or _gemini_key(tool)
    return str(name)


def _server_wire(tool: Mapping[str, Any], dialect: str) -> dict[str, Any]:
    if dialect != GEMINI:
        return dict(tool)
    key = _gemini_key(tool) or ""
    return {key: next(iter(tool.values()))}


def tool_name(tool: Mapping[str, Any]) -> str | None:
    """The name a bound tool is called by."""
    inner = tool.get("function", tool)
    name = inner.get("name") if isinstance(inner, Mapping) else None
    return name if isinstance(name, str) else None


# -- tool choice ----------------------------------------------------------------------------------


def to_tool_choice(choice: Any, names: Sequence[str | None] = ()) -> str | None:
    """``auto``, ``none``, ``required`` or a tool's name; None where nothing was chosen.

    Takes the words (``any`` is ``required``), True, False, and OpenAI's and Anthropic's mappings.
    Raises ValueError for a name that is none of ``names``, where there are any.
    """
    match choice:
        case None | False:
            return None
        case True:
            return "required"
        case str(word) if word in names:
            return word
        case str(word) if word in _CHOICES:
            return _CHOICES[word]
        case {"function": {"name": str(word)}} | {"name": str(word)}:
            pass
        case {"type": str(word)} if word in _CHOICES:
            return _CHOICES[word]
        case {"type": str(word)}:
            pass
        case str(word):
            pass
        case _:
            raise ValueError(f"tool_choice {choice!r} is no word, name or mapping")
    if names and word not in names:
        known = ", ".join(n for n in names if n)
        raise ValueError(f"tool_choice {word!r} is none of the tools: {known}")
    return word


def one_at_a_time(choice: Any) -> bool | None:
    """``parallel_tool_calls`` as Anthropic's mapping says it, None where it does not."""
    if isinstance(choice, Mapping) and "disable_parallel_tool_use" in choice:
        return not choice["disable_parallel_tool_use"]
    return None


# -- response schemas -----------------------------------------------------------------------------

_NAME = re.compile(r"[^A-Za-z0-9_-]+")


def response_format(schema: Any, *, strict: bool | None = None) -> dict[str, Any]:
    """``schema`` as OpenAI's ``response_format``.

    Takes ``text``, ``json_object``, that form itself, a pydantic or TypedDict class, a JSON
    Schema, and OpenAI's function form. ``strict`` also closes every object and requires all of its
    properties, as strict decoding wants it.
    """
    if isinstance(schema, str):
        return {"type": schema}
    if isinstance(schema, Mapping):
        kind = schema.get("type")
        if kind in ("text", "json_object"):
            return dict(schema)
        if kind == "json_schema" and isinstance(schema.get("json_schema"), Mapping):
            return dict(schema)
        if isinstance(schema.get("schema"), Mapping):  # the inside of OpenAI's wrapper
            return {"type": "json_schema", "json_schema": dict(schema)}
    name, parameters = name_and_schema(schema)
    wrapper: dict[str, Any] = {"name": name, "schema": parameters}
    if strict is not None:
        wrapper["strict"] = strict
    if strict:
        wrapper["schema"] = _closed(parameters)
    return {"type": "json_schema", "json_schema": wrapper}


def name_and_schema(schema: Any) -> tuple[str, dict[str, Any]]:
    """A name the providers accept, and the JSON Schema of ``schema``, untitled ones included."""
    if isinstance(schema, Mapping) and not {"name", "title", "function"} & set(schema):
        return "answer", dict(schema)
    function = convert_to_openai_tool(schema)["function"]
    parameters = dict(function.get("parameters") or {"type": "object", "properties": {}})
    if function.get("description") and "description" not in parameters:
        parameters["description"] = function["description"]
    return _NAME.sub("_", function["name"])[:64], parameters


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions") and isinstance(value, Mapping):
            made[key] = {name: _closed(inner) for name, inner in value.items()}
        elif key in ("items", "anyOf", "allOf", "oneOf", "prefixItems"):
            made[key] = _closed(value)
        elif key != "default":
            made[key] = value
    if isinstance(made.get("properties"), Mapping):
        made["required"] = list(made["properties"])
        made["additionalProperties"] = False
    return made
