"""Small tables of the OpenAI chat dialect: its name, finish reasons, token counts, made-up ids."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from crux_providers.base.models import JSON, Usage

from .reading import as_count, as_mapping

DIALECT = "openai_chat"

FINISH_REASONS: Mapping[str, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",  # OpenRouter, Mistral
    "other": "other",
    "function_call": "tool_calls",  # OpenAI's tools before tools
    "model_length": "length",  # Mistral
    "model_context_window_exceeded": "length",  # Z.AI
    "sensitive": "content_filter",  # Z.AI
    "network_error": "error",  # Z.AI
    "insufficient_system_resource": "error",  # DeepSeek
    "eos": "stop",  # Together
    "eos_token": "stop",  # Hugging Face TGI
    "stop_sequence": "stop",  # Hugging Face TGI
    "end_turn": "stop",  # gateways in front of Anthropic
    "max_tokens": "length",  # gateways in front of Anthropic
}
"""What each word means; others are ``other``. Recorded: the first four and ``function_call``;
``model_length`` and ``insufficient_system_resource`` are in clients made from the providers'
specifications (docs.rs/mistral-openapi-client 0.1.0, docs.rs/ds-api 0.10.7),
``model_context_window_exceeded`` in github.com/anomalyco/opencode/pull/18814 (2026-03-23); the rest
nobody here has seen on the wire, and a wrong guess costs no more than ``other`` would."""

# Where the details of a count stand, and our name for each. Two fields for one name: the first
# that is there speaks (the later ones are of providers that have no nested details).
_DETAILS = (
    ("prompt_tokens_details", "cached_tokens", "cached"),
    ("prompt_tokens_details", "cache_write_tokens", "cache_write"),
    ("prompt_tokens_details", "text_tokens", "prompt_text"),
    ("prompt_tokens_details", "audio_tokens", "prompt_audio"),
    ("prompt_tokens_details", "image_tokens", "prompt_image"),
    ("prompt_tokens_details", "video_tokens", "prompt_video"),
    ("completion_tokens_details", "reasoning_tokens", "reasoning"),
    ("completion_tokens_details", "text_tokens", "completion_text"),
    ("completion_tokens_details", "audio_tokens", "completion_audio"),
    ("completion_tokens_details", "image_tokens", "completion_image"),
    ("completion_tokens_details", "accepted_prediction_tokens", "accepted_prediction"),
    ("completion_tokens_details", "rejected_prediction_tokens", "rejected_prediction"),
)
_FLAT_DETAILS = (
    ("prompt_cache_hit_tokens", "cached"),  # DeepSeek
    ("num_cached_tokens", "cached"),  # Mistral
    ("cached_tokens", "cached"),  # Moonshot, Together
    ("reasoning_tokens", "reasoning"),  # Perplexity
)
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_NESTED: Mapping[str, Mapping[str, str]] = {
    parent: {name: word for at, name, word in _DETAILS if at == parent}
    for parent in ("prompt_tokens_details", "completion_tokens_details")
}
_FLAT = frozenset((*_COUNTS, *_NESTED, *(name for name, _ in _FLAT_DETAILS)))


def read_usage(raw: Mapping[str, JSON]) -> tuple[Usage, dict[str, JSON]]:
    """The counts in a ``usage`` object, and its other fields (costs, times), as sent."""
    details: dict[str, int] = {}
    for parent, names in _NESTED.items():
        nested = raw.get(parent)
        if not isinstance(nested, Mapping):
            continue
        for name, word in names.items():
            if count := as_count(nested.get(name)):
                details[word] = count
    for name, word in _FLAT_DETAILS:
        if name in raw and (count := as_count(raw[name])):
            details.setdefault(word, count)
    rest: dict[str, JSON] = {}
    for key, value in raw.items():
        if key not in _FLAT:
            if value is not None:
                rest[key] = value
        elif key in _NESTED:
            unknown = {k: v for k, v in as_mapping(value).items() if k not in _NESTED[key]}
            if unknown:
                rest[key] = unknown
    prompt, completion, total = (as_count(raw.get(name)) for name in _COUNTS)
    return Usage(prompt, completion, total, details), rest


def render_usage(usage: Usage, rest: Mapping[str, JSON]) -> dict[str, JSON]:
    """The ``usage`` object that :func:`read_usage` reads as the same; unknown counts stay out."""
    counts = zip(_COUNTS, usage.tokens.values(), strict=True)
    body: dict[str, JSON] = {name: count for name, count in counts if count is not None}
    for parent, name, word in _DETAILS:
        if usage.details.get(word):
            body.setdefault(parent, {})[name] = usage.details[word]
    for key, value in rest.items():
        if isinstance(value, dict) and isinstance(body.get(key), dict):
            body[key] = {**value, **body[key]}
        else:
            body.setdefault(key, value)
    return body


def finish_reason(word: str | None, *, calls: bool) -> str:
    """The normalized reason; an answer with calls to run ends in ``tool_calls``.

    Gemini and Ollama say ``stop`` there (recorded: gemini/chat_tools_stream, ollama/
    chat_tools_stream). A cut, filtered or failed answer stays what it is.
    """
    reason = FINISH_REASONS.get(word or "", "other")
    return "tool_calls" if calls and reason in ("stop", "other") else reason


def made_id(*seed: JSON) -> str:
    """A tool-call id for a provider that sends none, the same whenever it is read again."""
    text = "\x1f".join(str(s) for s in seed if isinstance(s, (str, int)))
    return "call_" + hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:24]
