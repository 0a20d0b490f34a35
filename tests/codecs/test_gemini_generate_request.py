"""Gemini, requests: what goes where, what is refused, and what is lost with words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import ChatRequest, ContentPart, Message, Tool, ToolCall
from crux_providers.base.wire import WireRequest
from crux_providers.codecs.gemini_generate import DIALECT, Options, encode, parse_request

HI = [Message("user", "hi")]


def sent(*messages: Message, model: str = "gemini-2.5-flash", **fields: Any) -> WireRequest:
    return encode(ChatRequest(model=model, messages=messages or HI, **fields), stream=False)


def body(*messages: Message, **fields: Any) -> Any:
    return sent(*messages, **fields).body


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-x", "/v1beta/models/gemini-x"),
        ("models/gemini-x", "/v1beta/models/gemini-x"),
        ("tunedModels/mine", "/v1beta/tunedModels/mine"),
        ("a?b#c d", "/v1beta/models/a%3Fb%23c%20d"),
    ],
)
def test_the_path_names_the_model(model: str, path: str) -> None:
    request = ChatRequest(model=model, messages=HI)
    assert encode(request, stream=False).path == f"{path}:generateContent"
    streamed = encode(request, stream=True)
    assert streamed.path == f"{path}:streamGenerateContent?alt=sse"
    assert streamed.body == encode(request, stream=False).body


def test_a_request_without_a_model_has_no_path() -> None:
    with pytest.raises(ProviderError) as caught:
        encode(ChatRequest(messages=HI), stream=False)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_system_turns_are_hoisted_and_those_in_the_middle_are_told() -> None:
    wire = sent(Message("system", "a"), *HI, Message("developer", "b"))
    made: Any = wire.body
    assert made["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert [c["role"] for c in made["contents"]] == ["user"]
    assert wire.degraded == ("a system message in mid-conversation was moved to the top",)
    assert sent(Message("system", "a"), *HI).degraded == ()


def test_calls_and_results_match_and_results_of_a_turn_share_a_content() -> None:
    calls = [ToolCall("a", "f", {"x": 1}), ToolCall("b", "f", {})]
    made = body(
        *HI,
        Message("assistant", "", tool_calls=calls),
        Message("tool", "1\n", tool_call_id="b"),
        Message("tool", "bad", tool_call_id="a", is_error=True),
        Message("user", "so?"),
    )
    _, model, results, user = made["contents"]
    assert [p["functionCall"]["id"] for p in model["parts"]] == ["a", "b"]
    assert results == {
        "role": "user",
        "parts": [
            {"functionResponse": {"name": "f", "id": "b", "response": {"output": "1\n"}}},
            {"functionResponse": {"name": "f", "id": "a", "response": {"error": "bad"}}},
        ],
    }
    assert user["parts"] == [{"text": "so?"}]


def test_calls_without_ids_are_tied_to_their_results_by_name_and_order() -> None:
    def call(name: str) -> Any:
        return {"functionCall": {"name": name, "args": {}}}

    def result(name: str, value: Any) -> Any:
        return {"functionResponse": {"name": name, "response": value}}

    wire = {
        "contents": [
            {"role": "model", "parts": [call("f"), call("g"), call("f")]},
            {"role": "user", "parts": [
                result("g", {"result": "G"}), result("f", {"a": 1}), result("f", {"output": "2"}),
            ]},
        ]
    }  # fmt: skip
    turn, *results = parse_request(wire).messages
    f, g, again = turn.tool_calls
    assert [r.tool_call_id for r in results] == [g.id, f.id, again.id]
    assert [r.text for r in results] == ["G", '{"a":1}', "2"]
    made = body(*HI, turn, *results)
    responses = [p["functionResponse"]["response"] for p in made["contents"][2]["parts"]]
    assert responses == [{"result": "G"}, {"a": 1}, {"output": "2"}]


@pytest.mark.parametrize(
    ("part", "feature"),
    [
        (ContentPart("image", url="https://x.test/a.png"), "vision"),
        (ContentPart("pdf", url="http://x.test/a.pdf"), "pdf"),
        (ContentPart("audio", url="https://x.test/a.wav"), "audio"),
    ],
)
def test_urls_that_google_does_not_read_are_refused(part: ContentPart, feature: str) -> None:
    with pytest.raises(ProviderError) as caught:
        sent(Message("user", [part]))
    assert (caught.value.code, caught.value.feature) == (ErrorCode.UNSUPPORTED, feature)
    request = ChatRequest(model="m", messages=[Message("user", [part])])
    wire: Any = encode(request, stream=False, options=Options(file_urls=("http",))).body
    assert wire["contents"][0]["parts"][0]["fileData"] == {"fileUri": part.url}


def test_data_and_googles_own_files_are_sent() -> None:
    made = body(
        Message("user", [
            ContentPart("image", url="data:image/gif;base64,R0lG"),
            ContentPart("image", data="iVBORw0KGgoAAAA"),
            ContentPart("pdf", url="gs://bucket/a.pdf", media_type="application/pdf"),
        ])
    )  # fmt: skip
    assert made["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/gif", "data": "R0lG"}},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgoAAAA"}},
        {"fileData": {"fileUri": "gs://bucket/a.pdf", "mimeType": "application/pdf"}},
    ]


def test_reasoning_and_signatures_of_others_are_dropped_with_words() -> None:
    wire = sent(
        *HI,
        Message(
            "assistant",
            [
                ContentPart("reasoning", "hm", signature="x", dialect="anthropic_messages"),
                ContentPart("reasoning", "ours", signature="s", dialect=DIALECT),
                ContentPart("raw", data={"a": 1}, dialect="openai_responses"),
                ContentPart("text", "said", signature="y", dialect="other"),
            ],
        ),
    )
    made: Any = wire.body
    assert made["contents"][1]["parts"] == [
        {"text": "ours", "thought": True, "thoughtSignature": "s"}, {"text": "said"},
    ]  # fmt: skip
    assert len(wire.degraded) == 3


@pytest.mark.parametrize(
    ("model", "dialect", "signature", "expected"),
    [
        ("gemini-3-flash", "openai_chat", None, "skip_thought_signature_validator"),
        ("gemini-3-flash", DIALECT, "sig", "sig"),
        ("gemini-3-flash", DIALECT, None, None),
        ("gemini-2.5-flash", "openai_chat", None, None),
    ],
)
def test_calls_of_other_models_get_googles_placeholder(
    model: str, dialect: str, signature: str | None, expected: str | None
) -> None:
    call = ToolCall("a", "f", {}, dialect=dialect, signature=signature)
    second = ToolCall("b", "f", {}, dialect=dialect)
    wire = sent(*HI, Message("assistant", "", tool_calls=[call, second]), model=model)
    made: Any = wire.body
    first, other = made["contents"][1]["parts"]
    assert first.get("thoughtSignature") == expected
    assert "thoughtSignature" not in other
    assert bool(wire.degraded) == (expected is not None and signature is None)


@pytest.mark.parametrize(
    ("model", "fields", "expected"),
    [
        ("gemini-2.5-pro", {"reasoning_effort": "low"},
         {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-pro", {"reasoning_effort": "none"}, {"thinkingBudget": 0}),
        ("gemini-2.5-pro", {"reasoning_effort": "on"},
         {"thinkingBudget": -1, "includeThoughts": True}),
        ("gemini-3-pro", {"reasoning_effort": "low"},
         {"thinkingLevel": "low", "includeThoughts": True}),
        ("models/gemini-3-pro", {"reasoning_effort": "on"}, {"includeThoughts": True}),
        ("gemini-3-pro", {"reasoning_budget": 7},
         {"thinkingBudget": 7, "includeThoughts": True}),
        ("gemini-3-pro", {}, None),
    ],
)  # fmt: skip
def test_reasoning_by_what_the_model_takes(model: str, fields: Any, expected: Any) -> None:
    made = body(model=model, **fields)
    assert made.get("generationConfig", {}).get("thinkingConfig") == expected


def test_an_effort_google_has_no_word_for_is_refused() -> None:
    with pytest.raises(ProviderError) as caught:
        sent(reasoning_effort="ultra")
    assert (caught.value.code, caught.value.feature) == (ErrorCode.UNSUPPORTED, "reasoning")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"mode": "AUTO"}), ("none", {"mode": "NONE"}), ("required", {"mode": "ANY"}),
        ("f", {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)  # fmt: skip
def test_tool_choice(choice: str, expected: Any) -> None:
    made = body(tools=[Tool("f")], tool_choice=choice)
    assert made["toolConfig"] == {"functionCallingConfig": expected}
    assert parse_request(made).tool_choice == choice
    assert "toolConfig" not in body(tools=[Tool("f")])


def test_tools_share_one_entry_and_server_tools_have_their_own() -> None:
    search = Tool("googleSearch", raw={"googleSearch": {}}, dialect=DIALECT)
    foreign = Tool("web", raw={"type": "web"}, dialect="openai_responses")
    wire = sent(tools=[Tool("f", "F.", {"type": "object"}), search, foreign, Tool("g")])
    made: Any = wire.body
    assert made["tools"] == [
        {"functionDeclarations": [
            {"name": "f", "description": "F.", "parametersJsonSchema": {"type": "object"}},
            {"name": "g"},
        ]},
        {"googleSearch": {}},
    ]  # fmt: skip
    (line,) = wire.degraded
    assert "web" in line


def test_googles_own_schemas_stay_and_are_json_schema_to_others() -> None:
    theirs = {
        "type": "OBJECT", "propertyOrdering": ["type"],
        "properties": {"type": {"type": "STRING", "nullable": True},
                       "l": {"type": "ARRAY", "items": {"type": "INTEGER"}}},
    }  # fmt: skip
    wire = {
        "contents": [],
        "tools": [{"function_declarations": [{"name": "f", "parameters": theirs}]}],
        "generation_config": {"response_mime_type": "application/json", "response_schema": theirs},
    }
    request = parse_request(wire)
    expected = {
        "type": "object",
        "properties": {"type": {"type": ["string", "null"]},
                       "l": {"type": "array", "items": {"type": "integer"}}},
    }  # fmt: skip
    assert request.tools[0].parameters == request.json_schema == expected
    made: Any = encode(ChatRequest(
        model="m", messages=HI, tools=request.tools, response_format=request.response_format,
        json_schema=request.json_schema, extra=request.extra,
    ), stream=False).body  # fmt: skip
    assert made["tools"] == [{"functionDeclarations": [{"name": "f", "parameters": theirs}]}]
    assert made["generationConfig"] == {
        "responseMimeType": "application/json", "responseSchema": theirs,
    }  # fmt: skip


def test_extra_is_merged_last_and_deep_where_google_nests() -> None:
    given = {
        "generation_config": {"topK": 3, "max_output_tokens": 9, "thinkingConfig": {"x": 1}},
        "safetySettings": [{"category": "c"}], "x_mine": {"a_b": None},
    }  # fmt: skip
    made = body(max_tokens=5, temperature=0, reasoning_budget=1, extra=given)
    assert made["generationConfig"] == {
        "maxOutputTokens": 9, "temperature": 0, "topK": 3,
        "thinkingConfig": {"thinkingBudget": 1, "includeThoughts": True, "x": 1},
    }  # fmt: skip
    assert made["safetySettings"] == [{"category": "c"}]
    assert made["x_mine"] == {"a_b": None}
    assert given["generation_config"]["thinkingConfig"] == {"x": 1}, "the caller's stays as it was"


@pytest.mark.parametrize(
    "wire",
    [5, b"{", {}, {"contents": {}}, {"contents": [{"role": "system", "parts": []}]},
     {"contents": [{"parts": [5]}]}, {"contents": [{"parts": [{"text": 5}]}]},
     {"contents": [{"role": [], "parts": []}]}],
)  # fmt: skip
def test_what_is_no_request_is_malformed(wire: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        parse_request(wire)
    assert caught.value.code is ErrorCode.MALFORMED


@pytest.mark.parametrize(
    "thinking",
    [
        {"thinkingBudget": 5}, {"thinkingBudget": 5, "includeThoughts": True},
        {"thinkingBudget": 0, "includeThoughts": True}, {"thinkingLevel": "LOW"},
        {"includeThoughts": True}, {"thinkingLevel": "low", "includeThoughts": True},
        {"thinkingLevel": "low", "thinkingBudget": 5},
    ],
)  # fmt: skip
def test_thinking_is_shown_only_where_the_client_asked(thinking: Any) -> None:
    request = parse_request({"contents": [], "generationConfig": {"thinkingConfig": thinking}})
    made: Any = encode(replace(request, model="gemini-3-m"), stream=False).body
    sent_back = made["generationConfig"]["thinkingConfig"]
    assert sent_back.pop("includeThoughts", False) == thinking.get("includeThoughts", False)
    level = sent_back.get("thinkingLevel", "").upper()
    assert level == thinking.get("thinkingLevel", "").upper()
    assert sent_back.get("thinkingBudget") == thinking.get("thinkingBudget")
