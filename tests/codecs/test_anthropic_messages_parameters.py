"""Anthropic Messages, requests: parameters on the wire, and a client's body read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import ChatRequest, ContentPart, Message, Tool
from crux_providers.codecs.anthropic_messages import Options, encode, parse_request
from tests.codecs.anthropic_messages_wire import (
    body_of,
    degraded,
)

HI = (Message("user", "hi"),)


def test_tools_and_their_choice() -> None:
    tools = [
        Tool("f", "does", {"type": "object", "properties": {"a": {}}}, strict=True),
        Tool("g", parameters={}, extra={"cache_control": {"type": "ephemeral"}}),
        Tool("web_search", raw={"type": "web_search_20250305", "name": "web_search"}),
    ]
    body = body_of(ChatRequest("m", HI, tools=tools, tool_choice="f", parallel_tool_calls=False))
    assert body["tools"] == [
        {
            "name": "f",
            "description": "does",
            "input_schema": {"type": "object", "properties": {"a": {}}},
            "strict": True,
        },
        {
            "name": "g",
            "input_schema": {"type": "object"},
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "web_search_20250305", "name": "web_search"},
    ]
    assert body["tool_choice"] == {"type": "tool", "name": "f", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(
    ("choice", "parallel", "wire"),
    [
        (None, None, None),
        (None, True, {"type": "auto", "disable_parallel_tool_use": False}),
        ("auto", None, {"type": "auto"}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        ("any", None, {"type": "any"}),
        ("none", False, {"type": "none"}),
    ],
)
def test_tool_choice_words(
    choice: str | None, parallel: bool | None, wire: dict[str, Any] | None
) -> None:
    request = ChatRequest(
        "m", HI, tools=[Tool("f")], tool_choice=choice, parallel_tool_calls=parallel
    )
    assert body_of(request).get("tool_choice") == wire


def test_another_dialects_server_tool_is_refused() -> None:
    tool = Tool("web_search", raw={"type": "web_search"}, dialect="openai_responses")
    with pytest.raises(ProviderError) as caught:
        body_of(ChatRequest("m", HI, tools=[tool]))
    assert (caught.value.code, caught.value.feature) == (ErrorCode.UNSUPPORTED, "tools")


@pytest.mark.parametrize(
    ("fields", "feature"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "logprobs"),
        ({"response_format": "json_object"}, "json_output"),
        ({"json_schema": {"type": "object", "additionalProperties": {}}}, "json_schema"),
        ({"json_schema": {"type": "array", "items": {"type": "object"}}}, "json_schema"),
    ],
)
def test_what_the_dialect_cannot_express_is_unsupported(
    fields: dict[str, Any], feature: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        body_of(ChatRequest("m", HI, **fields))
    assert (caught.value.code, caught.value.feature) == (ErrorCode.UNSUPPORTED, feature)


def test_max_tokens_is_always_sent_and_leaves_room_for_thinking() -> None:
    assert body_of(ChatRequest("m", HI))["max_tokens"] == Options().default_max_tokens
    thinking = body_of(ChatRequest("m", HI, reasoning_budget=2000), default_max_tokens=100)
    assert thinking["max_tokens"] == 2100
    assert thinking["thinking"] == {"type": "enabled", "budget_tokens": 2000}


def test_a_budget_on_a_model_that_takes_none_becomes_adaptive_thinking() -> None:
    request = ChatRequest("claude-opus-4-7", HI, reasoning_budget=2000, temperature=0.0)
    options = Options(adaptive_thinking=("claude-opus-4-7",), no_sampling=("claude-opus-4-7",))
    wire = encode(request, stream=False, options=options)
    assert wire.body is not None
    assert wire.body["thinking"] == {"type": "adaptive"}
    assert "temperature" not in wire.body
    assert len(wire.degraded) == 2


def test_sampling_that_thinking_refuses_is_left_out_and_said() -> None:
    request = ChatRequest("m", HI, reasoning_budget=2000, temperature=0.5, top_p=0.96)
    body = body_of(request)
    assert "temperature" not in body
    assert body["top_p"] == 0.96
    assert encode(request, stream=False).degraded == (
        "temperature was left out, since thinking does not go with 0.5",
    )


@pytest.mark.parametrize(
    ("effort", "sent"),
    [("max", {"effort": "max"}), ("minimal", {"effort": "low"}), ("none", None)],
)
def test_effort(effort: str, sent: dict[str, str] | None) -> None:
    body = body_of(ChatRequest("m", HI, reasoning_effort=effort))
    assert body.get("output_config") == sent
    assert body.get("thinking") == ({"type": "disabled"} if effort == "none" else None)


def test_a_schema_is_closed_and_its_bounds_become_words() -> None:
    schema = {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 1, "maximum": 9, "description": "how many"},
            "maximum": {"type": "array", "items": {"$ref": "#/$defs/P"}, "minItems": 2},
        },
        "$defs": {"P": {"type": "object", "properties": {}, "additionalProperties": True}},
    }
    wire = encode(ChatRequest("m", HI, json_schema=schema), stream=False)
    assert wire.body is not None
    assert wire.body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {
                "n": {"type": "integer", "description": "how many\n\n{minimum: 1, maximum: 9}"},
                "maximum": {
                    "type": "array",
                    "items": {"$ref": "#/$defs/P"},
                    "description": "{minItems: 2}",
                },
            },
            "$defs": {"P": {"type": "object", "properties": {}, "additionalProperties": False}},
            "additionalProperties": False,
        },
    }
    assert len(wire.degraded) == 2


def test_extra_wins_and_betas_are_a_header() -> None:
    request = ChatRequest(
        "m",
        HI,
        reasoning_effort="low",
        extra={
            "betas": ["context-1m-2025-08-07", "files-api-2025-04-14"],
            "top_k": 5,
            "max_tokens": 9,
            "output_config": {"task_budget": {"type": "tokens", "total": 1}},
        },
    )
    wire = encode(request, stream=True)
    assert wire.headers["anthropic-beta"] == "context-1m-2025-08-07,files-api-2025-04-14"
    assert wire.headers["anthropic-version"] == "2023-06-01"
    assert wire.body == {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "output_config": {"effort": "low", "task_budget": {"type": "tokens", "total": 1}},
        "stream": True,
        "top_k": 5,
    }
    assert (wire.path, wire.method, wire.stream, wire.framing) == (
        "/v1/messages",
        "POST",
        True,
        "sse",
    )


def test_seed_and_names_are_said_to_be_lost() -> None:
    assert degraded(Message("user", "hi", name="ann"), seed=1) == (
        "the name of a message was left out",
        "seed was left out, since the API has none",
    )


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        [],
        {},
        {"messages": "hi"},
        {"messages": [{"role": "robot", "content": "hi"}]},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        {"messages": [{"role": "user"}]},
        {"messages": [], "max_tokens": "many"},
        {"messages": [], "tools": [{"name": 1, "input_schema": {}}]},
        {"messages": [], "system": 3},
        {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
    ],
)
def test_a_request_that_is_none_is_a_bad_request(body: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        parse_request(body)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_a_users_results_and_words_become_turns_of_their_own() -> None:
    request = parse_request(
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "a", "content": "1"},
                        {"type": "text", "text": "and?"},
                    ],
                },
            ]
        }
    )
    assert request.messages[1:] == (
        Message("tool", "1", name="f", tool_call_id="a"),
        Message("user", [ContentPart("text", "and?")]),
    )


def test_what_has_no_place_stays_in_extra() -> None:
    body = {
        "model": "m",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "hi"}],
        "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
        "tool_choice": {"type": "any", "later": 1},
        "output_config": {"effort": "low", "format": {"type": "grammar"}},
        "metadata": {"user_id": "u"},
        "container": "c",
    }
    request = parse_request(json.dumps(body))
    assert request.extra == {
        "thinking": body["thinking"],
        "tool_choice": body["tool_choice"],
        "output_config": {"format": {"type": "grammar"}},
        "metadata": {"user_id": "u"},
        "container": "c",
    }
    assert encode(request, stream=False).body == body
