"""Ready clients for Azure, Bedrock and Vertex, against servers that check what those check."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crux_providers.anthropic.client import AnthropicProvider
from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import ChatRequest, Message
from crux_providers.openai.client import OpenAIProvider
from tests.servers.cloud_platforms import Azure, Bedrock, Cloud, Vertex
from tests.servers.scripted_server import ScriptedServer
from tests.transports.sdk_clients import plain_http

pytestmark = pytest.mark.conformance

CHUNK = {"id": "c1", "object": "chat.completion.chunk", "model": "gpt-4o-2024-11-20"}
OPENAI: tuple[Any, list[Any]] = (
    {
        "id": "c1",
        "object": "chat.completion",
        "model": "gpt-4o-2024-11-20",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Bonjour à tous"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    },
    [
        {**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Bonjour "}}]},
        {**CHUNK, "choices": [{"index": 0, "delta": {"content": "à tous"}}]},
        {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ],
)

MESSAGE = {"id": "m1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5"}
ANTHROPIC: tuple[Any, list[Any]] = (
    {
        **MESSAGE,
        "content": [{"type": "text", "text": "Bonjour à tous"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 4},
    },
    [
        {
            "type": "message_start",
            "message": {**MESSAGE, "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}},
        },
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        {"type": "ping"},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "Bonjour "},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "à tous"},
        },
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 4},
        },
        {"type": "message_stop"},
    ],
)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def client_kind(request: pytest.FixtureRequest) -> str:
    """Whether the ready client is a sync or an async one."""
    return str(request.param)


def sdk(module: str, *also: str) -> Any:
    """The SDK; skips where it, or what a platform needs besides, is not installed."""
    for name in (module, *also):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: this platform's client needs it")
    return importlib.import_module(module)


def make(module: Any, name: str, kind: str, **arguments: Any) -> Any:
    """A platform's client, sync or async."""
    name = name if kind == "sync" else f"Async{name}"
    return getattr(module, name)(http_client=plain_http(module, name), **arguments)


def ask_all_ways(provider: Any, model: str, end: Callable[[Any], None]) -> None:
    """Whole and streamed, sync and async, in an order in which any client can serve them.

    An async client that served a sync call first lives on a loop of its own, so async calls from
    here are handed over to it.
    """
    request = ChatRequest(model=model, messages=[Message("user", "Say hello")], max_tokens=50)
    end(provider.chat(request))
    end(list(provider.stream_chat(request)))

    async def main() -> None:
        end(await provider.achat(request))
        end([event async for event in provider.astream_chat(request)])

    asyncio.run(main())


def is_answer(result: Any) -> None:
    """What all four ways must give."""
    if isinstance(result, list):
        assert [event.error for event in result if event.finish] == [None]
        assert "".join(event.delta or "" for event in result) == "Bonjour à tous"
    else:
        assert result.text == "Bonjour à tous"


def is_error(code: ErrorCode) -> Callable[[Any], None]:
    """The terminal event of a stream that was refused."""

    def check(result: Any) -> None:
        assert result[-1].error.startswith(f"{code}:")

    return check


def is_refused(provider: Any, model: str, code: ErrorCode) -> None:
    """Whole and streamed."""
    request = ChatRequest(model=model, messages=[Message("user", "Say hello")])
    with pytest.raises(ProviderError) as caught:
        provider.chat(request)
    assert caught.value.code == code
    is_error(code)(list(provider.stream_chat(request)))


def serving(server: ScriptedServer, cloud: Cloud) -> str:
    """The address where ``cloud`` answers."""
    server.play(cloud)
    return server.url.removesuffix("/v1")


# -- Azure -----------------------------------------------------------------------------------------


def test_azure_with_a_key_and_the_model_as_deployment(
    server: ScriptedServer, client_kind: str
) -> None:
    openai = sdk("openai")
    cloud = Azure(*OPENAI)
    client = make(
        openai,
        "AzureOpenAI",
        client_kind,
        azure_endpoint=serving(server, cloud),
        api_version=cloud.version,
        api_key=cloud.key,
    )
    ask_all_ways(OpenAIProvider(client=client), cloud.deployment, is_answer)
    assert [body["model"] for body in cloud.seen] == [cloud.deployment] * 4


def test_azure_with_a_deployment_and_a_token_provider(
    server: ScriptedServer, client_kind: str
) -> None:
    """The provider's function is asked for each request, in whatever thread makes it."""
    openai = sdk("openai")
    cloud = Azure(*OPENAI)
    asked: list[int] = []

    def token() -> str:
        asked.append(1)
        return cloud.token

    client = make(
        openai,
        "AzureOpenAI",
        client_kind,
        azure_endpoint=serving(server, cloud),
        azure_deployment=cloud.deployment,
        api_version=cloud.version,
        azure_ad_token_provider=token,
    )
    ask_all_ways(OpenAIProvider(client=client), "gpt-4o", is_answer)
    assert len(asked) == 4


