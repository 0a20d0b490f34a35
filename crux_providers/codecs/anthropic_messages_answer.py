"""Anthropic Messages: whole answers, their token counts, and the listing of models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from crux_providers.base.errors import WireFailure
from crux_providers.base.models import (
    JSON,
    ChatResponse,
    ContentPart,
    ModelInfo,
    ProviderMetadata,
    Usage,
)

from .anthropic_messages_blocks import DIALECT, read_content
from .anthropic_messages_errors import classify
from .reading import (
    as_bool,
    as_count,
    as_mapping,
    as_text,
    dig,
    need_list,
    need_mapping,
    parse_json,
    rest_of,
)

FINISH_REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "other",
    "compaction": "other",
}
"""What a ``stop_reason`` means (build-with-claude/handling-stop-reasons, read 2026-11)."""

STOP_REASONS: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "error": "end_turn",
    "other": "end_turn",
}
"""The ``stop_reason`` that says a finish reason, where nothing else is known."""

MESSAGE_FIELDS = frozenset({"id", "role", "content", "model", "stop_reason", "usage"})
"""The answer's fields with a place of their own; the rest are ``wire_fields``."""

DETAILS: Mapping[str, str] = {
    "cache_read_input_tokens": "cached",
    "cache_creation_input_tokens": "cache_write",
}
"""Counts beside ``input_tokens``, which leaves them out, by their normalized name."""

DETAIL_GROUPS: Mapping[str, Mapping[str, str]] = {
    "output_tokens_details": {"thinking_tokens": "reasoning"},
    "cache_creation": {
        "ephemeral_5m_input_tokens": "ephemeral_5m_input_tokens",
        "ephemeral_1h_input_tokens": "ephemeral_1h_input_tokens",
    },
    "server_tool_use": {
        "web_search_requests": "web_search_requests",
        "web_fetch_requests": "web_fetch_requests",
    },
}
"""Counts inside objects of ``usage``, by their normalized or own name."""


def decode(payload: Any) -> ChatResponse:
    """A whole answer (bytes, text or parsed JSON).

    Raises the classified error where the payload is one, ``malformed`` where it is no message.
    """
    message = need_mapping(parse_json(payload), "the answer")
    if is_error(message):
        raise classify(WireFailure("in_band", body=message))
    parts, calls = read_content(need_list(message.get("content"), "content"), "content")
    counts = as_mapping(message.get("usage"))
    reason = as_text(message.get("stop_reason"))
    finish = finish_reason(reason, bool(calls), any(c.after is None for c in calls))
    refusal = refusal_part(reason, message)
    if refusal is not None:
        # A call at the end of the content stands before the words added after it.
        calls = tuple(c if c.after is not None else replace(c, after=len(parts)) for c in calls)
        parts = (*parts, refusal)
    usage = read_usage(counts) or Usage()
    extra: dict[str, Any] = {"token_usage": usage.tokens}
    if usage.details:
        extra["token_usage_details"] = dict(usage.details)
    fields = wire_fields(message, MESSAGE_FIELDS, counts, reason, finish)
    if fields:
        extra["wire_fields"] = fields
    meta = ProviderMetadata(
        model_name=as_text(message.get("model")),
        response_id=as_text(message.get("id")),
        extra=extra,
    )
    return ChatResponse.build(parts, calls, finish_reason=finish, meta=meta)


def is_error(message: Mapping[str, JSON]) -> bool:
    """Whether a payload is an error rather than an answer or an event."""
    kind = message.get("type")
    return kind == "error" or (kind is None and "error" in message)


def finish_reason(stop_reason: str | None, calls: bool, ends_in_call: bool) -> str:
    """The finish reason of an answer that holds ``calls`` and maybe ends in one.

    Ending in a call is ``tool_calls`` whatever a server says (compatible ones say ``end_turn``);
    calls before other blocks were answered by the server's own tools already.
    """
    known = FINISH_REASONS.get(stop_reason or "", "other")
    if known == "tool_calls":
        return known if calls else "other"
    return "tool_calls" if ends_in_call and known in ("stop", "other") else known


def refusal_part(stop_reason: str | None, details_in: Mapping[str, JSON]) -> ContentPart | None:
    """The words of a refusal, which ``stop_details`` may hold; they never were content."""
    if stop_reason != "refusal":
        return None
    words = as_text(dig(details_in.get("stop_details"), "explanation"))
    return None if words is None else ContentPart("refusal", words, dialect=DIALECT)


