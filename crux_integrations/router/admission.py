"""What a candidate's rate limits leave, by its own headers and the calls begun since. Pure.

A limit is what the newest answer reported, less every call that this process began after the one
that brought the report: those in flight are counted before their answers come.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from crux_providers.base.rate_limits import Dimension, RateLimit

from .policy import AdmissionView

UNSAID_RESET_S = 1.0
"""How long a limit holds whose headers never say when it is whole again."""


@dataclass(slots=True)
class _Window:
    remaining: float
    limit: int | None
    at: float
    until: float
    gradual: bool
    calls: int
    tokens: int
    since: str

    def left(self, now: float) -> float:
        """What the report leaves at ``now``, before the calls begun since."""
        if not self.gradual or self.limit is None or self.until <= self.at:
            return self.remaining
        back = (self.limit - self.remaining) * (now - self.at) / (self.until - self.at)
        return min(self.limit, self.remaining + max(0.0, back))


class Allowance:
    """The rate limits of one candidate. Its owner has the lock.

    ``calls`` and ``tokens`` count what this process began; they only grow.
    """

    __slots__ = ("_windows", "calls", "tokens")

    def __init__(self) -> None:
        self._windows: dict[tuple[Dimension, str], _Window] = {}
        self.calls = 0
        self.tokens = 0

    @property
    def limited(self) -> bool:
        """Whether any limit is known."""
        return bool(self._windows)

    def begin(self, tokens: int) -> tuple[int, int]:
        """Count a call; the two counts after it are what its report is taken with."""
        self.calls += 1
        self.tokens += tokens
        return self.calls, self.tokens

    def report(self, limits: Iterable[RateLimit], now: float, begun: tuple[int, int]) -> None:
        """Take what the headers of an answer said; ``begun`` is what :meth:`begin` gave its call.

        The report of a call that began before the one known leaves no more than that one did.
        """
        since = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
        for limit in limits:
            place = limit.dimension, limit.window
            known = self._windows.get(place)
            remaining = float(limit.remaining)
            calls, tokens = begun
            if known is not None and known.calls > calls and now < known.until:
                remaining = min(remaining, known.left(now))
                calls, tokens = known.calls, known.tokens
            reset = UNSAID_RESET_S if limit.reset is None else limit.reset
            self._windows[place] = _Window(
                remaining, limit.limit, now, now + reset, limit.gradual, calls, tokens, since
            )

    def view(self, now: float) -> AdmissionView | None:
        """What is left at ``now``; None where no limit is known any more."""
        if not self._windows:
            return None
        least: dict[Dimension, tuple[float, _Window]] = {}
        for place, window in list(self._windows.items()):
            if now >= window.until:
                self._windows.pop(place, None)
                continue
            dimension = place[0]
            left = window.left(now) - self._begun(dimension, window)
            known = least.get(dimension)
            if known is None or left < known[0]:
                least[dimension] = left, window
        if not least:
            return None
        tokens = min(_of(least, "tokens"), _of(least, "input_tokens"))
        requests, output = _of(least, "requests"), _of(least, "output_tokens")
        scarce: Dimension = (
            "requests" if requests < 1 else "output_tokens" if output < 1 else "tokens"
        )
        if scarce not in least:
            scarce = "input_tokens" if "input_tokens" in least else next(iter(least))
        window = least[scarce][1]
        return AdmissionView(
            window.until, _whole(requests), _whole(tokens), window.since, _whole(output)
        )

    def _begun(self, dimension: Dimension, window: _Window) -> int:
        match dimension:
            case "requests":
                return self.calls - window.calls
            case "output_tokens":
                return 0
            case _:
                return self.tokens - window.tokens


def _of(least: dict[Dimension, tuple[float, _Window]], dimension: Dimension) -> float:
    found = least.get(dimension)
    return math.inf if found is None else found[0]


def _whole(left: float) -> int | None:
    return None if left == math.inf else math.floor(left)