def test_azure_refuses_a_wrong_key_once(server: ScriptedServer) -> None:
    openai = sdk("openai")
    cloud = Azure(*OPENAI)
    client = make(
        openai,
        "AzureOpenAI",
        "sync",
        azure_endpoint=serving(server, cloud),
        api_version=cloud.version,
        api_key="wrong",
    )
    is_refused(OpenAIProvider(client=client), cloud.deployment, ErrorCode.AUTH)
    assert server.requests == 2


def test_a_token_that_cannot_be_had_is_a_clear_error_and_no_request(
    server: ScriptedServer,
) -> None:
    openai = sdk("openai")
    cloud = Azure(*OPENAI)

    def broken() -> str:
        raise LookupError("az login has expired")

    client = make(
        openai,
        "AzureOpenAI",
        "sync",
        azure_endpoint=serving(server, cloud),
        api_version=cloud.version,
        azure_ad_token_provider=broken,
    )
    request = ChatRequest(model=cloud.deployment, messages=[Message("user", "hi")])
    with pytest.raises(ProviderError, match="LookupError: az login has expired"):
        OpenAIProvider(client=client).chat(request)
    assert server.requests == 0


# -- Vertex ----------------------------------------------------------------------------------------


def test_vertex_puts_the_model_in_the_url_and_sends_a_token(
    server: ScriptedServer, client_kind: str
) -> None:
    anthropic = sdk("anthropic", "google.auth")
    cloud = Vertex(*ANTHROPIC)
    client = make(
        anthropic,
        "AnthropicVertex",
        client_kind,
        region=cloud.region,
        project_id=cloud.project,
        access_token=cloud.token,
        base_url=f"{serving(server, cloud)}/v1",
    )
    ask_all_ways(AnthropicProvider(client=client), "claude-haiku-4-5@20251001", is_answer)
    assert [exchange.target.rpartition(":")[2] for exchange in server.exchanges] == [
        "rawPredict",
        "streamRawPredict",
    ] * 2


def test_vertex_refreshes_its_credentials(server: ScriptedServer, client_kind: str) -> None:
    anthropic = sdk("anthropic", "google.auth", "requests")
    from google.auth.credentials import Credentials

    cloud = Vertex(*ANTHROPIC)

    class Fresh(Credentials):
        refreshed = 0

        def refresh(self, request: object) -> None:
            type(self).refreshed += 1
            self.token = cloud.token

    client = make(
        anthropic,
        "AnthropicVertex",
        client_kind,
        region=cloud.region,
        project_id=cloud.project,
        credentials=Fresh(),
        base_url=f"{serving(server, cloud)}/v1",
    )
    ask_all_ways(AnthropicProvider(client=client), "claude-haiku-4-5", is_answer)
    assert Fresh.refreshed == 1


# -- Bedrock ---------------------------------------------------------------------------------------

BEDROCK_MODEL = "eu.anthropic.claude-haiku-4-5-20251001-v1:0"


def bedrock(server: ScriptedServer, cloud: Bedrock, kind: str, secret: str = "") -> Any:
    anthropic = sdk("anthropic", "boto3")
    return make(
        anthropic,
        "AnthropicBedrock",
        kind,
        aws_region=cloud.region,
        aws_access_key=cloud.access_key,
        aws_secret_key=secret or cloud.secret,
        base_url=serving(server, cloud),
    )


def test_bedrock_is_signed_and_its_binary_stream_is_read(
    server: ScriptedServer, client_kind: str
) -> None:
    cloud = Bedrock(*ANTHROPIC)
    client = bedrock(server, cloud, client_kind)
    ask_all_ways(AnthropicProvider(client=client), BEDROCK_MODEL, is_answer)
    assert cloud.models == [BEDROCK_MODEL] * 4


def test_bedrock_sees_a_wrong_signature(server: ScriptedServer) -> None:
    client = bedrock(server, Bedrock(*ANTHROPIC), "sync", secret="another")
    is_refused(AnthropicProvider(client=client), BEDROCK_MODEL, ErrorCode.PERMISSION)
    assert server.requests == 2


def test_an_error_frame_in_a_bedrock_stream_is_an_error(
    server: ScriptedServer, client_kind: str
) -> None:
    cloud = Bedrock(*ANTHROPIC, error_after=4)
    client = bedrock(server, cloud, client_kind)

    def interrupted(result: Any) -> None:
        if isinstance(result, list):
            assert "".join(event.delta or "" for event in result) == "Bonjour "
            assert "Too many tokens" in result[-1].error

    ask_all_ways(AnthropicProvider(client=client), BEDROCK_MODEL, interrupted)


def test_a_damaged_bedrock_stream_is_a_cut(server: ScriptedServer, client_kind: str) -> None:
    cloud = Bedrock(*ANTHROPIC)
    client = bedrock(server, cloud, client_kind)

    def damaged(exchange: Any) -> None:
        exchange.begin_stream({"content-type": "application/vnd.amazon.eventstream"})
        exchange.chunk(b"\x00\x00\x00\x20 this is no frame of any kind, and it is long enough")
        exchange.end_stream()

    server.play(damaged)
    request = ChatRequest(model=BEDROCK_MODEL, messages=[Message("user", "hi")])
    events = list(AnthropicProvider(client=client).stream_chat(request))
    assert events[-1].error.startswith("transient:")
    is_error(ErrorCode.TRANSIENT)(events)
