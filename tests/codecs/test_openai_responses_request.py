"""OpenAI Responses: what a request becomes on the wire, and what of it is lost or refused."""

from __future__ import annotations

from typing import Any

import pytest

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import ChatRequest, ContentPart, Message, Tool, ToolCall
from crux_providers.codecs.openai_responses import DIALECT, Options, decode, encode, parse_request
from tests.codecs.openai_responses_wire import call, message, reasoning, response

USER = Message("user", "hi")


def body_of(request: ChatRequest, **options: Any) -> dict[str, Any]:
    """The body of a request that loses nothing."""
    wire = encode(request, stream=False, options=Options(**options))
    assert wire.degraded == ()
    return dict(wire.body or {})


def items_of(*messages: Message, **options: Any) -> list[Any]:
    """The input items of a conversation that loses nothing."""
    return list(body_of(ChatRequest("m", messages), **options)["input"])


def lost_of(*messages: Message, **options: Any) -> tuple[list[Any], tuple[str, ...]]:
    """The input items of a conversation, and what was lost."""
    wire = encode(ChatRequest("m", messages), stream=False, options=Options(**options))
    return list((wire.body or {})["input"]), wire.degraded


def refused(request: ChatRequest, **options: Any) -> ProviderError:
    """The refusal of a request the endpoint cannot be told."""
    with pytest.raises(ProviderError) as caught:
        encode(request, stream=False, options=Options(**options))
    assert caught.value.code is ErrorCode.UNSUPPORTED
    return caught.value


def test_the_call() -> None:
    wire = encode(ChatRequest("m", [USER]), stream=True)
    assert (wire.method, wire.path) == ("POST", "/responses")
    assert (wire.stream, wire.framing) == (True, "sse")
    assert wire.body == {"model": "m", "input": [{"role": "user", "content": "hi"}], "stream": True}
    assert "stream" not in (encode(ChatRequest("m", [USER]), stream=False).body or {})


def test_the_parameters() -> None:
    request = ChatRequest(
        "m", [USER], max_tokens=5, temperature=0, top_p=0.5, top_logprobs=2, logprobs=True,
        parallel_tool_calls=False, reasoning_effort="low", tool_choice="required",
        extra={"reasoning": {"summary": "auto"}, "text": {"verbosity": "low"}, "user": "u",
               "include": ["file_search_call.results"]},
        json_schema={"type": "object"}, schema_name="n", schema_strict=True,
    )  # fmt: skip
    assert body_of(request) == {
        "model": "m",
        "input": [{"role": "user", "content": "hi"}],
        "max_output_tokens": 5,
        "temperature": 0,
        "top_p": 0.5,
        "top_logprobs": 2,
        "parallel_tool_calls": False,
        "tool_choice": "required",
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {
            "format": {
                "type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True,
            },
            "verbosity": "low",
        },
        "user": "u",
        "include": ["file_search_call.results", "message.output_text.logprobs"],
    }  # fmt: skip


def test_the_callers_word_wins() -> None:
    extra = {"temperature": 1, "reasoning": {"effort": "high"}, "stream": False,
             "text": {"format": {"strict": False}}}  # fmt: skip
    request = ChatRequest(
        "m", [USER], temperature=0, reasoning_effort="low", json_schema={"type": "object"},
        extra=extra,
    )  # fmt: skip
    body = encode(request, stream=True).body or {}
    assert (body["temperature"], body["stream"]) == (1, False)
    assert body["reasoning"] == {"effort": "high"}
    assert body["text"]["format"] == {
        "type": "json_schema", "name": "response", "schema": {"type": "object"}, "strict": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("extra", "options", "model", "wanted"),
    [
        ({}, {}, "gpt-5", None),
        ({"store": False}, {}, "gpt-5-mini", ["reasoning.encrypted_content"]),
        ({"store": False}, {}, "openai/o3", ["reasoning.encrypted_content"]),
        ({"store": False}, {}, "gpt-4o", None),
        ({"store": False, "include": []}, {}, "gpt-5", []),
        ({}, {"store": False}, "gpt-5", ["reasoning.encrypted_content"]),
        ({"store": True}, {"store": False}, "gpt-5", None),
    ],
)
def test_encrypted_reasoning_is_asked_for_where_nothing_is_stored(
    extra: dict[str, Any], options: dict[str, Any], model: str, wanted: Any
) -> None:
    body = body_of(ChatRequest(model, [USER], extra=extra), **options)
    assert body.get("include") == wanted
    assert body.get("store") == extra.get("store", options.get("store"))


