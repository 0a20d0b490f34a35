"""What holds for every plan, and what a plan costs."""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crux_integrations.router.compiled import Compiled, CompiledRoute, compile_route
from crux_integrations.router.needs import Needs
from crux_integrations.router.plan import Plan, plan
from crux_integrations.router.policy import (
    AdmissionView,
    BreakerView,
    CandidateStats,
    PlanState,
    Rejection,
)
from crux_integrations.router.routes import (
    CAPABILITIES,
    PREFERENCES,
    Budget,
    Candidate,
    ModelConfig,
    RouteConfig,
)
from crux_providers.base.capabilities import Fact, ModelFacts
from crux_providers.base.pricing import Price

NOW = 1_763_800_000.0
MODELS = tuple("abcdefgh")
REFS = [f"p:{m}" for m in MODELS]

dollars = st.none() | st.sampled_from([0.0, 1.0, 2.0, 50.0])
words = st.sampled_from(CAPABILITIES)
model_configs = st.builds(
    ModelConfig,
    context=st.none() | st.sampled_from([100, 5000]),
    price=st.none() | st.builds(Price, input=dollars, output=dollars),
    capabilities=st.dictionaries(words, st.booleans(), max_size=4),
)
facts = st.builds(
    lambda rows: ModelFacts({(w, m): Fact(v, NOW - age, m) for (w, m), (v, age) in rows.items()}),
    st.dictionaries(
        st.tuples(words, st.sampled_from(["whole", "stream"])),
        st.tuples(st.booleans(), st.sampled_from([1.0, 1e7])),
        max_size=4,
    ),
)
maybe_seconds = st.none() | st.sampled_from([0.1, 0.5, 2.0])
stats = st.builds(
    CandidateStats,
    latency=maybe_seconds,
    first_token=maybe_seconds,
    successes=st.integers(0, 50),
    failures=st.integers(0, 50),
    cost_ratio=st.none() | st.sampled_from([0.5, 1.0, 3.0]),
)


def by_key(values: Any) -> Any:
    return st.dictionaries(st.sampled_from([("p", m) for m in MODELS]), values, max_size=3)


states = st.builds(
    PlanState,
    missing_keys=st.sampled_from([{}, {"p": "no key"}, {"q": "no key"}]),
    observed=st.dictionaries(st.just("p"), st.dictionaries(st.sampled_from(MODELS), facts)),
    breakers=by_key(
        st.builds(
            BreakerView, st.sampled_from([NOW - 1, NOW + 9]), share=st.sampled_from([0.0, 0.3])
        )
    ),
    admission=by_key(
        st.builds(
            AdmissionView,
            st.just(NOW + 9),
            requests=st.sampled_from([None, 0, 3]),
            tokens=st.sampled_from([None, 0, 10**6]),
        )
    ),
    stats=by_key(stats),
    spent=st.sampled_from([{}, {"r0": 0.5}]),
)
needs_any = st.builds(
    Needs,
    **dict.fromkeys(CAPABILITIES, st.booleans()),
    input_tokens=st.sampled_from([0, 50, 900]),
    output_tokens=st.none() | st.sampled_from([10, 4000]),
)
prefers = st.lists(st.sampled_from(PREFERENCES), min_size=1, max_size=3, unique=True).map(tuple)


@st.composite
def routes_of(draw: Any, nested: bool = True) -> dict[str, RouteConfig]:
    """Up to three routes, each inside the one before, over distinct candidates."""
    models = draw(st.permutations(MODELS))
    depth = draw(st.integers(1, 3 if nested else 1))
    cuts = sorted(draw(st.lists(st.integers(1, 7), min_size=depth - 1, max_size=depth - 1)))
    routes = {}
    for i, (start, end) in enumerate(zip([0, *cuts], [*cuts, 8], strict=True)):
        members = [
            Candidate("p", m, weight=draw(st.sampled_from([0.0, 1.0, 2.0])))
            for m in models[start:end]
        ]
        if i + 1 < depth:
            members.insert(draw(st.integers(0, len(members))), Candidate(route=f"r{i + 1}"))
        routes[f"r{i}"] = RouteConfig(
            f"r{i}",
            tuple(members),
            prefer=draw(prefers),
            require=draw(st.frozensets(words, max_size=1)),
            unknown=draw(st.sampled_from(["last", "allow", "reject"])),
            budget=draw(st.sampled_from([Budget(), Budget(per_call=0.01), Budget(per_day=0.6)])),
        )
    return routes


