"""What the ledger has seen, in the plans that follow: latency, reliability, cost, tokens."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from crux_integrations.router.evidence import Evidence
from crux_integrations.router.needs import Needs
from crux_integrations.router.policy import CandidateStats, corrected
from crux_integrations.router.router import Router
from crux_integrations.router.state import P95_SAMPLES
from crux_providers.base import ChatRequest, Message
from crux_providers.persistence.figures import Figures
from crux_providers.persistence.ledger import CandidateStats as LedgerStats
from crux_providers.persistence.rows import Attempt
from crux_providers.persistence.store import get_store
from tests.router.live import REQUEST, WAYS, WIRE, Ask, good, router, streamed, wait_until, whole
from tests.servers.scripted_server import Exchange, ScriptedServer


def test_figures_in_the_units_of_plans() -> None:
    seen = LedgerStats(
        "p", "m", attempts=50, succeeded=2 * P95_SAMPLES, streamed=P95_SAMPLES, failed=2,
        ttft_p50=200.0, ttft_p95=900.0,
        duration_p50=1500.0, duration_p95=4000.0, cost_ratio=0.5, chars_per_token=3.0,
    )  # fmt: skip
    few = LedgerStats(
        "p", "few", succeeded=2 * P95_SAMPLES - 1, streamed=P95_SAMPLES, duration_p95=4000.0
    )
    found = Evidence.of(Figures({("p", "m"): seen, ("p", "few"): few}, {"r": 80.0, None: 9.0}, 1.0))
    assert found.stats["p", "m"] == CandidateStats(1.5, 0.2, 2 * P95_SAMPLES, 2, 0.5)
    assert found.p95 == {(("p", "m"), "whole"): 4.0, (("p", "m"), "stream"): 0.9}
    assert found.mean_output == {"r": 80.0}
    assert found.chars_per_token == {("p", "m"): 3.0}


def row(model: str, **more: Any) -> Attempt:
    known = {
        "call_id": f"c{time.time_ns()}",
        "seq": 1,
        "route": "default",
        "provider": "one",
        "model": model,
        "outcome": "success",
        "started_at": time.time(),
        "accepted": True,
        "prompt_tokens": 100,
        "completion_tokens": 40,
        "cost_usd": 0.01,
        "list_usd": 0.01,
        "duration_ms": 1000.0,
        **more,
    }
    return Attempt(**known)


def two_models(server: ScriptedServer, prefer: str) -> Router:
    return Router(
        {
            "version": 1,
            "providers": {
                "one": {"dialect": "openai_chat", "base_url": server.url, "api_key": "k"}
            },
            "models": {
                "one:a": {"price": {"input": 1, "output": 1}},
                "one:b": {"price": {"input": 2, "output": 2}},
            },
            "routes": {"default": {"candidates": ["one:a", "one:b"], "prefer": [prefer]}},
        }
    )


@pytest.mark.usefixtures("crux_db")
@pytest.mark.parametrize(
    ("prefer", "of_a", "of_b"),
    [
        ("latency", {"duration_ms": 3000.0}, {"duration_ms": 200.0}),
        ("reliability", {"accepted": False, "outcome": "error", "error_code": "timeout"}, {}),
        ("effective_cost", {"cost_usd": 0.05, "list_usd": 0.01}, {}),
    ],
)
def test_prefer_follows_the_ledger(
    prefer: str, of_a: dict[str, Any], of_b: dict[str, Any], one: ScriptedServer
) -> None:
    store = get_store()
    for _ in range(5):
        store.put(row("a", **of_a))
        store.put(row("b", **of_b))
    store.flush()
    r = two_models(one, prefer)

    def first() -> str:
        return r.explain(REQUEST).steps[0].model

    wait_until(lambda: first() == "b")  # a plan never waits for the ledger; it comes to know soon
    assert two_models(one, "order").explain(REQUEST).steps[0].model == "a"
    store.close()


@pytest.mark.usefixtures("crux_db")
def test_the_first_look_at_a_plan_has_what_the_ledger_knows(one: ScriptedServer) -> None:
    """A call never waits for the ledger; somebody who asks for an explanation does, once."""
    store = get_store()
    for _ in range(3):
        store.put(row("a", duration_ms=3000.0))
        store.put(row("b", duration_ms=200.0))
    plan = two_models(one, "latency").explain(REQUEST)
    assert [s.model for s in plan.steps] == ["b", "a"]
    assert plan.steps[0].reasons == ("latency 0.2 s",)
    store.close()


@pytest.mark.usefixtures("crux_db")
def test_an_output_nobody_stated_is_the_routes_own_mean(one: ScriptedServer) -> None:
    store = get_store()
    for _ in range(3):
        store.put(row("a", completion_tokens=50))
    store.flush()
    r = two_models(one, "cost")
    request = ChatRequest(messages=[Message("user", "x" * 400)])

    def cost() -> float | None:
        return r.explain(request).steps[0].est_cost_usd

    wait_until(lambda: cost() == pytest.approx((104 + 50) * 1e-6))
    store.close()


def test_estimates_are_corrected_by_what_was_measured() -> None:
    assert corrected(1000, 4.0) == 1000
    assert corrected(1000, 2.5) == 1600
    assert corrected(1000, 0.01) == 2000, "a nonsense figure is not believed"
    assert corrected(1000, 900.0) == 500


def test_a_corrected_estimate_decides_about_the_window() -> None:
    from crux_integrations.router.compiled import compile_route
    from crux_integrations.router.config import load_routes
    from crux_integrations.router.plan import plan
    from crux_integrations.router.policy import PlanState

    config = load_routes(
        {
            "version": 1,
            "models": {"openrouter:a": {"context": 1200}},
            "routes": {"default": {"candidates": ["openrouter:a"]}},
        },
        env={},
    )
    route = compile_route(config.routes, "default", config.models, lambda p, m: None)
    needs = Needs(input_tokens=1000)
    state = PlanState(chars_per_token={("openrouter", "a"): 3.0})
    assert plan(needs, route.members, PlanState(), route.policy, 0.0, 0).steps
    (out,) = plan(needs, route.members, state, route.policy, 0.0, 0).rejected
    assert out.rule == "context"
    assert "about 1333 tokens" in out.evidence


@pytest.mark.parametrize("ask", WAYS, ids=lambda f: f.__name__)
def test_what_the_provider_says_it_cost_is_what_it_cost(
    ask: Ask, one: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0.0123}

    def answer(x: Exchange) -> None:
        if not streamed(x):
            x.answer(json.dumps({**WIRE.whole, "usage": usage}).encode())
            return
        x.begin_stream()
        for frame in (*WIRE.opening, WIRE.text("Hello")):
            x.chunk(frame)
        last = {"id": "c1", "object": "chat.completion.chunk", "model": "m", "usage": usage,
                "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}  # fmt: skip
        x.chunk(b"data: " + json.dumps(last).encode() + b"\n\ndata: [DONE]\n\n")
        x.end_stream()

    one.play(answer)
    monkeypatch.setenv("OPENROUTER_API_KEY", "k" * 20)
    monkeypatch.setenv("OPENROUTER_BASE_URL", one.url.removesuffix("/v1"))
    r = Router({"version": 1, "routes": {"default": {"candidates": ["openrouter:x/y"]}}})
    crux = ask(r)[1]
    assert crux["cost_usd"] == 0.0123
    assert crux["attempts"][0]["cost_usd"] == 0.0123


def test_a_gateways_field_of_that_name_is_its_own_matter(one: ScriptedServer) -> None:
    body = {**WIRE.whole, "usage": {"prompt_tokens": 1, "completion_tokens": 1, "cost": 99}}
    one.play(lambda x: x.answer(json.dumps(body).encode()))
    assert whole(router(one))[1]["cost_usd"] == pytest.approx(2e-6)
    one.play(good)
