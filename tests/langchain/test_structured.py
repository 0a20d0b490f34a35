"""Structured output: what is asked for, and what becomes of the answer."""

from __future__ import annotations

import json
from typing import Any, TypedDict

import pydantic.v1
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel

from crux_integrations import ChatCrux
from crux_providers.base.events import ChatStreamEvent
from tests.langchain.scripted_router import ScriptedRouter, calls, text


class Person(BaseModel):
    """A person."""

    name: str
    age: int


class OldPerson(pydantic.v1.BaseModel):
    """A person."""

    name: str
    age: int


class PersonDict(TypedDict):
    """A person."""

    name: str
    age: int


ANN = {"name": "Ann", "age": 5}
UNTITLED = {"type": "object", "properties": {"name": {"type": "string"}}}
ANSWER = text(*[json.dumps(ANN)[i : i + 5] for i in range(0, 25, 5)])


def model(*answers: Any) -> tuple[ChatCrux, ScriptedRouter]:
    router = ScriptedRouter(*answers)
    return ChatCrux(routes=router), router


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        (Person, Person(**ANN)),
        (OldPerson, OldPerson(**ANN)),
        (PersonDict, ANN),
        (Person.model_json_schema(), ANN),
        (UNTITLED, ANN),
    ],
    ids=["pydantic", "pydantic.v1", "typeddict", "json_schema", "untitled"],
)
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
async def test_every_schema_by_every_method(schema: Any, wanted: Any, method: Any) -> None:
    if method == "function_calling" and schema is UNTITLED:
        pytest.skip("a function needs a name")
    name = "Person" if isinstance(schema, dict) else getattr(schema, "__name__", "")
    answer = calls(("c1", name, ANN)) if method == "function_calling" else ANSWER
    llm, router = model(answer)
    asked = llm.with_structured_output(schema, method=method)
    assert asked.invoke("x") == wanted
    assert await asked.ainvoke("x") == wanted
    *_, last = asked.stream("x")
    assert last == wanted
    request = router.asked[0][0]
    if method == "function_calling":
        assert (request.tools[0].name, request.tool_choice) == (name, "required")
    elif method == "json_mode":
        assert (request.response_format, request.json_schema) == ("json_object", None)
    else:
        assert request.response_format == "json_schema"
        assert set(request.json_schema["properties"]) >= {"name"}
        assert request.schema_strict is None


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_strict(method: Any) -> None:
    answer = calls(("c1", "Person", ANN)) if method == "function_calling" else ANSWER
    llm, router = model(answer)
    llm.with_structured_output(Person, method=method, strict=True).invoke("x")
    request = router.asked[0][0]
    if method == "json_schema":
        assert request.schema_strict is True
        assert request.json_schema["additionalProperties"] is False
    else:
        assert request.tools[0].strict is True


def test_include_raw() -> None:
    llm, _ = model(ANSWER)
    found = llm.with_structured_output(Person, include_raw=True).invoke("x")
    assert isinstance(found, dict)
    assert isinstance(found["raw"], AIMessage)
    assert (found["parsed"], found["parsing_error"]) == (Person(**ANN), None)
    llm, _ = model(text("no json"))
    found = llm.with_structured_output(Person, include_raw=True).invoke("x")
    assert isinstance(found, dict)
    assert found["parsed"] is None
    assert isinstance(found["parsing_error"], OutputParserException)


def test_an_answer_that_was_cut_short_is_no_success() -> None:
    cut = text('{"name": "Ann", "ag', finish="length")
    for schema in (Person, PersonDict):
        llm, _ = model(cut)
        with pytest.raises(OutputParserException, match="no JSON"):
            llm.with_structured_output(schema).invoke("x")


def test_an_answer_of_another_form_is_no_success() -> None:
    llm, _ = model(text('{"name": "Ann"}'))
    with pytest.raises(OutputParserException, match="age"):
        llm.with_structured_output(Person).invoke("x")


def test_json_in_a_fence() -> None:
    llm, _ = model(text(f"Here it is:\n```json\n{json.dumps(ANN)}\n```\n"))
    assert llm.with_structured_output(PersonDict, method="json_mode").invoke("x") == ANN
    tricky = {"name": "```json\nx\n```", "age": 1}
    llm, _ = model(text(json.dumps(tricky)))
    assert llm.with_structured_output(PersonDict).invoke("x") == tricky


async def test_a_refusal_is_said() -> None:
    refusal = [ChatStreamEvent(refusal="I will not"), ChatStreamEvent(finish_reason="stop")]
    llm, _ = model(refusal)
    asked = llm.with_structured_output(Person)
    with pytest.raises(OutputParserException, match="refused: I will not"):
        asked.invoke("x")
    with pytest.raises(OutputParserException, match="refused"):
        list(asked.stream("x"))


def test_tools_before_the_answer() -> None:
    tool = {"name": "look", "parameters": {"type": "object", "properties": {}}}
    llm, router = model(calls(("c1", "look", {})))
    asked = llm.with_structured_output(Person, tools=[tool], include_raw=True)
    found = asked.invoke("x")
    assert isinstance(found, dict)
    assert (found["parsed"], found["parsing_error"]) == (None, None)
    assert found["raw"].tool_calls[0]["name"] == "look"
    request = router.asked[0][0]
    assert (request.tools[0].name, request.response_format) == ("look", "json_schema")


class Options(BaseCallbackHandler):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append(kwargs["options"])


@pytest.mark.parametrize("schema", [Person, PersonDict, Person.model_json_schema()])
def test_tracers_are_told_the_schema(schema: Any) -> None:
    llm, router = model(ANSWER)
    for verb in ("invoke", "stream"):
        handler = Options()
        list(getattr(llm.with_structured_output(schema), verb)("x", {"callbacks": [handler]}))
        (options,) = handler.seen
        told = options["ls_structured_output_format"]
        assert told["schema"] == convert_to_json_schema(schema)
        assert told["kwargs"]["method"] == "json_schema"
    assert all(not request.extra for request, _, _ in router.asked)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"schema": Person, "method": "magic"}, "magic"),
        ({"schema": None}, "needs a schema"),
        ({"schema": Person, "method": "json_mode", "strict": True}, "strict"),
        ({"schema": Person, "methd": "json_mode"}, "methd"),
        ({"schema": Person, "method": "function_calling", "tools": [Person]}, "tools"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], says: str) -> None:
    llm, _ = model()
    with pytest.raises(ValueError, match=says):
        llm.with_structured_output(**arguments)


def test_json_mode_needs_no_schema() -> None:
    llm, _ = model(ANSWER)
    assert llm.with_structured_output(None, method="json_mode").invoke("x") == ANN
