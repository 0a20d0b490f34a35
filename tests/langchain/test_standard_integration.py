"""LangChain's own integration tests for chat models, over every dialect, with no network.

A model that follows rules answers (``rule_model``), so what is tested is the whole way from
LangChain through router, provider and codec; ``test_standard_cassettes`` has what real servers
answered. What is off, and why:

- files a dialect has no place for: images by URL over Gemini and Ollama, PDF over Ollama, audio
  over Anthropic, Ollama and Responses, images and PDF in tool results over OpenAI chat and Ollama;
- details of usage (reasoning, cached tokens): they need a provider that counts them; the codecs'
  own tests hold them against recordings;
- stop sequences over Responses and forced tools over Ollama: their APIs have none, which is an
  error before any request (expected failures of that error alone);
- JSON mode without a schema over Anthropic, whose API has none;
- ``test_stream_time``: measures a network that is not there.
"""

from __future__ import annotations

from base64 import b64decode
from importlib import import_module
from typing import Any, ClassVar

import httpx
import pytest
from langchain_core.exceptions import ModelInvalidRequestError
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ChatModelIntegrationTests

from crux_integrations import ChatCrux, Router
from crux_providers.base.factory import ProviderFactory
from crux_providers.transports.scripted import ScriptedTransport
from tests.langchain.rule_model import rule_model

PNG = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)

PROVIDERS = {
    "openai_chat": ("openai", "chat"),
    "openai_responses": ("openai", "responses"),
    "anthropic_messages": ("anthropic", None),
    "gemini_generate": ("gemini", None),
    "ollama_chat": ("ollama", None),
}
"""Dialect: the provider that speaks it, and its ``api`` where it speaks two."""


def routes(provider: str, *models: str) -> dict[str, Any]:
    candidates = [f"{provider}:{model}" for model in models]
    capabilities = ["tools", "tool_choice", "json_schema", "json_output", "streaming", "vision",
                    "pdf", "audio"]  # fmt: skip
    declared = {name: {"context": 100_000, "capabilities": capabilities} for name in candidates}
    return {
        "version": 1,
        "models": declared,
        "routes": {"default": {"candidates": candidates[:1], "retry": {"attempts": 1}}},
    }


def available(dialect: str) -> None:
    """Skip where the dialect or its provider is not there yet."""
    provider, _ = PROVIDERS[dialect]
    pytest.importorskip(f"crux_providers.codecs.{dialect}")
    if provider not in ProviderFactory.names():
        pytest.skip(f"no provider {provider}")


class Standard(ChatModelIntegrationTests):
    """What every dialect's class has in common."""

    dialect: ClassVar[str]

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatCrux

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {"temperature": 0, "max_tokens": 100, "timeout": 60, "max_retries": 2}

    @property
    def supports_json_mode(self) -> bool:
        return self.dialect != "anthropic_messages"

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "m-2"


class ByRules(Standard):
    """Over the scripted transport and a model of rules."""

    @pytest.fixture(autouse=True)
    def _files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # The tests fetch a picture, a PDF and a recording; these are as good.
        def get(url: str, **kwargs: Any) -> httpx.Response:
            return httpx.Response(200, content=PNG if url.endswith(".png") else b"%PDF-1.4")

        monkeypatch.setattr("langchain_tests.integration_tests.chat_models.httpx.get", get)

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return self.dialect not in ("gemini_generate", "ollama_chat")

    @property
    def supports_image_tool_message(self) -> bool:
        return self.dialect in ("anthropic_messages", "openai_responses", "gemini_generate")

    @property
    def supports_pdf_inputs(self) -> bool:
        return self.dialect != "ollama_chat"

    @property
    def supports_pdf_tool_message(self) -> bool:
        return self.dialect in ("anthropic_messages", "openai_responses", "gemini_generate")

    @property
    def supports_audio_inputs(self) -> bool:
        return self.dialect in ("openai_chat", "gemini_generate")

    @property
    def chat_model_params(self) -> dict[str, Any]:
        available(self.dialect)
        codec = import_module(f"crux_providers.codecs.{self.dialect}")
        name, api = PROVIDERS[self.dialect]
        arguments: dict[str, Any] = {"transport": ScriptedTransport(rule_model(codec))}
        if api is not None:
            arguments["api"] = api
        provider = ProviderFactory.create(name, api_key="k", **arguments)
        router = Router(routes(name, "m-1", "m-2"), providers={name: provider})
        return {"routes": router, "model": f"{name}:m-1"}


class TestOpenAIChatByRules(ByRules):
    dialect = "openai_chat"


class TestOpenAIResponsesByRules(ByRules):
    dialect = "openai_responses"

    @pytest.mark.xfail(reason="the API has no stop sequences", raises=ModelInvalidRequestError)
    def test_stop_sequence(self, model: BaseChatModel) -> None:
        super().test_stop_sequence(model)


class TestAnthropicByRules(ByRules):
    dialect = "anthropic_messages"


class TestGeminiByRules(ByRules):
    dialect = "gemini_generate"


class OllamaLimits:
    """Ollama's API has no tool that must be called, which ChatCrux says before any request."""

    @property
    def has_tool_choice(self) -> bool:
        return False

    @pytest.mark.xfail(reason="no forced tools", raises=ModelInvalidRequestError)
    def test_structured_few_shot_examples(
        self, model: BaseChatModel, my_adder_tool: BaseTool
    ) -> None:
        tests: Any = super()
        tests.test_structured_few_shot_examples(model, my_adder_tool)

    @pytest.mark.xfail(reason="no forced tools", raises=ModelInvalidRequestError)
    def test_unicode_tool_call_integration(self, model: BaseChatModel) -> None:
        tests: Any = super()
        tests.test_unicode_tool_call_integration(model)


class TestOllamaByRules(OllamaLimits, ByRules):
    dialect = "ollama_chat"
