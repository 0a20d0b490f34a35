"""Tools, tool choices and response schemas in LangChain's many forms."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from crux_integrations.langchain.tools import (
    bindable,
    one_at_a_time,
    response_format,
    to_tool_choice,
    to_tools,
)
from crux_providers.base.models import Tool


class Person(BaseModel):
    """A person."""

    name: str
    age: int | None = Field(None, description="in years")


class PersonDict(TypedDict):
    """A person."""

    name: str


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def subtract(a: int, b: int) -> int:
    """Subtract b from a."""
    return a - b


SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}


@pytest.mark.parametrize(
    ("given", "name", "description", "properties"),
    [
        (add, "add", "Add two numbers.", {"a", "b"}),
        (subtract, "subtract", "Subtract b from a.", {"a", "b"}),
        (Person, "Person", "A person.", {"name", "age"}),
        (PersonDict, "PersonDict", "A person.", {"name"}),
        ({"title": "ask", "description": "d", **SCHEMA}, "ask", "d", {"q"}),
        ({"name": "ask", "description": "d", "parameters": SCHEMA}, "ask", "d", {"q"}),
        ({"name": "ask", "description": "d", "input_schema": SCHEMA}, "ask", "d", {"q"}),
        (
            {"type": "custom", "name": "ask", "description": "d", "input_schema": SCHEMA},
            "ask", "d", {"q"},
        ),
        (
            {"type": "function", "name": "ask", "description": "d", "parameters": SCHEMA},
            "ask", "d", {"q"},
        ),
        (
            {"type": "function", "function": {"name": "ask", "description": "d",
                                              "parameters": SCHEMA}},
            "ask", "d", {"q"},
        ),
        (Tool("ask", "d", SCHEMA), "ask", "d", {"q"}),
    ],
)  # fmt: skip
def test_functions_in_every_form(
    given: Any, name: str, description: str, properties: set[str]
) -> None:
    (made,) = to_tools([bindable(given)])
    assert (made.name, made.description) == (name, description)
    assert set(made.parameters["properties"]) == properties
    assert made.raw is None
    assert made.extra is None
    (direct,) = to_tools([given])
    assert direct == made


def test_strict_closes_the_schema() -> None:
    (made,) = to_tools([bindable(subtract, strict=True)])
    assert made.strict is True
    assert made.parameters["additionalProperties"] is False


@pytest.mark.parametrize(
    ("given", "name", "dialect", "wire"),
    [
        ({"type": "web_search_20250305", "name": "web_search", "max_uses": 2}, "web_search",
         "anthropic_messages", None),
        ({"type": "mcp_toolset", "mcp_server_name": "x"}, "mcp_toolset",
         "anthropic_messages", None),
        ({"type": "web_search"}, "web_search", "openai_responses", None),
        ({"type": "web_search_preview_2025_03_11"}, "web_search_preview_2025_03_11",
         "openai_responses", None),
        ({"type": "code_interpreter", "container": {"type": "auto"}}, "code_interpreter",
         "openai_responses", None),
        ({"type": "custom", "name": "sql", "format": {"type": "text"}}, "sql",
         "openai_responses", None),
        ({"google_search": {}}, "googleSearch", "gemini_generate", {"googleSearch": {}}),
        ({"codeExecution": {}}, "codeExecution", "gemini_generate", {"codeExecution": {}}),
    ],
)  # fmt: skip
def test_server_tools_go_to_their_provider_as_they_stand(
    given: dict[str, Any], name: str, dialect: str, wire: dict[str, Any] | None
) -> None:
    bound = bindable(given)
    assert bound == given
    assert to_tools([bound]) == [Tool(name, raw=wire or given, dialect=dialect)]


def test_a_tool_of_ones_own_wire_form() -> None:
    own = Tool("x", raw={"type": "hologram"}, dialect="openai_chat")
    assert to_tools([own]) == [own]
    with pytest.raises(ValueError, match="hologram"):
        bindable({"type": "hologram"})


def test_cache_control_stays_with_anthropic() -> None:
    given = {"name": "ask", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}
    (made,) = to_tools([bindable(given)])
    assert made.extra == {"cache_control": {"type": "ephemeral"}}
    assert made.dialect == "anthropic_messages"
    extended = add.model_copy(update={"extras": {"defer_loading": True}})
    (made,) = to_tools([bindable(extended)])
    assert made.extra == {"defer_loading": True}


@pytest.mark.parametrize("given", [{"parameters": {}}, 7, {"type": "object"}])
def test_what_is_no_tool_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        bindable(given)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, None),
        (False, None),
        (True, "required"),
        ("any", "required"),
        ("required", "required"),
        ("auto", "auto"),
        ("none", "none"),
        ("add", "add"),
        ({"type": "function", "function": {"name": "add"}}, "add"),
        ({"type": "function", "name": "add"}, "add"),
        ({"type": "tool", "name": "add"}, "add"),
        ({"type": "any"}, "required"),
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
    ],
)
def test_tool_choices(given: Any, wanted: str | None) -> None:
    assert to_tool_choice(given, ["add"]) == wanted
    assert to_tool_choice(to_tool_choice(given, ["add"])) == wanted


def test_a_choice_of_no_tool_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'sub' is none of the tools: add"):
        to_tool_choice("sub", ["add"])
    with pytest.raises(ValueError, match="no word"):
        to_tool_choice(3.5)
    assert to_tool_choice("any", ["any"]) == "any"


def test_one_call_at_a_time() -> None:
    assert one_at_a_time({"type": "auto", "disable_parallel_tool_use": True}) is False
    assert one_at_a_time("any") is None


def test_response_formats() -> None:
    wrapped = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    assert response_format("json_object") == {"type": "json_object"}
    assert response_format(wrapped) == wrapped
    assert response_format({"name": "x", "schema": SCHEMA}) == wrapped
    assert response_format({"title": "x", **SCHEMA})["json_schema"]["name"] == "x"
    assert response_format(SCHEMA)["json_schema"] == {"name": "answer", "schema": SCHEMA}
    made = response_format(Person)["json_schema"]
    assert (made["name"], set(made["schema"]["properties"])) == ("Person", {"name", "age"})
    assert "strict" not in made


def test_a_strict_schema_is_closed_all_the_way_down() -> None:
    class Family(BaseModel):
        members: list[Person]
        default: str = "a property may be called so"

    made = response_format(Family, strict=True)["json_schema"]
    assert made["strict"] is True
    schema = made["schema"]
    assert schema["required"] == ["members", "default"]
    assert schema["additionalProperties"] is False
    assert "default" not in schema["properties"]["default"]
    inner = schema["properties"]["members"]["items"]
    inner = schema["$defs"]["Person"] if "$ref" in inner else inner
    assert inner["required"] == ["name", "age"]
    assert inner["additionalProperties"] is False


def test_a_schemas_name_is_one_that_providers_accept() -> None:
    made = response_format({"title": "Äpfel und [Birnen]", **SCHEMA})
    assert made["json_schema"]["name"] == "_pfel_und_Birnen_"
