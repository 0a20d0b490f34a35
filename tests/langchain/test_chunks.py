"""Chunks: the quick ones equal the validated ones, and the sum of a stream is the whole answer."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import pytest
from hypothesis import given, settings
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.utils import message_chunk_to_message
from langchain_core.outputs import ChatGenerationChunk

from crux_integrations.langchain.answers import to_ai_message
from crux_integrations.langchain.chat_model import ChatCrux
from crux_integrations.langchain.chunks import ChunkStream, quick_chunk
from crux_integrations.langchain.messages import to_messages
from crux_providers.base.events import ChatStreamEvent, ToolCallDelta, fold
from crux_providers.base.models import ChatResponse, ContentPart, Usage
from tests.langchain.scripted_router import CRUX, ScriptedRouter, text
from tests.langchain.strategies import streams

END = ChatStreamEvent(finish=True, meta={"crux": CRUX})


def chunks_of(events: list[ChatStreamEvent]) -> list[ChatGenerationChunk]:
    stream = ChunkStream()
    return [chunk for event in [*events, END] for chunk in stream.feed(event)]


def merged(events: list[ChatStreamEvent]) -> AIMessageChunk:
    return reduce(add, [chunk.message for chunk in chunks_of(events)])  # type: ignore[return-value,arg-type]


def whole(events: list[ChatStreamEvent]) -> ChatResponse:
    response = fold(events)
    response.meta.extra["crux"] = CRUX
    return response


@pytest.mark.parametrize(
    "content",
    ["", "hello", [], [{"type": "text", "text": "a", "index": 0}],
     [{"type": "reasoning", "reasoning": "b", "index": 1}]],
)  # fmt: skip
def test_a_quick_chunk_is_the_validated_one(content: Any) -> None:
    quick = quick_chunk(content)
    slow = ChatGenerationChunk(message=AIMessageChunk(content=content))
    assert quick == slow
    assert quick.message == slow.message
    for made, validated in ((quick, slow), (quick.message, slow.message)):
        assert list(made.__dict__) == list(validated.__dict__)
        assert {**made.__dict__, "message": None} == {**validated.__dict__, "message": None}
        assert made.__pydantic_fields_set__ == validated.__pydantic_fields_set__
        assert made.__pydantic_extra__ == validated.__pydantic_extra__
        assert made.__pydantic_private__ == validated.__pydantic_private__


def test_quick_chunks_share_nothing() -> None:
    one, other = quick_chunk("a").message, quick_chunk("a").message
    for name, value in one.__dict__.items():
        if isinstance(value, (dict, list)):
            assert value is not getattr(other, name)


@settings(max_examples=80, deadline=None)
@given(streams())
def test_the_sum_of_a_stream_is_the_whole_answer(events: list[ChatStreamEvent]) -> None:
    total = message_chunk_to_message(merged(events))
    assert total == to_ai_message(whole(events))


@settings(max_examples=60, deadline=None)
@given(streams())
def test_an_answer_goes_back_as_it_came(events: list[ChatStreamEvent]) -> None:
    response = whole(events)
    refusals = [p for p in response.parts if p.type == "refusal"]
    if len(refusals) > 1 or (refusals and response.parts[-1].type != "refusal"):
        return  # LangChain has one place for the words of a refusal, after the content
    if (
        any(not c.valid for c in response.tool_calls)
        and len({c.id for c in response.tool_calls}) > 1
    ):
        return  # see test_valid_and_invalid_calls_keep_their_order
    sent = response.to_message()
    for message in (
        to_ai_message(response),
        merged(events),
        loads(dumps(to_ai_message(response)), allowed_objects="messages"),
    ):
        assert to_messages([message]) == [sent]


@settings(max_examples=40, deadline=None)
@given(streams())
def test_text_and_calls_survive_every_way_langchain_assembles_a_message(
    events: list[ChatStreamEvent],
) -> None:
    response = whole(events)
    llm = ChatCrux(routes=ScriptedRouter(events))
    v1 = ChatCrux(routes=ScriptedRouter(events), output_version="v1")
    made: list[AIMessage] = [
        llm.invoke("x"),
        v1.invoke("x"),
        reduce(add, list(v1.stream("x"))),
    ]
    if all(c.valid for c in response.tool_calls):  # langchain-core 1.7.2 fails on JSON like [1]
        made.append(llm.stream_events("x", version="v3").output)
    for message in made:
        (back,) = to_messages([message])
        assert "".join(p.text or "" for p in back.parts if p.type == "text") == response.text
        assert [c.name for c in back.tool_calls if c.valid] == [
            c.name for c in response.tool_calls if c.valid
        ]
        assert [c.raw_arguments for c in back.tool_calls if c.valid] == [
            c.raw_arguments for c in response.tool_calls if c.valid
        ]
        assert [p.signature for p in back.parts if p.type == "reasoning"] == [
            p.signature for p in response.parts if p.type == "reasoning"
        ]


def test_what_would_be_joined_stands_on_the_last_chunk_alone() -> None:
    events = [
        ChatStreamEvent("a", meta={"model_name": "m-1", "logprobs": [{"token": "a"}]}),
        ChatStreamEvent("b", usage=Usage(1, 1), meta={"model_name": "m-1"}),
        ChatStreamEvent(usage=Usage(1, 2), finish_reason="stop"),
    ]
    *before, last = [chunk.message for chunk in chunks_of(events)]
    assert [m.content for m in before] == ["a", "b"]
    for message in before:
        assert message.response_metadata == {}
        assert message.usage_metadata is None
        assert message.chunk_position is None
    assert last.chunk_position == "last"
    assert last.response_metadata == {
        "model_name": "m-1",
        "finish_reason": "stop",
        "crux": CRUX,
        "logprobs": {"content": [{"token": "a"}]},
    }
    assert last.usage_metadata == {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}


def test_an_empty_answer_is_one_chunk() -> None:
    (only,) = chunks_of([ChatStreamEvent(finish_reason="stop")])
    assert only.message.content == ""
    assert only.message.chunk_position == "last"


def test_call_chunks_have_integer_places_of_their_own() -> None:
    events = [
        ChatStreamEvent(reasoning="hm", block=0),
        ChatStreamEvent("hi", block=1),
        ChatStreamEvent(tool_call=ToolCallDelta(0, "c0", "f")),
        ChatStreamEvent(tool_call=ToolCallDelta(1, "c1", "g")),
        ChatStreamEvent(tool_call=ToolCallDelta(0, arguments='{"a":1}')),
        ChatStreamEvent(tool_call=ToolCallDelta(1, arguments="{}")),
    ]
    found = [c for m in chunks_of(events) for c in m.message.tool_call_chunks]
    assert [c["index"] for c in found] == [2, 3, 2, 3]
    total = merged(events)
    assert [(c["id"], c["args"]) for c in total.tool_calls] == [("c0", {"a": 1}), ("c1", {})]
    assert [b["type"] for b in total.content_blocks] == [
        "reasoning", "text", "tool_call", "tool_call",
    ]  # fmt: skip


def test_a_name_said_twice_is_said_once() -> None:
    events = [
        ChatStreamEvent(tool_call=ToolCallDelta(0, "c", "f", "{")),
        ChatStreamEvent(tool_call=ToolCallDelta(0, "c", "f", "}")),
    ]
    assert merged(events).tool_calls[0]["name"] == "f"


def test_valid_and_invalid_calls_keep_their_order() -> None:
    events = [
        ChatStreamEvent(tool_call=ToolCallDelta(0, "bad", "f", "[1]")),
        ChatStreamEvent(tool_call=ToolCallDelta(1, "good", "g", '{"a": 1}')),
    ]
    message = merged(events)
    assert [c["id"] for c in message.invalid_tool_calls] == ["bad"]
    (back,) = to_messages([message])
    assert [(c.id, c.raw_arguments) for c in back.tool_calls] == [
        ("bad", "[1]"), ("good", '{"a": 1}'),
    ]  # fmt: skip


def test_text_after_another_block_is_not_lost_where_blocks_interleave() -> None:
    events = [
        ChatStreamEvent("Hel", block=0),
        ChatStreamEvent(part=ContentPart("raw", data={}, dialect="openai_responses"), block=1),
        ChatStreamEvent("l", block=0),
        ChatStreamEvent("o", block=0),
    ]
    assert merged(events).text == "Hello"


async def test_streams_are_the_same_sync_and_async() -> None:
    llm = ChatCrux(routes=ScriptedRouter(text("a", "b", "c")))
    sync = [c.content for c in llm.stream("x")]
    assert sync == [c.content async for c in llm.astream("x")] == ["a", "b", "c", ""]
