"""The SDK transports: what is theirs alone; the conformance suite has the rest."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from crux_integrations import AllCandidatesFailed, Router
from crux_integrations.testing import CassetteMiss, use_cassette
from crux_integrations.testing.cassette_file import read_cassette
from crux_providers.anthropic.client import AnthropicProvider
from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure
from crux_providers.base.models import ChatRequest, Message
from crux_providers.base.wire import Endpoint, WireRequest, WireResponse
from crux_providers.openai.client import OpenAIProvider
from crux_providers.transports import sdk_bridges, sdk_imports
from crux_providers.transports.anthropic_sdk import AnthropicSdkTransport
from crux_providers.transports.openai_sdk import OpenAISdkTransport
from crux_providers.transports.sdk_errors import sdk_failure
from crux_providers.transports.sdk_raw_verb import RawVerbTransport
from tests.servers.scripted_server import Exchange, ScriptedServer
from tests.transports.conformance import HARNESSES, Harness, scope
from tests.transports.sdk_clients import ready_client

pytestmark = pytest.mark.conformance

CASSETTES = Path(__file__).resolve().parents[2] / "cassettes"
KEY = "the-key-of-the-environment"
KINDS: tuple[type[RawVerbTransport], ...] = (OpenAISdkTransport, AnthropicSdkTransport)
PROVIDERS: dict[str, Any] = {"openai": OpenAIProvider, "anthropic": AnthropicProvider}


def need(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"the SDK {module!r} is not installed")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture(params=KINDS, ids=lambda kind: kind.module)
def kind(request: pytest.FixtureRequest) -> type[RawVerbTransport]:
    """Each SDK's transport; skips where its SDK is not installed."""
    need(request.param.module)
    return request.param


@pytest.fixture
def harness(kind: type[RawVerbTransport]) -> Harness:
    return next(h for h in HARNESSES if h.name == f"{kind.module} SDK")


def base_url(kind: type[RawVerbTransport], server: ScriptedServer) -> str:
    return server.url if kind is OpenAISdkTransport else server.url.removesuffix("/v1")


def everything_in(exc: BaseException) -> str:
    """What an exception and all it came from show, their HTTP requests' headers included."""
    seen: list[BaseException] = []
    words: list[str] = []
    waiting: list[BaseException | None] = [exc]
    while waiting:
        link = waiting.pop()
        if link is None or link in seen:
            continue
        seen.append(link)
        request = vars(link).get("_request") or vars(link).get("request")
        words += [repr(link), repr(vars(link)), repr(getattr(request, "headers", {}))]
        response = vars(link).get("response")
        words.append(repr(dict(getattr(getattr(response, "request", None), "headers", {}))))
        waiting += [link.__cause__, link.__context__]
    return "\n".join(words)


# -- import ----------------------------------------------------------------------------------------


