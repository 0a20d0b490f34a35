"""Anthropic's messages."""

from __future__ import annotations

import json
from typing import Any

from . import (
    AS_JSON,
    CAPITAL,
    CITY_SCHEMA,
    JSON,
    ONE_CITY,
    PICTURE,
    PUZZLE,
    RED_PNG,
    RESULTS,
    TOO_LONG,
    TWO_CITIES,
    WEATHER,
    WEATHER_SCHEMA,
    Call,
    Scenario,
    events,
)

PATH = "/v1/messages"
VERSION = {"anthropic-version": "2023-06-01"}
TOOLS = [{"name": "get_weather", "description": WEATHER, "input_schema": WEATHER_SCHEMA}]


def ask(content: Any, model: str = "smollm2-135m", **more: Any) -> JSON:
    """A body with one user message."""
    body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 128}
    return body | {"temperature": 0} | more


def text(call: Call) -> None:
    call(PATH, ask(CAPITAL, system="You are terse."), VERSION)


def text_stream(call: Call) -> None:
    call(PATH, ask(CAPITAL, stream=True), VERSION)


def length(call: Call) -> None:
    call(PATH, ask("Count from one to thirty.", max_tokens=12), VERSION)
    call(PATH, ask("Count from one to thirty.", max_tokens=12, stream=True), VERSION)


def stop_word(call: Call) -> None:
    call(PATH, ask(CAPITAL, stop_sequences=["Paris"]), VERSION)


def count_tokens(call: Call) -> None:
    body = {"model": "smollm2-135m", "messages": [{"role": "user", "content": CAPITAL}]}
    call("/v1/messages/count_tokens", body, VERSION)


def _blocks(answer: bytes, streamed: bool) -> list[JSON]:
    if not streamed:
        return json.loads(answer)["content"]
    blocks: dict[int, JSON] = {}
    pieces: dict[int, str] = {}
    for event in events(answer):
        match event["type"]:
            case "content_block_start":
                blocks[event["index"]] = event["content_block"]
            case "content_block_delta":
                delta = event["delta"]
                piece = delta.get("partial_json") or delta.get("text") or ""
                pieces[event["index"]] = pieces.get(event["index"], "") + piece
    for index, block in blocks.items():
        if block["type"] == "tool_use":
            block["input"] = json.loads(pieces.get(index) or "{}")
        else:
            block["text"] = pieces.get(index, "")
    return list(blocks.values())


def _loop(call: Call, question: str, model: str = "smollm2-135m", **more: Any) -> None:
    streamed = bool(more.get("stream"))
    messages: list[JSON] = [{"role": "user", "content": question}]
    body = ask(question, model, messages=messages, tools=TOOLS, **more)
    blocks = _blocks(call(PATH, body, VERSION), streamed)
    messages.append({"role": "assistant", "content": blocks})
    results = [
        {
            "type": "tool_result",
            "tool_use_id": block["id"],
            "content": RESULTS[block["input"]["city"]],
        }
        for block in blocks
        if block["type"] == "tool_use"
    ]
    messages.append({"role": "user", "content": results})
    call(PATH, ask(question, model, messages=messages, tools=TOOLS, **more), VERSION)


def tools(call: Call) -> None:
    _loop(call, ONE_CITY)


def tools_stream(call: Call) -> None:
    _loop(call, ONE_CITY, stream=True)


def parallel_tools(call: Call) -> None:
    _loop(call, TWO_CITIES)


def parallel_tools_stream(call: Call) -> None:
    _loop(call, TWO_CITIES, stream=True)


def tool_required(call: Call) -> None:
    call(PATH, ask(ONE_CITY, tools=TOOLS, tool_choice={"type": "any"}), VERSION)


def forced_tool(call: Call) -> None:
    choice = {"type": "tool", "name": "get_weather"}
    body = ask(ONE_CITY, "claude-sonnet-4-5", tools=TOOLS, tool_choice=choice)
    call(PATH, body, VERSION)


def front_stream(call: Call) -> None:
    call(PATH, ask(CAPITAL, "claude-sonnet-4-5", stream=True), VERSION)


def error_401(call: Call) -> None:
    call(PATH, ask(CAPITAL), VERSION)


def error_context(call: Call) -> None:
    call(PATH, ask(TOO_LONG), VERSION)


def error_429_front(call: Call) -> None:
    call(PATH, ask(CAPITAL, "mock-429"), VERSION)


def image(call: Call) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": RED_PNG}
    content = [{"type": "image", "source": source}, {"type": "text", "text": PICTURE}]
    call(PATH, ask(content, "claude-haiku-4-5"), VERSION)


def json_schema(call: Call) -> None:
    config = {"format": {"type": "json_schema", "schema": CITY_SCHEMA}}
    call(PATH, ask(AS_JSON, "claude-haiku-4-5", output_config=config), VERSION)
    call(PATH, ask(AS_JSON, "claude-haiku-4-5", output_config=config, stream=True), VERSION)


def reasoning(call: Call) -> None:
    for stream in ({}, {"stream": True}):
        body = ask(PUZZLE, "claude-haiku-4-5", max_tokens=2048, **stream)
        del body["temperature"]  # not allowed beside thinking
        call(PATH, body | {"thinking": {"type": "enabled", "budget_tokens": 1024}}, VERSION)


def errors(call: Call) -> None:
    for question in ("error 401", "error 404", "error 429", "error 500", "error 529"):
        call(PATH, ask(question, "claude-haiku-4-5"), VERSION)


def error_529_stream(call: Call) -> None:
    call(PATH, ask("error 529", "claude-haiku-4-5", stream=True), VERSION)


SCENARIOS = [
    *(
        Scenario(f"anthropic_messages/{run.__name__}", "llamacpp", run)
        for run in (text, text_stream, length, stop_word, count_tokens, error_context)
    ),
    *(
        Scenario(f"anthropic_messages/{run.__name__}", "llamacpp_tools", run)
        for run in (tools, tools_stream, parallel_tools, parallel_tools_stream, tool_required)
    ),
    Scenario("anthropic_messages/error_401", "llamacpp_key", error_401),
    *(
        Scenario(f"anthropic_messages/{run.__name__}", "litellm", run)
        for run in (forced_tool, front_stream)
    ),
    *(
        Scenario(f"emulated/anthropic_messages/{run.__name__}", "aimock", run)
        for run in (image, json_schema, reasoning, errors, error_529_stream)
    ),
    Scenario("emulated/anthropic_messages/error_429_front", "litellm", error_429_front),
]
