"""The ledger's traffic under another policy: by hand, by property, and through the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from crux_integrations import Router
from crux_integrations.cli.commands import cli
from crux_integrations.router.config import catalog_lookup, load_routes
from crux_integrations.router.needs import Needs
from crux_integrations.router.plan import PlanState
from crux_integrations.router.replay import NOBODY, Traffic, needs_from_json, replay
from crux_integrations.router.routes import CAPABILITIES
from crux_providers.base import ChatRequest, Message
from crux_providers.persistence.rows import Attempt, Call
from crux_providers.persistence.store import get_store
from tests.servers.scripted_server import ScriptedServer


def policy(*candidates: str, prefer: str = "order", **models: Any) -> Any:
    return load_routes(
        {
            "version": 1,
            "providers": {
                name: {"dialect": "openai_chat", "base_url": "http://127.0.0.1:9/v1", "api_key": ""}
                for name in ("a", "b", "c")
            },
            "models": {f"{name}:m": model for name, model in models.items()},
            "routes": {"default": {"candidates": list(candidates), "prefer": [prefer]}},
        }
    )


def call(number: int, *attempts: Attempt, needs: Any = None) -> tuple[Call, list[Attempt]]:
    wanted = needs if needs is not None else Needs(input_tokens=100).as_json()
    spent = sum(a.duration_ms or 0 for a in attempts)
    made = Call(
        f"call{number:04}", "default", 1.8e9 + number, wanted, seed=number,
        outcome=attempts[-1].outcome if attempts else "rejected", duration_ms=spent,
    )  # fmt: skip
    return made, list(attempts)


def attempt(provider: str, outcome: str = "success", ms: float = 100, **more: Any) -> Attempt:
    good = outcome == "success"
    known = {"prompt_tokens": 1000, "completion_tokens": 100, "cost_usd": 0.001} if good else {}
    return Attempt(
        "c", 1, "default", provider, "m", outcome, 1.8e9, duration_ms=ms, **{**known, **more}
    )


def run(traffic: Traffic, config: Any, state: PlanState | None = None) -> dict[str, Any]:
    return replay(traffic, config, catalog_lookup(config), state).as_json()


PRICED = {"price": {"input": 1, "output": 10}}
FREE = {"price": {"input": 0, "output": 0}}


def test_what_keeps_its_candidate_keeps_its_figures() -> None:
    traffic = [call(n, attempt("a", ms=100 + n)) for n in range(20)]
    found = run(traffic, policy("a:m", "b:m", a=PRICED, b=FREE))
    assert found["moved"] == 0
    assert found["before"] == found["after"]
    assert found["before"] == {"usd": 0.02, "unpriced_calls": 0, "p95_ms": 118, "failures": 0}


def test_what_moves_is_estimated_from_what_was_seen() -> None:
    served = [call(n, attempt("a", ms=500)) for n in range(8)]
    cheap = [call(8 + n, attempt("b", ms=50, cost_usd=0.0)) for n in range(8)]
    found = run([*served, *cheap], policy("a:m", "b:m", prefer="cost", a=PRICED, b=FREE))
    assert found["moves"] == [{"before": "a:m", "after": "b:m", "calls": 8}]
    assert found["requests"][0] == {
        "call_id": "call0000", "route": "default", "before": "a:m", "after": "b:m",
    }  # fmt: skip
    assert found["before"]["usd"] == pytest.approx(0.008)
    # b was right 8 times of 8: nine in ten by the rule of succession; a takes the rest, and 1,000
    # tokens in and 100 out of it are $0.002.
    assert found["after"]["usd"] == pytest.approx(8 * 0.1 * 0.9 * 0.002)
    assert found["after"]["failures"] == pytest.approx(8 * 0.1 * 0.1)
    assert found["unseen"] == []


def test_an_unknown_price_is_never_zero() -> None:
    found = run([call(1, attempt("a"))], policy("b:m", a=PRICED))
    assert found["after"]["unpriced_calls"] == 1
    assert found["after"]["usd"] == 0
    assert found["unseen"] == ["b:m"]
    assert found["after"]["p95_ms"] is None


def test_a_rule_of_the_new_file_says_why() -> None:
    needs = Needs(tools=True, input_tokens=10).as_json()
    found = run(
        [call(1, attempt("a"), needs=needs)],
        policy("a:m", "b:m", a={"capabilities": {"tools": False}}, b={"capabilities": ["tools"]}),
    )
    assert found["moves"] == [{"before": "a:m", "after": "b:m", "calls": 1}]
    ((words, count),) = found["rejections"].items()
    assert (words[:15], count) == ("a:m: capability", 1)
    assert "tools: declared in the routes file" in words


def test_nobody_is_left() -> None:
    found = run([call(1, attempt("a"))], policy("a:m", a=PRICED), PlanState({"a": "no key"}))
    assert found["moves"] == [{"before": "a:m", "after": NOBODY, "calls": 1}]
    assert found["after"]["failures"] == 1
    assert found["after"]["usd"] == 0
    unready = PlanState(unready={("a", "m"): "its weights are not here"})
    assert run([call(1, attempt("a"))], policy("a:m", a=PRICED), unready) == {
        **found, "rejections": {"a:m: key: its weights are not here": 1},
    }  # fmt: skip


def test_failures_and_interruptions_count_as_they_were() -> None:
    traffic = [
        call(1, attempt("a", "error"), attempt("b")),
        call(2, attempt("a", "error"), attempt("b", "interrupted")),
        call(3),
    ]
    found = run(traffic, policy("a:m", "b:m", a=PRICED, b=FREE))
    assert found["before"]["failures"] == 2
    assert found["moves"] == [{"before": NOBODY, "after": "a:m", "calls": 1}]


def test_what_cannot_be_planned_is_said() -> None:
    other = Call("x", "gone", 1.8e9, Needs().as_json()), [attempt("a")]
    bare = Call("y", "default", 1.8e9), [attempt("a")]
    own = Call("z", "default", 1.8e9, Needs().as_json(), extra={"model": "a:x"}), [attempt("a")]
    found = run([other, bare, own], policy("a:m"))
    assert found["calls"] == 0
    assert found["skipped"] == {
        "no route 'gone' in the new file": 1, "recorded without what they need": 1,
        "they name a model themselves": 1,
    }  # fmt: skip


@given(
    st.builds(
        Needs,
        **{word: st.booleans() for word in CAPABILITIES},
        input_tokens=st.integers(0, 10**6),
        output_tokens=st.none() | st.integers(1, 10**5),
        tags=st.frozensets(st.sampled_from(["eu", "fast"])),
    )
)
def test_needs_come_back_from_json(needs: Needs) -> None:
    assert needs_from_json(json.loads(json.dumps(needs.as_json()))) == needs


@given(
    st.lists(
        st.lists(
            st.builds(
                attempt,
                st.sampled_from("abc"),
                st.sampled_from(["success", "error", "interrupted", "cancelled"]),
                st.floats(1, 10_000),
            ),
            max_size=3,
        ),
        max_size=30,
    ),
    st.permutations(["a:m", "b:m", "c:m"]),
)
def test_sums_add_up_and_come_again(rows: list[list[Attempt]], order: list[str]) -> None:
    traffic = [call(n, *attempts) for n, attempts in enumerate(rows)]
    config = policy(*order, a=PRICED, b=FREE, c=PRICED)
    found = run(traffic, config)
    assert found == run(traffic, config)
    assert found["calls"] == len(rows)
    assert found["moved"] == sum(row["calls"] for row in found["moves"])
    for side in (found["before"], found["after"]):
        assert 0 <= side["failures"] <= len(rows)
        assert side["usd"] >= 0


def test_the_command_reads_the_ledger_and_calls_nobody(crux_db: Path, tmp_path: Path) -> None:
    body = {
        "id": "x", "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": "hello"}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }  # fmt: skip
    with ScriptedServer(lambda x: x.answer(json.dumps(body).encode())) as server:
        old = {
            "version": 1,
            "providers": {
                name: {"dialect": "openai_chat", "base_url": server.url, "api_key": ""}
                for name in "ab"
            },
            "models": {"a:m": PRICED, "b:m": FREE},
            "routes": {"default": {"candidates": ["a:m", "b:m"]}},
        }
        new = tmp_path / "new.yaml"
        new.write_text(json.dumps({**old, "routes": {"default": {"candidates": ["b:m", "a:m"]}}}))
        with Router(old) as router:
            for _ in range(3):
                router.generate(ChatRequest(messages=[Message("user", "hi")]))
        get_store().flush()
        before = server.requests
        result = CliRunner().invoke(cli, ["routes", "replay", "--routes", str(new), "--json"])
        assert server.requests == before
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["calls"] == 3
    assert found["moves"] == [{"before": "a:m", "after": "b:m", "calls": 3}]
    assert found["before"]["usd"] == pytest.approx(3 * 60e-6)
    text = CliRunner().invoke(cli, ["routes", "replay", "--routes", str(new), "--since", "1h"])
    assert "3 calls, 3 would begin with another candidate" in text.output
    wrong = CliRunner().invoke(cli, ["routes", "replay", "--routes", str(new), "--since", "soon"])
    assert wrong.exit_code == 2
