"""``crux benchmark``: its words, its one JSON object, its log record, its exit codes."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_integrations.cli import benchmark
from crux_providers.config import defaults
from tests.cli.conftest import Ran
from tests.servers.scripted_server import ScriptedServer

FIGURES = [
    "count", "total_ms", "min_ms", "max_ms", "mean_ms", "median_ms", "p50_ms", "p90_ms", "p95_ms",
    "p99_ms",
]  # fmt: skip
WORDS = ("benchmark", "--provider", "openai", "--model", "gpt-4o", "--prompt", "Say 'ok' once.")
Crux = Callable[..., Ran]


@pytest.mark.contract(176, 180, 181, 182, 183, 185)
@pytest.mark.parametrize(
    ("more", "runs", "warmups", "stream"),
    [
        ((), 5, 0, False),
        (("--runs", "3", "--warmups", "2", "--stream", "false"), 3, 2, False),
        (("--runs", "2", "--stream", "true"), 2, 0, True),
        (("--stream", "--runs", "1", "--json"), 1, 0, True),
    ],
)
def test_it_prints_one_flat_object(
    more: tuple[str, ...], runs: int, warmups: int, stream: bool, crux: Crux, openai: ScriptedServer
) -> None:
    done = crux(*WORDS, *more)
    assert done.code == 0
    figures = done.json
    assert list(figures) == FIGURES
    assert figures["count"] == runs
    assert figures["min_ms"] > 0
    bodies = [json.loads(exchange.body) for exchange in openai.exchanges]
    assert len(bodies) == runs + warmups
    assert all(bool(body.get("stream")) is stream for body in bodies)
    assert bodies[0]["messages"][-1]["content"] == "Say 'ok' once."
    (record,) = done.records
    assert (record["provider"], record["operation"]) == ("openai", "benchmark")
    assert record["metrics"] == figures


@pytest.mark.contract(184)
@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=40))
def test_the_figures_agree(durations: list[float]) -> None:
    found: dict[str, Any] = benchmark.statistics(durations)
    names = ("min_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms")
    assert sorted(found[name] for name in names) == [found[name] for name in names]
    assert found["mean_ms"] == found["total_ms"] / found["count"]
    assert math.isclose(found["total_ms"], sum(durations), rel_tol=1e-9, abs_tol=0.001 * 40)
    ordered = sorted(round(duration, 3) for duration in durations)
    if len(ordered) % 2:
        assert found["median_ms"] == found["p50_ms"] == ordered[len(ordered) // 2]


@pytest.mark.contract(184)
def test_percentiles_lie_between_values_by_proportion() -> None:
    assert [benchmark.percentile([10, 20, 30, 40, 50], p) for p in (0, 50, 90, 100)] == [
        10, 30, 46, 50,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no duration"):
        benchmark.statistics([])


@pytest.mark.contract(12, 180, 181)
def test_its_defaults_are_those_of_the_defaults() -> None:
    assert (defaults.BENCHMARK_RUNS, defaults.BENCHMARK_WARMUPS) == (5, 0)
    options = {option.name: option for option in benchmark.benchmark.params}
    assert options["runs"].default == defaults.BENCHMARK_RUNS
    assert options["warmups"].default == defaults.BENCHMARK_WARMUPS
    assert options["stream"].default is False
    assert all(options[name].required for name in ("provider", "model", "prompt"))


@pytest.mark.contract(177, 178, 179)
@pytest.mark.parametrize("name", ["--provider", "--model", "--prompt"])
def test_what_it_cannot_do_without(name: str, crux: Crux, openai: ScriptedServer) -> None:
    at = WORDS.index(name)
    done = crux(*WORDS[:at], *WORDS[at + 2 :])
    assert done.code == 2
    assert name in done.err
    assert openai.requests == 0


@pytest.mark.parametrize("words", [("--runs", "0"), ("--warmups", "-1"), ("--stream", "maybe")])
def test_numbers_that_make_no_sense_are_usage_errors(words: tuple[str, str], crux: Crux) -> None:
    done = crux(*WORDS, *words)
    assert done.code == 2
    assert words[0] in done.err


@pytest.mark.contract(187)
@pytest.mark.parametrize("stream", ["true", "false"])
def test_a_call_that_fails_is_no_figure(stream: str, crux: Crux, openai: ScriptedServer) -> None:
    openai.play(lambda x: x.answer(b'{"error": {"message": "no such key", "code": null}}', 401))
    done = crux(*WORDS, "--stream", stream)
    assert (done.code, done.out) == (1, "")
    assert done.lines == ["crux: openai:gpt-4o auth (HTTP 401): no such key"]
    assert openai.requests == 1


@pytest.mark.contract(177, 187)
def test_an_unknown_provider_is_one_line(crux: Crux) -> None:
    done = crux("benchmark", "--provider", "opnai", "--model", "m", "--prompt", "x")
    assert done.code == 1
    assert done.lines == ["crux: opnai not_found: unknown provider 'opnai', did you mean 'openai'?"]


@pytest.mark.contract(186)
def test_a_slow_stream_is_measured_to_its_end(
    crux: Crux, openai: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.cli.conftest import WIRE

    monkeypatch.setattr(defaults, "TIMEOUT_FIRST_TOKEN_S", 0.2)

    def slow(exchange: Any) -> None:
        exchange.begin_stream()
        exchange.chunk(b"".join((*WIRE.opening, WIRE.text("a"))))
        for _ in range(3):
            exchange.connection.closed.wait(0.1)
            exchange.chunk(WIRE.text("b"))
        exchange.chunk(b"".join(WIRE.ending))
        exchange.end_stream()

    openai.play(slow)
    done = crux(*WORDS, "--runs", "1", "--stream", "true")
    assert done.code == 0
    assert done.json["max_ms"] > 290
    openai.play(lambda exchange: exchange.stall())
    done = crux(*WORDS, "--runs", "1", "--stream", "true")
    assert done.code == 1
    assert "timeout" in done.lines[0]


@pytest.mark.contract(8, 176)
def test_both_names_are_the_same_program() -> None:
    from importlib.metadata import entry_points

    found = {
        entry.name: entry.value
        for entry in entry_points(group="console_scripts")
        if entry.name in ("crux", "providers-cli")
    }
    assert found == dict.fromkeys(("crux", "providers-cli"), "crux_integrations.cli.main:main")
    done = subprocess.run(
        [sys.executable, "-m", "crux_integrations.cli", "benchmark", "--help"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "--warmups" in done.stdout
