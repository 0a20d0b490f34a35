"""OpenAI Responses: what a stream is read as, what ends it, and what damage does to it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.events import ChatStreamEvent, fold
from crux_providers.base.wire import WireEvent
from crux_providers.codecs.openai_responses import Decoder, decode
from tests.codecs.openai_responses_wire import (
    REFUSAL,
    call,
    feed,
    message,
    reasoning,
    response,
    streamed,
    text,
    wire,
)

BODY = response(
    reasoning("first", "second", encrypted_content="gAAAA"),
    message("Hello, world", phase="commentary"),
    {"id": "ws_1", "type": "web_search_call", "status": "completed"},
    call("f", '{"a": "one"}', call_id="call_1"),
    call("g", '{"b": "two"}', call_id="call_2", id="fc_2"),
)


def test_the_events_of_a_stream() -> None:
    events = feed(streamed(BODY))
    assert events[0] == ChatStreamEvent(
        meta={"response_id": "resp_1", "model_name": "gpt-5-mini-2025-08-07"}
    )
    assert [e.reasoning for e in events if e.reasoning] == ["fir", "st", "sec", "ond"]
    assert [e.delta for e in events if e.delta] == ["Hello,", " world"]
    assert len({e.block for e in events if e.delta}) == 1
    calls = [e.tool_call for e in events if e.tool_call]
    assert [c.index for c in calls] == sorted(c.index for c in calls)
    assert [(c.id, c.name) for c in calls if c.id] == [("call_1", "f"), ("call_2", "g")]
    assert "".join(c.arguments for c in calls if c.index == 1) == '{"b": "two"}'
    assert [e.finish_reason for e in events if e.finish_reason] == ["tool_calls"]
    assert not any(e.finish for e in events)
    assert fold(events) == decode(BODY)


def test_a_text_chunk_carries_nothing_else() -> None:
    plain = [e for e in feed(streamed(response(message("abcdef")), 3)) if e.delta][1:]
    assert [repr(e) for e in plain] == [
        "ChatStreamEvent(delta='cd', block=0)", "ChatStreamEvent(delta='ef', block=0)",
    ]  # fmt: skip


def test_the_first_piece_says_which_item_it_belongs_to() -> None:
    first = next(e for e in feed(streamed(response(message("ab", id="msg_9")))) if e.delta)
    assert first.part is not None
    assert (first.part.extra or {})["item"] == {"id": "msg_9"}


@pytest.mark.parametrize("end", ["response.completed", "response.incomplete"])
def test_proper_ends(end: str) -> None:
    details = {"reason": "max_output_tokens"} if end.endswith("incomplete") else None
    status = end.removeprefix("response.")
    body = response(message("a"), status=status, incomplete_details=details)
    decoder = Decoder()
    for event in wire(streamed(body)):
        assert not decoder.complete
        decoder.feed(event)
    assert decoder.complete
    assert decoder.ended
    assert list(decoder.feed(WireEvent("[DONE]"))) == []
    assert list(decoder.feed(WireEvent("{"))) == []
    assert decoder.skipped == 0


@pytest.mark.parametrize("done", [False, True])
def test_no_final_event_is_no_end(done: bool) -> None:
    events: list[Any] = streamed(BODY)[:-1]
    if done:
        events.append("[DONE]")
    with pytest.raises(ProviderError) as caught:
        feed(events)
    assert caught.value.code is ErrorCode.TRANSIENT
    assert caught.value.message == "stream ended without response.completed"


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"type": "error", "code": "server_error", "message": "m", "param": None}, "server_error"),
        ({"type": "error", "error": {"code": "rate_limit_exceeded", "message": "m"}}, "rate_limit"),
        ({"type": "error", "code": "context_length_exceeded", "message": "m"}, "context_length"),
        ({"error": {"code": 502, "message": "m"}}, "transient"),
        ({"type": "response.error", "error": {"code": "insufficient_quota"}}, "quota"),
        ({"type": "response.failed", "response": {"status": "failed", "error": {
            "code": "server_is_overloaded", "message": "m"}}}, "overloaded"),
        ({"type": "response.failed", "response": {}}, "server_error"),
        ({"type": "response.completed", "response": {"status": "failed"}}, "server_error"),
        ({"type": "response.completed", "response": {"status": "cancelled"}}, "cancelled"),
    ],
)  # fmt: skip
def test_errors_in_the_stream(event: dict[str, Any], code: str) -> None:
    for before in (0, 1, 12):
        with pytest.raises(ProviderError) as caught:
            feed([*streamed(BODY)[:before], event])
        assert caught.value.code == code


def test_the_name_of_an_event_speaks_where_its_data_does_not() -> None:
    decoder = Decoder()
    with pytest.raises(ProviderError) as caught:
        decoder.feed(WireEvent('{"code": "server_error", "message": "m"}', "error"))
    assert caught.value.code is ErrorCode.SERVER_ERROR
    events = [
        event
        for e in streamed(response(message("ab")))
        for event in Decoder.feed(
            decoder, WireEvent({k: v for k, v in e.items() if k != "type"}, e["type"])
        )
    ]
    assert fold(events) == decode(response(message("ab")))


def test_events_nobody_knows_are_passed_over() -> None:
    events = streamed(response(message("ab")))
    strange = [
        {"type": "response.of_next_year", "delta": 1},
        {"type": "keepalive"},
        {"type": "response.web_search_call.searching", "output_index": 0},
        {"type": "response.output_text.annotation.added", "annotation": {}},
        {"type": "response.code_interpreter_call_code.delta", "delta": "x", "output_index": 7},
        {},
    ]
    for place in range(len(events) - 1):
        mixed = [*events[: place + 1], *strange, *events[place + 1 :]]
        decoder = Decoder()
        assert fold(feed(mixed, decoder)) == decode(response(message("ab")))
        assert decoder.skipped == 0


def test_only_the_done_events_spell_an_answer() -> None:
    # LM Studio sends arguments without deltas (recorded: lmstudio-tool-call).
    kept = [e for e in streamed(BODY) if not e["type"].endswith(".delta")]
    assert fold(feed(kept)) == decode(BODY)
    assert [e.delta for e in feed(kept) if e.delta] == ["Hello, world"]


def test_only_the_final_event_spells_an_answer() -> None:
    assert fold(feed(streamed(BODY)[-1:])) == decode(BODY)


def test_a_final_event_without_its_output_leaves_what_was_streamed() -> None:
    for output in ([], None):
        events = streamed(BODY)
        final = {**BODY, "output": output}
        events[-1] = {"type": "response.completed", "response": final}
        assert fold(feed(events)) == decode(BODY)


def test_ids_may_change_on_the_way() -> None:
    """GitHub Copilot and OpenRouter: the final event's fields are the ones that go back."""
    final = json.loads(json.dumps(BODY))
    for number, item in enumerate(final["output"]):
        item["id"] = f"changed_{number}"
    events = streamed(BODY)
    events[-1] = {"type": "response.completed", "response": final}
    assert fold(feed(events)) == decode(final)


