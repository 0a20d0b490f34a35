"""The breaker as a pure machine: when it opens, who may probe, how a candidate comes back."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from crux_integrations.router.breaker import (
    FIRST,
    OPEN_MAX_S,
    PROBE_MAX_S,
    RAMP_BEGIN,
    Circuit,
    Door,
    Pass,
)
from crux_integrations.router.policy import BreakerView
from crux_integrations.router.routes import Breaker
from crux_providers.base.errors import HARMLESS, ErrorCode, ProviderError

RULES = Breaker(failures=3, window=60.0, open=30.0)
DOWN = ProviderError(ErrorCode.SERVER_ERROR, "down")


def entered(circuit: Circuit, now: float) -> Pass:
    passed = circuit.enter(now)
    assert isinstance(passed, Pass), passed
    return passed


def fail(circuit: Circuit, now: float, error: ProviderError = DOWN) -> None:
    circuit.failed(now, entered(circuit, now), error, RULES, waited=False)


def opened(now: float = 0.0, error: ProviderError = DOWN) -> Circuit:
    circuit = Circuit()
    for _ in range(RULES.failures):
        fail(circuit, now, error)
    return circuit


def test_it_opens_with_the_last_failure_of_the_window_and_names_it() -> None:
    circuit = Circuit()
    fail(circuit, 0.0)
    fail(circuit, 1.0)
    assert circuit.view(1.0) is None
    fail(circuit, 2.0)
    view = circuit.view(2.0)
    assert view is not None
    assert (view.until, view.evidence, view.share) == (32.0, "server_error: down", 0.0)
    assert view.since == "1970-01-01T00:00:02+00:00"
    assert isinstance(circuit.enter(31.9), BreakerView)


def test_the_window_slides() -> None:
    circuit = Circuit()
    for now in (0.0, 1.0, 61.0, 62.0):
        fail(circuit, now)
    assert circuit.view(62.0) is None
    fail(circuit, 63.0)
    assert circuit.view(63.0) is not None


def test_an_answer_takes_one_failure_away() -> None:
    """So that one failure in a hundred never opens it, and a dead candidate always does."""
    circuit = Circuit()
    for now in range(50):
        fail(circuit, float(now) / 100)
        circuit.answered(float(now) / 100, entered(circuit, float(now) / 100))
    assert circuit.healthy


@pytest.mark.parametrize("code", sorted(HARMLESS))
def test_what_is_the_requests_fault_counts_against_nobody(code: ErrorCode) -> None:
    circuit = Circuit()
    for _ in range(9):
        fail(circuit, 0.0, ProviderError(code, "your fault"))
    assert circuit.healthy


def test_what_somebody_has_to_mend_is_left_alone_longer() -> None:
    view = opened(0.0, ProviderError(ErrorCode.AUTH, "bad key")).view(0.0)
    assert view is not None
    assert view.until == 300.0


def test_one_probe_goes_and_the_others_step_aside_while_it_is_out() -> None:
    circuit = opened()
    assert circuit.view(30.0) is None, "a plan may have it as a candidate"
    probe = entered(circuit, 30.0)
    assert probe.door is Door.PROBE
    view = circuit.view(31.0)
    assert view is not None
    assert "one probe is out" in view.evidence
    assert isinstance(circuit.enter(31.0), BreakerView)


def test_a_probe_given_back_lets_another_go() -> None:
    circuit = opened()
    circuit.left(entered(circuit, 30.0))
    assert entered(circuit, 30.1).door is Door.PROBE


def test_a_probe_that_never_comes_back_is_given_up() -> None:
    circuit = opened()
    entered(circuit, 30.0)
    assert isinstance(circuit.enter(30.0 + PROBE_MAX_S - 1), BreakerView)
    assert entered(circuit, 30.0 + PROBE_MAX_S).door is Door.PROBE


def test_failed_probes_double_the_open_time_to_a_limit() -> None:
    circuit, now, lengths = opened(), 0.0, []
    for _ in range(8):
        view = circuit.view(now)
        assert view is not None
        lengths.append(view.until - now)
        now = view.until
        circuit.failed(now, entered(circuit, now), DOWN, RULES, waited=False)
    assert lengths == [30, 60, 120, 240, 480, OPEN_MAX_S, OPEN_MAX_S, OPEN_MAX_S]


def test_an_answered_probe_begins_the_ramp_and_answers_shorten_it() -> None:
    circuit = opened()
    circuit.answered(30.0, entered(circuit, 30.0))
    view = circuit.view(30.0)
    assert view is not None
    assert view.share == RAMP_BEGIN
    assert circuit.share(45.0) == pytest.approx((1 + RAMP_BEGIN) / 2)
    assert circuit.view(60.0) is None, "by time alone it takes all after `open`"
    passed = entered(circuit, 31.0)
    assert passed.door is Door.RAMP
    circuit.answered(31.0, passed)
    assert circuit.share(31.0) == 2 * RAMP_BEGIN
    circuit.answered(31.0, entered(circuit, 31.0))
    assert circuit.healthy, "closed: nothing is remembered"


def test_a_failure_in_the_ramp_opens_it_again_for_longer() -> None:
    circuit = opened()
    circuit.answered(30.0, entered(circuit, 30.0))
    circuit.failed(31.0, entered(circuit, 31.0), DOWN, RULES, waited=False)
    view = circuit.view(31.0)
    assert view is not None
    assert view.until == 31.0 + 60.0


def test_what_began_before_it_opened_says_nothing_of_the_time_after() -> None:
    circuit = Circuit()
    late = [entered(circuit, 0.0) for _ in range(9)]
    for passed in late[:3]:
        circuit.failed(0.0, passed, DOWN, RULES, waited=False)
    for passed in late[3:]:
        circuit.failed(29.0, passed, DOWN, RULES, waited=False)
    assert entered(circuit, 30.0).door is Door.PROBE
    circuit.answered(30.0, FIRST)
    assert circuit.share(30.0) == 0.0


def test_retry_after_holds_at_once_and_without_a_probe_after() -> None:
    circuit = Circuit()
    asked = ProviderError(ErrorCode.RATE_LIMIT, "slow down", retry_after=7.0)
    fail(circuit, 0.0, asked)
    view = circuit.view(0.0)
    assert view is not None
    assert (view.until, view.evidence) == (7.0, "rate_limit: it asked to wait 7 s")
    assert isinstance(circuit.enter(6.9), BreakerView)
    assert entered(circuit, 7.0).door is Door.CLOSED
    assert entered(circuit, 7.0).door is Door.CLOSED


def test_a_retry_after_that_is_waited_for_holds_nobody_else() -> None:
    circuit = Circuit()
    asked = ProviderError(ErrorCode.RATE_LIMIT, "slow down", retry_after=2.0)
    circuit.failed(0.0, entered(circuit, 0.0), asked, RULES, waited=True)
    assert circuit.view(0.0) is None


def test_retry_after_is_the_open_time_where_it_is_said() -> None:
    asked = ProviderError(ErrorCode.OVERLOADED, "busy", retry_after=90.0)
    circuit = Circuit()
    for _ in range(3):
        circuit.failed(0.0, FIRST, asked, RULES, waited=False)
    view = circuit.view(0.0)
    assert view is not None
    assert view.until == 90.0


@dataclass
class Call:
    passed: Pass
    began: float
    events: list[str] = field(default_factory=list)


class Machine(RuleBasedStateMachine):
    """Calls that begin and end in any order: never two probes, never a call while it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit()
        self.now = 0.0
        self.calls: list[Call] = []

    @rule(seconds=st.sampled_from([0.0, 0.5, 7.0, 29.0, 31.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def begin(self) -> None:
        view = self.circuit.view(self.now)
        passed = self.circuit.enter(self.now)
        if isinstance(passed, Pass):
            assert view is None or view.share > 0
            self.calls.append(Call(passed, self.now))
        else:
            assert view == passed
            assert view.until > self.now

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), how=st.sampled_from(["good", "bad", "harmless", "left", "asked"]))
    def end(self, data: st.DataObject, how: str) -> None:
        call = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        match how:
            case "good":
                self.circuit.answered(self.now, call.passed)
            case "left":
                self.circuit.left(call.passed)
            case "bad":
                self.circuit.failed(self.now, call.passed, DOWN, RULES, waited=False)
            case "harmless":
                error = ProviderError(ErrorCode.BAD_REQUEST, "no")
                self.circuit.failed(self.now, call.passed, error, RULES, waited=False)
            case _:
                asked = ProviderError(ErrorCode.RATE_LIMIT, "wait", retry_after=5.0)
                self.circuit.failed(self.now, call.passed, asked, RULES, waited=False)

    @invariant()
    def at_most_one_probe(self) -> None:
        out = [
            c
            for c in self.calls
            if c.passed.door is Door.PROBE
            and self.now < c.began + PROBE_MAX_S
            and c.passed.era == self.circuit._era
        ]
        assert len(out) <= 1

    @invariant()
    def the_share_is_a_share_and_agrees_with_the_view(self) -> None:
        share = self.circuit.share(self.now)
        assert 0.0 <= share <= 1.0
        view = self.circuit.view(self.now)
        if view is not None:
            assert view.until > self.now
            assert view.share < 1.0


Machine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase


@given(st.lists(st.sampled_from([0.0, 1.0, 30.0, 61.0, 1000.0]), max_size=30))
def test_a_dead_candidate_is_asked_no_more_than_the_rules_say(gaps: list[float]) -> None:
    """Until it opens, ``failures``; from then on one probe for each time that was over."""
    circuit, now, asked = Circuit(), 0.0, 0
    for gap in gaps:
        now += gap
        passed = circuit.enter(now)
        if isinstance(passed, Pass):
            asked += 1
            circuit.failed(now, passed, DOWN, RULES, waited=False)
    long_ones = sum(gap >= RULES.open for gap in gaps)
    if sum(gaps) <= RULES.window:
        assert asked <= RULES.failures + long_ones
