"""Failures of the OpenAI Responses dialect: the codes of the chat dialect, and those of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure
from crux_providers.base.models import JSON

from .openai_chat_errors import classify as classify_chat
from .reading import as_text, dig, parse_json

CODES: Mapping[str, ErrorCode] = {
    # ResponseError.code of the API reference (read 2026-11-22).
    "bio_policy": ErrorCode.CONTENT_FILTER,
    "misalignment_policy_violation": ErrorCode.CONTENT_FILTER,
    "image_content_policy_violation": ErrorCode.CONTENT_FILTER,
    # "your prompt was flagged as potentially violating our usage policy":
    # github.com/openai/codex/issues/7250 (2026-09-05)
    "invalid_prompt": ErrorCode.CONTENT_FILTER,
    "data_residency_mismatch": ErrorCode.BAD_REQUEST,
    "vector_store_timeout": ErrorCode.TRANSIENT,
    "invalid_image": ErrorCode.BAD_REQUEST,
    "invalid_image_format": ErrorCode.BAD_REQUEST,
    "invalid_base64_image": ErrorCode.BAD_REQUEST,
    "invalid_image_url": ErrorCode.BAD_REQUEST,
    "invalid_image_mode": ErrorCode.BAD_REQUEST,
    "image_too_large": ErrorCode.BAD_REQUEST,
    "image_too_small": ErrorCode.BAD_REQUEST,
    "image_parse_error": ErrorCode.BAD_REQUEST,
    "image_file_too_large": ErrorCode.BAD_REQUEST,
    "image_file_not_found": ErrorCode.BAD_REQUEST,
    "empty_image_file": ErrorCode.BAD_REQUEST,
    "failed_to_download_image": ErrorCode.BAD_REQUEST,
    "unsupported_image_media_type": ErrorCode.UNSUPPORTED,
    # Recorded: openai/responses_error_400__pydantic-ai (an audio file where only a PDF will do).
    "unsupported_file": ErrorCode.UNSUPPORTED,
    "previous_response_not_found": ErrorCode.NOT_FOUND,
}
"""Codes that the chat dialect does not know."""

PARAMETER_FEATURES: Mapping[str, str] = {
    "tools": "tools",
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "parallel_tools",
    "reasoning": "reasoning",
    "reasoning.effort": "reasoning",
    "text.format": "json_output",
    "top_logprobs": "logprobs",
    "stream": "streaming",
}
"""What a refused ``param`` means. Others (``temperature``, ``reasoning.summary``) are no
capability of this project."""

UNSUPPORTED_PARAMETER = re.compile(r"Unsupported parameter: '[\w.]+' is not supported with this")
"""The words of a refusal that names ``param`` but no code (recorded:
_bodies/openai/responses__reasoning-model-temperature-error.json)."""

NO_LOGPROBS = re.compile(r"logprobs are not supported with")
"""A refusal of ``include`` (github.com/vllm-project/vllm/pull/23319, 2025-08-21)."""


def classify(failure: WireFailure) -> ProviderError:
    """A failed call in the taxonomy; raises nothing, whatever the body is."""
    error = classify_chat(failure)
    if failure.kind not in ("status", "in_band"):
        return error
    word = (error.provider_code or "").lower()
    if word in CODES:
        return _changed(error, CODES[word], error.feature)
    if failure.kind == "in_band" and word in _BAD_REQUESTS:  # there is no status to say so
        return _changed(error, ErrorCode.BAD_REQUEST, None)
    param = as_text(dig(_body(failure.body), "error", "param"))
    refused = word == "unsupported_parameter"
    if param is not None and (refused or UNSUPPORTED_PARAMETER.match(error.message)):
        feature = "logprobs" if NO_LOGPROBS.match(error.message) else PARAMETER_FEATURES.get(param)
        return _changed(error, ErrorCode.UNSUPPORTED, feature)
    return error


_BAD_REQUESTS = ("invalid_request", "invalid_request_error")


def _changed(error: ProviderError, code: ErrorCode, feature: str | None) -> ProviderError:
    return ProviderError(
        code,
        error.message,
        status=error.status,
        request_id=error.request_id,
        retry_after=error.retry_after,
        cause=error.cause,
        feature=feature,
        provider_code=error.provider_code,
    )


def in_band(payload: Mapping[str, JSON]) -> ProviderError:
    """The error in an ``error`` event or in a 200 answer."""
    return classify(WireFailure("in_band", "the provider reported an error", body=payload))


def failed(response: Mapping[str, JSON]) -> ProviderError:
    """The error of a response that failed or was cancelled."""
    if response.get("status") == "cancelled":
        return ProviderError(ErrorCode.CANCELLED, "the response was cancelled at the provider")
    if response.get("error"):
        return in_band({name: response.get(name) for name in ("error", "code")})
    return in_band({"error": {"code": "server_error", "message": "the response failed"}})


def _body(body: Any) -> JSON:
    try:
        return parse_json(body)
    except ProviderError:
        return None
