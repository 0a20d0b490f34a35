"""Each provider's quirks, as docs/quirks.md lists them: what goes out, comes in, and costs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crux_integrations import Router
from crux_providers.base import (
    ChatRequest,
    ChatResponse,
    ContentPart,
    ErrorCode,
    Message,
    ProviderError,
    ProviderFactory,
    Tool,
    ToolCall,
)
from crux_providers.base.provider import BaseProvider
from crux_providers.config.declaration import declarations
from tests.recordings import Interaction, interactions
from tests.servers.scripted_server import ScriptedServer

ROOT = Path(__file__).resolve().parents[2]
ASK = ChatRequest(model="m", messages=[Message("user", "x")])
OPENAI_ANSWER = {
    "id": "c1", "object": "chat.completion", "created": 1, "model": "m-1",
    "choices": [{"index": 0, "finish_reason": "stop",
                 "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}  # fmt: skip
ANTHROPIC_ANSWER = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-1",
    "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip
CALLED = [
    Message("user", "weather?"),
    Message("assistant", "", tool_calls=[ToolCall("call_1", "look", {"city": "Bern"})]),
    Message("tool", "sun", tool_call_id="call_1"),
]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda x: x.answer(json.dumps(OPENAI_ANSWER).encode())) as made:
        yield made


def at(server: ScriptedServer, name: str, **arguments: Any) -> BaseProvider:
    openai = declarations()[name].models_path == "/models"
    base = server.url if openai else server.url.removesuffix("/v1")
    return ProviderFactory.create(name, api_key="k", base_url=base, **arguments)


def sent(server: ScriptedServer, name: str, request: ChatRequest, **arguments: Any) -> Any:
    """The body that reaches the provider's server."""
    with at(server, name, **arguments) as provider:
        provider.chat(request)
    return json.loads(server.exchanges[-1].body)


def asking(**fields: Any) -> ChatRequest:
    return ChatRequest(**{"messages": [Message("user", "x")], **fields})


def recorded(provider: str, file: str) -> Interaction:
    return next(i for i in interactions(provider) if i.file == file)


def play(server: ScriptedServer, recording: Interaction) -> None:
    kind = recording.headers.get("content-type", "application/json")
    server.play(lambda exchange: exchange.answer(recording.body, 200, kind))


# -- max_tokens -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "model", "field"),
    [
        ("openai", "gpt-4o-mini", "max_completion_tokens"),
        ("openai", "o3-mini", "max_completion_tokens"),
        ("openrouter", "openai/gpt-4o", "max_tokens"),
        ("deepseek", "deepseek-reasoner", "max_tokens"),
        ("xai", "grok-4", "max_tokens"),
    ],
)
def test_each_provider_gets_max_tokens_under_its_own_name(
    name: str, model: str, field: str, server: ScriptedServer
) -> None:
    api = {"api": "chat"}
    body = sent(server, name, asking(model=model, max_tokens=7), **api)
    assert body[field] == 7
    assert len({"max_tokens", "max_completion_tokens"} & set(body)) == 1


def test_openai_takes_max_completion_tokens_from_any_chat_model(recordings: Path) -> None:
    recording = recorded("openai", "openai/chat_length__braintrust.yaml")
    assert recording.status == 200
    assert recording.request_body["model"] == "gpt-4o-mini"
    assert "max_completion_tokens" in recording.request_body


def test_anthropic_always_gets_max_tokens(server: ScriptedServer) -> None:
    server.play(lambda exchange: exchange.answer(json.dumps(ANTHROPIC_ANSWER).encode()))
    assert sent(server, "anthropic", ASK)["max_tokens"] == 4096
    assert sent(server, "anthropic", asking(model="m", max_tokens=9))["max_tokens"] == 9


# -- reasoning ------------------------------------------------------------------------------------


def reasoned(*parts: ContentPart) -> ChatRequest:
    call = ToolCall("call_1", "look", {"city": "Bern"})
    turn = Message("assistant", parts or "", tool_calls=[call])
    return asking(model="deepseek-reasoner", messages=[CALLED[0], turn, CALLED[2]])


def test_deepseek_gets_its_reasoning_back_with_a_tool_call(
    recordings: Path, server: ScriptedServer
) -> None:
    play(server, recorded("deepseek", "deepseek/chat_reasoning_tools__pydantic-ai.yaml"))
    with at(server, "deepseek") as provider:
        answer = provider.chat(asking(model="deepseek-reasoner"))
        assert answer.reasoning
        (call,) = answer.tool_calls
        turn = Message("assistant", answer.parts, tool_calls=[call])
        result = Message("tool", "{}", tool_call_id=call.id)
        provider.chat(asking(model="deepseek-reasoner", messages=[CALLED[0], turn, result]))
    message = json.loads(server.exchanges[-1].body)["messages"][1]
    assert message["reasoning_content"] == answer.reasoning
    assert message["tool_calls"][0]["id"] == call.id


