"""When a cassette records: the three modes, and whose word counts."""

from __future__ import annotations

from typing import Literal, cast, get_args

Mode = Literal["none", "once", "rewrite"]
"""``none`` replays; ``once`` records where there is no file and replays otherwise; ``rewrite``
records anew."""

MODES: tuple[str, ...] = get_args(Mode)

_option: Mode | None = None


def check_mode(mode: str) -> Mode:
    """``mode`` itself; raises ValueError for any other word."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {', '.join(MODES)}")
    return cast(Mode, mode)


def set_option(mode: str | None) -> Mode | None:
    """What the command line says for every cassette (``--crux-record``; None: nothing).

    Returns what it said before.
    """
    global _option
    before, _option = _option, None if mode is None else check_mode(mode)
    return before


def effective_mode(argument: str, marker: str | None = None) -> Mode:
    """The marker beats the option, the option beats ``mode=``."""
    return check_mode(marker or _option or argument)
