"""Health, limits and money over real sockets: who is asked, how often, and who is left alone."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from crux_integrations.router.router import Router
from crux_providers.base.errors import AllCandidatesFailed, ErrorCode
from tests.router.live import (
    REQUEST,
    STREAMS,
    WAYS,
    WIRE,
    Ask,
    begin,
    good,
    hang,
    router,
    status,
    stream,
    wait_until,
    whole,
)
from tests.servers.scripted_server import Exchange, ScriptedServer

ALL = pytest.mark.parametrize("ask", WAYS, ids=lambda f: f.__name__)
SHORT = {"failures": 3, "window": "60s", "open": "150ms"}


def back_in(r: Router) -> None:
    """Wait until the first candidate's open time is over."""
    wait_until(lambda: not r.explain(REQUEST).rejected)


@ALL
def test_a_dead_candidate_is_asked_the_windows_failures_and_back_with_one_probe(
    ask: Ask, one: ScriptedServer, two: ScriptedServer
) -> None:
    one.play(status(500))
    two.play(good)
    r = router(one, two, breaker={**SHORT, "open": "300ms"})
    for _ in range(10):
        assert ask(r)[1]["provider"] == "two"
    assert one.requests == 3
    (rejected,) = r.explain(REQUEST).rejected
    assert (rejected.rule, rejected.provider) == ("breaker", "one")
    one.play(good)
    back_in(r)
    assert ask(r)[1]["provider"] == "one", "the probe"
    assert one.requests == 4


def test_one_probe_at_a_time_and_the_others_step_aside(
    one: ScriptedServer, two: ScriptedServer
) -> None:
    one.play(status(500))
    two.play(good)
    r = router(one, two, breaker=SHORT)
    for _ in range(3):
        whole(r)
    back_in(r)
    release = threading.Event()

    def slow(x: Exchange) -> None:
        release.wait(5)
        good(x)

    one.play(slow)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(whole, r) for _ in range(8)]
        wait_until(lambda: sum(c.done() for c in calls) == 7)
        assert one.requests == 4, "the probe alone"
        release.set()
        answers = [c.result()[1] for c in calls]
    assert sorted(a["provider"] for a in answers) == ["one"] + ["two"] * 7
    for crux in answers:
        if crux["provider"] == "two":
            assert crux["rejected"][0]["rule"] == "breaker"
            assert "probe is out" in crux["rejected"][0]["evidence"]


def test_failed_probes_take_longer_and_longer(one: ScriptedServer, two: ScriptedServer) -> None:
    one.play(status(500))
    two.play(good)
    r = router(one, two, breaker={"failures": 1, "open": "50ms"})
    whole(r)
    for probes in range(3):
        back_in(r)
        whole(r)
        assert one.requests == 2 + probes
    (rejected,) = r.explain(REQUEST).rejected
    words = rejected.evidence
    assert float(words.split("closed for ")[1].split(" s")[0]) > 0.2


@ALL
def test_a_caller_that_leaves_gives_the_probe_back(
    ask: Ask, one: ScriptedServer, two: ScriptedServer
) -> None:
    one.play(status(500))
    two.play(good)
    r = router(one, two, breaker=SHORT)
    for _ in range(3):
        whole(r)
    back_in(r)

    def content_then_nothing(x: Exchange) -> None:
        begin(x)
        x.chunk(WIRE.opening[0])
        hang(x)

    one.play(content_then_nothing)
    from crux_integrations.router.router import CallOptions
    from crux_providers.base.cancellation import CancellationToken, CancelledError

    token = CancellationToken()
    timer = threading.Thread(target=lambda: (one.stalled.wait(5), token.cancel("enough")))
    timer.start()
    with pytest.raises(CancelledError):
        list(r.stream(REQUEST, options=CallOptions(token=token)))
    timer.join()
    one.play(good)
    assert ask(r)[1]["provider"] == "one", "another may probe at once"


@ALL
def test_retry_after_within_patience_is_waited_for(
    ask: Ask, one: ScriptedServer, two: ScriptedServer
) -> None:
    one.play_in_turn(status(429, retry_after="0.2"), good)
    r = router(one, two, retry={"attempts": 2, "initial": "1ms", "patience": "3s"})
    began = time.monotonic()
    crux = ask(r)[1]
    assert time.monotonic() - began >= 0.2
    assert [a["provider"] for a in crux["attempts"]] == ["one", "one"]
    assert two.requests == 0


def test_a_wait_within_patience_holds_nobody_else(one: ScriptedServer) -> None:
    one.play_in_turn(status(429, retry_after="0.3"), good)
    r = router(one, retry={"attempts": 2, "initial": "1ms", "patience": "3s"})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(whole, r)
        wait_until(lambda: one.requests == 1)
        while not waiting.done():  # it would be out as soon as the 429 is noted
            assert r.explain(REQUEST).rejected == ()
            time.sleep(0.01)
        assert waiting.result()[1]["provider"] == "one"


