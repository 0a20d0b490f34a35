"""Ollama's dialect: laws by property, quirks by example, refusals in words."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure
from crux_providers.base.models import (
    ChatRequest,
    ChatResponse,
    ContentPart,
    Message,
    ProviderMetadata,
    Tool,
    ToolCall,
    Usage,
)
from crux_providers.base.wire import WireEvent
from crux_providers.codecs import ollama_chat as codec
from tests.comparers.ollama_chat import events_of, through_wire, unfold

text = st.text(max_size=30)
word = st.text("abcdefghij_", min_size=1, max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(word, inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(word, json_values, max_size=3)
calls = st.builds(
    lambda id, name, args: ToolCall(f"call_{id}", name, args, dialect=codec.DIALECT),
    word,
    word,
    arguments,
)
image = st.binary(min_size=1, max_size=8).map(lambda b: ContentPart("image", data=b))
user = st.builds(Message, st.just("user"), text) | st.builds(
    lambda t, i: Message("user", [*([ContentPart("text", t)] if t else []), *i]),
    text,
    st.lists(image, min_size=1, max_size=2),
)
assistant = st.builds(
    lambda t, c: Message("assistant", t, tool_calls=c), text, st.lists(calls, max_size=2)
)
tool = st.builds(lambda t, i, n: Message("tool", t, tool_call_id=i, name=n), text, word, word)
messages = st.lists(
    st.builds(Message, st.just("system"), text) | user | assistant | tool, max_size=5
).filter(lambda turns: _distinct([c.id for m in turns for c in m.tool_calls]))


def _distinct(ids: list[str]) -> bool:
    """Whether no call repeats another's id, which would be given one of its own."""
    return len(ids) == len(set(ids))


tools = st.lists(
    st.builds(lambda n, d: Tool(n, d, {"type": "object"}), word, st.none() | word), max_size=2
)
requests = st.builds(
    ChatRequest,
    model=word,
    messages=messages,
    max_tokens=st.none() | st.integers(1, 9999),
    temperature=st.none() | st.sampled_from([0, 0.5, 1.25]),
    top_p=st.none() | st.just(0.9),
    stop=st.none() | st.lists(word, min_size=1, max_size=2),
    seed=st.none() | st.integers(0, 99),
    tools=tools,
    reasoning_effort=st.sampled_from([None, "none", "low", "high", "on"]),
    extra=st.dictionaries(st.sampled_from(["keep_alive", "x_new"]), json_values, max_size=2),
)


@given(requests)
def test_a_request_survives_the_wire(request: ChatRequest) -> None:
    wire = codec.encode(request, stream=False)
    assert codec.parse_request(json.loads(json.dumps(wire.body))) == request


responses = st.builds(
    lambda t, r, c, usage, wire, finish: ChatResponse.build(
        [*([ContentPart("reasoning", r)] if r else []), *([ContentPart("text", t)] if t else [])],
        c,
        finish_reason="tool_calls" if c and finish == "stop" else finish,
        meta=ProviderMetadata(
            model_name="m",
            extra={
                "token_usage": usage.tokens,
                "wire_fields": {"created_at": "2026-01-01T00:00:00Z", **wire},
            },
        ),
    ),
    text,
    text,
    st.lists(calls, max_size=2),
    st.builds(Usage, st.integers(0, 99), st.integers(0, 99)),
    st.dictionaries(st.sampled_from(["total_duration", "x_new"]), st.integers(0, 99), max_size=2),
    st.sampled_from(["stop", "length"]),
)


@given(responses)
def test_an_answer_survives_rendering_whole_and_streamed(response: ChatResponse) -> None:
    assert codec.decode(codec.render_response(response)) == response
    assert through_wire(unfold(response)) == response


