"""What rate-limit headers say is left, whoever sent them. Pure: the clock is an argument.

The forms, by header name (lower case), so that a gateway nobody declared is read as well:

- ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``, resets as ``6m0s`` or ``20ms``: OpenAI
  (https://platform.openai.com/docs/guides/rate-limits), Azure, Groq, xAI (without resets);
- the same with a window at the end (``-tokens-minute``, ``-req-10-second``, ``-requests-day``):
  Mistral, Cerebras; Azure says it as ``x-ratelimit-renewalperiod-tokens: 60``;
- ``anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}``,
  resets in RFC 3339 (https://docs.claude.com/en/api/rate-limits);
- ``x-ratelimit-{limit,remaining,reset}`` and ``ratelimit-{limit,remaining,reset}`` for requests,
  resets as seconds or as a Unix time in seconds or milliseconds: OpenRouter, IETF drafts to 07;
- ``ratelimit: "default";r=50;t=30``: IETF drafts from 08.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, NamedTuple

Dimension = Literal["requests", "tokens", "input_tokens", "output_tokens"]


class RateLimit(NamedTuple):
    """One limit, as the headers of one answer have it.

    ``window`` tells several limits of one dimension apart (``minute``, ``day``; else empty).
    ``reset`` is seconds until the limit is whole again, None where nothing says when. A ``gradual``
    limit comes back bit by bit until then, any other all at once.
    """

    dimension: Dimension
    window: str
    remaining: int
    limit: int | None = None
    reset: float | None = None
    gradual: bool = False


_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-", "ratelimit-", "x-rate-limit-")
_FIELDS = ("limit", "remaining", "reset", "renewalperiod")
_DIMENSIONS: Mapping[str, Dimension] = {
    "": "requests",
    "request": "requests",
    "requests": "requests",
    "req": "requests",
    "token": "tokens",
    "tokens": "tokens",
    "input-tokens": "input_tokens",
    "output-tokens": "output_tokens",
}
_WINDOWS: Mapping[str, float] = {
    "10-second": 10.0,
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
}
"""Words for windows, the longer before what it ends in."""


class _Slot(NamedTuple):
    dimension: Dimension
    window: str
    field: str
    gradual: bool


@lru_cache(maxsize=256)
def _slot(name: str) -> _Slot | None:
    """What a header of this name holds; None for any other header."""
    prefix = next((p for p in _PREFIXES if name.startswith(p)), None)
    if prefix is None:
        return None
    words = name.removeprefix(prefix).split("-")
    field = next((f for f in _FIELDS if f in (words[0], words[-1])), None)
    if field is None:
        return None
    words.remove(field)
    rest = "-".join(words)
    window = next((w for w in _WINDOWS if rest == w or rest.endswith(f"-{w}")), "")
    dimension = _DIMENSIONS.get(rest.removesuffix(window).removesuffix("-"))
    if dimension is None:
        return None
    return _Slot(dimension, window, field, prefix == "anthropic-ratelimit-")


def rate_limits(headers: Mapping[str, str], now: float) -> tuple[RateLimit, ...]:
    """Every limit that ``headers`` (lower-case names) tell of; what cannot be read is left out.

    ``now`` is a Unix time, for resets given as one; the ``date`` header, where it is there, stands
    over it, so that a clock that is wrong here changes nothing.
    """
    found: dict[tuple[Dimension, str], dict[str, str]] = {}
    gradual: set[tuple[Dimension, str]] = set()
    combined = headers.get("ratelimit")
    for name, text in headers.items():
        slot = _slot(name)
        if slot is not None:
            place = slot.dimension, slot.window
            found.setdefault(place, {})[slot.field] = text
            if slot.gradual or (slot.field == "reset" and _DURATION.fullmatch(text.strip())):
                gradual.add(place)
    if not found and combined is None:
        return ()
    server_now = _date(headers, now)
    limits = []
    for place, fields in found.items():
        remaining = _number(fields.get("remaining"))
        if remaining is None:
            continue
        dimension, window = place
        limit = _number(fields.get("limit"))
        reset = _seconds(fields.get("reset"), server_now)
        if reset is None:
            reset = _WINDOWS.get(window) or _number(fields.get("renewalperiod"))
        limits.append(
            RateLimit(
                dimension,
                window,
                int(remaining),
                None if limit is None else int(limit),
                reset,
                place in gradual,
            )
        )
    if combined is not None:
        limits += _combined(combined)
    return tuple(limits)


def _combined(text: str) -> list[RateLimit]:
    """The one-header forms: ``limit=9, remaining=5, reset=3`` and ``"a";r=5;t=3, "b";r=9``."""
    items = [text] if "remaining" in text else text.split(",")
    limits = []
    for item in items:
        pairs = dict(_PAIR.findall(item))
        remaining = _number(pairs.get("remaining", pairs.get("r")))
        if remaining is None:
            continue
        limit = _number(pairs.get("limit"))
        window = item.partition(";")[0].strip().strip('"') if len(items) > 1 else ""
        limits.append(
            RateLimit(
                "requests",
                window,
                int(remaining),
                None if limit is None else int(limit),
                _number(pairs.get("reset", pairs.get("t"))),
            )
        )
    return limits


_PAIR = re.compile(r"\b(limit|remaining|reset|r|t)=(\d+)")
_LEADING = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*(?:$|[,;])")
_DURATION = re.compile(r"(?:\d{1,12}(?:\.\d{1,18})?(?:ms|us|µs|ns|s|m|h|d))+")
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|s|m|h|d)")
_UNITS: Mapping[str, float] = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_EPOCH_S = 1e9
"""Seconds from here on are a Unix time, not a wait; from the next one on milliseconds of one."""
_EPOCH_MS = 1e11


def _number(text: str | None) -> float | None:
    found = _LEADING.match(text) if text is not None else None
    return float(found[1]) if found else None


def _seconds(text: str | None, now: float) -> float | None:
    """A reset as seconds from now: a duration, seconds, a Unix time or RFC 3339; never below 0."""
    if text is None:
        return None
    text = text.strip()
    if _DURATION.fullmatch(text):
        return sum(float(n) * _UNITS[unit] for n, unit in _PIECE.findall(text))
    number = _number(text)
    if number is not None:
        if number >= _EPOCH_MS:
            return max(0.0, number / 1000 - now)
        return max(0.0, number - now) if number >= _EPOCH_S else number
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() - now)


def _date(headers: Mapping[str, str], now: float) -> float:
    text = headers.get("date")
    if text is None:
        return now
    from email.utils import parsedate_to_datetime  # 5 ms of import

    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return now
