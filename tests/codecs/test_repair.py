"""What repair does, case by case: calls and results, files, empty turns, whose fields they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import ChatRequest, ContentPart, Message, ToolCall
from crux_providers.codecs import anthropic_messages as anthropic
from crux_providers.codecs import openai_chat, repair_words
from crux_providers.codecs.repair import OPENING, repair
from crux_providers.codecs.repair_calls import NO_RESULT
from tests.codecs.histories import (
    ANTHROPIC,
    CHAT,
    DIALECTS,
    GEMINI,
    OLLAMA,
    PNG,
    RESPONSES,
    encoded,
    rules_of,
)

USER = Message("user", "q")
STRICT = (CHAT, ANTHROPIC, GEMINI)


def calling(*ids: str, **more: Any) -> Message:
    return Message("assistant", "", tool_calls=[ToolCall(i, f"f_{i}", **more) for i in ids])


def result(call_id: str, text: str = "r", **more: Any) -> Message:
    return Message("tool", text, tool_call_id=call_id, **more)


def shape(messages: Any) -> list[tuple[str, str]]:
    """Roles and texts; of a call its id."""
    return [(m.role, m.text or ",".join(c.id for c in m.tool_calls)) for m in messages]


@pytest.mark.parametrize("dialect", STRICT)
def test_results_come_to_their_calls(dialect: str) -> None:
    history = [USER, calling("a", "b"), result("b", "B"), USER, result("a", "A"), USER]
    made, lost = repair(history, rules_of(dialect))
    assert shape(made) == [
        ("user", "q"), ("assistant", "a,b"), ("tool", "B"), ("tool", "A"), ("user", "q"),
        ("user", "q"),
    ]  # fmt: skip
    assert repair_words.LATE in lost


@pytest.mark.parametrize("dialect", [*STRICT, RESPONSES])
def test_a_call_that_was_left_is_answered_and_one_at_the_end_waits(dialect: str) -> None:
    made, lost = repair([USER, calling("a", "b"), result("a"), USER], rules_of(dialect))
    assert sorted(m.text for m in made if m.role == "tool") == sorted(["r", NO_RESULT])
    assert repair_words.UNANSWERED in lost
    at_the_end, _ = repair([USER, calling("a")], rules_of(dialect))
    assert [m.role for m in at_the_end] == ["user", "assistant"]


@pytest.mark.parametrize("dialect", [*STRICT, RESPONSES])
def test_a_result_without_its_call_is_the_users(dialect: str) -> None:
    made, lost = repair([result("gone", " kept\n"), USER], rules_of(dialect))
    assert made == (Message("user", " kept\n"), USER)
    assert lost == (repair_words.ORPHAN,)
    with pytest.raises(ProviderError, match="tool_call_id") as caught:
        repair([Message("tool", "whose?")], rules_of(dialect))
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_where_the_provider_keeps_the_calls_results_stand_alone() -> None:
    kept = {"previous_response_id": "resp_1"}
    from crux_providers.codecs.openai_responses import encode

    wire = encode(ChatRequest("m", [result("call_1")], extra=kept), stream=False)
    assert [i["type"] for i in (wire.body or {})["input"]] == ["function_call_output"]
    assert wire.degraded == ()


def test_a_number_used_again_belongs_to_the_turn_before() -> None:
    """Providers without ids number each turn's calls anew; the first loop was cancelled."""
    history = [USER, calling("call_0"), USER, calling("call_0"), result("call_0"), USER]
    made, _ = repair(history, rules_of(ANTHROPIC))
    calls = [c.id for m in made for c in m.tool_calls]
    assert len(set(calls)) == 2
    assert [(m.tool_call_id, m.text) for m in made if m.role == "tool"] == [
        (calls[0], NO_RESULT), (calls[1], "r"),
    ]  # fmt: skip


def test_gemini_begins_no_history_with_a_call_and_joins_what_its_model_said() -> None:
    made, lost = repair([calling("a"), result("a")], rules_of(GEMINI))
    assert shape(made)[0] == ("user", OPENING)
    assert lost[0] == repair_words.OPENING
    said = Message("assistant", [ContentPart("text", "one moment")])
    both, _ = repair([USER, said, calling("a", after=0), result("a")], rules_of(GEMINI))
    assert [m.role for m in both] == ["user", "assistant", "tool"]
    assert both[1].tool_calls[0].after == 1
    assert both[2].name == "f_a"