def test_deepseek_gets_an_empty_reasoning_with_a_call_another_provider_made(
    recordings: Path, server: ScriptedServer
) -> None:
    for model in ("deepseek-reasoner", "deepseek-v4-pro"):
        body = sent(server, "deepseek", asking(model=model, messages=CALLED))
        user, call, result = body["messages"]
        assert call["reasoning_content"] == ""
        assert call["tool_calls"][0]["function"]["name"] == "look"
        assert "reasoning_content" not in user | result
    # The second recorded request has such a turn, and was answered.
    file = "deepseek/chat_reasoning_tools__pydantic-ai.yaml"
    second = [i for i in interactions("deepseek") if i.file == file][1]
    turns = [m for m in second.request_body["messages"] if m.get("tool_calls")]
    assert [bool(turn["reasoning_content"]) for turn in turns] == [True, False]
    assert second.status == 200


def test_deepseek_that_does_not_think_gets_no_reasoning(server: ScriptedServer) -> None:
    plain = asking(model="deepseek-chat", messages=CALLED)
    off = asking(model="deepseek-v4-pro", messages=CALLED, extra={"thinking": {"type": "disabled"}})
    on = asking(model="deepseek-chat", messages=CALLED, extra={"thinking": {"type": "enabled"}})
    assert "reasoning_content" not in sent(server, "deepseek", plain)["messages"][1]
    assert "reasoning_content" not in sent(server, "deepseek", off)["messages"][1]
    assert sent(server, "deepseek", on)["messages"][1]["reasoning_content"] == ""


def test_openrouter_gets_effort_and_budget_in_its_own_object(server: ScriptedServer) -> None:
    body = sent(server, "openrouter", asking(model="a/b", reasoning_budget=2000))
    assert body["reasoning"]["max_tokens"] == 2000
    body = sent(server, "openrouter", asking(model="a/b", reasoning_effort="low"))
    assert body["reasoning"] == {"effort": "low"}
    assert "reasoning_effort" not in body


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        ("grok-3-mini", True), ("grok-4.3", True), ("grok-4.5", True), ("grok-new", True),
        ("grok-3", False), ("grok-3-fast", False), ("grok-4", False), ("grok-4-0709", False),
        ("grok-4-fast-reasoning", False), ("grok-code-fast-1", False),
    ],
)  # fmt: skip
def test_xai_gets_an_effort_only_where_the_model_takes_one(
    model: str, kept: bool, server: ScriptedServer
) -> None:
    with at(server, "xai") as provider:
        answer = provider.chat(asking(model=model, reasoning_effort="low"))
    body = json.loads(server.exchanges[-1].body)
    assert body.get("reasoning_effort") == ("low" if kept else None)
    degraded = answer.meta.extra.get("degraded", [])
    assert degraded == ([] if kept else [f"reasoning_effort: {model} sets its own"])


def test_xai_reasoning_models_are_not_asked_for_what_they_refuse(server: ScriptedServer) -> None:
    with at(server, "xai") as provider:
        for model, fields in (
            ("grok-4", {"stop": ["END"]}),
            ("grok-3-mini", {"extra": {"presence_penalty": 1}}),
            ("grok-4-fast-reasoning", {"extra": {"frequency_penalty": 1}}),
        ):
            with pytest.raises(ProviderError, match="reasoning models take no") as caught:
                provider.chat(asking(model=model, **fields))
            assert caught.value.code is ErrorCode.UNSUPPORTED
            (event,) = provider.stream_chat(asking(model=model, **fields))
            assert (event.error or "").startswith("unsupported:")
        assert server.requests == 0
        for model in ("grok-3", "grok-4-fast-non-reasoning"):
            provider.chat(asking(model=model, stop=["END"]))
            assert json.loads(server.exchanges[-1].body)["stop"] == ["END"]


def test_xai_live_search_that_is_gone_is_one_error_and_one_request(server: ScriptedServer) -> None:
    words = b'{"error": "Live search is deprecated. Please switch to the Agent Tools API"}'
    server.play(lambda exchange: exchange.answer(words, 410))
    request = asking(model="grok-4.3", extra={"search_parameters": {"mode": "on"}})
    with at(server, "xai", max_retries=2) as provider, pytest.raises(ProviderError) as caught:
        provider.chat(request)
    assert "Live search is deprecated" in str(caught.value)
    assert (caught.value.status, caught.value.retryable) == (410, False)
    assert server.requests == 1
    assert json.loads(server.exchanges[0].body)["search_parameters"] == {"mode": "on"}


