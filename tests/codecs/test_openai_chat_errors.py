"""Error bodies of the OpenAI chat dialect's providers, in the one taxonomy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure
from crux_providers.codecs import openai_chat as codec

TOO_LONG = "The input token count (9) exceeds the maximum number of tokens allowed (8)."


def classify(status: int | None, body: Any, **headers: str) -> ProviderError:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    kind = "in_band" if status is None else "status"
    return codec.classify(WireFailure(kind, status=status, headers=names, body=body))


def openai(code: str | None, kind: str = "invalid_request_error", **more: Any) -> dict[str, Any]:
    return {"error": {"message": "words", "type": kind, "param": None, "code": code, **more}}


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, openai("invalid_api_key"), "auth"),
        (403, openai("unsupported_country_region_territory"), "permission"),
        (404, openai("model_not_found"), "not_found"),
        (400, openai("model_not_found"), "not_found"),
        (400, openai("context_length_exceeded"), "context_length"),
        (413, openai("context_length_exceeded"), "context_length"),
        (413, openai(None), "bad_request"),
        (429, openai("rate_limit_exceeded", "tokens"), "rate_limit"),
        (413, openai("rate_limit_exceeded", "tokens"), "rate_limit"),  # Groq's limit per minute
        (429, openai("insufficient_quota", "insufficient_quota"), "quota"),
        (429, openai("billing_hard_limit_reached"), "quota"),
        (402, openai("invalid_request_error", "unknown_error"), "quota"),  # DeepSeek
        (400, openai("content_policy_violation"), "content_filter"),
        (503, openai("slow_down", "server_error"), "overloaded"),
        (500, openai(None, "server_error"), "server_error"),
        (400, openai("tool_use_failed"), "malformed"),  # Groq
        (400, openai("string_above_max_length"), "bad_request"),
        (422, openai(None), "bad_request"),
        (409, openai(None), "conflict"),
        (529, {}, "overloaded"),
        # Azure
        (
            400,
            {
                "error": {
                    "code": "content_filter",
                    "innererror": {"code": "ResponsibleAIPolicyViolation"},
                    "status": 400,
                }
            },
            "content_filter",
        ),
        (404, {"error": {"code": "DeploymentNotFound", "message": "x"}}, "not_found"),
        (429, {"error": {"code": "429", "message": "x"}}, "rate_limit"),
        (401, {"statusCode": 401, "message": "Unauthorized"}, "auth"),
        # Mistral, Cerebras
        (
            429,
            {"object": "error", "message": "x", "type": "rate_limited", "code": "1300"},
            "rate_limit",
        ),
        (429, {"message": "Service tier capacity exceeded for this model."}, "overloaded"),
        (
            400,
            {"object": "error", "message": "x", "type": "invalid_model", "code": "1500"},
            "not_found",
        ),
        (
            429,
            {"message": "x", "type": "too_many_tokens_error", "code": "token_quota_exceeded"},
            "rate_limit",
        ),
        # Z.AI
        (429, {"error": {"code": "1113", "message": "x"}}, "quota"),
        (429, {"error": {"code": "1302", "message": "x"}}, "rate_limit"),
        (400, {"error": {"code": "1261", "message": "x"}}, "context_length"),
        (400, {"error": {"code": "1301", "message": "x"}}, "content_filter"),
        # Moonshot
        (429, openai(None, "exceeded_current_quota_error"), "quota"),
        (429, openai(None, "engine_overloaded_error"), "overloaded"),
        # Gemini's OpenAI endpoint
        (
            429,
            [{"error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED"}}],
            "rate_limit",
        ),
        (400, [{"error": {"code": 400, "message": TOO_LONG}}], "context_length"),
        # OpenRouter
        (
            403,
            {
                "error": {
                    "code": 403,
                    "message": "x",
                    "metadata": {"reasons": ["violence"], "flagged_input": "y"},
                }
            },
            "content_filter",
        ),
        (402, {"error": {"code": 402, "message": "x"}}, "quota"),
        (
            400,
            {
                "error": {
                    "code": 400,
                    "message": "x",
                    "metadata": {"error_type": "context_length_exceeded"},
                }
            },
            "context_length",
        ),
        # in a 200 answer: the provider's own number
        (None, {"error": {"code": 429, "message": "x"}}, "rate_limit"),
        (None, {"error": {"code": "502", "message": "x"}}, "transient"),
        (None, {"error": {"code": 200, "message": "x"}}, "server_error"),
        (200, {"error": {"code": 401, "message": "x"}}, "auth"),
        # gateways and proxies
        (404, b"<html><head><title>404 Not Found</title></head></html>", "not_found"),
        (502, b"<html><body>Bad <b>Gateway</b></body></html>", "transient"),
        (500, b"upstream died", "server_error"),
        (500, b"\xff\xfe", "server_error"),
        (503, b"", "transient"),
        (503, openai(None, "server_error"), "transient"),
    ],
)
def test_codes(status: int | None, body: Any, code: str) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert classify(status, raw).code == code
    assert classify(status, body).code == code  # already parsed, as an SDK hands it over


@pytest.mark.parametrize(
    ("status", "words", "code", "feature"),
    [
        (
            404,
            "No endpoints found that support tool use. To learn more, visit: x",
            "unsupported",
            "tools",
        ),
        (404, "No endpoints found that support image input", "unsupported", "vision"),
        (
            404,
            "No endpoints found that support the provided 'tool_choice' value.",
            "unsupported",
            "tool_choice",
        ),
        (404, "No endpoints found for x/y.", "not_found", None),
        (400, "registry.ollama.ai/library/gemma:2b does not support tools", "unsupported", "tools"),
        (400, '"gemma3" does not support thinking', "unsupported", "reasoning"),
        (400, "He said: x does not support tools", "bad_request", None),
        (
            400,
            "Invalid content type. image_url is only supported by certain models.",
            "unsupported",
            "vision",
        ),
        (400, "This response_format type is unavailable now", "unsupported", "json_schema"),
        (400, "response_format` does not support streaming", "unsupported", "structured_streaming"),
        (400, "`tool calling` is not supported with this model", "unsupported", "tools"),
        (
            400,
            "This model's maximum context length is 65536 tokens. However, you",
            "context_length",
            None,
        ),
        (
            400,
            "This endpoint's maximum context length is 4096 tokens. However",
            "context_length",
            None,
        ),
        (
            400,
            "This model's maximum prompt length is 131072 but the request",
            "context_length",
            None,
        ),
        (400, "Quote: This model's maximum context length is 5 tokens", "bad_request", None),
    ],
)
def test_words_count_only_anchored(status: int, words: str, code: str, feature: str | None) -> None:
    error = classify(status, openai(None, message=words))
    assert (error.code, error.feature, error.message) == (code, feature, words)


@pytest.mark.parametrize(
    ("code", "param", "feature"),
    [
        ("unsupported_parameter", "tools", "tools"),
        ("unsupported_parameter", "parallel_tool_calls", "parallel_tools"),
        ("unsupported_parameter", "logprobs", "logprobs"),
        ("unsupported_value", "stream", "streaming"),
        ("unsupported_value", "reasoning_effort", None),  # one effort, not reasoning
        ("unsupported_value", "temperature", None),
        ("unsupported_parameter", "max_tokens", None),
        ("invalid_value", "tools", None),
    ],
)
def test_a_parameter_names_a_capability(code: str, param: str, feature: str | None) -> None:
    error = classify(400, openai(code, param=param))
    assert error.feature == feature
    assert (error.code == "unsupported") == code.startswith("unsupported")
    assert error.provider_code == code


def test_what_openrouter_passes_on() -> None:
    raw = {"error": {"message": "Too long.", "code": "context_length_exceeded"}}
    body = {
        "error": {
            "code": 400,
            "message": "Provider returned error",
            "metadata": {"raw": json.dumps(raw)},
        }
    }
    error = classify(400, body)
    assert (error.code, error.message) == ("context_length", "Too long.")
    assert error.provider_code == "context_length_exceeded"
    nested = {**body, "code": 400}
    assert classify(400, nested).code == "context_length"


def test_what_else_an_error_keeps() -> None:
    error = classify(
        429, openai("rate_limit_exceeded"), x_request_id="req_1", retry_after="2", date="x"
    )
    assert (error.status, error.request_id, error.retry_after) == (429, "req_1", 2.0)
    assert (error.provider_code, error.message) == ("rate_limit_exceeded", "words")
    assert error.retryable


def test_mistrals_field_errors_are_one_message() -> None:
    details = [
        {"type": "missing", "loc": ["body", "messages", 0, "role"], "msg": "Field required"},
        {"msg": "Extra inputs"},
    ]
    for body in ({"detail": details}, {"object": "error", "message": {"detail": details}}):
        assert classify(422, body).message == "body.messages.0.role: Field required; Extra inputs"
    assert classify(401, {"detail": "Unauthorized"}).message == "Unauthorized"


def test_pages_and_texts_become_short_messages() -> None:
    assert classify(502, b"<html><title> Bad\n gateway </title><p>x").message == "Bad gateway"
    assert classify(502, b"<p>Bad <b>gateway</b></p>").message == "Bad gateway"
    assert len(classify(502, b"x" * 10_000).message) == 300
    assert classify(502, b"").message == "HTTP 502"
    assert classify(400, {"error": "plain words", "code": "some"}).message == "plain words"


def test_failures_that_are_no_answers() -> None:
    assert codec.classify(WireFailure("connect", "refused")).code == "transient"
    assert codec.classify(WireFailure("timeout", phase="first_token")).code == "timeout"


@pytest.mark.parametrize("code", list(ErrorCode))
def test_a_rendered_error_is_read_as_the_same(code: ErrorCode) -> None:
    status, body = codec.render_error(ProviderError(code, "words"))
    assert 400 <= status < 600
    error = classify(status, body)
    assert (error.code, error.message) == (code, "words")
    assert classify(None, body).code == (code if code != "bad_request" else "server_error")
