"""The SDKs that :mod:`tests.sdk_parity` holds beside ``http``: how each is asked and answered.

A :class:`Subject` is one SDK with the endpoints it speaks, the ways it can be called, and how much
of an exchange must be equal. An SDK joins by a row in :data:`SUBJECTS`.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, ClassVar

from crux_providers.base.events import fold
from crux_providers.base.interfaces import Transport
from crux_providers.base.models import ChatResponse
from crux_providers.base.wire import Endpoint, WireRequest
from crux_providers.codecs.framing import framing_decoder
from tests.recordings import Interaction
from tests.transports.sdk_clients import ready_client

KEY = "sk-parity"
OWN = ("sync", "async")
READY = (*OWN, "ready sync", "ready async")
"""Ways of calling: over a client that the transport makes, or one that it is given."""

EVERYTHING = ("sent", "wire", "result")


@dataclass(frozen=True)
class Subject:
    """An SDK whose raw verb gives the answer as it came: all of an exchange must be equal.

    ``sdk`` is the distribution, ``extra`` what installs it, ``module`` what is imported,
    ``transport`` our class in ``crux_providers.transports``. ``codecs`` maps the recorded endpoints
    to the dialect's codec, ``paths`` to the path that is called, below ``version``. ``compared``
    names the fields of an outcome that must be equal; ``known`` are exchanges that differ, and why
    that is right. ``tests`` is pytest's ``-k`` for its conformance tests.
    """

    sdk: str
    extra: str
    module: str
    transport: str
    codecs: Mapping[str, str]
    paths: Mapping[str, str]
    version: str = ""
    clients: tuple[str, str] = ("", "")
    auth: Mapping[str, str] = field(default_factory=dict)
    ways: tuple[str, ...] = READY
    compared: tuple[str, ...] = EVERYTHING
    known: Mapping[str, str] = field(default_factory=dict)
    tests: str = "sdk"

    @property
    def installed(self) -> bool:
        """Whether the SDK is here."""
        parent = self.module.rpartition(".")[0]
        found = importlib.util.find_spec
        return (not parent or found(parent) is not None) and found(self.module) is not None

    @property
    def install(self) -> str:
        """The command that installs the SDK."""
        return f"pip install 'crux-integrations[{self.extra}]'"

    def here(self, url: str) -> Endpoint:
        """The server's endpoint, whose URL ends with ``/v1``."""
        url = url.removesuffix("/v1") + self.version
        return Endpoint(url, self.auth, proxy="", api_key=KEY)

    def made(self, here: Endpoint, way: str) -> Transport:
        """The transport for that way of calling."""
        module, _, name = self.transport.partition(":")
        kind = getattr(importlib.import_module(f"crux_providers.transports.{module}"), name)
        client = None
        if way.startswith("ready"):
            client = self.client(self.clients[way.endswith("async")], here.base_url)
        transport: Transport = kind(here, client=client)
        return transport

    def client(self, name: str, url: str) -> Any:
        """A ready client as a user makes it."""
        return ready_client(self.module, name, url, KEY)

    def codec(self, interaction: Interaction) -> ModuleType:
        """The codec that speaks the exchange's dialect."""
        return importlib.import_module(f"crux_providers.codecs.{self.codecs[interaction.endpoint]}")

    def request(self, interaction: Interaction) -> WireRequest:
        """The recorded request, a plain one where none was recorded."""
        body = interaction.request_body
        return WireRequest(
            self.paths[interaction.endpoint],
            body if isinstance(body, dict) else {"model": "m", "stream": interaction.stream},
            stream=interaction.stream,
        )

    def asked(self, request: WireRequest) -> WireRequest:
        """The request as this transport takes it."""
        return request

    def answer(self, interaction: Interaction, target: str) -> bytes:
        """The recorded answer as the vendor gives it to who asks for ``target``."""
        return interaction.body

    def body_sent(self, body: Any) -> Any:
        """What is compared of a request's JSON."""
        return body

    def meaning(self, result: Any) -> Any:
        """What is compared of an answer, a list of events or the fields of an error."""
        return result


