"""LiteLLM's library as a provider: its own extra, so most of this runs where that is installed.

``pip install 'crux-integrations[litellm,test]'`` (or requirements/litellm.txt) makes that
environment; the suite's own has openai 3, which LiteLLM does not work with.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from crux_providers.base import ChatRequest, Message, ProviderFactory
from crux_providers.base.errors import ProviderError
from crux_providers.base.models import ContentPart
from tests.servers.scripted_server import Exchange, ScriptedServer
from tests.transports.sdk_clients import WAYS, chat, events_of

INSTALLED = importlib.util.find_spec("litellm") is not None
needs_litellm = pytest.mark.skipif(
    not INSTALLED, reason="needs the extra litellm, whose openai<3 has an environment of its own"
)
ASKED = ChatRequest(model="openai/m", messages=[Message(role="user", content="Grüße")])


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


def provider(server: ScriptedServer, **more: Any) -> Any:
    return ProviderFactory.create("litellm", base_url=server.url, api_key="k", **more)


MESSAGE = {"role": "assistant", "content": "hello", "refusal": None}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}
    return b"data: " + json.dumps({**data, "choices": [choice]}).encode() + b"\n\n"


def answer(exchange: Exchange) -> None:
    if json.loads(exchange.body).get("stream"):
        exchange.begin_stream()
        exchange.chunk(event({"content": "hel"}))
        exchange.chunk(event({"content": "lo"}))
        exchange.chunk(event({}, "stop"))
        usage = {"id": "x", "created": 1, "model": "m-1", "choices": [], "usage": USAGE}
        exchange.chunk(b"data: " + json.dumps(usage).encode() + b"\n\ndata: [DONE]\n\n")
        exchange.end_stream()
        return
    choice = {"index": 0, "message": MESSAGE, "finish_reason": "stop"}
    whole = {"id": "x", "created": 1, "model": "m-1", "choices": [choice], "usage": USAGE}
    exchange.answer(json.dumps(whole).encode(), headers={"x-request-id": "req_1"})


# -- where it is not installed ---------------------------------------------------------------------


@pytest.mark.skipif(INSTALLED, reason="litellm is installed here")
def test_without_it_one_error_says_what_to_install() -> None:
    made = ProviderFactory.create("litellm")
    with pytest.raises(ProviderError, match="pip install 'crux-integrations\\[litellm\\]'") as told:
        made.chat(ASKED)
    assert told.value.code == "unsupported"
    (last,) = made.stream_chat(ASKED)
    assert last.finish
    assert last.error.startswith("unsupported:")
    assert "pip install 'crux-integrations[litellm]'" in last.error


# -- where it is -----------------------------------------------------------------------------------


@needs_litellm
@pytest.mark.parametrize("way", WAYS)
def test_an_answer(server: ScriptedServer, way: str) -> None:
    server.play(answer)
    response = chat(provider(server), ASKED, way)
    assert (response.text, response.finish_reason) == ("hello", "stop")
    assert response.meta.extra["token_usage"] == {"prompt": 1, "completion": 2, "total": 3}
    (exchange,) = server.exchanges
    assert exchange.headers["authorization"] == "Bearer k"
    sent = json.loads(exchange.body)
    assert sent["model"] == "m"
    assert sent["messages"] == [{"role": "user", "content": "Grüße"}]
    if way == "whole":
        assert response.meta.model_name == "m-1"
        assert response.meta.request_id == "req_1"


@needs_litellm
@pytest.mark.parametrize("way", WAYS)
def test_a_tool_call(server: ScriptedServer, way: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}

    def calls(exchange: Exchange) -> None:
        if not json.loads(exchange.body).get("stream"):
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
            whole = {"id": "x", "created": 1, "model": "m-1", "choices": [choice], "usage": USAGE}
            exchange.answer(json.dumps(whole).encode())
            return
        exchange.begin_stream()
        begun = {**call, "index": 0, "function": {"name": "f", "arguments": ""}}
        exchange.chunk(event({"tool_calls": [begun]}))
        rest = {"index": 0, "function": {"arguments": '{"a": 1}'}}
        exchange.chunk(event({"tool_calls": [rest]}))
        exchange.chunk(event({}, "tool_calls") + b"data: [DONE]\n\n")
        exchange.end_stream()

    server.play(calls)
    response = chat(provider(server), ASKED, way)
    (made,) = response.tool_calls
    assert (made.id, made.name, made.arguments) == ("c1", "f", {"a": 1})
    assert response.finish_reason == "tool_calls"


ERRORS = [
    (400, {"code": "context_length_exceeded"}, "context_length"),
    (400, {}, "bad_request"),
    (401, {}, "auth"),
    (403, {}, "permission"),
    (404, {"code": "model_not_found"}, "not_found"),
    (429, {"code": "rate_limit_exceeded"}, "rate_limit"),
    (429, {"code": "insufficient_quota"}, "quota"),
    (500, {}, "server_error"),
    (503, {}, "transient"),
    (504, {}, "transient"),
]


@needs_litellm
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("status", "more", "code"), ERRORS)
def test_a_refusal_costs_one_request_and_has_its_code(
    server: ScriptedServer, way: str, status: int, more: dict[str, str], code: str
) -> None:
    error = {"error": {"message": "no", **more}}
    server.play(
        lambda e: e.answer(json.dumps(error).encode(), status, headers={"retry-after": "7"})
    )
    made = provider(server)
    if "streamed" in way:
        events = events_of(made, ASKED, way)
        assert events[-1].error.startswith(f"{code}:")
    else:
        with pytest.raises(ProviderError) as caught:
            chat(made, ASKED, way)
        assert (caught.value.code, caught.value.status) == (code, status)
        assert caught.value.retry_after == 7
        assert caught.value.__cause__ is None or "Bearer" not in repr(vars(caught.value.__cause__))
    assert server.requests == 1


@needs_litellm
@pytest.mark.parametrize("way", ["streamed", "async streamed"])
@pytest.mark.parametrize("how", ["closed", "done without a reason", "error event", "no JSON"])
def test_a_half_answer_never_ends_as_success(server: ScriptedServer, way: str, how: str) -> None:
    """LiteLLM itself ends the first two with finish_reason stop."""
    tails = {
        "closed": b"",
        "done without a reason": b"data: [DONE]\n\n",
        "error event": b'data: {"error": {"message": "boom", "code": "server_error"}}\n\n',
        "no JSON": b'data: {"choices": [\n\n' + event({}, "stop"),
    }

    def half(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.chunk(event({"content": "half"}))
        if tail := tails[how]:
            exchange.chunk(tail)
        exchange.end_stream()

    server.play(half)
    made = provider(server)
    events = events_of(made, ASKED, way)
    assert [e.delta for e in events if e.delta] == ["half"]
    assert events[-1].finish
    assert events[-1].error, "it ended as success"
    assert server.requests == 1


@needs_litellm
def test_nothing_listens(server: ScriptedServer) -> None:
    server.close()
    with pytest.raises(ProviderError) as caught:
        provider(server).chat(ASKED)
    assert caught.value.code == "transient"


@needs_litellm
def test_a_parameter_the_vendor_has_not_is_refused(server: ScriptedServer) -> None:
    made = ProviderFactory.create("litellm", api_key="k", base_url=server.url)
    request = ChatRequest(
        model="cohere/command-r", messages=ASKED.messages, logprobs=True, top_logprobs=2
    )
    with pytest.raises(ProviderError) as caught:
        made.chat(request)
    assert caught.value.code == "unsupported"
    assert server.requests == 0


@needs_litellm
@pytest.mark.parametrize("way", ["whole", "async whole"])
def test_what_it_refuses_before_sending_is_unsupported(server: ScriptedServer, way: str) -> None:
    """Its own check of the messages raises a bare Exception."""
    odd = ContentPart(type="raw", data={"type": "odd"}, dialect="openai_chat")
    request = ChatRequest(model="openai/m", messages=[Message(role="user", content=[odd])])
    with pytest.raises(ProviderError, match="litellm refuses the request") as caught:
        chat(provider(server), request, way)
    assert caught.value.code == "unsupported"
    assert server.requests == 0


@needs_litellm
@pytest.mark.parametrize("way", ["whole", "async whole"])
def test_an_answer_it_cannot_read_is_malformed(server: ScriptedServer, way: str) -> None:
    """LiteLLM says that the vendor failed with a 500, and prints the answer."""
    filtered = {"index": 0, "finish_reason": "content_filter", "said": "a secret"}
    whole = {"id": "x", "created": 1, "model": "m-1", "choices": [filtered], "usage": USAGE}
    server.play(lambda e: e.answer(json.dumps(whole).encode()))
    with pytest.raises(ProviderError, match="litellm cannot read the answer") as caught:
        chat(provider(server), ASKED, way)
    assert (caught.value.code, caught.value.status) == ("malformed", None)
    assert "secret" not in caught.value.message
    assert server.requests == 1


@needs_litellm
def test_a_model_without_a_vendor_is_refused(server: ScriptedServer) -> None:
    with pytest.raises(ProviderError) as caught:
        provider(server).chat(ChatRequest(model="nonsense/x", messages=ASKED.messages))
    assert caught.value.code == "bad_request"
    assert "nonsense/x" in caught.value.message
    assert server.requests == 0


@needs_litellm
@pytest.mark.parametrize("way", WAYS)
def test_its_mock_response_and_a_model_of_many_slashes(way: str) -> None:
    request = ChatRequest(
        model="groq/llama-3.3-70b",
        messages=ASKED.messages,
        extra={"mock_response": "mocked"},
    )
    assert chat(ProviderFactory.create("litellm"), request, way).text == "mocked"


@needs_litellm
def test_the_vendors_own_variable_holds_the_key(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.play(answer)
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-variable")
    ProviderFactory.create("litellm", base_url=server.url).chat(ASKED)
    assert server.exchanges[0].headers["authorization"] == "Bearer from-the-variable"


@needs_litellm
def test_a_line_of_half_a_mb(server: ScriptedServer) -> None:
    long = "x" * 500_000

    def talk(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.chunk(event({"content": long}))
        exchange.chunk(event({}, "stop") + b"data: [DONE]\n\n")
        exchange.end_stream()

    server.play(talk)
    assert chat(provider(server), ASKED, "streamed").text == long


@needs_litellm
def test_it_fetches_nothing_and_prints_nothing() -> None:
    """No price map at import, no tokenizer for an answer of a model that has one on a hub."""
    code = (
        "import asyncio, socket\n"
        "def no(*a, **k): raise SystemExit('a connection was made')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = no\n"
        "from crux_providers.base import ChatRequest, Message, ProviderFactory\n"
        "made = ProviderFactory.create('litellm')\n"
        "asked = ChatRequest(model='groq/llama-3.3-70b', extra={'mock_response': 'mocked'},\n"
        "                    messages=[Message(role='user', content='hi')])\n"
        "assert made.chat(asked).text == 'mocked'\n"
        "assert asyncio.run(made.achat(asked)).text == 'mocked'\n"
        "import litellm\n"
        "assert not litellm.telemetry and not litellm.drop_params and not litellm.callbacks\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "LITELLM_LOCAL_MODEL_COST_MAP"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
