"""The order of a plan: certainty, prefer, file order; inner routes as blocks; words and JSON."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from crux_integrations.router.compiled import CompiledRoute, compile_route
from crux_integrations.router.config import catalog_lookup, load_routes
from crux_integrations.router.needs import Needs
from crux_integrations.router.plan import Plan, plan
from crux_integrations.router.policy import CandidateStats, PlanState
from crux_providers.base.capabilities import Fact, ModelFacts

NOW = 1_763_800_000.0


def compiled(
    routes: dict[str, Any], models: dict[str, Any] | None = None, name: str = "default"
) -> CompiledRoute:
    named = {f"openrouter:{k}": v for k, v in (models or {}).items()}
    config = load_routes({"version": 1, "models": named, "routes": routes}, env={})
    return compile_route(config.routes, name, config.models, lambda p, m: None)


def of(candidates: list[Any], models: dict[str, Any] | None = None, **route: Any) -> CompiledRoute:
    full = [c if isinstance(c, dict) else f"openrouter:{c}" for c in candidates]
    return compiled({"default": {"candidates": full, **route}}, models)


def order(route: CompiledRoute, needs: Needs | None = None, seed: int = 0, **state: Any) -> str:
    made = plan(needs or Needs(), route.members, PlanState(**state), route.policy, NOW, seed)
    return " ".join(step.model for step in made.steps)


def price(dollars: float) -> dict[str, Any]:
    return {"price": {"input": dollars, "output": dollars}}


def key(model: str) -> tuple[str, str]:
    return ("openrouter", model)


def test_file_order_is_the_default() -> None:
    assert order(of(["b", "a", "c"])) == "b a c"


def test_cost_and_what_breaks_a_tie() -> None:
    models = {"a": price(3), "b": price(1), "c": price(2), "d": price(1)}
    needs = Needs(input_tokens=1000)
    assert order(of(["a", "b", "c", "d"], models, prefer="cost"), needs) == "b d c a"
    route = of(["a", "b", "c", "d"], models, prefer=["cost", "latency"])
    stats = {key("b"): CandidateStats(latency=2.0), key("d"): CandidateStats(latency=1.0)}
    assert order(route, needs, stats=stats) == "d b c a"


def test_an_unknown_price_comes_after_every_known_one_and_zero_first() -> None:
    models = {"free": price(0), "dear": price(10**6)}
    assert order(of(["none", "dear", "free"], models, prefer="cost"), Needs(input_tokens=9)) == (
        "free dear none"
    )


def test_certainty_stands_over_price() -> None:
    models = {
        "cheap": price(0),
        "sure": {**price(9), "capabilities": ["tools"]},
        "not": {**price(0), "capabilities": {"tools": False}},
    }
    route = of(["cheap", "sure", "not"], models, prefer="cost")
    assert order(route) == "cheap not sure"
    assert order(route, Needs(tools=True)) == "sure cheap"
    route = of(["cheap", "sure", "not"], models, prefer="cost", unknown="allow")
    assert order(route, Needs(tools=True)) == "cheap sure"
    route = of(["cheap", "sure", "not"], models, prefer="cost", unknown="reject")
    assert order(route, Needs(tools=True)) == "sure"


def test_latency_as_the_caller_feels_it() -> None:
    route = of(["a", "b", "c"], prefer="latency")
    stats = {
        key("a"): CandidateStats(latency=1.0, first_token=0.9),
        key("b"): CandidateStats(latency=3.0, first_token=0.2),
    }
    assert order(route, stats=stats) == "a b c"
    assert order(route, Needs(streaming=True), stats=stats) == "b a c"


def test_reliability_counts_and_takes_nobody_at_one_word() -> None:
    route = of(["new", "good", "bad"], prefer="reliability")
    stats = {
        key("good"): CandidateStats(successes=99, failures=1),
        key("bad"): CandidateStats(successes=1, failures=9),
    }
    assert order(route, stats=stats) == "good new bad"


def test_effective_cost_is_list_price_until_there_is_evidence() -> None:
    models = {"a": price(1), "b": price(2)}
    route = of(["a", "b"], models, prefer="effective_cost")
    needs = Needs(input_tokens=1000)
    assert order(route, needs) == "a b"
    stats = {key("a"): CandidateStats(cost_ratio=3.0), key("b"): CandidateStats(cost_ratio=0.5)}
    assert order(route, needs, stats=stats) == "b a"
    assert order(of(["a", "b"], models, prefer="cost"), needs, stats=stats) == "a b"


def test_weights_are_shares_and_a_seed_is_a_plan() -> None:
    route = of(
        [
            {"model": "openrouter:a", "weight": 3},
            {"model": "openrouter:b", "weight": 1},
            {"model": "openrouter:c", "weight": 0},
        ],
        prefer="weighted",
    )
    firsts = Counter(order(route, seed=seed).split()[0] for seed in range(4000))
    assert set(firsts) == {"a", "b"}
    assert firsts["a"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert all(order(route, seed=s).endswith("c") for s in range(50))
    assert [order(route, seed=7) for _ in range(3)] == [order(route, seed=7)] * 3


def test_the_same_model_twice_draws_twice() -> None:
    route = of(
        [{"model": "openrouter:a", "params": {"seed": i}} for i in (1, 2)], prefer="weighted"
    )
    firsts = Counter(
        plan(Needs(), route.members, PlanState(), route.policy, NOW, s).steps[0].params["seed"]
        for s in range(400)
    )
    assert min(firsts[1], firsts[2]) > 120


ROUTES = {
    "default": {
        "candidates": ["openrouter:a", {"route": "inner"}, "openrouter:d", "openrouter:e"],
        "prefer": "cost",
    },
    "inner": {"candidates": ["openrouter:b", "openrouter:c", {"route": "deep"}], "prefer": "cost"},
    "deep": {"candidates": ["openrouter:f"]},
}


def test_an_inner_route_keeps_its_place_and_orders_itself() -> None:
    models = {
        "a": price(9),
        "b": price(2),
        "c": price(1),
        "d": price(8),
        "e": price(7),
        "f": price(0),
    }
    route = compiled(ROUTES, models)
    assert order(route, Needs(input_tokens=1000)) == "a c b f e d"
    made = plan(Needs(), route.members, PlanState(), route.policy, NOW, 0)
    assert [s.rank for s in made.steps] == [1, 2, 3, 4, 5, 6]
    places = {s.model: [r.name for r in s.routes] for s in made.steps}
    assert places["f"] == ["default", "inner", "deep"]
    assert {s.model: s.policy.name for s in made.steps}["b"] == "inner"


def test_tags_of_a_route_are_its_members() -> None:
    route = compiled(
        {
            "default": {"candidates": ["openrouter:a", {"route": "inner", "tags": ["eu"]}]},
            "inner": {"candidates": [{"model": "openrouter:b", "tags": ["fast"]}, "openrouter:c"]},
        }
    )
    assert order(route, Needs(tags=frozenset({"eu"}))) == "b c"
    assert order(route, Needs(tags=frozenset({"eu", "fast"}))) == "b"


def test_a_refusal_moves_a_candidate_out_in_that_mode_until_it_expires() -> None:
    route = of(["a", "b"])
    facts = {"openrouter": {"a": ModelFacts({("tools", "whole"): Fact(False, NOW, "whole", "no")})}}
    needs = Needs(tools=True)
    assert order(route, needs, observed=facts) == "b"
    assert order(route, Needs(), observed=facts) == "a b"
    assert order(route, Needs(tools=True, streaming=True), observed=facts) == "a b"
    state = PlanState(observed=facts)
    later = plan(needs, route.members, state, route.policy, NOW + state.expire, 0)
    assert [s.model for s in later.steps] == ["a", "b"]


def made_plan() -> Plan:
    models = {"a": {**price(1), "capabilities": {"vision": False}}, "b": price(2)}
    route = compiled(ROUTES, models)
    return plan(
        Needs(vision=True, input_tokens=1000), route.members, PlanState(), route.policy, NOW, 0
    )


def test_steps_say_why() -> None:
    made = made_plan()
    first = made.steps[0]
    assert first.candidate == "openrouter:b"
    assert (first.provider, first.model, first.rank) == ("openrouter", "b", 1)
    assert first.est_cost_usd == pytest.approx(2 * 1512e-6)
    assert first.reasons == ("cost $0.003024", "not known to have: vision", "in route inner")
    last = made.steps[-1]
    assert last.est_cost_usd is None
    assert "cost unknown" in last.reasons
    assert plan(Needs(), of(["a"]).members, PlanState(), of(["a"]).policy, NOW, 0).steps[
        0
    ].reasons == ("file order",)


def test_as_json_is_json_and_as_text_has_a_line_for_each() -> None:
    made = made_plan()
    tree = json.loads(json.dumps(made.as_json()))
    assert tree["route"] == "default"
    assert tree["needs"] == {
        "capabilities": ["vision"],
        "input_tokens": 1000,
        "output_tokens": None,
    }
    assert [s["candidate"] for s in tree["steps"]] == [s.candidate for s in made.steps]
    assert set(tree["steps"][0]) == {
        "rank",
        "candidate",
        "provider",
        "model",
        "route",
        "params",
        "reasons",
        "est_cost_usd",
    }
    assert tree["rejected"] == [
        {
            "provider": "openrouter",
            "model": "a",
            "rule": "capability",
            "evidence": "vision: declared in the routes file",
            "since": None,
        }
    ]
    text = made.as_text()
    assert text.splitlines()[0] == "route default: needs vision; about 1000 tokens in"
    assert "  1. openrouter:b  $0.003024" in text
    assert "price unknown" in text
    assert "openrouter:a  capability: vision: declared in the routes file" in text
    empty = plan(
        Needs(tags=frozenset({"x"})), of(["a"]).members, PlanState(), of(["a"]).policy, NOW, 0
    )
    assert "no candidate is left" in empty.as_text()


def test_a_plan_holds_no_secret() -> None:
    secret = "sk-" + "secret" * 4
    text = {
        "version": 1,
        "providers": {
            "lab": {
                "dialect": "openai_chat",
                "base_url": f"http://u:{secret}@box/v1",
                "api_key": "${LAB_KEY}",
                "headers": {"x-k": secret},
            }
        },
        "routes": {"default": {"candidates": ["lab:m"]}},
    }
    config = load_routes(text, env={"LAB_KEY": secret})
    route = compile_route(config.routes, "default", config.models, catalog_lookup(config))
    made = plan(Needs(), route.members, PlanState(), route.policy, NOW, 0)
    assert secret not in made.as_text() + json.dumps(made.as_json()) + repr(made)


def test_a_catalogue_price_by_the_hour_moves_the_plan() -> None:
    config = load_routes(
        {
            "version": 1,
            "routes": {"default": {"candidates": ["deepseek:deepseek-flash"], "prefer": "cost"}},
        },
        env={},
    )
    route = compile_route(config.routes, "default", config.models, catalog_lookup(config))
    day = NOW - NOW % 86400
    costs = [
        plan(
            Needs(input_tokens=1000), route.members, PlanState(), route.policy, day + hour * 3600, 0
        )
        .steps[0]
        .est_cost_usd
        for hour in (2, 12)
    ]
    assert costs[0] is not None
    assert costs[1] is not None
    assert costs[0] > costs[1]
