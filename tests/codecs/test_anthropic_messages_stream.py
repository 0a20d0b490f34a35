"""Anthropic Messages, streams: as the API streams an answer, and as we stream one to a client."""

from __future__ import annotations

import pytest

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.events import ChatStreamEvent, ToolCallDelta, fold
from crux_providers.base.models import (
    ChatResponse,
    ContentPart,
    ProviderMetadata,
    ToolCall,
    Usage,
)
from crux_providers.base.wire import WireEvent
from crux_providers.codecs.anthropic_messages import (
    Decoder,
    RenderState,
    decode,
    render_event,
    render_response,
)
from crux_providers.codecs.framing import render_sse
from tests.codecs.anthropic_messages_wire import (
    CITED,
    SEARCH,
    call,
    feed,
    message,
    streamed,
    text,
)
from tests.comparers.anthropic_messages import decode_stream, through_wire, unfold


def test_the_events_of_a_stream() -> None:
    body = message(
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        text("ab", citations=[CITED]),
        call(input={"x": 1}),
        stop_reason="tool_use",
    )
    kinds = [
        next(f for f in ("delta", "reasoning", "tool_call", "part", "usage", "finish_reason")
             if getattr(e, f) is not None)
        for e in feed(streamed(body))
    ]  # fmt: skip
    assert kinds == [
        "usage",
        "reasoning",
        "reasoning",
        "part",
        "delta",
        "delta",
        "part",
        "tool_call",
        "tool_call",
        "tool_call",
        "usage",
        "finish_reason",
    ]


def test_pings_and_unknown_events_say_nothing() -> None:
    events = streamed(message(text("a")))
    odd = [
        WireEvent('{"type": "ping"}', "ping"),
        WireEvent("not json", "ping"),
        WireEvent('{"type": "next_year", "index": 0}', "next_year"),
        WireEvent(b"\xff", "next_year"),
    ]
    decoder = Decoder()
    found = [e for event in [*events[:4], *odd, *events[4:]] for e in decoder.feed(event)]
    assert found == feed(events)
    assert decoder.skipped == 2


def test_an_unknown_block_is_kept_with_all_its_deltas() -> None:
    compaction = {"type": "compaction_delta", "content": "summary", "encrypted_content": "e="}
    events = [
        {"type": "message_start", "message": message()},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "compaction", "content": None},
        },
        {"type": "content_block_delta", "index": 0, "delta": compaction},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "poem", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "ro"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "se"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_stop"},
    ]
    answer = fold(feed([WireEvent(e) for e in events]))
    assert [p.data for p in answer.parts] == [
        {"type": "compaction", "content": "summary", "encrypted_content": "e="},
        {"type": "poem", "text": "rose"},
    ]


def test_a_turn_that_comes_whole_with_its_beginning() -> None:
    body = message(call("f", input={"p": 1}), text("a"), stop_reason="tool_use")
    events = [WireEvent({"type": "message_start", "message": body}), WireEvent({}, "message_stop")]
    assert fold(feed(events)) == decode(body)


def test_a_server_tools_broken_input_is_wrapped() -> None:
    # Cut by max_tokens in the middle of its input.
    events = [e for e in streamed(message(SEARCH)) if r'"x\"}"' not in e.data]
    assert len(events) == len(streamed(message(SEARCH))) - 1
    [part] = fold(feed(events)).parts
    assert part.data == {**SEARCH, "input": {"INVALID_JSON": '{"q":'}}


def test_another_model_that_goes_on_gives_the_answer_its_name() -> None:
    fallback = {"type": "fallback", "from": {"model": "claude-x"}, "to": {"model": "claude-y"}}
    body = message(fallback, text("a"))
    assert fold(feed(streamed(body))).meta.model_name == "claude-y"


def test_counts_are_cumulative_and_what_is_left_out_stays() -> None:
    events = [
        {
            "type": "message_start",
            "message": message(usage={"input_tokens": 3, "cache_read_input_tokens": 7}),
        },
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 4}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 9, "input_tokens": None},
        },
        {"type": "message_stop"},
    ]
    answer = fold(feed([WireEvent(e) for e in events]))
    assert answer.usage == Usage(10, 9, details={"cached": 7})
    assert sum(e.finish_reason is not None for e in feed([WireEvent(e) for e in events])) == 1


