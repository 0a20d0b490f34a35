"""Structured output: the runnable that asks for a schema and reads the answer by it."""

from __future__ import annotations

import json
import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from langchain_core.exceptions import OutputParserException
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from .answers import REFUSAL
from .tools import name_and_schema, response_format, tool_name

if TYPE_CHECKING:
    from .chat_model import ChatCrux

METHODS: tuple[str, ...] = ("json_schema", "function_calling", "json_mode")


def structured(
    llm: ChatCrux,
    schema: Any,
    *,
    method: str,
    include_raw: bool,
    strict: bool | None,
    tools: list[Any] | None,
) -> Runnable[Any, Any]:
    """``llm`` bound to answer by ``schema``, and a parser after it; see ChatCrux's method."""
    if method not in METHODS:
        raise ValueError(f"method {method!r} is not one of {', '.join(METHODS)}")
    if schema is None and method != "json_mode":
        raise ValueError(f"method {method!r} needs a schema")
    if strict is not None and method == "json_mode":
        raise ValueError("json_mode enforces no schema, so it takes no strict")
    if tools and method == "function_calling":
        raise ValueError("tools go with method json_schema or json_mode; bind them otherwise")
    is_model = isinstance(schema, type) and is_basemodel_subclass(schema)
    traced: dict[str, Any] = {}
    if schema is not None:
        traced["ls_structured_output_format"] = _traced(schema, method, strict)
    parser: Runnable[Any, Any]
    if method == "function_calling":
        name = tool_name(convert_to_openai_tool(schema))
        # `any`, not the name: with one tool it says the same, and more providers know it.
        asked = llm.bind_tools([schema], tool_choice="any", strict=strict, **traced)
        parser = (
            PydanticToolsParser(tools=[schema], first_tool_only=True)
            if is_model
            else JsonOutputKeyToolsParser(key_name=name or "", first_tool_only=True)
        )
    else:
        wanted = (
            {"type": "json_object"}
            if method == "json_mode"
            else response_format(schema, strict=strict)
        )
        asked = (
            llm.bind_tools(tools, response_format=wanted, **traced)
            if tools
            else llm.bind(response_format=wanted, **traced)
        )
        parser = _ModelAnswer(pydantic_object=schema) if is_model else _JsonAnswer()
    if not include_raw:
        return asked | parser
    parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=asked) | parsed.with_fallbacks([failed], exception_key="parsing_error")


def _traced(schema: Any, method: str, strict: bool | None) -> dict[str, Any]:
    """What LangChain's tracers are told; the schema in a form that is cheap to read each call."""
    kwargs: dict[str, Any] = {"method": method}
    if strict is not None:
        kwargs["strict"] = strict
    try:
        told = convert_to_openai_tool(schema)
    except ValueError:  # a JSON Schema without a title
        name, parameters = name_and_schema(schema)
        told = {"type": "function", "function": {"name": name, "parameters": parameters}}
    return {"kwargs": kwargs, "schema": told}


_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)\n?\s*```", re.DOTALL)


def _only_calls(result: list[Generation]) -> bool:
    """Whether the answer calls tools and says nothing else; raises where the model refused."""
    generation = result[0] if result else None
    if not isinstance(generation, ChatGeneration) or generation.text.strip():
        return False
    refusal = generation.message.additional_kwargs.get(REFUSAL)
    if isinstance(refusal, str) and refusal:
        raise OutputParserException(f"the model refused: {refusal}", llm_output=refusal)
    return bool(getattr(generation.message, "tool_calls", None))


def _whole(result: list[Generation]) -> Any:
    """The JSON of a finished answer. LangChain's own parsers would mend one that was cut short."""
    text = result[0].text.strip()
    fenced = None if text.startswith(("{", "[")) else _FENCED.search(text)
    try:
        # Raw newlines inside strings pass.
        return json.loads(fenced.group(1) if fenced else text, strict=False)
    except ValueError as error:
        raise OutputParserException(
            f"the answer is no JSON: {error}: {text}", llm_output=text
        ) from error


class _JsonAnswer(JsonOutputParser):
    """JSON of the answer's text; a refusal raises, a message with calls alone gives None."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        if _only_calls(result):
            return None
        return super().parse_result(result, partial=True) if partial else _whole(result)


class _ModelAnswer(PydanticOutputParser[Any]):
    """The same, as an instance of a pydantic class."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        if _only_calls(result):
            return None
        if partial:
            return super().parse_result(result, partial=True)
        return self._parse_obj(_whole(result))
