"""The fetchers of all nine providers: the SDK and the endpoint, pages, failures, being offline."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

from crux_providers.base import ErrorCode, ProviderError, ProviderFactory
from crux_providers.base.get_models_base import (
    load_cached_models,
    load_snapshot,
    save_provider_models,
)
from crux_providers.base.provider import BaseProvider, GatewayProvider
from crux_providers.config.declaration import ProviderDeclaration, declarations
from tests.providers.listings import LISTINGS, OPENROUTER, query_of, serve
from tests.recordings import interactions
from tests.servers.scripted_server import ScriptedServer

SDKS = {
    "openai": "openai", "deepseek": "openai", "xai": "openai", "openrouter": "openai",
    "anthropic": "anthropic", "ollama": "ollama", "gemini": "google.ai",
}  # fmt: skip
"""provider → the top-level module of the SDK that lists its models."""

REMOTE = pytest.mark.parametrize("name", sorted(LISTINGS))
KEYED = pytest.mark.parametrize("name", sorted(set(LISTINGS) - {"ollama"}))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as made:
        yield made


@pytest.fixture
def without_sdks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No SDK is installed."""
    for module in ("openai", "anthropic", "ollama", "litellm"):
        monkeypatch.setitem(sys.modules, module, None)


def point_at(
    server: ScriptedServer, name: str, monkeypatch: pytest.MonkeyPatch, key: str = "a-real-key"
) -> None:
    """The environment in which the provider ``name`` is this server."""
    declared = declarations()[name]
    base = server.url if declared.models_path == "/models" else server.url.removesuffix("/v1")
    monkeypatch.setenv(declared.base_url_variable, base)
    if declared.env_key:
        monkeypatch.setenv(declared.env_key, key)


def provider_at(server: ScriptedServer, name: str, **arguments: Any) -> BaseProvider:
    declared = declarations()[name]
    base = server.url if declared.models_path == "/models" else server.url.removesuffix("/v1")
    return ProviderFactory.create(name, api_key="a-real-key", base_url=base, **arguments)


