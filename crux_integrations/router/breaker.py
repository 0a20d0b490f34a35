"""When a candidate is left alone, and how it comes back. Pure: the clock is an argument.

A circuit is closed until ``failures`` failures lie in its sliding window, open until its time is
over, then half open: one probe goes out, everybody else steps aside meanwhile. A probe that fails
opens it again, twice as long; one that is answered starts the ramp, in which the candidate takes a
growing share of the calls until it takes all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import NamedTuple

from crux_providers.base.errors import HARMLESS, ErrorCode, ProviderError

from .policy import BreakerView
from .routes import Breaker

OPEN_TIMES: Mapping[ErrorCode, float] = dict.fromkeys(
    (ErrorCode.AUTH, ErrorCode.PERMISSION, ErrorCode.QUOTA, ErrorCode.NOT_FOUND), 10.0
)
"""The open time by what went wrong, in multiples of the route's ``open``; all others: once. What
somebody has to mend is not mended in half a minute."""
OPEN_MAX_S = 600.0
"""The longest open time that doubling comes to; a route's own ``open`` may be longer."""
PROBE_MAX_S = 120.0
"""A probe that has said nothing for so long is given up, and another may go."""
RAMP_BEGIN = 0.25
"""The share of calls that a candidate takes first after its probe was answered. It doubles with
each answer and grows to all within the route's ``open``, whichever is faster."""


class Door(Enum):
    """In what role a call was let through."""

    CLOSED = 0
    PROBE = 1
    RAMP = 2


class Pass(NamedTuple):
    """A call let through; handed back with its outcome.

    ``era`` counts how often the circuit has opened or closed, so that what comes of a call that
    began before says nothing of the time after.
    """

    door: Door
    era: int


FIRST = Pass(Door.CLOSED, 0)
"""What a call has that began before there was anything to remember."""


class Circuit:
    """The breaker of one candidate. Not safe to use from two threads: its owner has the lock."""

    __slots__ = (
        "_era", "_evidence", "_failures", "_held", "_held_evidence", "_opened", "_probe_until",
        "_ramp_from", "_ramp_s", "_share", "_since", "_until",
    )  # fmt: skip

    def __init__(self) -> None:
        self._failures: deque[float] = deque()
        self._held = self._until = 0.0
        self._evidence = self._held_evidence = ""
        self._since: str | None = None
        self._opened = self._era = 0
        self._probe_until: float | None = None
        self._ramp_from: float | None = None
        self._ramp_s = 0.0
        self._share = 1.0

    @property
    def healthy(self) -> bool:
        """Whether there is nothing to remember."""
        return not (self._failures or self._until or self._held)

    def view(self, now: float) -> BreakerView | None:
        """What a plan made at ``now`` has to know; None where calls may go as they like."""
        if now < self._held and self._held >= self._until:
            return BreakerView(self._held, self._held_evidence, self._since)
        if not self._until:
            return None
        if now < self._until:
            return BreakerView(self._until, self._evidence, self._since)
        if self._ramp_from is not None:
            share = self.share(now)
            if share >= 1:
                return None
            words = f"recovering after {self._evidence}"
            return BreakerView(self._ramp_from + self._ramp_s, words, self._since, share)
        if self._probe_until is not None and now < self._probe_until:
            words = f"its one probe is out after {self._evidence}"
            return BreakerView(self._probe_until, words, self._since, probing=True)
        return None

    def share(self, now: float) -> float:
        """The part of the calls that the candidate takes at ``now``: 0 open, 1 closed."""
        if now < max(self._until, self._held):
            return 0.0
        if not self._until:
            return 1.0
        if self._ramp_from is None:
            return 0.0
        grown = RAMP_BEGIN + (1 - RAMP_BEGIN) * (now - self._ramp_from) / max(self._ramp_s, 1e-9)
        return min(1.0, max(self._share, grown))

    def enter(self, now: float) -> Pass | BreakerView:
        """Let a call through, as the one probe where it is time for that, or say why not."""
        if self._held and now >= self._held:
            self._held = 0.0
        if not self._until and not self._held:
            return Pass(Door.CLOSED, self._era)
        view = self.view(now)
        if view is not None and not view.share:
            return view
        if self._until and self._ramp_from is None:
            self._probe_until = now + PROBE_MAX_S
            return Pass(Door.PROBE, self._era)
        return Pass(Door.RAMP if self._until else Door.CLOSED, self._era)

    def answered(self, now: float, passed: Pass) -> None:
        """The candidate answered: one failure less, a ramp begun, a share doubled, or all well.

        May be told of one call twice (at a stream's first content and at its end).
        """
        if passed.era != self._era:
            return
        if not self._until:
            if self._failures:
                self._failures.popleft()
            return
        if self._ramp_from is None:
            if passed.door is Door.PROBE:
                self._ramp_from, self._share, self._probe_until = now, RAMP_BEGIN, None
            return
        if passed.door is Door.RAMP:
            self._share = min(1.0, self._share * 2)
        if self.share(now) >= 1:
            self._close()

    def failed(
        self, now: float, passed: Pass, error: ProviderError, rules: Breaker, *, waited: bool
    ) -> None:
        """The candidate failed. ``waited``: its Retry-After is being waited for by this call, so
        that it holds nobody else."""
        if error.code in HARMLESS:
            self.left(passed)
            return
        wait = error.retry_after
        words = f"{error.code}: {error.message[:120]}"
        if passed.era == self._era:
            if passed.door is Door.CLOSED:
                self._failures.append(now)
                while self._failures and self._failures[0] <= now - rules.window:
                    self._failures.popleft()
                if len(self._failures) >= rules.failures:
                    own = rules.open * OPEN_TIMES.get(error.code, 1.0)
                    self._open(now, own if wait is None else wait, words, rules)
            else:
                own = rules.open * OPEN_TIMES.get(error.code, 1.0) * 2.0**self._opened
                own = min(own, max(rules.open, OPEN_MAX_S))
                self._open(now, max(own, wait or 0.0), words, rules)
        if wait is not None and not waited and now + wait > max(self._held, self._until):
            self._held = now + wait
            self._held_evidence = f"{error.code}: it asked to wait {wait:g} s"
            self._since = _iso(now)

    def left(self, passed: Pass) -> None:
        """What came of the call says nothing of the candidate: a probe is given back."""
        if passed.door is Door.PROBE and passed.era == self._era:
            self._probe_until = None

    def _open(self, now: float, seconds: float, words: str, rules: Breaker) -> None:
        self._until = now + seconds
        self._evidence, self._since = words, _iso(now)
        self._opened = min(self._opened + 1, 32)
        self._era += 1
        self._probe_until = self._ramp_from = None
        self._ramp_s = rules.open
        self._failures.clear()

    def _close(self) -> None:
        self._until, self._opened, self._ramp_from, self._share = 0.0, 0, None, 1.0
        self._era += 1
        self._failures.clear()


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
