"""The write policy of observed capabilities, row by row, and what readers make of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_providers.base.capabilities import (
    FEATURES,
    NO_FACTS,
    Answer,
    Fact,
    ModelFacts,
    Observation,
    load_observed,
    merge_capabilities,
    observations,
    proved_features,
    record_all,
    record_observation,
    refused_feature,
    requested_features,
)
from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure, classify_wire
from crux_providers.base.models import (
    ChatRequest,
    ChatResponse,
    ContentPart,
    Message,
    ProviderMetadata,
    Tool,
    ToolCall,
)
from crux_providers.config import defaults

ASK = ChatRequest(messages=[Message("user", "hi")])
SCHEMA = {"type": "object"}
TOOL = Tool("f")


def ask(**more: object) -> ChatRequest:
    return ChatRequest(messages=[Message("user", "hi")], **more)  # type: ignore[arg-type]


def refusal(
    feature: str | None, status: int = 400, code: ErrorCode = ErrorCode.UNSUPPORTED
) -> ProviderError:
    """As a codec makes it of a provider's answer."""
    failure = WireFailure("status", "no", status=status)
    return classify_wire(failure, code=code, feature=feature, message="no such feature")


def flags(found: list[Observation]) -> dict[str, bool]:
    return {seen.feature: seen.value for seen in found}


def observe(
    request: ChatRequest,
    response: ChatResponse | ProviderError,
    *,
    mode: str = "whole",
    emitted: bool = False,
) -> dict[str, bool]:
    outcome = (
        response
        if isinstance(response, ProviderError)
        else proved_features(requested_features(request, mode), Answer.of(response), mode)
    )
    return flags(
        observations("p", "m", mode=mode, outcome=outcome, at=1.0, emitted=emitted)  # type: ignore[arg-type]
    )


# -- what a request asks for ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "mode", "asked"),
    [
        (ASK, "whole", set()),
        (ASK, "stream", {"streaming"}),
        (ask(response_format="json_object"), "whole", {"json_output"}),
        (ask(response_format="json_object"), "stream",
         {"json_output", "structured_streaming", "streaming"}),
        (ask(json_schema=SCHEMA), "whole", {"json_schema"}),
        (ask(tools=[TOOL]), "whole", {"tools"}),
        (ask(tools=[TOOL], tool_choice="none"), "whole", set()),
        (ask(tools=[TOOL], tool_choice="auto"), "whole", {"tools"}),
        (ask(tools=[TOOL], tool_choice="f"), "whole", {"tools", "tool_choice"}),
        (ask(tools=[TOOL], parallel_tool_calls=True), "whole", {"tools", "parallel_tools"}),
        (ask(reasoning_effort="low"), "whole", {"reasoning"}),
        (ask(reasoning_budget=0), "whole", {"reasoning"}),
        (ask(top_logprobs=2), "whole", {"logprobs"}),
        (ChatRequest(messages=[Message("user", [
            ContentPart("text", "x"), ContentPart("image", url="u"),
            ContentPart("pdf", data="d"), ContentPart("audio", data="d")])]),
         "whole", {"vision", "pdf", "audio"}),
    ],
)  # fmt: skip
def test_requested_features(request_: ChatRequest, mode: str, asked: set[str]) -> None:
    assert requested_features(request_, mode) == asked
    assert asked <= FEATURES


# -- what a success proves ------------------------------------------------------------------------


def test_json_output_is_true_after_a_structured_whole_answer() -> None:
    answer = ChatResponse(text="{}", structured={}, finish_reason="stop")
    assert observe(ask(response_format="json_object"), answer) == {"json_output": True}
    assert observe(ask(json_schema=SCHEMA), answer) == {"json_schema": True, "json_output": True}
    assert observe(ASK, answer) == {}


def test_an_answer_that_is_no_json_proves_nothing() -> None:
    answer = ChatResponse(text="sure!", finish_reason="stop")
    assert observe(ask(response_format="json_object"), answer) == {}
    assert observe(ask(json_schema=SCHEMA), answer) == {}


def test_a_schema_that_was_not_kept_proves_nothing() -> None:
    answer = Answer.of(ChatResponse(text="{}", structured={}), fits_schema=False)
    assert proved_features({"json_schema"}, answer, "whole") == frozenset()