class Native(Subject):
    """An SDK that reads the answer itself: its requests are our codec's, what counts is the end."""

    plain: ClassVar[Mapping[str, Any]] = {"messages": [{"role": "user", "content": "hi"}]}

    def request(self, interaction: Interaction) -> WireRequest:
        """The recorded request as the codec makes it."""
        codec: Any = self.codec(interaction)
        body = interaction.request_body
        if not isinstance(body, dict):
            body = self.plain
        wire: WireRequest = codec.encode(
            replace(codec.parse_request(body), model="m"), stream=interaction.stream
        )
        return wire


class Ollama(Native):
    """Ollama's own dialect."""

    def client(self, name: str, url: str) -> Any:
        """A ready client; no certificates are needed, nor the time that reading them takes."""
        return getattr(importlib.import_module("ollama"), name)(host=url, verify=False)


class Google(Native):
    """Its client asks for JSON arrays whose enums are numbers, and is answered so."""

    plain = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}  # noqa: RUF012

    def answer(self, interaction: Interaction, target: str) -> bytes:
        """The recorded answer, as the API writes it for the SDK."""
        if "enum-encoding" not in target or interaction.status >= 300:
            return interaction.body
        return as_google_writes(interaction.body, stream=interaction.stream)


class LiteLLM(Native):
    """It writes requests and answers anew: what they come to is compared, not their fields."""

    def made(self, here: Endpoint, way: str) -> Transport:
        """The transport, which makes its own header of the key."""
        return super().made(replace(here, headers={}), way)

    def asked(self, request: WireRequest) -> WireRequest:
        """With the vendor before the model's name."""
        return replace(request, body={**dict(request.body or {}), "model": "openai/m"})

    def body_sent(self, body: Any) -> Any:
        """Without what it leaves out: nulls, a choice among no tools, ``stream: false``."""
        empty = {"stream": False} if body.get("tools") else {"stream": False, "tool_choice": "auto"}
        return _without_nulls({k: v for k, v in body.items() if (k, v) not in empty.items()})

    def meaning(self, result: Any) -> Any:
        """Text, calls, finish and tokens of an answer; code and status of an error."""
        if isinstance(result, tuple):
            return (result[0], result[2])
        answer: ChatResponse = fold(result) if isinstance(result, list) else result
        calls = [(call.id, call.name, call.arguments) for call in answer.tool_calls]
        tokens = answer.meta.extra.get("token_usage") if answer.meta else None
        return (answer.text, calls, answer.finish_reason, tokens)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


def as_google_writes(body: bytes, *, stream: bool) -> bytes:
    """A recorded answer with numbers for its enums; a stream as a JSON array."""
    if not stream:
        return json.dumps(_numbered(json.loads(body))).encode()
    frames = framing_decoder("sse")
    if body.lstrip().startswith(b"["):
        objects = json.loads(body)
    else:
        objects = [json.loads(e.data) for e in (*frames.feed(body), *frames.finish())]
    return b"[" + b",\r\n".join(json.dumps(_numbered(o)).encode() for o in objects) + b"]"


def _numbered(answer: Any) -> Any:
    from google.ai.generativelanguage_v1beta import GenerateContentResponse
    from google.protobuf.json_format import MessageToDict

    message = GenerateContentResponse.from_json(json.dumps(answer), ignore_unknown_fields=True)
    return _overlaid(
        answer,
        MessageToDict(GenerateContentResponse.pb(message), use_integers_for_enums=True),
    )


def _overlaid(raw: Any, typed: Any) -> Any:
    if isinstance(raw, dict):
        known: Mapping[str, Any] = typed if isinstance(typed, dict) else {}
        return {key: _overlaid(value, known.get(key)) for key, value in raw.items()}
    if isinstance(raw, list):
        same = isinstance(typed, list) and len(typed) == len(raw)
        return [_overlaid(item, typed[i] if same else None) for i, item in enumerate(raw)]
    is_enum = isinstance(raw, str) and isinstance(typed, int) and not isinstance(typed, bool)
    return typed if is_enum else raw


