"""Requests of the OpenAI chat dialect: what reaches the wire, and what a server reads from it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import ChatRequest, ContentPart, Message, Tool, ToolCall
from crux_providers.codecs import openai_chat as codec
from crux_providers.codecs.openai_chat import Options

CODE = "def f(x):\n    if x:\n\treturn  x\n\n"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def body(request: ChatRequest, *, stream: bool = False, **knobs: Any) -> Any:
    wire = codec.encode(request, stream=stream, options=Options(**knobs))
    assert wire.degraded == ()
    return json.loads(json.dumps(wire.body))


def degraded(request: ChatRequest, **knobs: Any) -> tuple[Any, tuple[str, ...]]:
    wire = codec.encode(request, stream=False, options=Options(**knobs))
    return wire.body, wire.degraded


def refused(request: ChatRequest, **knobs: Any) -> str | None:
    with pytest.raises(ProviderError) as caught:
        codec.encode(request, stream=False, options=Options(**knobs))
    assert caught.value.code is ErrorCode.UNSUPPORTED
    return caught.value.feature


def one(message: Message, **knobs: Any) -> Any:
    return body(ChatRequest(messages=[message]), **knobs)["messages"][0]


def test_a_conversation_reaches_the_wire_in_order_and_byte_for_byte() -> None:
    request = ChatRequest(
        model="m",
        messages=[
            Message("system", "  Be brief.\n"),
            Message("developer", "Use tools."),
            Message(
                "user",
                [
                    ContentPart("text", CODE),
                    ContentPart("image", data=b"\x89PNG", media_type="image/png"),
                ],
                name="ann",
            ),
            Message("assistant", "", tool_calls=[ToolCall.from_text("call_1", "f", '{"x": 1 }')]),
            Message("tool", "42\n", tool_call_id="call_1"),
            Message("assistant", "It is 42."),
        ],
    )
    assert body(request) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "  Be brief.\n"},
            {"role": "developer", "content": "Use tools."},
            {
                "role": "user",
                "name": "ann",
                "content": [
                    {"type": "text", "text": CODE},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"x": 1 }'},
                    }
                ],
            },
            {"role": "tool", "content": "42\n", "tool_call_id": "call_1"},
            {"role": "assistant", "content": "It is 42."},
        ],
    }


def test_every_knob_of_a_request() -> None:
    request = ChatRequest(
        model="m",
        messages=[Message("user", "hi")],
        max_tokens=5,
        temperature=0.0,
        top_p=0.5,
        stop="END",
        seed=7,
        tools=[Tool("f", "does f", SCHEMA, strict=True), Tool("g")],
        tool_choice="f",
        parallel_tool_calls=False,
        reasoning_effort="low",
        logprobs=True,
        top_logprobs=2,
        json_schema=SCHEMA,
        extra={"user": "u", "temperature": 1},
    )
    sent = body(request, stream=True)
    assert sent.pop("messages") == [{"role": "user", "content": "hi"}]
    assert sent == {
        "model": "m",
        "max_tokens": 5,
        "temperature": 1,  # the caller's extra has the last word
        "top_p": 0.5,
        "stop": ["END"],
        "seed": 7,
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "description": "does f",
                    "parameters": SCHEMA,
                    "strict": True,
                },
            },
            {"type": "function", "function": {"name": "g"}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "logprobs": True,
        "top_logprobs": 2,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "response", "schema": SCHEMA},
        },
        "user": "u",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_wire_request() -> None:
    request = ChatRequest(messages=[Message("user", "hi")], extra={"stream_options": {"a": 1}})
    wire = codec.encode(request, stream=True)
    assert (wire.path, wire.method, wire.stream, wire.framing) == (
        "/chat/completions",
        "POST",
        True,
        "sse",
    )
    assert wire.body is not None
    assert wire.body["stream_options"] == {"include_usage": True, "a": 1}
    quiet = codec.encode(request, stream=True, options=Options(include_usage=False, path="/x"))
    assert quiet.body is not None
    assert (quiet.path, quiet.body["stream_options"]) == ("/x", {"a": 1})
    assert "stream_options" not in (codec.encode(request, stream=False).body or {})


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("gpt-4o", "max_tokens"),
        ("o3-mini", "max_completion_tokens"),
        ("openai/o1-preview", "max_completion_tokens"),
        ("gpt-5.1-codex", "max_completion_tokens"),
        ("omni", "max_tokens"),
    ],
)
def test_max_tokens_field_is_chosen_by_prefixes(model: str, field: str) -> None:
    request = ChatRequest(model=model, messages=[], max_tokens=3)
    prefixes = ("o1", "o3", "o4", "gpt-5")
    assert body(request, max_completion_tokens_models=prefixes)[field] == 3
    only = body(request, max_tokens_field="max_completion_tokens")
    assert only == {"model": model, "messages": [], "max_completion_tokens": 3}


@pytest.mark.parametrize("role", ["system", "developer"])
def test_system_role(role: str) -> None:
    assert one(Message(role, "x"))["role"] == role
    for wanted in ("system", "developer"):
        assert one(Message(role, "x"), system_role=wanted)["role"] == wanted
    assert one(Message("user", "x"), system_role="developer")["role"] == "user"


def test_images() -> None:
    url = ContentPart("image", url="https://x/y.png", extra={"detail": "low", "cache_control": {}})
    assert one(Message("user", [url]))["content"] == [
        {
            "type": "image_url",
            "image_url": {"url": "https://x/y.png", "detail": "low"},
            "cache_control": {},
        }
    ]
    plain = ContentPart("image", data="/9j/4AAQ")  # the bytes say what they are
    assert one(Message("user", [plain]))["content"][0]["image_url"]["url"].startswith(
        "data:image/jpeg;base64,/9j/"
    )
    with pytest.raises(ProviderError, match="media_type"):
        codec.encode(
            ChatRequest(messages=[Message("user", [ContentPart("image", data="AAAA")])]),
            stream=False,
        )


def test_documents() -> None:
    data = ContentPart("pdf", data=b"%PDF-", name="a.pdf")
    assert one(Message("user", [data]))["content"] == [
        {
            "type": "file",
            "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"},
        }
    ]
    assert one(Message("user", [data]), pdf_part="document_url")["content"] == [
        {
            "type": "document_url",
            "document_url": "data:application/pdf;base64,JVBERi0=",
            "document_name": "a.pdf",
        }
    ]
    remote = ContentPart("pdf", url="https://x/y.pdf")
    request = ChatRequest(messages=[Message("user", [remote])])
    assert refused(request) == "pdf"
    assert refused(request, pdf_part=None) == "pdf"
    assert (
        body(request, pdf_url=True)["messages"][0]["content"][0]["file"]["file_data"] == remote.url
    )


def test_audio() -> None:
    spoken = ContentPart("audio", data="AAAA", media_type="audio/mpeg")
    assert one(Message("user", [spoken]))["content"] == [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}
    ]
    assert (
        refused(ChatRequest(messages=[Message("user", [ContentPart("audio", url="u")])])) == "audio"
    )
    own = ContentPart("audio", "said", data="AAAA", dialect="openai_chat", extra={"id": "audio_1"})
    assert one(Message("assistant", [own])) == {
        "role": "assistant",
        "content": None,
        "audio": {"id": "audio_1"},
    }
    moved, lost = degraded(ChatRequest(messages=[Message("assistant", [TEXT, spoken])]))
    assert [(m["role"], m["content"]) for m in moved["messages"]] == [
        ("assistant", "so"),
        ("user", one(Message("user", [spoken]))["content"]),
    ]
    assert lost == ("audio of an assistant message was moved to a user message after it",)


PLAIN = ContentPart("reasoning", "hm")
DETAIL = ContentPart(
    "reasoning",
    "hm",
    signature="sig",
    dialect="openai_chat",
    extra={"type": "reasoning.text", "format": "f", "index": 0},
)
SECRET = ContentPart(
    "reasoning",
    data="xyz",
    dialect="openai_chat",
    extra={"type": "reasoning.encrypted", "id": "rs_1", "index": 1},
)
FOREIGN = ContentPart("reasoning", "hm", signature="s", dialect="anthropic_messages")
TEXT = ContentPart("text", "so")


def test_reasoning_goes_back_as_the_provider_wants_it() -> None:
    turn = Message("assistant", [PLAIN, TEXT])
    assert one(turn, reasoning_field="reasoning_content") == {
        "role": "assistant",
        "reasoning_content": "hm",
        "content": "so",
    }
    assert one(turn, reasoning_field="reasoning")["reasoning"] == "hm"
    assert one(turn, reasoning_field="thinking")["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "so"},
    ]
    details = one(Message("assistant", [DETAIL, SECRET, TEXT]), reasoning_field="reasoning_details")
    assert details == {
        "role": "assistant",
        "content": "so",
        "reasoning": "hm",
        "reasoning_details": [
            {"type": "reasoning.text", "format": "f", "index": 0, "text": "hm", "signature": "sig"},
            {"type": "reasoning.encrypted", "id": "rs_1", "index": 1, "data": "xyz"},
        ],
    }


@pytest.mark.parametrize("field", [None, "thinking", "extra_content", "reasoning_content"])
def test_reasoning_that_cannot_go_back_is_dropped_and_said(field: str | None) -> None:
    request = ChatRequest(messages=[Message("assistant", [SECRET, FOREIGN, TEXT])])
    sent, lost = degraded(request, reasoning_field=field)
    message = sent["messages"][0]
    assert message["content"] in ("so", [{"type": "text", "text": "so"}])
    assert not message.get("reasoning_content")
    assert any("anthropic_messages" in line for line in lost)
    assert len(lost) == 2
    assert "hm" not in json.dumps(sent)


def test_a_thought_signature_goes_back_to_gemini_alone() -> None:
    extra = {"google": {"thought_signature": "s"}}
    part = ContentPart(
        "reasoning", signature="s", dialect="openai_chat", extra={"extra_content": extra}
    )
    call = ToolCall("c", "f", {}, dialect="openai_chat", extra={"extra_content": extra})
    request = ChatRequest(messages=[Message("assistant", [part], tool_calls=[call])])
    sent = body(request, reasoning_field="extra_content")["messages"][0]
    assert sent["extra_content"] == sent["tool_calls"][0]["extra_content"] == extra
    other, lost = degraded(request)
    assert "thought_signature" not in json.dumps(other)
    assert len(lost) == 2


def test_tool_call_ids_are_mapped_alike_for_call_and_result() -> None:
    request = ChatRequest(
        messages=[
            Message(
                "assistant", tool_calls=[ToolCall("toolu_01A", "f"), ToolCall("abcdefGH9", "f")]
            ),
            Message("tool", "1", tool_call_id="toolu_01A"),
            Message("tool", "2", tool_call_id="abcdefGH9"),
        ]
    )
    sent, lost = degraded(request, tool_id="[a-zA-Z0-9]{9}", tool_id_length=9)
    first, second = (call["id"] for call in sent["messages"][0]["tool_calls"])
    assert re.fullmatch("[a-zA-Z0-9]{9}", first)
    assert second == "abcdefGH9"
    assert [m["tool_call_id"] for m in sent["messages"][1:]] == [first, second]
    assert lost == ("tool-call ids the API refuses were replaced",)
    assert body(request)["messages"][1]["tool_call_id"] == "toolu_01A"
    too_long = "x" * 41
    calling = Message("assistant", tool_calls=[ToolCall(too_long, "f")])
    long, _ = degraded(ChatRequest(messages=[calling, Message("tool", "", tool_call_id=too_long)]))
    assert len(long["messages"][1]["tool_call_id"]) == 24


def test_tool_results_with_parts() -> None:
    image = ContentPart("image", url="https://x/y.png")
    request = ChatRequest(
        messages=[
            Message("assistant", tool_calls=[ToolCall("1", "f"), ToolCall("2", "f")]),
            Message("tool", [ContentPart("text", "a"), image], tool_call_id="1"),
            Message("tool", [image], tool_call_id="2", is_error=True, name="f"),
            Message("user", "go on"),
        ]
    )
    sent, lost = degraded(request)
    picture = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    assert sent["messages"][1:] == [
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "a"}]},
        {"role": "tool", "tool_call_id": "2", "content": "", "name": "f"},
        {"role": "user", "content": [picture, picture]},
        {"role": "user", "content": "go on"},
    ]
    assert len(lost) == 2


def test_refusals() -> None:
    turn = Message("assistant", [ContentPart("refusal", "No.")])
    assert one(turn) == {"role": "assistant", "content": None, "refusal": "No."}
    sent, lost = degraded(ChatRequest(messages=[turn]), refusal_field=False)
    assert sent["messages"][0]["content"] == [{"type": "text", "text": "No."}]
    assert lost == ("a refusal was sent as text",)


def test_lists_of_text_are_joined_where_the_provider_wants_a_string() -> None:
    parts = [ContentPart("text", "a\n"), ContentPart("text", "b")]
    assert one(Message("system", parts), text_lists=False)["content"] == "a\nb"
    assert len(one(Message("system", parts))["content"]) == 2


def test_raw_parts_and_tools_belong_to_their_dialect() -> None:
    video = {"type": "video_url", "video_url": {"url": "u"}}
    ours = ContentPart("raw", data=video, dialect="openai_chat")
    assert one(Message("user", [ours]))["content"] == [video]
    theirs = ContentPart("raw", data={"type": "x"}, dialect="gemini_generate")
    sent, lost = degraded(ChatRequest(messages=[Message("user", [theirs, TEXT])]))
    assert sent["messages"][0]["content"] == [{"type": "text", "text": "so"}]
    assert lost == ("an item of gemini_generate was left out",)
    search = Tool("web_search", raw={"type": "web_search"}, dialect="anthropic_messages")
    assert refused(ChatRequest(messages=[], tools=[search])) == "tools"


def test_what_a_provider_lacks_is_refused_or_said() -> None:
    user = [Message("user", "json")]
    assert (
        refused(ChatRequest(messages=user, json_schema=SCHEMA), json_schema=False) == "json_schema"
    )
    json_object = ChatRequest(messages=user, response_format="json_object")
    assert refused(json_object, json_object=False) == "json_output"
    assert refused(ChatRequest(messages=user, logprobs=True), logprobs=False) == "logprobs"
    sent, lost = degraded(
        ChatRequest(messages=user, json_schema=SCHEMA), json_schema=False, schema_as_object=True
    )
    assert sent["response_format"] == {"type": "json_object"}
    assert "json_schema" in lost[0]
    request = ChatRequest(messages=user, seed=1, reasoning_effort="low", reasoning_budget=9)
    sent, lost = degraded(request, seed_field=None, reasoning_request=None)
    assert set(sent) == {"messages"}
    assert [line.split(":")[0] for line in lost] == ["seed", "reasoning_effort", "reasoning_budget"]
    assert body(request, reasoning_request="reasoning", seed_field="random_seed") == {
        "messages": [{"role": "user", "content": "json"}],
        "reasoning": {"effort": "low", "max_tokens": 9},
        "random_seed": 1,
    }
