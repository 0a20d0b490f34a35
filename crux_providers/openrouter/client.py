"""OpenRouter: it says what an answer cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.provider import BaseOpenAIStyleProvider
from .declaration import DECLARATION


class OpenRouterProvider(BaseOpenAIStyleProvider):
    """The OpenRouter provider; see :class:`crux_providers.base.provider.BaseProvider`."""

    declaration = DECLARATION

    def reported_cost(self, usage: Mapping[str, Any]) -> float | None:
        """``usage.cost``, in credits, which are dollars; with a key of one's own also upstream's.

        With ``is_byok`` the cost is only OpenRouter's fee, and ``cost_details`` has what the
        upstream provider bills (openrouter.ai/docs/use-cases/usage-accounting, read 2026-11-28;
        recorded: openrouter/chat_text__dd-trace.yaml, cost 0 with is_byok).
        """
        cost = _dollars(usage.get("cost"))
        if cost is None or usage.get("is_byok") is not True:
            return cost
        details = usage.get("cost_details")
        upstream = details.get("upstream_inference_cost") if isinstance(details, Mapping) else None
        return None if (billed := _dollars(upstream)) is None else cost + billed


def _dollars(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and value >= 0 else None
