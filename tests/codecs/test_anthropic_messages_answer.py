"""Anthropic Messages, answers: whole, streamed as the API streams them, and rendered by us."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.events import ChatStreamEvent, ToolCallDelta, fold
from crux_providers.base.models import (
    ChatRequest,
    ChatResponse,
    ContentPart,
    ProviderMetadata,
    ToolCall,
    Usage,
    compact_json,
)
from crux_providers.base.wire import WireEvent
from crux_providers.codecs.anthropic_messages import (
    DIALECT,
    Decoder,
    RenderState,
    decode,
    encode,
    models,
    parse_request,
    render_event,
    render_response,
)
from crux_providers.codecs.framing import SSEDecoder, render_sse
from tests.comparers.anthropic_messages import decode_stream, through_wire, unfold


def message(*content: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 5},
        **fields,
    }


def text(words: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **fields}


def call(name: str = "f", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": {}, **fields}


SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"q": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"url": "u"}]}
CITED = {"type": "web_search_result_location", "url": "u", "cited_text": "y"}


def streamed(body: dict[str, Any], pieces: int = 2) -> list[WireEvent]:
    """``body`` as the API streams it: blocks begin empty and grow by deltas."""
    events: list[dict[str, Any]] = []
    first = {**body["usage"], "output_tokens": 1}
    begun = {**body, "content": [], "stop_reason": None, "stop_sequence": None, "usage": first}
    moved = {k: begun.pop(k) for k in ("stop_details", "container") if k in begun}
    events.append({"type": "message_start", "message": begun})
    events.append({"type": "ping"})
    for index, block in enumerate(body["content"]):
        deltas: list[dict[str, Any]] = []
        begins = dict(block)
        match block["type"]:
            case "text":
                begins["text"] = ""
                if "citations" in block:
                    begins["citations"] = []
                for piece in cut(block["text"], pieces):
                    deltas.append({"type": "text_delta", "text": piece})
                for citation in block.get("citations") or ():
                    deltas.append({"type": "citations_delta", "citation": citation})
            case "thinking":
                begins.update(thinking="", signature="")
                for piece in cut(block["thinking"], pieces):
                    deltas.append({"type": "thinking_delta", "thinking": piece})
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
            case "tool_use" | "server_tool_use":
                begins["input"] = {}
                for piece in cut(compact_json(block["input"]), pieces):
                    deltas.append({"type": "input_json_delta", "partial_json": piece})
        events.append({"type": "content_block_start", "index": index, "content_block": begins})
        events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ends = {k: body[k] for k in ("stop_reason", "stop_sequence") if k in body}
    events.append({"type": "message_delta", "delta": {**ends, **moved}, "usage": body["usage"]})
    events.append({"type": "message_stop"})
    return [WireEvent(json.dumps(e), e["type"]) for e in events]


def cut(words: str, pieces: int) -> Iterator[str]:
    size = -(-len(words) // pieces) or 1
    return (words[n : n + size] for n in range(0, len(words), size))


def feed(events: list[WireEvent]) -> list[ChatStreamEvent]:
    decoder = Decoder()
    found = [e for event in events for e in decoder.feed(event)]
    assert decoder.complete
    assert decoder.ended
    return found + decoder.finish()


# --- whole -------------------------------------------------------------------------------------


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


# --- streams -----------------------------------------------------------------------------------


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


# --- rendered for a client ---------------------------------------------------------------------


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


# --- the listing -------------------------------------------------------------------------------


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


# --- laws --------------------------------------------------------------------------------------

_text = st.text(max_size=12)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner,
                                                               max_size=3),
    max_leaves=5,
)  # fmt: skip
_object = st.dictionaries(st.text(max_size=4), _json, max_size=3)
_later = st.fixed_dictionaries({}, optional={"later": _json.filter(lambda v: v is not None)})


def _block(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    known = st.fixed_dictionaries({"type": st.just(kind), **fields})
    return st.builds(lambda a, b: {**b, **a}, known, _later)


_blocks = st.one_of(
    _block("text", text=_text),
    _block("text", text=_text, citations=st.lists(_object, max_size=2)),
    _block("thinking", thinking=_text, signature=_text),
    _block("redacted_thinking", data=_text),
    _block("tool_use", id=_text, name=_text, input=_object),
    _block("server_tool_use", id=_text, name=_text, input=_object),
    _block("web_search_tool_result", tool_use_id=_text, content=_json),
    _block("of_next_year", anything=_json),
)
_count = st.integers(0, 10**9)
_usage = st.fixed_dictionaries(
    {"input_tokens": _count, "output_tokens": _count},
    optional={
        "cache_read_input_tokens": _count | st.none(),
        "cache_creation_input_tokens": _count,
        "cache_creation": st.fixed_dictionaries(
            {}, optional={"ephemeral_1h_input_tokens": _count, "ephemeral_later": _count}
        ),
        "server_tool_use": st.none() | st.just({"web_search_requests": 2}),
        "output_tokens_details": st.just({"thinking_tokens": 3}),
        "service_tier": st.just("standard"),
        "iterations": st.lists(_object, max_size=2),
    },
)
_stops = st.sampled_from(
    ["end_turn", "stop_sequence", "max_tokens", "tool_use", "pause_turn", "refusal", "later", None]
)
bodies = st.builds(
    lambda content, fields, later: message(*content, **later, **fields),
    st.lists(_blocks, max_size=5),
    st.fixed_dictionaries(
        {"usage": _usage, "stop_reason": _stops},
        optional={
            "stop_details": st.none() | st.just({"type": "refusal", "explanation": "no"}),
            "container": st.none() | st.just({"id": "c"}),
            "stop_sequence": st.none() | _text,
        },
    ),
    _later,
)


@given(bodies)
def test_rendered_and_decoded_again_an_answer_is_the_same(body: dict[str, Any]) -> None:
    answer = decode(body)
    assert decode(json.dumps(render_response(answer))) == answer


@given(bodies, st.integers(1, 4))
def test_a_stream_folds_to_what_the_whole_body_says(body: dict[str, Any], pieces: int) -> None:
    assert fold(feed(streamed(body, pieces))) == decode(body)


@given(bodies, st.booleans())
def test_our_stream_of_an_answer_folds_to_the_answer(body: dict[str, Any], deltas: bool) -> None:
    answer = decode(body)
    assert fold(through_wire(unfold(answer, deltas=deltas))) == answer


@given(bodies, st.data())
def test_bytes_split_anywhere_change_nothing(body: dict[str, Any], data: st.DataObject) -> None:
    wire = b"".join(map(render_sse, streamed(body)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    frames, decoder = SSEDecoder(), Decoder()
    events: list[ChatStreamEvent] = []
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        for event in frames.feed(wire[begin:end]):
            events += decoder.feed(event)
    assert frames.finish() == []
    assert fold(events) == decode(body)
