"""The factory, what every provider has in common, and what importing it costs."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

from crux_providers.base import (
    BaseOpenAIStyleProvider,
    ChatRequest,
    ErrorCode,
    LLMProvider,
    Message,
    ProviderError,
    ProviderFactory,
    SupportsJSONOutput,
    SupportsResponsesAPI,
)
from tests.servers.scripted_server import Exchange, ScriptedServer

NAMES = [
    "anthropic", "deepseek", "gemini", "litellm", "local", "ollama", "openai", "openrouter", "xai",
]  # fmt: skip


def test_the_provider_set() -> None:
    assert ProviderFactory.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_provider_is_made_the_same_way(name: str) -> None:
    provider = ProviderFactory.create(
        name, api_key="the-key", base_url="http://127.0.0.1:9/v1", timeout=1, idle_timeout=1,
        headers={"x": "y"}, max_retries=0, transport="http", client=None,
    )  # fmt: skip
    assert provider.provider_name == name
    assert isinstance(provider, LLMProvider)
    assert isinstance(provider, SupportsJSONOutput)
    assert "the-key" not in repr(provider)


def test_openai_is_what_the_contract_says() -> None:
    provider = ProviderFactory.create("openai", api_key="k")
    assert provider.default_model() == "o3-mini"
    assert isinstance(provider, SupportsResponsesAPI)
    assert provider.uses_responses_api("o3-mini")
    assert provider.uses_responses_api("o1")
    assert not provider.uses_responses_api("gpt-4o")
    assert isinstance(ProviderFactory.create("xai", api_key="k"), BaseOpenAIStyleProvider)
    assert isinstance(ProviderFactory.create("deepseek", api_key="k"), BaseOpenAIStyleProvider)


def test_a_refresh_fills_the_registry(crux_db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(
        "crux_providers.openai.get_openai_models", reason="OpenAI's fetcher is not in this version"
    )
    model = {"id": "gpt-4o", "object": "model", "created": 1715367049, "owned_by": "system"}

    def listing(exchange: Exchange) -> None:
        whole = {"object": "list", "data": [model]}
        exchange.answer(
            json.dumps(whole if exchange.target.endswith("/models") else model).encode()
        )

    with ScriptedServer(listing) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "as-real-as-a-key-can-be")
        snapshot = ProviderFactory.create("openai").list_models(refresh=True)
    assert [found.id for found in snapshot.models] == ["gpt-4o"]
    assert snapshot.metadata["source"]


def test_an_unknown_name_says_what_was_meant() -> None:
    with pytest.raises(ProviderError, match="did you mean 'openai'") as caught:
        ProviderFactory.create("openia")
    assert caught.value.code is ErrorCode.NOT_FOUND


def test_a_missing_key_names_its_variable_and_sends_nothing() -> None:
    provider = ProviderFactory.create("anthropic")
    request = ChatRequest(model="m", messages=[Message("user", "x")])
    with pytest.raises(ProviderError, match="ANTHROPIC_API_KEY") as caught:
        provider.chat(request)
    assert caught.value.code is ErrorCode.AUTH
    events = list(provider.stream_chat(request))
    assert len(events) == 1
    assert (events[0].error or "").startswith("auth:")


@pytest.mark.parametrize(
    ("sync", "twin"),
    [("chat", "achat"), ("stream_chat", "astream_chat"), ("list_models", "alist_models")],
)
def test_async_twins_take_the_same_arguments(sync: str, twin: str) -> None:
    kind = type(ProviderFactory.create("openai", api_key="k"))
    first, second = (inspect.signature(getattr(kind, name)) for name in (sync, twin))
    assert list(first.parameters.values()) == list(second.parameters.values())


def test_importing_the_core_imports_no_sdk_and_no_langchain() -> None:
    code = (
        "import sys\nfrom crux_providers.base import ProviderFactory, ChatRequest, Message\n"
        "bad = {'openai','anthropic','ollama','google.generativeai','litellm','httpx',"
        "'langchain_core',"
        "'sqlite3','yaml'}\nprint(sorted(bad & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
