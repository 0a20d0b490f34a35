"""What a router remembers between calls in this process: which candidates are broken, and why."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from crux_providers.base.errors import HARMLESS, ProviderError

from .policy import BreakerView
from .routes import Breaker

Key = tuple[str, str]


@dataclass(slots=True)
class _Health:
    failures: deque[float] = field(default_factory=deque)
    until: float = 0.0
    opened: int = 0
    evidence: str = ""
    since: str | None = None


class RouterState:
    """Breakers by (provider, model); safe to use from many threads.

    ``failures`` within ``window`` seconds open a breaker for ``open`` seconds, twice as long each
    time it fails again without a success between; a Retry-After that nobody waited for holds the
    candidate until it is over.
    """

    def __init__(self) -> None:
        self._health: dict[Key, _Health] = {}
        self._lock = threading.Lock()

    def breakers(self, now: float) -> Mapping[Key, BreakerView]:
        """The breakers that are open at ``now`` (Unix time)."""
        if not self._health:
            return {}
        with self._lock:
            return {
                key: BreakerView(h.until, h.evidence, h.since)
                for key, h in self._health.items()
                if now < h.until
            }

    def succeeded(self, key: Key) -> None:
        """The candidate answered: its failures are forgotten."""
        if key in self._health:
            with self._lock:
                self._health.pop(key, None)

    def failed(self, key: Key, error: ProviderError, breaker: Breaker, *, waited: bool) -> None:
        """The candidate failed; ``waited`` says that its Retry-After was waited for."""
        if error.code in HARMLESS:
            return
        now = time.time()
        with self._lock:
            health = self._health.setdefault(key, _Health())
            health.failures.append(now)
            while health.failures and health.failures[0] < now - breaker.window:
                health.failures.popleft()
            again = health.opened and now >= health.until
            if now >= health.until and (again or len(health.failures) >= breaker.failures):
                length = min(breaker.open * 2.0**health.opened, max(breaker.open, 600.0))
                health.opened += 1
                self._open(health, now + length, now, f"{error.code}: {error.message[:120]}")
            if error.retry_after is not None and not waited:
                until = now + error.retry_after
                if until > health.until:
                    words = f"{error.code}: it asked to wait {error.retry_after:g} s"
                    self._open(health, until, now, words)

    @staticmethod
    def _open(health: _Health, until: float, now: float, evidence: str) -> None:
        health.until = until
        health.evidence = evidence
        health.since = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
