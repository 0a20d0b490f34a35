"""The ledger's figures in the units and names that plans use. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from crux_providers.persistence.figures import NOTHING, Figures

from .policy import CandidateStats
from .state import P95_SAMPLES, Key, Mode


class Evidence(NamedTuple):
    """Figures of candidates by (provider, model), in seconds and ratios; see PlanState.

    ``p95`` has the 95th percentile of a whole answer and of a stream's first token, where enough
    answers were seen.
    """

    stats: Mapping[Key, CandidateStats]
    mean_output: Mapping[str, float]
    chars_per_token: Mapping[Key, float]
    p95: Mapping[tuple[Key, Mode], float]

    @classmethod
    def of(cls, figures: Figures) -> Evidence:
        """What the ledger's figures say."""
        stats: dict[Key, CandidateStats] = {}
        chars: dict[Key, float] = {}
        p95: dict[tuple[Key, Mode], float] = {}
        mode: Mode
        for key, seen in figures.candidates.items():
            stats[key] = CandidateStats(
                latency=_seconds(seen.duration_p50),
                first_token=_seconds(seen.ttft_p50),
                successes=seen.succeeded,
                failures=seen.failed,
                cost_ratio=seen.cost_ratio,
            )
            if seen.chars_per_token:
                chars[key] = seen.chars_per_token
            for mode, count, slow in (
                ("whole", seen.succeeded - seen.streamed, seen.duration_p95),
                ("stream", seen.streamed, seen.ttft_p95),
            ):
                if slow is not None and count >= P95_SAMPLES:
                    p95[key, mode] = slow / 1000
        means = {route: mean for route, mean in figures.mean_completion.items() if route}
        return cls(stats, means, chars, p95)


NO_EVIDENCE = Evidence.of(NOTHING)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