# -- tool calls -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "file"),
    [
        ("gemini", "gemini/generate_parallel_tools__crewai.yaml"),
        ("gemini", "gemini/generate_parallel_tools_stream__crewai.yaml"),
    ],
)
def test_gemini_calls_without_an_id_get_one_that_stays(
    provider: str, file: str, recordings: Path, server: ScriptedServer
) -> None:
    recording = recorded(provider, file)
    assert b'"functionCall"' in recording.body
    assert not re.search(rb'"functionCall":\s*\{\s*"id"', recording.body)
    play(server, recording)
    first, second = (answer_of(server, provider, recording.stream) for _ in range(2))
    ids = [call.id for call in first.tool_calls]
    assert len(ids) > 1
    assert len(set(ids)) == len(ids)
    assert [call.id for call in second.tool_calls] == ids


@pytest.mark.parametrize(
    ("provider", "file"),
    [
        ("xai", "xai/chat_tools_stream__magentic.yaml"),
        ("ollama", "ollama/chat_tools_stream__magentic.yaml"),
    ],
)
def test_a_whole_tool_call_in_one_chunk_is_a_call(
    provider: str, file: str, recordings: Path, server: ScriptedServer
) -> None:
    play(server, recorded(provider, file))
    answer = answer_of(server, "xai", stream=True)  # both recordings are in OpenAI's chat dialect
    (call,) = answer.tool_calls
    assert call.arguments
    assert answer.finish_reason == "tool_calls"


def test_ollamas_whole_calls_without_ids_are_calls(server: ScriptedServer) -> None:
    """Its own stream has each call whole, arguments as an object (docs/api.md, tool calls)."""
    lines = [
        {"model": "m", "created_at": "2025-07-07T20:22:19Z", "done": False,
         "message": {"role": "assistant", "content": "", "tool_calls": [
             {"function": {"name": "look", "arguments": {"city": name}}} for name in ("A", "B")]}},
        {"model": "m", "created_at": "2025-07-07T20:22:20Z", "done": True, "done_reason": "stop",
         "message": {"role": "assistant", "content": ""}, "prompt_eval_count": 1, "eval_count": 1},
    ]  # fmt: skip
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    server.play(lambda exchange: exchange.answer(body, 200, "application/x-ndjson"))
    answer = answer_of(server, "ollama", stream=True)
    assert [call.arguments for call in answer.tool_calls] == [{"city": "A"}, {"city": "B"}]
    assert len({call.id for call in answer.tool_calls} - {""}) == 2
    assert answer.finish_reason == "tool_calls"


def answer_of(server: ScriptedServer, name: str, stream: bool) -> ChatResponse:
    from crux_providers.base.events import StreamFolder

    tools = [Tool("look", "d", {"type": "object", "properties": {}})]
    with at(server, name) as provider:
        if not stream:
            return provider.chat(asking(model="m", tools=tools))
        folder = StreamFolder()
        for event in provider.stream_chat(asking(model="m", tools=tools)):
            assert event.error is None, event.error
            folder.add(event)
        return folder.response()


# -- OpenRouter's streams -------------------------------------------------------------------------


def test_openrouters_error_within_a_stream_is_an_error(
    recordings: Path, server: ScriptedServer
) -> None:
    play(server, recorded("openrouter", "openrouter/chat_reasoning_stream__pydantic-ai_2.yaml"))
    with at(server, "openrouter") as provider:
        *events, last = provider.stream_chat(asking(model="minimax/minimax-m2:free"))
    assert any(event.delta or event.reasoning for event in events)
    assert last.finish
    assert last.error
    assert not last.error.startswith("internal:")


