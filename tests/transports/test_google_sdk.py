"""Google's SDK: what it refuses, what a ready client keeps of an answer, how its JSON is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("google.generativeai", reason="needs the extra gemini")

from google.ai.generativelanguage_v1beta import (
    GenerativeServiceAsyncClient,
    GenerativeServiceClient,
)
from google.ai.generativelanguage_v1beta.services.generative_service.transports import rest
from google.auth.credentials import AnonymousCredentials
from hypothesis import given
from hypothesis import strategies as st

from crux_providers.base import ChatRequest, Message
from crux_providers.base.cancellation import CancellationToken, CancelledError
from crux_providers.base.errors import ProviderError, WireFailure
from crux_providers.base.models import Tool
from crux_providers.base.wire import Endpoint, WireRequest
from crux_providers.gemini.client import GeminiProvider
from crux_providers.transports.google_json import ObjectReader, lost, named, with_schemas
from crux_providers.transports.google_sdk import GoogleSdkTransport
from tests.servers.scripted_server import Exchange, ScriptedServer
from tests.transports.conformance import AT_ONCE, scope, within
from tests.transports.sdk_clients import WAYS, chat, events_of

ASKED = ChatRequest(model="m", messages=[Message(role="user", content="Grüße")])
USAGE = {
    "promptTokenCount": 2,
    "candidatesTokenCount": 3,
    "thoughtsTokenCount": 5,
    "totalTokenCount": 10,
}


def piece(text: str, **more: Any) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, **more}],
        "usageMetadata": USAGE,
        "modelVersion": "m-1",
    }


def answer(exchange: Exchange) -> None:
    """As Google's REST front does: numbers for enums, a stream as an array."""
    if ":streamGenerateContent" in exchange.target:
        exchange.head(200, {"content-type": "application/json", "transfer-encoding": "chunked"})
        exchange.chunk(b"[" + json.dumps(piece("hel")).encode())
        exchange.chunk(b",\r\n" + json.dumps(piece("lo", finishReason=1)).encode() + b"]")
        exchange.end_stream()
    else:
        body = json.dumps(piece("hello", finishReason=1)).encode()
        exchange.answer(body, headers={"x-request-id": "req_1"})


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(answer) as running:
        yield running


def host(server: ScriptedServer) -> str:
    return server.url.removesuffix("/v1")


def ready(server: ScriptedServer) -> GenerativeServiceClient:
    """A client as a user makes it who knows the lower layer."""
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    transport = rest.GenerativeServiceRestTransport(host=host(server), credentials=credentials)
    return GenerativeServiceClient(transport=transport)


ways = pytest.mark.parametrize("way", WAYS)


# -- a client of ours ------------------------------------------------------------------------------


@ways
def test_an_answer_is_the_wires_own(server: ScriptedServer, way: str) -> None:
    """Fields that are newer than the SDK are in it: a model's thinking is paid for."""
    made = GeminiProvider(api_key="k", base_url=host(server), transport="sdk")
    response = chat(made, ASKED, way)
    assert (response.text, response.finish_reason) == ("hello", "stop")
    assert response.meta.model_name == "m-1"
    assert response.meta.extra["token_usage"] == {"prompt": 2, "completion": 8, "total": 10}
    assert response.meta.extra["token_usage_details"] == {"reasoning": 5}
    (exchange,) = server.exchanges
    assert exchange.headers["x-goog-api-key"] == "k"
    assert "authorization" not in exchange.headers


REFUSED = [
    (ChatRequest(reasoning_effort="low"), "generationConfig.thinkingConfig"),
    (ChatRequest(seed=7), "generationConfig.seed"),
    (
        ChatRequest(
            tools=[Tool("f", "does f", {"type": "object", "properties": {}, "$defs": {"a": {}}})]
        ),
        r"tools\[0\].functionDeclarations\[0\].parameters.\$defs",
    ),
    (ChatRequest(extra={"labels": {"a": "b"}}), "labels"),
]


