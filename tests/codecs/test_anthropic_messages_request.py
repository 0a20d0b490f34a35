"""Anthropic Messages, requests: the conversation and its files on the wire."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from crux_providers.base.errors import ProviderError
from crux_providers.base.models import ChatRequest, ContentPart, Message, ToolCall
from crux_providers.codecs.anthropic_messages import DIALECT, Options, encode
from tests.codecs.anthropic_messages_wire import (
    PNG,
    PYTHON,
    body_of,
    degraded,
    messages_of,
)


def test_a_whole_conversation_reaches_the_wire_unchanged() -> None:
    call = ToolCall("toolu_1", "run", {"code": PYTHON})
    thought = ContentPart("reasoning", "hm", signature="sig==", dialect=DIALECT)
    hidden = ContentPart("reasoning", data="opaque==", dialect=DIALECT)
    body = body_of(
        ChatRequest(
            "claude-x",
            [
                Message("system", " Be exact.\n"),
                Message(
                    "user",
                    [ContentPart("text", PYTHON), ContentPart("image", data=PNG)],
                ),
                Message(
                    "assistant", [thought, hidden, ContentPart("text", "Now:")], tool_calls=[call]
                ),
                Message("tool", PYTHON, tool_call_id="toolu_1", is_error=True),
                Message("user", "go on"),
            ],
            max_tokens=7,
        )
    )
    assert body == {
        "model": "claude-x",
        "max_tokens": 7,
        "system": " Be exact.\n",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": PYTHON},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "sig=="},
                    {"type": "redacted_thinking", "data": "opaque=="},
                    {"type": "text", "text": "Now:"},
                    {
                        "type": "tool_use",
                        "id": "toolu_1",
                        "name": "run",
                        "input": {"code": PYTHON},
                    },
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "content": PYTHON,
                        "is_error": True,
                    },
                    {"type": "text", "text": "go on"},
                ],
            },
        ],
    }


def test_results_of_one_turn_share_a_message_and_hold_their_parts() -> None:
    calls = [ToolCall("a", "f"), ToolCall("b", "g")]
    picture = [ContentPart("text", "see"), ContentPart("image", url="https://x.test/a.png")]
    _, _, results = messages_of(
        Message("user", "hi"),
        Message("assistant", "", tool_calls=calls),
        Message("tool", picture, tool_call_id="a"),
        Message("tool", "", tool_call_id="b", extra={"cache_control": {"type": "ephemeral"}}),
    )
    assert results == {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "a",
                "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
                ],
            },
            {"type": "tool_result", "tool_use_id": "b", "cache_control": {"type": "ephemeral"}},
        ],
    }


def test_calls_stand_among_the_parts_where_they_stood() -> None:
    parts = [ContentPart("text", t) for t in "abc"]
    calls = [ToolCall("0", "f", after=0), ToolCall("1", "f", after=2), ToolCall("2", "f")]
    message, _ = messages_of(
        Message("assistant", parts, tool_calls=calls),
        *(Message("tool", "x", tool_call_id=c.id) for c in calls),
    )[:2]
    order = [b.get("text") or b["id"] for b in message["content"]]
    assert order == ["0", "a", "b", "1", "c", "2"]


def test_one_text_leading_system_stays_text_and_more_become_blocks() -> None:
    user = Message("user", "hi")
    one = ChatRequest("m", [Message("developer", "a"), user])
    assert body_of(one)["system"] == "a"
    marked = ContentPart("text", "b", extra={"cache_control": {"type": "ephemeral"}})
    two = ChatRequest("m", [Message("system", "a"), Message("system", [marked]), user])
    assert body_of(two)["system"] == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}},
    ]


class TestSystemInMidConversation:
    conversation = (
        Message("system", "first"),
        Message("user", "hi"),
        Message("system", "later"),
    )

    def test_moves_to_the_top_and_says_so(self) -> None:
        body = body_of(ChatRequest("claude-haiku-4-5", self.conversation))
        assert [b["text"] for b in body["system"]] == ["first", "later"]
        assert body["messages"] == [{"role": "user", "content": "hi"}]
        assert degraded(*self.conversation) == (
            "a system message in mid-conversation was moved to the top",
        )

    def test_stays_where_the_model_takes_it(self) -> None:
        request = ChatRequest("claude-opus-4-8", self.conversation)
        wire = encode(request, stream=False, options=Options(inline_system=("claude-opus-4-8",)))
        assert wire.degraded == ()
        assert wire.body is not None
        assert wire.body["system"] == "first"
        assert wire.body["messages"][-1] == {"role": "system", "content": "later"}

    def test_moves_where_its_place_is_against_the_rules(self) -> None:
        # It has to follow a user turn, and nothing but an assistant turn may follow it.
        request = ChatRequest("claude-opus-4-8", [*self.conversation, Message("user", "and?")])
        body = body_of(request, inline_system=("claude-opus-4-8",))
        assert [m["role"] for m in body["messages"]] == ["user", "user"]
        assert [b["text"] for b in body["system"]] == ["first", "later"]


def test_foreign_reasoning_is_left_out_and_never_turned_into_text() -> None:
    secret = ContentPart("reasoning", "secret", signature="s", dialect="gemini_generate")
    history = [Message("user", "q"), Message("assistant", [secret, ContentPart("text", "answer")])]
    assert "secret" not in json.dumps(messages_of(*history))
    assert degraded(*history) == ("reasoning of gemini_generate was left out",)


def test_unsigned_thinking_goes_back_only_where_the_server_wants_it() -> None:
    thought = ContentPart("reasoning", "hm", dialect=DIALECT)
    history = [Message("user", "q"), Message("assistant", [thought, ContentPart("text", "a")])]
    assert degraded(*history) == (
        "reasoning without a signature was left out, since the API refuses it",
    )
    request = ChatRequest("m", history)
    wire = encode(request, stream=False, options=Options(unsigned_thinking=True))
    assert wire.body is not None
    assert wire.body["messages"][1]["content"][0] == {"type": "thinking", "thinking": "hm"}


def test_foreign_fields_and_items_are_left_out_and_said() -> None:
    history = [
        Message("user", "q"),
        Message(
            "assistant",
            [
                ContentPart("text", "a", extra={"annotations": [1]}, dialect="openai_responses"),
                ContentPart("raw", data={"type": "web_search_call"}, dialect="openai_responses"),
                ContentPart("refusal", "I will not"),
            ],
            tool_calls=[ToolCall("c", "f", signature="sig", dialect="gemini_generate")],
        ),
        Message("tool", "x", tool_call_id="c"),
    ]
    assert [b["type"] for b in messages_of(*history)[1]["content"]] == ["text", "text", "tool_use"]
    assert degraded(*history) == (
        "openai_responses's fields of a text part were left out",
        "an item of openai_responses was left out",
        "a refusal was sent as text",
        "gemini_generate's fields of a tool call were left out",
    )


def test_ids_the_api_refuses_are_mapped_alike_in_call_and_result() -> None:
    # Two calls whose ids differ only in a character the API refuses, and one id used twice.
    ids = ["functions.f:0", "functions.f/0", "call_1", "call_1"]
    history: list[Message] = [Message("user", "q")]
    for call_id in ids:
        history.append(Message("assistant", "", tool_calls=[ToolCall(call_id, "f")]))
        history.append(Message("tool", "x", tool_call_id=call_id))
    wire = messages_of(*history)
    calls = [m["content"][0]["id"] for m in wire if m["role"] == "assistant"]
    results = [m["content"][0]["tool_use_id"] for m in wire[1:] if m["role"] == "user"]
    assert calls == results
    assert len(set(calls)) == 4
    assert calls[2] == "call_1"
    assert calls == [m["content"][0]["id"] for m in messages_of(*history) if m["role"] != "user"]
    assert degraded(*history) == ("tool-call ids the API refuses were replaced",)


def test_parallel_calls_without_ids_keep_the_order_of_their_results() -> None:
    calls = [ToolCall("", "f", {"n": n}) for n in range(3)]
    results = [Message("tool", str(n), tool_call_id="") for n in range(3)]
    said, answered = messages_of(Message("assistant", "", tool_calls=calls), *results)
    begun = {b["id"]: str(b["input"]["n"]) for b in said["content"]}
    assert len(begun) == 3
    assert {b["tool_use_id"]: b["content"] for b in answered["content"]} == begun


def test_arguments_that_are_no_object_are_wrapped_whole() -> None:
    bad = ToolCall.from_text("c", "f", '{"a": 1')
    history = [Message("assistant", "", tool_calls=[bad]), Message("tool", "?", tool_call_id="c")]
    block = messages_of(*history)[0]["content"][0]
    assert block["input"] == {"INVALID_JSON": '{"a": 1'}
    assert degraded(*history) == ("a call's arguments that are no JSON object were wrapped in one",)


def test_empty_turns_and_texts_are_left_out_and_said() -> None:
    history = [
        Message("user", "q"),
        Message("assistant", ""),
        Message("user", [ContentPart("text", ""), ContentPart("text", "r")]),
        Message("user", " \n"),
    ]
    assert [m["content"] for m in messages_of(*history)] == ["q", [{"type": "text", "text": "r"}]]
    assert degraded(*history) == (
        "an empty assistant message was left out",
        "an empty text was left out, since the API refuses it",
        "an empty user message was left out",
    )


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            ContentPart("image", url=f"data:image/webp;base64,{PNG}"),
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/webp", "data": PNG},
            },
        ),
        (
            ContentPart("pdf", data=b"%PDF", name="a.pdf"),
            {
                "type": "document",
                "title": "a.pdf",
                "source": {
                    "type": "base64",
                    "media_type": "application/pdf",
                    "data": base64.b64encode(b"%PDF").decode(),
                },
            },
        ),
        (
            ContentPart("pdf", url="https://x.test/a.pdf", extra={"citations": {"enabled": True}}),
            {
                "type": "document",
                "source": {"type": "url", "url": "https://x.test/a.pdf"},
                "citations": {"enabled": True},
            },
        ),
        (
            ContentPart("pdf", data="grüß".encode(), media_type="text/plain"),
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "grüß"},
            },
        ),
        (
            ContentPart("image", extra={"source": {"type": "file", "file_id": "file_1"}}),
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        ),
    ],
)
def test_files(part: ContentPart, block: dict[str, Any]) -> None:
    assert messages_of(Message("user", [part]))[0]["content"] == [block]


@pytest.mark.parametrize(
    ("part", "code", "feature"),
    [
        (ContentPart("audio", data=b"x", media_type="audio/wav"), "unsupported", "audio"),
        (ContentPart("image"), "bad_request", None),
        (ContentPart("image", data="AAAA"), "bad_request", None),
        (ContentPart("image", extra={"file": 1}, dialect="openai_chat"), "unsupported", "vision"),
        (ContentPart("image", url="data:image/png,raw"), "bad_request", None),
        (ContentPart("pdf", data="###", media_type="text/plain"), "bad_request", None),
    ],
)
def test_files_the_dialect_cannot_send(part: ContentPart, code: str, feature: str | None) -> None:
    with pytest.raises(ProviderError) as caught:
        messages_of(Message("user", [part]))
    assert (caught.value.code, caught.value.feature) == (code, feature)
