"""What a call costs, in US dollars: pure arithmetic over a usage and a price.

An unknown price or count gives None, never zero; a declared zero is zero.
"""

from __future__ import annotations

from ..catalog.entry import Price
from .models import Usage

__all__ = ["Price", "cost_usd", "estimate_usd"]

_MILLION = 1_000_000


def cost_usd(usage: Usage | None, price: Price | None) -> float | None:
    """Dollars of one answer, or None where a count or the price of a counted token is unknown.

    ``usage.prompt`` holds every input token; those that ``details`` counts as ``cached`` or
    ``cache_write`` cost their own price, or the plain input price where theirs is unknown (which
    is what a provider without such a price bills). Reasoning is part of ``completion``.
    """
    if usage is None or price is None or usage.prompt is None or usage.completion is None:
        return None
    cached = usage.details.get("cached") or 0
    written = usage.details.get("cache_write") or 0
    price = price.at(usage.prompt)
    plain = price.input
    return _sum(
        (max(0, usage.prompt - cached - written), plain),
        (cached, plain if price.cached is None else price.cached),
        (written, plain if price.cache_write is None else price.cache_write),
        (usage.completion, price.output),
    )


def estimate_usd(price: Price | None, input_tokens: int, output_tokens: int) -> float | None:
    """List price of a call that has not been made, or None where the price is unknown."""
    if price is None:
        return None
    if price.above:
        price = price.at(input_tokens)
    if price.input is None or price.output is None:
        return _sum((input_tokens, price.input), (output_tokens, price.output))
    return (input_tokens * price.input + output_tokens * price.output) / _MILLION


def _sum(*parts: tuple[int, float | None]) -> float | None:
    total = 0.0
    for tokens, price in parts:
        if tokens:
            if price is None:
                return None
            total += tokens * price
    return total / _MILLION