def fetch(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = import_module(f"crux_providers.{name}.get_{name}_models").run()
    return found


def refuse(status: int, body: bytes = b'{"error": {"message": "no"}}') -> Any:
    return lambda exchange: exchange.answer(body, status)


# -- online ---------------------------------------------------------------------------------------


def test_openai_online_lists_with_the_sdk_normalizes_saves_and_returns(
    server: ScriptedServer, crux_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.play(serve("openai"))
    point_at(server, "openai", monkeypatch)
    found = fetch("openai")
    assert [(m["id"], m["updated_at"]) for m in found] == [
        ("gpt-4o-2024-08-06", "2024-08-06"), ("o3-mini", "2025-01-17"),
    ]  # fmt: skip
    assert found[1]["capability_sources"] == {"reasoning": "heuristic"}
    assert found == load_cached_models("openai")
    snapshot = load_snapshot("openai")
    assert (snapshot.fetched_via, snapshot.metadata) == ("api", {"source": "openai_sdk_enriched"})
    (exchange,) = server.exchanges
    assert (exchange.method, exchange.target) == ("GET", "/v1/models")
    assert exchange.headers["authorization"] == "Bearer a-real-key"
    assert "openai" in exchange.headers["user-agent"].lower()


def test_openai_online_without_the_sdk_uses_the_listing_endpoint(
    server: ScriptedServer, crux_db: Path, without_sdks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.play(serve("openai"))
    point_at(server, "openai", monkeypatch)
    assert [m["id"] for m in fetch("openai")] == ["gpt-4o-2024-08-06", "o3-mini"]
    assert load_snapshot("openai").metadata == {"source": "api"}
    (exchange,) = server.exchanges
    assert exchange.headers["user-agent"].startswith("crux/")


@REMOTE
def test_the_sdk_and_the_endpoint_give_equal_models(
    name: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(SDKS[name], reason=f"the SDK of {name} is not installed")
    server.play(serve(name))
    with provider_at(server, name, transport="sdk") as by_sdk:
        first = by_sdk.list_models(refresh=True)
    with provider_at(server, name, transport=httpx.HTTPTransport()) as by_http:
        second = by_http.list_models(refresh=True)
    assert first.metadata == {"source": f"{name}_sdk_enriched"}
    assert second.metadata == {"source": "api"}
    assert first.models == second.models
    assert first.models


@pytest.mark.parametrize("sdk", ["with", "without"])
def test_anthropic_pages_are_followed_to_the_last(
    sdk: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sdk == "without":
        monkeypatch.setitem(sys.modules, "anthropic", None)
    server.play(serve("anthropic"))
    point_at(server, "anthropic", monkeypatch)
    first, second = fetch("anthropic")
    assert (first["context_length"], first["max_output_tokens"]) == (200000, 64000)
    assert (second["id"], second["context_length"]) == ("claude-opus-4-1-20250805", None)
    assert [query_of(e) for e in server.exchanges] == [
        {"limit": "1000"},
        {"limit": "1000", "after_id": "claude-haiku-4-5-20251001"},
    ]
    assert all("a-real-key" in str(e.headers) for e in server.exchanges)


def test_gemini_pages_are_followed_to_the_last(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.play(serve("gemini"))
    point_at(server, "gemini", monkeypatch)
    first, second = fetch("gemini")
    assert (first["id"], first["context_length"]) == ("gemini-2.5-flash", 1048576)
    assert second["capabilities"]["streaming"] is False
    assert [query_of(e) for e in server.exchanges] == [
        {"pageSize": "1000"},
        {"pageSize": "1000", "pageToken": "page-2"},
    ]
    assert {e.headers["x-goog-api-key"] for e in server.exchanges} == {"a-real-key"}


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("anthropic", {"data": [{"id": "a"}], "has_more": True, "last_id": "a"}),
        ("anthropic", {"data": [{"id": "a"}], "has_more": True}),
        ("gemini", {"models": [{"name": "models/a"}], "nextPageToken": "again"}),
    ],
)
def test_a_listing_that_never_ends_is_an_error(
    name: str, page: Any, server: ScriptedServer, without_sdks: None, crux_db: Path
) -> None:
    server.play(lambda exchange: exchange.answer(json.dumps(page).encode()))
    with provider_at(server, name) as provider, pytest.raises(ProviderError) as caught:
        provider.list_models(refresh=True)
    assert caught.value.code is ErrorCode.MALFORMED
    assert server.requests <= 2
    assert load_snapshot(name).models == []


def test_openrouter_keeps_limits_and_capabilities(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.play(serve("openrouter"))
    point_at(server, "openrouter", monkeypatch)
    (model,) = fetch("openrouter")
    assert (model["context_length"], model["max_output_tokens"]) == (128000, 16384)
    assert model["capabilities"]["tools"] is True
    assert model["capabilities"]["reasoning"] is False  # it lists its parameters: this is not there
    assert model["extra"]["pricing"] == OPENROUTER["data"][0]["pricing"]


@pytest.mark.parametrize("sdk", ["with", "without"])
def test_ollama_asks_each_model_what_it_can_do(
    sdk: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sdk == "without":
        monkeypatch.setitem(sys.modules, "ollama", None)
    server.play(serve("ollama"))
    point_at(server, "ollama", monkeypatch)
    first, gone = fetch("ollama")
    assert (first["id"], first["context_length"], first["family"]) == ("qwen3:8b", 40960, "qwen3")
    assert first["capabilities"] == {
        "tools": True, "vision": False, "reasoning": True, "audio": False,
    }  # fmt: skip
    assert (gone["id"], gone["context_length"], gone["capabilities"]) == ("gone:latest", None, {})
    assert [e.target for e in server.exchanges] == ["/api/tags", "/api/show", "/api/show"]


@pytest.mark.parametrize("sdk", ["with", "without"])
def test_ollamas_day_of_change_stands_over_a_date_in_the_name(
    sdk: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = {"models": [{"model": "m:2024-01-02", "modified_at": "2025-03-04T05:06:07Z"}]}
    listing, damage = json.dumps(tags).encode(), b"{}" if sdk == "with" else b"{"
    server.play(lambda x: x.answer(listing if x.target == "/api/tags" else damage))
    if sdk == "without":
        monkeypatch.setitem(sys.modules, "ollama", None)
    with provider_at(server, "ollama") as provider:
        (model,) = provider.list_models(refresh=True).models
    assert (model.id, model.updated_at) == ("m:2024-01-02", "2025-03-04")


def test_a_recorded_listing_of_openai_reads_whole(
    recordings: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (recorded,) = [i for i in interactions("openai", "models") if i.method == "GET"]
    server.play(lambda exchange: exchange.answer(recorded.body))
    with provider_at(server, "openai") as by_sdk:
        first = by_sdk.list_models(refresh=True)
    with provider_at(server, "openai", transport=httpx.HTTPTransport()) as by_http:
        second = by_http.list_models(refresh=True)
    raw = json.loads(recorded.body)["data"]
    assert first.models == second.models
    assert [m.id for m in first.models] == [m["id"] for m in raw]
    assert len(raw) > 50
    assert {m.context_length for m in first.models} == {None}  # it states none: none is made up


# -- whose key, whose address ---------------------------------------------------------------------


@REMOTE
def test_a_refresh_uses_the_providers_own_key_and_address(
    name: str, server: ScriptedServer
) -> None:
    server.play(serve(name))
    with provider_at(server, name, headers={"x-mine": "yes"}) as provider:
        assert provider.list_models(refresh=True).models
        assert provider.list_models() == load_snapshot(name)
    assert {e.headers["x-mine"] for e in server.exchanges} == {"yes"}


@pytest.mark.parametrize("name", ["deepseek", "openrouter", "xai"])
def test_what_the_environment_holds_for_openai_goes_to_nobody_else(
    name: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-of-mine")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "admin-of-mine")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Proxy-Secret: of-mine\nX-Mine: of-mine")
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-mine")
    server.play(serve(name))
    with provider_at(server, name, headers={"X-Mine": "yes"}) as provider:
        assert provider.list_models(refresh=True).metadata["source"] == f"{name}_sdk_enriched"
    (exchange,) = server.exchanges
    assert "of-mine" not in str(exchange.headers)
    assert exchange.headers["x-mine"] == "yes"
    assert exchange.headers["authorization"] == "Bearer a-real-key"


async def test_the_async_twin_does_the_same(server: ScriptedServer) -> None:
    server.play(serve("openai"))
    async with provider_at(server, "openai") as provider:
        snapshot = await provider.alist_models(refresh=True)
        assert [m.id for m in snapshot.models] == ["gpt-4o-2024-08-06", "o3-mini"]
        assert await provider.alist_models() == snapshot


def test_a_transport_of_the_users_own_gets_all_traffic() -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200, json={"data": [{"id": "m"}]})

    transport = httpx.MockTransport(answer)
    provider = ProviderFactory.create("openai", api_key="k", transport=transport)
    assert [m.id for m in provider.list_models(refresh=True).models] == ["m"]
    assert seen == ["https://api.openai.com/v1/models"]


def test_a_ready_client_lists(server: ScriptedServer) -> None:
    import openai

    server.play(serve("openai"))
    client = openai.OpenAI(api_key="theirs", base_url=server.url, max_retries=0)
    provider = ProviderFactory.create("openai", client=client)
    assert len(provider.list_models(refresh=True).models) == 2
    assert server.exchanges[0].headers["authorization"] == "Bearer theirs"
    assert len(provider.list_models(refresh=True).models) == 2  # it was not closed
    with pytest.raises(ProviderError, match="sync client") as caught:
        ProviderFactory.create("openai", client=openai.AsyncOpenAI(api_key="k")).list_models(True)
    assert caught.value.code is ErrorCode.UNSUPPORTED


def test_a_gateway_of_a_routes_file_lists_by_its_dialect(server: ScriptedServer) -> None:
    server.play(serve("openrouter"))
    declared = ProviderDeclaration(
        name="lab", client="", dialect="openai_chat", base_url="", auth="none", key_required=False
    )
    with GatewayProvider(declaration=declared, base_url=server.url) as lab:
        assert [m.context_length for m in lab.list_models(refresh=True).models] == [128000]


# -- failures -------------------------------------------------------------------------------------


@KEYED
def test_offline_without_a_key_answers_from_the_store(
    name: str, crux_db: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(declarations()[name].base_url_variable, server.url)
    assert fetch(name) == []
    save_provider_models(name, ["kept"])
    before = load_snapshot(name)
    assert [m["id"] for m in fetch(name)] == ["kept"]
    assert load_snapshot(name) == before
    assert server.requests == 0


FAILURES = {
    "status 401": (refuse(401), ErrorCode.AUTH),
    "status 429": (refuse(429), ErrorCode.RATE_LIMIT),
    "status 500": (refuse(500), ErrorCode.SERVER_ERROR),
    "malformed": (lambda x: x.answer(b'{"data": [{"id": "x"'), ErrorCode.MALFORMED),
    "html": (lambda x: x.answer(b"<html>", content_type="text/html"), ErrorCode.MALFORMED),
    "reset": (lambda x: x.reset(), ErrorCode.TRANSIENT),
}


ROUTES_OF_FAILURE = [(name, "without") for name in sorted(LISTINGS)] + [
    (name, "with") for name in ("openai", "anthropic", "ollama")
]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize(("name", "sdk"), ROUTES_OF_FAILURE)
def test_a_failed_refresh_raises_and_the_stored_snapshot_stays(
    name: str, failure: str, sdk: str, server: ScriptedServer, crux_db: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if sdk == "without":
        for module in ("openai", "anthropic", "ollama"):
            monkeypatch.setitem(sys.modules, module, None)
    scenario, code = FAILURES[failure]
    server.play(scenario)
    save_provider_models(name, ["kept"])
    before = load_snapshot(name)
    with provider_at(server, name) as provider, pytest.raises(ProviderError) as caught:
        provider.list_models(refresh=True)
    assert (caught.value.code, caught.value.provider) == (code, name)
    assert server.requests == 1
    assert load_snapshot(name) == before
    # The fetcher itself answers from the store, and says so only in the log.
    point_at(server, name, monkeypatch)
    assert [m["id"] for m in fetch(name)] == ["kept"]
    assert load_snapshot(name) == before


@REMOTE
def test_an_empty_listing_replaces_nothing(
    name: str, server: ScriptedServer, crux_db: Path
) -> None:
    server.play(lambda x: x.answer(b'{"data": [], "models": [], "has_more": false}'))
    save_provider_models(name, ["kept"])
    before = load_snapshot(name)
    with provider_at(server, name) as provider, pytest.raises(ProviderError, match="no models"):
        provider.list_models(refresh=True)
    assert load_snapshot(name) == before


@pytest.mark.parametrize("sdk", ["with", "without"])
@pytest.mark.parametrize("name", ["anthropic", "openai", "ollama"])
def test_a_listing_ends_at_its_deadline(
    name: str, sdk: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sdk == "without":
        monkeypatch.setitem(sys.modules, name, None)
    server.play(lambda exchange: exchange.stall())
    with provider_at(server, name, timeout=0.1) as provider, pytest.raises(ProviderError) as caught:
        provider.list_models(refresh=True)
    assert caught.value.code is ErrorCode.TIMEOUT
    assert server.requests == 1


def test_an_sdk_asked_for_by_name_and_missing_is_one_clear_error(
    server: ScriptedServer, without_sdks: None
) -> None:
    with pytest.raises(ProviderError, match=r"crux-integrations\[openai\]") as caught:
        provider_at(server, "openai", transport="sdk").list_models(refresh=True)
    assert caught.value.code is ErrorCode.UNSUPPORTED
    assert server.requests == 0


def test_no_key_reaches_an_error_or_the_log(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.play(refuse(401))
    point_at(server, "openai", monkeypatch, key="very-secret-" + "0" * 20)
    with caplog.at_level("DEBUG", logger="crux_providers"):
        fetch("openai")
    assert "models.fetch.error" in caplog.text
    assert "very-secret" not in caplog.text


# -- as programs ----------------------------------------------------------------------------------


def program(name: str) -> subprocess.CompletedProcess[str]:
    module = f"crux_providers.{name}.get_{name}_models"
    return subprocess.run(
        [sys.executable, "-m", module], capture_output=True, text=True, check=False
    )


def test_cli_print_says_how_many_models_were_loaded(
    server: ScriptedServer, crux_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.play(serve("openai"))
    point_at(server, "openai", monkeypatch)
    done = program("openai")
    assert (done.stdout, done.stderr, done.returncode) == ("[openai] loaded 2 models\n", "", 0)
    assert len(load_cached_models("openai")) == 2


def test_a_failed_program_says_why_as_json_and_exits_1(
    crux_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_provider_models("anthropic", ["kept"])
    done = program("anthropic")
    assert (done.stdout, done.returncode) == ("[anthropic] loaded 1 models\n", 1)
    (record,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (record["event"], record["error_code"]) == ("models.fetch.error", "auth")
    assert "ANTHROPIC_API_KEY" in record["error"]


def test_every_provider_has_a_fetcher_that_imports_no_sdk() -> None:
    names = sorted(declarations())
    assert len(names) == 9
    code = "import sys, importlib\n" + "".join(
        f"importlib.import_module('crux_providers.{n}.get_{n}_models').run\n" for n in names
    )
    code += (
        "print(sorted({'openai','anthropic','ollama','google.generativeai','litellm','xllamacpp','httpx'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
