"""LangChain's own integration tests for chat models, offline from cassettes, over every dialect.

A file for each test: `cassettes/langchain/<dialect>/` holds what a server with a small real model
answered (each class's ``real`` tests), `cassettes/emulated/langchain/<dialect>/` what an emulator
did; the header of each says which. Emulated are:

- model override: the servers with the real model report their one model whatever is asked;
- structured output and JSON mode: llama.cpp holds answers to a schema over OpenAI chat alone;
- files, and Anthropic's blocks, which bring an image: the model can neither see, hear nor read PDF;
- tools a class does not list: the model has to be led to every call, and LiteLLM's Gemini has none;
- conversations over Responses: llama.cpp reads no short form of an assistant's turn;
- Anthropic's stop sequence and name; all of Ollama, whose dialect no real server here speaks.

What is off:

| off                         | where      | why                                                   |
|-----------------------------|------------|-------------------------------------------------------|
| ``test_stream_time``        | everywhere | measures a network that is not there                  |
| details of usage            | everywhere | the codecs' tests hold them against recordings        |
| stop sequences              | Responses  | the API has none (expected failure, that error alone) |
| JSON mode without a schema  | Anthropic  | the API has none                                      |
| audio                       | Anthropic  | the API has none                                      |
| audio, PDF, images by URL   | Ollama     | the API has none                                      |
| a tool that must be called  | Ollama     | the API has none (two tests: expected failures)       |
| images by URL               | Gemini     | the codec sends data, or files Google holds           |
| model override, usage       | Gemini     | these want the model's name, which neither server     |
|                             |            | sends; `test_standard_integration` has them           |

Recording (`cassettes/README.md` says how the servers are started)::

    pytest tests/langchain/test_standard_cassettes.py --crux-record=once
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import httpx
import pytest
from langchain_core.exceptions import ModelInvalidRequestError
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests, chat_models

from crux_integrations import ChatCrux
from tests.cassette_scenarios import RED_PNG
from tests.record_cassettes import ANSWERED_BY


class Server(NamedTuple):
    """Who answers while recording; its port is no part of what a request is matched on."""

    name: str
    url: str
    model: str
    key: str = "k"


LLAMACPP = Server("llamacpp_tools_eager", "http://127.0.0.1:18095", "smollm2-135m")
LITELLM = Server(
    "litellm",
    "http://127.0.0.1:18104",
    "gemini-2.5-flash",
    os.environ.get("LITELLM_MASTER_KEY", "k"),
)
AIMOCK = Server("aimock", "http://127.0.0.1:18101", "model-1")

SAYING = frozenset(
    f"test_{call}"
    for call in (
        *("invoke", "ainvoke", "batch", "abatch", "message_with_name"),
        *("stream", "astream", "stream_events_v3", "astream_events_v3"),
    )
)
TALKING = SAYING | {"test_conversation", "test_double_messages_conversation"}
COUNTING = frozenset({"test_usage_metadata", "test_usage_metadata_streaming"})
HISTORIES = frozenset(
    {"test_tool_message_histories_string_content", "test_tool_message_histories_list_content"}
)

FILES = {
    "png": base64.b64decode(RED_PNG),
    "pdf": b"%PDF-1.4\ntrailer<</Root<</Type/Catalog/Pages<</Kids[]/Count 0>>>>>>\n%%EOF\n",
    "wav": b"RIFF$\0\0\0WAVEfmt \20\0\0\0\1\0\1\0@\37\0\0\200>\0\0\2\0\20\0data\0\0\0\0",
}


def file_at(url: str, **_: Any) -> httpx.Response:
    """A small file of the kind that ``url`` names."""
    body = FILES[url.rsplit(".", 1)[-1]]
    return httpx.Response(200, content=body, request=httpx.Request("GET", url))


class Standard(ChatModelIntegrationTests):
    """What every dialect's class has in common; a class switches off what its API cannot do."""

    dialect: ClassVar[str]
    path: ClassVar[str] = ""
    real_server: ClassVar[Server] = LLAMACPP
    real: ClassVar[frozenset[str]] = frozenset()
    failing: ClassVar[Mapping[str, type[Exception]]] = {}
    """Tests that must fail, with what; see the table above."""
    server: Server

    supports_json_mode = True
    supports_image_inputs = True
    supports_image_urls = True
    supports_image_tool_message = True
    supports_pdf_inputs = True
    supports_pdf_tool_message = True
    supports_audio_inputs = True
    supports_anthropic_inputs = True
    model_override_value = "model-2"

    @pytest.fixture(autouse=True)
    def _answered(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        test = request.function.__name__
        is_real = test in self.real
        self.server = self.real_server if is_real else AIMOCK
        folder = f"{'' if is_real else 'emulated/'}langchain/{self.dialect}/"
        who = ANSWERED_BY[self.server.name]
        request.applymarker(pytest.mark.crux_cassette(folder, answered_by=who))
        if test in self.failing:
            request.applymarker(pytest.mark.xfail(raises=self.failing[test], strict=True))
        # The tests fetch an image, a document and a sound from the internet.
        monkeypatch.setattr(chat_models, "httpx", SimpleNamespace(get=file_at))
        monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "none")

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatCrux

    @property
    def chat_model_params(self) -> dict[str, Any]:
        model = f"rec:{self.server.model}"
        gateway = {
            "dialect": self.dialect,
            "base_url": self.server.url + self.path,
            "api_key": self.server.key,
            "timeout": 500,  # a small machine's model takes its time while recording
        }
        routes = {
            "version": 1,
            "providers": {"rec": gateway},
            "routes": {"default": {"candidates": [model]}},
        }
        return {"routes": routes, "model": model}

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {"temperature": 0, "max_tokens": 100, "timeout": 600, "stop": [], "max_retries": 0}


class TestOpenAIChat(Standard):
    dialect = "openai_chat"
    path = "/v1"
    real = TALKING | COUNTING | HISTORIES | {
        "test_stop_sequence",
        "test_tool_calling",
        "test_tool_calling_async",
        "test_bind_runnables_as_tools",
    }  # fmt: skip


class TestOpenAIResponses(Standard):
    dialect = "openai_responses"
    path = "/v1"
    real = SAYING | COUNTING
    failing: ClassVar = {"test_stop_sequence": ModelInvalidRequestError}


class TestAnthropicMessages(Standard):
    dialect = "anthropic_messages"
    real = (TALKING - {"test_message_with_name"}) | COUNTING | HISTORIES | {
        "test_bind_runnables_as_tools",
        "test_tool_calling_with_no_arguments",
        "test_tool_choice",
        "test_tool_message_error_status",
    }  # fmt: skip
    supports_json_mode = False
    supports_audio_inputs = False


class TestGeminiGenerate(Standard):
    dialect = "gemini_generate"
    real_server = LITELLM
    real = TALKING
    supports_image_urls = False
    supports_model_override = False
    returns_usage_metadata = False


class TestOllamaChat(Standard):
    dialect = "ollama_chat"
    supports_image_urls = False
    supports_pdf_inputs = False
    supports_pdf_tool_message = False
    supports_audio_inputs = False
    has_tool_choice = False
    failing: ClassVar = {
        "test_structured_few_shot_examples": ModelInvalidRequestError,
        "test_unicode_tool_call_integration": ModelInvalidRequestError,
    }
