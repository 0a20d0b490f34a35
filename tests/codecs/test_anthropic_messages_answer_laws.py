"""Anthropic Messages, laws of answers, held for whatever an answer may hold."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crux_providers.base.events import ChatStreamEvent, fold
from crux_providers.codecs.anthropic_messages import (
    Decoder,
    decode,
    render_response,
)
from crux_providers.codecs.framing import SSEDecoder, render_sse
from tests.codecs.anthropic_messages_wire import (
    feed,
    message,
    streamed,
)
from tests.comparers.anthropic_messages import through_wire, unfold

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

# Fields a block's kind does not have, some of them another's.
_others = st.dictionaries(
    st.sampled_from(["later", "", "text", "thinking", "data", "name"]),
    _json.filter(lambda v: v is not None),
    max_size=2,
)


def _block(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    known = st.fixed_dictionaries({"type": st.just(kind), **fields})
    return st.builds(lambda a, b: {**b, **a}, known, _others)


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
