"""Anthropic Messages, requests: what reaches the wire, and that it comes back the same.

Two judges besides our own eyes: the request types of Anthropic's SDK, and the rules its
documentation states, written down in :func:`broken_rules`.
"""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import ChatRequest, ContentPart, Message, Tool, ToolCall
from crux_providers.codecs.anthropic_messages import DIALECT, Options, encode, parse_request

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 8).decode()
PYTHON = "def f():\n\tif True:\n        return '  ä '  \n\n"


def body_of(request: ChatRequest, **options: Any) -> dict[str, Any]:
    """The body of the encoded request, as its bytes say it, after both judges passed it."""
    wire = encode(request, stream=False, options=Options(**options))
    body: dict[str, Any] = json.loads(json.dumps(wire.body))
    whole(_sdk_type().validate_python(body))
    assert broken_rules(body) == []
    return body


def messages_of(*messages: Message, **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body_of(ChatRequest("claude-x", messages), **options)["messages"]
    return found


def degraded(*messages: Message, **request: Any) -> tuple[str, ...]:
    return encode(ChatRequest("claude-x", messages, **request), stream=False).degraded


@cache
def _sdk_type() -> TypeAdapter[Any]:
    return TypeAdapter(MessageCreateParamsNonStreaming)


def whole(value: Any) -> Any:
    """Run through the lazily checked parts of what pydantic returned."""
    if isinstance(value, dict):
        return {k: whole(v) for k, v in value.items()}
    if hasattr(value, "__iter__") and not isinstance(value, (str, bytes)):
        return [whole(v) for v in value]
    return value


def broken_rules(body: dict[str, Any]) -> list[str]:
    """The documented rules of the API that ``body`` breaks."""
    broken = []
    seen: set[str] = set()
    open_calls: set[str] = set()
    for message in body["messages"]:
        content = message["content"]
        if not content:
            broken.append("empty content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        results = [b["type"] == "tool_result" for b in blocks]
        if any(late and not early for early, late in pairwise(results)):
            broken.append("a tool_result after other blocks")
        for block in blocks:
            match block["type"]:
                case "text" if not block["text"]:
                    broken.append("an empty text block")
                case "tool_use":
                    if not re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"]):
                        broken.append(f"tool_use id {block['id']!r}")
                    if block["id"] in seen:
                        broken.append(f"tool_use id {block['id']!r} twice")
                    seen.add(block["id"])
                    open_calls.add(block["id"])
                case "tool_result":
                    if block["tool_use_id"] not in open_calls:
                        broken.append(f"a result for {block['tool_use_id']!r}, which is not open")
                    open_calls.discard(block["tool_use_id"])
        if message["role"] == "user" and open_calls:
            broken.append(f"calls without results: {sorted(open_calls)}")
    return broken


# --- the conversation --------------------------------------------------------------------------


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


# --- files -------------------------------------------------------------------------------------


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


# --- parameters --------------------------------------------------------------------------------

HI = (Message("user", "hi"),)


def test_tools_and_their_choice() -> None:
    tools = [
        Tool("f", "does", {"type": "object", "properties": {"a": {}}}, strict=True),
        Tool("g", parameters={}, extra={"cache_control": {"type": "ephemeral"}}),
        Tool("web_search", raw={"type": "web_search_20250305", "name": "web_search"}),
    ]
    body = body_of(ChatRequest("m", HI, tools=tools, tool_choice="f", parallel_tool_calls=False))
    assert body["tools"] == [
        {
            "name": "f",
            "description": "does",
            "input_schema": {"type": "object", "properties": {"a": {}}},
            "strict": True,
        },
        {
            "name": "g",
            "input_schema": {"type": "object"},
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "web_search_20250305", "name": "web_search"},
    ]
    assert body["tool_choice"] == {"type": "tool", "name": "f", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(
    ("choice", "parallel", "wire"),
    [
        (None, None, None),
        (None, True, {"type": "auto", "disable_parallel_tool_use": False}),
        ("auto", None, {"type": "auto"}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        ("any", None, {"type": "any"}),
        ("none", False, {"type": "none"}),
    ],
)
def test_tool_choice_words(
    choice: str | None, parallel: bool | None, wire: dict[str, Any] | None
) -> None:
    request = ChatRequest(
        "m", HI, tools=[Tool("f")], tool_choice=choice, parallel_tool_calls=parallel
    )
    assert body_of(request).get("tool_choice") == wire


def test_another_dialects_server_tool_is_refused() -> None:
    tool = Tool("web_search", raw={"type": "web_search"}, dialect="openai_responses")
    with pytest.raises(ProviderError) as caught:
        body_of(ChatRequest("m", HI, tools=[tool]))
    assert (caught.value.code, caught.value.feature) == (ErrorCode.UNSUPPORTED, "tools")


@pytest.mark.parametrize(
    ("fields", "feature"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "logprobs"),
        ({"response_format": "json_object"}, "json_output"),
        ({"json_schema": {"type": "object", "additionalProperties": {}}}, "json_schema"),
        ({"json_schema": {"type": "array", "items": {"type": "object"}}}, "json_schema"),
    ],
)
def test_what_the_dialect_cannot_express_is_unsupported(
    fields: dict[str, Any], feature: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        body_of(ChatRequest("m", HI, **fields))
    assert (caught.value.code, caught.value.feature) == (ErrorCode.UNSUPPORTED, feature)


def test_max_tokens_is_always_sent_and_leaves_room_for_thinking() -> None:
    assert body_of(ChatRequest("m", HI))["max_tokens"] == Options().default_max_tokens
    thinking = body_of(ChatRequest("m", HI, reasoning_budget=2000), default_max_tokens=100)
    assert thinking["max_tokens"] == 2100
    assert thinking["thinking"] == {"type": "enabled", "budget_tokens": 2000}


def test_a_budget_on_a_model_that_takes_none_becomes_adaptive_thinking() -> None:
    request = ChatRequest("claude-opus-4-7", HI, reasoning_budget=2000, temperature=0.0)
    options = Options(adaptive_thinking=("claude-opus-4-7",), no_sampling=("claude-opus-4-7",))
    wire = encode(request, stream=False, options=options)
    assert wire.body is not None
    assert wire.body["thinking"] == {"type": "adaptive"}
    assert "temperature" not in wire.body
    assert len(wire.degraded) == 2


def test_sampling_that_thinking_refuses_is_left_out_and_said() -> None:
    request = ChatRequest("m", HI, reasoning_budget=2000, temperature=0.5, top_p=0.96)
    body = body_of(request)
    assert "temperature" not in body
    assert body["top_p"] == 0.96
    assert encode(request, stream=False).degraded == (
        "temperature was left out, since thinking does not go with 0.5",
    )


@pytest.mark.parametrize(
    ("effort", "sent"),
    [("max", {"effort": "max"}), ("minimal", {"effort": "low"}), ("none", None)],
)
def test_effort(effort: str, sent: dict[str, str] | None) -> None:
    body = body_of(ChatRequest("m", HI, reasoning_effort=effort))
    assert body.get("output_config") == sent
    assert body.get("thinking") == ({"type": "disabled"} if effort == "none" else None)


def test_a_schema_is_closed_and_its_bounds_become_words() -> None:
    schema = {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 1, "maximum": 9, "description": "how many"},
            "maximum": {"type": "array", "items": {"$ref": "#/$defs/P"}, "minItems": 2},
        },
        "$defs": {"P": {"type": "object", "properties": {}, "additionalProperties": True}},
    }
    wire = encode(ChatRequest("m", HI, json_schema=schema), stream=False)
    assert wire.body is not None
    assert wire.body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {
                "n": {"type": "integer", "description": "how many\n\n{minimum: 1, maximum: 9}"},
                "maximum": {
                    "type": "array",
                    "items": {"$ref": "#/$defs/P"},
                    "description": "{minItems: 2}",
                },
            },
            "$defs": {"P": {"type": "object", "properties": {}, "additionalProperties": False}},
            "additionalProperties": False,
        },
    }
    assert len(wire.degraded) == 2