@ways
@pytest.mark.parametrize(("more", "field"), REFUSED)
def test_a_field_the_sdk_does_not_know_is_named_before_anything_is_sent(
    server: ScriptedServer, way: str, more: ChatRequest, field: str
) -> None:
    import dataclasses

    request = dataclasses.replace(more, model="m", messages=ASKED.messages)
    made = GeminiProvider(api_key="k", base_url=host(server), transport="sdk")
    if "streamed" in way:
        (last,) = events_of(made, request, way)
        assert last.error.startswith("unsupported:google-generativeai")
    else:
        with pytest.raises(ProviderError, match=f"knows no field {field}: use") as caught:
            chat(made, request, way)
        assert caught.value.code == "unsupported"
    assert server.requests == 0


def test_a_tools_schema_keeps_its_meaning(server: ScriptedServer) -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "where"},
            "days": {"type": ["integer", "null"]},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["city"],
    }
    made = GeminiProvider(api_key="k", base_url=host(server), transport="sdk")
    made.chat(ChatRequest(model="m", messages=ASKED.messages, tools=[Tool("f", "d", schema)]))
    (tool,) = json.loads(server.exchanges[0].body)["tools"]
    (declared,) = tool["functionDeclarations"]
    string, integer, array, obj = 1, 3, 5, 6  # the SDK sends enums as numbers
    assert declared == {
        "name": "f",
        "description": "d",
        "parameters": {
            "type": obj,
            "properties": {
                "city": {"type": string, "description": "where"},
                "days": {"type": integer, "nullable": True},
                "tags": {"type": array, "items": {"type": string}},
            },
            "required": ["city"],
        },
    }


def test_an_argument_the_sdk_would_round_is_refused(server: ScriptedServer) -> None:
    call = {"functionCall": {"name": "f", "args": {"id": 2**53 + 1}}}
    body = {"contents": [{"role": "model", "parts": [call]}]}
    transport = GoogleSdkTransport(Endpoint(host(server)))
    with pytest.raises(ProviderError, match=r"contents\[0\].parts\[0\].functionCall.args.id"):
        transport.send(WireRequest("/v1beta/models/m:generateContent", body), scope())
    assert server.requests == 0


def test_a_401_is_asked_once(server: ScriptedServer) -> None:
    """The SDK's session would refresh its credentials and ask twice more."""
    server.play(
        lambda e: e.answer(b'{"error": {"message": "no", "status": "UNAUTHENTICATED"}}', 401)
    )
    made = GeminiProvider(api_key="k", base_url=host(server), transport="sdk")
    with pytest.raises(ProviderError) as caught:
        made.chat(ASKED)
    assert caught.value.code == "auth"
    assert server.requests == 1


def test_a_read_that_was_left_behind_ends_by_its_limit(server: ScriptedServer) -> None:
    server.play(lambda exchange: exchange.stall())
    transport = GoogleSdkTransport(Endpoint(host(server), proxy=""))
    request = WireRequest("/v1beta/models/m:generateContent", {"contents": []})
    token = CancellationToken()
    token.on_cancel(lambda: None)
    import threading

    threading.Timer(0.1, token.cancel, ["enough"]).start()
    with within(0.1 + AT_ONCE), pytest.raises(CancelledError):
        transport.send(request, scope(token=token, total=0.6))
    server.assert_closed()


# -- a ready client --------------------------------------------------------------------------------


@ways
def test_a_ready_client_answers_at_its_own_address(server: ScriptedServer, way: str) -> None:
    """An answer is what the SDK's types keep: no tokens of thinking, whose total still counts."""
    response = chat(GeminiProvider(client=ready(server)), ASKED, way)
    assert (response.text, response.finish_reason) == ("hello", "stop")
    assert response.meta.extra["token_usage"]["total"] == 10
    assert server.requests == 1


def test_a_ready_model_lends_its_connection(server: ScriptedServer) -> None:
    class GenerativeModel:
        """What is used of google.generativeai's class of that name."""

        model_name = "models/m"
        _client = ready(server)

        def generate_content_async(self) -> None: ...

    assert GeminiProvider(client=GenerativeModel()).chat(ASKED).text == "hello"
    settled = GenerativeModel()
    settled._system_instruction = "be brief"  # type: ignore[attr-defined]
    with pytest.raises(ProviderError, match="system_instruction") as caught:
        GeminiProvider(client=settled).chat(ASKED)
    assert caught.value.code == "bad_request"


