"""Tables for people: attempts, and how times, dollars and tokens are written in them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

WIDE = 160
"""Columns of a table that goes into a file or a pipe."""


def console() -> Console:
    """Where tables go: as wide as the terminal, else wide enough to be read by a program."""
    made = Console(file=sys.stdout)
    return made if made.is_terminal else Console(file=sys.stdout, width=WIDE)


def milliseconds(value: float | None) -> str:
    """A duration."""
    if value is None:
        return "–"
    return f"{value / 1000:.1f} s" if value >= 10_000 else f"{value:.0f} ms"


def dollars(value: float | None, *, unknown: str = "unknown") -> str:
    """An amount of money."""
    return f"${value:.6f}" if value is not None else unknown


def moment(at: float | None) -> str:
    """A time in seconds since 1970, in UTC."""
    if at is None:
        return "–"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def outcome(word: str, code: str | None, status: int | None) -> str:
    """What came of an attempt: a failure's code and status in red, all else in green or yellow."""
    if code:
        return f"[red]{escape(code)}[/red]" + (f" {status}" if status else "")
    return f"[{'green' if word == 'success' else 'yellow'}]{escape(word)}[/]"


def tokens(prompt: int | None, completion: int | None) -> str:
    """Tokens in and out."""
    if prompt is None and completion is None:
        return "–"
    return f"{'?' if prompt is None else prompt} / {'?' if completion is None else completion}"


def table(title: str | None, left: Iterable[str], right: Iterable[str] = ()) -> Table:
    """An empty table with its columns; those of ``right`` are aligned so."""
    made = Table(title=title, title_justify="left")
    for name in left:
        made.add_column(name)
    for name in right:
        made.add_column(name, justify="right")
    return made


def attempts_table(attempts: Iterable[Mapping[str, Any]]) -> Table:
    """One call's attempts: who, what came of it and why, time, tokens, dollars."""
    made = table(
        "attempts",
        ("#", "candidate", "outcome", "reason"),
        ("started", "first token", "duration", "tokens in/out", "cost"),
    )
    for number, attempt in enumerate(attempts, 1):
        usage = attempt.get("usage") or {}
        code = attempt.get("error_code")
        made.add_row(
            str(number),
            escape(f"{attempt['provider']}:{attempt['model']}"),
            outcome(attempt["outcome"], code, attempt.get("status")),
            escape(str(attempt.get("reason") or "")),
            milliseconds(attempt.get("started_ms")),
            milliseconds(attempt.get("ttft_ms")),
            milliseconds(attempt.get("duration_ms")),
            tokens(usage.get("prompt"), usage.get("completion")),
            dollars(attempt.get("cost_usd"), unknown="–" if code else "unknown"),
        )
    return made
