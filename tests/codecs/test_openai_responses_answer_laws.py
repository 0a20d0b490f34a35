"""OpenAI Responses, laws of answers, held for whatever an answer may hold."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from crux_providers.base.events import ChatStreamEvent, fold
from crux_providers.base.models import ChatRequest, Message
from crux_providers.base.wire import WireEvent
from crux_providers.codecs.framing import SSEDecoder, render_sse
from crux_providers.codecs.openai_responses import Decoder, decode, encode, render_response
from tests.codecs.openai_responses_wire import feed, response, streamed
from tests.comparers.openai_responses import through_wire, unfold

_text = st.text(max_size=12)
_said = st.text(min_size=1, max_size=12)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
_object = st.dictionaries(st.text(max_size=4), _json, max_size=3)
_later = st.fixed_dictionaries({}, optional={"later": _json.filter(lambda v: v is not None)})


def _wire(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    known = st.fixed_dictionaries({"type": st.just(kind), **fields})
    return st.builds(lambda a, b: {**b, **a}, known, _later)


_logprobs = st.lists(st.fixed_dictionaries({"token": _said, "logprob": st.just(-0.5)}), max_size=2)
_pieces = st.one_of(
    _wire("output_text", text=_text),
    _wire("output_text", text=_said, annotations=st.lists(_object, max_size=2)),
    _wire("output_text", text=_said, annotations=st.just([]), logprobs=_logprobs),
    _wire("refusal", refusal=_text),
    _wire("output_of_next_year", anything=_json),
)
_status = st.sampled_from(["completed", "incomplete"])
_summaries = st.lists(_wire("summary_text", text=_text), max_size=2)
_thoughts = st.lists(_wire("reasoning_text", text=_text), max_size=2)
_arguments = st.one_of(_text, st.builds(json.dumps, _object))
_items = st.one_of(
    _wire("message", role=st.just("assistant"), content=st.lists(_pieces, max_size=3)),
    _wire(
        "message", role=st.just("assistant"), status=_status, content=st.lists(_pieces, max_size=2),
        phase=st.sampled_from(["commentary", "final_answer"]),
    ),
    _wire("reasoning", summary=_summaries, encrypted_content=_text | st.none()),
    _wire("reasoning", summary=_summaries, content=_thoughts, status=_status),
    _wire("function_call", call_id=_said, name=_said, arguments=_arguments, status=_status),
    _wire("custom_tool_call", call_id=_said, name=_said, input=_text),
    _wire("web_search_call", status=_status, action=_object),
    _wire("apply_patch_call", call_id=_said, operation=_object),
    _wire("item_of_next_year", anything=_json),
)  # fmt: skip
_count = st.integers(0, 10**9)
_usage = st.fixed_dictionaries(
    {"input_tokens": _count, "output_tokens": _count, "total_tokens": _count},
    optional={
        "input_tokens_details": st.fixed_dictionaries(
            {"cached_tokens": _count},
            optional={"cache_write_tokens": _count, "later_tokens": _count},
        ),
        "output_tokens_details": st.fixed_dictionaries({"reasoning_tokens": _count}),
        "cost": st.floats(0, 1),
        "num_sources_used": _count,
    },
)


def _with_ids(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**item, "id": f"item_{n}"} for n, item in enumerate(items)]


_endings = st.one_of(
    st.just({}),
    st.just({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}),
    st.just({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}),
    st.just({"status": "incomplete", "incomplete_details": {"reason": "of_next_year"}}),
    st.just({"status": "incomplete", "incomplete_details": None}),
)
bodies = st.builds(
    lambda items, ending, fields, later: response(*items, **later, **fields, **ending),
    st.lists(_items, max_size=5).map(_with_ids),
    _endings,
    st.fixed_dictionaries(
        {},
        optional={
            "usage": _usage | st.none(),
            "tools": st.lists(_object, max_size=1),
            "tool_choice": st.sampled_from(["auto", "required"]),
            "parallel_tool_calls": st.booleans(),
            "service_tier": st.just("default"),
            "created_at": st.integers(0, 2),
            "instructions": st.none() | _text,
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


@given(bodies)
def test_a_stream_rendered_event_by_event_folds_to_the_same(body: dict[str, Any]) -> None:
    events = feed(streamed(body))
    assert fold(through_wire(events)) == decode(body)


@given(bodies, st.data())
def test_a_destroyed_event_loses_nothing(body: dict[str, Any], data: st.DataObject) -> None:
    events: list[Any] = streamed(body, 3)
    if not body["output"]:
        return
    place = data.draw(st.integers(0, len(events) - 2))
    events[place] = json.dumps(events[place])[:-3]
    decoder = Decoder()
    assert fold(feed(events, decoder)) == decode(body)
    assert decoder.skipped == 1


@given(bodies)
def test_sent_back_the_items_are_those_that_came(body: dict[str, Any]) -> None:
    answer = decode(body)
    if not answer.parts and not answer.tool_calls:
        return
    ids = [call.id for call in answer.tool_calls]
    assume(len(ids) == len(set(ids)))  # a call that repeats another's id is given one of its own
    # With the results of its calls at the provider, none is missing here.
    kept = {"previous_response_id": "resp_0"}
    request = ChatRequest("m", [answer.to_message(), Message("assistant", "and")], extra=kept)
    given = [_as_input(item) for item in render_response(answer)["output"]]
    assert encode(request, stream=False).body["input"][:-1] == given


def _as_input(item: dict[str, Any]) -> dict[str, Any]:
    """An item without token entries, and with arguments that can be parsed."""
    if item["type"] == "function_call":
        return {**item, "arguments": item["arguments"] or "{}"}
    if item["type"] != "message":
        return item
    pieces = [
        {k: v for k, v in p.items() if k != "logprobs" or p["type"] != "output_text"}
        for p in item["content"]
    ]
    return {**item, "content": pieces}


@given(bodies, st.data())
def test_bytes_split_anywhere_change_nothing(body: dict[str, Any], data: st.DataObject) -> None:
    events = [WireEvent(e, e["type"]) for e in streamed(body)]
    wire = b"".join(map(render_sse, events))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    frames, decoder = SSEDecoder(), Decoder()
    found: list[ChatStreamEvent] = []
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        for event in frames.feed(wire[begin:end]):
            found += decoder.feed(event)
    assert frames.finish() == []
    assert fold(found) == decode(body)
