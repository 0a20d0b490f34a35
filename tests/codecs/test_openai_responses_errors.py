"""OpenAI Responses: failed calls in the taxonomy, by the provider's own codes."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure
from crux_providers.codecs.openai_responses import classify


def failed(status: int, error: Any) -> ProviderError:
    """The classified failure of a status with this ``error``."""
    body = json.dumps({"error": error}).encode()
    return classify(WireFailure("status", status=status, headers={"x-request-id": "r"}, body=body))


def error(message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """An error body of OpenAI's."""
    return {"message": message, "type": "invalid_request_error", "param": param, "code": code}


@pytest.mark.parametrize(
    ("status", "body", "code", "feature"),
    [
        (401, error("Incorrect API key", "invalid_api_key"), "auth", None),
        (400, error("no such model", "model_not_found", "model"), "not_found", None),
        (400, error("too long", "context_length_exceeded"), "context_length", None),
        (400, error("too long", "string_above_max_length", "input"), "bad_request", None),
        (400, error("flagged", "invalid_prompt"), "content_filter", None),
        (400, error("gone", "previous_response_not_found"), "not_found", None),
        (400, error("not this file", "unsupported_file", "input"), "unsupported", None),
        (429, error("slow", "rate_limit_exceeded"), "rate_limit", None),
        (429, error("pay", "insufficient_quota"), "quota", None),
        (500, error("oops"), "server_error", None),
        (
            400,
            error("Unsupported parameter: 'temperature' is not supported with this model.", None,
                  "temperature"),
            "unsupported", None,
        ),
        (
            400,
            error("Unsupported parameter: 'reasoning.effort' is not supported with this model.",
                  "unsupported_parameter", "reasoning.effort"),
            "unsupported", "reasoning",
        ),
        (
            400,
            error("Unsupported parameter: 'reasoning.summary' is not supported with this model.",
                  "unsupported_parameter", "reasoning.summary"),
            "unsupported", None,
        ),
        (
            400,
            error("Unsupported parameter: 'tools' is not supported with this model.", None,
                  "tools"),
            "unsupported", "tools",
        ),
        (
            400,
            error("logprobs are not supported with reasoning models.", "unsupported_parameter",
                  "include"),
            "unsupported", "logprobs",
        ),
        (
            400,
            error("Unsupported parameter: 'stop' is not one of ours, said the tool", None, "input"),
            "bad_request", None,
        ),
        (400, error("Item 'rs_1' was provided without its required following item.", None, "input"),
         "bad_request", None),
    ],
)  # fmt: skip
def test_codes(status: int, body: Any, code: str, feature: str | None) -> None:
    found = failed(status, body)
    assert (found.code, found.feature) == (code, feature)
    assert (found.status, found.request_id, found.message) == (status, "r", body["message"])


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("connect", ErrorCode.TRANSIENT),
        ("cut", ErrorCode.TRANSIENT),
        ("timeout", ErrorCode.TIMEOUT),
    ],
)
def test_failures_without_an_answer(
    kind: Literal["connect", "cut", "timeout"], code: ErrorCode
) -> None:
    body = json.dumps({"error": error("x", "invalid_prompt")})
    assert classify(WireFailure(kind, "m", body=body)).code is code


@pytest.mark.parametrize("body", [b"", b"\xff", "<html><title>Bad</title>", "[]", "null", 5, None])
def test_bodies_that_are_no_errors(body: Any) -> None:
    assert classify(WireFailure("status", status=503, body=body)).code is ErrorCode.TRANSIENT
