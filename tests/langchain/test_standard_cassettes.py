"""LangChain's own integration tests for chat models, offline from cassettes, over every dialect.

A file for each test: `cassettes/langchain/<dialect>/` holds what a real server with a small real
model answered, `cassettes/emulated/langchain/<dialect>/` what only an emulator could give
(`EMULATED` below says why); the header of each says which. Recording (`cassettes/README.md` says
how the servers are started)::

    pytest tests/langchain/test_standard_cassettes.py --crux-record=once
"""

from __future__ import annotations

import base64
import os
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests, chat_models

from crux_integrations import ChatCrux
from tests.cassette_scenarios import RED_PNG
from tests.record_cassettes import ANSWERED_BY

PROBE = os.environ.get("PROBE")

EMULATED = frozenset(
    {
        "test_x",
    }
)


class Server(NamedTuple):
    """Who answers while recording; the port is no part of what a request is matched on."""

    name: str
    url: str
    model: str
    key: str = "k"


LLAMACPP = Server("llamacpp_tools", "http://127.0.0.1:18096", "smollm2-135m")
LITELLM = Server(
    "litellm",
    "http://127.0.0.1:18104",
    "gemini-2.5-flash",
    os.environ.get("LITELLM_MASTER_KEY", "sk-local-4f9c2b7d8e1a6035c7d9e2f4a1b3c5d7"),
)
AIMOCK = Server("aimock", "http://127.0.0.1:18105", "model-1")


class Standard(ChatModelIntegrationTests):
    dialect: ClassVar[str]
    path: ClassVar[str] = ""
    real: ClassVar[Server] = LLAMACPP
    server: Server

    @pytest.fixture(autouse=True)
    def _answered(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        test = request.function.__name__
        emulated = test in EMULATED if not PROBE else PROBE == "emulated"
        self.server = AIMOCK if emulated else self.real
        folder = f"{'emulated/' if emulated else ''}langchain/{self.dialect}/"
        who = ANSWERED_BY[self.server.name]
        request.applymarker(pytest.mark.crux_cassette(folder, answered_by=who))
        # The tests fetch an image, a document and a sound from the internet.
        monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "none")
        monkeypatch.setattr(chat_models, "httpx", SimpleNamespace(get=_material))

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatCrux

    @property
    def chat_model_params(self) -> dict[str, Any]:
        gateway = {
            "dialect": self.dialect,
            "base_url": self.server.url + self.path,
            "api_key": self.server.key,
            "timeout": {"connect": 5, "first_token": 500, "total": 500},
        }
        name = f"rec:{self.server.model}"
        routes = {
            "version": 1,
            "providers": {"rec": gateway},
            "routes": {"default": {"candidates": [name]}},
        }
        return {"routes": routes, "model": name}

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {"temperature": 0, "max_tokens": 100, "timeout": 600, "stop": [], "max_retries": 0}

    @property
    def model_override_value(self) -> str:
        return "model-2"

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_audio_inputs(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True


_MATERIAL = {
    "png": base64.b64decode(RED_PNG),
    "pdf": b"%PDF-1.4\ntrailer<</Root<</Type/Catalog/Pages<</Kids[]/Count 0>>>>>>\n%%EOF\n",
    "wav": b"RIFF$\0\0\0WAVEfmt \20\0\0\0\1\0\1\0@\37\0\0\200>\0\0\2\0\20\0data\0\0\0\0",
}


def _material(url: str, **_: Any) -> httpx.Response:
    """A small file of the kind that ``url`` names."""
    body = _MATERIAL[url.rsplit(".", 1)[-1]]
    return httpx.Response(200, content=body, request=httpx.Request("GET", url))


class TestOpenAIChat(Standard):
    dialect = "openai_chat"
    path = "/v1"


class TestOpenAIResponses(Standard):
    dialect = "openai_responses"
    path = "/v1"


class TestAnthropicMessages(Standard):
    dialect = "anthropic_messages"


@pytest.mark.skipif(not find_spec("crux_providers.codecs.gemini_generate"), reason="no codec yet")
class TestGeminiGenerate(Standard):
    dialect = "gemini_generate"
    real = LITELLM


class TestOllamaChat(Standard):
    dialect = "ollama_chat"
