"""Answers of the OpenAI Responses dialect: what stands around the items, read and written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crux_providers.base.models import (
    JSON,
    ChatResponse,
    ContentPart,
    ProviderMetadata,
    ToolCall,
    Usage,
)

from .openai_responses_errors import failed
from .openai_responses_items import awaits_caller, read_item
from .reading import (
    as_count,
    as_list,
    as_mapping,
    as_text,
    dig,
    malformed,
    need_list,
    need_mapping,
    parse_json,
)

INCOMPLETE: Mapping[str, str] = {
    "max_output_tokens": "length",
    "content_filter": "content_filter",
}
"""``incomplete_details.reason`` as a finish reason; others are ``other``."""

ECHOED: Mapping[str, JSON] = {
    "created_at": 0,
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}
"""Fields that every response has to have, with the values that say nothing."""

_KNOWN = frozenset({"id", "model", "output", "usage", "status", "error", "incomplete_details"})
_COUNTS = ("input_tokens", "output_tokens", "total_tokens")
_DETAILS: Mapping[str, Mapping[str, str]] = {
    "input_tokens_details": {
        "cached_tokens": "cached",
        "cache_write_tokens": "cache_write",
        "text_tokens": "prompt_text",
        "audio_tokens": "prompt_audio",
        "image_tokens": "prompt_image",
    },
    "output_tokens_details": {
        "reasoning_tokens": "reasoning",
        "text_tokens": "completion_text",
        "audio_tokens": "completion_audio",
        "image_tokens": "completion_image",
    },
}
_ALWAYS = ("cached_tokens", "cache_write_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True)
class Frame:
    """What a response says besides its items: who, how it ended, what it cost, the rest."""

    response_id: str | None
    model: str | None
    finish_reason: str
    usage: Usage | None
    fields: dict[str, JSON]


def read_frame(response: dict[str, JSON]) -> Frame:
    """The frame of a response that is over; raises the error of one that failed.

    Empty fields (null) and the :data:`ECHOED` defaults say nothing and are left out of ``fields``.
    """
    status = response.get("status")
    if status in ("failed", "cancelled") or response.get("error"):
        raise failed(response)
    fields = {
        key: value
        for key, value in response.items()
        if key not in _KNOWN and value is not None and (key not in ECHOED or value != ECHOED[key])
    }
    fields.setdefault("object", "response")  # says whose fields these are
    finish = "stop"
    details = response.get("incomplete_details")
    if status == "incomplete":
        reason = as_text(dig(details, "reason"))
        finish = INCOMPLETE.get(reason or "", "other")
        if details is not None and (finish == "other" or details != {"reason": reason}):
            fields["incomplete_details"] = details
    elif status not in (None, "completed"):  # queued, in_progress: a background response
        finish = "other"
        fields["status"] = status
    counts = response.get("usage")
    usage = None
    if isinstance(counts, dict):
        usage, left = read_usage(counts)
        if left:
            fields["usage"] = left
    return Frame(as_text(response.get("id")), as_text(response.get("model")), finish, usage, fields)


def finish_reason(finish: str, parts: Sequence[ContentPart], *, calls: bool) -> str:
    """``tool_calls`` for a whole answer that ends in calls the caller must run."""
    if finish == "stop" and (calls or any(awaits_caller(p, parts) for p in parts)):
        return "tool_calls"
    return finish


def read_usage(counts: Mapping[str, JSON]) -> tuple[Usage, dict[str, JSON]]:
    """Token counts, and the other fields of ``usage`` (costs, numbers of sources), as sent."""
    details: dict[str, int] = {}
    left: dict[str, JSON] = {}
    for key, value in counts.items():
        names = _DETAILS.get(key)
        if names is not None and isinstance(value, dict):
            details |= {names[n]: c for n, v in value.items() if n in names and (c := as_count(v))}
            value = {n: v for n, v in value.items() if n not in names} or None
        elif key in _COUNTS or names is not None:
            continue
        if value is not None:
            left[key] = value
    prompt, completion, total = (as_count(counts.get(name)) for name in _COUNTS)
    return Usage(prompt, completion, total, details), left


def write_usage(usage: Usage, left: Mapping[str, JSON]) -> dict[str, JSON] | None:
    """The ``usage`` that :func:`read_usage` reads the same, or None where nothing was counted."""
    if usage.prompt is None and usage.completion is None and usage.total is None and not left:
        return None
    body: dict[str, Any] = dict(zip(_COUNTS, usage.tokens.values(), strict=True))
    for group, names in _DETAILS.items():
        counts = {n: usage.details.get(w, 0) for n, w in names.items()}
        body[group] = {n: count for n, count in counts.items() if count or n in _ALWAYS}
    for key, value in left.items():
        inside = body.get(key)
        body[key] = {**value, **inside} if isinstance(inside, dict) else value
    return body


def decode(payload: Any) -> ChatResponse:
    """A whole answer: JSON already parsed, text or bytes.

    Raises ProviderError: the error it holds by its own code, or ``malformed``.
    """
    try:
        return _decode(need_mapping(parse_json(payload), "the response"))
    except RecursionError as exc:
        raise malformed("nested too deep", exc) from exc


def _decode(response: dict[str, JSON]) -> ChatResponse:
    frame = read_frame(response)
    parts: list[ContentPart] = []
    calls: list[tuple[int, ToolCall]] = []
    logprobs: list[JSON] = []
    for index, item in enumerate(need_list(response.get("output"), "output")):
        where = f"output[{index}]"
        for piece in read_item(need_mapping(item, where), where):
            logprobs += piece.logprobs
            if isinstance(piece.value, ToolCall):
                calls.append((len(parts), piece.value))
            else:
                parts.append(piece.value)
    extra: dict[str, Any] = {}
    usage = frame.usage or Usage()
    extra["token_usage"] = usage.tokens
    if usage.details:
        extra["token_usage_details"] = dict(usage.details)
    if logprobs:
        extra["logprobs"] = logprobs
    if frame.fields:
        extra["wire_fields"] = frame.fields
    return ChatResponse.build(
        parts,
        [replace(c, after=None if at == len(parts) else at) for at, c in calls],
        finish_reason=finish_reason(frame.finish_reason, parts, calls=bool(calls)),
        meta=ProviderMetadata(model_name=frame.model, response_id=frame.response_id, extra=extra),
    )


def write_frame(
    *,
    response_id: str | None,
    model: str | None,
    finish: str | None,
    usage: Usage | None,
    fields: Mapping[str, JSON],
    output: Iterable[JSON],
) -> dict[str, JSON]:
    """A whole response around its items; the inverse of :func:`read_frame`."""
    rest = dict(fields)
    status, details = rest.pop("status", None), rest.pop("incomplete_details", None)
    reason = next((word for word, known in INCOMPLETE.items() if known == finish), None)
    if reason is not None:
        status, details = "incomplete", details or {"reason": reason}
    elif finish in ("other", "error"):
        status = status or "incomplete"
    left = as_mapping(rest.pop("usage", None))
    return {
        "id": response_id or "",
        "object": "response",
        **ECHOED,
        "tools": [],
        "status": status or "completed",
        "error": None,
        "incomplete_details": details,
        "model": model or "",
        "output": list(output),
        **rest,
        "usage": None if usage is None else write_usage(usage, left),
    }


def own_fields(extra: Mapping[str, Any]) -> dict[str, JSON]:
    """``wire_fields`` where they are of a response in this dialect, else none."""
    fields = as_mapping(extra.get("wire_fields"))
    return dict(fields) if str(fields.get("object")).startswith("response") else {}


def logprobs_of(extra: Mapping[str, Any]) -> list[JSON]:
    """The token entries that an answer's metadata keeps."""
    return as_list(extra.get("logprobs"))