def test_extra_wins_and_betas_are_a_header() -> None:
    request = ChatRequest(
        "m",
        HI,
        reasoning_effort="low",
        extra={
            "betas": ["context-1m-2025-08-07", "files-api-2025-04-14"],
            "top_k": 5,
            "max_tokens": 9,
            "output_config": {"task_budget": {"type": "tokens", "total": 1}},
        },
    )
    wire = encode(request, stream=True)
    assert wire.headers["anthropic-beta"] == "context-1m-2025-08-07,files-api-2025-04-14"
    assert wire.headers["anthropic-version"] == "2023-06-01"
    assert wire.body == {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "output_config": {"effort": "low", "task_budget": {"type": "tokens", "total": 1}},
        "stream": True,
        "top_k": 5,
    }
    assert (wire.path, wire.method, wire.stream, wire.framing) == (
        "/v1/messages",
        "POST",
        True,
        "sse",
    )


def test_seed_and_names_are_said_to_be_lost() -> None:
    assert degraded(Message("user", "hi", name="ann"), seed=1) == (
        "the name of a message was left out",
        "seed was left out, since the API has none",
    )


# --- the server half ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        [],
        {},
        {"messages": "hi"},
        {"messages": [{"role": "robot", "content": "hi"}]},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        {"messages": [{"role": "user"}]},
        {"messages": [], "max_tokens": "many"},
        {"messages": [], "tools": [{"name": 1, "input_schema": {}}]},
        {"messages": [], "system": 3},
        {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
    ],
)
def test_a_request_that_is_none_is_a_bad_request(body: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        parse_request(body)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_a_users_results_and_words_become_turns_of_their_own() -> None:
    request = parse_request(
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "a", "content": "1"},
                        {"type": "text", "text": "and?"},
                    ],
                },
            ]
        }
    )
    assert request.messages[1:] == (
        Message("tool", "1", name="f", tool_call_id="a"),
        Message("user", [ContentPart("text", "and?")]),
    )


