"""Answers of the OpenAI chat dialect: whole, in chunks, and as a server writes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.events import ChatStreamEvent, fold
from crux_providers.base.models import ChatResponse, ContentPart, Usage
from crux_providers.base.wire import WireEvent
from crux_providers.codecs import openai_chat as codec

IDS: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 5,
    "model": "m",
}


def chunk(delta: Any = None, finish: str | None = None, **more: Any) -> WireEvent:
    choice = {"index": 0, "delta": delta if delta is not None else {}, "finish_reason": finish}
    return WireEvent(json.dumps({**IDS, "choices": [choice], **more}))


def events_of(*wire: WireEvent) -> list[ChatStreamEvent]:
    decoder = codec.Decoder()
    return [*(e for w in wire for e in decoder.feed(w)), *decoder.finish()]


def stream(*deltas: Any, finish: str = "stop") -> ChatResponse:
    return fold(events_of(*(chunk(d) for d in deltas), chunk({}, finish), WireEvent("[DONE]")))


def whole(message: Any, finish: str | None = "stop", **more: Any) -> ChatResponse:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = {**IDS, "object": "chat.completion", "choices": [choice], **more}
    return codec.decode(json.dumps(body).encode())


def failure(*wire: WireEvent) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        events_of(*wire)
    return caught.value


# --- text, ends, damage -------------------------------------------------------------------------


def test_a_text_stream_event_by_event() -> None:
    decoder = codec.Decoder()
    assert decoder.feed(chunk({"role": "assistant", "content": ""})) == [
        ChatStreamEvent(meta={"response_id": "chatcmpl-1", "model_name": "m"})
    ]
    assert decoder.feed(chunk({"content": "Hel"})) == [ChatStreamEvent("Hel")]
    assert decoder.feed(chunk({"content": "lo"})) == [ChatStreamEvent("lo")]
    assert not decoder.complete
    assert decoder.feed(chunk({}, "stop")) == []
    assert (decoder.complete, decoder.ended) == (True, False)
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    last = WireEvent(json.dumps({**IDS, "choices": [], "usage": usage}))
    assert decoder.feed(last) == [ChatStreamEvent(usage=Usage(3, 2, 5))]
    assert decoder.feed(WireEvent("[DONE]")) == [
        ChatStreamEvent(finish_reason="stop", meta={"wire_fields": {"created": 5}})
    ]
    assert (decoder.complete, decoder.ended) == (True, True)
    assert decoder.feed(chunk({"content": "late"})) == []
    assert decoder.finish() == []


def test_either_end_marker_will_do() -> None:
    assert fold(events_of(chunk({"content": "a"}, "length"))).finish_reason == "length"
    assert fold(events_of(chunk({"content": "a"}), WireEvent(" [DONE] "))).finish_reason == "other"
    assert fold(events_of(WireEvent("[DONE]"))).empty


def test_a_stream_without_its_end_is_transient() -> None:
    error = failure(chunk({"content": "a"}))
    assert error.code is ErrorCode.TRANSIENT
    assert "stream ended without" in error.message


@pytest.mark.parametrize(
    "wire",
    [
        WireEvent("{"), WireEvent(b"\xff"), WireEvent("[]"), WireEvent("null"), WireEvent("NaN"),
        WireEvent('{"choices": null}'), WireEvent('{"choices": [1]}'), WireEvent('{"choices": {}}'),
        WireEvent('{"choices": [{"index": 0}]}'), WireEvent('{"choices": [{"delta": "x"}]}'),
        chunk({"content": 5}), chunk({"content": {"a": 1}}), chunk({"tool_calls": "x"}),
        chunk({"tool_calls": [{"function": {"name": ["x"]}}]}), chunk({"refusal": 1}),
        chunk({"tool_calls": [{"function": {"name": "f", "arguments": 5}}]}),
        chunk({"reasoning_content": [1]}), chunk({"reasoning_details": [{"type": 5}]}),
        WireEvent('{"choices": [{"delta": {"content": ' + "[" * 4000),
    ],
)  # fmt: skip
def test_damaged_chunks_are_malformed(wire: WireEvent) -> None:
    assert failure(wire).code is ErrorCode.MALFORMED


def test_what_cannot_carry_content_is_passed_over() -> None:
    decoder = codec.Decoder()
    assert decoder.feed(WireEvent("", None)) == []
    assert decoder.feed(WireEvent("  ")) == []
    assert decoder.feed(WireEvent("not json", "ping")) == []
    assert decoder.feed(WireEvent('{"type": "ping"}', "heartbeat")) == []
    assert decoder.skipped == 2
    named = chunk({"content": "a"})
    assert decoder.feed(WireEvent(named.data, "completion.chunk"))[-1].delta == "a"
    assert decoder.feed(WireEvent(json.loads(named.data)))[-1].delta == "a"  # an SDK's dict
    assert decoder.feed(WireEvent(named.data.encode()))[-1].delta == "a"


def test_an_error_in_the_stream_is_raised_even_beside_choices() -> None:
    error = {"message": "Provider disconnected", "code": 502, "metadata": {"provider_name": "X"}}
    caught = failure(chunk({"content": ""}, "error", error=error))
    assert (caught.code, caught.message) == (ErrorCode.TRANSIENT, "Provider disconnected")
    choice = {"index": 0, "delta": {}, "error": {"message": "slow", "code": "rate_limit_exceeded"}}
    inner = WireEvent(json.dumps({**IDS, "choices": [choice]}))
    assert failure(inner).code is ErrorCode.RATE_LIMIT
    groq = WireEvent('{"error": {"message": "bad call", "code": "tool_use_failed"}}', "error")
    assert failure(groq).code is ErrorCode.MALFORMED
    bare = WireEvent('{"message": "over capacity", "type": "overloaded"}', "error")
    assert failure(bare).code is ErrorCode.OVERLOADED
    with pytest.raises(ProviderError, match="nope"):
        codec.decode({"object": "error", "message": "nope", "code": 400})


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"[]", b"\xff", "{", {"choices": [{}]}, {"choices": [{"message": None}]}, None, 5],
)
def test_damaged_answers_are_malformed(payload: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        codec.decode(payload)
    assert caught.value.code is ErrorCode.MALFORMED


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"), ("length", "length"), ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"), ("function_call", "tool_calls"),
        ("model_length", "length"), ("error", "error"), ("sensitive", "content_filter"),
        ("insufficient_system_resource", "error"), ("eos", "stop"), ("new_word", "other"),
    ],
)  # fmt: skip
def test_finish_reasons(word: str, reason: str) -> None:
    answer = whole({"content": "x"}, word)
    assert answer.finish_reason == reason
    fields = answer.meta.extra["wire_fields"]
    assert fields.get("choice", {}).get("finish_reason", word) == word
    assert codec.decode(codec.render_response(answer)) == answer
    assert fold(events_of(chunk({"content": "x"}), chunk({}, word))).finish_reason == reason


def test_the_finish_reason_comes_once_and_knows_the_calls() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    events = events_of(
        chunk({"content": "a"}, "stop"), chunk({"tool_calls": [call]}), chunk({}, "stop")
    )
    assert [e.finish_reason for e in events if e.finish_reason] == ["tool_calls"]
    cut = fold(events_of(chunk({"tool_calls": [call]}, "length")))
    assert cut.finish_reason == "length"


# --- tool calls ---


def piece(arguments: str | None = None, *, name: str | None = None, **more: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {**more, "function": {k: v for k, v in function.items() if v is not None}}


def calls_of(*deltas: Any, finish: str = "tool_calls") -> list[tuple[str, str, str | None]]:
    answer = stream(*({"tool_calls": d} for d in deltas), finish=finish)
    return [(c.id, c.name, c.raw_arguments) for c in answer.tool_calls]


def test_parallel_calls_in_pieces() -> None:
    assert calls_of(
        [piece("", name="f", id="a", index=0, type="function")],
        [piece('{"x"', index=0)],
        [piece("", name="g", id="b", index=1, type="function")],
        [piece(":1}", index=0), piece("{}", index=1)],
    ) == [("a", "f", '{"x":1}'), ("b", "g", "{}")]


def test_whole_calls_without_an_index() -> None:  # Mistral, Ollama
    assert calls_of(
        [piece('{"a":1}', name="f", id="x"), piece('{"a":1}', name="f", id="y")],
        [piece("{}", name="g", id="z")],
    ) == [("x", "f", '{"a":1}'), ("y", "f", '{"a":1}'), ("z", "g", "{}")]


def test_pieces_without_an_index_go_on_with_the_last_call() -> None:
    assert calls_of([piece("{", name="f", id="x")], [piece('"a":1')], [piece("}", id="x")]) == [
        ("x", "f", '{"a":1}')
    ]


def test_ids_repeated_and_names_empty_or_repeated() -> None:
    assert calls_of(
        [piece("", name="f", id="a", index=0)],
        [piece("{", name="", id="", index=0)],
        [piece("}", name="f", id="a", index=0)],
    ) == [("a", "f", "{}")]


def test_every_call_numbered_0_is_still_its_own() -> None:
    assert calls_of(
        [piece("{}", name="f", id="a", index=0)], [piece("{}", name="g", id="b", index=0)]
    ) == [("a", "f", "{}"), ("b", "g", "{}")]


def test_empty_ids_are_made_up_the_same_each_time() -> None:  # Gemini's OpenAI endpoint
    deltas = [piece("{}", name="f", id=""), piece("{}", name="f", id="")]
    made = calls_of(deltas)
    assert made == calls_of(deltas)
    ids = [id for id, *_ in made]
    assert len(set(ids)) == 2
    assert all(id.startswith("call_") and len(id) <= 40 for id in ids)
    again = whole({"content": None, "tool_calls": deltas}, "tool_calls")
    assert [c.id for c in again.tool_calls] == ids


def test_arguments_that_are_no_text() -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": {"x": "ä"}}}
    answer = whole({"content": None, "tool_calls": [call]})
    assert answer.tool_calls[0].raw_arguments == '{"x":"ä"}'
    call["function"]["arguments"] = None  # type: ignore[index]  # a dict of this test
    assert whole({"content": None, "tool_calls": [call]}).tool_calls[0].arguments == {}


def test_custom_calls_and_the_old_function_call() -> None:
    custom = {"id": "a", "type": "custom", "custom": {"name": "g", "input": "a + b"}}
    answer = whole({"content": None, "tool_calls": [custom]}, "tool_calls")
    (call,) = answer.tool_calls
    assert (call.name, call.raw_arguments, call.valid) == ("g", "a + b", False)
    assert codec.render_response(answer)["choices"][0]["message"]["tool_calls"] == [custom]
    old = {"name": "f", "arguments": '{"x":1}'}
    answer = whole({"content": None, "function_call": old}, "function_call")
    assert answer.tool_calls[0].arguments == {"x": 1}
    assert answer.finish_reason == "tool_calls"
    assert codec.render_response(answer)["choices"][0]["message"]["function_call"] == old
    pieces = [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"x":1}'}},
    ]
    assert stream(*pieces, finish="function_call").tool_calls == answer.tool_calls


def test_fields_of_a_call_return_with_it() -> None:
    signed = {"google": {"thought_signature": "s"}}
    call = {**piece("{}", name="f", id="a"), "type": "function", "extra_content": signed}
    answer = whole({"content": None, "tool_calls": [call]}, "tool_calls")
    assert answer.tool_calls[0].extra == {"extra_content": signed}
    request = codec.parse_request({"messages": []})
    turn = codec.encode(
        type(request)(messages=[answer.to_message()]),
        stream=False,
        options=codec.Options(reasoning_field="extra_content"),
    )
    assert turn.body is not None
    assert turn.body["messages"][0]["tool_calls"] == [call]


def test_a_call_without_a_name_is_malformed() -> None:
    assert failure(chunk({"tool_calls": [piece("{}", id="a")]}, "stop")).code is ErrorCode.MALFORMED


# --- reasoning ---


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_plain_reasoning(field: str) -> None:
    answer = stream({field: "h"}, {field: "m", "content": ""}, {field: None, "content": "so"})
    assert answer == whole({field: "hm", "content": "so"})
    assert (answer.reasoning, answer.text) == ("hm", "so")
    assert answer.parts == (ContentPart("reasoning", "hm"), ContentPart("text", "so"))


def test_the_same_reasoning_by_two_names_is_said_once() -> None:
    assert whole({"reasoning": "hm", "reasoning_content": "hm", "content": "x"}).reasoning == "hm"


def detail(text: str | None = None, **more: Any) -> dict[str, Any]:
    said = {} if text is None else {"text": text}
    return {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0, **said, **more}


def test_reasoning_details_are_put_together_with_their_signature() -> None:
    answer = stream(
        {"content": "", "reasoning": "h", "reasoning_details": [detail("h")]},
        {"content": "", "reasoning": "m", "reasoning_details": [detail("m")]},
        {"content": "", "reasoning_details": [detail(signature="sig")]},
        {"content": "so"},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "index": 1}]},
    )
    assert answer.parts == (
        ContentPart(
            "reasoning", "hm", signature="sig", dialect="openai_chat",
            extra={"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0},
        ),
        ContentPart("text", "so"),
        ContentPart(
            "reasoning", data="x", dialect="openai_chat",
            extra={"type": "reasoning.encrypted", "index": 1},
        ),
    )  # fmt: skip
    options = codec.Options(reasoning_field="reasoning_details")
    request = codec.parse_request({"messages": []})
    wire = codec.encode(
        type(request)(messages=[answer.to_message()]), stream=False, options=options
    )
    assert wire.body is not None
    assert wire.body["messages"][0]["reasoning_details"] == [
        detail("hm", signature="sig"),
        {"type": "reasoning.encrypted", "data": "x", "index": 1},
    ]


def test_a_detail_that_says_nothing_does_not_commit() -> None:
    decoder = codec.Decoder()
    decoder.feed(chunk({"role": "assistant", "content": ""}))
    empty = {"content": "", "reasoning": "", "reasoning_details": [detail("", signature="")]}
    assert not any(e.commits for e in decoder.feed(chunk(empty)))


def test_thinking_in_a_content_list() -> None:  # Mistral
    def thought(text: str) -> dict[str, Any]:
        return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}

    answer = stream({"content": [thought("h")]}, {"content": [thought("m")]}, {"content": "so"})
    said = {"role": "assistant", "content": [thought("hm"), {"type": "text", "text": "so"}]}
    assert answer == whole(said)
    assert answer.parts[0].extra == {"type": "thinking"}
    mixed = whole({"content": [thought("a"), {"type": "text", "text": "b"}, thought("c")]})
    assert [p.type for p in mixed.parts] == ["reasoning", "text", "reasoning"]
    assert codec.decode(codec.render_response(mixed)) == mixed


def test_a_message_signature_is_reasoning_to_send_back() -> None:
    extra = {"google": {"thought_signature": "s"}}
    answer = whole({"content": "x", "extra_content": extra})
    assert answer.parts[0].signature == "s"
    assert answer.reasoning is None
    assert stream({"content": "x"}, {"extra_content": extra}).parts[1] == answer.parts[0]


# --- the rest ---


def test_refusals() -> None:
    answer = stream({"refusal": "I "}, {"refusal": "won't."})
    assert answer == whole({"content": None, "refusal": "I won't."})
    assert answer.refusal == "I won't."


def test_audio_and_images_of_an_answer() -> None:
    audio = {"id": "audio_1", "data": "AAAA", "transcript": "hi", "expires_at": 9}
    answer = stream(
        {"audio": {"id": "audio_1", "transcript": "h"}},
        {"audio": {"data": "AA", "transcript": "i"}},
        {"audio": {"data": "AA"}},
        {"audio": {"expires_at": 9}},
    )
    assert answer == whole({"content": None, "audio": audio})
    assert codec.render_response(answer)["choices"][0]["message"]["audio"] == audio
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    drawn = whole({"content": "", "images": [image]})
    assert drawn.parts == (ContentPart("image", data="AA==", media_type="image/png"),)
    assert codec.render_response(drawn)["choices"][0]["message"]["images"] == [image]


def test_usage_of_every_provider() -> None:
    raw = {
        "prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17, "cost": 0.5,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2, "x_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 0},
    }  # fmt: skip
    answer = whole({"content": "x"}, usage=raw)
    assert answer.usage == Usage(10, 7, 17, {"cached": 4, "cache_write": 2, "reasoning": 5})
    assert answer.meta.extra["wire_fields"]["usage"] == {
        "cost": 0.5,
        "prompt_tokens_details": {"x_tokens": 1},
    }
    for flat in ("prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens"):
        assert whole({"content": ""}, usage={flat: 3}).usage.details == {"cached": 3}
    assert whole({"content": ""}, usage={"prompt_tokens": "many"}).usage == Usage()


@pytest.mark.parametrize("place", ["top", "x_groq", "choice"])
def test_usage_in_a_stream_wherever_it_stands(place: str) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    body: dict[str, Any] = {**IDS, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    match place:
        case "top":
            body["usage"] = usage
        case "x_groq":
            body["x_groq"] = {"id": "req_1", "usage": usage}
        case _:
            body["choices"][0]["usage"] = usage
    answer = fold(events_of(chunk({"content": "a"}), WireEvent(json.dumps(body))))
    assert answer.usage == Usage(1, 2, 3)
    assert answer.meta.request_id == ("req_1" if place == "x_groq" else None)


def test_usage_that_repeats_is_told_once() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}
    events = events_of(
        chunk({"content": "a"}, usage=usage),
        chunk({"content": "b"}, usage=usage),
        chunk({}, "stop", usage={**usage, "completion_tokens": 2}),
    )
    assert [e.usage.completion for e in events if e.usage] == [0, 2]


def test_logprobs_and_further_choices() -> None:
    entry = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
    choices = [
        {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [entry]}},
        {"index": 1, "delta": {"role": "assistant", "content": "b"}},
    ]
    more = [
        {"index": 1, "delta": {"content": "B"}, "finish_reason": "length"},
        {
            "index": 0,
            "delta": {"content": "A"},
            "logprobs": {"content": [entry]},
            "finish_reason": "stop",
        },
    ]
    answer = fold(
        events_of(*(WireEvent(json.dumps({**IDS, "choices": c})) for c in (choices, more)))
    )
    assert answer.text == "aA"
    assert answer.meta.extra["logprobs"] == [entry, entry]
    assert answer.meta.extra["wire_fields"]["choices"] == [
        {"index": 1, "message": {"role": "assistant", "content": "bB"}, "finish_reason": "length"}
    ]
    body = {
        **IDS,
        "choices": [
            {"index": 0, "message": {"content": "aA"}, "finish_reason": "stop"},
            {"index": 1, "message": {"content": "bB"}, "finish_reason": "length"},
        ],
    }
    assert codec.decode(body).meta.extra["wire_fields"]["choices"] == body["choices"][1:]


def test_unknown_fields_survive() -> None:
    answer = whole(
        {"content": "x", "annotations": [{"type": "url_citation"}], "executed_tools": [1]},
        citations=["u"],
        service_tier="default",
        provider="P",
        request_id="r-1",
    )
    assert answer.meta.request_id == "r-1"
    assert answer.meta.extra["wire_fields"] == {
        "created": 5,
        "citations": ["u"],
        "service_tier": "default",
        "provider": "P",
        "annotations": [{"type": "url_citation"}],
        "message": {"executed_tools": [1]},
    }
    rendered = codec.render_response(answer)
    assert rendered["citations"] == ["u"]
    assert rendered["choices"][0]["message"]["executed_tools"] == [1]
