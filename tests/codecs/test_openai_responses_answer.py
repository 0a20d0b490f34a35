"""OpenAI Responses: what a whole answer is read as, and what is written of one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import Response

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import ChatResponse, ContentPart, ProviderMetadata, ToolCall
from crux_providers.codecs.openai_responses import DIALECT, decode, models, render_response
from tests.codecs.openai_responses_wire import REFUSAL, call, message, reasoning, response, text


def test_the_items_of_an_answer_in_their_order() -> None:
    answer = decode(
        response(
            reasoning("first", "second", encrypted_content="gAAAA"),
            message("let me see ", phase="commentary", id="msg_1"),
            call("look", '{"at": "x"}', call_id="call_7"),
            message("done", phase="final_answer", id="msg_2"),
        )
    )
    assert answer.text == "let me see done"
    assert answer.reasoning == "firstsecond"
    assert [p.type for p in answer.parts] == ["reasoning", "reasoning", "text", "text"]
    assert [p.data for p in answer.parts] == ["gAAAA", None, None, None]
    assert answer.parts[2].extra == {
        "item": {"id": "msg_1", "status": "completed", "phase": "commentary"}
    }
    [found] = answer.tool_calls
    assert (found.id, found.name, found.after) == ("call_7", "look", 3)
    assert found.arguments == {"at": "x"}
    assert found.extra == {"id": "fc_1", "status": "completed"}
    assert answer.finish_reason == "tool_calls"
    assert answer.usage.tokens == {"prompt": 11, "completion": 7, "total": 18}
    assert answer.usage.details == {"cached": 4, "reasoning": 3}
    assert answer.meta.response_id == "resp_1"
    assert answer.meta.model_name == "gpt-5-mini-2025-08-07"


def test_hidden_reasoning_has_no_text() -> None:
    answer = decode(response(reasoning(encrypted_content="gAAAA"), message("a")))
    assert answer.reasoning is None
    assert (answer.parts[0].text, answer.parts[0].data) == (None, "gAAAA")
    assert not answer.empty


def test_reasoning_in_full_is_told_from_its_summary() -> None:
    thought = {"type": "reasoning_text", "text": "hm"}
    answer = decode(response(reasoning("sum", content=[thought]), message("a")))
    kinds = [(p.extra or {})["type"] for p in answer.parts if p.type == "reasoning"]
    assert kinds == ["summary_text", "reasoning_text"]
    assert answer.reasoning == "sumhm"


@pytest.mark.parametrize(
    "item",
    [
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "q"}},
        {"type": "file_search_call", "id": "fs_1", "queries": ["q"], "results": None},
        {"type": "code_interpreter_call", "id": "ci_1", "name": "x", "call_id": "", "code": "1"},
        {"type": "mcp_call", "id": "mcp_1", "name": "f", "arguments": "{}", "output": "o"},
        {"type": "mcp_list_tools", "id": "mcpl_1", "tools": []},
        {"type": "image_generation_call", "id": "ig_1", "result": "aGk="},
        {"type": "tool_search_call", "id": "t_1", "execution": "server", "call_id": None},
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "q"}]},
        {"type": "of_next_year", "x": 1},
    ],
)
def test_what_the_provider_ran_itself_is_raw(item: dict[str, Any]) -> None:
    answer = decode(response(item, message("a")))
    assert answer.tool_calls == ()
    assert answer.parts[0] == ContentPart("raw", data=item, dialect=DIALECT)
    assert (answer.text, answer.finish_reason) == ("a", "stop")


@pytest.mark.parametrize(
    ("items", "finish"),
    [
        ([{"type": "computer_call", "call_id": "c", "action": {}}], "tool_calls"),
        ([{"type": "apply_patch_call", "call_id": "c"}], "tool_calls"),
        ([{"type": "local_shell_call", "call_id": "c"}], "tool_calls"),
        ([{"type": "mcp_approval_request", "id": "mcpr_1"}], "tool_calls"),
        ([{"type": "tool_search_call", "call_id": "c", "execution": "client"}], "tool_calls"),
        ([{"type": "shell_call", "call_id": "c"}], "tool_calls"),
        ([{"type": "shell_call", "call_id": "c"}, {"type": "shell_call_output", "call_id": "c"}],
         "stop"),
    ],
)  # fmt: skip
def test_a_raw_call_that_waits_for_the_caller(items: list[Any], finish: str) -> None:
    answer = decode(response(*items))
    assert (answer.tool_calls, answer.finish_reason) == ((), finish)


def test_a_custom_tools_call_keeps_its_text() -> None:
    item = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "sql", "input": "S"}
    answer = decode(response(item))
    [found] = answer.tool_calls
    assert (found.id, found.name, found.raw_arguments, found.valid) == ("c", "sql", "S", False)
    assert found.extra == {"type": "custom_tool_call", "id": "ctc_1"}
    assert answer.finish_reason == "tool_calls"


def test_a_call_without_call_id_has_the_same_id_each_time() -> None:
    item = {"type": "function_call", "name": "f", "arguments": {"a": 1}}
    first, second = decode(response(item)), decode(response(item))
    assert first.tool_calls[0].id
    assert first.tool_calls == second.tool_calls
    assert first.tool_calls[0].raw_arguments == '{"a":1}'


def test_a_refusal_is_an_answer() -> None:
    answer = decode(response(message(REFUSAL)))
    assert (answer.refusal, answer.text, answer.finish_reason) == (
        "I would rather not.", "", "stop",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("steered", "other")],
)
def test_incomplete_answers(reason: str, finish: str) -> None:
    body = response(call(), status="incomplete", incomplete_details={"reason": reason})
    assert decode(body).finish_reason == finish
    assert decode(render_response(decode(body))).finish_reason == finish


def test_a_background_response_is_not_over() -> None:
    answer = decode(response(status="queued", usage=None, background=True))
    assert (answer.finish_reason, answer.empty) == ("other", True)
    assert answer.meta.extra["wire_fields"]["status"] == "queued"
    assert answer.usage.tokens == {"prompt": None, "completion": None, "total": None}


def test_an_empty_answer_is_empty() -> None:
    for items in ([], [message("")], [reasoning("hm"), message("")], [message()]):
        assert decode(response(*items)).empty, items


def test_logprobs_and_citations() -> None:
    cited = {"type": "url_citation", "url": "https://x.test", "start_index": 0, "end_index": 1}
    entries = [{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}]
    answer = decode(response(message(text("a", annotations=[cited], logprobs=entries))))
    assert answer.meta.extra["logprobs"] == entries
    assert (answer.parts[0].extra or {})["annotations"] == [cited]
    assert "logprobs" not in (answer.parts[0].extra or {})


def test_unknown_fields_survive() -> None:
    body = response(message("a"), x_new={"a": 1}, service_tier="flex", error=None, tools=[])
    body["usage"] |= {"cost": 0.25, "num_sources_used": 2}
    fields = decode(body).meta.extra["wire_fields"]
    assert fields["x_new"] == {"a": 1}
    assert fields["service_tier"] == "flex"
    assert fields["usage"] == {"cost": 0.25, "num_sources_used": 2}
    assert "error" not in fields
    assert "tools" not in fields


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": "failed", "error": {"code": "server_error", "message": "m"}}, "server_error"),
        ({"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "m"}},
         "rate_limit"),
        ({"status": "failed", "error": {"code": "invalid_prompt", "message": "m"}},
         "content_filter"),
        ({"status": "failed", "error": {"code": "image_too_large", "message": "m"}}, "bad_request"),
        ({"status": "failed", "error": None}, "server_error"),
        ({"status": "cancelled"}, "cancelled"),
        ({"error": {"code": 429, "message": "m"}}, "rate_limit"),
    ],
)  # fmt: skip
def test_a_failed_response_raises(change: dict[str, Any], code: str) -> None:
    with pytest.raises(ProviderError) as caught:
        decode(response(**change))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\xff", "nope", "[]", "null", b'{"output": null}', '{"output": [1]}', {"output": {}},
        {"output": [{"type": 1}]}, {"output": [{"type": "message", "content": "x"}]},
        response(message({"type": "output_text", "text": 1})), response(message(1)),
        response({"type": "function_call", "call_id": "c", "arguments": "{}"}),
        response({"type": "reasoning", "summary": [{"type": "summary_text"}]}),
        response({"type": "reasoning", "encrypted_content": 1}),
    ],
)  # fmt: skip
def test_what_is_no_response_is_malformed(payload: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        decode(payload)
    assert caught.value.code is ErrorCode.MALFORMED


def test_bytes_text_and_parsed_json_are_read_alike() -> None:
    body = response(message("ä"))
    as_text = json.dumps(body)
    assert decode(body) == decode(as_text) == decode(as_text.encode())


# --- written -----------------------------------------------------------------------------------


def test_another_dialects_answer_is_a_response_the_sdk_accepts() -> None:
    answer = ChatResponse.build(
        [
            ContentPart("reasoning", "hm", signature="s", dialect="anthropic_messages"),
            ContentPart("text", "a", dialect="anthropic_messages", extra={"citations": []}),
            ContentPart("raw", data={"type": "server_tool_use"}, dialect="anthropic_messages"),
            ContentPart("text", "b"),
        ],
        [ToolCall("toolu_1", "f", {"x": 1}, after=2), ToolCall("toolu_2", "g", raw_arguments="")],
        finish_reason="tool_calls",
        meta=ProviderMetadata(model_name="claude", response_id="msg_x"),
    )
    body = render_response(answer)
    typed = Response.model_validate({**body, "usage": body["usage"]})
    assert typed.output_text == "ab"
    assert [item.type for item in typed.output] == [
        "reasoning", "message", "function_call", "message", "function_call",
    ]  # fmt: skip
    assert len({getattr(item, "id", None) for item in typed.output}) == 5
    again = decode(body)
    assert [c.id for c in again.tool_calls] == ["toolu_1", "toolu_2"]
    assert [c.arguments for c in again.tool_calls] == [{"x": 1}, {}]
    assert (again.text, again.reasoning, again.finish_reason) == ("ab", "hm", "tool_calls")


def test_an_answer_of_this_dialect_is_written_as_it_came() -> None:
    items = [
        reasoning("s", encrypted_content="gAAAA"),
        message(text("a"), REFUSAL, phase="commentary"),
        call(arguments='{"a":  1}'),
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    ]
    written = render_response(decode(response(*items)))["output"]
    for item in (*items, *written):
        for piece in item.get("content") or ():
            piece.pop("logprobs", None)
    assert written == items


def test_wire_fields_of_other_dialects_stay_out() -> None:
    meta = ProviderMetadata(extra={"wire_fields": {"system_fingerprint": "fp", "object": "chat"}})
    assert "system_fingerprint" not in render_response(ChatResponse(meta=meta))


def test_models_are_read() -> None:
    [model] = models({"object": "list", "data": [{"id": "gpt-5", "created": 1754425777}]})
    assert (model.id, model.updated_at, model.context_length) == ("gpt-5", "2025-08-05", None)
