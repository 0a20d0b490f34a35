"""Dollars of a usage: unknown is None, a declared zero is zero, tiers are cliffs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_providers.base.models import Usage
from crux_providers.base.pricing import Price, cost_usd, estimate_usd

PRICE = Price(input=1.0, output=10.0, cached=0.1, cache_write=1.25)


def test_cached_and_written_tokens_cost_their_own_price() -> None:
    usage = Usage(1_000_000, 100_000, details={"cached": 400_000, "cache_write": 200_000})
    assert cost_usd(usage, PRICE) == pytest.approx(0.4 * 1 + 0.4 * 0.1 + 0.2 * 1.25 + 0.1 * 10)


def test_without_a_cache_price_cached_tokens_cost_the_plain_one() -> None:
    usage = Usage(1_000_000, 0, details={"cached": 400_000, "cache_write": 200_000})
    assert cost_usd(usage, Price(2.0, 1.0)) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("usage", "price"),
    [
        (None, PRICE),
        (Usage(), PRICE),
        (Usage(10, None), PRICE),
        (Usage(None, 10), PRICE),
        (Usage(10, 10), None),
        (Usage(10, 10), Price()),
        (Usage(10, 10), Price(input=0.0)),
        (Usage(10, 10), Price(output=0.0)),
    ],
)
def test_unknown_is_none_never_zero(usage: Usage | None, price: Price | None) -> None:
    assert cost_usd(usage, price) is None


def test_zero_is_zero_and_an_uncounted_kind_needs_no_price() -> None:
    assert cost_usd(Usage(10, 10), Price(0, 0)) == 0.0
    assert cost_usd(Usage(1_000_000, 0), Price(input=0.02)) == pytest.approx(0.02)
    assert estimate_usd(Price(0, 0), 10, 10) == 0.0
    assert estimate_usd(None, 10, 10) is None
    assert estimate_usd(Price(input=1.0), 10, 10) is None


def test_a_tier_prices_the_whole_call() -> None:
    price = Price(1.0, 10.0, above=((200_000, Price(2.0, 15.0)), (400_000, Price(4.0, 30.0))))
    assert cost_usd(Usage(200_000, 0), price) == pytest.approx(0.2)
    assert cost_usd(Usage(200_001, 0), price) == pytest.approx(0.400002)
    assert estimate_usd(price, 500_000, 1_000_000) == pytest.approx(2 + 30)


tokens = st.integers(0, 10**9)
dollars = st.floats(0, 1000, allow_nan=False)


@given(prompt=tokens, completion=tokens, cached=tokens, price=st.tuples(dollars, dollars, dollars))
def test_never_negative_and_never_more_than_uncached(
    prompt: int, completion: int, cached: int, price: tuple[float, float, float]
) -> None:
    full, output, discount = price
    usage = Usage(prompt, completion, details={"cached": min(cached, prompt)})
    cost = cost_usd(usage, Price(full, output, min(discount, full)))
    plain = estimate_usd(Price(full, output), prompt, completion)
    assert cost is not None
    assert plain is not None
    assert 0 <= cost <= plain * (1 + 1e-9)
