"""Durations (``200ms``, ``3s``, ``5m``, ``7d``) and shares (``5%``) as people write them."""

from __future__ import annotations

import math
import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h|d|)")
_SHARE = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(%?)")


def parse_duration(value: str | float) -> float:
    """Seconds of ``200ms``, ``3s``, ``5m``, ``1h``, ``7d`` or a plain number of seconds.

    Raises ValueError for anything else, a negative or an infinite one too.
    """
    if isinstance(value, str):
        if (found := _DURATION.fullmatch(value.strip())) is None:
            raise ValueError(f"{value!r} is no duration; write it like 200ms, 3s, 5m, 1h or 7d")
        return float(found[1]) * _UNITS[found[2]]
    if isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is no duration; it is a number of seconds, zero or more")
    return float(value)


def format_duration(seconds: float) -> str:
    """The shortest of the forms that :func:`parse_duration` reads back as the same number."""
    for unit in ("d", "h", "m", "s"):
        count = seconds / _UNITS[unit]
        if seconds and count.is_integer():
            return f"{int(count)}{unit}"
    return f"{seconds * 1000:g}ms" if 0 < seconds < 1 else f"{seconds:g}s"


def parse_share(value: str | float) -> float:
    """A share of one: ``5%`` and ``0.05`` alike. Raises ValueError for anything else."""
    if isinstance(value, str):
        if (found := _SHARE.fullmatch(value.strip())) is None:
            raise ValueError(f"{value!r} is no share; write it like 5% or 0.05")
        return float(found[1]) / 100 if found[2] else float(found[1])
    if isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is no share; write it like 5% or 0.05")
    return float(value)