def test_a_structured_stream_proves_structured_streaming_and_not_json_output() -> None:
    answer = ChatResponse(text="{}", structured={}, finish_reason="stop")
    found = observe(ask(response_format="json_object"), answer, mode="stream", emitted=True)
    assert found == {"streaming": True, "structured_streaming": True}


def test_streaming_is_true_with_the_first_token_however_the_stream_ends() -> None:
    cut = ProviderError(ErrorCode.TRANSIENT, "cut", status=200)
    assert observe(ASK, cut, mode="stream", emitted=True) == {"streaming": True}
    assert observe(ASK, cut, mode="stream", emitted=False) == {}
    empty = ChatResponse(finish_reason="stop")
    assert observe(ASK, empty, mode="stream", emitted=False) == {}


def test_tools_are_proved_by_calls() -> None:
    one = ChatResponse(tool_calls=[ToolCall("1", "f")], finish_reason="tool_calls")
    two = ChatResponse(tool_calls=[ToolCall("1", "f"), ToolCall("2", "f")])
    said = ChatResponse(text="I have no tools", finish_reason="stop")
    asked = ask(tools=[TOOL], tool_choice="required", parallel_tool_calls=True)
    assert observe(asked, one) == {"tools": True, "tool_choice": True}
    assert observe(asked, two) == {"tools": True, "tool_choice": True, "parallel_tools": True}
    assert observe(asked, said) == {}
    assert observe(ASK, one) == {}


def test_reasoning_and_logprobs_are_proved_by_their_presence() -> None:
    asked = ask(reasoning_effort="low", logprobs=True)
    thought = ChatResponse(text="x", reasoning="hm")
    counted = ChatResponse(
        text="x", meta=ProviderMetadata(extra={"token_usage_details": {"reasoning": 5}})
    )
    scored = ChatResponse(text="x", meta=ProviderMetadata(extra={"logprobs": [{}]}))
    assert observe(asked, thought) == observe(asked, counted) == {"reasoning": True}
    assert observe(asked, scored) == {"logprobs": True}
    assert observe(asked, ChatResponse(text="x")) == {}


def test_input_parts_are_proved_by_an_answer() -> None:
    asked = ChatRequest(messages=[Message("user", [ContentPart("image", url="u")])])
    assert observe(asked, ChatResponse(text="a cat", finish_reason="stop")) == {"vision": True}
    assert observe(asked, ChatResponse(finish_reason="stop")) == {}


@pytest.mark.parametrize("reason", ["content_filter", "error", "other"])
def test_a_filtered_or_broken_answer_proves_nothing(reason: str) -> None:
    answer = ChatResponse(text="{}", structured={}, finish_reason=reason)
    assert observe(ask(response_format="json_object"), answer) == {}


# -- what a failure proves ------------------------------------------------------------------------


def test_a_refusal_that_names_the_feature_makes_it_false() -> None:
    found = observations("p", "m", mode="stream", outcome=refusal("structured_streaming"), at=5.0)
    assert found == [
        Observation(
            "p", "m", "structured_streaming", False, "stream", 5.0, "no such feature", "chat"
        )
    ]


def test_a_local_guard_is_no_refusal_of_the_provider() -> None:
    local = ProviderError(ErrorCode.UNSUPPORTED, "not in this dialect", feature="tools")
    assert refused_feature(local) is None
    never_sent = classify_wire(
        WireFailure("local", "no SDK"), code=ErrorCode.UNSUPPORTED, feature="tools"
    )
    assert refused_feature(never_sent) is None
    in_band = classify_wire(
        WireFailure("in_band", "no"), code=ErrorCode.UNSUPPORTED, feature="tools"
    )
    assert refused_feature(in_band) == "tools"


@pytest.mark.parametrize(
    "code", [code for code in ErrorCode if code not in ("unsupported", "bad_request")]
)
def test_other_errors_prove_nothing_even_where_they_name_a_feature(code: ErrorCode) -> None:
    assert refused_feature(refusal("tools", 503, code)) is None


def test_a_refusal_that_names_nothing_proves_nothing() -> None:
    assert refused_feature(refusal(None)) is None
    assert refused_feature(refusal("telepathy")) is None
    assert observe(ask(tools=[TOOL]), refusal(None)) == {}


def test_a_start_timeout_proves_nothing() -> None:
    assert observe(ASK, ProviderError(ErrorCode.TIMEOUT, "first_token"), mode="stream") == {}