def test_ids_are_made_the_same_every_time() -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    body = {
        "model": "m",
        "created_at": "t",
        "done": True,
        "done_reason": "stop",
        "message": {"role": "assistant", "content": "", "tool_calls": [call, call]},
    }
    first, second = codec.decode(body).tool_calls
    assert first.id != second.id
    assert codec.decode(body).tool_calls == (first, second)
    assert codec.decode(body).finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("request_fields", "feature"),
    [
        ({"tools": [Tool("f")], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [Tool("f")], "tool_choice": "f"}, "tool_choice"),
        ({"messages": [Message("user", [ContentPart("pdf", data="eA==")])]}, "pdf"),
        ({"messages": [Message("user", [ContentPart("audio", data="eA==")])]}, "audio"),
        ({"messages": [Message("user", [ContentPart("image", url="https://x/y.png")])]}, "vision"),
    ],
)
def test_what_it_cannot_say_is_unsupported(request_fields: dict[str, Any], feature: str) -> None:
    with pytest.raises(ProviderError) as caught:
        codec.encode(ChatRequest(model="m", **request_fields), stream=False)
    assert caught.value.code is ErrorCode.UNSUPPORTED
    assert caught.value.feature == feature


def test_what_is_lost_is_said() -> None:
    request = ChatRequest(
        model="m",
        messages=[
            Message(
                "assistant",
                [
                    ContentPart("reasoning", "secret", signature="s", dialect="anthropic_messages"),
                    ContentPart("text", "hi"),
                ],
            )
        ],
        tools=[Tool("f")],
        parallel_tool_calls=False,
        reasoning_budget=100,
    )
    wire = codec.encode(request, stream=True)
    assert "secret" not in json.dumps(wire.body)
    assert len(wire.degraded) == 3


@pytest.mark.parametrize(
    ("status", "words", "code", "feature"),
    [
        (400, '"gemma:2b" does not support tools', "unsupported", "tools"),
        (400, "registry.ollama.ai/library/x:1b does not support tools", "unsupported", "tools"),
        (404, "model 'x' not found", "not_found", None),
        (400, "the word tools is in this message", "bad_request", None),
        (500, "boom", "server_error", None),
        (
            503,
            "server busy, please try again.  maximum pending requests exceeded",
            "overloaded",
            None,
        ),
    ],
)
def test_errors(status: int, words: str, code: str, feature: str | None) -> None:
    failure = WireFailure("status", status=status, body=json.dumps({"error": words}).encode())
    error = codec.classify(failure)
    assert (str(error.code), error.feature, error.message) == (code, feature, words)


def test_an_error_in_the_stream_is_raised() -> None:
    decoder = codec.Decoder()
    with pytest.raises(ProviderError, match="boom"):
        decoder.feed(WireEvent('{"error": "boom"}'))


SAMPLE = (
    b'{"model":"m","created_at":"t","message":{"role":"assistant","content":"He"},"done":false}\n'
    b'{"model":"m","created_at":"t","message":{"role":"assistant","content":"","tool_calls":'
    b'[{"function":{"name":"f","arguments":{"a":[1]}}}]},"done":false}\n'
    b'{"model":"m","created_at":"t","message":{"role":"assistant","content":""},"done":true,'
    b'"done_reason":"stop","prompt_eval_count":3,"eval_count":4}\n'
)


def test_fuzzed_lines_raise_nothing_but_provider_errors() -> None:
    dice = random.Random(7)
    for _ in range(3000):
        body = bytearray(SAMPLE)
        for _ in range(dice.randint(1, 4)):
            match dice.randint(0, 3):
                case 0:
                    body[dice.randrange(len(body))] = dice.randrange(256)
                case 1:
                    at = dice.randrange(len(body))
                    del body[at : at + dice.randint(1, 9)]
                case 2:
                    at = dice.randrange(len(body))
                    body[at:at] = body[at : at + dice.randint(1, 40)]
                case _:
                    del body[dice.randint(1, len(body)) :]
            body = body or bytearray(b"{")
        try:
            events = events_of(bytes(body))
        except ProviderError:
            continue
        assert sum(e.finish_reason is not None for e in events) == 1
