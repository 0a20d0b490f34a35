"""``crux benchmark``: how long one model takes to answer."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import click

from crux_providers.config import defaults

from .options import AS_JSON, show_json, show_logs

if TYPE_CHECKING:
    from crux_providers.base import BaseProvider, ChatRequest

PERCENTILES = (50, 90, 95, 99)
_PLACES = 3  # decimals of a millisecond


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value below which ``percent`` of the ``ordered`` values lie, between two by proportion.

    ``ordered`` holds at least one value, in ascending order; the result is in its unit.
    """
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def statistics(durations_ms: Iterable[float]) -> dict[str, float]:
    """Durations in milliseconds as one flat mapping: count, total, min, max, mean, median, p50…p99.

    Raises ValueError where there are none.
    """
    ordered = sorted(round(duration, _PLACES) for duration in durations_ms)
    if not ordered:
        raise ValueError("no duration was measured")
    total = round(sum(ordered), _PLACES)
    figures = {
        "count": len(ordered),
        "total_ms": total,
        "min_ms": ordered[0],
        "max_ms": ordered[-1],
        "mean_ms": total / len(ordered),
        "median_ms": round(percentile(ordered, 50), _PLACES),
    }
    for percent in PERCENTILES:
        figures[f"p{percent}_ms"] = round(percentile(ordered, percent), _PLACES)
    return figures


def measured(call: Callable[[], None], runs: int, warmups: int) -> list[float]:
    """The milliseconds of each of ``runs`` calls, after ``warmups`` that do not count."""
    durations: list[float] = []
    with click.progressbar(
        range(warmups + runs), label="calls", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as numbers:
        for number in numbers:
            began = time.perf_counter()
            call()
            if number >= warmups:
                durations.append((time.perf_counter() - began) * 1000)
    return durations


def caller(provider: BaseProvider, request: ChatRequest, *, stream: bool) -> Callable[[], None]:
    """One call as a function without arguments; it raises ProviderError where the call fails."""

    def whole() -> None:
        provider.chat(request)

    def streamed() -> None:
        with provider.stream_chat(request) as controller:
            for _ in controller:
                pass
        if controller.error is not None:
            raise controller.error

    return streamed if stream else whole


@click.command()
@click.option("--provider", required=True, help="The provider: openai, anthropic, ollama, …")
@click.option("--model", required=True, help="Its model.")
@click.option("--prompt", required=True, help="What to ask each time.")
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    default=defaults.BENCHMARK_RUNS,
    show_default=True,
    help="Calls that are measured.",
)
@click.option(
    "--warmups",
    type=click.IntRange(min=0),
    default=defaults.BENCHMARK_WARMUPS,
    show_default=True,
    help="Calls before them that are not.",
)
@click.option(
    "--stream",
    type=bool,
    is_flag=False,
    flag_value=True,
    default=False,
    show_default=True,
    help="Measure streams to their end: true or false.",
)
@AS_JSON
def benchmark(
    provider: str, model: str, prompt: str, runs: int, warmups: int, stream: bool, as_json: bool
) -> int:
    """Time a model's answers; prints one JSON object of milliseconds, whether --json or not."""
    from crux_providers.base import ChatRequest, Message, ProviderFactory
    from crux_providers.base.logging import get_logger, log_event

    show_logs(logging.INFO)
    request = ChatRequest(model=model, messages=[Message("user", prompt)])
    with ProviderFactory.create(provider) as made:
        figures = statistics(measured(caller(made, request, stream=stream), runs, warmups))
    log_event(
        get_logger(), logging.INFO, "benchmark.end",
        provider=made.provider_name, model=model, operation="benchmark", stage="finalize",
        stream=stream, warmups=warmups, metrics=figures,
    )  # fmt: skip
    show_json(figures)
    return 0