def test_positions_may_have_gaps() -> None:
    body = response(message("a", id="msg_1"), message("b", id="msg_2"))
    events = streamed(body)
    for event in events:
        if event.get("output_index") == 1:
            event["output_index"] = 5
    assert fold(feed(events)) == decode(body)


def test_text_that_an_announcement_begins_with_is_the_first_delta() -> None:
    events = streamed(response(message("Hello")), 1)
    for event in events:
        if event["type"] == "response.content_part.added":
            event["part"] = text("Hel")
        if event["type"].endswith(".delta"):
            event["delta"] = "lo"
    found = feed(events)
    assert [e.delta for e in found if e.delta] == ["Hel", "lo"]
    assert fold(found).text == "Hello"


def test_logprobs_come_with_the_end() -> None:
    entries = [{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}]
    body = response(message(text("a", logprobs=entries)))
    events = feed(streamed(body))
    assert [e for e in events if e.meta and "logprobs" in e.meta] == [events[-1]]
    assert fold(events) == decode(body)


def test_each_part_is_completed_once() -> None:
    told = [(e.part.type, e.part.text) for e in feed(streamed(BODY)) if e.part is not None]
    begun = [("reasoning", "")] * 2 + [("text", "")]
    completed = [("reasoning", ""), ("text", "")]  # the second summary has nothing to add
    assert sorted(told, key=str) == sorted([*begun, *completed, ("raw", None)], key=str)


def test_the_final_items_are_found_by_their_ids() -> None:
    body = response(message("a", id="msg_1"), message("b", id="msg_2"))
    events = streamed(body)
    swapped = {**body, "output": [{**i, "phase": i["id"]} for i in body["output"][::-1]]}
    events[-1] = {"type": "response.completed", "response": swapped}
    found = [(p.text, (p.extra or {})["item"]["phase"]) for p in fold(feed(events)).parts]
    assert found == [("a", "msg_1"), ("b", "msg_2")]


def test_a_refusal_is_streamed_as_one() -> None:
    events = feed(streamed(response(message(REFUSAL))))
    assert "".join(e.refusal or "" for e in events) == REFUSAL["refusal"]
    assert fold(events).finish_reason == "stop"


