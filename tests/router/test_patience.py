"""A call that finds everybody to be left alone waits for the first, as long as it has patience."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from crux_integrations.router.router import CallOptions
from crux_providers.base.cancellation import CancellationToken, CancelledError
from crux_providers.base.errors import AllCandidatesFailed
from tests.router.live import REQUEST, WAYS, Ask, after, good, router, status
from tests.servers.scripted_server import ScriptedServer

ALL = pytest.mark.parametrize("ask", WAYS, ids=lambda f: f.__name__)
BREAKER = {"failures": 1, "window": "60s", "open": "200ms"}


@ALL
def test_it_waits_for_an_open_breaker_and_sends_the_probe(ask: Ask, one: ScriptedServer) -> None:
    one.play_in_turn(status(500), good)
    r = router(one, breaker=BREAKER, retry={"attempts": 1, "patience": "2s"})
    with pytest.raises(AllCandidatesFailed):
        ask(r)
    began = time.monotonic()
    text, crux = ask(r)
    assert text == "Hello there"
    assert 0.05 < time.monotonic() - began < 1.5
    assert [a["outcome"] for a in crux["attempts"]] == ["success"]
    assert crux["rejected_count"] == 0
    assert one.requests == 2


@ALL
def test_beyond_its_patience_it_fails_at_once_and_says_when(ask: Ask, one: ScriptedServer) -> None:
    one.play(status(429, retry_after="30"))
    r = router(one, retry={"attempts": 1, "patience": "1s"})
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(AllCandidatesFailed) as caught:
            ask(r)
        assert time.monotonic() - began < 0.9
        assert caught.value.retry_after == pytest.approx(30, abs=1)
    assert one.requests == 1
    assert "not tried (breaker)" in str(caught.value)


@ALL
def test_one_that_is_held_is_waited_for_after_another_failed(
    ask: Ask, one: ScriptedServer, two: ScriptedServer
) -> None:
    """The second candidate asked for a moment before the first one dies."""
    one.play_in_turn(status(500), status(500))
    two.play_in_turn(status(429, retry_after="0.3"), good)
    r = router(one, two, retry={"attempts": 1, "patience": "1s"})
    with pytest.raises(AllCandidatesFailed):
        ask(r)
    text, crux = ask(r)
    assert text == "Hello there"
    assert [(a["provider"], a["outcome"]) for a in crux["attempts"]] == [
        ("one", "error"), ("two", "success"),
    ]  # fmt: skip
    assert (one.requests, two.requests) == (2, 2), "nobody is asked twice"


def test_the_whole_calls_time_is_no_less(one: ScriptedServer) -> None:
    one.play_in_turn(status(500), good)
    r = router(
        one, breaker={**BREAKER, "open": "800ms"}, retry={"attempts": 1, "patience": "5s"},
        timeout={"route_total": "300ms"},
    )  # fmt: skip
    for _ in range(2):
        with pytest.raises(AllCandidatesFailed):
            r.generate(REQUEST)
    assert one.requests == 1


@ALL
def test_a_cancelled_call_waits_no_longer(ask: Ask, one: ScriptedServer) -> None:
    one.play(status(500))
    r = router(one, breaker={**BREAKER, "open": "20s"}, retry={"attempts": 1, "patience": "30s"})
    with pytest.raises(AllCandidatesFailed):
        ask(r)
    token = CancellationToken()
    options = CallOptions(token=token)
    calls = {
        "whole": lambda: r.generate(REQUEST, options=options),
        "awhole": lambda: asyncio.run(r.agenerate(REQUEST, options=options)),
        "stream": lambda: list(r.stream(REQUEST, options=options)),
        "astream": lambda: asyncio.run(_read(r.astream(REQUEST, options=options))),
    }
    timer = threading.Timer(0.2, token.cancel, ["enough"])
    timer.start()
    began = time.monotonic()
    with pytest.raises(CancelledError, match="enough"):
        calls[ask.__name__]()
    assert time.monotonic() - began < 5
    timer.join()
    assert one.requests == 1


async def _read(events: AsyncIterator[Any]) -> list[Any]:
    return [event async for event in events]


def test_many_wait_for_one_probe(one: ScriptedServer) -> None:
    gate = threading.Event()
    one.play_in_turn(status(500), after(gate), good)
    r = router(one, breaker=BREAKER, retry={"attempts": 1, "patience": "3s"})
    with pytest.raises(AllCandidatesFailed):
        r.generate(REQUEST)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(r.generate, REQUEST) for _ in range(8)]
        time.sleep(0.4)  # the open time is over, and the probe is out
        assert one.requests == 2
        gate.set()
        assert {a.result().text for a in answers} == {"Hello there"}
    assert one.requests == 9