@pytest.mark.parametrize("keep", range(1, 7))
def test_a_stream_without_its_end_is_transient(keep: int) -> None:
    decoder = Decoder()
    for event in streamed(message(text("ab")))[:keep]:
        decoder.feed(event)
    with pytest.raises(ProviderError) as caught:
        decoder.finish()
    assert caught.value.code is ErrorCode.TRANSIENT
    assert "message_stop" in caught.value.message
    assert not decoder.complete


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ('{"type":"error","error":{"type":"overloaded_error","message":"x"}}', "overloaded"),
        ('{"type":"error","error":{"type":"api_error","message":"x"}}', "server_error"),
        ('{"error":{"type":"rate_limit_error","message":"x"}}', "rate_limit"),
        (
            '{"error":{"type":"api_error","message":"Output blocked by content filtering policy"}}',
            "server_error",
        ),
        ("upstream went away", "server_error"),
        ('[{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}}]', "malformed"),
    ],
)  # fmt: skip
def test_an_error_event_is_that_error(data: str, code: str) -> None:
    decoder = Decoder()
    for event in streamed(message(text("ab")))[:4]:
        decoder.feed(event)
    with pytest.raises(ProviderError) as caught:
        decoder.feed(WireEvent(data, "error"))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "bad",
    [
        WireEvent("{", "content_block_delta"),
        WireEvent(b"\xff\xfe", "content_block_delta"),
        WireEvent("{"),
        WireEvent("[]", "content_block_delta"),
        WireEvent({"type": "content_block_delta", "index": 9, "delta": {}}),
        WireEvent({"type": "content_block_delta", "index": [], "delta": {}}),
        WireEvent({"type": "content_block_delta", "index": 0, "delta": "x"}),
        WireEvent({"type": "content_block_delta", "index": 0, "delta": {"text": "x"}}),
        WireEvent({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta"}}),
        WireEvent(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": "{"},
            }
        ),
        WireEvent({"type": "content_block_start", "index": 0, "content_block": text("again")}),
        WireEvent({"type": "content_block_start", "index": 1, "content_block": {"type": 1}}),
        WireEvent({"type": "content_block_start", "index": None, "content_block": text("")}),
        WireEvent({"type": "content_block_stop", "index": 3}),
        WireEvent({"type": "message_start", "message": message()}),
        WireEvent({"type": "message_delta", "delta": None}),
    ],
)
def test_malformed_content_is_never_passed_over(bad: WireEvent) -> None:
    decoder = Decoder()
    for event in streamed(message(text("ab")))[:4]:
        decoder.feed(event)
    with pytest.raises(ProviderError) as caught:
        decoder.feed(bad)
    assert caught.value.code is ErrorCode.MALFORMED


@pytest.mark.parametrize("kind", ["content_block_start", "message_delta", "message_stop"])
def test_nothing_comes_before_message_start(kind: str) -> None:
    with pytest.raises(ProviderError) as caught:
        Decoder().feed(WireEvent({"type": kind, "index": 0, "content_block": text("")}))
    assert caught.value.code is ErrorCode.MALFORMED


def test_another_dialects_answer_is_shown_as_far_as_this_one_goes() -> None:
    answer = ChatResponse.build(
        [
            ContentPart("reasoning", "hm", signature="foreign", dialect="gemini_generate"),
            ContentPart("reasoning", data="enc", dialect="openai_responses"),
            ContentPart("raw", data={"type": "web_search_call"}, dialect="openai_responses"),
            ContentPart("refusal", "I will not."),
        ],
        [ToolCall("call_1", "f", {"a": 1}, signature="s", dialect="gemini_generate")],
        finish_reason="stop",
        meta=ProviderMetadata(extra={"wire_fields": {"system_fingerprint": "fp"}}),
    )
    body = render_response(answer)
    details = {"type": "refusal", "category": None, "explanation": "I will not."}
    assert body == {
        "id": "",
        "type": "message",
        "role": "assistant",
        "model": "",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
        ],
        "stop_sequence": None,
        "stop_reason": "refusal",
        "stop_details": details,
        "usage": {"input_tokens": None, "output_tokens": None},
    }
    again = fold(through_wire(unfold(answer)))
    assert (again.reasoning, again.refusal, again.finish_reason) == (
        "hm",
        "I will not.",
        "content_filter",
    )
    assert [(c.id, c.arguments) for c in again.tool_calls] == [("call_1", {"a": 1})]


def test_interleaved_pieces_of_parallel_calls_reach_the_call_they_belong_to() -> None:
    events = [
        ChatStreamEvent(tool_call=ToolCallDelta(0, "a", "f")),
        ChatStreamEvent(tool_call=ToolCallDelta(1, "b", "g")),
        ChatStreamEvent(tool_call=ToolCallDelta(0, arguments='{"x":')),
        ChatStreamEvent(tool_call=ToolCallDelta(1, arguments="{}")),
        ChatStreamEvent(tool_call=ToolCallDelta(0, arguments="1}")),
        ChatStreamEvent(delta="so"),
        ChatStreamEvent(finish_reason="tool_calls"),
    ]
    answer = fold(through_wire(iter(events)))
    assert [(c.id, c.arguments) for c in answer.tool_calls] == [("a", {"x": 1}), ("b", {})]
    assert answer.text == "so"


def test_an_error_ends_the_stream_as_this_dialects_error_event() -> None:
    state = RenderState(model="m", response_id="msg_2")
    events = render_event(ChatStreamEvent(delta="a"), state)
    assert [e.name for e in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
    ]
    assert events[0].data["message"]["id"] == "msg_2"
    [error] = render_event(ChatStreamEvent(finish=True, error="overloaded:try later"), state)
    assert error == WireEvent(
        {"type": "error", "error": {"type": "overloaded_error", "message": "try later"}}, "error"
    )
    with pytest.raises(ProviderError) as caught:
        list(decode_stream(b"".join(map(render_sse, [*events, error]))))
    assert caught.value.code is ErrorCode.OVERLOADED