def refusal_words(message: str) -> str:
    """What an SDK's transport refuses, without the place in this very request."""
    words = message.partition(": use transport")[0].partition("\n")[0]
    return re.sub(r"\[\w+\]", "[]", words)


LITELLM_KNOWN = {
    name: reason
    for reason, names in {
        "LiteLLM makes reasoning of text between <think> marks": (
            "groq/chat_reasoning__pydantic-ai.yaml#0",
            "huggingface/chat_multi_turn__pydantic-ai.yaml#0",
            "huggingface/chat_multi_turn__pydantic-ai.yaml#1",
            "huggingface/chat_text__pydantic-ai.yaml#0",
        ),
        "the vendor counts no tokens here: LiteLLM reckons them itself": (
            "ollama/chat_text_stream__magentic.yaml#0",
            "ollama/chat_tools_stream__magentic.yaml#0",
            "openai/chat_n_choices_stream__dd-trace.yaml#0",
            "openai/chat_text_stream__logfire.yaml#0",
            "openai/chat_tools_stream__openinference.yaml#0",
            "openai/chat_tools_stream__openinference.yaml#1",
            "openai_chat/forced_tool.yaml#1",
        ),
        "the call has no id on the wire: LiteLLM makes one up, another each time": (
            "gemini/chat_tools_stream__magentic.yaml#0",
        ),
        "LiteLLM leaves `user` out for a model it does not know": (
            "openai/chat_error_401__dd-trace.yaml#0",
            "openai/chat_tools_not_called__dd-trace.yaml#0",
        ),
        "LiteLLM cannot read this answer, and it is `malformed`": (
            "azure_openai/chat_blocked__openllmetry.yaml#0",
            "openai/chat_vision__dd-trace.yaml#0",
            "openrouter/chat_document__pydantic-ai.yaml#0",
        ),
        "a stream in another dialect, which LiteLLM ends without a word: a cut, not `malformed`": (
            "_bodies/cohere/chat__cohere-empty-tool-call.chunks.txt#0",
            "_bodies/cohere/chat__cohere-reasoning.chunks.txt#0",
        ),
    }.items()
    for name in names
}
"""Exchanges that differ through LiteLLM, and why."""

SUBJECTS: tuple[Subject, ...] = (
    Subject(
        "openai",
        "openai",
        "openai",
        "openai_sdk:OpenAISdkTransport",
        {"chat": "openai_chat", "responses": "openai_responses"},
        {"chat": "/chat/completions", "responses": "/responses"},
        version="/v1",
        clients=("OpenAI", "AsyncOpenAI"),
        auth={"authorization": f"Bearer {KEY}"},
    ),
    Subject(
        "anthropic",
        "anthropic",
        "anthropic",
        "anthropic_sdk:AnthropicSdkTransport",
        {"messages": "anthropic_messages"},
        {"messages": "/v1/messages"},
        clients=("Anthropic", "AsyncAnthropic"),
        auth={"x-api-key": KEY},
    ),
    Ollama(
        "ollama",
        "ollama",
        "ollama",
        "ollama_sdk:OllamaSdkTransport",
        {"ollama_chat": "ollama_chat"},
        {},
        clients=("Client", "AsyncClient"),
        tests="ollama",
        compared=("sent", "result"),
    ),
    Google(
        "google-generativeai",
        "gemini",
        "google.generativeai",
        "google_sdk:GoogleSdkTransport",
        dict.fromkeys(("generateContent", "streamGenerateContent"), "gemini_generate"),
        {},
        ways=OWN,
        compared=("result",),
        known={
            "vertex/generate_multi_turn__otel-contrib.yaml#0": "recorded with numbers for its "
            "enums: http keeps the number beside its meaning, the SDK gives the name",
        },
        tests="google",
    ),
    LiteLLM(
        "litellm",
        "litellm",
        "litellm",
        "litellm_sdk:LiteLLMTransport",
        {"chat": "openai_chat"},
        {"chat": "/chat/completions"},
        version="/v1",
        auth={"authorization": f"Bearer {KEY}"},
        ways=OWN,
        compared=("sent", "result"),
        known=LITELLM_KNOWN,
        tests="litellm",
    ),
)
