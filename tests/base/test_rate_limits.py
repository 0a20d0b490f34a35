"""Rate-limit headers of every form, the recorded ones among them."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crux_providers.base.provider_settings import kept_headers
from crux_providers.base.rate_limits import RateLimit, rate_limits

NOW = 1_763_800_000.0
STAMP = "2025-11-22T08:26:50Z"
AT = datetime.fromisoformat(STAMP).timestamp()


def limit(*fields: Any, **more: Any) -> RateLimit:
    return RateLimit(*fields, **more)


TABLE: dict[str, tuple[dict[str, str], list[RateLimit]]] = {
    "openai": (
        {
            "x-ratelimit-limit-requests": "500",
            "x-ratelimit-remaining-requests": "499",
            "x-ratelimit-reset-requests": "120ms",
            "x-ratelimit-limit-tokens": "30000",
            "x-ratelimit-remaining-tokens": "29,995",
            "x-ratelimit-reset-tokens": "6m0s",
        },
        [
            limit("requests", "", 499, 500, pytest.approx(0.12), True),
            limit("tokens", "", 29, 30000, 360.0, True),
        ],
    ),
    "groq": (
        {
            "x-ratelimit-limit-requests": "14400",
            "x-ratelimit-remaining-requests": "14370",
            "x-ratelimit-reset-requests": "2m59.56s",
            "x-ratelimit-limit-tokens": "18000",
            "x-ratelimit-remaining-tokens": "17997",
            "x-ratelimit-reset-tokens": "7.66s",
        },
        [
            limit("requests", "", 14370, 14400, pytest.approx(179.56), True),
            limit("tokens", "", 17997, 18000, pytest.approx(7.66), True),
        ],
    ),
    "xai, no reset": (
        {"x-ratelimit-limit-requests": "480", "x-ratelimit-remaining-requests": "0"},
        [limit("requests", "", 0, 480)],
    ),
    "anthropic": (
        {
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "49",
            "anthropic-ratelimit-requests-reset": STAMP,
            "anthropic-ratelimit-input-tokens-limit": "2000000",
            "anthropic-ratelimit-input-tokens-remaining": "1999000",
            "anthropic-ratelimit-input-tokens-reset": STAMP,
            "anthropic-ratelimit-output-tokens-remaining": "400000",
        },
        [
            limit("requests", "", 49, 50, AT - NOW, True),
            limit("input_tokens", "", 1999000, 2000000, AT - NOW, True),
            limit("output_tokens", "", 400000, None, None, True),
        ],
    ),
    "azure": (
        {
            "x-ratelimit-limit-tokens": "120000",
            "x-ratelimit-remaining-tokens": "119986",
            "x-ratelimit-renewalperiod-tokens": "60",
            "x-ratelimit-abusepenalty-active": "False",
        },
        [limit("tokens", "", 119986, 120000, 60.0)],
    ),
    "mistral": (
        {
            "x-ratelimit-limit-tokens-minute": "2000000",
            "x-ratelimit-remaining-tokens-minute": "1999225",
            "x-ratelimit-remaining-tokens-month": "9",
            "x-ratelimit-remaining-req-10-second": "52",
            "x-ratelimit-tokens-query-cost": "145",
        },
        [
            limit("tokens", "minute", 1999225, 2000000, 60.0),
            limit("requests", "10-second", 52, None, 10.0),
        ],
    ),
    "cerebras": (
        {
            "x-ratelimit-remaining-requests-day": "0",
            "x-ratelimit-reset-requests-day": "33011.382867",
        },
        [limit("requests", "day", 0, None, pytest.approx(33011.38, abs=0.01))],
    ),
    "openrouter": (
        {
            "x-ratelimit-limit": "10",
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": str(int((NOW + 5) * 1000)),
        },
        [limit("requests", "", 0, 10, pytest.approx(5.0))],
    ),
    "unix seconds": (
        {"ratelimit-remaining": "3", "ratelimit-reset": str(int(NOW + 9))},
        [limit("requests", "", 3, None, 9.0)],
    ),
    "ietf 03": (
        {"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "50", "ratelimit-reset": "50"},
        [limit("requests", "", 50, 100, 50.0)],
    ),
    "ietf one header": (
        {"ratelimit": "limit=100, remaining=50, reset=5"},
        [limit("requests", "", 50, 100, 5.0)],
    ),
    "ietf 10": (
        {"ratelimit": '"default";r=50;t=30, "day";r=9'},
        [limit("requests", "default", 50, None, 30.0), limit("requests", "day", 9)],
    ),
    "in the past": (
        {"ratelimit-remaining": "3", "ratelimit-reset": "1000000001"},
        [limit("requests", "", 3, None, 0.0)],
    ),
    "none": ({"content-type": "application/json", "x-request-id": "1"}, []),
    "unreadable": (
        {"x-ratelimit-remaining-requests": "many", "ratelimit": "?", "x-ratelimit-reset": "soon"},
        [],
    ),
}


@pytest.mark.parametrize("form", TABLE)
def test_every_form(form: str) -> None:
    headers, expected = TABLE[form]
    assert list(rate_limits(headers, NOW)) == expected


def test_a_date_beside_it_stands_over_the_clock_here() -> None:
    headers = {
        "date": "Sat, 22 Nov 2025 08:26:40 GMT",
        "anthropic-ratelimit-requests-remaining": "1",
        "anthropic-ratelimit-requests-reset": STAMP,
    }
    assert rate_limits(headers, NOW - 10**6)[0].reset == 10.0


NAMES = st.sampled_from(sorted({n for headers, _ in TABLE.values() for n in headers})) | st.text()
VALUES = st.text() | st.sampled_from(
    ["1e999", "9" * 400, "-1", "0x1", "5ms5", "2025-13-01", ";r=1"]
)


@given(st.dictionaries(NAMES, VALUES, max_size=8))
def test_no_header_breaks_it(headers: dict[str, str]) -> None:
    for found in rate_limits(headers, NOW):
        assert found.remaining >= 0
        assert found.reset is None or 0 <= found.reset < float("inf")


def test_recorded_headers(recordings: Path) -> None:
    """Every recorded answer with a rate limit is read, and none of them is at its end."""
    read: Counter[str] = Counter()
    for file in sorted(recordings.rglob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        if "ratelimit-remaining" not in text.lower() and "-remaining:" not in text.lower():
            continue
        for interaction in yaml.load(text, Loader=yaml.CSafeLoader)["interactions"]:
            response = interaction["response"]
            headers = {k.lower(): v[0] for k, v in response["headers"].items() if v}
            told = [
                n
                for n in headers
                if "ratelimit-" in n and "remaining" in n and "usage_based" not in n
            ]
            found = rate_limits(kept_headers(headers), NOW)
            # Some values were scrubbed.
            told = [n for n in told if headers[n].isdigit()]
            counted = [n for n in told if not re.search("image|month|usage_based", n)]
            assert len(found) == len(counted), (file, told, found)
            for one in found:
                assert one.limit is None or one.remaining <= one.limit, file
                read[one.dimension] += 1
    assert read["requests"] > 100
    assert read["tokens"] > 100
    assert read["input_tokens"] >= 20
