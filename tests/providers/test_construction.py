"""What a provider is made of: the table, addresses, keys and limits, as the arguments say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from crux_providers.base import (
    BaseStreamingAdapter,
    ChatRequest,
    LogContext,
    Message,
    ProviderError,
    ProviderFactory,
    StreamController,
    Tool,
)
from crux_providers.deepseek.client import DeepSeekProvider
from tests.recordings import read_session
from tests.servers.scripted_server import Exchange, ScriptedServer

ASK = ChatRequest(model="m", messages=[Message(role="user", content="hello")])
ANSWER = {
    "id": "c-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    ],
}
OLLAMA = {"model": "m", "message": {"role": "assistant", "content": "hi"}, "done": True}


class Played:
    """An httpx transport that answers in either dialect and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.transport = httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, json=OLLAMA if "/api/" in request.url.path else ANSWER)


# -- the table ------------------------------------------------------------------------------------


@pytest.mark.contract(41, 42)
def test_the_table_shows_every_provider() -> None:
    table = ProviderFactory._PROVIDERS
    assert set(table) == {
        "openai", "anthropic", "gemini", "ollama", "openrouter", "deepseek", "xai", "litellm",
        "local",
    }  # fmt: skip
    assert "openai" in table
    assert len(table) == 9
    assert table["openai"] == "crux_providers.openai.client:OpenAIProvider"


@pytest.mark.contract(41)
def test_a_class_itself_may_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(DeepSeekProvider):
        pass

    monkeypatch.setitem(ProviderFactory._PROVIDERS, "openai", Mine)
    assert type(ProviderFactory.create("openai", api_key="k")) is Mine
    monkeypatch.undo()
    assert type(ProviderFactory.create("openai", api_key="k")) is not Mine


# -- addresses and keys ---------------------------------------------------------------------------


@pytest.mark.contract("S1", 42)
@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("litellm", "http://127.0.0.1:4000/chat/completions"),
        ("local", "http://127.0.0.1:8080/v1/chat/completions"),
    ],
)
def test_an_httpx_transport_needs_no_address(name: str, url: str) -> None:
    played = Played()
    provider = ProviderFactory.create(name, transport=played.transport)
    assert provider.chat(ASK).text == "hi"
    assert str(played.requests[0].url) == url


@pytest.mark.contract("S1", 42)
@pytest.mark.parametrize("name", ["litellm", "local", "ollama"])
def test_a_key_that_is_not_needed_is_sent_all_the_same(name: str) -> None:
    played = Played()
    for key in ("the-key", None):
        provider = ProviderFactory.create(name, api_key=key, transport=played.transport)
        assert provider.chat(ASK).text == "hi"
    sent = [request.headers.get("authorization") for request in played.requests]
    assert sent == ["Bearer the-key", None]


