"""Gemini, answers: what the recordings do not show, and laws for whatever an answer may hold."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure
from crux_providers.base.events import ChatStreamEvent, ToolCallDelta, fold
from crux_providers.base.models import ChatResponse, ContentPart, Usage
from crux_providers.base.wire import WireEvent
from crux_providers.codecs.gemini_generate import (
    Decoder,
    RenderState,
    classify,
    decode,
    models,
    render_error,
    render_event,
    render_response,
)
from tests.comparers.gemini_generate import again_of, unfold

TYPE = "type.googleapis.com/google.rpc."


def answer(parts: list[Any], finish: Any = "STOP", **candidate: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": parts}
    made = {"content": content, "index": 0, **candidate}
    if finish is not None:
        made["finishReason"] = finish
    return {"candidates": [made], "modelVersion": "m-1", "responseId": "r-1"}


def read(*chunks: Any) -> list[ChatStreamEvent]:
    decoder = Decoder()
    events = [e for chunk in chunks for e in decoder.feed(WireEvent(json.dumps(chunk)))]
    return [*events, *decoder.finish()]


# -- parts -----------------------------------------------------------------------------------------


def test_text_with_a_signature_is_a_part_of_its_own_and_still_a_delta() -> None:
    events = read(
        answer([{"text": "Hel"}], None),
        answer([{"text": "lo"}], None),
        answer([{"text": "!", "thoughtSignature": "c2ln"}]),
    )
    assert "".join(e.delta or "" for e in events) == "Hello!"
    whole = fold(events)
    assert whole.parts == (
        ContentPart("text", "Hello"),
        ContentPart("text", "!", signature="c2ln", dialect="gemini_generate"),
    )
    assert again_of(events) == whole


def test_a_call_keeps_its_signature_and_gets_an_id_that_stays_the_same() -> None:
    body = answer(
        [
            {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"name": "f", "args": {"a": 1}}},
            {"functionCall": {"name": "g", "id": "theirs"}},
        ]
    )
    first, second, third = decode(body).tool_calls
    assert first.signature == "c2ln"
    assert second.signature is None
    assert first.id != second.id
    assert third.id == "theirs"
    assert third.arguments == {}
    assert decode(body) == decode(body) == fold(read(body))
    other = decode({**body, "responseId": "r-2"}).tool_calls
    assert other[0].id != first.id, "another answer's call is another call"


def test_arguments_in_pieces_become_one_object() -> None:
    def piece(path: str, **value: Any) -> dict[str, Any]:
        return {"functionCall": {"partialArgs": [{"jsonPath": path, **value}],
                                 "willContinue": True}}  # fmt: skip

    events = read(
        answer([{"functionCall": {"name": "f", "willContinue": True}}], None),
        answer([piece("$.city", stringValue="Zü", willContinue=True)], None),
        answer([piece("$.city", stringValue="rich")], None),
        answer([piece("$.days[0].n", numberValue=3)], None),
        answer([piece("$.days[1]['a b']", boolValue=False)], None),
        answer([piece("$.none", nullValue="NULL_VALUE")], None),
        answer([{"functionCall": {}}]),
    )
    whole = fold(events)
    (call,) = whole.tool_calls
    assert call.arguments == {
        "city": "Zürich", "days": [{"n": 3}, {"a b": False}], "none": None,
    }  # fmt: skip
    assert whole.finish_reason == "tool_calls"
    assert again_of(events) == whole


@pytest.mark.parametrize("path", ["$", "$.a[7]", "$.a..b", "$[x]", "$[0]", ""])
def test_a_path_that_leads_nowhere_is_malformed(path: str) -> None:
    call = {"name": "f", "partialArgs": [{"jsonPath": path, "stringValue": "x"}]}
    with pytest.raises(ProviderError) as caught:
        read(answer([{"functionCall": call}]))
    assert caught.value.code is ErrorCode.MALFORMED


def test_images_code_and_what_nobody_knows_are_parts() -> None:
    parts = [
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
        {"newKind": {"x": [1]}, "thoughtSignature": "c2ln"},
    ]
    whole = decode(answer(parts))
    assert [p.type for p in whole.parts] == ["image", "raw", "raw", "raw"]
    assert whole.parts[0].data == "aGk="
    rendered: Any = render_response(whole)
    assert rendered["candidates"][0]["content"]["parts"] == parts


# -- ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"), ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"), ("MALFORMED_FUNCTION_CALL", "error"),
        ("OTHER", "other"), ("REASON_OF_NEXT_YEAR", "other"), (1, "stop"), (3, "content_filter"),
    ],
)  # fmt: skip
def test_finish_reasons(reason: Any, finish: str) -> None:
    whole = decode(answer([{"text": "x"}], reason))
    assert whole.finish_reason == finish
    assert decode(render_response(whole)) == whole
    rendered: Any = render_response(whole)
    assert rendered["candidates"][0]["finishReason"] == reason


def test_a_filtered_candidate_needs_no_content() -> None:
    body = {"candidates": [{"finishReason": "SAFETY", "index": 0, "safetyRatings": [{"b": 1}]}]}
    whole = decode(body)
    assert (whole.text, whole.finish_reason) == ("", "content_filter")
    fields = whole.meta.extra["wire_fields"]["candidate"]
    assert fields == {"finishReason": "SAFETY", "safetyRatings": [{"b": 1}]}


@pytest.mark.parametrize("feed", [decode, read])
def test_a_blocked_prompt_is_a_content_filter_error(feed: Any) -> None:
    body = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "modelVersion": "m"}
    with pytest.raises(ProviderError) as caught:
        feed(body)
    assert caught.value.code is ErrorCode.CONTENT_FILTER
    assert caught.value.provider_code == "PROHIBITED_CONTENT"
    assert not caught.value.retryable


def test_what_follows_the_finish_reason_still_counts() -> None:
    late = {
        "candidates": [{"index": 0, "groundingMetadata": {"webSearchQueries": ["q"]}}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 9, "totalTokenCount": 12},
    }
    events = read(answer([{"text": "x"}]), late)
    whole = fold(events)
    assert whole.usage.completion == 9
    wire = whole.meta.extra["wire_fields"]
    assert wire["candidate"]["groundingMetadata"] == {"webSearchQueries": ["q"]}
    assert [e.finish_reason for e in events if e.finish_reason] == ["stop"]


def test_a_stream_without_a_finish_reason_was_cut() -> None:
    decoder = Decoder()
    decoder.feed(WireEvent(json.dumps(answer([{"text": "x"}], None))))
    assert not decoder.complete
    with pytest.raises(ProviderError) as caught:
        decoder.finish()
    assert caught.value.code is ErrorCode.TRANSIENT


@pytest.mark.parametrize(
    "body",
    [
        {}, [], 5, b"\xff", '{"candidates": [', {"candidates": {}}, {"candidates": [5]},
        answer([{"text": 5}]), answer([5]), answer([{"functionCall": {"args": {}}}]),
        answer([{"functionCall": {"name": "f", "args": "x"}}]), answer([{"text": "x"}], None),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_malformed(body: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        decode(body)
    assert caught.value.code is ErrorCode.MALFORMED


def test_usage_counts_tools_as_prompt_and_thoughts_as_completion() -> None:
    usage = {
        "promptTokenCount": 10, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 2,
        "thoughtsTokenCount": 7, "cachedContentTokenCount": 4, "totalTokenCount": 24,
        "trafficType": "ON_DEMAND",
    }  # fmt: skip
    whole = decode(answer([{"text": "x"}]) | {"usageMetadata": usage})
    details = {"cached": 4, "reasoning": 7, "toolUsePromptTokenCount": 5}
    assert whole.usage == Usage(15, 9, 24, details)
    assert whole.meta.extra["wire_fields"] == {"usageMetadata": {"trafficType": "ON_DEMAND"}}
    assert render_response(whole)["usageMetadata"] == usage


def test_other_candidates_are_kept_and_no_part_of_the_answer() -> None:
    body = answer([{"text": "one"}])
    other = {"content": {"parts": [{"text": "two"}], "role": "model"}, "index": 1}
    body["candidates"].append(other)
    whole = decode(body)
    assert whole.text == "one"
    assert whole.meta.extra["wire_fields"] == {"candidates": [other]}
    assert decode(render_response(whole)) == whole


# -- errors ----------------------------------------------------------------------------------------


def failure(status: int, word: str | None, message: str = "no", *details: Any) -> WireFailure:
    error = {"code": status, "message": message, "status": word, "details": list(details)}
    return WireFailure("status", status=status, body=json.dumps({"error": error}).encode())


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (failure(400, "INVALID_ARGUMENT"), ErrorCode.BAD_REQUEST),
        (failure(401, "UNAUTHENTICATED"), ErrorCode.AUTH),
        (failure(403, "PERMISSION_DENIED"), ErrorCode.PERMISSION),
        (failure(404, "NOT_FOUND"), ErrorCode.NOT_FOUND),
        (failure(429, "RESOURCE_EXHAUSTED"), ErrorCode.RATE_LIMIT),
        (failure(500, "INTERNAL"), ErrorCode.SERVER_ERROR),
        (failure(503, "UNAVAILABLE"), ErrorCode.OVERLOADED),
        (failure(504, "DEADLINE_EXCEEDED"), ErrorCode.TRANSIENT),
        (failure(418, None), ErrorCode.BAD_REQUEST),
        (WireFailure("connect"), ErrorCode.TRANSIENT),
        (WireFailure("status", status=502, body=b"<html>"), ErrorCode.TRANSIENT),
    ],
)
def test_errors_by_their_status_words(given: WireFailure, code: ErrorCode) -> None:
    assert classify(given).code is code


def test_an_invalid_key_is_auth_though_the_status_is_400() -> None:
    info = {"@type": TYPE + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    error = classify(failure(400, "INVALID_ARGUMENT", "API key not valid.", info))
    assert (error.code, error.provider_code) == (ErrorCode.AUTH, "API_KEY_INVALID")


def test_a_daily_quota_is_quota_and_a_rate_waits_as_told() -> None:
    wait = {"@type": TYPE + "RetryInfo", "retryDelay": "34.4s"}

    def quota(name: str) -> dict[str, Any]:
        return {"@type": TYPE + "QuotaFailure", "violations": [{"quotaId": name}]}

    rate = classify(failure(429, "RESOURCE_EXHAUSTED", "x", quota("RequestsPerMinute"), wait))
    assert (rate.code, rate.retry_after) == (ErrorCode.RATE_LIMIT, 34.4)
    day = classify(failure(429, "RESOURCE_EXHAUSTED", "x", wait, quota("RequestsPerDay-Free")))
    assert (day.code, day.retryable) == (ErrorCode.QUOTA, False)


@pytest.mark.parametrize(
    ("words", "code", "feature"),
    [
        ("The input token count (9) exceeds the maximum number of tokens allowed (8).",
         ErrorCode.CONTEXT_LENGTH, None),
        ("The input token count exceeds the maximum number of tokens allowed (8).",
         ErrorCode.CONTEXT_LENGTH, None),
        ("Function calling is not enabled for models/gemma-3-12b-it", ErrorCode.UNSUPPORTED,
         "tools"),
        ("Image input modality is not enabled for models/x", ErrorCode.UNSUPPORTED, "vision"),
        ("Thinking is not enabled for models/x", ErrorCode.UNSUPPORTED, "reasoning"),
        ("he said: Thinking is not enabled for models/x", ErrorCode.BAD_REQUEST, None),
    ],
)  # fmt: skip
def test_refusals_that_only_words_name(words: str, code: ErrorCode, feature: str | None) -> None:
    error = classify(failure(400, "INVALID_ARGUMENT", words))
    assert (error.code, error.feature) == (code, feature)


def test_an_error_in_a_stream_or_an_array_raises() -> None:
    body = {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}
    for feed in (read, decode, lambda b: decode([answer([], None), b])):
        with pytest.raises(ProviderError) as caught:
            feed(body)
        assert (caught.value.code, caught.value.message) == (ErrorCode.OVERLOADED, "busy")
    error = classify(WireFailure("status", status=429, body=json.dumps([body]).encode()))
    assert error.message == "busy"


@pytest.mark.parametrize("code", list(ErrorCode))
def test_a_rendered_error_is_read_as_one_the_same_to_a_caller(code: ErrorCode) -> None:
    status, body = render_error(ProviderError(code, "words", retry_after=1.5))
    again = classify(WireFailure("status", status=status, body=body))
    assert (again.message, again.retry_after) == ("words", 1.5)
    same = {
        ErrorCode.CONTEXT_LENGTH: ErrorCode.BAD_REQUEST,
        ErrorCode.UNSUPPORTED: ErrorCode.BAD_REQUEST,
        ErrorCode.CONTENT_FILTER: ErrorCode.BAD_REQUEST,
        ErrorCode.TRANSIENT: ErrorCode.OVERLOADED,
        ErrorCode.TIMEOUT: ErrorCode.TRANSIENT,
        ErrorCode.CANCELLED: ErrorCode.TRANSIENT,
        ErrorCode.MALFORMED: ErrorCode.TRANSIENT,
        ErrorCode.INTERNAL: ErrorCode.SERVER_ERROR,
    }
    assert again.code is same.get(code, code)


# -- streams for clients, models -------------------------------------------------------------------


def test_a_failed_stream_ends_in_an_error_a_client_reads() -> None:
    state = RenderState()
    render_event(ChatStreamEvent("Hel"), state)
    (last,) = render_event(ChatStreamEvent(finish=True, error="rate_limit:slow down"), state)
    with pytest.raises(ProviderError) as caught:
        Decoder().feed(last)
    assert (caught.value.code, caught.value.message) == (ErrorCode.RATE_LIMIT, "slow down")


def test_calls_of_another_dialect_are_sent_whole_and_in_their_place() -> None:
    events = [
        ChatStreamEvent("one ", block=0),
        ChatStreamEvent("text", block=0),
        ChatStreamEvent(tool_call=ToolCallDelta(0, "a", "f", '{"x":')),
        ChatStreamEvent(tool_call=ToolCallDelta(0, arguments="1}")),
        ChatStreamEvent("two", block=2),
        ChatStreamEvent(tool_call=ToolCallDelta(1, "b", "g", "{}")),
        ChatStreamEvent(finish_reason="tool_calls"),
    ]
    whole = again_of(events)
    assert [p.text for p in whole.parts] == ["one text", "two"]
    assert [(c.id, c.arguments, c.after) for c in whole.tool_calls] == [
        ("a", {"x": 1}, 1), ("b", {}, None),
    ]  # fmt: skip


def test_models_by_the_listing_only() -> None:
    (model,) = models(
        {"models": [{
            "name": "models/gemini-x", "displayName": "Gemini X", "inputTokenLimit": 10,
            "outputTokenLimit": 5, "supportedGenerationMethods": ["generateContent"],
            "thinking": True, "version": "001",
        }]}
    )  # fmt: skip
    assert (model.id, model.name) == ("gemini-x", "Gemini X")
    assert (model.context_length, model.max_output_tokens) == (10, 5)
    assert model.capabilities == {"reasoning": True, "streaming": True}
    assert model.capability_sources == {"reasoning": "api", "streaming": "api"}
    assert model.extra["version"] == "001"


# -- laws ------------------------------------------------------------------------------------------

_said = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _said,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_said, inner, max_size=3),
    max_leaves=4,
)
_object = st.dictionaries(_said, _json, max_size=3)
_signed = st.fixed_dictionaries(
    {}, optional={"thoughtSignature": st.just("c2ln"), "partMetadata": _object}
)
_wire_parts = st.builds(
    lambda part, more: {**part, **more},
    st.one_of(
        st.builds(lambda t: {"text": t}, st.text(max_size=8)),
        st.builds(lambda t: {"text": t, "thought": True}, st.text(max_size=8)),
        st.builds(lambda n, a: {"functionCall": {"name": n, "args": a}}, _said, _object),
        st.builds(lambda n, i: {"functionCall": {"name": n, "id": i}}, _said, _said),
        st.just({"inlineData": {"mimeType": "image/png", "data": "aGk="}}),
        st.builds(lambda o: {"executableCode": o}, _object),
    ),
    _signed,
)
_bodies = st.builds(
    lambda parts, finish, usage, more, beside: {
        **beside, **answer(parts, finish, **more), **usage
    },
    st.lists(_wire_parts, max_size=5),
    st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY", "OTHER"]),
    st.sampled_from([{}, {"usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}}]),
    st.fixed_dictionaries({}, optional={"avgLogprobs": st.just(-0.5), "citationMetadata": _object}),
    st.fixed_dictionaries({}, optional={"createTime": _said}),
)  # fmt: skip


@given(_bodies)
def test_an_answer_told_in_any_way_is_the_same(body: Any) -> None:
    whole = decode(json.dumps(body).encode())
    assert decode(render_response(whole)) == _compact(whole)
    assert fold(read(body)) == whole
    for deltas in (True, False):
        assert _compact(again_of(unfold(whole, deltas=deltas))) == _compact(whole)


@given(_bodies, st.data())
def test_the_parts_of_an_answer_may_come_in_any_number_of_chunks(body: Any, data: Any) -> None:
    (candidate,) = body["candidates"]
    parts = candidate["content"]["parts"]
    at = data.draw(st.integers(0, len(parts)))
    chunks = [
        answer(parts[:at], None),
        {**body, "candidates": [{**candidate, "content": {"role": "model", "parts": parts[at:]}}]},
    ]
    assert fold(read(*chunks)) == decode(body)
    assert decode(chunks) == decode(body)


def _compact(response: ChatResponse) -> ChatResponse:
    return replace(
        response, tool_calls=[replace(c, raw_arguments=None) for c in response.tool_calls]
    )
