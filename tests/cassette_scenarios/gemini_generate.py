"""Gemini's generateContent."""

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
    TWO_CITIES,
    WEATHER,
    WEATHER_SCHEMA,
    Call,
    Scenario,
    events,
)

MODEL = "/v1beta/models/gemini-2.5-flash"
WHOLE = f"{MODEL}:generateContent"
STREAMED = f"{MODEL}:streamGenerateContent?alt=sse"
DECLARATION = {"name": "get_weather", "description": WEATHER, "parameters": WEATHER_SCHEMA}
TOOLS = [{"functionDeclarations": [DECLARATION]}]


def ask(*parts: JSON, config: JSON | None = None, **more: Any) -> JSON:
    """A body with one user content."""
    generation = {"temperature": 0, "maxOutputTokens": 128} | (config or {})
    contents = [{"role": "user", "parts": list(parts)}]
    return {"contents": contents, "generationConfig": generation} | more


def text(call: Call) -> None:
    call(WHOLE, ask({"text": CAPITAL}))


def text_stream(call: Call) -> None:
    call(STREAMED, ask({"text": CAPITAL}))


def _loop(call: Call, path: str, question: str) -> None:
    first = {"role": "user", "parts": [{"text": question}]}
    answer = call(path, ask(contents=[first], tools=TOOLS))
    chunks = events(answer) if path is STREAMED else [json.loads(answer)]
    parts = [
        part
        for chunk in chunks
        for part in chunk["candidates"][0]["content"].get("parts", ())
        if "functionCall" in part
    ]
    results = [
        {
            "functionResponse": {
                "name": "get_weather",
                "response": {"result": RESULTS[part["functionCall"]["args"]["city"]]},
            }
        }
        for part in parts
    ]
    contents = [first, {"role": "model", "parts": parts}, {"role": "user", "parts": results}]
    call(path, ask(contents=contents, tools=TOOLS))


def tools(call: Call) -> None:
    _loop(call, WHOLE, ONE_CITY)


def tools_stream(call: Call) -> None:
    _loop(call, STREAMED, ONE_CITY)


def parallel_tools_stream(call: Call) -> None:
    _loop(call, STREAMED, TWO_CITIES)


def json_schema(call: Call) -> None:
    config = {"responseMimeType": "application/json", "responseJsonSchema": CITY_SCHEMA}
    call(WHOLE, ask({"text": AS_JSON}, config=config))
    call(STREAMED, ask({"text": AS_JSON}, config=config))


def image(call: Call) -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": RED_PNG}}
    call(WHOLE, ask({"text": PICTURE}, picture))


def reasoning(call: Call) -> None:
    config = {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 512}}
    call(WHOLE, ask({"text": PUZZLE}, config=config))
    call(STREAMED, ask({"text": PUZZLE}, config=config))


def length(call: Call) -> None:
    call(WHOLE, ask({"text": "Count from one to thirty."}, config={"maxOutputTokens": 14}))


def errors(call: Call) -> None:
    for question in ("error 401", "error 404", "error 429", "error 500"):
        call(WHOLE, ask({"text": question}))


SCENARIOS = [
    Scenario("gemini_generate/text", "litellm", text),
    Scenario("gemini_generate/text_stream", "litellm", text_stream),
    *(
        Scenario(f"emulated/gemini_generate/{run.__name__}", "aimock", run)
        for run in (tools, tools_stream, parallel_tools_stream, json_schema)
    ),
    *(
        Scenario(f"emulated/gemini_generate/{run.__name__}", "aimock", run)
        for run in (image, reasoning, length, errors)
    ),
]
