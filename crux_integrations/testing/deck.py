"""Which recording is played next: each once and in order, for requests from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from .cassette_file import Interaction
from .matching import RequestKey


class Deck:
    """The interactions of a session, dealt to the requests that fit them.

    A request gets the first fitting interaction that was not played yet. After the last one it
    gets that one again where ``repeats`` is true, else nothing.
    """

    def __init__(
        self,
        interactions: Sequence[Interaction],
        fits: Callable[[RequestKey, RequestKey], bool],
        *,
        repeats: bool,
    ) -> None:
        self._interactions = interactions
        self._fits = fits
        self._repeats = repeats
        self._played: set[int] = set()
        self._lock = threading.Lock()

    def deal(self, sent: RequestKey) -> Interaction | None:
        """The interaction that answers ``sent``, or None."""
        fitting = [i for i, item in enumerate(self._interactions) if self._fits(item.key, sent)]
        with self._lock:
            fresh = next((i for i in fitting if i not in self._played), None)
            if fresh is not None:
                self._played.add(fresh)
                return self._interactions[fresh]
        return self._interactions[fitting[-1]] if fitting and self._repeats else None

    def put_back(self, item: Interaction) -> None:
        """Make ``item`` unplayed again: a fault took its place."""
        with self._lock:
            self._played.discard(next(i for i, x in enumerate(self._interactions) if x is item))
