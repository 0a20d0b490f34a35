"""Durations and shares as people write them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_integrations.router.durations import format_duration, parse_duration, parse_share


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("200ms", 0.2),
        ("3s", 3),
        ("0.2s", 0.2),
        ("5m", 300),
        ("1h", 3600),
        ("7d", 604800),
        ("12", 12),
        (1.5, 1.5),
        (0, 0),
        (".5s", 0.5),
    ],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "5 minutes", "1m30s", "1e3s", -1, math.inf, True])
def test_what_is_no_duration(text: Any) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.integers(0, 10**7).map(lambda n: n / 1000))
def test_a_duration_written_is_read_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-5, abs=1e-9)


def test_shares() -> None:
    assert parse_share("5%") == parse_share(0.05) == parse_share("0.05") == pytest.approx(0.05)
    with pytest.raises(ValueError, match="share"):
        parse_share("5%%")
