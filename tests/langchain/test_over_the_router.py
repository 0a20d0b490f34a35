"""ChatCrux over the real router and codecs: fallbacks, broken streams, histories that go back."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage

from crux_integrations import AllCandidatesFailed, ChatCrux, Router, StreamInterrupted
from crux_providers.base.errors import WireFailure
from crux_providers.base.factory import ProviderFactory
from crux_providers.base.wire import WireEvent
from crux_providers.transports.scripted import ScriptedTransport

ROUTES = {
    "version": 1,
    "routes": {
        "default": {
            "candidates": ["openai:gpt-4o-mini", "anthropic:claude-haiku-4-5"],
            "retry": {"attempts": 1},
        }
    },
}
BUSY = WireFailure("status", "slow down", status=429)


def over(openai: list[Any], anthropic: list[Any]) -> tuple[ChatCrux, Any, Any]:
    first, second = ScriptedTransport(openai), ScriptedTransport(anthropic)
    providers = {
        "openai": ProviderFactory.create("openai", api_key="k", transport=first, api="chat"),
        "anthropic": ProviderFactory.create("anthropic", api_key="k", transport=second),
    }
    return ChatCrux(routes=Router(ROUTES, providers=providers)), first, second


def event(kind: str, **data: Any) -> WireEvent:
    return WireEvent({"type": kind, **data}, kind)


THINKING_AND_CALL = [
    event(
        "message_start",
        message={"id": "msg_1", "type": "message", "role": "assistant", "content": [],
                 "model": "claude-haiku-4-5-1", "usage": {"input_tokens": 9, "output_tokens": 1}},
    ),
    event("content_block_start", index=0,
          content_block={"type": "thinking", "thinking": "", "signature": ""}),
    event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "look "}),
    event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "first"}),
    event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "c2ln"}),
    event("content_block_stop", index=0),
    event("content_block_start", index=1, content_block={"type": "text", "text": ""}),
    event("content_block_delta", index=1, delta={"type": "text_delta", "text": "I look."}),
    event("content_block_stop", index=1),
    event("content_block_start", index=2,
          content_block={"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}),
    event("content_block_delta", index=2,
          delta={"type": "input_json_delta", "partial_json": '{"city": "Bern"}'}),
    event("content_block_stop", index=2),
    event("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None},
          usage={"output_tokens": 20}),
    event("message_stop"),
]  # fmt: skip
OPENAI_TEXT = {
    "id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini-1",
    "choices": [{"index": 0, "finish_reason": "stop",
                 "message": {"role": "assistant", "content": "grey"}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
}  # fmt: skip
TOOL = {"name": "look", "description": "d", "parameters": {"type": "object", "properties": {
    "city": {"type": "string"}}}}  # fmt: skip


def test_a_turn_goes_back_to_its_provider_unchanged_and_to_another_without_its_thoughts() -> None:
    llm, first, second = over([BUSY, BUSY, OPENAI_TEXT], [THINKING_AND_CALL, THINKING_AND_CALL])
    asked = HumanMessage("weather?")
    chunks = list(llm.bind_tools([TOOL]).stream([asked]))
    message = reduce(add, chunks)
    assert isinstance(message, AIMessageChunk)
    assert [b["type"] for b in message.content_blocks] == ["reasoning", "text", "tool_call"]
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] == 20
    crux = message.response_metadata["crux"]
    assert [(a["provider"], a["outcome"]) for a in crux["attempts"]] == [
        ("openai", "error"), ("anthropic", "success"),
    ]  # fmt: skip
    assert message.response_metadata["model_name"] == "claude-haiku-4-5-1"

    history = [asked, message, ToolMessage("grey", tool_call_id="toolu_1")]
    llm.bind_tools([TOOL]).invoke(history, stream=True)
    sent = second.requests[1].body["messages"][1]["content"]
    assert sent == [
        {"type": "thinking", "thinking": "look first", "signature": "c2ln"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"city": "Bern"}},
    ]

    answer = llm.bind_tools([TOOL]).invoke(history)
    assert answer.content == "grey"
    turn = first.requests[2].body["messages"][1]
    assert turn["content"] == "I look."
    assert turn["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"city": "Bern"}'}
    assert "look first" not in str(turn)
    assert answer.response_metadata["crux"]["degraded"]


async def test_a_stream_that_breaks_after_content_gives_its_part() -> None:
    broken = [*THINKING_AND_CALL[:8], WireFailure("cut", "connection lost")]
    llm, _, _ = over([BUSY, BUSY], [broken, broken])
    with pytest.raises(StreamInterrupted) as caught:
        list(llm.stream("x"))
    partial = caught.value.partial
    assert isinstance(partial, AIMessage)
    assert partial.text == "I look."
    assert [b["type"] for b in partial.content_blocks] == ["reasoning", "text"]
    assert [a["outcome"] for a in caught.value.attempts] == ["error", "interrupted"]
    with pytest.raises(StreamInterrupted):
        [chunk async for chunk in llm.astream("x")]


def test_when_all_fail_the_message_has_a_line_for_each() -> None:
    llm, _, _ = over([BUSY], [WireFailure("status", "", status=500)])
    with pytest.raises(AllCandidatesFailed) as caught:
        llm.invoke("x")
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "openai:gpt-4o-mini:", "anthropic:claude-haiku-4-5:",
    ]  # fmt: skip


def test_a_model_of_the_call_takes_the_routes_place() -> None:
    llm, first, second = over([OPENAI_TEXT], [])
    message = llm.invoke("x", model="openai:gpt-4o", max_tokens=3, temperature=0)
    assert first.requests[0].body["model"] == "gpt-4o"
    assert first.requests[0].body["temperature"] == 0
    assert second.requests == []
    assert message.content == "grey"