def test_the_real_generative_model_is_known(recwarn: pytest.WarningsRecorder) -> None:
    import google.generativeai as genai

    model = genai.GenerativeModel("m", system_instruction="be brief")
    with pytest.raises(ProviderError, match="system_instruction"):
        GoogleSdkTransport(Endpoint("https://example.invalid"), client=model)


@pytest.mark.parametrize("status", [400, 429, 500, 503])
@ways
def test_a_refusal_of_a_ready_client_costs_one_request(
    server: ScriptedServer, way: str, status: int
) -> None:
    """The SDK would ask again after a 503 for a minute."""
    error = {"error": {"code": status, "message": "no", "status": "X"}}
    server.play(
        lambda e: e.answer(json.dumps(error).encode(), status, headers={"retry-after": "3"})
    )
    made = GeminiProvider(client=ready(server))
    if "streamed" in way:
        assert events_of(made, ASKED, way)[-1].error
    else:
        with pytest.raises(ProviderError) as caught:
            chat(made, ASKED, way)
        assert (caught.value.status, caught.value.retry_after) == (status, 3)
    assert server.requests == 1


def test_a_ready_clients_stream_cut_in_an_object_is_a_cut(server: ScriptedServer) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.head(200, {"content-type": "application/json", "transfer-encoding": "chunked"})
        exchange.chunk(b"[" + json.dumps(piece("hel")).encode() + b', {"candidates": [')
        exchange.end_stream()

    server.play(cut)
    events = list(GeminiProvider(client=ready(server)).stream_chat(ASKED))
    assert [e.delta for e in events if e.delta] == ["hel"]
    assert events[-1].error.startswith("transient:")


def test_what_is_no_client_is_refused() -> None:
    for wrong in (object(), GenerativeServiceAsyncClient.__new__(GenerativeServiceAsyncClient)):
        with pytest.raises(ProviderError, match="client= takes a GenerativeServiceClient"):
            GoogleSdkTransport(Endpoint("https://example.invalid"), client=wrong)


# -- its JSON --------------------------------------------------------------------------------------

trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(), trees, max_size=3), max_size=4), st.data())
def test_objects_are_cut_out_wherever_the_bytes_are_split(
    objects: list[dict[str, Any]], data: st.DataObject
) -> None:
    text = json.dumps(objects, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "replace")
    edges = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    reader, found = ObjectReader(), []
    for start, end in zip([0, *edges], [*edges, len(text)], strict=True):
        found += reader.feed(text[start:end])
    assert [json.loads(one) for one in found] == json.loads(text)
    assert not reader.inside


@given(trees)
def test_what_is_all_there_is_not_lost(tree: Any) -> None:
    assert list(lost(tree, tree)) == []
    assert named(tree, None) == tree


def test_what_is_lost_is_named() -> None:
    sent = {"a": [{"b": 1, "c": "x"}], "d": 0, "e": 0.7}
    assert list(lost(sent, {"a": [{"b": 1.0, "c": "x"}], "e": 0.699999988})) == []
    assert list(lost(sent, {"a": [{"b": 2, "c": "x"}], "e": 0.7})) == ["a[0].b"]
    assert list(lost(sent, {"a": [{"b": 1}], "e": 0.7})) == ["a[0].c"]
    assert list(lost(sent, {"e": 0.7})) == ["a"]


def test_a_property_named_like_a_schema_field_is_one() -> None:
    schema = {"type": "object", "properties": {"type": {"type": "string"}}}
    made = with_schemas({"generationConfig": {"responseJsonSchema": schema}})
    assert made["generationConfig"]["responseSchema"]["properties"] == {"type": {"type": "STRING"}}


def test_a_path_the_sdk_has_no_call_for(server: ScriptedServer) -> None:
    transport = GoogleSdkTransport(Endpoint(host(server)))
    with pytest.raises(ProviderError, match="has no call for"):
        transport.send(WireRequest("/v1beta/models/m:countTokens", {}), scope())


def test_a_base_url_that_is_none() -> None:
    transport = GoogleSdkTransport(Endpoint("nonsense"))
    with pytest.raises(WireFailure, match="base URL"):
        transport.send(WireRequest("/v1beta/models/m:generateContent", {"contents": []}), scope())
