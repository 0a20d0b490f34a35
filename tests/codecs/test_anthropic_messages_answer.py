"""Anthropic Messages, whole answers: what is read in them, how they are shown, the listing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.events import fold
from crux_providers.base.models import (
    ChatRequest,
    ContentPart,
    ToolCall,
    Usage,
)
from crux_providers.codecs.anthropic_messages import (
    DIALECT,
    decode,
    encode,
    models,
    parse_request,
    render_response,
)
from tests.codecs.anthropic_messages_wire import (
    CITED,
    FOUND,
    SEARCH,
    call,
    feed,
    message,
    streamed,
    text,
)


def test_an_answer_with_everything() -> None:
    body = message(
        {"type": "thinking", "thinking": "hm", "signature": "s=="},
        {"type": "redacted_thinking", "data": "d=="},
        text("a", citations=[CITED]),
        SEARCH,
        FOUND,
        call("f", input={"x": [1]}, caller={"type": "direct"}),
        text("b"),
        call("g"),
        stop_reason="tool_use",
        container={"id": "c"},
        usage={
            "input_tokens": 3,
            "cache_read_input_tokens": 20,
            "cache_creation_input_tokens": 10,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 5,
            "output_tokens_details": {"thinking_tokens": 2},
            "server_tool_use": {"web_search_requests": 1},
            "service_tier": "standard",
        },
    )
    answer = decode(json.dumps(body).encode())
    assert answer.parts == (
        ContentPart("reasoning", "hm", signature="s==", dialect=DIALECT),
        ContentPart("reasoning", data="d==", dialect=DIALECT),
        ContentPart("text", "a", extra={"citations": [CITED]}, dialect=DIALECT),
        ContentPart("raw", data=SEARCH, dialect=DIALECT),
        ContentPart("raw", data=FOUND, dialect=DIALECT),
        ContentPart("text", "b"),
    )
    direct = {"caller": {"type": "direct"}}
    assert answer.tool_calls == (
        ToolCall("toolu_f", "f", {"x": [1]}, after=5, extra=direct, dialect=DIALECT),
        ToolCall("toolu_g", "g"),
    )
    assert (answer.text, answer.reasoning) == ("ab", "hm")
    assert answer.finish_reason == "tool_calls"
    assert answer.usage == Usage(
        33,
        5,
        details={
            "cached": 20,
            "cache_write": 10,
            "reasoning": 2,
            "ephemeral_5m_input_tokens": 10,
            "web_search_requests": 1,
        },
    )
    assert (answer.meta.response_id, answer.meta.model_name) == ("msg_1", "claude-x")
    assert answer.meta.extra["wire_fields"] == {
        "type": "message",
        "container": {"id": "c"},
        "usage": {"service_tier": "standard"},
    }
    # Said again in the next turn, every block is what it was.
    request = parse_request({"messages": [{"role": "assistant", "content": body["content"]}]})
    wire = encode(request, stream=False)
    assert wire.degraded == ()
    assert wire.body is not None
    assert wire.body["messages"] == [{"role": "assistant", "content": body["content"]}]


@pytest.mark.parametrize(
    ("stop_reason", "content", "finish", "kept"),
    [
        ("end_turn", [text("a")], "stop", None),
        ("stop_sequence", [text("a")], "stop", "stop_sequence"),
        ("max_tokens", [call()], "length", None),
        ("model_context_window_exceeded", [], "length", "model_context_window_exceeded"),
        ("tool_use", [call()], "tool_calls", None),
        ("tool_use", [SEARCH], "other", "tool_use"),
        ("end_turn", [text("a"), call()], "tool_calls", "end_turn"),
        ("end_turn", [call(), FOUND, text("a")], "stop", None),
        ("refusal", [], "content_filter", None),
        ("pause_turn", [SEARCH], "other", "pause_turn"),
        ("next_year", [], "other", "next_year"),
        (None, [], "other", None),
        (7, [call()], "tool_calls", None),
    ],
)
def test_finish_reasons(stop_reason: Any, content: list[Any], finish: str, kept: str) -> None:
    body = message(*content, stop_reason=stop_reason)
    answer = decode(body)
    assert answer.finish_reason == finish
    assert answer.meta.extra["wire_fields"].get("stop_reason") == kept
    assert fold(feed(streamed(body))) == answer
    assert decode(render_response(answer)) == answer


def test_a_refusals_words_are_the_refusal_and_never_content() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "Not this."}
    body = message(text("Well"), call(), stop_reason="refusal", stop_details=details)
    answer = decode(body)
    assert (answer.refusal, answer.finish_reason) == ("Not this.", "content_filter")
    assert answer.meta.extra["wire_fields"]["stop_details"] == details
    assert fold(feed(streamed(body))) == answer
    assert decode(render_response(answer)) == answer
    said = encode(ChatRequest("m", [answer.to_message()]), stream=False)
    assert said.body is not None
    assert [b["type"] for b in said.body["messages"][0]["content"]] == ["text", "tool_use"]


def test_an_empty_refusal_is_content_filter() -> None:
    answer = decode(message(stop_reason="refusal", stop_details=None))
    assert (answer.refusal, answer.finish_reason, answer.empty) == (None, "content_filter", True)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b'{"content": "text"}',
        b'{"type": "message"}',
        b'{"content": [1]}',
        b'{"content": [{}]}',
        b'{"content": [{"type": "text"}]}',
        b'{"content": [{"type": "thinking", "thinking": null}]}',
        b'{"content": [{"type": "tool_use", "id": 1, "name": "f", "input": {}}]}',
        b'{"content": [{"type": "tool_use", "id": "1", "name": "f", "input": "{}"}]}',
    ],
)
def test_malformed_answers(payload: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        decode(payload)
    assert caught.value.code is ErrorCode.MALFORMED


def test_an_error_with_status_200_is_an_error() -> None:
    with pytest.raises(ProviderError) as caught:
        decode({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    assert (caught.value.code, caught.value.message) == (ErrorCode.OVERLOADED, "Overloaded")


def test_models_say_what_the_provider_says_and_no_more() -> None:
    listing = {
        "data": [
            {
                "type": "model",
                "id": "claude-x",
                "display_name": "Claude X",
                "created_at": "2026-02-04T00:00:00Z",
                "max_input_tokens": 200000,
                "max_tokens": 64000,
                "line": "opus",
                "lifecycle": "active",
                "capabilities": {
                    "image_input": {"supported": True},
                    "structured_outputs": {"supported": False},
                    "thinking": {"supported": True, "types": {}},
                },
            },
            {"type": "model", "id": "claude-old", "created_at": "1970-01-01T00:00:00Z"},
            {"display_name": "nameless"},
        ],
        "has_more": False,
    }
    known, old = models(json.dumps(listing))
    assert (known.id, known.name, known.family) == ("claude-x", "Claude X", "opus")
    assert (known.context_length, known.max_output_tokens) == (200000, 64000)
    assert known.updated_at == "2026-02-04"
    assert known.capabilities == {"vision": True, "json_schema": False, "reasoning": True}
    assert known.capability_sources == dict.fromkeys(known.capabilities, "api")
    assert known.extra["lifecycle"] == "active"
    assert (old.context_length, old.updated_at, old.capabilities) == (None, None, {})
