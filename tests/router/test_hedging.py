"""A second candidate beside a slow one: who wins, what becomes of the loser, what it may cost."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from crux_integrations.router.router import CallOptions, Router
from crux_integrations.router.spending import HedgeAccount
from crux_integrations.router.state import P95_SAMPLES, LocalState
from crux_providers.base import ChatRequest, Message
from crux_providers.base.cancellation import CancellationToken, CancelledError
from crux_providers.base.errors import AllCandidatesFailed, ProviderError, StreamInterrupted
from crux_providers.base.models import ChatResponse
from crux_providers.openai.client import OpenAIProvider
from tests.router.live import (
    REQUEST,
    STREAMS,
    WAYS,
    WIRE,
    Ask,
    after,
    begin,
    good,
    hang,
    router,
    status,
    wait_until,
    whole,
)
from tests.servers.scripted_server import Exchange, ScriptedServer


@pytest.fixture(autouse=True, scope="module")
def _imported() -> None:
    """What a first call imports takes longer than the hedges here wait."""
    with ScriptedServer(good) as server:
        for ask in WAYS:
            ask(router(server))


ALL = pytest.mark.parametrize("ask", WAYS, ids=lambda f: f.__name__)
SOON = {"after": "30ms", "max_extra": "100%"}


@ALL
def test_the_second_candidate_answers_where_the_first_is_slow(
    ask: Ask, one: ScriptedServer, two: ScriptedServer
) -> None:
    one.play(hang)
    two.play(good)
    r = router(one, two, hedge=SOON)
    text, crux = ask(r)
    assert text == "Hello there"
    assert crux["provider"] == "two"
    lost, won = crux["attempts"]
    assert (lost["provider"], lost["outcome"], lost["error_code"]) == (
        "one",
        "cancelled",
        "cancelled",
    )
    assert "hedge lost: two:m" in lost["reason"]
    assert lost["cost_usd"] == pytest.approx((1 + 4 + 100) * 1e-6, abs=5e-6), "the plan's estimate"
    assert won["outcome"] == "success"
    assert "one:m took over 0.03 s" in won["chosen"]
    assert crux["cost_usd"] == pytest.approx(sum(a["cost_usd"] or 0 for a in crux["attempts"]))
    one.assert_closed()
    assert r.explain(REQUEST).steps[0].provider == "one", "losing counts against nobody"
    assert r.explain(REQUEST).rejected == ()


@ALL
def test_the_first_may_still_win_and_the_second_is_ended(
    ask: Ask, one: ScriptedServer, two: ScriptedServer
) -> None:
    asked = threading.Event()

    def second(x: Exchange) -> None:
        asked.set()
        x.stall()

    one.play(after(asked))
    two.play(second)
    r = router(one, two, hedge=SOON)
    text, crux = ask(r)
    assert text == "Hello there"
    assert crux["provider"] == "one"
    assert [(a["provider"], a["outcome"]) for a in crux["attempts"]] == [
        ("one", "success"),
        ("two", "cancelled"),
    ]
    two.assert_closed()


@ALL
def test_a_quick_first_candidate_is_alone(
    ask: Ask, one: ScriptedServer, two: ScriptedServer
) -> None:
    one.play(good)
    _, crux = ask(router(one, two, hedge={"after": "5s"}))
    assert [a["provider"] for a in crux["attempts"]] == ["one"]
    assert two.requests == 0


@ALL
def test_a_first_that_fails_waits_for_the_second(
    ask: Ask, one: ScriptedServer, two: ScriptedServer
) -> None:
    asked = threading.Event()
    breaker = {"failures": 1, "open": "60s"}
    r = router(one, two, hedge=SOON, breaker=breaker)

    def second(x: Exchange) -> None:
        asked.set()
        wait_until(lambda: r.explain(REQUEST).rejected)  # the first has failed
        good(x)

    one.play(after(asked, status(500)))
    two.play(second)
    text, crux = ask(r)
    assert text == "Hello there"
    assert [(a["provider"], a["outcome"]) for a in crux["attempts"]] == [
        ("one", "error"),
        ("two", "success"),
    ]


@ALL
def test_a_second_that_fails_leaves_the_first_alone(
    ask: Ask, one: ScriptedServer, two: ScriptedServer
) -> None:
    breaker = {"failures": 1, "open": "60s"}
    r = router(one, two, hedge=SOON, breaker=breaker)

    def first(x: Exchange) -> None:
        wait_until(lambda: r.explain(REQUEST).rejected)  # the second has failed
        good(x)

    one.play(first)
    two.play(status(429))
    text, crux = ask(r)
    assert text == "Hello there"
    assert crux["provider"] == "one"
    assert [a["outcome"] for a in crux["attempts"]] == ["success", "error"]


@ALL
def test_when_both_fail_each_was_asked_once(
    ask: Ask, one: ScriptedServer, two: ScriptedServer
) -> None:
    asked = threading.Event()

    def second(x: Exchange) -> None:
        asked.set()
        status(500)(x)

    one.play(after(asked, status(503)))
    two.play(second)
    with pytest.raises(AllCandidatesFailed) as caught:
        ask(router(one, two, hedge=SOON))
    assert sorted(a["provider"] for a in caught.value.attempts) == ["one", "two"]
    assert (one.requests, two.requests) == (1, 1)


@pytest.mark.parametrize("ask", STREAMS, ids=lambda f: f.__name__)
def test_a_stream_that_won_and_breaks_is_interrupted_as_ever(
    ask: Ask, one: ScriptedServer, two: ScriptedServer
) -> None:
    def breaks(x: Exchange) -> None:
        begin(x)
        for frame in (*WIRE.opening, WIRE.text("Hel")):
            x.chunk(frame)
        x.reset()

    one.play(hang)
    two.play(breaks)
    with pytest.raises(StreamInterrupted) as caught:
        ask(router(one, two, hedge=SOON))
    assert caught.value.partial.text == "Hel"
    assert caught.value.provider == "two"
    assert [a["outcome"] for a in caught.value.attempts] == ["cancelled", "interrupted"]


@ALL
def test_without_evidence_there_is_no_p95_and_no_hedge(
    ask: Ask, one: ScriptedServer, two: ScriptedServer
) -> None:
    quick = router(one, two, hedge={"after": "p95", "max_extra": "100%"})
    one.play(good)
    for _ in range(P95_SAMPLES):
        ask(quick)
    assert two.requests == 0
    one.play(hang)
    two.play(good)
    text, crux = ask(quick)  # now it knows how long the first takes
    assert text == "Hello there"
    assert crux["provider"] == "two"


def test_p95_needs_its_samples_and_is_the_nearest_rank() -> None:
    state = LocalState()
    key = ("p", "m")
    for i in range(P95_SAMPLES - 1):
        state.took(key, "whole", float(i))
    assert state.p95(key, "whole") is None
    state.took(key, "whole", 100.0)
    assert state.p95(key, "whole") == 18.0
    assert state.p95(key, "stream") is None


def test_hedges_stay_within_their_share(one: ScriptedServer, two: ScriptedServer) -> None:
    slow = threading.Event()

    def first(x: Exchange) -> None:
        slow.wait(0.03)
        good(x)

    one.play(first)
    two.play(hang)
    r = router(one, two, hedge={"after": "5ms", "max_extra": "1%"})
    for _ in range(25):
        whole(r)  # costs $0.0011, a lost hedge by its estimate a tenth of that
    # The first of all, then one for each ten calls that were paid for.
    assert 1 <= two.requests <= 3


def test_the_account_forgets_and_the_first_hedge_is_free() -> None:
    account = HedgeAccount()
    assert account.may(0.0, 1.0, 0.05)
    account.hedge(0.0, 1.0)
    assert not account.may(0.0, 1.0, 0.05)
    for _ in range(39):
        account.call(0.0, 1.0)
    assert not account.may(0.0, 1.0, 0.05)
    account.call(0.0, 1.0)
    assert account.may(0.0, 1.0, 0.05)
    account.hedge(0.0, 1.0)
    assert not account.may(0.0, 1.0, 0.05)
    assert not account.may(0.0, None, 0.05), "an unknown price is counted in requests"


def test_never_a_hedge_that_breaks_a_budget(one: ScriptedServer, two: ScriptedServer) -> None:
    one.play(lambda x: (threading.Event().wait(0.08), good(x)))  # type: ignore[arg-type, return-value]
    # One attempt is about $0.000105; two are more than the call may cost.
    r = router(one, two, hedge=SOON, budget={"per_call": 0.00015})
    text, crux = whole(r)
    assert text == "Hello there"
    assert [a["provider"] for a in crux["attempts"]] == ["one"]
    assert two.requests == 0


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("streams", [False, True])
def test_cancelling_the_call_ends_both(
    is_async: bool, streams: bool, one: ScriptedServer, two: ScriptedServer
) -> None:
    token = CancellationToken()

    def second(x: Exchange) -> None:
        token.cancel("enough")
        x.stall()

    one.play(hang)
    two.play(second)
    r = router(one, two, hedge=SOON)
    options = CallOptions(token=token)

    async def asynchronous() -> None:
        if streams:
            [e async for e in r.astream(REQUEST, options=options)]
        else:
            await r.agenerate(REQUEST, options=options)

    def synchronous() -> None:
        if streams:
            list(r.stream(REQUEST, options=options))
        else:
            r.generate(REQUEST, options=options)

    with pytest.raises(CancelledError):
        asyncio.run(asynchronous()) if is_async else synchronous()
    one.assert_closed()
    two.assert_closed()


def test_a_cancelled_task_ends_both(one: ScriptedServer, two: ScriptedServer) -> None:
    one.play(hang)
    two.play(hang)
    r = router(one, two, hedge=SOON)

    async def main() -> None:
        task = asyncio.create_task(r.agenerate(REQUEST))
        await asyncio.to_thread(two.stalled.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    one.assert_closed()
    two.assert_closed()
    assert r.explain(REQUEST).rejected == ()


SEEN: ContextVar[str] = ContextVar("seen", default="lost")


class Telling(OpenAIProvider):
    """Answers with what the caller's context says."""

    def chat(self, request: ChatRequest, **more: object) -> ChatResponse:
        return ChatResponse(text=SEEN.get())


def test_context_variables_cross_the_threads() -> None:
    r = Router(
        {
            "version": 1,
            "routes": {
                "default": {"candidates": ["openai:gpt-4o", "openai:gpt-4o-mini"], "hedge": SOON}
            },
        },
        providers={"openai": Telling(api_key="k")},
    )
    SEEN.set("here")
    assert r.generate(ChatRequest(messages=[Message("user", "?")])).text == "here"


def test_a_stop_by_the_first_ends_the_call(one: ScriptedServer, two: ScriptedServer) -> None:
    asked = threading.Event()

    def second(x: Exchange) -> None:
        asked.set()
        x.stall()

    one.play(after(asked, status(400)))
    two.play(second)
    with pytest.raises(ProviderError) as caught:
        whole(router(one, two, hedge=SOON))
    assert str(caught.value.code) == "bad_request"
    two.assert_closed()