@ALL
def test_retry_after_beyond_patience_goes_on_and_holds_the_candidate(
    ask: Ask, one: ScriptedServer, two: ScriptedServer
) -> None:
    one.play(status(429, retry_after="30"))
    two.play(good)
    r = router(one, two, retry={"attempts": 2, "patience": "3s"})
    for _ in range(3):
        assert ask(r)[1]["provider"] == "two"
    assert one.requests == 1
    (rejected,) = r.explain(REQUEST).rejected
    assert rejected.rule == "breaker"
    assert "asked to wait 30 s" in rejected.evidence


def test_no_time_to_wait_is_no_reason_to_give_up(one: ScriptedServer, two: ScriptedServer) -> None:
    one.play(status(429, retry_after="2"))
    two.play(good)
    r = router(
        one, two, retry={"attempts": 2, "patience": "3s"},
        timeout={"connect": "1s", "route_total": "1500ms"},
    )  # fmt: skip
    assert whole(r)[1]["provider"] == "two"


def test_when_all_are_left_alone_the_error_says_so(one: ScriptedServer) -> None:
    one.play(status(500))
    r = router(one, breaker={"failures": 1, "open": "60s"})
    with pytest.raises(AllCandidatesFailed):
        whole(r)
    with pytest.raises(AllCandidatesFailed) as caught:
        whole(r)
    assert caught.value.code is ErrorCode.OVERLOADED
    assert caught.value.rejected[0]["rule"] == "breaker"
    assert one.requests == 1


def test_a_recovering_candidate_takes_its_share_and_is_the_last_resort(
    one: ScriptedServer, two: ScriptedServer
) -> None:
    one.play(status(500))
    two.play(good)
    r = router(one, two, breaker={"failures": 1, "window": "60s", "open": "40ms"})
    whole(r)
    back_in(r)
    one.play(good)
    assert whole(r)[1]["provider"] == "one"
    plans = [r._runtime.plan(REQUEST, "default", stream=False, seed=s) for s in range(400)]
    first = sum(p.steps[0].provider == "one" for p in plans)
    assert first > 0
    assert all(len(p.steps) == 2 for p in plans), "it is never out"


# -- rate limits ----------------------------------------------------------------------------------


