"""Failures of the OpenAI chat dialect: the many error bodies of its providers, in one taxonomy.

What is read, in this order: the provider's own code, its type, the code of the upstream error that
OpenRouter passes on, then the HTTP status. Words count only where a provider names a capability or
a limit in nothing else: :data:`PATTERNS`, each anchored at the message's start, with its source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from crux_providers.base.errors import (
    ErrorCode,
    ProviderError,
    WireFailure,
    classify_wire,
    code_for_status,
)
from crux_providers.base.models import JSON

from .reading import as_list, as_mapping, as_text, dig, parse_json

TEXT_LIMIT = 300
"""Characters kept of a body that is no JSON (a proxy's HTML page)."""

_BY_CODE: Mapping[ErrorCode, str] = {
    ErrorCode.AUTH: """
        invalid_api_key incorrect_api_key_error invalid_authentication invalid_authentication_error
        authentication_error unauthenticated unauthorized account_deactivated missing_api_key
        no_api_key wrong_api_key""",
    ErrorCode.PERMISSION: """
        permission_denied permission_error insufficient_permissions forbidden access_terminated
        access_terminated_error unsupported_country_region_territory model_terms_required
        permission_denied_error""",
    ErrorCode.NOT_FOUND: """
        model_not_found not_found not_found_error resource_not_found_error deploymentnotfound
        model_decommissioned model_not_available invalid_model""",
    ErrorCode.CONTEXT_LENGTH: """
        context_length_exceeded context_window_exceeded exceed_context_size_error
        prompt_too_long""",
    ErrorCode.QUOTA: """
        insufficient_quota billing_hard_limit_reached billing_not_active quota_exceeded
        exceeded_current_quota_error insufficient_balance insufficient_credits payment_required
        arrearage""",
    ErrorCode.RATE_LIMIT: """
        rate_limit_exceeded rate_limit_error rate_limited rate_limit_reached_error tokens requests
        too_many_requests too_many_requests_error too_many_tokens_error token_quota_exceeded
        request_quota_exceeded resource_exhausted""",
    ErrorCode.OVERLOADED: """
        overloaded overloaded_error engine_overloaded engine_overloaded_error server_is_overloaded
        provider_overloaded model_overloaded service_tier_capacity_exceeded capacity_exceeded
        queue_exceeded slow_down unavailable""",
    ErrorCode.SERVER_ERROR: "server_error internal_error internal_server_error",
    ErrorCode.CONTENT_FILTER: """
        content_filter content_policy_violation responsibleaipolicyviolation moderation_blocked
        data_inspection_failed""",
    ErrorCode.TIMEOUT: "timeout request_timeout timeout_error",
    ErrorCode.CONFLICT: "conflict",
    ErrorCode.UNSUPPORTED: "unsupported unsupported_parameter unsupported_value unsupported_model",
    # Groq refuses an answer that its own model wrote badly: another try may be well formed
    # (recorded: groq tool_use_failed; github.com/BerriAI/litellm/issues/40566, 2026-09-10).
    ErrorCode.MALFORMED: "malformed tool_use_failed json_validate_failed output_parse_failed",
    # A gateway of ours says these of an upstream.
    ErrorCode.TRANSIENT: "transient",
    ErrorCode.CANCELLED: "cancelled",
    ErrorCode.INTERNAL: "internal",
}

CODES: Mapping[str, ErrorCode] = {
    word: code for code, words in _BY_CODE.items() for word in words.split()
}
"""What a provider's ``code`` or ``type`` means, in lower case. A generic type
(``invalid_request_error``, ``api_error``) is left out on purpose: there the status speaks."""

ZAI_CODES: Mapping[str, ErrorCode] = {
    **dict.fromkeys(("1000", "1001", "1002", "1003", "1004"), ErrorCode.AUTH),
    **dict.fromkeys(("1110", "1111", "1112", "1121", "1220", "1300"), ErrorCode.PERMISSION),
    "1113": ErrorCode.QUOTA,
    **dict.fromkeys(("1211", "1221", "1222"), ErrorCode.NOT_FOUND),
    **dict.fromkeys(("1302", "1303"), ErrorCode.RATE_LIMIT),
    "1212": ErrorCode.UNSUPPORTED,
    "1234": ErrorCode.TRANSIENT,
    "1261": ErrorCode.CONTEXT_LENGTH,
    "1301": ErrorCode.CONTENT_FILTER,
    "1305": ErrorCode.OVERLOADED,
}
"""Z.AI's numbers (docs.z.ai/api-reference/api-code, read 2026-11-22; 1261: github.com/
mangowhoiscloud/geode/pull/668, 2026-04-05; 1305: github.com/NousResearch/hermes-agent/issues/47685,
2026-07-22). Its errors have no ``type``; Mistral's numbers, which mean something else, always come
with one."""

PARAMETER_FEATURES: Mapping[tuple[str, str], str] = {
    ("unsupported_parameter", "tools"): "tools",
    ("unsupported_parameter", "functions"): "tools",
    ("unsupported_parameter", "tool_choice"): "tool_choice",
    ("unsupported_parameter", "parallel_tool_calls"): "parallel_tools",
    ("unsupported_parameter", "response_format"): "json_output",
    ("unsupported_parameter", "reasoning_effort"): "reasoning",
    ("unsupported_parameter", "reasoning"): "reasoning",
    ("unsupported_parameter", "logprobs"): "logprobs",
    ("unsupported_parameter", "top_logprobs"): "logprobs",
    ("unsupported_parameter", "stream"): "streaming",
    ("unsupported_value", "stream"): "streaming",
}
"""``(code, param)`` that names a whole capability. ``unsupported_value`` mostly refuses one value
(an effort, a temperature), which says nothing about the capability."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Words that say what no code does; matched at the start of the message."""

    words: re.Pattern[str]
    code: ErrorCode
    feature: str | None = None


def _says(words: str, code: ErrorCode, feature: str | None = None) -> Pattern:
    return Pattern(re.compile(words), code, feature)


PATTERNS: tuple[Pattern, ...] = (
    # OpenRouter: github.com/dnakov/anon-kode/issues/2 (2025-03-04), still so 2026-07-28
    _says(r"No endpoints found that support tool use", ErrorCode.UNSUPPORTED, "tools"),
    # OpenRouter: github.com/zed-industries/zed/issues/36094 (2025-08-13)
    _says(
        r"No endpoints found that support the provided 'tool_choice' value",
        ErrorCode.UNSUPPORTED,
        "tool_choice",
    ),
    # OpenRouter, MiMo: github.com/JohnnyZ93/oai-compatible-copilot/issues/229 (2026-05-08)
    _says(r"No endpoints found that support image input", ErrorCode.UNSUPPORTED, "vision"),
    # Ollama's /v1: github.com/louisho5/picobot/issues/6 (2026-02-12) and
    # github.com/Gitlawb/openclaude/issues/1371 (2026-05-26)
    _says(r"\S+ does not support tools$", ErrorCode.UNSUPPORTED, "tools"),
    _says(r"\S+ does not support thinking$", ErrorCode.UNSUPPORTED, "reasoning"),
    # Groq: github.com/langflow-ai/langflow/issues/11120 (2025-12-21)
    _says(r"`?tool calling`? is not supported with this model", ErrorCode.UNSUPPORTED, "tools"),
    # Groq: github.com/dzhng/deep-research/issues/127 (2025-03-30)
    _says(
        r"'response_format\.type' : value is not one of the allowed values "
        r"\['text', ?'json_object'",
        ErrorCode.UNSUPPORTED,
        "json_schema",
    ),
    # Groq: github.com/langchain-ai/langchain/issues/23629 (2024-06)
    _says(
        r"`?response_format`? does not support streaming",
        ErrorCode.UNSUPPORTED,
        "structured_streaming",
    ),
    # OpenAI, Azure: github.com/browser-use/web-ui/issues/274 (2025-02-11)
    _says(
        r"Invalid content type\. image_url is only supported by certain models",
        ErrorCode.UNSUPPORTED,
        "vision",
    ),
    # DeepSeek has json_object but no json_schema: github.com/bytedance/deer-flow/issues/545
    # (2025-08-26); the 422 before it: github.com/browser-use/browser-use/pull/215 (2025-01-19)
    _says(r"This response_format type is unavailable now", ErrorCode.UNSUPPORTED, "json_schema"),
    _says(
        r"Failed to deserialize the JSON body into the target type: response_format: "
        r"response_format\.type `json_schema` is unavailable",
        ErrorCode.UNSUPPORTED,
        "json_schema",
    ),
    # DeepSeek, vLLM, OpenRouter ("endpoint"): github.com/FoundationAgents/OpenManus/issues/62
    # (2025-03-07); xAI ("prompt length"): github.com/cline/cline/issues/3120 (2025-04-25)
    _says(
        r"This (?:model|endpoint)'s maximum (?:context|prompt) length is \d+",
        ErrorCode.CONTEXT_LENGTH,
    ),
    # Gemini, whose OpenAI endpoint passes its words on:
    # github.com/google-gemini/gemini-cli/issues/6678 (2025-08-20)
    _says(
        r"The input token count .{0,40}exceeds the maximum number of tokens allowed",
        ErrorCode.CONTEXT_LENGTH,
    ),
    # Mistral: its 429 and 503 of a full service have a generic type,
    # github.com/continuedev/continue/issues/6185 (2025-06-18)
    _says(r"Service tier capacity exceeded", ErrorCode.OVERLOADED),
)
"""Anchored patterns with the recording or thread that shows each."""

_MODERATION = ("reasons", "flagged_input")
"""Fields of OpenRouter's moderation errors (openrouter.ai/docs/api/reference/errors-and-debugging,
read 2026-11-22): HTTP 403 that is no lack of permission."""


def classify(failure: WireFailure) -> ProviderError:
    """A failed call in the taxonomy; raises nothing, whatever the body is."""
    if failure.kind not in ("status", "in_band"):
        return classify_wire(failure)
    errors = list(_errors(_body(failure.body)))
    message = next((m for e in reversed(errors) if (m := _message(e))), None)
    code: ErrorCode | None = None
    word: str | None = None
    feature: str | None = None
    for error in errors:
        for candidate in _words(error):
            known = _known(candidate, error)
            if known is not None:
                code, word = known, candidate
                break
            word = word or candidate
        if code is not None:
            feature = _feature(error, word)
            break
    if code in (None, ErrorCode.UNSUPPORTED, ErrorCode.NOT_FOUND) and feature is None:
        for pattern in PATTERNS:
            if any(pattern.words.match(_message(e) or "") for e in errors):
                code, feature = pattern.code, pattern.feature
                break
    if code is None:
        code = _by_number(failure, errors)
    return classify_wire(
        failure,
        message=message or _plain(failure.body),
        code=code,
        provider_code=word,
        feature=feature,
    )


def in_band(payload: Mapping[str, JSON]) -> ProviderError:
    """The error that a 200 answer or an event of a stream holds."""
    return classify(WireFailure("in_band", "the provider reported an error", body=payload))


def _body(body: Any) -> JSON:
    try:
        return parse_json(body)
    except ProviderError:
        return None


def _errors(body: JSON, depth: int = 3) -> Iterator[dict[str, JSON]]:
    """The error objects in a body, outermost first: its own, then what it passes on."""
    if depth == 0:
        return
    match body:
        case [first, *_]:  # Gemini's OpenAI endpoint wraps its error in an array
            yield from _errors(first, depth - 1)
        case {"error": dict() as error}:
            yield error
            raw = dig(error, "metadata", "raw")  # OpenRouter: the upstream's body as text
            if isinstance(raw, str):
                raw = _body(raw)
            if isinstance(raw, dict):
                yield from _errors(raw if "error" in raw else {"error": raw}, depth - 1)
        case {"error": str() as words}:  # xAI, Hugging Face
            yield {**body, "message": words, "type": body.get("error_type", body.get("type"))}
        case dict():
            yield body  # Mistral, Cerebras, vLLM: the fields stand at the top


def _message(error: Mapping[str, JSON]) -> str | None:
    """The words of an error: ``message`` or ``detail``, a list of field errors joined."""
    for value in (error.get("message"), error.get("detail"), error.get("msg")):
        if isinstance(value, str) and value:
            return value
        details = value.get("detail") if isinstance(value, dict) else value
        lines = [_field_error(d) for d in as_list(details) if isinstance(d, dict)]
        if lines:
            return "; ".join(lines)
    return None


def _field_error(detail: Mapping[str, JSON]) -> str:
    """``messages.0.role: Input should be ...`` out of a 422 of Mistral's."""
    where = ".".join(str(x) for x in as_list(detail.get("loc")) if isinstance(x, (str, int)))
    words = as_text(detail.get("msg")) or "invalid"
    return f"{where}: {words}" if where else words


def _words(error: Mapping[str, JSON]) -> Iterator[str]:
    """Code words of an error, the most telling first."""
    for value in (
        dig(error, "innererror", "code"),  # Azure
        error.get("code"),
        error.get("type"),
        dig(error, "metadata", "error_type"),  # OpenRouter
        error.get("status"),  # Google: INVALID_ARGUMENT, RESOURCE_EXHAUSTED
    ):
        if isinstance(value, str) and value:
            yield value
        elif type(value) is int and abs(value) < 10**9:  # OpenRouter writes the status here
            yield str(value)


def _known(word: str, error: Mapping[str, JSON]) -> ErrorCode | None:
    if re.fullmatch(r"[0-9]+", word):
        return ZAI_CODES.get(word) if error.get("type") is None else None
    return CODES.get(word.lower())


def _feature(error: Mapping[str, JSON], word: str | None) -> str | None:
    param = as_text(error.get("param"))
    return PARAMETER_FEATURES.get((word or "", param.split(".")[0])) if param else None


def _by_number(failure: WireFailure, errors: list[dict[str, JSON]]) -> ErrorCode | None:
    """What moderation fields and statuses written as codes say; None leaves it to the status."""
    for error in errors:
        if any(name in as_mapping(error.get("metadata")) for name in _MODERATION):
            return ErrorCode.CONTENT_FILTER
    if failure.status is not None and failure.status >= 300:
        return None
    for error in errors:
        for value in (error.get("code"), error.get("status")):
            if isinstance(value, str) and re.fullmatch(r"[3-5][0-9]{2}", value):
                value = int(value)
            if type(value) is int and 300 <= value < 600:
                return code_for_status(value)
    return None


def _plain(body: Any) -> str | None:
    """The text of a body that is no JSON error: a proxy's page without its tags."""
    if isinstance(body, (bytes, bytearray)):
        body = bytes(body[: 16 * TEXT_LIMIT]).decode("utf-8", "replace")
    if not isinstance(body, str) or not body.strip():
        return None
    if body.lstrip().startswith("<"):
        title = re.search(r"<title[^>]*>([^<]*)", body, re.IGNORECASE)
        body = title[1] if title else re.sub(r"<[^>]*>", " ", body)
    return " ".join(body.split())[:TEXT_LIMIT] or None