declared_models = st.dictionaries(st.sampled_from(REFS), model_configs)


def made(
    routes: dict[str, RouteConfig],
    models: dict[str, ModelConfig],
    needs: Needs,
    state: PlanState,
    seed: int = 1,
) -> Plan:
    route = compile_route(routes, "r0", models, lambda p, m: None)
    return plan(needs, route.members, state, route.policy, NOW, seed)


def ranks(p: Plan) -> dict[str, int]:
    return {s.candidate: s.rank for s in p.steps}


@given(routes_of(), declared_models, needs_any, states, st.integers())
def test_steps_and_rejections_partition_the_candidates(
    routes: Any, models: Any, needs: Needs, state: PlanState, seed: int
) -> None:
    p = made(routes, models, needs, state, seed)
    taken = [s.candidate for s in p.steps]
    out = [f"{r.provider}:{r.model}" for r in p.rejected]
    assert sorted(taken + out) == sorted(
        c.ref for r in routes.values() for c in r.candidates if c.route is None
    )
    assert [s.rank for s in p.steps] == list(range(1, len(taken) + 1))
    assert all(r.evidence for r in p.rejected)
    assert all(s.reasons for s in p.steps)


@given(routes_of(), declared_models, needs_any, states, st.integers())
def test_who_stands_aside_is_the_last_resort_and_never_out(
    routes: Any, models: Any, needs: Needs, state: PlanState, seed: int
) -> None:
    p = made(routes, models, needs, state, seed)
    aside = [bool(s.aside) for s in p.steps]
    assert aside == sorted(aside)
    well = made(routes, models, needs, replace(state, breakers={}), seed)
    broken = {r.model for r in p.rejected if r.rule == "breaker"}
    gone = {s.model for s in well.steps} - {s.model for s in p.steps}
    assert gone <= broken
    # Those who do not stand aside keep their order.
    here = [s.model for s in p.steps if not s.aside]
    assert here == [s.model for s in well.steps if s.model in here]


def test_a_recovering_candidate_comes_first_in_its_share_of_the_calls() -> None:
    candidates = tuple(Candidate("p", m) for m in "ab")
    routes = {"r0": RouteConfig("r0", candidates)}
    for share in (0.1, 0.25, 0.9):
        state = PlanState(breakers={("p", "a"): BreakerView(NOW + 9, share=share)})
        firsts = [made(routes, {}, Needs(), state, seed).steps[0].model for seed in range(4000)]
        assert abs(firsts.count("a") / 4000 - share) < 0.03


@given(routes_of(), declared_models, needs_any, states, st.integers())
def test_the_same_arguments_give_the_same_plan(
    routes: Any, models: Any, needs: Needs, state: PlanState, seed: int
) -> None:
    assert made(routes, models, needs, state, seed) == made(routes, models, needs, state, seed)


def spread(routes: dict[str, RouteConfig], **change: Any) -> dict[str, RouteConfig]:
    return {name: replace(route, **change) for name, route in routes.items()}


