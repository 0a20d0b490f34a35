"""OpenAI's chat completions."""

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

PATH = "/v1/chat/completions"
STREAM: JSON = {"stream": True, "stream_options": {"include_usage": True}}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": WEATHER,
            "parameters": WEATHER_SCHEMA,
        },
    }
]
FORCED = {"type": "function", "function": {"name": "get_weather"}}
FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "city", "schema": CITY_SCHEMA, "strict": True},
}


def ask(content: Any, model: str = "smollm2-135m", **more: Any) -> JSON:
    """A body with one user message."""
    body = {"model": model, "messages": [{"role": "user", "content": content}]}
    return body | {"max_tokens": 128, "temperature": 0} | more


def text(call: Call) -> None:
    messages = [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": CAPITAL},
    ]
    call(PATH, ask(CAPITAL, messages=messages))


def text_stream(call: Call) -> None:
    call(PATH, ask(CAPITAL, **STREAM))


def two_choices(call: Call) -> None:
    call(PATH, ask("Say hello.", n=2, max_tokens=12, temperature=1.0, seed=7))


def length(call: Call) -> None:
    call(PATH, ask("Count from one to thirty.", max_tokens=12))
    call(PATH, ask("Count from one to thirty.", max_tokens=12, **STREAM))


def stop_word(call: Call) -> None:
    call(PATH, ask(CAPITAL, stop=["Paris"]))


def logprobs(call: Call) -> None:
    call(PATH, ask("Say hello.", max_tokens=4, logprobs=True, top_logprobs=2))
    call(PATH, ask("Say hello.", max_tokens=4, logprobs=True, top_logprobs=2, **STREAM))


def json_schema(call: Call) -> None:
    call(PATH, ask(AS_JSON, response_format=FORMAT))
    call(PATH, ask(AS_JSON, response_format=FORMAT, **STREAM))


def json_object(call: Call) -> None:
    call(PATH, ask("Answer in JSON: 2 + 2", response_format={"type": "json_object"}, max_tokens=64))


def _calls(answer: bytes, streamed: bool) -> list[JSON]:
    if not streamed:
        return json.loads(answer)["choices"][0]["message"]["tool_calls"]
    calls: dict[int, JSON] = {}
    for event in events(answer):
        for choice in event["choices"]:
            for piece in choice["delta"].get("tool_calls") or ():
                made = calls.setdefault(
                    piece["index"],
                    {"id": piece.get("id"), "type": "function"}
                    | {"function": {"name": piece["function"].get("name"), "arguments": ""}},
                )
                made["function"]["arguments"] += piece["function"].get("arguments") or ""
    return [calls[index] for index in sorted(calls)]


def _loop(call: Call, question: str, streamed: bool, **more: Any) -> None:
    more |= {"tools": TOOLS} | (STREAM if streamed else {})
    messages: list[JSON] = [{"role": "user", "content": question}]
    calls = _calls(call(PATH, ask(question, messages=messages, **more)), streamed)
    messages.append({"role": "assistant", "content": None, "tool_calls": calls})
    for made in calls:
        city = json.loads(made["function"]["arguments"])["city"]
        messages.append({"role": "tool", "tool_call_id": made["id"], "content": RESULTS[city]})
    call(PATH, ask(question, messages=messages, **more))


def tools(call: Call) -> None:
    _loop(call, ONE_CITY, False)


def tools_stream(call: Call) -> None:
    _loop(call, ONE_CITY, True)


def parallel_tools(call: Call) -> None:
    _loop(call, TWO_CITIES, False, parallel_tool_calls=True)


def parallel_tools_stream(call: Call) -> None:
    _loop(call, TWO_CITIES, True, parallel_tool_calls=True)


def tool_required(call: Call) -> None:
    call(PATH, ask(ONE_CITY, tools=TOOLS, tool_choice="required"))


def forced_tool(call: Call) -> None:
    call(PATH, ask(ONE_CITY, tools=TOOLS, tool_choice=FORCED))
    call(PATH, ask(ONE_CITY, tools=TOOLS, tool_choice=FORCED, **STREAM))


def error_401(call: Call) -> None:
    call(PATH, ask(CAPITAL))


def error_context(call: Call) -> None:
    call(PATH, ask(TOO_LONG))


def error_vision(call: Call) -> None:
    call(PATH, ask(_picture()))


def _picture() -> list[JSON]:
    url = f"data:image/png;base64,{RED_PNG}"
    return [
        {"type": "text", "text": PICTURE},
        {"type": "image_url", "image_url": {"url": url}},
    ]


def image(call: Call) -> None:
    call(PATH, ask(_picture(), "gpt-5-mini"))


def reasoning(call: Call) -> None:
    call(PATH, ask(PUZZLE, "deepseek-reasoner"))
    call(PATH, ask(PUZZLE, "deepseek-reasoner", **STREAM))


def openrouter(call: Call) -> None:
    path = "/api/v1/chat/completions"
    call(path, ask(CAPITAL, "openai/gpt-5-mini", usage={"include": True}))
    call(path, ask(CAPITAL, "openai/gpt-5-mini", usage={"include": True}, **STREAM))


def errors(call: Call) -> None:
    for question in ("error 401", "error 404", "error 400 context", "error 429", "error 500"):
        call(PATH, ask(question, "gpt-5-mini"))


def error_429_stream(call: Call) -> None:
    call(PATH, ask("error 429", "gpt-5-mini", **STREAM))


SCENARIOS = [
    *(
        Scenario(f"openai_chat/{run.__name__}", "llamacpp", run)
        for run in (text, text_stream, two_choices, length, stop_word, logprobs)
    ),
    *(
        Scenario(f"openai_chat/{run.__name__}", "llamacpp", run)
        for run in (json_schema, json_object, error_context, error_vision)
    ),
    *(
        Scenario(f"openai_chat/{run.__name__}", "llamacpp_tools", run)
        for run in (tools, tools_stream, parallel_tools, parallel_tools_stream, tool_required)
    ),
    Scenario("openai_chat/error_401", "llamacpp_key", error_401),
    Scenario("openai_chat/forced_tool", "llamacpp_python", forced_tool),
    Scenario("openai_chat/error_context_length_exceeded", "llamacpp_python", error_context),
    *(
        Scenario(f"emulated/openai_chat/{run.__name__}", "aimock", run)
        for run in (image, reasoning, openrouter, errors, error_429_stream)
    ),
]
