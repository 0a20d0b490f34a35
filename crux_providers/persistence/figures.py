"""What the ledger says of each model and route, kept in memory and refreshed in the background.

A plan reads it at every call, so a look costs an attribute and a comparison and never touches the
database: the writer's thread computes the figures, at the first look and then at most every
:data:`REFRESH_S` while somebody looks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from .database import Database
from .facts import ModelKey
from .ledger import CandidateStats, candidate_stats, mean_completion

REFRESH_S = 10.0
"""How old the figures may be before a look asks for newer ones."""
WINDOW_S = 86400.0
"""How far back they look; of that, at most the newest 20,000 attempts."""


class Figures(NamedTuple):
    """Figures of the last day, as of ``at`` (seconds since 1970; 0: nothing is known yet).

    ``candidates`` goes by (provider, model), ``mean_completion`` (tokens of an answer) by route.
    """

    candidates: Mapping[ModelKey, CandidateStats] = MappingProxyType({})
    mean_completion: Mapping[str | None, float] = MappingProxyType({})
    at: float = 0.0


NOTHING = Figures()


def load_figures(database: Database) -> Figures:
    """The figures as the database has them now."""
    now = time.time()
    since = now - WINDOW_S
    return Figures(
        MappingProxyType({stats[:2]: stats for stats in candidate_stats(database, since)}),
        MappingProxyType(mean_completion(database, since)),
        now,
    )
