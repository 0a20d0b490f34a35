"""What a request needs, what is known of a candidate, and each rule with its evidence and date."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_integrations.router.compiled import Compiled, CompiledRoute, compile_route, known_facts
from crux_integrations.router.config import load_routes
from crux_integrations.router.needs import Needs, needs_of
from crux_integrations.router.policy import (
    AdmissionView,
    BreakerView,
    Fit,
    PlanState,
    Rejection,
    call_of,
    judge,
    resolve_capability,
)
from crux_integrations.router.routes import CAPABILITIES, ModelConfig
from crux_providers.base.capabilities import FEATURES, Fact, ModelFacts, requested_features
from crux_providers.base.models import ChatRequest, ContentPart, Message, Tool, ToolCall
from crux_providers.catalog import CatalogEntry, Price, PriceRow, Source

NOW = 1_763_800_000.0
DAY = 86400.0
SOURCE = Source("book", "1", "MIT", "2026-11-04", "2026-11-22")
ENTRY = CatalogEntry(
    "openai",
    "m",
    context=1000,
    max_input=800,
    max_output=300,
    capabilities={"tools": True, "vision": False},
    prices=(PriceRow(Price(1.0, 2.0)),),
    sources={"price": SOURCE, "context": SOURCE, "max_input": SOURCE, "capabilities": SOURCE},
)


def only(
    model: dict[str, Any] | None = None, entry: CatalogEntry | None = None, **route: Any
) -> Compiled:
    """The one candidate of a route, compiled."""
    text: dict[str, Any] = {
        "version": 1,
        "routes": {"default": {"candidates": [{"model": "openrouter:m", "tags": ["eu"]}], **route}},
    }
    if model is not None:
        text["models"] = {"openrouter:m": model}
    config = load_routes(text, env={})
    (member,) = compile_route(
        config.routes, "default", config.models, lambda provider, name: entry
    ).members
    assert isinstance(member, Compiled)
    return member


def verdict(c: Compiled, needs: Needs, now: float = NOW, **state: Any) -> Fit | Rejection:
    return judge(c, call_of(needs, PlanState(**state), now))


def rejection(c: Compiled, needs: Needs, now: float = NOW, **state: Any) -> Rejection:
    out = verdict(c, needs, now, **state)
    assert isinstance(out, Rejection), out
    return out


# --- needs ----------------------------------------------------------------------------------------

TOOL = Tool("f", "d", {"type": "object"})


def test_the_words_are_the_observations_words() -> None:
    assert set(CAPABILITIES) == FEATURES


parts = st.lists(
    st.sampled_from(
        [
            ContentPart("text", "hello"),
            ContentPart("image", data="eA=="),
            ContentPart("pdf", data="eA=="),
            ContentPart("audio", data="eA=="),
        ]
    ),
    max_size=3,
)
requests = st.builds(
    ChatRequest,
    messages=st.lists(
        st.builds(Message, role=st.just("user"), content=parts | st.just("hi")), max_size=3
    ),
    tools=st.sampled_from([(), (TOOL,)]),
    tool_choice=st.sampled_from([None, "auto", "none", "required", "f"]),
    parallel_tool_calls=st.sampled_from([None, True, False]),
    response_format=st.sampled_from([None, "text", "json_object"]),
    json_schema=st.sampled_from([None, {"type": "object"}]),
    reasoning_effort=st.sampled_from([None, "high"]),
    reasoning_budget=st.sampled_from([None, 0, 100]),
    logprobs=st.sampled_from([None, True, False]),
)


@given(request=requests, stream=st.booleans())
def test_needs_are_what_an_outcome_is_evidence_for(request: ChatRequest, stream: bool) -> None:
    """Plan and observation must speak of the same thing, or a refusal would keep nobody out."""
    needs = needs_of(request, stream=stream)
    asked = requested_features(request, "stream" if stream else "whole")
    assert set(needs.words()) == asked


def test_the_size_counts_all_that_is_sent() -> None:
    request = ChatRequest(
        messages=[
            Message("system", "s" * 400),
            Message("user", [ContentPart("text", "t" * 400), ContentPart("image", data="eA==")]),
            Message("assistant", "", tool_calls=[ToolCall("1", "f", {"a": "x" * 390})]),
            Message("tool", "r" * 400, tool_call_id="1"),
        ],
        tools=[Tool("f", "d" * 396, {})],
        max_tokens=50,
    )
    needs = needs_of(request, stream=False)
    assert 1490 + 16 <= needs.input_tokens <= 1530 + 16
    assert needs.output_tokens == 50
    half = needs_of(request, stream=False, chars_per_token=2.0)
    assert half.input_tokens > needs.input_tokens * 1.2


def test_needs_are_fast() -> None:
    import timeit

    request = ChatRequest(messages=[Message("user", "x" * 2000)] * 20, tools=[TOOL] * 5)
    best = min(timeit.repeat(lambda: needs_of(request, stream=True), number=200, repeat=3)) / 200
    assert best < 500e-6  # some 20 µs; the bound is for a loaded machine


# --- what is known --------------------------------------------------------------------------------


def test_observed_stands_over_declared_over_catalogued_over_unknown() -> None:
    known = known_facts(ModelConfig(capabilities={"vision": True}), ENTRY)
    assert known["vision"].source == "declared"
    assert known["vision"].value is True
    tools = resolve_capability("tools", "whole", known, None, NOW, DAY)
    assert (tools.value, tools.source, tools.since) == (True, "catalog", "2026-11-04")
    assert "book 1, 2026-11-04" in tools.evidence
    audio = resolve_capability("audio", "whole", known, None, NOW, DAY)
    assert (audio.value, audio.source) == (None, None)
    facts = ModelFacts({("tools", "whole"): Fact(False, NOW - 60, "whole", "no tools here")})
    seen = resolve_capability("tools", "whole", known, facts, NOW, DAY)
    assert (seen.value, seen.source) == (False, "observed")
    assert seen.evidence == "refused (whole): no tools here"
    assert seen.since is not None
    assert seen.since.startswith("2025-11-22T")
    # In the other mode nothing was refused, and after a day nothing is.
    assert resolve_capability("tools", "stream", known, facts, NOW, DAY).value is True
    assert resolve_capability("tools", "whole", known, facts, NOW + DAY, DAY).value is True


def test_a_declared_false_gives_way_to_an_observed_success() -> None:
    c = only({"capabilities": {"tools": False}})
    needs = Needs(tools=True)
    assert rejection(c, needs).rule == "capability"
    worked = {"openrouter": {"m": ModelFacts({("tools", "whole"): Fact(True, NOW, "whole")})}}
    assert verdict(c, needs, observed=worked) == Fit(None, 0)


# --- the rules ------------------------------------------------------------------------------------


def test_key() -> None:
    out = rejection(only(), Needs(), missing_keys={"openrouter": "X_KEY is not set"})
    assert out == Rejection("openrouter", "m", "key", "X_KEY is not set", None)


def test_key_of_a_model_that_needs_something_else_first() -> None:
    needs = {("openrouter", "m"): "pull it", ("openrouter", "other"): "and this"}
    out = rejection(only(), Needs(), unready=needs)
    assert out == Rejection("openrouter", "m", "key", "pull it", None)
    del needs[("openrouter", "m")]
    assert isinstance(verdict(only(), Needs(), unready=needs), Fit)


def test_allowed_by_tag_and_by_list() -> None:
    c = only()
    assert isinstance(verdict(c, Needs(tags=frozenset({"eu"}))), Fit)
    out = rejection(c, Needs(tags=frozenset({"eu", "zdr"})))
    assert out.rule == "allowed"
    assert "zdr" in out.evidence
    for allow in ({"openrouter"}, {"openrouter:m"}, {"eu"}):
        assert isinstance(verdict(c, Needs(), allow=frozenset(allow)), Fit)
    assert rejection(c, Needs(), allow=frozenset({"openai"})).rule == "allowed"
    assert rejection(c, Needs(), allow=frozenset()).rule == "allowed"


def test_capability_by_catalogue_has_its_date() -> None:
    out = rejection(only(entry=ENTRY), Needs(vision=True))
    assert (out.rule, out.since) == ("capability", "2026-11-04")
    assert out.evidence == "vision: catalogue: book 1, 2026-11-04"


def test_capability_refused_has_the_providers_words_and_the_day() -> None:
    seen = {
        "openrouter": {
            "m": ModelFacts(
                {("tools", "stream"): Fact(False, NOW - DAY, "stream", "tools are not supported")}
            )
        }
    }
    c = only(entry=ENTRY)
    out = rejection(c, Needs(tools=True, streaming=True), observed=seen)
    assert out.evidence == "tools: refused (stream): tools are not supported"
    assert out.since == "2025-11-21T08:26:40+00:00"
    assert isinstance(verdict(c, Needs(tools=True), observed=seen), Fit)  # the other mode
    later = verdict(c, Needs(tools=True, streaming=True), NOW + 7 * DAY, observed=seen)
    assert isinstance(later, Fit)
    short = rejection(c, Needs(tools=True, streaming=True), observed=seen, expire=2 * DAY)
    assert short.rule == "capability"


def test_unknown_is_kept_let_in_or_refused() -> None:
    needs = Needs(tools=True, audio=True)
    for word in ("last", "allow"):
        out = verdict(only(unknown=word), needs)
        assert isinstance(out, Fit)
        assert out.unknown
    refused = rejection(only(unknown="reject"), needs)
    assert refused.rule == "capability"
    assert refused.evidence == (
        "tools: nobody has declared or seen it; audio: nobody has declared or seen it"
    )


def test_a_route_requires_besides_the_request() -> None:
    c = only({"capabilities": {"tools": False}}, require="json_schema")
    assert isinstance(verdict(c, Needs()), Fit)
    c = only(
        {"capabilities": {"tools": False, "vision": True}}, unknown="reject", require=["vision"]
    )
    assert isinstance(verdict(c, Needs()), Fit)
    assert rejection(c, Needs(tools=True)).rule == "capability"


def test_streaming_is_the_dialects_and_not_unknown() -> None:
    out = verdict(only(), Needs(streaming=True))
    assert out == Fit(None, 0)
    assert rejection(only({"capabilities": {"streaming": False}}), Needs(streaming=True))


@pytest.mark.parametrize(
    ("tokens", "output", "room"),
    [(799, None, None), (800, 200, None), (800, 201, 1000), (801, None, 800), (10, 301, None)],
)
def test_context(tokens: int, output: int | None, room: int | None) -> None:
    out = verdict(only(entry=ENTRY), Needs(input_tokens=tokens, output_tokens=output))
    if room is None and not (output or 0) > 300:
        assert isinstance(out, Fit)
        return
    assert isinstance(out, Rejection)
    assert (out.rule, out.since) == ("context", "2026-11-04")
    assert (f"room for {room}" if room else "writes at most 300") in out.evidence


def test_a_declared_window_stands_over_the_catalogue_and_an_unknown_one_over_nothing() -> None:
    c = only({"context": 5000}, ENTRY)
    assert isinstance(verdict(c, Needs(input_tokens=4000)), Fit)
    out = rejection(c, Needs(input_tokens=5001))
    assert "declared" in out.evidence
    assert isinstance(verdict(only(), Needs(input_tokens=10**7)), Fit)


def test_cost_is_estimated_and_unknown_is_none() -> None:
    c = only({"price": {"input": 1, "output": 10}})
    assert verdict(c, Needs(input_tokens=1000, output_tokens=100)) == Fit(0.002, 0)
    unsaid = verdict(c, Needs(input_tokens=1000))
    assert isinstance(unsaid, Fit)
    assert unsaid.cost == pytest.approx(0.001 + 512e-5)
    seen = verdict(c, Needs(input_tokens=1000), mean_output={"default": 100.0})
    assert isinstance(seen, Fit)
    assert seen.cost == pytest.approx(0.002)
    assert verdict(only(), Needs(input_tokens=1000)) == Fit(None, 0)
    assert verdict(only({"price": {"input": 0}}), Needs(input_tokens=9)) == Fit(None, 0)
    assert verdict(only({"price": {"input": 0, "output": 0}}), Needs(input_tokens=9)) == Fit(0, 0)
    assert verdict(only(entry=ENTRY), Needs(input_tokens=100, output_tokens=100)) == Fit(3e-4, 0)
    declared = only({"price": {"input": 9, "output": 9}}, ENTRY)
    assert verdict(declared, Needs(input_tokens=100, output_tokens=100)) == Fit(1.8e-3, 0)


def test_max_tokens_of_a_candidate_bounds_its_estimate() -> None:
    config = load_routes(
        {
            "version": 1,
            "models": {"openrouter:m": {"price": {"input": 0, "output": 10}, "context": 1000}},
            "routes": {
                "default": {
                    "candidates": [{"model": "openrouter:m", "params": {"max_tokens": 100}}]
                }
            },
        },
        env={},
    )
    (c,) = compile_route(config.routes, "default", config.models, lambda p, m: None).members
    assert isinstance(c, Compiled)
    assert verdict(c, Needs(input_tokens=10)) == Fit(0.001, 0)
    assert verdict(c, Needs(input_tokens=10, output_tokens=200)) == Fit(0.002, 0)
    assert rejection(c, Needs(input_tokens=901)).rule == "context"


def test_budget() -> None:
    price = {"price": {"input": 1, "output": 1}}
    c = only(price, budget={"per_call": 0.001, "per_day": 0.01})
    assert isinstance(verdict(c, Needs(input_tokens=900, output_tokens=100)), Fit)
    over = rejection(c, Needs(input_tokens=900, output_tokens=101))
    assert over.rule == "budget"
    assert over.evidence == "about $0.001001, per_call of route 'default' is $0.001"
    needs = Needs(input_tokens=900, output_tokens=100)
    assert isinstance(verdict(c, needs, spent={"default": 0.009}), Fit)
    spent = rejection(c, needs, spent={"default": 0.0091})
    assert "has spent $0.0091 of $0.01 today" in spent.evidence


def test_under_a_budget_an_unknown_price_is_out_and_a_free_one_in() -> None:
    unknown = rejection(only(budget={"per_day": 5}), Needs())
    assert unknown.rule == "budget"
    assert "declare it under models:" in unknown.evidence
    free = only({"price": {"input": 0, "output": 0}}, budget={"per_call": 1e-9, "per_day": 5})
    assert isinstance(verdict(free, Needs(input_tokens=10**6), spent={"default": 99}), Fit)


def test_the_outer_budget_holds_inside() -> None:
    config = load_routes(
        {
            "version": 1,
            "models": {"openrouter:m": {"price": {"input": 1, "output": 1}}},
            "routes": {
                "default": {
                    "candidates": [{"route": "inner"}],
                    "budget": {"per_call": 0.001},
                    "require": ["tools"],
                    "unknown": "reject",
                },
                "inner": {"candidates": ["openrouter:m"], "budget": {"per_call": 1}},
            },
        },
        env={},
    )
    (inner,) = compile_route(config.routes, "default", config.models, lambda p, m: None).members
    assert isinstance(inner, CompiledRoute)
    (c,) = inner.members
    assert isinstance(c, Compiled)
    assert [r.name for r in c.routes] == ["default", "inner"]
    out = rejection(c, Needs(input_tokens=2000, output_tokens=0))
    assert "route 'default'" in out.evidence
    # The outer `require` and `unknown` are not the inner route's.
    assert isinstance(verdict(c, Needs(input_tokens=10, output_tokens=0)), Fit)


def test_breaker() -> None:
    breakers = {("openrouter", "m"): BreakerView(NOW + 30, "5 failures in 60 s", "2025-11-22")}
    out = rejection(only(), Needs(), breakers=breakers)
    assert (out.rule, out.since) == ("breaker", "2025-11-22")
    assert out.evidence == "5 failures in 60 s; closed for 30 s more"
    assert isinstance(verdict(only(), Needs(), NOW + 30, breakers=breakers), Fit)


def test_admission() -> None:
    def limited(**left: Any) -> dict[tuple[str, str], AdmissionView]:
        return {("openrouter", "m"): AdmissionView(NOW + 10, **left)}

    out = rejection(only(), Needs(), admission=limited(requests=0))
    assert out.rule == "admission"
    assert out.evidence == "no request left by its rate limit; more in 10 s"
    needs = Needs(input_tokens=500)
    assert isinstance(verdict(only(), needs, admission=limited(requests=1, tokens=500)), Fit)
    out = rejection(only(), needs, admission=limited(tokens=499))
    assert "499 tokens left" in out.evidence
    assert isinstance(verdict(only(), needs, NOW + 10, admission=limited(requests=0)), Fit)


def test_the_first_rule_in_their_order_is_named() -> None:
    key = ("openrouter", "m")
    facts = ModelFacts({("tools", "whole"): Fact(False, NOW, "whole")})
    c = only({"price": {"input": 1, "output": 1}, "context": 100}, budget={"per_call": 1e-6})
    needs = Needs(tools=True, input_tokens=500, tags=frozenset({"x"}))
    state: dict[str, Any] = {
        "missing_keys": {"openrouter": "no"},
        "observed": {"openrouter": {"m": facts}},
        "breakers": {key: BreakerView(NOW + 9)},
        "admission": {key: AdmissionView(NOW + 9, 0)},
    }
    order = []
    fixes: list[Any] = [
        lambda: state.pop("missing_keys"),
        lambda: None,
        lambda: state.pop("observed"),
        lambda: None,
        lambda: None,
        lambda: state.pop("breakers"),
        lambda: state.pop("admission"),
    ]
    changed = [
        needs,
        needs,
        Needs(tools=True, input_tokens=500),
        Needs(tools=True, input_tokens=500),
        Needs(tools=True, input_tokens=50),
        Needs(tools=True),
        Needs(tools=True),
    ]
    for i, fix in enumerate(fixes):
        if i == 5:
            c = only({"price": {"input": 1, "output": 1}, "context": 100})
        out = verdict(c, changed[i], **state)
        order.append(out.rule if isinstance(out, Rejection) else None)
        fix()
    order.append(None if isinstance(verdict(c, changed[-1], **state), Fit) else "?")
    assert order == [
        "key",
        "allowed",
        "capability",
        "context",
        "budget",
        "breaker",
        "admission",
        None,
    ]