def test_what_has_no_place_stays_in_extra() -> None:
    body = {
        "model": "m",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "hi"}],
        "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
        "tool_choice": {"type": "any", "later": 1},
        "output_config": {"effort": "low", "format": {"type": "grammar"}},
        "metadata": {"user_id": "u"},
        "container": "c",
    }
    request = parse_request(json.dumps(body))
    assert request.extra == {
        "thinking": body["thinking"],
        "tool_choice": body["tool_choice"],
        "output_config": {"format": {"type": "grammar"}},
        "metadata": {"user_id": "u"},
        "container": "c",
    }
    assert encode(request, stream=False).body == body


# --- laws --------------------------------------------------------------------------------------

_words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda t: not t.isspace()
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
_cached = st.just({"cache_control": {"type": "ephemeral"}})
_arguments = st.dictionaries(_words, _json, max_size=3)
_base64 = st.binary(max_size=9).map(lambda b: base64.b64encode(b).decode())


def _marked(part: ContentPart, extra: dict[str, Any] | None) -> ContentPart:
    fields = {f: getattr(part, f) for f in ("text", "data", "url", "media_type", "name")}
    return ContentPart(part.type, **fields, dialect=DIALECT if extra else None, extra=extra)


_user_part = st.builds(
    _marked,
    st.one_of(
        st.builds(ContentPart, st.just("text"), _words),
        st.builds(ContentPart, st.just("image"), data=_base64, media_type=st.just("image/png")),
        st.builds(ContentPart, st.just("image"), url=st.just("https://x.test/a.png")),
        st.builds(
            ContentPart,
            st.just("pdf"),
            data=_base64,
            media_type=st.just("application/pdf"),
            name=st.none() | _words,
        ),
        st.builds(
            ContentPart,
            st.just("pdf"),
            data=_words.map(lambda t: t.encode()),
            media_type=st.just("text/plain"),
        ),
        st.builds(ContentPart, st.just("pdf"), url=st.just("https://x.test/a.pdf")),
    ),
    st.none() | _cached,
)
_assistant_part = st.one_of(
    st.builds(_marked, st.builds(ContentPart, st.just("text"), _words), st.none() | _cached),
    st.builds(
        ContentPart,
        st.just("reasoning"),
        st.text(max_size=5),
        signature=_words,
        dialect=st.just(DIALECT),
    ),
    st.builds(ContentPart, st.just("reasoning"), data=_words, dialect=st.just(DIALECT)),
    st.builds(
        ContentPart,
        st.just("raw"),
        data=st.builds(
            lambda more: {
                "type": "server_tool_use",
                "id": "srvtoolu_1",
                "name": "web_search",
                "input": more,
            },
            _arguments,
        ),
        dialect=st.just(DIALECT),
    ),
)


