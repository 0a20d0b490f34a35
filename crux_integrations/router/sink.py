"""Where one streamed attempt's events go: held back until committed, then straight through."""

from __future__ import annotations

import time
from collections.abc import Sequence

from crux_providers.base.events import ChatStreamEvent, StreamFolder


class Sink:
    """Holds events back until the stream commits, and folds them all into the answer so far.

    ``hold`` is seconds counted from the first committing event (0: none), or None for the whole
    answer. Until it is over a fault costs the caller nothing. Events before the first committing
    one are always held. ``committed`` says that the caller has seen something.
    """

    __slots__ = ("_hold", "_kept", "_until", "committed", "folder", "terminal")

    def __init__(self, hold: float | None) -> None:
        self._hold = hold
        self._kept: list[ChatStreamEvent] = []
        self._until: float | None = None
        self.committed = False
        self.folder = StreamFolder()
        self.terminal = ChatStreamEvent(finish=True)

    def take(self, event: ChatStreamEvent) -> Sequence[ChatStreamEvent]:
        """The events to hand out now: nothing yet, or all that was kept with ``event`` at its end.

        The terminal event is kept until the outcome is known.
        """
        if event.finish:
            self.terminal = event
            return ()
        self.folder.add(event)
        if self.committed:
            return (event,)
        self._kept.append(event)
        if self._hold is None:
            return ()
        if self._until is None:
            if not event.commits:
                return ()
            if self._hold <= 0:
                return self.release()
            self._until = time.monotonic() + self._hold
            return ()
        return self.release() if time.monotonic() >= self._until else ()

    @property
    def waits_for_content(self) -> bool:
        """Whether no content has come yet, so that the clock does not count."""
        return not self.committed and self._until is None

    def due(self) -> float | None:
        """Seconds until what is held back must go out (may be negative); None: no such time."""
        if self.committed or self._until is None:
            return None
        return self._until - time.monotonic()

    def release(self) -> list[ChatStreamEvent]:
        """Commit: all that was kept."""
        self.committed = True
        return self.rest()

    def rest(self) -> list[ChatStreamEvent]:
        """All that is still kept."""
        kept, self._kept = self._kept, []
        return kept