@given(routes_of(nested=False), declared_models, needs_any, states, st.data())
def test_permuting_the_file_changes_only_ties(
    routes: Any, models: Any, needs: Needs, state: PlanState, data: Any
) -> None:
    def shape(p: Plan) -> list[Any]:
        # What decides besides the place in the file; equal neighbours may swap.
        last = p.steps and p.steps[0].policy.unknown == "last"
        return [(bool(s.aside), bool(s.unknown) if last else False, s.scores) for s in p.steps]

    before = made(routes, models, needs, state)
    shuffled = data.draw(st.permutations(routes["r0"].candidates))
    after = made(spread(routes, candidates=tuple(shuffled)), models, needs, state)
    assert set(before.rejected) == set(after.rejected)
    if routes["r0"].prefer[0] != "order":
        assert shape(before) == shape(after)
        groups_before = _groups(before, shape(before))
        groups_after = _groups(after, shape(after))
        assert groups_before == groups_after


def _groups(p: Plan, keys: list[Any]) -> list[set[str]]:
    groups: list[tuple[Any, set[str]]] = []
    for step, k in zip(p.steps, keys, strict=True):
        if not groups or groups[-1][0] != k:
            groups.append((k, set()))
        groups[-1][1].add(step.candidate)
    return [names for _, names in groups]


@given(
    routes_of(nested=False), declared_models, needs_any, states, st.integers(0, 7), st.floats(0, 1)
)
def test_cheaper_is_never_lower(
    routes: Any, models: Any, needs: Needs, state: PlanState, which: int, share: float
) -> None:
    """Making a candidate cheaper (or its price known) never lowers it, nor puts it out."""
    routes = spread(routes, prefer=("cost",))
    ref = REFS[which]
    known = models.get(ref, ModelConfig())
    price = known.price or Price()
    dear = Price(
        price.input if price.input is not None else 9.0,
        price.output if price.output is not None else 9.0,
    )
    cheap = Price(dear.input * share, dear.output * share)  # type: ignore[operator]  # set above
    before = ranks(made(routes, {**models, ref: known}, needs, state))
    after = ranks(made(routes, {**models, ref: replace(known, price=cheap)}, needs, state))
    if ref in before:
        assert after[ref] <= before[ref]


@given(routes_of(nested=False), declared_models, needs_any, states, st.integers(0, 7))
def test_one_more_eligible_candidate_that_costs_less_stands_before_what_costs_more(
    routes: Any, models: Any, needs: Needs, state: PlanState, where: int
) -> None:
    routes = spread(routes, prefer=("cost",), unknown="allow", budget=Budget(), require=frozenset())
    new = Candidate("new", "free")
    members = list(routes["r0"].candidates)
    members.insert(where, new)
    grown = spread(routes, candidates=tuple(members))
    models = {**models, "new:free": ModelConfig(price=Price(0, 0))}
    before, after = made(routes, models, needs, state), made(grown, models, needs, state)
    costs = {s.candidate: s.est_cost_usd for s in after.steps}
    place = ranks(after)
    for ref, cost in costs.items():
        if ref != "new:free" and cost != 0.0:
            assert place["new:free"] < place[ref]
    # And it leaves the others' order alone.
    assert [s.candidate for s in before.steps] == [
        s.candidate for s in after.steps if s.candidate != "new:free"
    ]


@given(
    routes_of(),
    declared_models,
    needs_any,
    states,
    st.sampled_from(MODELS),
    words,
    st.sampled_from(["whole", "stream"]),
)
def test_one_more_refusal_never_promotes(
    routes: Any, models: Any, needs: Needs, state: PlanState, model: str, word: str, mode: str
) -> None:
    seen = dict(state.observed.get("p", {}))
    facts = getattr(seen.get(model), "facts", {})
    seen[model] = ModelFacts({**facts, (word, mode): Fact(False, NOW, mode)})
    refused = replace(state, observed={"p": seen})
    before = ranks(made(routes, models, needs, state))
    after = ranks(made(routes, models, needs, refused))
    ref = f"p:{model}"
    if ref in after:
        assert ref in before
        assert after[ref] >= before[ref]


