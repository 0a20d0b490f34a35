"""How often and how patiently the start of a call is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import defaults


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """``max_attempts`` counts all requests (1: no retry); ``initial`` and ``max`` are seconds.

    ``jitter`` is the share of a delay that is random (0.5: between half and all of it).
    ``patience`` is the longest Retry-After worth waiting for; a longer one ends the retries.
    """

    max_attempts: int = 1
    initial: float = defaults.RETRY_INITIAL_S
    max: float = defaults.RETRY_MAX_S
    jitter: float = defaults.RETRY_JITTER
    patience: float = defaults.RETRY_PATIENCE_S

    def delay(self, failures: int, retry_after: float | None, random: float) -> float | None:
        """Seconds to wait after ``failures`` failures, or None where no retry is worth it.

        ``retry_after`` (seconds) stands over the backoff when it is longer, and ends the retries
        when it is longer than ``patience``. ``random`` is a number in [0, 1).
        """
        if failures >= self.max_attempts:
            return None
        if retry_after is not None and retry_after > self.patience:
            return None
        backoff = min(self.max, self.initial * 2.0 ** (failures - 1))
        backoff *= 1 - self.jitter * random
        return max(backoff, retry_after or 0.0)
