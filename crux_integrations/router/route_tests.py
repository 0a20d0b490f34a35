"""The ``tests:`` of a routes file: plans that must come out, made with no call and no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .compiled import Lookup, compile_route
from .config import RoutesConfig
from .needs import Needs
from .plan import Plan, plan
from .policy import AdmissionView, BreakerView, CandidateStats, PlanState
from .routes import RouteTest

_ALWAYS = float("inf")


class _Seen(NamedTuple):
    value: bool
    at: float
    mode: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Stated:
    """What a test says was observed: it counts in every mode and never expires."""

    words: Mapping[str, bool]

    def fact(self, feature: str, mode: str, now: float, expire: float) -> _Seen | None:
        value = self.words.get(feature)
        return None if value is None else _Seen(value, now, mode, "stated by the test")


@dataclass(frozen=True, slots=True)
class TestResult:
    """How one test came out: ``passed``, the ``got`` candidates in order, and the whole plan."""

    __test__ = False  # pytest: no test class

    test: RouteTest
    passed: bool
    got: tuple[str, ...]
    plan: Plan

    def as_json(self) -> dict[str, object]:
        """The result as a mapping."""
        return {
            "name": self.test.name,
            "route": self.test.route,
            "passed": self.passed,
            "expect": list(self.test.expect),
            "got": list(self.got),
            "plan": self.plan.as_json(),
        }


def run_tests(config: RoutesConfig, lookup: Lookup, now: float) -> list[TestResult]:
    """Every test of the file, each with the state it says and no other. ``now`` is a Unix time."""
    results = []
    for test in config.tests:
        compiled = compile_route(config.routes, test.route, config.models, lookup)
        made = plan(Needs(**test.needs), compiled.members, state_of(test), compiled.policy, now, 0)
        got = tuple(step.candidate for step in made.steps)
        passed = got[: len(test.expect)] == test.expect if test.expect else not got
        results.append(TestResult(test, passed, got, made))
    return results


def state_of(test: RouteTest) -> PlanState:
    """The state a test states; empty where it says nothing."""
    said = test.state
    observed: dict[str, dict[str, _Stated]] = {}
    for ref, words in said.get("observed", {}).items():
        provider, model = _split(ref)
        observed.setdefault(provider, {})[model] = _Stated(words)
    return PlanState(
        missing_keys=dict.fromkeys(said.get("key", ()), "no key, as the test states"),
        observed=observed,
        breakers={
            _split(ref): BreakerView(_ALWAYS, "open, as the test states")
            for ref in said.get("breaker", ())
        },
        admission={
            _split(ref): AdmissionView(_ALWAYS, requests=0) for ref in said.get("admission", ())
        },
        stats={
            _split(ref): CandidateStats(latency=seconds, first_token=seconds)
            for ref, seconds in said.get("latency", {}).items()
        },
        spent={test.route: said.get("spent", 0.0)},
    )


def _split(ref: str) -> tuple[str, str]:
    provider, _, model = ref.partition(":")
    return provider, model
