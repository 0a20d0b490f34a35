"""Model listings of the providers that speak the OpenAI chat dialect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from crux_providers.base.models import JSON, ModelInfo

from .reading import (
    as_bool,
    as_count,
    as_list,
    as_mapping,
    as_number,
    as_text,
    dig,
    need_list,
    need_mapping,
    parse_json,
    rest_of,
)

_CONTEXT = (
    ("context_length",),  # OpenRouter, Together, Moonshot
    ("context_window",),  # Groq
    ("max_context_length",),  # Mistral
    ("max_model_len",),  # vLLM
    ("meta", "n_ctx_train"),  # llama.cpp
)
_OUTPUT = (
    ("top_provider", "max_completion_tokens"),  # OpenRouter
    ("max_completion_tokens",),  # Groq
    ("max_output_tokens",),
)
_FLAGS: Mapping[tuple[str, str], str] = {
    ("capabilities", "function_calling"): "tools",  # Mistral
    ("capabilities", "vision"): "vision",
    ("capabilities", "audio"): "audio",
    ("capabilities", "reasoning"): "reasoning",
    ("capabilities", "tools"): "tools",  # Cerebras
    ("capabilities", "json_mode"): "json_output",
    ("capabilities", "structured_outputs"): "json_schema",
    ("capabilities", "parallel_tool_calls"): "parallel_tools",
}
_PARAMETERS: Mapping[str, str] = {  # OpenRouter's supported_parameters
    "tools": "tools",
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "parallel_tools",
    "response_format": "json_output",
    "structured_outputs": "json_schema",
    "reasoning": "reasoning",
    "logprobs": "logprobs",
}
_MODALITIES: Mapping[str, str] = {"image": "vision", "file": "pdf", "audio": "audio"}

_KNOWN = frozenset(
    {
        "id", "object", "name", "display_name", "created", "context_length", "context_window",
        "max_context_length", "max_model_len", "max_completion_tokens", "max_output_tokens",
    }
)  # fmt: skip


def models(payload: Any) -> list[ModelInfo]:
    """The models of a listing, from the provider's own fields; what nobody states is unknown.

    Takes ``{"data": [...]}`` or a bare array (Together). Raises ``malformed`` for anything else.
    """
    body = parse_json(payload)
    entries = body if isinstance(body, list) else need_mapping(body, "the listing").get("data")
    found = (need_mapping(entry, "model") for entry in need_list(entries, "data"))
    return [_model(entry, id) for entry in found if (id := as_text(entry.get("id")))]


def _model(entry: dict[str, JSON], id: str) -> ModelInfo:
    capabilities = dict(_capabilities(entry))
    return ModelInfo(
        id=id,
        name=as_text(entry.get("name")) or as_text(entry.get("display_name")),
        context_length=_first_count(entry, _CONTEXT),
        capabilities=capabilities,
        updated_at=_date(entry.get("created")),
        max_output_tokens=_first_count(entry, _OUTPUT),
        capability_sources=dict.fromkeys(capabilities, "api"),
        extra=rest_of(entry, _KNOWN),
    )


def _first_count(entry: Mapping[str, JSON], paths: tuple[tuple[str, ...], ...]) -> int | None:
    counts = (as_count(dig(entry, *path)) for path in paths)
    return next((count for count in counts if count), None)


def _capabilities(entry: Mapping[str, JSON]) -> Iterator[tuple[str, bool]]:
    for path, word in _FLAGS.items():
        if (flag := as_bool(dig(entry, *path))) is not None:
            yield word, flag
    # A list says what is there and, by leaving it out, what is not.
    if isinstance(named := entry.get("supported_parameters"), list):
        for name, word in _PARAMETERS.items():
            yield word, name in named
    modalities = as_list(dig(entry, "architecture", "input_modalities")) or as_list(
        as_mapping(entry).get("input_modalities")  # xAI
    )
    if modalities:
        for name, word in _MODALITIES.items():
            yield word, name in modalities


def _date(created: JSON) -> str | None:
    """``created`` (a Unix time in seconds) as a UTC date; 0 is nobody's date."""
    seconds = as_number(created)
    if not seconds or not 0 < seconds < 2**33:
        return None
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