def test_what_the_endpoint_does_not_know() -> None:
    error = refused(ChatRequest("m", [USER], stop=["x"]))
    assert error.feature is None
    wire = encode(ChatRequest("m", [USER], seed=1, reasoning_budget=100), stream=False)
    assert set(wire.body or {}) == {"model", "input"}
    assert [line.partition(":")[0] for line in wire.degraded] == ["seed", "reasoning_budget"]
    body = body_of(
        ChatRequest("m", [USER], stop=["x"], seed=1, reasoning_budget=100),
        stop_field="stop", seed_field="seed", reasoning_budget="max_tokens",
    )  # fmt: skip
    assert (body["stop"], body["seed"], body["reasoning"]) == (["x"], 1, {"max_tokens": 100})


@pytest.mark.parametrize(
    ("request_", "options", "feature"),
    [
        (ChatRequest("m", [USER], response_format="json_object"), {"json_object": False},
         "json_output"),
        (ChatRequest("m", [USER], json_schema={}), {"json_schema": False}, "json_schema"),
        (ChatRequest("m", [USER], tools=[Tool("x", raw={"type": "bash"}, dialect="anthropic")]), {},
         "tools"),
        (ChatRequest("m", [Message("user", [ContentPart("audio", url="https://x.test/a")])]), {},
         "audio"),
    ],
)  # fmt: skip
def test_refusals(request_: ChatRequest, options: dict[str, Any], feature: str) -> None:
    assert refused(request_, **options).feature == feature


def test_tools_and_the_choice_among_them() -> None:
    tools = [
        Tool("f", "does f", {"type": "object", "properties": {}}, strict=False),
        Tool("g", extra={"defer_loading": True}, dialect=DIALECT),
        Tool("h", extra={"cache_control": {}}, dialect="anthropic_messages"),
        Tool("web_search", raw={"type": "web_search", "filters": {}}, dialect=DIALECT),
        Tool("sql", raw={"type": "custom", "name": "sql"}, dialect=DIALECT),
    ]
    empty = {"type": "object", "properties": {}}
    body = body_of(ChatRequest("m", [USER], tools=tools, tool_choice="f"))
    assert body["tools"] == [
        {"type": "function", "name": "f", "description": "does f", "parameters": empty,
         "strict": False},
        {"type": "function", "name": "g", "parameters": empty, "defer_loading": True},
        {"type": "function", "name": "h", "parameters": empty},
        {"type": "web_search", "filters": {}},
        {"type": "custom", "name": "sql"},
    ]  # fmt: skip
    for name, choice in (
        ("f", {"type": "function", "name": "f"}),
        ("web_search", {"type": "web_search"}),
        ("sql", {"type": "custom", "name": "sql"}),
    ):
        assert body_of(ChatRequest("m", [USER], tools=tools, tool_choice=name))["tool_choice"] == (
            choice
        )