def test_an_sdk_is_imported_by_the_first_call_and_not_before() -> None:
    code = (
        "import sys\n"
        "from crux_providers.base import ProviderFactory\n"
        "for name in ('openai', 'anthropic', 'deepseek'):\n"
        "    ProviderFactory.create(name, api_key='k', transport='sdk')\n"
        "print([m for m in ('openai', 'anthropic', 'httpx2') if m in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.module)
def test_a_missing_sdk_says_what_to_install(
    kind: type[RawVerbTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, kind.module, None)
    provider = PROVIDERS[kind.module](api_key="k", transport="sdk")
    request = ChatRequest(model="m", messages=[Message("user", "hi")])
    wanted = f"pip install 'crux-integrations[{kind.extra}]'"
    with pytest.raises(ProviderError) as caught:
        provider.chat(request)
    assert wanted in caught.value.message
    with pytest.raises(ProviderError) as caught:
        asyncio.run(provider.achat(request))
    assert wanted in caught.value.message
    assert wanted in list(provider.stream_chat(request))[-1].error


def test_an_sdk_that_misses_a_package_of_its_own_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'jiter'", name="jiter")

    monkeypatch.setattr(sdk_imports.importlib, "import_module", broken)
    with pytest.raises(WireFailure, match=r"needs 'jiter'.*crux-integrations"):
        sdk_imports.import_sdk("openai", "openai")


def test_something_else_as_client_is_one_clear_error(kind: type[RawVerbTransport]) -> None:
    transport = kind(Endpoint("http://127.0.0.1:9"), client="sk-my-key")
    with pytest.raises(WireFailure, match=rf"client= takes a client of the SDK.*{kind.module}"):
        transport.send(HARNESSES[0].whole, scope())


# -- keys and settings -----------------------------------------------------------------------------


def test_what_the_sdk_finds_in_the_environment_stays_here(
    kind: type[RawVerbTransport],
    harness: Harness,
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The OpenAI SDK serves other hosts too: what is OpenAI's is nothing to those."""
    for name in ("API_KEY", "AUTH_TOKEN", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"{kind.module.upper()}_{name}", KEY)
    monkeypatch.setenv(f"{kind.module.upper()}_CUSTOM_HEADERS", f"x-mine: {KEY}")
    server.play(harness.answer_well)
    transport = kind(Endpoint(base_url(kind, server), {"x-own": "1"}, proxy=""))
    transport.send(harness.whole, scope())
    asyncio.run(transport.asend(harness.whole, scope()))
    for exchange in server.exchanges:
        assert KEY not in repr(exchange.headers)
        assert "authorization" not in exchange.headers
        assert exchange.headers["x-own"] == "1"
        assert kind.module in exchange.headers["user-agent"].lower()


def test_a_ready_client_keeps_its_key_and_its_settings(
    kind: type[RawVerbTransport],
    harness: Harness,
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(f"{kind.module.upper()}_API_KEY", KEY)
    server.play(lambda exchange: exchange.answer(b'{"error": {"message": "slow"}}', 429))
    client = ready_client(
        kind.module, kind.sync_client, base_url(kind, server), "sk-ready", max_retries=5
    )
    provider = PROVIDERS[kind.module](client=client, max_retries=2, headers={"x-team": "blue"})
    request = ChatRequest(model="m", messages=[Message("user", "hi")])
    with pytest.raises(ProviderError) as caught:
        provider.chat(request)
    assert caught.value.code == ErrorCode.RATE_LIMIT
    assert server.requests == 3, "crux's retries, none of the SDK's"
    for exchange in server.exchanges:
        assert "sk-ready" in repr(exchange.headers)
        assert KEY not in repr(exchange.headers)
        assert exchange.headers["x-team"] == "blue"
    assert client.max_retries == 5
    provider.close()
    server.play(harness.answer_well)
    assert client.post(harness.whole.path, cast_to=object, body={}) == harness.answer


FAULTS: dict[str, Callable[[Exchange], None]] = {
    "status": lambda exchange: exchange.answer(b"{}", 401),
    "redirect": lambda exchange: exchange.answer(b"", 302, headers={"location": "/x"}),
    "cut": lambda exchange: exchange.hang_up(),
    "stall": lambda exchange: exchange.stall(),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("ready", ["", "sync", "async"], ids=["own", "sync", "async"])
def test_no_failure_holds_the_key(
    kind: type[RawVerbTransport], server: ScriptedServer, harness: Harness, fault: str, ready: str
) -> None:
    """The exceptions of SDKs and HTTP libraries have their request on them."""
    server.play(FAULTS[fault])
    url = base_url(kind, server)
    name = kind.async_client if ready == "async" else kind.sync_client
    client = ready_client(kind.module, name, url, KEY) if ready else None
    headers = {} if ready else {"authorization": f"Bearer {KEY}", "x-api-key": KEY}
    transport = kind(Endpoint(url, headers, proxy="", api_key=KEY), client=client)
    with pytest.raises(WireFailure) as caught:
        transport.send(harness.whole, scope(total=0.2))
    assert KEY in repr(server.exchanges[0].headers)
    assert KEY not in everything_in(caught.value)
    assert KEY not in repr(transport)


# -- errors ----------------------------------------------------------------------------------------


class Unable:
    """A client that cannot make the call: no network has to do with it."""

    def post(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("no credentials")


def test_a_fallback_is_not_blamed_for_what_came_before(kind: type[RawVerbTransport]) -> None:
    """A call made while another failure is handled has that one behind its own exceptions."""
    transport = kind(Endpoint("http://127.0.0.1:9"), client=Unable())

    async def aside() -> WireResponse:
        return await transport.asend(HARNESSES[0].whole, scope())

    for call in (lambda: transport.send(HARNESSES[0].whole, scope()), lambda: asyncio.run(aside())):
        try:
            raise WireFailure("status", "the first candidate", status=429)
        except WireFailure:
            with pytest.raises(WireFailure, match="no credentials") as caught:
                call()
        assert caught.value.kind == "local"
    exc = TypeError("no credentials")
    exc.__context__ = before = WireFailure("status", "the first candidate", status=429)
    assert sdk_failure(exc) is before
    assert sdk_failure(exc, before=before) is not before


def test_an_error_that_no_network_made_is_local(kind: type[RawVerbTransport]) -> None:
    transport = kind(Endpoint("http://127.0.0.1:9"), client=Unable())
    with pytest.raises(WireFailure, match="TypeError: no credentials") as caught:
        transport.send(HARNESSES[0].whole, scope())
    assert caught.value.kind == "local"


def test_sdk_errors_are_known_by_what_they_carry() -> None:
    class APIError(Exception):
        request = "the request"
        body: Any = None

    class APITimeoutError(APIError):
        pass

    class APIConnectionError(APIError):
        pass

    assert sdk_failure(APITimeoutError("late"), phase="idle").kind == "timeout"  # type: ignore[attr-defined]
    failure = sdk_failure(APIConnectionError("nowhere"))
    assert isinstance(failure, WireFailure)
    assert (failure.kind, failure.cause) == ("connect", None)
    inside = APIError("overloaded")
    inside.body = {"type": "overloaded_error"}
    failure = sdk_failure(inside, otherwise="cut")
    assert isinstance(failure, WireFailure)
    assert (failure.kind, failure.body) == ("in_band", inside.body)


def test_a_sync_call_inside_its_async_clients_own_loop_is_an_error(
    kind: type[RawVerbTransport], server: ScriptedServer, harness: Harness
) -> None:
    server.play(harness.answer_well)
    url = base_url(kind, server)
    transport = kind(Endpoint(url), client=ready_client(kind.module, kind.async_client, url))

    async def main() -> None:
        await transport.asend(harness.whole, scope())
        with pytest.raises(WireFailure, match="would block the event loop"):
            transport.send(harness.whole, scope())

    asyncio.run(main())
    assert server.requests == 1


def test_many_threads_may_be_the_first_on_a_ready_async_client(
    kind: type[RawVerbTransport], server: ScriptedServer, harness: Harness
) -> None:
    """The loop that serves them has not begun when the second of them comes."""
    server.play(harness.answer_well)
    url = base_url(kind, server)
    transport = kind(Endpoint(url), client=ready_client(kind.module, kind.async_client, url))
    start = threading.Barrier(8)

    def work(number: int) -> Any:
        start.wait(5)
        return json.loads(transport.send(harness.whole, scope()).body)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [harness.answer] * 8


def test_a_loop_that_has_not_begun_takes_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def __init__(self, **arguments: Any) -> None: ...
        def start(self) -> None: ...

    monkeypatch.setattr(sdk_bridges.threading, "Thread", Slow)
    home = sdk_bridges.Home("AsyncClient")
    loop = home.loop()
    assert not loop.is_running()
    assert home.loop() is loop
    del home
    loop.close()


def test_the_loop_of_a_ready_async_client_ends_with_its_transport(
    kind: type[RawVerbTransport], server: ScriptedServer, harness: Harness
) -> None:
    server.play(harness.answer_well)
    url = base_url(kind, server)
    before = threading.enumerate()
    transport = kind(Endpoint(url), client=ready_client(kind.module, kind.async_client, url))
    transport.send(harness.whole, scope())
    (thread,) = [t for t in threading.enumerate() if t.name == "crux-sdk-loop" and t not in before]
    del transport
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


# -- cassettes -------------------------------------------------------------------------------------


def test_a_cassette_plays_to_the_sdk_and_a_miss_leaves_as_itself() -> None:
    """What the SDK makes of a miss, a connection error, would be taken for the provider's."""
    need("openai")
    file = CASSETTES / "openai_chat" / "text.yaml"
    recorded = read_cassette(file).interactions[0]
    body = json.loads(recorded.request_body or b"")
    request = WireRequest("/chat/completions", body)
    base, _, _ = recorded.uri.partition("/chat/completions")
    transport = OpenAISdkTransport(Endpoint(base, {"authorization": "Bearer k"}, proxy=""))
    with use_cassette(file):
        answers = [transport.send(request, scope())]
    with use_cassette(file):
        answers.append(asyncio.run(transport.asend(request, scope())))
    for answer in answers:
        said = json.loads(answer.body)["choices"][0]["message"]["content"]
        assert said == "The capital of France is Paris."
    missed = WireRequest("/chat/completions", {**body, "temperature": 1})
    for call in (
        lambda: transport.send(missed, scope()),
        lambda: asyncio.run(transport.asend(missed, scope())),
    ):
        with pytest.raises(CassetteMiss), use_cassette(file):
            call()


def test_the_import_of_an_sdk_is_not_a_calls_time(kind: type[RawVerbTransport]) -> None:
    """A transport that is made has imported its SDK: the scope of the call begins after it."""
    assert vars(kind(Endpoint("http://127.0.0.1:9")))["_sdk"] is sys.modules[kind.module]


# -- routes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "anthropic_messages"])
def test_a_gateway_of_a_routes_file_may_use_the_sdk_of_its_dialect(
    dialect: str, server: ScriptedServer
) -> None:
    module = "anthropic" if dialect.startswith("anthropic") else "openai"
    need(module)
    server.play(lambda exchange: exchange.answer(b'{"error": {"message": "go away"}}', 401))
    lab = {"dialect": dialect, "base_url": server.url, "api_key": "lab-key", "transport": "sdk"}
    routes = {
        "version": 1,
        "providers": {"lab": lab},
        "routes": {"default": {"candidates": ["lab:m"], "unknown": "allow"}},
    }
    with Router(routes) as router, pytest.raises(AllCandidatesFailed) as caught:
        router.generate(ChatRequest(messages=[Message("user", "hi")]))
    assert caught.value.attempts[0]["status"] == 401
    (exchange,) = server.exchanges
    assert module in exchange.headers["user-agent"].lower()
    assert "lab-key" in repr(exchange.headers)
