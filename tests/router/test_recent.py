"""A route that prefers latency or reliability learns from its own calls, ledger or not."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from crux_integrations import AllCandidatesFailed, Router
from crux_integrations.router.policy import CandidateStats
from crux_integrations.router.recent import SAMPLES, Recent, Seen
from crux_providers.base.models import ChatRequest, Message
from tests.faults.wires import PRESENT
from tests.servers.scripted_server import Exchange, ScriptedServer

WIRE = next(wire for wire in PRESENT if wire.dialect == "openai_chat")
REQUEST = ChatRequest(messages=[Message("user", "hi")])
KEY = ("lab", "m")


def test_what_was_seen_counts_from_the_ledgers_figures_on() -> None:
    recent = Recent()
    known = {KEY: CandidateStats(latency=2.0, successes=3, failures=1)}
    assert recent.over(known, 0.0).get(KEY) is known[KEY]
    recent.saw(KEY, Seen(10.0, "whole", True, 0.5))
    recent.saw(KEY, Seen(20.0, "stream", True, 0.1))
    recent.saw(KEY, Seen(30.0, "whole", False, None))
    all_of_it = recent.over(known, 0.0).get(KEY)
    assert all_of_it == CandidateStats(latency=2.0, first_token=0.1, successes=5, failures=2)
    assert recent.over(known, 15.0).get(KEY).successes == 4
    assert recent.over({}, 0.0).get(KEY).latency == 0.5
    assert recent.over({}, 30.0).get(KEY) == CandidateStats()
    for second in range(SAMPLES * 2):
        recent.saw(KEY, Seen(100.0 + second, "whole", True, 1.0))
    assert len(recent.after(KEY, 0.0)) == SAMPLES


def good(exchange: Exchange, wait: float = 0.0) -> None:
    time.sleep(wait)
    if b'"stream"' not in exchange.body:
        exchange.answer(json.dumps(WIRE.whole).encode())
        return
    exchange.begin_stream()
    for frame in (*WIRE.opening, WIRE.text("Hello"), *WIRE.ending):
        exchange.chunk(frame)
    exchange.end_stream()


def routes(first: str, second: str, prefer: str) -> dict[str, Any]:
    def gateway(url: str) -> dict[str, str]:
        return {"dialect": "openai_chat", "base_url": url, "api_key": "k"}

    rules: dict[str, Any] = {"retry": {"attempts": 1}, "breaker": {"failures": 100}}
    return {
        "version": 1,
        "providers": {"first": gateway(first), "second": gateway(second)},
        "routes": {
            "default": {"candidates": ["first:m", "second:m"], "prefer": [prefer], **rules},
            "first": {"candidates": ["first:m"], **rules},
            "second": {"candidates": ["second:m"], **rules},
        },
    }


@pytest.mark.parametrize("kept", [True, False], ids=["ledger", "off"])
def test_the_faster_one_comes_first(
    kept: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("CRUX_DB", str(tmp_path / "crux.db") if kept else "off")
    with (
        ScriptedServer(lambda exchange: good(exchange, 0.03)) as slow,
        ScriptedServer(good) as fast,
        Router(routes(slow.url, fast.url, "latency")) as router,
    ):
        assert [step.provider for step in router.explain(REQUEST).steps] == ["first", "second"]
        for route in ("first", "second"):
            router.generate(REQUEST, route)
            list(router.stream(REQUEST, route))
        for stream in (False, True):
            plan = router.explain(REQUEST, stream=stream)
            assert [step.provider for step in plan.steps] == ["second", "first"]
            assert "latency 0.0" in " ".join(plan.steps[0].reasons)
        answer = router.generate(REQUEST)
    assert answer.meta.extra["crux"]["provider"] == "second"


def test_the_one_that_answers_comes_first() -> None:
    with (
        ScriptedServer(lambda exchange: exchange.answer(b"{}", status=500)) as broken,
        ScriptedServer(good) as sound,
        Router(routes(broken.url, sound.url, "reliability")) as router,
    ):
        for _ in range(2):
            with pytest.raises(AllCandidatesFailed):
                router.generate(REQUEST, "first")
            router.generate(REQUEST, "second")
        plan = router.explain(REQUEST)
    assert [step.provider for step in plan.steps] == ["second", "first"]
    assert "reliability 75%" in " ".join(plan.steps[0].reasons)
