"""Public names live where they are promised, and values have the promised fields."""

from __future__ import annotations

import dataclasses
import importlib
import inspect

import pytest

HOMES = {
    "crux_providers": "__version__",
    "crux_providers.base": "ProviderFactory ChatRequest Message",
    "crux_providers.base.models": (
        "Message ContentPart ChatRequest ChatResponse ProviderMetadata ModelInfo "
        "ModelRegistrySnapshot Tool ToolCall"
    ),
    "crux_providers.base.interfaces": (
        "LLMProvider SupportsJSONOutput SupportsResponsesAPI ModelListingProvider HasDefaultModel"
    ),
    "crux_providers.base.factory": "ProviderFactory",
    "crux_providers.base.streaming_adapter": "StreamController BaseStreamingAdapter",
    "crux_providers.base.errors": "ErrorCode ProviderError StreamInterrupted",
    "crux_providers.base.cancellation": "CancellationToken CancelledError",
    "crux_providers.base.timeouts": "get_timeout_config operation_timeout TimeoutConfig",
    "crux_providers.base.retry": "RetryConfig",
    "crux_providers.base.logging": "get_logger LogContext",
    "crux_providers.base.metrics": "get_default_exporter set_default_exporter StreamMetricsPayload",
    "crux_providers.base.metrics.exporter": (
        "get_default_exporter NoOpMetricsExporter MetricsExporter StreamMetricsPayload"
    ),
    "crux_providers.base.capabilities": "merge_capabilities load_observed record_observation",
    "crux_providers.base.get_models_base": (
        "normalize_items save_provider_models load_cached_models _infer_updated_at_from_id"
    ),
    "crux_providers.base.repositories.keys": "KeysRepository",
    "crux_providers.base.repositories.model_registry": "ModelRegistryRepository",
    "crux_providers.base.repositories.model_registry.repository": "ModelRegistryRepository",
    "crux_providers.config": "get_openai_config",
    "crux_providers.config.env": (
        "ENV_MAP ENV_ALIASES is_placeholder get_env_var_name get_env_var_candidates "
        "resolve_provider_key set_canonical_env_if_missing"
    ),
    "crux_providers.config.defaults": (
        "DEFAULT_PROVIDER BENCHMARK_RUNS BENCHMARK_WARMUPS OPENROUTER_MODEL OPENROUTER_BASE_URL "
        "SQLITE_JOURNAL_MODE SQLITE_SYNCHRONOUS SQLITE_BUSY_TIMEOUT_MS"
    ),
    "crux_providers.openai.client": "OpenAIProvider",
    "crux_providers.anthropic.client": "AnthropicProvider",
    "crux_providers.persistence.sqlite.repos": (
        "MetricsRepository ChatLogRepository _parse_created_at"
    ),
    "crux_providers.persistence.sqlite.backfill_timestamps": "main _SCHEMA",
    "crux_providers.service.db": "init_db",
    "crux_integrations": "ChatCrux Router Plan StreamInterrupted AllCandidatesFailed",
}


