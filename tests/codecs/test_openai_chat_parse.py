"""Requests of the OpenAI chat dialect as a server reads them, and the law of the round trip."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import ChatRequest, ContentPart, Message, Tool, ToolCall
from crux_providers.codecs import openai_chat as codec
from crux_providers.codecs.openai_chat import Options
from crux_providers.codecs.openai_chat_request import rules
from crux_providers.codecs.repair import repair

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def body(request: ChatRequest, *, stream: bool = False, **knobs: Any) -> Any:
    wire = codec.encode(request, stream=stream, options=Options(**knobs))
    assert wire.degraded == ()
    return json.loads(json.dumps(wire.body))


def degraded(request: ChatRequest, **knobs: Any) -> tuple[Any, tuple[str, ...]]:
    wire = codec.encode(request, stream=False, options=Options(**knobs))
    return wire.body, wire.degraded


def test_nothing_of_a_body_is_lost() -> None:
    given_body = {
        "model": "m",
        "messages": [
            {
                "role": "system",
                "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "file", "file": {"file_id": "file-1"}},
                    {
                        "type": "file",
                        "file": {"file_data": "data:text/plain;base64,AA==", "filename": "a"},
                    },
                    {"type": "image_url", "image_url": {"url": "data:image/svg+xml;utf8,<svg/>"}},
                    {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
                    {"type": "what_is_this", "x": [1]},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "old", "arguments": "{}"},
            },
            {"role": "function", "name": "old", "content": "1"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "c",
                        "type": "custom",
                        "custom": {"name": "grammar", "input": "not json"},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "r"}]},
            {"role": "assistant", "content": "x", "prefix": True, "audio": {"id": "audio_1"}},
        ],
        "tools": [
            {"type": "custom", "custom": {"name": "grammar", "format": {"type": "text"}}},
            {
                "type": "function",
                "function": {"name": "f", "x": 1},
                "cache_control": {"type": "ephemeral"},
            },
        ],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto"}},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "description": "d", "schema": {}},
        },
        "reasoning": {"enabled": True},
        "temperature": "warm",
        "n": 2,
    }
    request = codec.parse_request(json.dumps(given_body).encode())
    assert body(request) == given_body


def test_a_parsed_request_speaks_the_vocabulary() -> None:
    request = codec.parse_request(
        {
            "model": "m",
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_completion_tokens": 9,
            "stop": "x",
            "reasoning": {"effort": "high"},
            "tool_choice": "required",
            "tools": [{"function": {"name": "f"}}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
            },
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": "data:image/png;base64,AA=="}],
                },
                {"role": "assistant", "content": "so", "reasoning_content": "hm", "refusal": None},
            ],
        }
    )
    assert request == ChatRequest(
        model="m",
        messages=[
            Message("user", [ContentPart("image", data="AA==", media_type="image/png")]),
            Message("assistant", [ContentPart("reasoning", "hm"), ContentPart("text", "so")]),
        ],
        max_tokens=9,
        stop=["x"],
        reasoning_effort="high",
        tool_choice="required",
        tools=[Tool("f")],
        json_schema=SCHEMA,
        schema_name="n",
        schema_strict=True,
    )


@pytest.mark.parametrize(
    "damaged",
    [
        b"{",
        b"[]",
        {},
        {"messages": "hi"},
        {"messages": ["hi"]},
        {"messages": [{"content": "x"}]},
        {"messages": [{"role": "boss", "content": "x"}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [], "tools": [{"type": "function", "function": {}}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]},
        b'{"messages":' + b"[" * 5000,
    ],
)
def test_a_damaged_body_is_a_bad_request(damaged: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        codec.parse_request(damaged)
    assert caught.value.code is ErrorCode.BAD_REQUEST


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)
BASE64 = st.binary(max_size=12)
EXTRA = st.none() | st.just({"cache_control": {"type": "ephemeral"}})


def part(kind: str, **fields: Any) -> st.SearchStrategy[ContentPart]:
    def build(extra: Any, values: dict[str, Any]) -> ContentPart:
        dialect = "openai_chat" if extra else None
        return ContentPart(kind, **values, extra=extra, dialect=dialect)

    return st.builds(build, EXTRA, st.fixed_dictionaries(fields))


TEXTS = part("text", text=WORDS)
MEDIA = st.one_of(
    part("image", data=BASE64, media_type=st.sampled_from(["image/png", "image/webp"])),
    part("image", url=NAMES.map("https://x/{}".format)),
    part("pdf", data=BASE64, media_type=st.just("application/pdf"), name=NAMES),
    part("audio", data=BASE64, media_type=st.sampled_from(["audio/mpeg", "audio/wav"])),
    st.just(ContentPart("raw", data={"type": "video_url", "x": 1}, dialect="openai_chat")),
)
CALLS = st.lists(
    st.builds(ToolCall, NAMES, NAMES, st.dictionaries(NAMES, WORDS | st.integers(), max_size=2)),
    min_size=1,
    max_size=3,
)
TURNS = st.one_of(
    st.builds(
        Message, st.sampled_from(["system", "developer"]), WORDS | st.lists(TEXTS, min_size=1)
    ),
    st.builds(
        Message, st.just("user"), WORDS | st.lists(TEXTS | MEDIA, min_size=1), st.none() | NAMES
    ),
    st.builds(Message, st.just("assistant"), WORDS | st.lists(TEXTS, min_size=2, max_size=3)),
    st.builds(Message, st.just("assistant"), WORDS, tool_calls=CALLS),
    st.builds(
        lambda reasoning, text, calls: Message(
            "assistant",
            [ContentPart("reasoning", reasoning), ContentPart("text", text or "x")],
            tool_calls=calls,
        ),
        WORDS,
        WORDS,
        st.just([]) | CALLS,
    ),
    st.builds(Message, st.just("tool"), WORDS | st.lists(TEXTS, min_size=1), tool_call_id=NAMES),
)
TOOLS = st.builds(
    Tool, NAMES, st.none() | WORDS, st.just({}) | st.just(SCHEMA), st.none() | st.booleans()
)
REQUESTS = st.builds(
    ChatRequest,
    model=st.none() | NAMES,
    messages=st.lists(TURNS, max_size=5),
    max_tokens=st.none() | st.integers(1, 9999),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    stop=st.none() | st.lists(WORDS, min_size=1, max_size=2),
    seed=st.none() | st.integers(-(2**60), 2**60),
    tools=st.lists(TOOLS, max_size=3),
    tool_choice=st.none() | st.sampled_from(["auto", "none", "required", "f"]),
    parallel_tool_calls=st.none() | st.booleans(),
    response_format=st.none() | st.sampled_from(["text", "json_object"]),
    reasoning_effort=st.none() | st.sampled_from(["low", "high"]),
    logprobs=st.none() | st.booleans(),
    top_logprobs=st.none() | st.integers(0, 5),
    extra=st.dictionaries(
        st.sampled_from(["user", "metadata", "n", "service_tier"]), WORDS, max_size=2
    ),
)
SDK_TYPE = TypeAdapter(CompletionCreateParamsNonStreaming)


@settings(max_examples=60, deadline=None)
@given(request=REQUESTS, schema=st.booleans())
def test_what_is_encoded_is_parsed_back(request: ChatRequest, schema: bool) -> None:
    if schema:
        fields = {"json_schema": SCHEMA, "schema_name": "n", "response_format": None}
        request = ChatRequest(**{**_fields(request), **fields})
    # The turns are drawn one by one; on the wire goes a history whose calls are answered.
    valid, _ = repair(request.messages, rules(Options(reasoning_field="reasoning_content")))
    request = ChatRequest(**{**_fields(request), "messages": valid})
    sent = body(request, reasoning_field="reasoning_content")
    assert codec.parse_request(sent) == request
    assert body(codec.parse_request(sent), reasoning_field="reasoning_content") == sent


@settings(max_examples=30, deadline=None)
@given(request=REQUESTS)
def test_bodies_have_the_shape_the_sdk_types(request: ChatRequest) -> None:
    sent, _ = degraded(ChatRequest(**{**_fields(request), "extra": {}, "model": "m"}))
    if not _has_raw(request):
        SDK_TYPE.validate_python(sent)


def _fields(request: ChatRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in ChatRequest.__slots__}


def _has_raw(request: ChatRequest) -> bool:
    return any(p.type == "raw" for m in request.messages for p in m.parts)
