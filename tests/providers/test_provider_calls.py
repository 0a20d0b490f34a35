"""What every provider promises of a call: keys, addresses, retries, ids, structure, evidence."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from crux_providers.base import (
    ChatRequest,
    ContentPart,
    ErrorCode,
    Message,
    ProviderError,
    ProviderFactory,
    SupportsJSONOutput,
    SupportsResponsesAPI,
)
from crux_providers.base.capabilities import load_observed
from crux_providers.base.interfaces import (
    HasDefaultModel,
    LLMProvider,
    ModelListingProvider,
    SupportsStreaming,
)
from crux_providers.base.provider import BaseOpenAIStyleProvider, BaseProvider
from crux_providers.base.retry import RetryConfig
from crux_providers.base.timeouts import get_timeout_config
from crux_providers.config import defaults
from crux_providers.config.declaration import declarations
from tests.providers.played import HOWS, NAMES, Played, good, refused, wire_of

EACH = pytest.mark.parametrize("name", NAMES)
HOW = pytest.mark.parametrize("how", HOWS)
REQUEST = ChatRequest(model="m-1", messages=[Message("user", "hi")])
SCHEMA = {
    "type": "object",
    "properties": {"quirky_name": {"type": "string"}},
    "required": ["quirky_name"],
    "additionalProperties": False,
}
KEYED = [name for name in NAMES if declarations()[name].key_required]


# -- what a provider is ---------------------------------------------------------------------------


@EACH
@pytest.mark.contract(35, 36, 38, 39, 42, 43, "S1")
def test_every_provider_is_of_one_kind(name: str) -> None:
    declared = declarations()[name]
    module, _, kind = declared.client.partition(":")
    assert module == f"crux_providers.{name}.client"
    assert kind.lower() == f"{name}provider"
    provider = ProviderFactory.create(name, api_key="k")
    assert type(provider).__name__ == kind
    for protocol in (
        LLMProvider, SupportsStreaming, SupportsJSONOutput, ModelListingProvider, HasDefaultModel,
    ):  # fmt: skip
        assert isinstance(provider, protocol)
    assert isinstance(provider, SupportsResponsesAPI) == (name == "openai")
    parameters = inspect.signature(type(provider)).parameters
    assert list(parameters) == list(inspect.signature(BaseProvider).parameters)
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())


@pytest.mark.contract(36)
def test_no_provider_has_json_output_by_accident() -> None:
    assert not isinstance(BaseProvider(declaration=declarations()["ollama"]), SupportsJSONOutput)


@pytest.mark.contract(47)
def test_one_base_of_the_openai_style() -> None:
    for name in ("deepseek", "xai"):
        assert isinstance(ProviderFactory.create(name, api_key="k"), BaseOpenAIStyleProvider)


@pytest.mark.contract(41, 49)
def test_a_provider_is_added_to_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        ProviderFactory._PROVIDERS, "mine", "crux_providers.deepseek.client:DeepSeekProvider"
    )
    assert ProviderFactory.create("mine", api_key="k").provider_name == "deepseek"
    assert "mine" in ProviderFactory.names()


# -- keys and addresses ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", KEYED)
@HOW
@pytest.mark.contract("S20", 69, 89)
def test_a_missing_key_sends_nothing(name: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = declarations()[name].env_key or ""
    monkeypatch.setenv(variable, "your-api-key-here")  # a placeholder is none
    played = Played(name, good(wire_of(name)), api_key=None)
    with pytest.raises(ProviderError, match=variable) as caught:
        played.call(how, REQUEST)
    assert caught.value.code is ErrorCode.AUTH
    assert caught.value.terminal().startswith("auth:")
    assert played.requests == []


@EACH
@pytest.mark.contract(42, "S7", "S8")
def test_the_base_url_is_the_arguments_the_variables_or_the_default(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = declarations()[name]
    assert ProviderFactory.create(name).base_url.rstrip("/") == declared.base_url.rstrip("/")
    variable = "OLLAMA_HOST" if name == "ollama" else f"{name.upper()}_BASE_URL"
    monkeypatch.setenv(variable, "http://variable.example:1234")
    made = ProviderFactory.create(name)
    assert made.base_url == "http://variable.example:1234"
    assert ProviderFactory.create(name, base_url="http://a.example").base_url == "http://a.example"
    monkeypatch.setenv(variable, "http://later.example")
    assert made.base_url == "http://variable.example:1234"  # read when it was made


@pytest.mark.parametrize("name", KEYED)
@pytest.mark.contract(42, "S8", 15, 21)
def test_the_key_is_read_at_the_call(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = declarations()[name]
    for variable in (declared.env_key, *declared.env_aliases):
        played = Played(name, good(wire_of(name)), api_key=None)
        monkeypatch.setenv(variable or "", "a-key-of-the-environment-123")
        played.provider.chat(REQUEST)
        assert "a-key-of-the-environment-123" in str(played.requests[0].headers.raw)
        monkeypatch.delenv(variable or "")


@pytest.mark.contract("S6", 37)
def test_api_chooses_the_endpoint_of_openai() -> None:
    chat, responses = "/v1/chat/completions", "/v1/responses"
    for api, model, path in (
        (None, "o3-mini", responses), ("auto", "o1", responses), (None, "gpt-4o", chat),
        ("chat", "o3-mini", chat), ("responses", "gpt-4o", responses),
    ):  # fmt: skip
        played = Played("openai", refused(wire_of("openai"), 500), api=api)
        with pytest.raises(ProviderError):
            played.provider.chat(dataclasses.replace(REQUEST, model=model))
        assert played.requests[0].url.path == path
    with pytest.raises(ValueError, match="auto"):
        ProviderFactory.create("openai", api="completions")


@EACH
@pytest.mark.contract(94, 186, "S3")
def test_limits_come_from_one_place(name: str) -> None:
    assert ProviderFactory.create(name).timeouts == get_timeout_config()
    assert get_timeout_config().connect == defaults.TIMEOUT_CONNECT_S
    made = ProviderFactory.create(name, timeout=3, idle_timeout=2)
    assert (made.timeouts.first_token, made.timeouts.idle) == (3.0, 2)
    limits = {"connect": 1, "first_token": 2, "total": 9}
    made = ProviderFactory.create(name, timeout=limits)
    assert {word: getattr(made.timeouts, word) for word in limits} == limits
    with pytest.raises(ValueError, match="it takes connect"):
        ProviderFactory.create(name, timeout={"read": 1})


# -- retries --------------------------------------------------------------------------------------


@EACH
@HOW
@pytest.mark.contract(50, 88, "S2", "S36")
def test_a_429_costs_one_request_where_nobody_said_more(name: str, how: str) -> None:
    played = Played(name, refused(wire_of(name), 429, retry_after="7", x_request_id="req-9"))
    with pytest.raises(ProviderError) as caught:
        played.call(how, REQUEST)
    assert len(played.requests) == 1
    error = caught.value
    assert (error.code, error.status, error.retry_after) == (ErrorCode.RATE_LIMIT, 429, 7.0)
    assert (error.request_id, error.provider, error.model) == ("req-9", name, "m-1")
    assert error.retryable
    assert hash(error)


@HOW
@pytest.mark.contract(50, "S2")
def test_max_retries_are_requests_after_the_first(how: str) -> None:
    played = Played("openai", refused(wire_of("openai"), 429, retry_after_ms="1"), max_retries=1)
    with pytest.raises(ProviderError):
        played.call(how, REQUEST)
    assert len(played.requests) == 2


@pytest.mark.contract(50)
def test_a_wait_has_jitter_and_honours_retry_after() -> None:
    retry = RetryConfig(max_attempts=4, initial=1.0, max=3.0, jitter=0.5, patience=10.0)
    assert [retry.delay(n, None, 0.0) for n in (1, 2, 3, 4)] == [1.0, 2.0, 3.0, None]
    assert retry.delay(1, None, 0.999) == pytest.approx(0.5005)
    assert retry.delay(1, 8.0, 0.5) == 8.0
    assert retry.delay(1, 11.0, 0.5) is None


# -- answers --------------------------------------------------------------------------------------


@EACH
@HOW
@pytest.mark.contract(28, 31, 66, "S50")
def test_ids_and_text_come_through(name: str, how: str) -> None:
    played = Played(name, good(wire_of(name), **{"x-request-id": "req-1"}))
    answer = played.call(how, REQUEST)
    if "whole" in how:
        assert (answer.text, answer.meta.request_id) == ("Hello there", "req-1")
        assert (answer.meta.provider, answer.meta.model_name) == (name, "m-1")
    else:
        assert "".join(event.delta or "" for event in answer) == "Hello there"
        assert next(e.meta["request_id"] for e in answer if e.meta) == "req-1"
        assert [event.finish for event in answer].count(True) == 1


@EACH
@HOW
@pytest.mark.contract(46, "S17", "S60", "S62")
@pytest.mark.parametrize("form", ["json_object", "json_schema", "wrapped"])
def test_a_structured_answer_or_unsupported(name: str, how: str, form: str) -> None:
    wrapper = {"name": "quirk", "schema": SCHEMA, "strict": True}
    request = dataclasses.replace(
        REQUEST,
        response_format="json_object" if form == "json_object" else "json_schema",
        json_schema={"json_object": None, "json_schema": SCHEMA, "wrapped": wrapper}[form],
    )
    played = Played(name, good(wire_of(name), '{"quirky_name": "x"}'))
    declared = declarations()[name]
    assert played.provider.supports_json_output() is declared.json_output  # type: ignore[attr-defined]  # a mixin's
    if not (declared.json_output if form == "json_object" else declared.json_schema):
        with pytest.raises(ProviderError) as caught:
            played.call(how, request)
        assert caught.value.code is ErrorCode.UNSUPPORTED
        assert caught.value.feature == ("json_output" if form == "json_object" else "json_schema")
        assert played.requests == []
        return
    answer = played.call(how, request)
    structured = answer.structured if "whole" in how else answer[-1].structured
    assert structured == {"quirky_name": "x"}
    if form != "json_object":
        assert "quirky_name" in json.dumps(played.bodies)


@HOW
@pytest.mark.contract(48)
def test_streaming_supported_is_the_one_gate(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played("openai", good(wire_of("openai")))
    assert played.provider.streaming_supported()
    monkeypatch.setattr(type(played.provider), "streaming_supported", lambda self: False)
    if "whole" in how:
        assert played.call(how, REQUEST).text
        return
    with pytest.raises(ProviderError) as caught:
        played.call(how, REQUEST)
    assert caught.value.terminal() == "unsupported:openai does not stream"
    assert played.requests == []


@EACH
@pytest.mark.contract(27, 34)
def test_extra_reaches_the_body(name: str) -> None:
    played = Played(name, good(wire_of(name)))
    played.provider.chat(dataclasses.replace(REQUEST, extra={"x_own": {"deep": [1, None]}}))
    assert played.bodies[0]["x_own"] == {"deep": [1, None]}


@HOW
@pytest.mark.contract(84, 90, 91, "S37")
def test_what_nobody_expected_is_internal_and_logged(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    odd: Any = 3  # no text
    request = ChatRequest(model="m-1", messages=[Message("user", [ContentPart("text", odd)])])
    played = Played("ollama", good(wire_of("ollama")))
    with pytest.raises(ProviderError) as caught:
        played.call(how, request)
    assert caught.value.code is ErrorCode.INTERNAL
    assert caught.value.message.startswith("TypeError: ")
    assert isinstance(caught.value.cause, TypeError)
    assert played.requests == []
    (record,) = [json.loads(r.getMessage()) for r in caplog.records if r.exc_info]
    assert (record["provider"], record["failure_class"]) == ("ollama", "TypeError")


# -- evidence -------------------------------------------------------------------------------------


@EACH
@HOW
@pytest.mark.contract(139, 140, 142, 147)
def test_every_provider_observes(name: str, how: str, crux_db: Path) -> None:
    structured = declarations()[name].json_output
    request = dataclasses.replace(REQUEST, response_format="json_object" if structured else None)
    Played(name, good(wire_of(name), '{"a": 1}')).call(how, request)
    seen = load_observed(name).get("m-1", {})
    if "stream" in how:
        assert seen == {"streaming": True} | ({"structured_streaming": True} if structured else {})
    else:
        assert seen == ({"json_output": True} if structured else {})


@EACH
@HOW
@pytest.mark.contract(139, 143, 147)
def test_what_proves_nothing_is_not_written(name: str, how: str, crux_db: Path) -> None:
    wire = wire_of(name)

    def late(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("late")

    for answer in (refused(wire, 429), refused(wire, 503), late):
        with pytest.raises(ProviderError):
            Played(name, answer).call(how, REQUEST)
    assert load_observed(name) == {}


@HOW
@pytest.mark.contract(139, 141)
def test_a_refusal_that_names_the_parameter_is_written(how: str, crux_db: Path) -> None:
    words = "Unsupported parameter: 'response_format' is not supported with this model."
    error = {"message": words, "param": "response_format", "code": "unsupported_parameter"}
    played = Played("openai", lambda request: httpx.Response(400, json={"error": error}))
    with pytest.raises(ProviderError) as caught:
        played.call(how, dataclasses.replace(REQUEST, response_format="json_object"))
    assert (caught.value.code, caught.value.feature) == (ErrorCode.UNSUPPORTED, "json_output")
    expected = {"json_output": False}
    if "stream" in how:
        expected["structured_streaming"] = False
    assert load_observed("openai") == {"m-1": expected}


@HOW
@pytest.mark.contract(141)
def test_a_refusal_to_stream_structure_is_of_that_mode(how: str, crux_db: Path) -> None:
    words = "response_format` does not support streaming"
    played = Played(
        "openai", lambda request: httpx.Response(400, json={"error": {"message": words}})
    )
    with pytest.raises(ProviderError):
        played.call(how, dataclasses.replace(REQUEST, response_format="json_object"))
    assert load_observed("openai") == {"m-1": {"structured_streaming": False}}


@EACH
@pytest.mark.contract(66, 142)
def test_a_token_is_a_token_however_the_stream_ends(name: str, crux_db: Path) -> None:
    wire = wire_of(name)
    cut = b"".join((*wire.opening, wire.text("Hello")))
    headers = {"content-type": wire.content_type}
    played = Played(name, lambda request: httpx.Response(200, content=cut, headers=headers))
    controller = played.provider.stream_chat(REQUEST)
    events = list(controller)
    assert (events[-1].error or "").startswith("transient:")
    assert load_observed(name) == {"m-1": {"streaming": True}}


@pytest.mark.contract("S26", "S61")
@pytest.mark.parametrize("name", ["openai", "anthropic"])
async def test_the_async_stream_is_not_awaited(name: str) -> None:
    controller: Any = Played(name, good(wire_of(name))).provider.astream_chat(REQUEST)
    assert not inspect.isawaitable(controller)
    assert [event.delta async for event in controller if event.delta] == ["Hello there"]
    await controller.aclose()