def test_openrouters_comments_are_no_content(server: ScriptedServer) -> None:
    chunk = {"id": "g", "model": "m", "choices": [{"index": 0, "delta": {"content": "hi"}}]}
    end = {"id": "g", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    body = b": OPENROUTER PROCESSING\n\n" * 3 + b"".join(
        b"data: %b\n\n" % json.dumps(data).encode() for data in (chunk, end)
    )
    server.play(lambda x: x.answer(body + b"data: [DONE]\n\n", 200, "text/event-stream"))
    assert answer_of(server, "openrouter", stream=True).text == "hi"


# -- what an answer cost --------------------------------------------------------------------------

COSTS = [
    ("openrouter", "openrouter/chat_text_stream__pydantic-ai.yaml", 0.00085),
    ("openrouter", "openrouter/chat_tools_stream__magentic.yaml", 0.00013783),
    ("openrouter", "openrouter/chat_text__dd-trace.yaml", 0.0000063),  # a key of the user's own
    ("openrouter", "openrouter/responses_text__pydantic-ai.yaml", 0.025265),
    ("openrouter", "openrouter/responses_reasoning_stream__pydantic-ai.yaml", None),
]


def over_a_router(
    server: ScriptedServer, name: str, model: str, *, stream: bool, **arguments: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """``crux`` of a call over a router, and its only attempt."""
    routes = {"version": 1, "routes": {"default": {"candidates": [f"{name}:{model}"]}}}
    with (
        at(server, name, **arguments) as provider,
        Router(routes, providers={name: provider}) as router,
    ):
        if stream:
            *_, last = router.stream(asking())
            crux = (last.meta or {})["crux"]
        else:
            crux = router.generate(asking()).meta.extra["crux"]
    (attempt,) = crux["attempts"]
    return crux, attempt


@pytest.mark.parametrize(("name", "file", "dollars"), COSTS)
def test_the_cost_openrouter_reports_is_the_attempts_cost(
    name: str, file: str, dollars: float | None, recordings: Path, server: ScriptedServer
) -> None:
    recording = recorded(name, file)
    play(server, recording)
    api = "responses" if recording.endpoint == "responses" else "chat"
    if dollars is None:  # what the file's own words say
        dollars = float(re.findall(rb'"cost": ?([\d.e-]+)', recording.body)[-1])
        assert dollars > 0
    crux, attempt = over_a_router(server, name, "openai/gpt-4o", stream=recording.stream, api=api)
    assert attempt["cost_usd"] == pytest.approx(dollars, rel=1e-12)
    assert crux["cost_usd"] == attempt["cost_usd"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("name", "usage", "dollars"),
    [
        ("xai", {"cost_in_usd_ticks": 37756000}, 0.0037756),
        ("openrouter", {"cost": 0.95, "cost_details": {"upstream_inference_cost": 19}}, 0.95),
        ("openrouter", {"cost": 0}, 0.0),
    ],
)
def test_a_reported_cost_stands_over_list_prices(
    name: str, usage: Any, dollars: float, stream: bool, server: ScriptedServer
) -> None:
    whole = {**OPENAI_ANSWER, "usage": {**OPENAI_ANSWER["usage"], **usage}}
    chunk = {
        **whole,
        "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}],
    }
    if stream:
        body = b"data: %b\n\ndata: [DONE]\n\n" % json.dumps(chunk).encode()
        server.play(lambda x: x.answer(body, 200, "text/event-stream"))
    else:
        server.play(lambda x: x.answer(json.dumps(whole).encode()))
    _, attempt = over_a_router(server, name, "grok-4", stream=stream)
    assert attempt["cost_usd"] == dollars


@pytest.mark.parametrize(
    "usage",
    [{}, {"cost": "1"}, {"cost": True}, {"cost": -1}, {"cost": None}, {"cost": {"total": 1}},
     {"cost": 1, "is_byok": True}, {"cost": 1, "is_byok": True, "cost_details": {}}],
)  # fmt: skip
def test_a_cost_that_is_not_reported_is_reckoned(usage: Any, server: ScriptedServer) -> None:
    whole = {**OPENAI_ANSWER, "usage": {**OPENAI_ANSWER["usage"], **usage}}
    server.play(lambda x: x.answer(json.dumps(whole).encode()))
    _, attempt = over_a_router(server, "openrouter", "openai/gpt-4o", stream=False)
    assert attempt["cost_usd"] == pytest.approx((10 * 2.5 + 5 * 10) / 1e6)


def test_a_provider_that_reports_no_cost_is_never_asked_for_one(server: ScriptedServer) -> None:
    whole = {**OPENAI_ANSWER, "usage": {**OPENAI_ANSWER["usage"], "cost": 99}}
    server.play(lambda x: x.answer(json.dumps(whole).encode()))
    _, attempt = over_a_router(server, "openai", "gpt-4o", stream=False)
    assert attempt["cost_usd"] == pytest.approx((10 * 2.5 + 5 * 10) / 1e6)


def test_the_provider_alone_says_the_cost_too(server: ScriptedServer) -> None:
    whole = {**OPENAI_ANSWER, "usage": {**OPENAI_ANSWER["usage"], "cost": 0.5}}
    server.play(lambda x: x.answer(json.dumps(whole).encode()))
    with at(server, "openrouter") as provider:
        assert provider.chat(ASK).meta.extra["cost_usd"] == 0.5


# -- the page -------------------------------------------------------------------------------------


def test_the_page_names_tests_that_are_here_and_recordings_that_exist(recordings: Path) -> None:
    page = (ROOT / "docs" / "quirks.md").read_text(encoding="utf-8")
    here = set(re.findall(r"^def (test_\w+)", Path(__file__).read_text(encoding="utf-8"), re.M))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named
    assert named <= here
    files = re.findall(r"`(\w+/[\w-]+\.yaml)`", page)
    assert files
    assert [file for file in files if not (recordings / file).is_file()] == []
