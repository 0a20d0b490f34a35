"""Failures of Gemini's dialect: Google's status words, error details and block reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from crux_providers.base.errors import (
    ErrorCode,
    ProviderError,
    WireFailure,
    classify_wire,
    code_for_status,
)
from crux_providers.base.models import JSON

from .reading import as_list, as_mapping, as_text, parse_json

STATUS_WORDS: Mapping[str, ErrorCode] = {
    # google.rpc.Code, and what ai.google.dev/gemini-api/docs/troubleshooting says of each for
    # this API (read 2026-11-22). INTERNAL, UNKNOWN and DATA_LOSS say no more than the status.
    "INVALID_ARGUMENT": ErrorCode.BAD_REQUEST,
    "FAILED_PRECONDITION": ErrorCode.BAD_REQUEST,
    "OUT_OF_RANGE": ErrorCode.BAD_REQUEST,
    "UNAUTHENTICATED": ErrorCode.AUTH,
    "PERMISSION_DENIED": ErrorCode.PERMISSION,
    "NOT_FOUND": ErrorCode.NOT_FOUND,
    "ALREADY_EXISTS": ErrorCode.CONFLICT,
    "ABORTED": ErrorCode.CONFLICT,
    "RESOURCE_EXHAUSTED": ErrorCode.RATE_LIMIT,
    "CANCELLED": ErrorCode.TRANSIENT,  # by the server: our own cancelling never gets here
    "DEADLINE_EXCEEDED": ErrorCode.TRANSIENT,
    "UNAVAILABLE": ErrorCode.OVERLOADED,
    "UNIMPLEMENTED": ErrorCode.UNSUPPORTED,
}

REASONS: Mapping[str, ErrorCode] = {
    # ErrorInfo.reason, google.api.ErrorReason (googleapis, google/api/error_reason.proto, read
    # 2026-11-22). An invalid key comes with status 400 and INVALID_ARGUMENT.
    "API_KEY_INVALID": ErrorCode.AUTH,
    "ACCESS_TOKEN_EXPIRED": ErrorCode.AUTH,
    "ACCESS_TOKEN_TYPE_UNSUPPORTED": ErrorCode.AUTH,
    "ACCOUNT_STATE_INVALID": ErrorCode.AUTH,
    "CREDENTIALS_MISSING": ErrorCode.AUTH,
    "API_KEY_SERVICE_BLOCKED": ErrorCode.PERMISSION,
    "API_KEY_HTTP_REFERRER_BLOCKED": ErrorCode.PERMISSION,
    "API_KEY_IP_ADDRESS_BLOCKED": ErrorCode.PERMISSION,
    "API_KEY_ANDROID_APP_BLOCKED": ErrorCode.PERMISSION,
    "API_KEY_IOS_APP_BLOCKED": ErrorCode.PERMISSION,
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": ErrorCode.PERMISSION,
    "CONSUMER_INVALID": ErrorCode.PERMISSION,
    "CONSUMER_SUSPENDED": ErrorCode.PERMISSION,
    "IAM_PERMISSION_DENIED": ErrorCode.PERMISSION,
    "SERVICE_DISABLED": ErrorCode.PERMISSION,
    "USER_PROJECT_DENIED": ErrorCode.PERMISSION,
    "BILLING_DISABLED": ErrorCode.QUOTA,
    "RESOURCE_QUOTA_EXCEEDED": ErrorCode.QUOTA,
    "RATE_LIMIT_EXCEEDED": ErrorCode.RATE_LIMIT,
}

DAILY = re.compile(r"PerDay")
"""A ``QuotaFailure`` violation's ``quotaId`` of a quota that no short wait brings back
(``GenerateRequestsPerDayPerProjectPerModel-FreeTier``; ai.google.dev/gemini-api/docs/rate-limits,
read 2026-11-22)."""

PATTERNS: tuple[tuple[re.Pattern[str], ErrorCode, str | None], ...] = (
    # INVALID_ARGUMENT has no finer code. github.com/google-gemini/gemini-cli/issues/6678
    # (2025-08-20), and without the count github.com/arkavo-org/arkavo-edge/issues/371 (2025-11-21)
    (
        re.compile(r"^The input token count (\(\d+\) )?exceeds the maximum number of tokens "),
        ErrorCode.CONTEXT_LENGTH,
        None,
    ),
    # github.com/langchain-ai/langchain-google/pull/684 (2025-01-09)
    (re.compile(r"^Image input modality is not enabled for "), ErrorCode.UNSUPPORTED, "vision"),
    # github.com/google-gemini/deprecated-generative-ai-js/issues/241 (2024-08-29)
    (
        re.compile(r"^Function calling mode `\w+` is not enabled for "),
        ErrorCode.UNSUPPORTED,
        "tool_choice",
    ),
    # github.com/agno-agi/agno/issues/3505 (2025-06-08)
    (re.compile(r"^Function calling is not enabled for "), ErrorCode.UNSUPPORTED, "tools"),
    # Some models take tools and a JSON answer each, but not both together:
    # github.com/Simpleyyt/ai-manus/issues/101 (2025-09-09)
    (
        re.compile(r"^Function calling with a response mime type: '[^']+' is unsupported"),
        ErrorCode.UNSUPPORTED,
        None,
    ),
    # github.com/lobehub/lobehub/issues/7985 (2025-05-27)
    (re.compile(r"^Thinking is not enabled for "), ErrorCode.UNSUPPORTED, "reasoning"),
    # Vertex: github.com/googleapis/js-genai/issues/681 (2025-06-12)
    (
        re.compile(r"^Unable to submit request because thinking is not supported by this model"),
        ErrorCode.UNSUPPORTED,
        "reasoning",
    ),
    # A level where only a budget will do, so no word on reasoning itself:
    # github.com/RooCodeInc/Roo-Code/issues/10700 (2026-01-13)
    (re.compile(r"^Thinking level is not supported for "), ErrorCode.UNSUPPORTED, None),
)
"""Refusals that only their words tell apart."""

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


def classify(failure: WireFailure) -> ProviderError:
    """A failed call in the taxonomy; raises nothing, whatever the body is."""
    if failure.kind not in ("status", "in_band"):
        return classify_wire(failure)
    error = _error_of(failure.body)
    words = as_text(error.get("message")) or _plain(failure.body)
    status = as_text(error.get("status"))
    code = STATUS_WORDS.get(status or "")
    number = error.get("code")  # the status that an error inside an answer would have had
    if code is None and failure.status is None and type(number) is int and 400 <= number < 600:
        code = code_for_status(number)
    reason = wait = feature = None
    for detail in _details(error):
        kind = (as_text(detail.get("@type")) or "").rpartition(".")[2]
        match kind:
            case "ErrorInfo":
                reason = as_text(detail.get("reason")) or reason
            case "RetryInfo":
                wait = _seconds(detail.get("retryDelay"))
            case "QuotaFailure" if code is ErrorCode.RATE_LIMIT and _daily(detail):
                code = ErrorCode.QUOTA
    if reason is not None:
        code = REASONS.get(reason, code)
    if code in (None, ErrorCode.BAD_REQUEST) and words is not None:
        for pattern, refused, named in PATTERNS:
            if pattern.search(words):
                code, feature = refused, named
                break
    return classify_wire(
        failure,
        message=words,
        code=code,
        provider_code=reason if reason in REASONS else status,
        feature=feature,
        retry_after=wait,
    )


def in_band(payload: JSON) -> ProviderError:
    """The error inside a 200 answer."""
    return classify(WireFailure("in_band", "the provider reported an error", body=payload))


def blocked(feedback: Mapping[str, JSON]) -> ProviderError:
    """The error of a prompt that was not answered (``promptFeedback.blockReason``)."""
    reason = str(feedback.get("blockReason"))  # a number to some protobuf clients
    words = as_text(feedback.get("blockReasonMessage")) or f"the prompt was blocked: {reason}"
    return ProviderError(ErrorCode.CONTENT_FILTER, words, provider_code=reason)


def _error_of(body: JSON) -> dict[str, JSON]:
    try:
        value = parse_json(body)
    except ProviderError:
        return {}
    if isinstance(value, list):  # the answers to streams without alt=sse
        value = value[0] if value else None
    error = as_mapping(value).get("error")
    return {"message": error} if isinstance(error, str) else as_mapping(error)


def _plain(body: JSON) -> str | None:
    text = body.decode("utf-8", "replace") if isinstance(body, (bytes, bytearray)) else body
    return text[:300] if isinstance(text, str) and text.strip() else None


def _details(error: Mapping[str, JSON]) -> Iterator[dict[str, JSON]]:
    return (d for d in as_list(error.get("details")) if isinstance(d, dict))


def _daily(detail: Mapping[str, JSON]) -> bool:
    found = (as_text(as_mapping(v).get("quotaId")) for v in as_list(detail.get("violations")))
    return any(DAILY.search(quota) for quota in found if quota)


def _seconds(duration: JSON) -> float | None:
    found = _DURATION.fullmatch(duration) if isinstance(duration, str) else None
    return float(found[1]) if found else None
