"""Anthropic Messages, errors: what each body, status and in-band event means, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure
from crux_providers.codecs.anthropic_messages import classify, render_error
from crux_providers.codecs.anthropic_messages_errors import ERROR_TYPES, MESSAGES, WIRE_ERRORS


def failed(status: int | None, body: Any, **headers: str) -> ProviderError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {k.replace("_", "-"): v for k, v in headers.items()}
    kind = "in_band" if status is None else "status"
    return classify(WireFailure(kind, status=status, body=raw, headers=names))


def anthropic_body(kind: str, message: str = "words", **error: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message, **error}}


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, "invalid_request_error", "bad_request"),
        (401, "authentication_error", "auth"),
        (402, "billing_error", "quota"),
        (403, "permission_error", "permission"),
        (404, "not_found_error", "not_found"),
        (409, "conflict_error", "conflict"),
        (413, "request_too_large", "bad_request"),
        (429, "rate_limit_error", "rate_limit"),
        (500, "api_error", "server_error"),
        (502, "api_error", "transient"),
        (504, "timeout_error", "transient"),
        (529, "overloaded_error", "overloaded"),
        # The provider's own type beats the status, and a vague type yields to it.
        (503, "overloaded_error", "overloaded"),
        (403, "rate_limit_error", "rate_limit"),
        (402, "invalid_request_error", "quota"),
        (429, "invalid_request_error", "rate_limit"),
        (418, "of_next_year", "bad_request"),
        # In band there is no status.
        (None, "invalid_request_error", "bad_request"),
        (None, "api_error", "server_error"),
        (None, "timeout_error", "transient"),
        (None, "overloaded_error", "overloaded"),
        (None, "of_next_year", "server_error"),
    ],
)
def test_types(status: int | None, kind: str, code: str) -> None:
    error = failed(status, anthropic_body(kind))
    assert (error.code, error.provider_code, error.message) == (code, kind, "words")
    assert error.status == status


@pytest.mark.parametrize(
    ("status", "kind", "detail", "code"),
    [
        (429, "rate_limit_error", "enforced_spend_limit_reached", "quota"),
        (429, "rate_limit_error", "ramp_limit_exceeded", "rate_limit"),
        (400, "invalid_request_error", "organization_on_hold", "permission"),
        (403, "permission_error", "of_next_year", "permission"),
    ],
)
def test_detail_codes(status: int, kind: str, detail: str, code: str) -> None:
    error = failed(status, anthropic_body(kind, details={"error_code": detail}))
    assert (error.code, error.provider_code) == (code, detail)


@pytest.mark.parametrize(
    ("message", "code", "feature"),
    [
        ("prompt is too long: 208656 tokens > 200000 maximum", "context_length", None),
        (
            "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, dec",
            "context_length",
            None,
        ),
        ("Your credit balance is too low to access the Anthropic API. Please go", "quota", None),
        ("You have reached your specified API usage limits. You will regain", "quota", None),
        ("You have reached your specified workspace API usage limits.", "quota", None),
        ("Output blocked by content filtering policy", "content_filter", None),
        (
            "This model does not support effort level 'xhigh'. Supported levels: high, low.",
            "unsupported",
            "reasoning",
        ),
        ("This model does not support the effort parameter.", "unsupported", "reasoning"),
        ("adaptive thinking is not supported on this model", "unsupported", "reasoning"),
        ('"thinking.type.enabled" is not supported for this model.', "unsupported", "reasoning"),
        (
            "output_config.format: Extra inputs are not permitted",
            "unsupported",
            "json_schema",
        ),
        ("claude-3-5-haiku-20241022 does not support PDFs.", "unsupported", "pdf"),
        ("role 'system' is not supported on this model", "unsupported", None),
        ("`temperature` is deprecated for this model.", "unsupported", None),
        # The words have to begin the message: a user's text quoted inside one proves nothing.
        ("messages.0: 'prompt is too long: 1 tokens'", "bad_request", None),
        ("the prompt is too longwinded", "bad_request", None),
        ("prompt is too longwinded", "bad_request", None),
        ("messages: at least one message is required", "bad_request", None),
    ],
)
def test_messages_that_name_their_cause_in_words(
    message: str, code: str, feature: str | None
) -> None:
    for status in (400, None):
        error = failed(status, anthropic_body("invalid_request_error", message))
        assert (error.code, error.feature) == (code, feature)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 529])
def test_words_never_beat_a_code(status: int) -> None:
    kind = dict(WIRE_ERRORS[c] for c in ERROR_TYPES.values()).get(status, "api_error")
    error = failed(status, anthropic_body(kind, "prompt is too long: 2 tokens > 1 maximum"))
    assert error.code is not ErrorCode.CONTEXT_LENGTH


def test_every_pattern_says_where_it_was_seen() -> None:
    assert len(MESSAGES) > 10
    assert all(words.source for words in MESSAGES)


@pytest.mark.parametrize(
    ("status", "body", "headers", "code", "provider_code"),
    [
        (
            429,
            {"message": "Too many tokens, please wait before trying again."},
            {"x_amzn_errortype": "ThrottlingException:http://internal.amazon.com/"},
            "rate_limit",
            "ThrottlingException",
        ),
        (
            400,
            {"message": "Input is too long for requested model."},
            {"x_amzn_errortype": "ValidationException"},
            "context_length",
            "ValidationException",
        ),
        (
            403,
            {"__type": "com.amazon.coral.service#UnrecognizedClientException", "message": "no"},
            {},
            "auth",
            "UnrecognizedClientException",
        ),
        (400, {"__type": "ExpiredTokenException", "Message": "gone"}, {}, "auth",
         "ExpiredTokenException"),
        (
            429,
            [{"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED"}}],
            {},
            "rate_limit",
            "RESOURCE_EXHAUSTED",
        ),
        (
            400,
            {"error": {"code": 400, "message": "Bad", "status": "INVALID_ARGUMENT"}},
            {},
            "bad_request",
            "INVALID_ARGUMENT",
        ),
    ],
)  # fmt: skip
def test_the_clouds_own_errors(
    status: int, body: Any, headers: dict[str, str], code: str, provider_code: str
) -> None:
    error = failed(status, body, **headers)
    assert (error.code, error.provider_code) == (code, provider_code)
    assert error.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"upstream connect error", "upstream connect error"),
        (b"<html>504</html>", "HTTP 504"),
        (b"", "HTTP 504"),
        (b"{", "HTTP 504"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b'{"error": "gateway"}', "gateway"),
        (b'{"detail": "gateway"}', "gateway"),
        (b'{"error": {"message": 5, "type": []}}', "HTTP 504"),
    ],
)
def test_bodies_of_whatever_stands_in_between(body: bytes, message: str) -> None:
    error = failed(504, body)
    assert (error.code, error.message) == (ErrorCode.TRANSIENT, message)


def test_ids_and_retry_after_are_kept() -> None:
    error = failed(
        429, anthropic_body("rate_limit_error"), retry_after="7", request_id="req_header"
    )
    assert (error.retry_after, error.request_id, error.retryable) == (7.0, "req_header", True)
    body = {**anthropic_body("rate_limit_error"), "request_id": "req_body"}
    assert failed(429, body).request_id == "req_body"


@pytest.mark.parametrize(
    ("kind", "phase", "code"),
    [
        ("connect", None, "transient"),
        ("cut", None, "transient"),
        ("timeout", "first_token", "timeout"),
        ("timeout", "idle", "transient"),
    ],
)
def test_failures_without_an_answer(kind: Any, phase: str | None, code: str) -> None:
    assert classify(WireFailure(kind, "words", phase=phase)).code == code


# Codes that this dialect has a type of its own for.
SAID = [c for c in ErrorCode if c in {*ERROR_TYPES.values()}] + [
    ErrorCode.CONTEXT_LENGTH,
    ErrorCode.CONTENT_FILTER,
    ErrorCode.SERVER_ERROR,
    ErrorCode.TRANSIENT,
]


@pytest.mark.parametrize("code", SAID)
def test_a_rendered_error_is_classified_as_itself(code: ErrorCode) -> None:
    status, body = render_error(ProviderError(code, "of another provider", request_id="req_1"))
    again = failed(status, body)
    assert again.code is code
    assert again.request_id == "req_1"
    assert body["error"]["message"].endswith("of another provider")


def test_every_code_renders() -> None:
    for code in ErrorCode:
        status, body = render_error(ProviderError(code, "x"))
        assert 400 <= status < 600
        assert body["type"] == "error"
        assert set(body["error"]) == {"type", "message"}