@ALL
def test_it_steps_aside_before_the_429(ask: Ask, one: ScriptedServer, two: ScriptedServer) -> None:
    left = {"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "60"}
    one.play(lambda x: good(x, **left))
    two.play(good)
    r = router(one, two)
    first, second, third = (ask(r)[1] for _ in range(3))
    assert [first["provider"], second["provider"]] == ["one", "one"]
    left["x-ratelimit-remaining-requests"] = "0"
    assert third["provider"] == "one", "each answer reported one more"
    fourth = ask(r)[1]
    # The third answer said that nothing is left.
    assert one.requests == 3 or fourth["provider"] == "one"
    last = ask(r)[1]
    assert last["provider"] == "two"
    assert last["rejected"][0]["rule"] == "admission"


def test_calls_in_flight_reserve_from_what_is_left(
    one: ScriptedServer, two: ScriptedServer
) -> None:
    one.play(lambda x: good(x, **{
        "x-ratelimit-limit-requests": "10", "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": "60",
    }))  # fmt: skip
    two.play(good)
    r = router(one, two)
    whole(r)
    release = threading.Event()

    def held(x: Exchange) -> None:
        release.wait(5)
        good(x)

    one.play(held)
    with ThreadPoolExecutor(10) as pool:
        calls = [pool.submit(whole, r) for _ in range(10)]
        wait_until(lambda: sum(c.done() for c in calls) == 7)
        release.set()
        providers = sorted(c.result()[1]["provider"] for c in calls)
    assert providers == ["one"] * 3 + ["two"] * 7


def test_headers_of_a_429_count_too(one: ScriptedServer, two: ScriptedServer) -> None:
    one.play(status(429, x_ratelimit_remaining_tokens="0", x_ratelimit_reset_tokens="60"))
    two.play(good)
    r = router(one, two)
    assert whole(r)[1]["provider"] == "two"
    assert r.explain(REQUEST).rejected[0].rule == "admission"


def test_a_streams_headers_count_from_its_first_event(
    one: ScriptedServer, two: ScriptedServer
) -> None:
    def open_ended(x: Exchange) -> None:
        begin(x, **{"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "60"})
        for frame in (*WIRE.opening, WIRE.text("Hel")):
            x.chunk(frame)
        x.stall()

    one.play(open_ended)
    r = router(one, two)
    events = r.stream(REQUEST)
    assert next(e for e in events if e.delta)
    assert r.explain(REQUEST).rejected[0].rule == "admission"
    events.close()  # type: ignore[attr-defined]  # stream() is a generator


# -- money ----------------------------------------------------------------------------------------

COST = 1100e-6
"""What one answer costs: 1100 tokens at a dollar per million."""


def test_a_day_is_spent_to_the_last_call_and_no_further(
    one: ScriptedServer, two: ScriptedServer
) -> None:
    one.play(good)
    two.play(good)
    r = router(one, budget={"per_day": 5 * COST})

    def call(_: int) -> ErrorCode | None:
        try:
            whole(r)
        except AllCandidatesFailed as error:
            return error.code
        return None

    with ThreadPoolExecutor(8) as pool:
        came = list(pool.map(call, range(40)))
    answered = came.count(None)
    assert set(came) == {None, ErrorCode.QUOTA}
    assert answered == one.requests
    spent = r._runtime.state.spent("default", time.time())
    assert spent == pytest.approx(answered * COST)
    assert 5 <= answered <= 5 + 7, (
        "estimates are a tenth of the truth here; each thread may err once"
    )


@pytest.mark.usefixtures("crux_db")
def test_what_was_spent_today_is_known_after_a_restart(one: ScriptedServer) -> None:
    from crux_providers.persistence.store import get_store

    one.play(good)
    first = router(one, budget={"per_day": 2.5 * COST})
    whole(first)
    whole(first)
    again = router(one, budget={"per_day": 2.5 * COST})
    assert again._runtime.plan(REQUEST, "default", stream=False, seed=0).steps
    assert again._runtime.state.spent("default", time.time()) == pytest.approx(2 * COST), "shared"
    store = get_store()
    store.flush()
    store.close()
    import crux_integrations.router.spending as spending

    spending._shared.clear()  # as a new process would begin
    store._spending = {}
    store._own.clear()
    late = router(one, budget={"per_day": 2 * COST})
    with pytest.raises(AllCandidatesFailed) as caught:
        whole(late)
    assert "today" in str(caught.value)


# -- hold -----------------------------------------------------------------------------------------

HELD = pytest.mark.parametrize("ask", STREAMS, ids=lambda f: f.__name__)


def piece_then(then: str) -> object:
    def play(x: Exchange) -> None:
        begin(x)
        for frame in (*WIRE.opening, WIRE.text("Hel")):
            x.chunk(frame)
        getattr(x, then)()

    return play


def test_held_content_goes_out_when_its_time_is_over_though_nothing_comes(
    one: ScriptedServer, two: ScriptedServer
) -> None:
    one.play(piece_then("stall"))  # type: ignore[arg-type]  # a scenario
    r = router(one, two, stream={"hold": "50ms", "idle": "30s"})
    events = r.stream(REQUEST)
    began = time.monotonic()
    assert next(e for e in events if e.delta).delta == "Hel"
    assert 0.05 <= time.monotonic() - began < 4
    events.close()  # type: ignore[attr-defined]  # stream() is a generator
    one.assert_closed()
    assert r.explain(REQUEST).rejected == ()


def test_held_content_goes_out_in_time_async(one: ScriptedServer, two: ScriptedServer) -> None:
    import asyncio

    one.play(piece_then("stall"))  # type: ignore[arg-type]  # a scenario

    async def main() -> None:
        r = router(one, two, stream={"hold": "50ms", "idle": "30s"})
        events = r.astream(REQUEST)
        began = time.monotonic()
        async for event in events:
            if event.delta:
                break
        assert 0.05 <= time.monotonic() - began < 4
        await events.aclose()  # type: ignore[attr-defined]  # astream() is a generator
        await r.aclose()

    asyncio.run(main())
    one.assert_closed()


@HELD
def test_a_fault_inside_the_hold_falls_over_unseen(
    ask: Ask, one: ScriptedServer, two: ScriptedServer
) -> None:
    one.play(piece_then("reset"))  # type: ignore[arg-type]  # a scenario
    two.play(good)
    text, crux = ask(router(one, two, stream={"hold": "5s"}))
    assert text == "Hello there"
    assert [a["provider"] for a in crux["attempts"]] == ["one", "two"]


@HELD
def test_a_whole_answer_inside_the_hold_is_released_at_once(
    ask: Ask, one: ScriptedServer, two: ScriptedServer
) -> None:
    one.play(good)
    began = time.monotonic()
    text, _ = ask(router(one, two, stream={"hold": "30s"}))
    assert text == "Hello there"
    assert time.monotonic() - began < 10


@HELD
def test_after_the_hold_the_rest_comes_in_order(
    ask: Ask, one: ScriptedServer, two: ScriptedServer
) -> None:
    def slow(x: Exchange) -> None:
        begin(x)
        for frame in (*WIRE.opening, WIRE.text("Hello")):
            x.chunk(frame)
        threading.Event().wait(0.1)
        for frame in (WIRE.text(" there"), *WIRE.ending):
            x.chunk(frame)
        x.end_stream()

    one.play(slow)
    text, crux = ask(router(one, two, stream={"hold": "20ms"}))
    assert text == "Hello there"
    assert crux["provider"] == "one"


def test_a_slow_reader_of_a_held_stream_gets_all_of_it(
    one: ScriptedServer, two: ScriptedServer
) -> None:
    one.play(good)
    assert stream(router(one, two, stream={"hold": "1ms"}))[0] == "Hello there"


@ALL
def test_a_route_with_nobody_to_ask_is_one_clear_error(ask: Ask) -> None:
    r = Router({"version": 1, "routes": {"default": {"candidates": ["openai:gpt-4o"]}}})
    with pytest.raises(AllCandidatesFailed) as caught:
        ask(r)
    assert caught.value.code is ErrorCode.AUTH
    assert "OPENAI_API_KEY" in str(caught.value)
