"""Keeping the first part of a stream back, so that an early fault can still fall over unseen."""

from __future__ import annotations

import time

from crux_providers.base.events import ChatStreamEvent


class Holder:
    """Holds events until the stream commits.

    ``hold`` is seconds counted from the first committing event (0: none), or None for the whole
    answer. Released at the first event after that time; until then a fault costs the caller
    nothing. Events before the first committing one are always held.
    """

    __slots__ = ("_hold", "_kept", "_until")

    def __init__(self, hold: float | None) -> None:
        self._hold = hold
        self._kept: list[ChatStreamEvent] = []
        self._until: float | None = None

    def take(self, event: ChatStreamEvent) -> list[ChatStreamEvent]:
        """What may go out now: nothing yet, or all that was kept with ``event`` at its end."""
        self._kept.append(event)
        if self._hold is None:
            return []
        if self._until is None:
            if not event.commits:
                return []
            if self._hold <= 0:
                return self.rest()
            self._until = time.monotonic() + self._hold
            return []
        return self.rest() if time.monotonic() >= self._until else []

    def rest(self) -> list[ChatStreamEvent]:
        """All that is still kept."""
        kept, self._kept = self._kept, []
        return kept
