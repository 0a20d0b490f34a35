"""Answers as a server of the OpenAI chat dialect writes them, and listings of models."""

from __future__ import annotations

import json

import pytest

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.events import ChatStreamEvent, ToolCallDelta, fold
from crux_providers.base.models import ChatResponse, ContentPart, ProviderMetadata, ToolCall, Usage
from crux_providers.base.wire import WireEvent
from crux_providers.codecs import openai_chat as codec


def events_of(*wire: WireEvent) -> list[ChatStreamEvent]:
    decoder = codec.Decoder()
    return [*(e for w in wire for e in decoder.feed(w)), *decoder.finish()]


def test_an_answer_of_another_dialect_is_rendered_in_openais_shape() -> None:
    answer = ChatResponse.build(
        [
            ContentPart("reasoning", "hm", signature="s", dialect="anthropic_messages"),
            ContentPart("text", "so "),
            ContentPart("raw", data={"type": "server_tool_use"}, dialect="anthropic_messages"),
            ContentPart("text", "there"),
        ],
        [ToolCall("toolu_1", "f", {"x": 1}, dialect="anthropic_messages", extra={"caller": 1})],
        finish_reason="tool_calls",
        meta=ProviderMetadata(
            model_name="claude",
            response_id="msg_1",
            extra={
                "token_usage": {"prompt": 3, "completion": 2, "total": 5},
                "token_usage_details": {"cached": 1, "reasoning": 1},
                "wire_fields": {"type": "message", "choices": "x", "usage": 5},
            },
        ),
    )
    rendered = codec.render_response(answer)
    assert rendered.pop("type") == "message"
    assert rendered == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 0,
        "model": "claude",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "so there",
                    "reasoning_content": "hm",
                    "refusal": None,
                    "tool_calls": [
                        {
                            "id": "toolu_1",
                            "type": "function",
                            "function": {"name": "f", "arguments": '{"x":1}'},
                        }
                    ],
                },
                "finish_reason": "tool_calls",
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }


def test_a_stream_is_rendered_with_its_role_its_end_and_its_usage() -> None:
    state = codec.RenderState(model="route", created=7)
    wire = [
        w
        for event in (
            ChatStreamEvent(meta={"response_id": "r"}),
            ChatStreamEvent("a"),
            ChatStreamEvent(tool_call=ToolCallDelta(0, "c", "f", "{")),
            ChatStreamEvent(tool_call=ToolCallDelta(0, arguments="}")),
            ChatStreamEvent(usage=Usage(1, 2)),
            ChatStreamEvent(finish_reason="tool_calls"),
            ChatStreamEvent(finish=True),
        )
        for w in codec.render_event(event, state)
    ]
    *chunks, done = wire
    assert done == WireEvent("[DONE]")
    head = {"id": "r", "object": "chat.completion.chunk", "created": 7, "model": "route"}
    assert all({k: c.data[k] for k in head} == head for c in chunks)
    begun = {"name": "f", "arguments": "{"}
    assert [c.data["choices"][0]["delta"] for c in chunks[:-1]] == [
        {"role": "assistant", "content": "a"},
        {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": begun}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
        {},
    ]  # fmt: skip
    assert chunks[-2].data["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1].data["choices"] == []
    assert chunks[-1].data["usage"]["total_tokens"] == 3
    quiet = codec.RenderState(include_usage=False)
    codec.render_event(ChatStreamEvent("a", usage=Usage(1, 2)), quiet)
    last = codec.render_event(ChatStreamEvent(finish=True), quiet)
    assert [isinstance(w.data, str) or "usage" in w.data for w in last] == [False, True]


def test_a_failed_stream_ends_in_an_error_and_no_done() -> None:
    state = codec.RenderState()
    codec.render_event(ChatStreamEvent("a"), state)
    (wire,) = codec.render_event(
        ChatStreamEvent(finish=True, error="transient:stream ended"), state
    )
    with pytest.raises(ProviderError) as caught:
        events_of(wire)
    error = caught.value
    assert (error.code, error.message) == (ErrorCode.TRANSIENT, "stream ended")


def test_reasoning_with_a_signature_is_streamed_as_text_and_repeated_as_a_detail() -> None:
    state = codec.RenderState()
    part = ContentPart(
        "reasoning", signature="s", dialect="openai_chat", extra={"type": "reasoning.text"}
    )
    events = [
        ChatStreamEvent(reasoning="h", block=0),
        ChatStreamEvent(reasoning="m", block=0),
        ChatStreamEvent(part=part, block=0),
        ChatStreamEvent("so"),
        ChatStreamEvent(finish_reason="stop"),
        ChatStreamEvent(finish=True),
    ]
    wire = [w for event in events for w in codec.render_event(event, state)]
    deltas = [w.data["choices"][0]["delta"] for w in wire[:-1]]
    assert deltas[:3] == [
        {"role": "assistant", "reasoning_content": "h"},
        {"reasoning_content": "m"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s"}]},
    ]
    assert fold(events_of(*wire)).parts == fold(events).parts


def test_models_of_several_listings() -> None:
    listing = {
        "data": [
            {
                "id": "a/b", "name": "B", "created": 1700000000, "context_length": 1000,
                "architecture": {"input_modalities": ["text", "image"]},
                "supported_parameters": ["tools", "structured_outputs"],
                "top_provider": {"max_completion_tokens": 50},
            },
            {"id": "g", "context_window": 8192, "owned_by": "x", "created": 0},
            {"id": "mi", "capabilities": {"function_calling": True, "vision": False}},
            {"object": "model"},
        ]
    }  # fmt: skip
    a, g, mi = codec.models(json.dumps(listing))
    assert (a.name, a.context_length, a.max_output_tokens, a.updated_at) == (
        "B", 1000, 50, "2023-11-14",
    )  # fmt: skip
    assert a.capabilities == {
        "tools": True, "tool_choice": False, "parallel_tools": False, "json_output": False,
        "json_schema": True, "reasoning": False, "logprobs": False, "vision": True, "pdf": False,
        "audio": False,
    }  # fmt: skip
    assert set(a.capability_sources.values()) == {"api"}
    assert (g.context_length, g.updated_at, g.capabilities) == (8192, None, {})
    assert g.extra == {"owned_by": "x"}
    assert mi.capabilities == {"tools": True, "vision": False}
    assert [m.id for m in codec.models([{"id": "t"}])] == ["t"]  # Together lists them bare
    with pytest.raises(ProviderError):
        codec.models({"data": "x"})