def test_content_of_every_kind() -> None:
    parts = [
        ContentPart("text", "  a\n"),
        ContentPart("image", url="https://x.test/a.png", extra={"detail": "low"}, dialect=DIALECT),
        ContentPart("image", data=b"\x89PNG\r\n\x1a\n"),
        ContentPart("pdf", url="https://x.test/a.pdf", name="left.pdf"),
        ContentPart("pdf", data=b"%PDF-", name="a.pdf"),
        ContentPart("pdf", data=b"hi", media_type="text/plain"),
        ContentPart("audio", data=b"hi", media_type="audio/mpeg"),
        ContentPart("raw", data={"type": "input_file", "file_id": "file-1"}, dialect=DIALECT),
        ContentPart("text", "b", extra={"cache_control": {}}, dialect="anthropic_messages"),
    ]
    [item], lost = lost_of(Message("user", parts))
    assert lost == ("anthropic_messages's fields of a text part were left out",)
    assert item["content"] == [
        {"type": "input_text", "text": "  a\n"},
        {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "low"},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="},
        {"type": "input_file", "file_url": "https://x.test/a.pdf"},
        {"type": "input_file", "filename": "a.pdf",
         "file_data": "data:application/pdf;base64,JVBERi0="},
        {"type": "input_file", "filename": "document.txt",
         "file_data": "data:text/plain;base64,aGk="},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_text", "text": "b"},
    ]  # fmt: skip


def test_system_turns_stay_in_their_place() -> None:
    turns = [Message("system", " a "), USER, Message("developer", "b"), Message("system", "")]
    assert items_of(*turns) == [
        {"role": "system", "content": " a "},
        {"role": "user", "content": "hi"},
        {"role": "developer", "content": "b"},
        {"role": "system", "content": ""},
    ]
    roles = [i["role"] for i in items_of(*turns, system_role="developer")]
    assert roles == ["developer", "user", "developer", "developer"]
    body = body_of(ChatRequest("m", turns), instructions=True)
    assert body["instructions"] == " a "
    assert [i["role"] for i in body["input"]] == ["user", "developer", "system"]


def test_an_answer_goes_back_as_it_came() -> None:
    output = [
        reasoning("s", encrypted_content="gAAAA"),
        message("let me see", phase="commentary", id="msg_1"),
        call("f", '{"a":  1}', call_id="call_1"),
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}},
        message("so", id="msg_2"),
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_2", "name": "q", "input": "S"},
    ]
    turn = decode(response(*output)).to_message()
    results = [
        Message("tool", "r", tool_call_id="call_1"),
        Message("tool", [ContentPart("text", "t")], tool_call_id="call_2"),
    ]
    assert items_of(turn, *results) == [
        *output,
        {"type": "function_call_output", "call_id": "call_1", "output": "r"},
        {"type": "custom_tool_call_output", "call_id": "call_2",
         "output": [{"type": "input_text", "text": "t"}]},
    ]  # fmt: skip
    without = items_of(turn, item_ids=False)
    assert [i.get("id") for i in without] == [None] * 6
    assert len(without) == 6


def test_reasoning_items_without_ids_stay_apart() -> None:
    output = [reasoning("a", encrypted_content="1"), reasoning("b", encrypted_content="2")]
    for item in output:
        del item["id"]
    assert items_of(decode(response(*output, message("c"))).to_message())[:2] == output


def test_foreign_reasoning_is_dropped_and_never_told_as_text() -> None:
    parts = [
        ContentPart("reasoning", "secret", signature="s", dialect="anthropic_messages"),
        ContentPart("reasoning", "hidden"),
        ContentPart("text", "a", signature="g", dialect="gemini_generate"),
        ContentPart("raw", data={"type": "server_tool_use"}, dialect="anthropic_messages"),
    ]
    items, lost = lost_of(USER, Message("assistant", parts), USER)
    said = {"type": "message", "role": "assistant", "content": [
        {"type": "output_text", "text": "a"}]}  # fmt: skip
    assert items[1] == said
    assert lost == (
        "reasoning of anthropic_messages was left out",
        "reasoning of unknown origin was left out",
        "gemini_generate's fields of a text part were left out",
        "an item of anthropic_messages was left out",
    )


