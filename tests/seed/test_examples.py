"""What the documentation shows users, typed as it stands there, against a server of our own."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.seed.conftest import WIRES
from tests.servers.scripted_server import Exchange, ScriptedServer


@pytest.mark.contract(2, 24, 25, 26, 27, 28, 40, 44)
def test_the_minimal_example(openai: ScriptedServer) -> None:
    from crux_providers.base import ChatRequest, Message, ProviderFactory

    provider = ProviderFactory.create("openai")
    resp = provider.chat(
        ChatRequest(
            model=provider.default_model() or "o3-mini",
            messages=[
                Message(role="system", content="You are concise."),
                Message(role="user", content="Ping"),
            ],
            max_tokens=32,
            response_format="text",
        )
    )
    assert resp.text == "Hello there"
    (exchange,) = openai.exchanges
    assert exchange.target == "/v1/responses"  # o3-mini is a reasoning model
    sent = json.loads(exchange.body)
    assert (sent["model"], sent["max_output_tokens"]) == ("o3-mini", 32)
    assert exchange.headers["authorization"] == "Bearer as-real-as-a-key-can-be"
    assert resp.meta is resp.metadata
    assert resp.meta.request_id == "req-1"


@pytest.mark.contract(43, 44, 37)
def test_the_adapter_says_what_it_is(openai: ScriptedServer) -> None:
    from crux_providers.base import ProviderFactory
    from crux_providers.openai.client import OpenAIProvider

    provider = ProviderFactory.create("openai")
    assert isinstance(provider, OpenAIProvider)
    assert provider.provider_name == "openai"
    assert provider.default_model() == "o3-mini"
    assert provider.supports_json_output() is True
    assert {m: provider.uses_responses_api(m) for m in ("o1", "o1-mini", "o3", "gpt-4o")} == {
        "o1": True, "o1-mini": True, "o3": True, "gpt-4o": False,
    }  # fmt: skip


@pytest.mark.contract(32, 33, 38, 121, 122, 123, 127)
def test_listing_models(openai: ScriptedServer, crux_db: Path) -> None:
    from crux_providers.base import ProviderFactory
    from crux_providers.base.errors import ProviderError
    from crux_providers.base.get_models_base import save_provider_models

    provider = ProviderFactory.create("openai")
    snap = provider.list_models(refresh=False)
    assert len(snap.models) == 0
    save_provider_models(
        "openai", [{"id": "gpt-4o-2024-08-06", "input_token_limit": 128000}],
        fetched_via="api", metadata={"source": "openai_sdk_enriched"},
    )  # fmt: skip
    snap = provider.list_models()
    (model,) = snap.models
    assert (model.id, model.context_length, model.updated_at) == (
        "gpt-4o-2024-08-06", 128000, "2024-08-06",
    )  # fmt: skip
    assert model.name
    assert isinstance(model.capabilities, dict)
    assert (snap.fetched_via, snap.metadata["source"]) == ("api", "openai_sdk_enriched")
    openai.play(lambda exchange: exchange.answer(b"{}", 401))
    with pytest.raises(ProviderError):
        provider.list_models(refresh=True)
    assert len(provider.list_models().models) == 1


def chunks() -> Any:
    yield from ("Hel", "lo")


@pytest.mark.contract(52, 53, 55, 56, 58, 60, 92, 93, 96, 99)
def test_streaming_with_the_adapter(capsys: pytest.CaptureFixture[str]) -> None:
    from crux_providers.base.logging import LogContext, get_logger
    from crux_providers.base.retry import RetryConfig
    from crux_providers.base.streaming_adapter import BaseStreamingAdapter, StreamController

    ctx = LogContext(provider="openai", model="gpt-4o")
    adapter = BaseStreamingAdapter(
        ctx=ctx,
        provider_name="openai",
        model="gpt-4o",
        starter=lambda: (chunks(), {"request_id": "req-123", "response_id": "resp-456"}),
        translator=lambda chunk: chunk,
        retry_config_factory=lambda phase: RetryConfig(max_attempts=2 if phase == "start" else 1),
        logger=get_logger(),
    )
    controller = StreamController(adapter)
    for evt in controller:
        if evt.finish:
            print("done", evt.error)
        elif evt.delta:
            print(evt.delta, end="")
    assert capsys.readouterr().out == "Hellodone None\n"
    assert (ctx.request_id, ctx.response_id) == ("req-123", "resp-456")
    controller.cancel("user aborted")  # after the end it changes nothing
    assert list(controller) == []


@pytest.mark.contract(54, 55, 92, 93, 85)
def test_cancelling_from_another_thread(openai: ScriptedServer) -> None:
    from crux_providers.base import ProviderFactory
    from crux_providers.base.models import ChatRequest, Message

    def hang(exchange: Exchange) -> None:
        wire = WIRES["openai_chat"]
        exchange.begin_stream()
        exchange.chunk(b"".join((*wire.opening, wire.text("Hello"))))
        exchange.stall()

    openai.play(hang)
    provider = ProviderFactory.create("openai")
    controller = provider.stream_chat(ChatRequest(model="gpt-4o", messages=[Message("user", "x")]))
    said: list[Any] = []
    reader = threading.Thread(target=lambda: said.extend(controller))
    began = time.monotonic()
    reader.start()
    assert openai.stalled.wait(5)
    controller.cancel("user aborted")
    reader.join(5)
    assert time.monotonic() - began < 5
    assert [event.error for event in said if event.finish] == ["cancelled:user aborted"]
    assert controller.metrics.total_duration_ms > 0
    openai.assert_closed()


@pytest.mark.contract(57, 58, 59, 60, 61, 62, 63, 65)
@pytest.mark.parametrize(
    ("starter", "deltas", "error"),
    [
        (chunks, ["Hel", "lo"], None),
        (lambda: (chunks(), {"request_id": "req-123"}), ["Hel", "lo"], None),
        (lambda: {"stream": chunks(), "request_id": "req-123", "response_id": "resp-456"},
         ["Hel", "lo"], None),
        (lambda: {"request_id": "req-123"}, [], "internal:starter() mapping missing 'stream' key"),
        (lambda: (chunks(), 3), [], "internal:starter() second element must be mapping"),
        (list, [], None),
    ],
)  # fmt: skip
def test_the_shapes_a_starter_may_return(
    starter: Any, deltas: list[str], error: str | None
) -> None:
    from crux_providers.base import BaseStreamingAdapter, LogContext, StreamController

    ctx = LogContext(provider="p", model="m")
    controller = StreamController(
        BaseStreamingAdapter(ctx=ctx, provider_name="p", model="m", starter=starter)
    )
    *content, last = controller
    assert [event.delta for event in content] == deltas
    assert last.finish
    assert (last.error or "").startswith(error or "")
    assert (last.error is None) == (error is None)


@pytest.mark.contract(46, 140, 145, 146)
def test_what_was_observed_stands_over_the_listing(openai: ScriptedServer, crux_db: Path) -> None:
    from crux_providers.base import ChatRequest, Message, ProviderFactory
    from crux_providers.base.capabilities import load_observed
    from crux_providers.base.get_models_base import save_provider_models
    from crux_providers.base.repositories.model_registry import ModelRegistryRepository

    def structured(exchange: Exchange) -> None:
        body = json.dumps(WIRES["openai_chat"].whole).replace("Hello there", '{\\"ok\\": true}')
        exchange.answer(body.encode())

    openai.play(structured)
    save_provider_models("openai", [{"id": "gpt-4o-mini"}])
    provider = ProviderFactory.create("openai")
    resp = provider.chat(
        ChatRequest(
            model="gpt-4o-mini",
            messages=[Message("user", "json please")],
            response_format="json_object",
        )
    )
    assert resp.structured == {"ok": True}
    assert load_observed("openai") == {"gpt-4o-mini": {"json_output": True}}
    (model,) = ModelRegistryRepository().list_models("openai", refresh=False).models
    assert model.capabilities["json_output"] is True
    assert model.capability_sources["json_output"] == "observed"


@pytest.mark.contract(106, 107, 108)
def test_an_exporter_of_ones_own(openai: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import crux_providers.base.metrics
    from crux_providers.base import ChatRequest, Message, ProviderFactory
    from crux_providers.base.metrics import MetricsExporter, StreamMetricsPayload

    class Mine:
        def __init__(self) -> None:
            self.kept: list[StreamMetricsPayload] = []

        def emit_stream_metrics(self, payload: StreamMetricsPayload) -> None:
            self.kept.append(payload)

    mine = Mine()
    assert isinstance(mine, MetricsExporter)
    monkeypatch.setenv("PROVIDERS_METRICS_EXPORT", "1")
    monkeypatch.setattr(crux_providers.base.metrics, "get_default_exporter", lambda: mine)
    list(
        ProviderFactory.create("openai").stream_chat(
            ChatRequest(model="gpt-4o", messages=[Message("user", "x")])
        )
    )
    (payload,) = mine.kept
    assert (payload.provider, payload.model, payload.emitted_count) == ("openai", "gpt-4o", 2)
    assert payload.tokens == {"prompt": 3, "completion": 2, "total": 5}


@pytest.mark.contract(21, 22, 23, "S9")
def test_keys_in_files(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crux_providers.base.repositories.keys import KeysRepository

    keys = KeysRepository()
    assert keys.get_api_key("openai") is None
    (project / "config.yaml").write_text('api:\n  openai:\n    api_key: "sk-of-the-config"\n')
    assert keys.get_api_key("openai") == "sk-of-the-config"
    (project / ".env").write_text("OPENAI_API_KEY=sk-of-dotenv\n")
    assert keys.get_api_key("openai") == "sk-of-dotenv"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    assert keys.get_api_key("openai") == "sk-of-the-environment"


@pytest.mark.contract(100, 102, 127)
def test_a_record_says_who_what_when_and_what_was_done_instead(
    crux_db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from crux_providers.base.get_models_base import run_fetcher, save_provider_models

    def fetch() -> Any:
        raise ConnectionError("no network")

    save_provider_models("openai", [{"id": "gpt-4o"}])
    assert [model["id"] for model in run_fetcher("openai", fetch)] == ["gpt-4o"]
    (record,) = [json.loads(r.getMessage()) for r in caplog.records]
    usual = ("provider", "operation", "stage", "failure_class", "fallback_used")
    assert {name: record[name] for name in usual} == {
        "provider": "openai", "operation": "fetch_models", "stage": "start",
        "failure_class": "ConnectionError", "fallback_used": True,
    }  # fmt: skip
