"""Ollama's native chat. Only the emulator speaks it here, and it gives thinking and errors another
shape than Ollama does, so neither is recorded."""

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
    RED_PNG,
    RESULTS,
    TWO_CITIES,
    Call,
    Scenario,
)
from .openai_chat import TOOLS

PATH = "/api/chat"


def ask(content: str, *, stream: bool = False, **more: Any) -> JSON:
    """A body with one user message. Ollama streams unless it is told not to."""
    body: JSON = {"model": "qwen3:8b", "messages": [{"role": "user", "content": content}]}
    return body | {"stream": stream, "options": {"temperature": 0, "num_predict": 128}} | more


def text(call: Call) -> None:
    call(PATH, ask(CAPITAL))


def text_stream(call: Call) -> None:
    call(PATH, ask(CAPITAL, stream=True))


def _loop(call: Call, question: str, stream: bool) -> None:
    messages: list[JSON] = [{"role": "user", "content": question}]
    answer = call(PATH, ask(question, stream=stream, messages=messages, tools=TOOLS))
    lines = [json.loads(line) for line in answer.decode().splitlines()]
    calls = [made for line in lines for made in line["message"].get("tool_calls", ())]
    messages.append({"role": "assistant", "content": "", "tool_calls": calls})
    for made in calls:
        result = RESULTS[made["function"]["arguments"]["city"]]
        messages.append({"role": "tool", "tool_name": "get_weather", "content": result})
    call(PATH, ask(question, stream=stream, messages=messages, tools=TOOLS))


def tools(call: Call) -> None:
    _loop(call, ONE_CITY, False)


def tools_stream(call: Call) -> None:
    _loop(call, ONE_CITY, True)


def parallel_tools_stream(call: Call) -> None:
    _loop(call, TWO_CITIES, True)


def json_schema(call: Call) -> None:
    call(PATH, ask(AS_JSON, format=CITY_SCHEMA))
    call(PATH, ask(AS_JSON, stream=True, format=CITY_SCHEMA))


def image(call: Call) -> None:
    message = {"role": "user", "content": PICTURE, "images": [RED_PNG]}
    call(PATH, ask(PICTURE, messages=[message]))


SCENARIOS = [
    Scenario(f"emulated/ollama_chat/{run.__name__}", "aimock", run)
    for run in (text, text_stream, tools, tools_stream, parallel_tools_stream, json_schema, image)
]