def test_reasoning_goes_back_only_with_what_it_led_to() -> None:
    cut_short = decode(response(message("a"), reasoning("hm", id="rs_9"))).to_message()
    items, lost = lost_of(cut_short, USER)
    assert [i.get("type") for i in items] == ["message", None]
    assert lost == ("reasoning without the item it led to was left out",)
    # The message was rewritten, so that it is no longer the one OpenAI knows by its id.
    thought = decode(response(reasoning("hm"), message("a"))).parts[0]
    items, lost = lost_of(Message("assistant", [thought, ContentPart("text", "other")]), USER)
    assert [i.get("type") for i in items] == ["message", None]
    rewritten = Message("assistant", [thought, ContentPart("text", "x")])
    kept = items_of(rewritten, linked_reasoning=False)
    assert [i["type"] for i in kept] == ["reasoning", "message"]


@pytest.mark.parametrize(("store", "kept"), [(None, 3), (True, 3), (False, 2)])
def test_reasoning_that_nobody_kept_does_not_go_back(store: bool | None, kept: int) -> None:
    turn = decode(response(reasoning("a"), message("b"))).to_message()
    extra = {} if store is None else {"store": store}
    wire = encode(ChatRequest("m", [turn, USER], extra=extra), stream=False)
    assert len((wire.body or {})["input"]) == kept
    encrypted = decode(response(reasoning("a", "b", encrypted_content="g"), message("c")))
    wire = encode(ChatRequest("m", [encrypted.to_message()], extra=extra), stream=False)
    assert wire.body["input"][0] == reasoning("a", "b", encrypted_content="g")
    assert wire.degraded == ()


def test_calls_and_results_of_other_dialects() -> None:
    long = "x" * 65
    turn = Message(
        "assistant",
        "so",
        tool_calls=[
            ToolCall("toolu_1", "f", {"é": 1}, signature="s", dialect="gemini_generate"),
            ToolCall(long, "g", raw_arguments="", after=0),
        ],
    )
    items, lost = lost_of(
        turn,
        Message("tool", "r", tool_call_id=long, is_error=True, name="g"),
        Message("tool", "q", tool_call_id="toolu_1"),
    )
    made = items[3]["call_id"]
    assert items == [
        {"role": "assistant", "content": "so"},
        {"type": "function_call", "call_id": "toolu_1", "name": "f", "arguments": '{"é":1}'},
        {"type": "function_call", "call_id": made, "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": made, "output": "r"},
        {"type": "function_call_output", "call_id": "toolu_1", "output": "q"},
    ]
    assert len(made) <= 64
    assert lost == (
        "gemini_generate's fields of a tool call were left out",
        "a tool result's error mark was left out",
        "tool-call ids the API refuses were replaced",
    )


def test_a_call_stands_where_the_model_made_it() -> None:
    turn = Message("assistant", "so", tool_calls=[ToolCall("c", "f", after=0)])
    assert [i.get("type") for i in items_of(turn)] == ["function_call", None]
    turn = Message("assistant", "", tool_calls=[ToolCall("c", "f")])
    assert [i.get("type") for i in items_of(turn)] == ["function_call"]
    assert items_of(Message("assistant", "")) == [{"role": "assistant", "content": ""}]


def test_results_of_raw_calls_are_whole_items() -> None:
    output = {"type": "computer_call_output", "call_id": "c", "output": {"type": "x"}}
    part = ContentPart("raw", data=output, dialect=DIALECT)
    assert items_of(Message("tool", [part], tool_call_id="c")) == [output]
    approved = {"type": "mcp_approval_response", "approval_request_id": "m", "approve": True}
    part = ContentPart("raw", data=approved, dialect=DIALECT)
    said = [ContentPart("text", "yes"), part, ContentPart("text", "!")]
    assert items_of(Message("user", said)) == [
        {"role": "user", "content": [{"type": "input_text", "text": "yes"}]},
        approved,
        {"role": "user", "content": [{"type": "input_text", "text": "!"}]},
    ]


