"""Anthropic Messages: errors of the wire in the taxonomy, and back.

Types: platform.claude.com/docs/en/api/errors (read 2026-11). Amazon Bedrock and Google Vertex AI
answer in their own shapes before a request reaches the model; those are read too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure, classify_wire
from crux_providers.base.models import JSON

from .reading import as_mapping, as_text, dig, parse_json

ERROR_TYPES: Mapping[str, ErrorCode] = {
    "authentication_error": ErrorCode.AUTH,
    "billing_error": ErrorCode.QUOTA,
    "permission_error": ErrorCode.PERMISSION,
    "not_found_error": ErrorCode.NOT_FOUND,
    "conflict_error": ErrorCode.CONFLICT,
    "request_too_large": ErrorCode.BAD_REQUEST,
    "rate_limit_error": ErrorCode.RATE_LIMIT,
    "overloaded_error": ErrorCode.OVERLOADED,
}
"""``error.type`` as a code at any status."""

VAGUE_TYPES: Mapping[str, ErrorCode] = {
    "invalid_request_error": ErrorCode.BAD_REQUEST,
    "api_error": ErrorCode.SERVER_ERROR,
    "timeout_error": ErrorCode.TRANSIENT,
}
"""``error.type`` as a code where no status says more (``invalid_request_error`` is documented for
"other 4XX status codes" too, ``api_error`` comes with 500 and with a gateway's 502)."""

DETAIL_CODES: Mapping[str, ErrorCode] = {
    "contract_spend_limit_reached": ErrorCode.QUOTA,
    "enforced_spend_limit_reached": ErrorCode.QUOTA,
    "linked_organization_billing_unavailable": ErrorCode.QUOTA,
    "linked_organization_spend_limit_reached": ErrorCode.QUOTA,
    "user_profile_billing_not_authorized": ErrorCode.QUOTA,
    "user_profile_not_billable": ErrorCode.QUOTA,
    "organization_on_hold": ErrorCode.PERMISSION,
    "ramp_limit_exceeded": ErrorCode.RATE_LIMIT,
    "file_expired": ErrorCode.NOT_FOUND,
}
"""``error.details.error_code`` where it says more than the type."""

CLOUD_CODES: Mapping[str, ErrorCode] = {
    # Amazon Bedrock, docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html
    "AccessDeniedException": ErrorCode.PERMISSION,
    "ExpiredTokenException": ErrorCode.AUTH,
    "InternalServerException": ErrorCode.SERVER_ERROR,
    "InvalidSignatureException": ErrorCode.AUTH,
    "ModelErrorException": ErrorCode.SERVER_ERROR,
    "ModelNotReadyException": ErrorCode.OVERLOADED,
    "ModelStreamErrorException": ErrorCode.SERVER_ERROR,
    "ModelTimeoutException": ErrorCode.TRANSIENT,
    "ResourceNotFoundException": ErrorCode.NOT_FOUND,
    "ServiceQuotaExceededException": ErrorCode.QUOTA,
    "ServiceUnavailableException": ErrorCode.TRANSIENT,
    "ThrottlingException": ErrorCode.RATE_LIMIT,
    "UnrecognizedClientException": ErrorCode.AUTH,
    "ValidationException": ErrorCode.BAD_REQUEST,
    # Google Cloud, cloud.google.com/apis/design/errors
    "DEADLINE_EXCEEDED": ErrorCode.TRANSIENT,
    "FAILED_PRECONDITION": ErrorCode.BAD_REQUEST,
    "INTERNAL": ErrorCode.SERVER_ERROR,
    "INVALID_ARGUMENT": ErrorCode.BAD_REQUEST,
    "NOT_FOUND": ErrorCode.NOT_FOUND,
    "PERMISSION_DENIED": ErrorCode.PERMISSION,
    "RESOURCE_EXHAUSTED": ErrorCode.RATE_LIMIT,
    "UNAUTHENTICATED": ErrorCode.AUTH,
    "UNAVAILABLE": ErrorCode.TRANSIENT,
}
"""Codes of the clouds that serve this dialect."""


class Words(NamedTuple):
    """A message that says what no code does: how it begins, what it means, where it was seen."""

    begins: re.Pattern[str]
    code: ErrorCode
    feature: str | None
    source: str


def _words(begins: str, code: ErrorCode, feature: str | None, source: str) -> Words:
    return Words(re.compile(begins), code, feature, source)


MESSAGES: tuple[Words, ...] = (
    _words(
        r"prompt is too long(?::|$)",
        ErrorCode.CONTEXT_LENGTH, None,
        "github.com/anthropics/claude-code/issues/59696, 2026-05-16",
    ),
    _words(
        r"input length and `max_tokens` exceed context limit",
        ErrorCode.CONTEXT_LENGTH, None,
        "github.com/docker/docker-agent/issues/569, 2025-10-21",
    ),
    _words(
        r"(?:The model returned the following errors: )?Input is too long for requested model",
        ErrorCode.CONTEXT_LENGTH, None,
        "Bedrock: github.com/continuedev/continue/issues/9592, 2026-01-16",
    ),
    _words(
        r"Your credit balance is too low to access the Anthropic API",
        ErrorCode.QUOTA, None,
        "github.com/anthropics/claude-code/issues/88711, 2026-08-22",
    ),
    _words(
        r"You have reached your specified (?:workspace )?API usage limits",
        ErrorCode.QUOTA, None,
        "public reports of HTTP 400 up to 2026-10-08",
    ),
    _words(
        r"Output blocked by content filtering policy",
        ErrorCode.CONTENT_FILTER, None,
        "github.com/anthropics/claude-code/issues/58367, 2026-05-12",
    ),
    _words(
        r"This model does not support (?:effort level '|the effort parameter)",
        ErrorCode.UNSUPPORTED, "reasoning",
        "recording anthropic/messages_error_400__pydantic-ai; public reports, 2026-08-28",
    ),
    _words(
        r"adaptive thinking is not supported on this model",
        ErrorCode.UNSUPPORTED, "reasoning",
        "public reports of claude-haiku-4-5, 2026-08-28",
    ),
    _words(
        r'"thinking\.type\.enabled" is not supported for this model',
        ErrorCode.UNSUPPORTED, "reasoning",
        "code.claude.com/docs, troubleshooting of API errors, read 2026-11",
    ),
    _words(
        r"output_config\.format: Extra inputs are not permitted",
        ErrorCode.UNSUPPORTED, "json_schema",
        "Vertex AI: github.com/anthropics/anthropic-sdk-csharp/issues/132, 2026-02-23",
    ),
    _words(
        r"This model doesn't support the image content block that you provided",
        ErrorCode.UNSUPPORTED, "vision",
        "Bedrock: github.com/boto/boto3/issues/4581, 2025-07-28",
    ),
    _words(
        r"\S+ does not support PDFs",
        ErrorCode.UNSUPPORTED, "pdf",
        "Bedrock: github.com/boto/boto3/issues/4581, 2025-07-28",
    ),
    # Refusals of a combination or of a parameter: another candidate may take it, but they prove
    # nothing about a capability.
    _words(
        r"role 'system' is not supported on this model|messages: Unexpected role \"system\"",
        ErrorCode.UNSUPPORTED, None,
        "github.com/anthropics/claude-code/issues/61412, 2026-05-22",
    ),
    _words(
        r"This model does not support assistant message prefill",
        ErrorCode.UNSUPPORTED, None,
        "platform.claude.com/docs/en/api/errors#prefill-not-supported, read 2026-11",
    ),
    _words(
        r"`(?:temperature|top_p|top_k)` is deprecated for this model",
        ErrorCode.UNSUPPORTED, None,
        "public reports of claude-opus-4-7 and later, 2026-08-25",
    ),
    _words(
        r"Thinking may not be enabled when tool_choice forces tool use",
        ErrorCode.UNSUPPORTED, None,
        "platform.claude.com/docs/en/build-with-claude/extended-thinking, read 2026-11",
    ),
)  # fmt: skip
"""Messages of bad requests that name their cause only in words, by how they begin."""


def classify(failure: WireFailure) -> ProviderError:
    """A failed call by the type and codes of its body, else by its status or kind."""
    body = _error_body(failure.body)
    error = body.get("error")
    inner = as_mapping(error)
    message = (
        as_text(inner.get("message"))
        or as_text(error)
        or as_text(body.get("message"))
        or as_text(body.get("Message"))
        or as_text(body.get("detail"))
        or _plain_text(failure.body)
    )
    kind = as_text(inner.get("type"))
    detail = as_text(dig(inner, "details", "error_code"))
    cloud = as_text(inner.get("status")) or _aws_type(body, failure.headers)
    code = _code(kind, detail, cloud, failure)
    feature = None
    if message is not None and (code is ErrorCode.BAD_REQUEST or _is_plain_400(code, failure)):
        for words in MESSAGES:
            if words.begins.match(message):
                code, feature = words.code, words.feature
                break
    classified = classify_wire(
        failure,
        message=message,
        code=code,
        provider_code=detail or kind or cloud,
        feature=feature,
    )
    if classified.request_id is None:
        classified.request_id = as_text(body.get("request_id"))
    return classified


def _code(
    kind: str | None, detail: str | None, cloud: str | None, failure: WireFailure
) -> ErrorCode | None:
    if failure.kind not in ("status", "in_band"):
        return None
    for word, table in ((detail, DETAIL_CODES), (kind, ERROR_TYPES), (cloud, CLOUD_CODES)):
        if word is not None and word in table:
            return table[word]
    has_status = failure.status is not None and failure.status >= 300
    return VAGUE_TYPES.get(kind or "") if not has_status else None


def _is_plain_400(code: ErrorCode | None, failure: WireFailure) -> bool:
    return code is None and failure.kind == "status" and failure.status in (400, 413, 422, 424)


def _error_body(body: Any) -> dict[str, JSON]:
    try:
        value = parse_json(body)
    except ProviderError:
        return {}
    if isinstance(value, list) and value:  # Vertex AI's stream wraps its error in an array
        value = value[0]
    return as_mapping(value)


def _plain_text(body: Any) -> str | None:
    # A proxy's own words. A page of HTML says less than the status.
    if isinstance(body, (bytes, bytearray)):
        body = bytes(body[:2000]).decode("utf-8", "replace")
    if not isinstance(body, str) or body.lstrip()[:1] in ("", "<", "{", "["):
        return None
    return body.strip()


def _aws_type(body: Mapping[str, JSON], headers: Mapping[str, str]) -> str | None:
    name = as_text(headers.get("x-amzn-errortype")) or as_text(body.get("__type"))
    return None if name is None else name.partition(":")[0].rpartition("#")[2]


WIRE_ERRORS: Mapping[ErrorCode, tuple[int, str]] = {
    ErrorCode.AUTH: (401, "authentication_error"),
    ErrorCode.PERMISSION: (403, "permission_error"),
    ErrorCode.BAD_REQUEST: (400, "invalid_request_error"),
    ErrorCode.CONTEXT_LENGTH: (400, "invalid_request_error"),
    ErrorCode.UNSUPPORTED: (400, "invalid_request_error"),
    ErrorCode.CONTENT_FILTER: (400, "invalid_request_error"),
    ErrorCode.NOT_FOUND: (404, "not_found_error"),
    ErrorCode.CONFLICT: (409, "conflict_error"),
    ErrorCode.QUOTA: (402, "billing_error"),
    ErrorCode.RATE_LIMIT: (429, "rate_limit_error"),
    ErrorCode.OVERLOADED: (529, "overloaded_error"),
    ErrorCode.SERVER_ERROR: (500, "api_error"),
    ErrorCode.TRANSIENT: (503, "api_error"),
    ErrorCode.TIMEOUT: (504, "timeout_error"),
    ErrorCode.CANCELLED: (499, "api_error"),
    ErrorCode.MALFORMED: (502, "api_error"),
    ErrorCode.INTERNAL: (500, "api_error"),
}
"""The status and type that say each code to a client of this dialect."""

# Clients know these two by their words alone.
_PREFIXES: Mapping[ErrorCode, tuple[str, str]] = {
    ErrorCode.CONTEXT_LENGTH: ("prompt is too long", "prompt is too long: "),
    ErrorCode.CONTENT_FILTER: (
        "Output blocked by content filtering policy",
        "Output blocked by content filtering policy: ",
    ),
}


def error_body(code: ErrorCode, message: str, request_id: str | None = None) -> dict[str, JSON]:
    """The body (or the data of an ``error`` event) that says ``code`` in this dialect."""
    begins, prefix = _PREFIXES.get(code, ("", ""))
    if begins and not any(w.code is code and w.begins.match(message) for w in MESSAGES):
        message = prefix + message
    error = {"type": WIRE_ERRORS[code][1], "message": message}
    body: dict[str, JSON] = {"type": "error", "error": error}
    if request_id is not None:
        body["request_id"] = request_id
    return body


def render_error(error: ProviderError) -> tuple[int, dict[str, JSON]]:
    """``(status, body)`` of an error as a client of this dialect expects it."""
    return WIRE_ERRORS[error.code][0], error_body(error.code, error.message, error.request_id)
