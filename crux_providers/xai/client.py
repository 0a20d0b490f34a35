"""xAI: parameters its reasoning models refuse, and what an answer cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..base.errors import ErrorCode, ProviderError
from ..base.models import ChatRequest
from ..base.provider import BaseOpenAIStyleProvider
from ..base.wire import WireRequest
from .declaration import DECLARATION, FIXED_EFFORT, REASONING_MODELS, REFUSED_BY_REASONING

TICKS_PER_DOLLAR = 10**10


class XAIProvider(BaseOpenAIStyleProvider):
    """The xAI provider; see :class:`crux_providers.base.provider.BaseProvider`."""

    declaration = DECLARATION

    def adjust(self, wire: WireRequest, request: ChatRequest) -> WireRequest:
        """Leave out an effort the model refuses; refuse here what would be a 400 there.

        Raises ``unsupported``, so that another model gets the call, where a reasoning model is
        asked to stop at a text or given a penalty.
        """
        model, body = request.model or "", wire.body or {}
        if model.startswith(REASONING_MODELS) and "non-reasoning" not in model:
            for name in REFUSED_BY_REASONING:
                if body.get(name) is not None:
                    raise ProviderError(
                        ErrorCode.UNSUPPORTED, f"xAI's reasoning models take no {name}"
                    )
        if not _fixed_effort(model) or not ("reasoning_effort" in body or "reasoning" in body):
            return wire
        kept = {k: v for k, v in body.items() if k not in ("reasoning_effort", "reasoning")}
        lost = f"reasoning_effort: {model} sets its own"
        return replace(wire, body=kept, degraded=(*wire.degraded, lost))

    def reported_cost(self, usage: Mapping[str, Any]) -> float | None:
        """``usage.cost_in_usd_ticks``: what was billed, tools and discounts included.

        10^10 ticks are a dollar (docs.x.ai/developers/cost-tracking, read 2026-11-28).
        """
        ticks = usage.get("cost_in_usd_ticks")
        if not isinstance(ticks, int) or isinstance(ticks, bool) or ticks < 0:
            return None
        return ticks / TICKS_PER_DOLLAR


def _fixed_effort(model: str) -> bool:
    return any(model == name or model.startswith(f"{name}-") for name in FIXED_EFFORT) and (
        not model.startswith("grok-3-mini")
    )
