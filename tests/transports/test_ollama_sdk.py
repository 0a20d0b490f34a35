"""Ollama's SDK: what its raw request keeps, whose keys are sent, what its errors become."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from crux_providers.base import ChatRequest, Message
from crux_providers.base.errors import ProviderError
from crux_providers.base.models import Tool, ToolCall
from crux_providers.base.wire import Endpoint
from crux_providers.ollama.client import OllamaProvider
from crux_providers.transports import sdk_imports
from crux_providers.transports.google_sdk import GoogleSdkTransport
from crux_providers.transports.ollama_sdk import OllamaSdkTransport
from tests.servers.scripted_server import Exchange, ScriptedServer
from tests.transports.sdk_clients import WAYS, chat, events_of

ollama = pytest.importorskip("ollama", reason="needs the extra ollama")

SCHEMA = {
    "type": "object",
    "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}], "minLength": 2}},
    "additionalProperties": False,
}
"""A tool's schema of which the SDK's own types would keep next to nothing."""

ASKED = ChatRequest(
    model="m",
    messages=[
        Message(role="user", content="Grüße"),
        Message(role="assistant", content="", tool_calls=[ToolCall("c1", "f", {"a": "x"})]),
        Message(role="tool", content="42", tool_call_id="c1"),
    ],
    tools=[Tool("f", "does f", SCHEMA)],
)
ways = pytest.mark.parametrize("way", WAYS)
clients = pytest.mark.parametrize("kind", ["", "Client", "AsyncClient"])


def answer(exchange: Exchange) -> None:
    call = {"id": "c2", "function": {"name": "f", "arguments": {"a": "y"}}}
    last = {
        "model": "m-1",
        "message": {"role": "assistant", "content": "hello", "tool_calls": [call]},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 2,
        "eval_count": 3,
    }
    if json.loads(exchange.body)["stream"]:
        exchange.begin_stream({"x-request-id": "req_1"})
        exchange.chunk(json.dumps(last).encode() + b"\n")
        exchange.end_stream()
    else:
        exchange.answer(json.dumps(last).encode(), headers={"x-request-id": "req_1"})


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(answer) as running:
        yield running


def provider(server: ScriptedServer, kind: str = "") -> OllamaProvider:
    url = server.url.removesuffix("/v1")
    if kind:
        return OllamaProvider(client=getattr(ollama, kind)(host=url, verify=False))
    return OllamaProvider(base_url=url, transport="sdk")


@ways
@clients
def test_nothing_is_lost_on_the_way(server: ScriptedServer, kind: str, way: str) -> None:
    response = chat(provider(server, kind), ASKED, way)
    assert response.text == "hello"
    assert [(c.id, c.arguments) for c in response.tool_calls] == [("c2", {"a": "y"})]
    assert response.meta.model_name == "m-1"
    if way.endswith("whole"):
        assert response.meta.request_id == "req_1"
    (exchange,) = server.exchanges
    sent = json.loads(exchange.body)
    assert sent["tools"][0]["function"]["parameters"] == SCHEMA
    assert sent["messages"][1]["tool_calls"][0]["id"] == "c1"
    assert sent["messages"][2]["tool_call_id"] == "c1"


@pytest.mark.parametrize("way", ["whole", "async whole"])
def test_a_key_of_the_environment_stays_there(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The SDK sends OLLAMA_API_KEY to whatever host it is given."""
    monkeypatch.setenv("OLLAMA_API_KEY", "secret")
    chat(provider(server), ASKED, way)
    url = server.url.removesuffix("/v1")
    mine = {"authorization": "Bearer mine", "x-own": "1"}
    chat(OllamaProvider(base_url=url, transport="sdk", headers=mine), ASKED, way)
    first, second = server.exchanges
    assert "authorization" not in first.headers
    assert (second.headers["authorization"], second.headers["x-own"]) == ("Bearer mine", "1")


@ways
@clients
def test_a_refusal_has_its_words_and_its_headers(
    server: ScriptedServer, kind: str, way: str
) -> None:
    words = '"m" does not support tools'
    server.play(
        lambda e: e.answer(
            json.dumps({"error": words}).encode(), 400, headers={"x-request-id": "req_2"}
        )
    )
    made = provider(server, kind)
    if way.endswith("whole"):
        with pytest.raises(ProviderError) as caught:
            chat(made, ASKED, way)
        assert (caught.value.code, caught.value.feature) == ("unsupported", "tools")
        assert (caught.value.message, caught.value.request_id) == (words, "req_2")
    else:
        assert events_of(made, ASKED, way)[-1].error == f"unsupported:{words}"
    assert server.requests == 1


@pytest.mark.parametrize("way", ["streamed", "async streamed"])
@clients
@pytest.mark.parametrize(
    ("tail", "code"),
    [(b'{"error": "boom"}\n', "server_error"), (b"no JSON\n", "malformed"), (b"", "transient")],
)
def test_a_stream_that_goes_wrong_after_its_first_text(
    server: ScriptedServer, kind: str, way: str, tail: bytes, code: str
) -> None:
    def go_wrong(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.chunk(b'{"message": {"role": "assistant", "content": "hel"}, "done": false}\n')
        if tail:
            exchange.chunk(tail)
        exchange.end_stream()

    server.play(go_wrong)
    events = events_of(provider(server, kind), ASKED, way)
    assert [e.delta for e in events if e.delta] == ["hel"]
    assert events[-1].error.startswith(f"{code}:")


def test_what_is_no_client_is_refused() -> None:
    with pytest.raises(ProviderError, match=r"client= takes an ollama\.Client") as caught:
        OllamaSdkTransport(Endpoint("http://127.0.0.1:1"), client=object())
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize("name", ["ollama", "gemini"])
def test_without_the_sdk_one_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def missing(module: str) -> Any:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(sdk_imports.importlib, "import_module", missing)
    kind = {"ollama": OllamaSdkTransport, "gemini": GoogleSdkTransport}[name]
    with pytest.raises(ProviderError, match=f"pip install 'crux-integrations\\[{name}\\]'") as told:
        kind(Endpoint("http://127.0.0.1:1"))
    assert told.value.code == "unsupported"