@given(
    routes_of(nested=False),
    declared_models,
    needs_any,
    states,
    st.sampled_from(MODELS),
    st.integers(1, 20),
)
def test_more_failures_never_promote(
    routes: Any, models: Any, needs: Needs, state: PlanState, model: str, more: int
) -> None:
    routes = spread(routes, prefer=("reliability",))
    known = state.stats.get(("p", model), CandidateStats())
    worse = replace(
        state, stats={**state.stats, ("p", model): known._replace(failures=known.failures + more)}
    )
    before, after = (ranks(made(routes, models, needs, s)) for s in (state, worse))
    ref = f"p:{model}"
    assert (ref in after) == (ref in before)
    if ref in after:
        assert after[ref] >= before[ref]


@given(routes_of(nested=False), declared_models, needs_any, states, st.integers(), st.data())
def test_a_draw_is_each_candidates_own(
    routes: Any, models: Any, needs: Needs, state: PlanState, seed: int, data: Any
) -> None:
    """Without one candidate the weighted order of the others stays as it was."""
    routes = spread(routes, prefer=("weighted",))
    gone = data.draw(st.sampled_from(routes["r0"].candidates))
    rest = tuple(c for c in routes["r0"].candidates if c is not gone)
    full = [s.candidate for s in made(routes, models, needs, state, seed).steps]
    less = [
        s.candidate for s in made(spread(routes, candidates=rest), models, needs, state, seed).steps
    ]
    assert [ref for ref in full if ref != gone.ref] == less


# --- what it costs --------------------------------------------------------------------------------


def many(count: int) -> CompiledRoute:
    candidates = tuple(Candidate("p", f"m{i}") for i in range(count))
    models = {
        f"p:m{i}": ModelConfig(100_000, Price(float(i % 7), 1.0), {"tools": True})
        for i in range(count)
    }
    routes = {"r0": RouteConfig("r0", candidates, prefer=("cost", "latency"))}
    return compile_route(routes, "r0", models, lambda p, m: None)


def cpu_seconds(route: CompiledRoute, state: PlanState, rounds: int) -> float:
    needs = Needs(tools=True, streaming=True, input_tokens=2000)
    best = float("inf")
    gc.disable()
    try:
        for _ in range(5):
            start = time.process_time()
            for _ in range(rounds):
                plan(needs, route.members, state, route.policy, NOW, 1)
            best = min(best, (time.process_time() - start) / rounds)
    finally:
        gc.enable()
    return best


def test_a_plan_takes_microseconds_and_grows_with_its_candidates() -> None:
    state = PlanState(
        stats={("p", f"m{i}"): CandidateStats(1.0, 0.5, 9, 1, 1.0) for i in range(300)},
        breakers={("p", "m3"): BreakerView(NOW + 9)},
        observed={"p": {"m1": ModelFacts({("tools", "stream"): Fact(True, NOW, "stream")})}},
        admission={("p", "m2"): AdmissionView(NOW + 9, 5, 10**6)},
    )
    # The best of three looks: a busy machine makes single ones longer, never shorter.
    looks = [
        [cpu_seconds(many(n), state, rounds) for n, rounds in ((5, 400), (100, 20), (300, 8))]
        for _ in range(3)
    ]
    five, hundred, most = (min(figures) for figures in zip(*looks, strict=True))
    print(
        f"plan: 5 candidates {five * 1e6:.1f} µs, 100 {hundred * 1e6:.0f} µs, "
        f"300 {most * 1e6:.0f} µs"
    )
    assert five <= 100e-6
    assert most <= 3e-3
    assert most <= hundred * 3 * 2  # linear (squared growth would be 9), with room for noise


def test_members_are_compiled_once_and_plain() -> None:
    route = many(3)
    assert all(isinstance(m, Compiled) for m in route.members)
    p = plan(Needs(), route.members, PlanState(missing_keys={"p": "x"}), route.policy, NOW, 1)
    assert p.steps == ()
    assert all(isinstance(r, Rejection) and r.rule == "key" for r in p.rejected)