def test_a_result_needs_its_call() -> None:
    with pytest.raises(ProviderError) as caught:
        encode(ChatRequest("m", [Message("tool", "r")]), stream=False)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_names_have_no_place() -> None:
    items, lost = lost_of(Message("user", "a", name="Ann"), Message("user", "b", name="Bob"))
    assert items == [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    assert lost == ("the name of a message was left out",)


# --- read --------------------------------------------------------------------------------------


def test_items_in_a_row_are_one_turn() -> None:
    request = parse_request(
        {
            "model": "m",
            "instructions": "be brief",
            "input": [
                {"role": "user", "content": "q"},
                reasoning("s"),
                message("a"),
                call("f", "{}", call_id="c1"),
                call("g", "{}", call_id="c2"),
                {"type": "function_call_output", "call_id": "c1", "output": "r"},
                {"type": "function_call_output", "call_id": "c2", "output": "s"},
                {"role": "assistant", "content": "x"},
                {"role": "assistant", "content": "y"},
            ],
        }
    )
    assert [m.role for m in request.messages] == [
        "system", "user", "assistant", "tool", "tool", "assistant", "assistant",
    ]  # fmt: skip
    turn = request.messages[2]
    assert [p.type for p in turn.parts] == ["reasoning", "text"]
    assert [c.id for c in turn.tool_calls] == ["c1", "c2"]
    assert request.messages[0].text == "be brief"
    assert encode(request, stream=False).body["instructions"] == "be brief"


def test_text_around_a_call_is_one_turn() -> None:
    body = {
        "input": [
            {"role": "assistant", "content": "x"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"role": "assistant", "content": "y"},
        ]
    }
    [turn] = parse_request(body).messages
    assert [p.text for p in turn.parts] == ["x", "y"]
    assert [c.after for c in turn.tool_calls] == [1]


def test_instructions_after_another_system_turn_are_an_item() -> None:
    request = parse_request({"input": "q", "instructions": "be brief"})
    first = Message("system", "first")
    wire = encode(ChatRequest("m", [first, *request.messages]), stream=False)
    assert wire.body["input"][:2] == [
        {"role": "system", "content": "first"},
        {"role": "system", "content": [{"type": "input_text", "text": "be brief"}]},
    ]


def test_a_tool_may_have_the_name_of_a_mode() -> None:
    choice = {"type": "function", "name": "auto"}
    body = {"input": "q", "tools": [{"type": "function", "name": "auto"}], "tool_choice": choice}
    assert encode(parse_request(body), stream=False).body["tool_choice"] == choice


def test_nothing_is_asked_for_twice() -> None:
    extra = {"include": ["message.output_text.logprobs"]}
    body = body_of(ChatRequest("m", [USER], logprobs=True, extra=extra))
    assert body["include"] == extra["include"]


def test_a_text_is_the_users() -> None:
    assert parse_request({"input": "q"}).messages == (Message("user", "q"),)
    assert parse_request({"prompt": {"id": "p"}}).extra == {"prompt": {"id": "p"}}
    assert "input" not in (encode(parse_request({"prompt": {}}), stream=False).body or {})


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "allowed_tools", "mode": "auto", "tools": []},
        {"type": "function", "name": "unknown"},
        {"type": "web_search_preview"},
        "of_next_year",
    ],
)
def test_a_choice_without_a_word_goes_back_as_it_came(choice: Any) -> None:
    body = {"model": "m", "input": [], "tool_choice": choice}
    request = parse_request(body)
    assert request.tool_choice is None
    assert encode(request, stream=False).body == {k: v for k, v in body.items() if k != "input"}


def test_what_was_not_asked_for_is_not_asked_for() -> None:
    request = parse_request({"model": "gpt-5", "input": "q", "store": False})
    assert not encode(request, stream=False).body.get("include")


@pytest.mark.parametrize(
    "body",
    [
        b"{", "[]", {"input": 5}, {"input": [5]}, {"input": [{"role": "robot", "content": "x"}]},
        {"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
        {"input": [{"type": "function_call_output", "output": "x"}]},
        {"input": [{"role": "user"}]}, {"model": 5}, {"tools": "x"}, {"tools": [{}]},
        {"instructions": []},
    ],
)  # fmt: skip
def test_damage_is_a_bad_request(body: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        parse_request(body)
    assert caught.value.code is ErrorCode.BAD_REQUEST