# --- damage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["{", b"\xff\xfe", "[]", '"x"', "NaN"])
def test_one_destroyed_event_is_mended_by_the_later_ones(damage: Any) -> None:
    events = wire(streamed(BODY, 3))
    for place in range(len(events) - 1):
        spoiled = [*events]
        spoiled[place] = WireEvent(damage)
        decoder = Decoder()
        found = [e for one in spoiled for e in decoder.feed(one)]
        assert fold(found) == decode(BODY), events[place]
        assert decoder.skipped == 1


@pytest.mark.parametrize("value", [None, 5, [], {"text": "x"}])
def test_a_delta_of_the_wrong_type_is_mended_too(value: Any) -> None:
    events = streamed(BODY, 3)
    for event in events:
        if "delta" in event:
            spoiled = [{**e, "delta": value} if e is event else e for e in events]
            decoder = Decoder()
            assert fold(feed(spoiled, decoder)) == decode(BODY)
            assert decoder.skipped == 1


def test_what_was_said_before_the_damage_is_said_once() -> None:
    events: list[Any] = streamed(response(message("abcdef")), 3)
    places = [n for n, e in enumerate(events) if e["type"].endswith(".delta")]
    events[places[1]] = "{"
    assert [e.delta for e in feed(events) if e.delta] == ["ab", "cdef"]


def test_items_after_the_damage_are_streamed_again() -> None:
    body = response(message("abcdef", id="msg_1"), message("uvwxyz", id="msg_2"))
    events: list[Any] = streamed(body, 3)
    events[4] = "{"
    assert [e.delta for e in feed(events) if e.delta] == ["abcdef", "uv", "wx", "yz"]


def test_a_destroyed_final_event_is_no_end() -> None:
    events: list[Any] = streamed(BODY)
    events[-1] = json.dumps(events[-1])[:-5]
    with pytest.raises(ProviderError) as caught:
        feed(events)
    assert caught.value.code is ErrorCode.TRANSIENT


def test_damage_that_the_final_event_does_not_mend_is_an_error() -> None:
    for output in ([], None, [BODY["output"][0]]):
        events: list[Any] = streamed(BODY, 3)
        final = {"type": "response.completed", "response": {**BODY, "output": output}}
        done = [n for n, e in enumerate(events) if e["type"] == "response.output_item.done"]
        delta = next(n for n, e in enumerate(events) if e["type"] == "response.output_text.delta")
        spoiled = [e for n, e in enumerate(events[:-1]) if n not in done]
        spoiled[spoiled.index(events[delta])] = "{"
        with pytest.raises(ProviderError) as caught:
            feed([*spoiled, final])
        assert caught.value.code is ErrorCode.MALFORMED, output


def test_a_destroyed_event_is_an_error_where_nothing_repeats_it() -> None:
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed"}
    body = response(search, message("a"))
    final = {"type": "response.completed", "response": {**body, "output": []}}
    told = [e for e in streamed(body)[:-1] if e.get("output_index") == 1]
    with pytest.raises(ProviderError) as caught:
        feed(["{", *told, final])
    assert caught.value.code is ErrorCode.MALFORMED


def test_an_item_announced_twice_is_told_once() -> None:
    events = streamed(BODY, 3)
    for place, event in enumerate(events):
        if event["type"] == "response.output_item.added":
            decoder = Decoder()
            again = [*events[: place + 4], event, *events[place + 4 :]]
            assert fold(feed(again, decoder)) == decode(BODY)
            assert decoder.skipped == 1


def test_text_that_got_lost_on_the_way_is_an_error() -> None:
    # A line that no longer begins with "data:" never becomes an event; the numbers tell.
    events = streamed(response(message("abcdef")), 3)
    place = next(n for n, e in enumerate(events) if e["type"].endswith(".delta")) + 1
    with pytest.raises(ProviderError) as caught:
        feed([*events[:place], *events[place + 1 :]])
    assert caught.value.code is ErrorCode.MALFORMED


def test_a_stream_that_contradicts_itself_keeps_what_was_seen() -> None:
    events = streamed(response(message("abcdef")))
    final = response(message("another"))
    events[-1] = {"type": "response.completed", "response": final}
    assert fold(feed(events)).text == "abcdef"


def test_a_call_whose_arguments_change_is_an_error() -> None:
    events = streamed(response(call(arguments='{"a": 1}')))
    for written in ('{"a":1}', '{ "a": 1 }'):
        events[-1] = {"type": "response.completed", "response": response(call(arguments=written))}
        assert fold(feed(events)).tool_calls[0].raw_arguments == '{"a": 1}'
    events[-1] = {"type": "response.completed", "response": response(call(arguments='{"a": 2}'))}
    with pytest.raises(ProviderError) as caught:
        feed(events)
    assert caught.value.code is ErrorCode.MALFORMED
