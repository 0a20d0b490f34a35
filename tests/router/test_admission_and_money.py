"""What rate limits and budgets leave, exactly, however many calls there are at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_integrations.router.admission import UNSAID_RESET_S, Allowance
from crux_integrations.router.policy import Rejection
from crux_integrations.router.routes import Breaker, Budget, RouteConfig
from crux_integrations.router.spending import Reserved, Spending
from crux_integrations.router.state import Ask, LocalState, Outcome, Ticket
from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.rate_limits import RateLimit

KEY = ("p", "m")
ASK = Ask(KEY, Breaker())
DAY = RouteConfig("r", budget=Budget(per_day=1.0))
NOON = 1_763_812_800.0


def test_what_is_left_is_the_report_less_what_began_since() -> None:
    allowance = Allowance()
    first = allowance.begin(10)
    allowance.begin(10)
    allowance.report([RateLimit("requests", "", 5, 10, 60.0)], 0.0, first)
    view = allowance.view(1.0)
    assert view is not None
    assert (view.requests, view.until) == (4, 60.0)
    allowance.begin(10)
    assert allowance.view(1.0).requests == 3  # type: ignore[union-attr]  # it is limited
    assert allowance.view(60.0) is None


def test_an_older_report_raises_nothing() -> None:
    allowance = Allowance()
    old, new = allowance.begin(0), allowance.begin(0)
    allowance.report([RateLimit("requests", "", 1, 10, 60.0)], 0.0, new)
    allowance.report([RateLimit("requests", "", 2, 10, 60.0)], 0.1, old)
    assert allowance.view(0.1).requests == 1  # type: ignore[union-attr]  # it is limited


def test_a_gradual_limit_comes_back_bit_by_bit() -> None:
    allowance = Allowance()
    allowance.report([RateLimit("requests", "", 0, 10, 10.0, True)], 0.0, allowance.begin(0))
    assert [allowance.view(t).requests for t in (0.0, 0.9, 1.0, 5.5)] == [0, 0, 1, 5]  # type: ignore[union-attr]  # it is limited


def test_a_limit_that_never_says_when_holds_for_a_moment() -> None:
    allowance = Allowance()
    allowance.report([RateLimit("requests", "", 0)], 0.0, allowance.begin(0))
    assert allowance.view(UNSAID_RESET_S / 2) is not None
    assert allowance.view(UNSAID_RESET_S) is None


def test_the_scarcest_of_several_windows_counts() -> None:
    allowance = Allowance()
    limits = [
        RateLimit("tokens", "minute", 900, None, 60.0),
        RateLimit("tokens", "day", 100, None, 9999.0),
        RateLimit("input_tokens", "", 50, None, 30.0),
        RateLimit("output_tokens", "", 0, None, 5.0),
    ]
    allowance.report(limits, 0.0, allowance.begin(0))
    view = allowance.view(1.0)
    assert view is not None
    assert (view.tokens, view.output, view.requests, view.until) == (50, 0, None, 5.0)


def test_threads_share_what_is_left_exactly() -> None:
    state = LocalState()
    first = state.enter(ASK, 0.0)
    assert isinstance(first, Ticket)
    state.headers(
        first, {"x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "60"}, 0.0
    )
    start = threading.Barrier(32)

    def call(_: int) -> bool:
        start.wait()
        return isinstance(state.enter(ASK, 1.0), Ticket)

    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(call, range(32))) == 7
    refused = state.enter(ASK, 1.0)
    assert isinstance(refused, Rejection)
    assert refused.rule == "admission"
    assert "no request left" in refused.evidence
    assert state.admission(1.0)[KEY].requests == 0
    assert isinstance(state.enter(ASK, 61.0), Ticket)


# -- money ----------------------------------------------------------------------------------------


def paying(usd: float, *routes: RouteConfig, **spent: float) -> Ask:
    return Ask(KEY, Breaker(), 0, usd, routes, spent)


def test_a_day_is_never_overdrawn_by_calls_at_the_same_time() -> None:
    state = LocalState()
    start = threading.Barrier(32)

    def call(i: int) -> float:
        start.wait()
        ticket = state.enter(paying(0.1, DAY), NOON)
        if not isinstance(ticket, Ticket):
            assert ticket.rule == "budget"
            return 0.0
        state.settle(ticket, Outcome(answered=True, usd=0.09), NOON)
        return 0.09

    with ThreadPoolExecutor(32) as pool:
        paid = sum(pool.map(call, range(32)))
    assert paid <= 1.0
    assert state.spent("r", NOON) == pytest.approx(paid)
    assert paid + 0.1 > 0.9, "and it is used"


def test_what_is_set_aside_counts_until_the_truth_is_known() -> None:
    state = LocalState()
    ticket = state.enter(paying(0.7, DAY), NOON)
    assert isinstance(ticket, Ticket)
    assert state.spent("r", NOON) == pytest.approx(0.7)
    assert isinstance(state.enter(paying(0.4, DAY), NOON), Rejection)
    state.settle(ticket, Outcome(error=ProviderError(ErrorCode.RATE_LIMIT, "no")), NOON)
    assert state.spent("r", NOON) == 0.0
    state.settle(ticket, Outcome(usd=5.0), NOON)  # a second time changes nothing
    assert isinstance(state.enter(paying(0.4, DAY), NOON), Ticket)


def test_every_route_around_an_attempt_has_to_agree() -> None:
    outer = RouteConfig("outer", budget=Budget(per_day=0.5))
    state = LocalState()
    refused = state.enter(paying(0.7, outer, DAY), NOON)
    assert isinstance(refused, Rejection)
    assert "'outer'" in refused.evidence
    assert state.spent("r", NOON) == 0.0


def test_a_call_may_not_cost_more_in_sum_than_one_call_may() -> None:
    route = RouteConfig("r", budget=Budget(per_call=0.1))
    state = LocalState()
    assert isinstance(state.enter(paying(0.06, route), NOON), Ticket)
    refused = state.enter(paying(0.06, route, r=0.06), NOON)
    assert isinstance(refused, Rejection)
    assert refused.evidence == "about $0.06 after $0.06 in this call, per_call of route 'r' is $0.1"


def test_a_new_day_begins_with_nothing_spent() -> None:
    spending = Spending()
    kept = spending.reserve([DAY], 0.9, NOON)
    assert isinstance(kept, Reserved)
    spending.settle(kept, 0.9)
    assert isinstance(spending.reserve([DAY], 0.9, NOON), tuple)
    late = spending.reserve([DAY], 0.9, NOON + 86400)
    assert isinstance(late, Reserved)
    assert spending.spent("r", NOON + 86400) == pytest.approx(0.9)


def test_a_breaker_that_is_open_keeps_no_money_aside() -> None:
    state = LocalState()
    for _ in range(5):
        ticket = state.enter(ASK, NOON)
        assert isinstance(ticket, Ticket)
        state.settle(ticket, Outcome(error=ProviderError(ErrorCode.SERVER_ERROR, "no")), NOON)
    refused = state.enter(paying(0.5, DAY), NOON)
    assert isinstance(refused, Rejection)
    assert refused.rule == "breaker"
    assert state.spent("r", NOON) == 0.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.1, 0.4]), st.sampled_from([0.0, 0.1, 0.3]), st.booleans()
        ),
        max_size=30,
    )
)
def test_paid_and_set_aside_is_what_is_spent(calls: list[tuple[float, float, bool]]) -> None:
    """Estimates that hold keep the day within its limit, in any order of beginnings and ends."""
    spending, paid, out = Spending(), 0.0, []
    for estimate, cost, ends in calls:
        got = spending.reserve([DAY], estimate, NOON)
        if isinstance(got, Reserved):
            out.append((got, min(cost, estimate)))
        if ends and out:
            kept, usd = out.pop(0)
            spending.settle(kept, usd)
            paid += usd
        aside = sum(kept.usd for kept, _ in out)
        assert spending.spent("r", NOON) == pytest.approx(paid + aside)
        assert paid + aside <= 1.0 + 1e-9