@pytest.mark.contract(12, 14, 15, 25, 35, 40, 43, 53, 97, 105, 106, 121, 138, 152, "S10", "S13")
@pytest.mark.parametrize("module", HOMES)
def test_the_homes_of_public_names(module: str) -> None:
    found = importlib.import_module(module)
    for name in HOMES[module].split():
        value = getattr(found, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{module}.{name}"


@pytest.mark.contract(190)
def test_what_a_module_exports_is_there_and_documented() -> None:
    examined = 0
    for name in ("crux_providers.base", "crux_integrations", "crux_integrations.testing"):
        module = importlib.import_module(name)
        for exported in module.__all__:
            examined += 1
            assert inspect.getdoc(getattr(module, exported)), f"{name}.{exported}"
    assert examined > 40


FIELDS = {
    "Message": "role content name tool_calls tool_call_id",
    "ContentPart": "type text data url media_type signature dialect",
    "ToolCall": "id name arguments raw_arguments",
    "Tool": "name description parameters",
    "ChatRequest": (
        "model messages max_tokens temperature top_p stop seed response_format json_schema tools "
        "tool_choice parallel_tool_calls reasoning_effort reasoning_budget extra"
    ),
    "ChatResponse": ("text reasoning parts tool_calls structured finish_reason refusal meta"),
    "ProviderMetadata": "model_name request_id response_id extra",
    "ModelInfo": "id name context_length capabilities updated_at capability_sources",
    "ModelRegistrySnapshot": "models fetched_via metadata",
}


@pytest.mark.contract(26, 27, 32, 33, "S15", "S16", "S30", "S31", "S32", "S48")
@pytest.mark.parametrize("name", FIELDS)
def test_the_fields_of_the_values(name: str) -> None:
    from crux_providers.base import models

    kind = getattr(models, name)
    assert set(FIELDS[name].split()) <= {field.name for field in dataclasses.fields(kind)}
    assert kind.__dataclass_params__.frozen


@pytest.mark.contract(56, "S18")
def test_the_fields_of_an_event() -> None:
    from crux_providers.base.events import ChatStreamEvent, ToolCallDelta

    named = {field.name for field in dataclasses.fields(ChatStreamEvent)}
    assert named >= {
        "delta", "reasoning", "tool_call", "usage", "structured", "finish_reason", "finish",
        "error",
    }  # fmt: skip
    assert {f.name for f in dataclasses.fields(ToolCallDelta)} >= {
        "index",
        "id",
        "name",
        "arguments",
    }
    assert ChatStreamEvent() == ChatStreamEvent(finish=False, error=None, delta=None)


@pytest.mark.contract(30, 114, 115, 116)
def test_metadata_always_has_its_counts() -> None:
    from crux_providers.base.models import ChatResponse

    response = ChatResponse("hi")
    assert response.meta.extra["token_usage"] == {"prompt": None, "completion": None, "total": None}
    assert response.metadata is response.meta
    assert response.metadata.tokens is response.meta.extra["token_usage"]


@pytest.mark.contract("S15", "S16", "S32")
def test_values_take_lists_and_other_forms() -> None:
    from crux_providers.base.models import ChatRequest, ContentPart, Message, Tool, ToolCall

    call = ToolCall("c1", "f", {"a": 1})
    assert (call.arguments, call.raw_arguments) == ({"a": 1}, '{"a":1}')
    assert ToolCall("c1", "f", '{"a": 1}').arguments == {"a": 1}  # type: ignore[arg-type]  # the wire's form
    form = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    request = ChatRequest(
        messages=[
            Message("user", [ContentPart("text", "x")]),
            Message("assistant", tool_calls=[call]),
        ],
        tools=[Tool("g"), form],
        stop=["END"],
    )
    assert isinstance(request.messages, tuple)
    assert [tool.name for tool in request.tools] == ["g", "f"]
    assert request.messages[0].parts == (ContentPart("text", "x"),)
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.model = "other"  # type: ignore[misc]  # that is the point


@pytest.mark.contract(34)
def test_system_and_user_text_without_blank_lines() -> None:
    from crux_providers.base.models import Message, extract_system_and_user

    system, user = extract_system_and_user(
        [
            Message("system", "Be brief.\n \n\t\nBe kind."),
            Message("user", "   \nfirst\n"),
            Message("assistant", "no part of it"),
            Message("user", "    indented stays\n\n"),
        ]
    )
    assert system == "Be brief.\nBe kind."
    assert user == "first\n    indented stays"


@pytest.mark.contract(91, "S24", "S25")
def test_the_error_and_its_codes() -> None:
    from enum import StrEnum

    from crux_providers.base.cancellation import CancelledError
    from crux_providers.base.errors import ErrorCode, ProviderError

    assert issubclass(ErrorCode, StrEnum)
    assert {str(code) for code in ErrorCode} == {
        "auth",
        "permission",
        "bad_request",
        "context_length",
        "unsupported",
        "content_filter",
        "not_found",
        "conflict",
        "quota",
        "rate_limit",
        "overloaded",
        "server_error",
        "transient",
        "timeout",
        "cancelled",
        "malformed",
        "internal",
    }
    error = ProviderError(
        "rate_limit", "slow down", provider="p", model="m", status=429, request_id="r",
        retry_after=2.0, cause=ValueError("x"),
    )  # fmt: skip
    assert {error: 1}[error] == 1
    assert (error.code, error.retryable, error.retry_after) == (ErrorCode.RATE_LIMIT, True, 2.0)
    assert isinstance(error.cause, ValueError)
    assert issubclass(CancelledError, ProviderError)
    assert CancelledError("stop").code == "cancelled"


@pytest.mark.contract(89, "S36")
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "bad_request"), (401, "auth"), (402, "quota"), (403, "permission"),
        (404, "not_found"), (408, "timeout"), (409, "conflict"), (413, "bad_request"),
        (422, "bad_request"), (429, "rate_limit"), (500, "server_error"), (502, "transient"),
        (503, "transient"), (504, "transient"), (529, "overloaded"),
    ],
)  # fmt: skip
def test_what_a_status_means(status: int, code: str) -> None:
    from crux_providers.base.errors import WireFailure, classify_wire

    error = classify_wire(WireFailure("status", "no", status=status))
    assert (error.code, error.status) == (code, status)
