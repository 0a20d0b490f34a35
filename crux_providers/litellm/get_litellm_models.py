"""LiteLLM's models: the price map inside the installed package, read with no network.

LiteLLM fetches a newer map when it is imported unless ``LITELLM_LOCAL_MODEL_COST_MAP`` is set, so
it is set for that import (litellm 1.108.14, ``litellm_core_utils/get_model_cost_map.py``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..base.errors import ErrorCode, ProviderError
from ..base.get_models_base import run_fetcher
from ..base.listing import not_installed, run_program
from ..base.models import ModelInfo

LOCAL_MAP = "LITELLM_LOCAL_MODEL_COST_MAP"

CHATS = ("chat", "responses")
"""The modes that answer chats; the map has pictures, speech and embeddings too."""

CAPABILITIES: Mapping[str, str] = {
    "supports_native_streaming": "streaming",
    "supports_function_calling": "tools",
    "supports_parallel_function_calling": "parallel_tools",
    "supports_tool_choice": "tool_choice",
    "supports_response_schema": "json_schema",
    "supports_vision": "vision",
    "supports_pdf_input": "pdf",
    "supports_audio_input": "audio",
    "supports_reasoning": "reasoning",
}
"""The map's fields: ours."""

KEPT = ("mode", "litellm_provider", "input_cost_per_token", "output_cost_per_token", "source")


def run() -> list[dict[str, Any]]:
    """Read, normalize and store the models; those stored before where that fails."""
    return run_fetcher("litellm", fetch)


def fetch() -> tuple[list[ModelInfo], str]:
    """The chat models of the map; raises ``unsupported`` where litellm is not installed."""
    with _local_map():
        try:
            import litellm
        except ModuleNotFoundError as exc:
            raise not_installed("litellm", exc) from exc
    if not isinstance(litellm.model_cost, dict):
        raise ProviderError(ErrorCode.MALFORMED, "litellm.model_cost is no mapping")
    return list(_models(litellm.model_cost)), "litellm_sdk_enriched"


@contextmanager
def _local_map() -> Iterator[None]:
    before = os.environ.get(LOCAL_MAP)
    os.environ[LOCAL_MAP] = "True"
    try:
        yield
    finally:
        if before is None:
            del os.environ[LOCAL_MAP]
        else:
            os.environ[LOCAL_MAP] = before


def _models(cost_map: Mapping[str, Any]) -> Iterator[ModelInfo]:
    for name, facts in cost_map.items():
        if not isinstance(facts, Mapping) or facts.get("mode") not in CHATS:
            continue
        if name == "sample_spec":  # the map's explanation of itself
            continue
        said = {
            ours: facts[field]
            for field, ours in CAPABILITIES.items()
            if isinstance(facts.get(field), bool)
        }
        yield ModelInfo(
            id=name,
            context_length=_count(facts.get("max_input_tokens")),
            max_output_tokens=_count(facts.get("max_output_tokens")),
            capabilities=said,
            capability_sources=dict.fromkeys(said, "api"),
            extra={key: facts[key] for key in KEPT if key in facts},
        )


def _count(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and value > 0 else None


if __name__ == "__main__":
    run_program("litellm", run)
