"""Deadlines without signals: a config, an ambient limit, and the clock of one attempt."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Literal

from ..config import defaults
from .cancellation import CancellationToken

Phase = Literal["connect", "first_token", "idle", "total"]


@dataclass(frozen=True, slots=True)
class TimeoutConfig:
    """Limits in seconds; None is no limit.

    ``connect`` and ``first_token`` bound the start phase (until the first committing event),
    ``idle`` the gap between events after it, ``total`` the whole attempt. A whole (not streamed)
    answer is bounded by ``total`` and, where ``first_token`` was set by hand, by that too.
    """

    connect: float | None = None
    first_token: float | None = None
    idle: float | None = None
    total: float | None = None
    explicit: bool = False

    def override(
        self, timeout: float | Mapping[str, float | None] | TimeoutConfig | None, idle: float | None
    ) -> TimeoutConfig:
        """This config with a provider's ``timeout`` and ``idle_timeout`` arguments over it.

        Raises ValueError for a mapping with a name it does not know and for a negative limit.
        """
        config = self
        match timeout:
            case None:
                pass
            case TimeoutConfig():
                config = timeout
            case Mapping():
                unknown = set(timeout) - {"connect", "first_token", "total", "idle"}
                if unknown:
                    raise ValueError(
                        f"timeout has no {sorted(unknown)}; it takes connect, "
                        "first_token, idle and total"
                    )
                config = replace(config, **timeout, explicit="first_token" in timeout)
            case _:
                seconds = float(timeout)
                connect = seconds if config.connect is None else min(config.connect, seconds)
                config = replace(config, connect=connect, first_token=seconds, explicit=True)
        config = replace(config, idle=idle) if idle is not None else config
        for name in ("connect", "first_token", "idle", "total"):
            if (limit := getattr(config, name)) is not None and limit < 0:
                raise ValueError(f"a timeout is a number of seconds from 0 up: {name} is {limit}")
        return config


def get_timeout_config() -> TimeoutConfig:
    """The defaults, in seconds; the single source of timeouts for every adapter."""
    return TimeoutConfig(
        connect=defaults.TIMEOUT_CONNECT_S,
        first_token=defaults.TIMEOUT_FIRST_TOKEN_S,
        idle=defaults.TIMEOUT_IDLE_S,
        total=defaults.TIMEOUT_TOTAL_S,
    )


_ambient: ContextVar[float | None] = ContextVar("crux_deadline", default=None)


@contextmanager
def operation_timeout(seconds: float | None) -> Iterator[None]:
    """Bound every call started inside by ``seconds``, in any thread or task.

    Sets a deadline that transports obey: the socket is shut down and the call raises ``timeout``.
    A result that came in time is never discarded; code that is not ours cannot be ended. Nested
    limits keep the nearer one.
    """
    if seconds is None:
        yield
        return
    until = time.monotonic() + seconds
    outer = _ambient.get()
    mark = _ambient.set(until if outer is None else min(outer, until))
    try:
        yield
    finally:
        _ambient.reset(mark)


class CallScope:
    """The clock and the switch of one attempt; transports ask it before each read.

    ``remaining()`` gives the seconds to the nearest deadline and its phase. ``committed()`` ends
    the start phase; ``resume()`` restarts the idle clock after the consumer had its turn, so that
    a slow consumer is never taken for a silent provider and pings never reset it.
    """

    __slots__ = (
        "_ambient",
        "_idle_at",
        "_whole",
        "start_at",
        "started",
        "timeouts",
        "token",
        "total_at",
    )

    def __init__(
        self,
        timeouts: TimeoutConfig,
        token: CancellationToken | None = None,
        *,
        whole: bool = False,
    ) -> None:
        self.timeouts = timeouts
        self.token = token if token is not None else CancellationToken()
        self._whole = whole
        self._ambient = _ambient.get()
        self._idle_at: float | None = None
        self.restart()

    def restart(self) -> None:
        """Count from now: what was made ready before (a codec, a TLS context) costs no deadline."""
        limits = self.timeouts
        now = time.monotonic()
        first = limits.first_token if limits.explicit or not self._whole else None
        self.started = now
        self.start_at = None if first is None else now + first
        self.total_at = None if limits.total is None else now + limits.total

    def committed(self) -> None:
        """The first committing event is here: the start phase is over."""
        self.start_at = None
        self._ambient = None
        self.resume()

    def resume(self) -> None:
        """Count idle time from now on."""
        if self.timeouts.idle is not None:
            self._idle_at = time.monotonic() + self.timeouts.idle

    def remaining(self) -> tuple[float | None, Phase]:
        """Seconds to the nearest deadline (may be negative; None: no limit) and which it is."""
        nearest: float | None = None
        phase: Phase = "total"
        for at, name in (
            (self.total_at, "total"),
            (self._idle_at, "idle"),
            (self.start_at, "first_token"),
            (self._ambient, "first_token"),
        ):
            if at is not None and (nearest is None or at < nearest):
                nearest, phase = at, name  # type: ignore[assignment]  # literals of the tuple above
        return (None if nearest is None else nearest - time.monotonic()), phase


def ambient_remaining() -> float | None:
    """Seconds left of the enclosing :func:`operation_timeout`, or None outside of one."""
    until = _ambient.get()
    return None if until is None else until - time.monotonic()