@pytest.mark.contract("S2", 42)
@pytest.mark.parametrize("how", ["argument", "variable"])
def test_a_local_server_is_asked_where_one_is_named(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: list[str] = []

    def scenario(exchange: Exchange) -> None:
        paths.append(exchange.target)
        exchange.answer(json.dumps(ANSWER).encode())

    with ScriptedServer(scenario) as server:
        url = server.url  # which ends in /v1
        if how == "variable":
            monkeypatch.setenv("LOCAL_BASE_URL", url)
        arguments = {"base_url": url} if how == "argument" else {}
        provider = ProviderFactory.create("local", **arguments)
        tool = Tool("t", "what it does", {"type": "object", "properties": {}})
        request = ChatRequest(model="m", messages=ASK.messages, tools=[tool])
        assert provider.chat(request).text == "hi"  # the server knows whether it calls tools
        assert paths == ["/v1/chat/completions"]


@pytest.mark.contract("S1")
@pytest.mark.parametrize(
    "arguments",
    [
        {"transport": "htpp"},
        {"max_retries": -1},
        {"timeout": -1},
        {"timeout": {"total": -1}},
        {"idle_timeout": -0.5},
    ],
)
def test_an_argument_that_cannot_be_is_refused_at_once(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"transport is|max_retries counts|a timeout is"):
        ProviderFactory.create("openai", api_key="k", **arguments)


@pytest.mark.contract("S1")
@pytest.mark.parametrize("name", ["openai", "openrouter", "xai", "deepseek"])
def test_the_responses_dialect_is_there_to_choose(name: str) -> None:
    paths: list[str] = []
    message = {"type": "message", "role": "assistant", "content": [
        {"type": "output_text", "text": "hi", "annotations": []}
    ]}  # fmt: skip
    answer = {
        "id": "r-1", "object": "response", "status": "completed", "model": "m", "output": [message],
        "usage": {"input_tokens": 2, "output_tokens": 1, "total_tokens": 3},
    }  # fmt: skip

    def play(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return httpx.Response(200, json=answer)

    made = httpx.MockTransport(play)
    provider = ProviderFactory.create(name, api_key="k", api="responses", transport=made)
    response = provider.chat(ASK)
    assert (response.text, response.finish_reason) == ("hi", "stop")
    assert response.metadata.tokens == {"prompt": 2, "completion": 1, "total": 3}
    assert paths[0].endswith("/responses")


@pytest.mark.contract("S1")
def test_deepseeks_recorded_responses_come_through(recordings: Path) -> None:
    session = read_session(recordings, "deepseek/responses_reasoning_tools__pydantic-ai.yaml")
    made = httpx.MockTransport(lambda _: httpx.Response(200, content=session[0].body))
    provider = ProviderFactory.create("deepseek", api_key="k", api="responses", transport=made)
    response = provider.chat(ASK)
    assert response.finish_reason == "tool_calls"
    assert [(c.name, c.arguments) for c in response.tool_calls] == [
        ("get_temperature", {"city": "Tokyo"})
    ]
    assert (response.reasoning or "").startswith("The user asks for the temperature")


# -- streams of the user's own --------------------------------------------------------------------


class _Status(Exception):
    """Carries its answer, as the SDKs' exceptions do."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__("refused")
        request = httpx.Request("POST", "http://h")
        self.response = httpx.Response(status, headers=headers, content=b"{}", request=request)
        self.status_code = status


class _Wrapped(Exception):
    """An SDK's word for a network error, which is its cause."""


def _wrapped() -> Exception:
    exc = _Wrapped("Connection error.")
    exc.__cause__ = httpx.ConnectError("refused")
    return exc


def _events(raised: Exception, after: list[str]) -> StreamController:
    def native() -> Iterator[str]:
        yield from after
        raise raised

    return StreamController(
        BaseStreamingAdapter(
            ctx=LogContext(provider="p", model="m"), provider_name="p", model="m",
            starter=native, translator=lambda chunk: chunk,
        )
    )  # fmt: skip


@pytest.mark.contract(66, 87, 88, 89, 90)
@pytest.mark.parametrize(
    ("raised", "start", "later"),
    [
        (httpx.ReadError("cut"), "transient", "transient"),
        (httpx.ReadTimeout("slow"), "timeout", "transient"),
        (_wrapped(), "transient", "transient"),
        (_Status(429, {"retry-after": "3", "x-request-id": "r-1"}), "rate_limit", "rate_limit"),
        (_Status(401, {}), "auth", "auth"),
        (RuntimeError("a bug"), "internal", "internal"),
    ],
)
def test_what_a_starter_raises_is_understood(raised: Exception, start: str, later: str) -> None:
    for after, code in (([], start), (["one"], later)):
        controller = _events(raised, after)
        *deltas, last = controller
        assert [event.delta for event in deltas] == after
        assert last.error is not None
        assert last.error.startswith(f"{code}:")
        if code == "rate_limit":
            assert controller.error is not None
            assert (controller.error.retry_after, controller.error.status) == (3.0, 429)
            assert controller.ctx.request_id == "r-1"


# -- a cut anywhere -------------------------------------------------------------------------------


def _chunk(**delta: str) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    chunk = {"id": "c", "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


@pytest.mark.contract(67)
def test_a_stream_cut_within_an_event_is_cut() -> None:
    whole = _chunk(role="assistant", content="one ") + _chunk(content="two ")
    first = whole.index(b"\n\n") + 2
    for end in range(first, len(whole)):
        body = whole[:end]
        handler = httpx.MockTransport(
            lambda _, body=body: httpx.Response(
                200, headers={"content-type": "text/event-stream"}, content=body
            )
        )
        provider = ProviderFactory.create("openai", api_key="k", api="chat", transport=handler)
        *_, last = provider.stream_chat(ASK)
        assert (last.error or "").startswith("transient:"), body[first:]


def test_a_broken_event_within_a_stream_stays_malformed() -> None:
    body = _chunk(content="one ") + b"data: {not json}\n\n" + b"data: [DONE]\n\n"
    handler = httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    )
    provider = ProviderFactory.create("openai", api_key="k", api="chat", transport=handler)
    *_, last = provider.stream_chat(ASK)
    assert last.error is not None
    assert last.error.startswith("malformed:")


@pytest.mark.contract(26, 27)
@pytest.mark.parametrize("message", [{"role": "user", "content": "hello"}, "hello", None])
def test_what_is_no_message_is_refused_at_once(message: Any) -> None:
    with pytest.raises(TypeError, match="list of Message"):
        ChatRequest(model="m", messages=[message])


@pytest.mark.contract(26)
@pytest.mark.parametrize(
    "fields",
    [
        {"content": [{"type": "text", "text": "hello"}]},
        {"content": ["hello"]},
        {"tool_calls": [{"id": "1", "name": "f", "arguments": {}}]},
    ],
)
def test_what_is_no_part_and_no_call_is_refused_at_once(fields: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"is a list of (ContentPart|ToolCall)"):
        Message(role="assistant", **fields)


def test_an_unknown_name_is_one_clear_error() -> None:
    with pytest.raises(ProviderError, match="did you mean 'openai'"):
        ProviderFactory.create("opnai")