@st.composite
def _turns(draw: st.DrawFn) -> list[Message]:
    """Turns in an order the API takes, each in the one form the codec reads it as."""
    turns: list[Message] = []
    if draw(st.booleans()):
        content = draw(_words | st.lists(_assistant_text, min_size=1, max_size=2))
        turns.append(Message("system", content))
    count = 0
    for _ in range(draw(st.integers(1, 3))):
        turns.append(Message("user", draw(_words | st.lists(_user_part, min_size=1, max_size=3))))
        if draw(st.booleans()):
            turns.append(Message("assistant", draw(_words)))
            continue
        parts = draw(st.lists(_assistant_part, max_size=3))
        places = sorted(draw(st.lists(st.integers(0, len(parts)), min_size=1, max_size=3)))
        calls = []
        for place in places:
            count += 1
            extra = draw(st.none() | _cached)
            calls.append(
                ToolCall(
                    f"toolu_{count}",
                    draw(_words),
                    draw(_arguments),
                    after=None if place == len(parts) else place,
                    dialect=DIALECT if extra else None,
                    extra=extra,
                )
            )
        turns.append(Message("assistant", parts, tool_calls=calls))
        for call in calls:
            content = draw(st.just("") | _words | st.lists(_user_part, min_size=1, max_size=2))
            turns.append(
                Message(
                    "tool",
                    content,
                    name=call.name,
                    tool_call_id=call.id,
                    is_error=draw(st.booleans()),
                    extra=draw(st.none() | _cached),
                )
            )
        if draw(st.booleans()):
            turns.append(Message("user", draw(st.lists(_user_part, min_size=1, max_size=2))))
        turns.append(Message("assistant", "so"))
    return turns


_assistant_text = st.builds(
    _marked, st.builds(ContentPart, st.just("text"), _words), st.none() | _cached
)
_tools = st.lists(
    st.one_of(
        st.builds(
            lambda n, d, s: Tool(n, d, {"type": "object", "properties": {}}, s),
            _words,
            st.none() | st.text(max_size=5),
            st.none() | st.booleans(),
        ),
        st.just(
            Tool(
                "bash", raw={"type": "bash_20250124", "name": "bash"}, dialect=DIALECT
            )
        ),
    ),
    max_size=2,
)  # fmt: skip
_extra = st.fixed_dictionaries(
    {},
    optional={
        "top_k": st.integers(1, 99),
        "metadata": st.just({"user_id": "u"}),
        "service_tier": st.just("auto"),
        "later": _json,
    },
)


@st.composite
def requests(draw: st.DrawFn) -> ChatRequest:
    """Requests this dialect can express."""
    choice = draw(st.sampled_from([None, "auto", "required", "f"]))
    return ChatRequest(
        draw(st.none() | _words),
        draw(_turns()),
        max_tokens=draw(st.integers(1, 99999)),
        temperature=draw(st.none() | st.floats(0, 1)),
        top_p=draw(st.none() | st.floats(0, 1)),
        stop=draw(st.none() | st.lists(_words, min_size=1, max_size=2)),
        tools=draw(_tools),
        tool_choice=choice,
        parallel_tool_calls=draw(st.none() | st.booleans()) if choice else None,
        reasoning_effort=draw(st.sampled_from([None, "low", "xhigh"])),
        json_schema=draw(
            st.sampled_from(
                [None, {"type": "object", "properties": {}, "additionalProperties": False}]
            )
        ),
        extra=draw(_extra),
    )


@given(requests())
def test_a_request_comes_back_from_the_wire(request: ChatRequest) -> None:
    wire = encode(request, stream=False)
    assert wire.degraded == ()
    body = json.dumps(wire.body)
    assert parse_request(body) == request
    assert broken_rules(json.loads(body)) == []


@given(requests())
def test_every_body_is_of_the_sdks_request_type(request: ChatRequest) -> None:
    body_of(ChatRequest("m", request.messages, tools=request.tools, max_tokens=1))
