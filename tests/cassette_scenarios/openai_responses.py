"""OpenAI's responses."""

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

PATH = "/v1/responses"
TOOLS = [
    {
        "type": "function",
        "name": "get_weather",
        "description": WEATHER,
        "parameters": WEATHER_SCHEMA,
        "strict": False,
    }
]
FORMAT = {"format": {"type": "json_schema", "name": "city", "schema": CITY_SCHEMA, "strict": True}}


def ask(content: Any, model: str = "smollm2-135m", **more: Any) -> JSON:
    """A body with one user message."""
    body = {"model": model, "input": [{"role": "user", "content": content}]}
    return body | {"max_output_tokens": 128, "temperature": 0} | more


def text(call: Call) -> None:
    call(PATH, ask(CAPITAL, instructions="You are terse."))


def text_stream(call: Call) -> None:
    call(PATH, ask(CAPITAL, stream=True))


def _loop(call: Call, question: str, model: str = "smollm2-135m", **more: Any) -> None:
    more |= {"tools": TOOLS}
    items: list[JSON] = [{"role": "user", "content": question}]
    answer = call(PATH, ask(question, model, input=items, **more))
    whole = events(answer)[-1]["response"] if more.get("stream") else json.loads(answer)
    for item in whole["output"]:
        items.append(item)
        if item["type"] == "function_call":
            city = json.loads(item["arguments"])["city"]
            result = {"type": "function_call_output", "call_id": item["call_id"]}
            items.append(result | {"output": RESULTS[city]})
    call(PATH, ask(question, model, input=items, **more))


def tools(call: Call) -> None:
    _loop(call, ONE_CITY)


def tools_stream(call: Call) -> None:
    _loop(call, ONE_CITY, stream=True)


def parallel_tools(call: Call) -> None:
    _loop(call, TWO_CITIES)


def parallel_tools_stream(call: Call) -> None:
    _loop(call, TWO_CITIES, stream=True)


def error_401(call: Call) -> None:
    call(PATH, ask(CAPITAL))


def error_context(call: Call) -> None:
    call(PATH, ask(TOO_LONG))


def emulated_text_stream(call: Call) -> None:
    call(PATH, ask(CAPITAL, "gpt-5-mini", stream=True))


def emulated_tools_stream(call: Call) -> None:
    _loop(call, ONE_CITY, "gpt-5-mini", stream=True)


def json_schema(call: Call) -> None:
    call(PATH, ask(AS_JSON, "gpt-5-mini", text=FORMAT))
    call(PATH, ask(AS_JSON, "gpt-5-mini", text=FORMAT, stream=True))


def image(call: Call) -> None:
    url = f"data:image/png;base64,{RED_PNG}"
    parts = [{"type": "input_text", "text": PICTURE}, {"type": "input_image", "image_url": url}]
    call(PATH, ask(parts, "gpt-5-mini"))


def reasoning(call: Call) -> None:
    more = {"reasoning": {"effort": "low", "summary": "auto"}}
    call(PATH, ask(PUZZLE, "o3-mini", **more))
    call(PATH, ask(PUZZLE, "o3-mini", stream=True, **more))


def errors(call: Call) -> None:
    for question in ("error 401", "error 404", "error 400 context", "error 429", "error 500"):
        call(PATH, ask(question, "gpt-5-mini"))


SCENARIOS = [
    Scenario("openai_responses/text", "llamacpp", text),
    Scenario("openai_responses/text_stream", "llamacpp", text_stream),
    Scenario("openai_responses/error_context", "llamacpp", error_context),
    Scenario("openai_responses/error_401", "llamacpp_key", error_401),
    *(
        Scenario(f"openai_responses/{run.__name__}", "llamacpp_tools", run)
        for run in (tools, tools_stream, parallel_tools, parallel_tools_stream)
    ),
    Scenario("emulated/openai_responses/text_stream", "aimock", emulated_text_stream),
    Scenario("emulated/openai_responses/tools_stream", "aimock", emulated_tools_stream),
    *(
        Scenario(f"emulated/openai_responses/{run.__name__}", "aimock", run)
        for run in (json_schema, image, reasoning, errors)
    ),
]
