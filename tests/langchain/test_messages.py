"""Conversations: every LangChain message and block as the library's own, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models._utils import _normalize_messages
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
)

from crux_integrations.langchain.messages import to_messages
from crux_providers.base.models import ChatRequest, ContentPart, Message, ToolCall
from crux_providers.codecs.openai_responses import encode as encode_responses
from tests.langchain.strategies import arguments, json_values

PNG = "iVBORw0KGgo="
ANTHROPIC = "anthropic_messages"


def one(message: BaseMessage) -> Message:
    (found,) = to_messages([message])
    return found


def part(block: Any, kind: type[BaseMessage] = HumanMessage, **more: Any) -> ContentPart:
    (found,) = one(kind(content=[block], **more)).parts
    return found


CODE = "def f(x):\n    if x:\n\treturn 1\n\n\n"


def test_a_conversation_keeps_order_and_bytes() -> None:
    conversation = [
        SystemMessage("  be brief\n"),
        HumanMessage(CODE, name="ann"),
        AIMessage("", tool_calls=[{"name": "f", "args": {"x": "é  "}, "id": "c1"}]),
        ToolMessage(" 1\n", tool_call_id="c1", name="f"),
        AIMessage("done"),
        HumanMessage("thanks"),
    ]
    assert to_messages(conversation) == [
        Message("system", "  be brief\n"),
        Message("user", CODE, "ann"),
        Message("assistant", "", tool_calls=[ToolCall("c1", "f", {"x": "é  "})]),
        Message("tool", " 1\n", "f", tool_call_id="c1"),
        Message("assistant", "done"),
        Message("user", "thanks"),
    ]


@given(
    st.lists(
        st.one_of(
            st.text().map(SystemMessage),
            st.text().map(HumanMessage),
            st.builds(
                lambda t, a: AIMessage(t, tool_calls=[{"name": "f", "args": a, "id": "i"}]),
                st.text(),
                arguments,
            ),
            st.text().map(lambda t: ToolMessage(t, tool_call_id="i")),
        )
    )
)
def test_every_text_and_payload_stays(conversation: list[BaseMessage]) -> None:
    found = to_messages(conversation)
    assert [m.text for m in found] == [m.content for m in conversation]
    assert [[dict(c.arguments) for c in m.tool_calls] for m in found] == [
        [c["args"] for c in getattr(m, "tool_calls", [])] for m in conversation
    ]


def test_chunks_and_subclasses_are_read_as_what_they_are() -> None:
    class Note(HumanMessage):
        pass

    assert one(HumanMessageChunk(content="a")) == one(Note("a")) == Message("user", "a")
    assert one(AIMessageChunk(content="a")) == Message("assistant", "a")


def test_the_developer_role_survives() -> None:
    (from_openai,) = convert_to_messages([{"role": "developer", "content": "x"}])
    assert one(from_openai) == Message("developer", "x")
    assert one(ChatMessage("x", role="developer")) == Message("developer", "x")


@pytest.mark.parametrize(
    ("said", "role"), [("user", "user"), ("human", "user"), ("assistant", "assistant"),
                       ("ai", "assistant"), ("system", "system")],
)  # fmt: skip
def test_chat_message_roles(said: str, role: str) -> None:
    assert one(ChatMessage("x", role=said)) == Message(role, "x")


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (FunctionMessage("x", name="f"), "ToolMessage"),
        (ChatMessage("x", role="narrator"), "narrator"),
        (RemoveMessage(id="1"), "RemoveMessage"),
        (AIMessage("", additional_kwargs={"function_call": {"name": "f"}}), "function_call"),
        (HumanMessage([{"type": "hologram"}]), "hologram"),
        (HumanMessage([{"type": "image"}]), "neither data"),
        (HumanMessage([{"type": "file", "file": {}}]), "neither file_data"),
        (HumanMessage([{"type": "image_url", "image_url": {}}]), "url"),
        (HumanMessage([{"type": "thinking"}]), "thinking"),
        (HumanMessage([{"type": "text-plain", "url": "https://x/y.txt"}]), "no URL is fetched"),
    ],
)
def test_what_no_provider_takes_is_refused_clearly(message: BaseMessage, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        to_messages([message])


IMAGES: list[dict[str, Any]] = [
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    {"type": "image_url", "image_url": f"data:image/png;base64,{PNG}"},
    {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
    {"type": "image", "source_type": "base64", "data": PNG, "mime_type": "image/png"},
    {"type": "image", "base64": PNG, "mime_type": "image/png"},
    {"type": "image", "url": f"data:image/png;base64,{PNG}"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
    {"type": "file", "base64": PNG, "mime_type": "image/png"},
    {"type": "media", "mime_type": "image/png", "data": PNG},
]


@pytest.mark.parametrize("block", IMAGES, ids=lambda b: f"{b['type']}-{len(b)}")
def test_image_data_in_every_form(block: dict[str, Any]) -> None:
    assert part(block) == ContentPart("image", data=PNG, media_type="image/png")


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "image", "source_type": "url", "url": "https://x/y.png"},
        {"type": "image", "url": "https://x/y.png"},
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
    ],
)
def test_image_urls_stay_urls(block: dict[str, Any]) -> None:
    assert part(block) == ContentPart("image", url="https://x/y.png")


@pytest.mark.parametrize("block", [b for b in IMAGES if b["type"] != "media"])
def test_blocks_mean_the_same_before_and_after_langchain_normalized_them(
    block: dict[str, Any],
) -> None:
    message = HumanMessage([block])
    assert to_messages(_normalize_messages([message])) == to_messages([message])


def test_detail_belongs_to_openai() -> None:
    block = {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}
    found = part(block)
    assert (found.extra, found.dialect) == ({"detail": "low"}, "openai_chat")


PDF_URL = "data:application/pdf;base64,JVBE"
PDFS: list[dict[str, Any]] = [
    {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF_URL}},
    {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
    {"type": "file", "base64": "JVBE", "mime_type": "application/pdf", "filename": "a.pdf"},
    {"type": "file", "base64": "JVBE", "mime_type": "application/pdf",
     "extras": {"filename": "a.pdf"}},
    {"type": "file", "source_type": "base64", "data": "JVBE", "mime_type": "application/pdf",
     "filename": "a.pdf"},
    {"type": "document", "title": "a.pdf",
     "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}},
]  # fmt: skip


@pytest.mark.parametrize("block", PDFS)
def test_pdfs_in_every_form(block: dict[str, Any]) -> None:
    found = part(block)
    assert found == ContentPart("pdf", data="JVBE", media_type="application/pdf", name="a.pdf")
    assert to_messages(_normalize_messages([HumanMessage([block])]))[0].parts == (found,)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        {"type": "audio", "base64": "UklG", "mime_type": "audio/wav"},
        {"type": "audio", "source_type": "base64", "data": "UklG", "mime_type": "audio/wav"},
        {"type": "media", "data": "UklG", "mime_type": "audio/wav"},
    ],
)
def test_audio_in_every_form(block: dict[str, Any]) -> None:
    assert part(block) == ContentPart("audio", data="UklG", media_type="audio/wav")


def test_uploaded_files_go_to_the_provider_that_has_them() -> None:
    assert part({"type": "file", "file": {"file_id": "file-1"}}) == ContentPart(
        "raw", data={"type": "file", "file": {"file_id": "file-1"}}, dialect="openai_chat"
    )
    source = {"type": "file", "file_id": "file_011"}
    for block in ({"type": "file", "file_id": "file_011"}, {"type": "document", "source": source}):
        found = part(block)
        assert (found.type, found.extra, found.dialect) == ("pdf", {"source": source}, ANTHROPIC)
    assert part({"type": "image", "file_id": "file-2"}).dialect == "openai_responses"


def test_video_is_geminis() -> None:
    found = part({"type": "video", "base64": "AAAA", "mime_type": "video/mp4"})
    wire = {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}}
    assert found == ContentPart("raw", data=wire, dialect="gemini_generate")
    found = part({"type": "media", "file_uri": "https://x/v", "mime_type": "video/mp4"})
    assert found.data == {"fileData": {"mimeType": "video/mp4", "fileUri": "https://x/v"}}


def test_plain_text_documents() -> None:
    assert one(HumanMessage([{"type": "text-plain", "text": "abc"}])) == Message("user", [
        ContentPart("text", "abc")])  # fmt: skip
    titled = part({"type": "text-plain", "text": "abc", "title": "t"})
    assert titled == ContentPart("pdf", data="YWJj", media_type="text/plain", name="t")


def test_fields_of_one_provider_go_to_no_other() -> None:
    cached = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    assert part(cached) == ContentPart(
        "text", "x", dialect=ANTHROPIC, extra={"cache_control": {"type": "ephemeral"}}
    )
    assert part({"type": "text", "text": "x", "mine": 1}) == ContentPart(
        "text", "x", extra={"mine": 1}
    )
    assert part({"type": "text", "text": "x", "id": "lc_1", "index": 3}) == ContentPart("text", "x")


def test_tool_messages() -> None:
    failed = ToolMessage("no", tool_call_id="c", status="error", artifact={"secret": 1})
    assert one(failed) == Message("tool", "no", tool_call_id="c", is_error=True)
    shown = ToolMessage(
        [
            {"type": "text", "text": "see"},
            {"type": "image", "base64": PNG, "mime_type": "image/png"},
        ],
        tool_call_id="c",
    )
    assert one(shown).parts == (
        ContentPart("text", "see"),
        ContentPart("image", data=PNG, media_type="image/png"),
    )


def test_results_in_a_users_turn_become_tool_turns() -> None:
    blocks = [
        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "green"}]},
        {"type": "tool_result", "tool_use_id": "b", "content": "x", "is_error": True},
        {"type": "text", "text": "and now?"},
    ]
    assert to_messages([HumanMessage(blocks)]) == [
        Message("tool", [ContentPart("text", "green")], tool_call_id="a"),
        Message("tool", "x", tool_call_id="b", is_error=True),
        Message("user", [ContentPart("text", "and now?")]),
    ]


# -- turns that other packages' models wrote ------------------------------------------------------


def test_a_turn_of_chat_anthropic() -> None:
    message = AIMessage(
        [
            {"type": "thinking", "thinking": "hm", "signature": "sig", "index": 0},
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "text", "text": "I look", "citations": [{"type": "char_location"}]},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        ],
        tool_calls=[{"name": "f", "args": {"a": 1}, "id": "t1"}],
        response_metadata={"model_provider": "anthropic"},
    )
    found = one(message)
    assert [p.type for p in found.parts] == ["reasoning", "reasoning", "text", "raw", "raw"]
    assert found.parts[0] == ContentPart("reasoning", "hm", signature="sig", dialect=ANTHROPIC)
    assert found.parts[1] == ContentPart("reasoning", data="xyz", dialect=ANTHROPIC)
    assert found.parts[2].extra == {"citations": [{"type": "char_location"}]}
    assert {p.dialect for p in found.parts} == {ANTHROPIC}
    assert found.tool_calls == (ToolCall("t1", "f", {"a": 1}, after=3),)


def test_a_v1_turn_of_chat_anthropic() -> None:
    message = AIMessage(
        [
            {"type": "reasoning", "reasoning": "hm", "extras": {"signature": "sig"}},
            {"type": "text", "text": "ok", "annotations": [{"type": "citation", "url": "u"}]},
            {"type": "tool_call", "id": "t1", "name": "f", "args": {}},
        ],
        tool_calls=[{"name": "f", "args": {}, "id": "t1"}],
        response_metadata={"model_provider": "anthropic", "output_version": "v1"},
    )
    found = one(message)
    assert found.parts == (
        ContentPart("reasoning", "hm", signature="sig", dialect=ANTHROPIC),
        ContentPart("text", "ok"),
    )
    assert found.tool_calls == (ToolCall("t1", "f", {}),)


SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed"}


def test_a_turn_of_chat_openai_over_responses() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "abc"}
    message = AIMessage(
        [
            {**item, "index": 0},
            {"type": "text", "text": "hi", "annotations": [], "id": "msg_1"},
            SEARCH,
            {
                "type": "function_call",
                "id": "fc_1",
                "call_id": "c1",
                "name": "f",
                "arguments": "{}",
            },
        ],
        tool_calls=[{"name": "f", "args": {}, "id": "c1"}],
        response_metadata={"model_provider": "openai"},
    )
    found = one(message)
    codec = "openai_responses"
    assert found.parts == (
        ContentPart("reasoning", data="abc", dialect=codec, extra={"item": {"id": "rs_1"}}),
        ContentPart("text", "hi", dialect=codec, extra={"item": {"id": "msg_1"}}),
        ContentPart("raw", data=SEARCH, dialect=codec),
    )
    assert found.tool_calls == (ToolCall("c1", "f", {}, dialect=codec, extra={"id": "fc_1"}),)
    (wire,) = [encode_responses(ChatRequest("m", [found]), stream=False).body["input"]]
    assert [i["type"] for i in wire] == ["reasoning", "message", "web_search_call", "function_call"]
    assert wire[0] == item
    assert [i["id"] for i in wire] == ["rs_1", "msg_1", "ws_1", "fc_1"]
    old = AIMessage("hi", additional_kwargs={"reasoning": {"id": "rs_1", "summary": []}})
    assert one(old).parts[0].extra == {"item": {"id": "rs_1"}}


def test_summaries_of_reasoning_are_a_part_each() -> None:
    summary = [{"type": "summary_text", "text": t} for t in ("one", "two")]
    block = {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "abc"}
    said = [block, {"type": "text", "text": "so", "id": "msg_1"}]
    found = one(AIMessage(said, response_metadata={"model_provider": "openai"}))
    assert [p.text for p in found.parts] == ["one", "two", "so"]
    wire, _ = encode_responses(ChatRequest("m", [found]), stream=False).body["input"]
    assert wire == block


def test_reasoning_beside_the_content() -> None:
    message = AIMessage(
        "4",
        additional_kwargs={"reasoning_content": "2+2"},
        response_metadata={"model_provider": "deepseek"},
    )
    assert one(message).parts == (
        ContentPart("reasoning", "2+2", dialect="openai_chat"),
        ContentPart("text", "4"),
    )


def test_signatures_of_geminis_calls() -> None:
    message = AIMessage(
        "",
        tool_calls=[{"name": "f", "args": {}, "id": "c1"}],
        additional_kwargs={"__gemini_function_call_thought_signatures__": {"c1": "sig"}},
        response_metadata={"model_provider": "google_genai"},
    )
    assert one(message).tool_calls == (
        ToolCall("c1", "f", {}, signature="sig", dialect="gemini_generate"),
    )


def test_a_turn_of_chat_openai() -> None:
    message = AIMessage(
        "",
        additional_kwargs={
            "refusal": None,
            "audio": {"id": "audio_1", "data": "...", "transcript": "hi"},
        },
        response_metadata={"model_provider": "openai"},
    )
    assert one(message) == Message("assistant", "", extra={"audio": {"id": "audio_1"}})
    refused = AIMessage("", additional_kwargs={"refusal": "no"})
    assert one(refused).parts == (ContentPart("refusal", "no"),)


def test_calls_written_by_hand_in_a_providers_form() -> None:
    message = AIMessage([{"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}])
    assert one(message).tool_calls == (ToolCall("t1", "f", {"a": 1}),)
    v1 = AIMessage(
        content_blocks=[{"type": "tool_call", "id": "t1", "name": "f", "args": {"a": 1}}]
    )
    assert one(v1).tool_calls == (ToolCall("t1", "f", {"a": 1}),)


def test_invalid_calls_keep_their_text() -> None:
    message = AIMessage(
        "",
        tool_calls=[{"name": "g", "args": {}, "id": "c2"}],
        invalid_tool_calls=[{"name": "f", "args": '{"a"', "id": "c1", "error": "cut"}],
    )
    calls = one(message).tool_calls
    assert [(c.id, c.raw_arguments, c.valid) for c in calls] == [
        ("c2", "{}", True), ("c1", '{"a"', False),
    ]  # fmt: skip


def test_calls_that_somebody_changed_are_sent_as_changed() -> None:
    notes = {"tool_calls": {"c1": {"arguments": '{"a": 1}', "signature": "s"}}}
    kept = AIMessage(
        "", tool_calls=[{"name": "f", "args": {"a": 1}, "id": "c1"}],
        additional_kwargs={"crux": notes},
    )  # fmt: skip
    assert one(kept).tool_calls[0].raw_arguments == '{"a": 1}'
    for args in ({"a": 2}, {"a": True}):
        changed = kept.model_copy(
            update={"tool_calls": [{"name": "f", "args": args, "id": "c1", "type": "tool_call"}]}
        )
        assert one(changed).tool_calls[0].arguments == args
        assert one(changed).tool_calls[0].raw_arguments != '{"a": 1}'


@given(json_values)
def test_raw_blocks_are_kept_for_their_dialect(data: Any) -> None:
    value = {"dialect": "gemini_generate", "data": data}
    found = part({"type": "non_standard", "value": value}, AIMessage)
    assert found == ContentPart("raw", data=data, dialect="gemini_generate")


def test_foreign_blocks_inside_non_standard_are_read() -> None:
    block = {"type": "non_standard", "value": {"type": "server_tool_use", "id": "s"}}
    assert part(block, AIMessage).dialect == ANTHROPIC