def test_turns_alternate_where_a_provider_wants_it() -> None:
    history = [USER, Message("user", "r "), Message("assistant", "a"), Message("assistant", "b")]
    body, lost = encoded(CHAT, history, alternate=True, text_lists=False)
    assert [(m["role"], m["content"]) for m in body["messages"]] == [
        ("user", "qr "), ("assistant", "ab"),
    ]  # fmt: skip
    assert lost == ()


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, ANTHROPIC])
def test_a_models_picture_is_shown_to_it_by_the_user(dialect: str) -> None:
    drawn = ContentPart("image", data=PNG, media_type="image/png", signature="s", dialect=GEMINI)
    turn = Message(
        "assistant", [ContentPart("text", "here"), drawn], tool_calls=[ToolCall("a", "f")]
    )
    made, lost = repair([USER, turn, result("a"), USER], rules_of(dialect))
    assert [m.role for m in made] == ["user", "assistant", "tool", "user", "user"]
    (shown,) = made[3].parts
    assert (shown.data, shown.signature, shown.dialect) == (PNG, None, None)
    assert repair_words.moved("image", "assistant") in lost
    assert repair([USER, turn], rules_of(GEMINI))[0][1].parts[1] is drawn


def test_a_turn_that_lost_all_it_had_goes_and_an_empty_one_stays_where_it_may() -> None:
    thought = Message(
        "assistant", [ContentPart("reasoning", "x", signature="s", dialect=ANTHROPIC)]
    )
    for dialect in (CHAT, RESPONSES, GEMINI, OLLAMA):
        made, lost = repair([USER, thought, USER], rules_of(dialect))
        assert made == (USER, USER)
        assert repair_words.empty("assistant") in lost
        empty = [USER, Message("assistant", ""), USER]
        assert repair(empty, rules_of(dialect)) == (tuple(empty), ())
    assert repair([USER, Message("assistant", " "), USER], rules_of(ANTHROPIC))[0] == (USER, USER)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_lies_with_another_provider_is_refused_or_left_out(dialect: str) -> None:
    uploaded = ContentPart("pdf", dialect="elsewhere", extra={"file_id": "file_1"})
    with pytest.raises(ProviderError) as caught:
        repair([Message("user", [uploaded])], rules_of(dialect))
    assert (caught.value.code, caught.value.feature) == (ErrorCode.UNSUPPORTED, "pdf")
    heard = [ContentPart("text", "a"), replace(uploaded, type="audio")]
    made, lost = repair([USER, Message("assistant", heard)], rules_of(dialect))
    assert made[1].text == "a"
    assert lost == ("an item of elsewhere was left out",)


def test_a_messages_own_fields_stay_with_their_dialect() -> None:
    request = openai_chat.parse_request(
        {"messages": [{"role": "user", "content": "q"},
                      {"role": "assistant", "content": "a", "prefix": True}]}
    )  # fmt: skip
    assert encoded(CHAT, request.messages)[0]["messages"][1]["prefix"] is True
    body, lost = encoded(ANTHROPIC, request.messages)
    assert body["messages"][1] == {"role": "assistant", "content": "a"}
    assert lost == ("openai_chat's fields of a message were left out",)


def test_a_custom_call_keeps_its_form_at_another_provider_of_the_dialect() -> None:
    extra = {"type": "custom_tool_call", "id": "ctc_1", "status": "completed"}
    call = ToolCall.from_text("c", "sql", "SELECT 1", dialect=RESPONSES, extra=extra,
                              provider="openai")  # fmt: skip
    history = [USER, Message("assistant", "", tool_calls=[call]), result("c")]
    body, lost = encoded(RESPONSES, history, provider="xai")
    assert body["input"][1:] == [
        {"type": "custom_tool_call", "call_id": "c", "name": "sql", "input": "SELECT 1"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "r"},
    ]
    assert lost == ("openai's fields of a tool call were left out",)
    assert encoded(RESPONSES, history, provider="openai")[0]["input"][1]["id"] == "ctc_1"


@pytest.mark.parametrize(
    ("signature", "thinks"), [("s", {"type": "enabled", "budget_tokens": 1024}),
                              (None, {"type": "disabled"})],
)  # fmt: skip
def test_a_tool_loop_begun_without_thinking_goes_on_without(
    signature: str | None, thinks: dict[str, Any]
) -> None:
    """Anthropic refuses to think in a loop whose calls had no thinking before them."""
    thought = ContentPart("reasoning", "x", signature=signature, dialect=ANTHROPIC)
    turn = Message("assistant", [thought], tool_calls=[ToolCall("a", "f")])
    request = ChatRequest("m", [USER, turn, result("a")], reasoning_budget=1024)
    wire = anthropic.encode(request, stream=False)
    assert (wire.body or {})["thinking"] == thinks
    assert any("without thinking" in line for line in wire.degraded) is (signature is None)
    later = ChatRequest("m", [*request.messages, Message("assistant", "so"), USER],
                        reasoning_budget=1024)  # fmt: skip
    body = anthropic.encode(later, stream=False).body or {}
    assert body["thinking"]["type"] == "enabled"


def test_nothing_is_copied_where_nothing_is_to_mend() -> None:
    history = (USER, Message("assistant", "a"), USER, calling("c"), result("c", name="f_c"), USER)
    for dialect in DIALECTS:
        if dialect == GEMINI:  # its newest models want the call signed
            continue
        made, lost = repair(history, rules_of(dialect))
        assert lost == ()
        assert all(new is old for new, old in zip(made, history, strict=True))