def test_a_refusal_after_content_does_not_undo_streaming() -> None:
    found = observe(ASK, refusal("streaming"), mode="stream", emitted=True)
    assert found == {"streaming": True}


def test_reasons_hold_no_keys() -> None:
    error = refusal("tools")
    error.message = "key sk-" + "abcdefghijklmnop1234567890 may not " + "x" * 500
    (seen,) = observations("p", "m", mode="whole", outcome=error, at=1.0)
    assert seen.reason is not None
    assert "sk-abc" not in seen.reason
    assert len(seen.reason) <= 300


# -- reading --------------------------------------------------------------------------------------

NOW = 1_000_000.0
EXPIRE = defaults.OBSERVED_EXPIRE_S


def facts(**by_mode: tuple[bool, float]) -> ModelFacts:
    return ModelFacts({("tools", m): Fact(v, at, m) for m, (v, at) in by_mode.items()})


@pytest.mark.parametrize(
    ("known", "mode", "expected"),
    [
        (NO_FACTS, "whole", None),
        (facts(whole=(True, 0.0)), "whole", True),
        (facts(whole=(True, 0.0)), "stream", True),
        (facts(whole=(False, NOW - 1)), "whole", False),
        (facts(whole=(False, NOW - 1)), "stream", None),
        (facts(whole=(False, NOW - EXPIRE)), "whole", None),
        (facts(whole=(True, 0.0), stream=(False, NOW - 1)), "stream", False),
        (facts(whole=(True, 0.0), stream=(False, NOW - EXPIRE)), "stream", True),
        (facts(any=(False, NOW - 1)), "stream", False),
        (facts(any=(True, 0.0)), "stream", True),
    ],
)
def test_a_fact_by_mode(known: ModelFacts, mode: str, expected: bool | None) -> None:
    fact = known.fact("tools", mode, NOW)
    assert (fact.value if fact is not None else None) is expected


def test_expiry_is_the_callers_to_set() -> None:
    known = facts(whole=(False, NOW - 10))
    assert known.fact("tools", "whole", NOW, expire=5) is None
    assert known.flags(NOW, expire=5) == {}
    assert known.flags(NOW, expire=11) == {"tools": False}


def test_merge_overlays_in_both_directions_and_changes_nothing_given() -> None:
    base = {"a": {"tools": True, "vision": False}, "b": {"pdf": True}}
    observed = {"a": {"tools": False, "vision": True, "audio": True}, "c": {"tools": True}}
    before = json.dumps([base, observed])
    assert merge_capabilities(base, observed) == {
        "a": {"tools": False, "vision": True, "audio": True},
        "b": {"pdf": True},
        "c": {"tools": True},
    }
    assert json.dumps([base, observed]) == before


_FLAGS = st.dictionaries(
    st.sampled_from("abc"), st.dictionaries(st.sampled_from(sorted(FEATURES)), st.booleans())
)


@given(_FLAGS, _FLAGS)
def test_merge_laws(
    base: Mapping[str, dict[str, bool]], over: Mapping[str, dict[str, bool]]
) -> None:
    merged = merge_capabilities(base, over)
    for model in {*base, *over}:
        assert merged[model] == {**base.get(model, {}), **over.get(model, {})}
    assert merge_capabilities(merged, over) == merged
    assert merge_capabilities(base, {}) == dict(base)


# -- recording ------------------------------------------------------------------------------------


def test_recording_and_loading(crux_db: object) -> None:
    record_observation("p", "m", "tools", True, mode="whole", reason=None, source="probe")
    record_all(observations("p", "m", mode="stream", outcome={"vision"}, at=1.0, emitted=True))
    assert load_observed("p") == {"m": {"tools": True, "vision": True, "streaming": True}}


@pytest.mark.parametrize(("feature", "mode"), [("telepathy", "whole"), ("tools", "sideways")])
def test_unknown_words_are_refused(feature: str, mode: str) -> None:
    with pytest.raises(ValueError, match="is not one of"):
        record_observation("p", "m", feature, True, mode=mode)


def test_a_broken_database_place_fails_no_call(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CRUX_DB", "mysql://nobody/has-this")
    with caplog.at_level(logging.WARNING, logger="crux_providers"):
        record_observation("p", "m", "tools", True)
        record_observation("p", "m", "tools", True)
    assert load_observed("p") == {"m": {"tools": True}}
    assert len(caplog.records) == 1