def wire_fields(
    message: Mapping[str, JSON],
    known: Iterable[str],
    counts: Mapping[str, JSON],
    stop_reason: str | None,
    finish: str,
) -> dict[str, JSON]:
    """The fields without a place, as sent; what is null says nothing.

    ``type`` stays among them: it tells this dialect's fields from another's. ``stop_reason`` does
    where ``finish`` says less, ``usage`` where it holds more than counts.
    """
    fields = {k: v for k, v in rest_of(message, frozenset(known)).items() if v is not None}
    if STOP_REASONS.get(finish) != stop_reason:
        fields["stop_reason"] = stop_reason
    left = usage_rest(counts)
    if left:
        fields["usage"] = left
    return fields


def read_usage(counts: Mapping[str, JSON]) -> Usage | None:
    """Token counts; ``prompt`` is input read from the cache, written to it, and neither."""
    details: dict[str, int] = {}
    for name, word in DETAILS.items():
        if count := as_count(counts.get(name)):
            details[word] = count
    for group, names in DETAIL_GROUPS.items():
        inside = counts.get(group)
        if isinstance(inside, dict):
            for name, word in names.items():
                if count := as_count(inside.get(name)):
                    details[word] = count
    prompt = as_count(counts.get("input_tokens"))
    if prompt is not None:
        prompt += details.get("cached", 0) + details.get("cache_write", 0)
    completion = as_count(counts.get("output_tokens"))
    if prompt is None and completion is None and not details:
        return None
    return Usage(prompt, completion, details=details)


def usage_rest(counts: Mapping[str, JSON]) -> dict[str, JSON]:
    """What of ``usage`` is no count this module knows (service tier, place, iterations)."""
    left: dict[str, JSON] = {}
    for name, value in counts.items():
        if name in DETAIL_GROUPS and isinstance(value, dict):
            value = rest_of(value, DETAIL_GROUPS[name]) or None
        elif name in DETAILS or name in ("input_tokens", "output_tokens"):
            continue
        if value is not None:
            left[name] = value
    return left


def write_usage(usage: Usage | None, left: Mapping[str, JSON]) -> dict[str, JSON]:
    """``usage`` of the wire from counts and from what :func:`usage_rest` kept."""
    if usage is None:
        usage = Usage()
    details = usage.details
    fresh = usage.prompt
    if fresh is not None:
        fresh = max(0, fresh - details.get("cached", 0) - details.get("cache_write", 0))
    wire: dict[str, JSON] = {"input_tokens": fresh, "output_tokens": usage.completion}
    for name, word in DETAILS.items():
        if word in details:
            wire[name] = details[word]
    for group, names in DETAIL_GROUPS.items():
        inside = {n: details[w] for n, w in names.items() if w in details}
        if inside:
            wire[group] = inside
    for name, value in left.items():
        if isinstance(value, Mapping) and isinstance(wire.get(name), dict):
            value = {**wire[name], **value}
        wire[name] = value
    return wire


CAPABILITIES: Mapping[str, str] = {
    "image_input": "vision",
    "pdf_input": "pdf",
    "structured_outputs": "json_schema",
    "thinking": "reasoning",
}
"""Words of the listing's ``capabilities`` as capability words of this project."""

MODEL_FIELDS = frozenset({"type", "id", "display_name", "created_at"})


def models(payload: Any) -> list[ModelInfo]:
    """The models of one page of ``GET /v1/models``; what it does not say stays None."""
    listing = need_mapping(parse_json(payload), "the listing")
    if is_error(listing):
        raise classify(WireFailure("in_band", body=listing))
    return [
        model
        for item in need_list(listing.get("data"), "data")
        if (model := _model(as_mapping(item))) is not None
    ]


def _model(item: dict[str, JSON]) -> ModelInfo | None:
    name = as_text(item.get("id"))
    if name is None:
        return None
    said = as_mapping(item.get("capabilities"))
    capabilities = {
        word: supported
        for field, word in CAPABILITIES.items()
        if (supported := as_bool(dig(said, field, "supported"))) is not None
    }
    created = as_text(item.get("created_at"))
    return ModelInfo(
        id=name,
        name=as_text(item.get("display_name")),
        context_length=as_count(item.get("max_input_tokens")) or None,
        max_output_tokens=as_count(item.get("max_tokens")) or None,
        capabilities=capabilities,
        capability_sources=dict.fromkeys(capabilities, "api"),
        # "May be set to an epoch value if the release date is unknown."
        updated_at=None if created is None or created.startswith("1970-01-01") else created[:10],
        family=as_text(item.get("line")),
        extra={k: v for k, v in rest_of(item, MODEL_FIELDS).items() if v is not None},
    )
