"""Reading routes files: what is taken, what is refused, and in which words."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from crux_integrations.router.config import (
    Budget,
    Hedge,
    Retry,
    RoutesConfig,
    RoutesError,
    StreamPolicy,
    Timeouts,
    catalog_lookup,
    digest,
    load_routes,
)
from crux_integrations.router.route_tests import run_tests
from crux_providers.base.pricing import Price

EXAMPLE = Path(__file__).parent.parent.parent / "routes.yaml"

FULL = """\
version: 1
providers:
  lab: {dialect: openai_chat, base_url: "${LAB_URL:-http://box:8000/v1}", api_key: "${LAB_KEY:-}"}
models:
  lab:qwen3-8b: {context: 32768, price: {input: 0, output: 0}, capabilities: [tools, json_schema]}
routes:
  default:
    candidates:
      - openai:gpt-5-mini
      - model: anthropic:claude-haiku-4-5
        weight: 2
        params: {temperature: 0}
        tags: [eu]
      - route: backup
    prefer: [cost]
    require: [tools]
    unknown: last
    on: {rate_limit: next, overloaded: next, content_filter: stop, empty: next, length: next}
    retry: {attempts: 2, initial: 0.2s, max: 5s, patience: 3s}
    stream: {hold: 0ms, idle: 15s}
    timeout: {connect: 5s, first_token: 20s, total: 120s, route_total: 5m}
    breaker: {failures: 5, window: 60s, open: 30s}
    hedge: {after: p95, max_extra: 5%}
    budget: {per_call: 0.02, per_day: 20}
  backup: {candidates: [lab:qwen3-8b, "local:smollm2-135m"]}
observed: {expire: 7d}
ledger: {keep: 30d}
chat_logs: false
tests:
  - {name: a, route: default, needs: {tools: true, input_tokens: 20}, expect: openai:gpt-5-mini}
"""


def refused(source: Any, **env: str) -> list[str]:
    with pytest.raises(RoutesError) as caught:
        load_routes(source, env=env)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def route(**fields: Any) -> dict[str, Any]:
    return {"version": 1, "routes": {"default": {"candidates": ["openai:gpt-5-mini"], **fields}}}


# --- what is taken --------------------------------------------------------------------------------


def test_every_key_reaches_its_value() -> None:
    config = load_routes(FULL, env={})
    default = config.route("default")
    first, second, third = default.candidates
    assert (first.provider, first.model, first.line) == ("openai", "gpt-5-mini", 9)
    assert (second.weight, second.params, second.tags) == (2.0, {"temperature": 0}, {"eu"})
    assert third.route == "backup"
    assert default.prefer == ("cost",)
    assert default.require == {"tools"}
    assert default.on.action("rate_limit") == "next"
    assert default.on.action("server_error") == "retry"  # the default stands where nothing is said
    assert default.on.action("length") == "next"
    assert default.retry == Retry(2, 0.2, 5.0, 3.0)
    assert default.retry.config().max_attempts == 2
    assert default.stream == StreamPolicy(0.0, 15.0)
    assert default.timeout == Timeouts(5.0, 20.0, 120.0, 300.0)
    assert default.hedge == Hedge("p95", 0.05)
    assert default.budget == Budget(0.02, 20)
    assert config.models["lab:qwen3-8b"].price == Price(0, 0)
    assert config.models["lab:qwen3-8b"].capabilities == {"tools": True, "json_schema": True}
    assert config.observed.expire == 7 * 86400
    assert config.ledger.keep == 30 * 86400
    assert config.route("backup").on.action("length") == "stop"
    assert config.warnings == ()


def test_the_shipped_example_loads_without_keys_and_its_tests_pass() -> None:
    config = load_routes(EXAMPLE, env={})
    assert config.warnings == ()
    results = run_tests(config, catalog_lookup(config), 1_763_800_000.0)
    assert len(results) >= 4
    assert [r.test.name for r in results if not r.passed] == []
    first, second, *_, last = config.route("default").candidates
    assert (first.ref, second.ref) == ("openai:gpt-5-mini", "anthropic:claude-haiku-4-5")
    assert last.route == "backup"
    assert config.route("backup").candidates[-1].ref == "local:smollm2-135m"


def test_a_route_test_that_is_wrong_fails() -> None:
    config = load_routes(FULL.replace("expect: openai:gpt-5-mini", "expect: lab:qwen3-8b"), env={})
    (result,) = run_tests(config, catalog_lookup(config), 1_763_800_000.0)
    assert not result.passed
    assert result.got[0] == "openai:gpt-5-mini"
    assert result.as_json()["passed"] is False


def test_a_path_a_mapping_and_text_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(FULL, encoding="utf-8")
    import yaml

    by_path = load_routes(path, env={})
    by_text = load_routes(FULL, env={})
    mapping = yaml.safe_load(FULL.replace("    on:", "    'on':"))
    by_mapping = load_routes(mapping, env={})
    assert by_path == by_text == by_mapping
    assert load_routes(str(path), env={}) == by_path


def test_a_mapping_that_pyyaml_read_says_the_same() -> None:
    """PyYAML reads YAML 1.1, where the key ``on`` is true."""
    tree = yaml.safe_load(FULL)
    assert True in tree["routes"]["default"]
    assert load_routes(tree, env={}) == load_routes(FULL, env={})
    with pytest.raises(RoutesError, match="'on' is here twice"):
        load_routes({"version": 1, "routes": {"default": {True: {}, "on": {}}}})
    with pytest.raises(RoutesError, match="key False is not a string"):
        load_routes({"version": 1, "routes": {False: {}}})


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_routes(tmp_path / "none.yaml")


def test_words_numbers_and_lists_where_one_stands_for_many() -> None:
    config = load_routes(
        route(prefer="cost", require="tools", stream={"hold": "all"}, hedge={"after": "750ms"}),
        env={},
    )
    default = config.route("default")
    assert default.prefer == ("cost",)
    assert default.require == {"tools"}
    assert default.stream.hold is None
    assert default.hedge == Hedge(0.75)


def test_a_key_with_nothing_behind_it_is_not_there() -> None:
    text = "version: 1\nroutes:\n  default:\n    candidates: [openai:gpt-5-mini]\n    retry:\n"
    assert load_routes(text, env={}).route("default").retry == Retry()


# --- the environment ------------------------------------------------------------------------------


def test_references_defaults_escapes_and_types() -> None:
    text = """
version: 1
providers: {lab: {dialect: "${D:-openai_chat}", base_url: "http://${HOST}:${PORT:-80}/v1"}}
routes:
  default:
    candidates: [{model: "lab:${MODEL:-m}", params: {stop: "$${x}", seed: "${SEED:-7}"}}]
    retry: {attempts: "${ATTEMPTS:-3}"}
    budget: {per_call: "${DOLLARS:-0.5}"}
    unknown: ${UNKNOWN:-reject}
chat_logs: ${LOGS:-true}
"""
    config = load_routes(text, env={"HOST": "box", "ATTEMPTS": "4", "D": ""})
    default = config.route("default")
    assert config.providers["lab"].base_url == "http://box:80/v1"
    assert config.providers["lab"].dialect == "openai_chat"  # set to nothing counts as not set
    assert default.candidates[0].ref == "lab:m"
    assert default.candidates[0].params == {"stop": "${x}", "seed": 7}
    assert default.retry.attempts == 4
    assert default.budget.per_call == 0.5
    assert default.unknown == "reject"
    assert config.chat_logs is True


def test_the_value_of_a_variable_is_not_looked_into() -> None:
    config = load_routes(route(unknown="${U}"), env={"U": "last", "X": "y"})
    assert config.route("default").unknown == "last"
    problems = refused(route(unknown="${U}"), U="${X}", X="last")
    assert "is not one of last, allow, reject" in problems[0]


@pytest.mark.parametrize("bad", ["${}", "${1X}", "${X", "${X:=y}", "${X:-${Y}}", "${X!}"])
def test_other_forms_are_refused(bad: str) -> None:
    problems = refused(route(budget={"per_call": bad}))
    assert any("only ${NAME} and ${NAME:-default} are taken" in p for p in problems)


def test_an_unset_name_is_refused_except_in_a_provider() -> None:
    (problem,) = refused(route(budget={"per_call": "${BUDGET}"}))
    assert "environment variable BUDGET is not set" in problem
    config = load_routes(
        {**route(), "providers": {"openai": {"api_key": "${MY_KEY}", "proxy": "${MY_PROXY}"}}},
        env={},
    )
    assert config.providers["openai"].missing == ("MY_KEY", "MY_PROXY")
    assert config.providers["openai"].api_key is None


def test_expanded_reads_the_same_file_with_another_environment() -> None:
    config = load_routes(route(retry={"attempts": "${N:-1}"}), env={})
    assert config.route("default").retry.attempts == 1
    assert config.expanded({"N": "5"}).route("default").retry.attempts == 5


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("    retry:", "    retyr:", "routes.default.retyr: unknown key, did you mean 'retry'?"),
        ("[cost]", "[cots]", "did you mean 'cost'?"),
        ("prefer: [cost]", "prefer: []", "must not be empty"),
        ("require: [tools]", "require: [tolls]", "did you mean 'tools'?"),
        ("rate_limit: next", "rate_limt: next", "did you mean 'rate_limit'?"),
        ("rate_limit: next", "rate_limit: retyr", "did you mean 'retry'?"),
        ("attempts: 2", "attempts: 0", "0 is not a whole number from 1"),
        ("attempts: 2", "attempts: 1.5", "expected a whole number"),
        ("attempts: 2", "attempts: true", "expected a whole number"),
        ("idle: 15s", "idle: 15 sec", "is no duration"),
        ("idle: 15s", "idle: 0s", "must be longer than zero"),
        ("max_extra: 5%", "max_extra: five", "is no share"),
        ("per_call: 0.02", "per_call: 0", "0 is not a number above 0"),
        ("per_call: 0.02", "per_call: .nan", "expected a number above 0"),
        ("weight: 2", "weight: -2", "-2 is not a number from 0"),
        ("temperature: 0", "temprature: 0", "did you mean 'temperature'?"),
        ("temperature: 0", "model: x", "belongs to the call"),
        (
            "openai:gpt-5-mini\n      - model",
            "opneai:gpt-5-mini\n      - model",
            "unknown provider 'opneai', did you mean 'openai'?",
        ),
        (
            "openai:gpt-5-mini\n      - model",
            "openai:gpt-5-mnii\n      - model",
            "did you mean 'gpt-5-mini'?",
        ),
        ("openai:gpt-5-mini\n      - model", "gpt-5-mini\n      - model", "is no provider:model"),
        ("openai:gpt-5-mini\n      - model", "backup\n      - model", "{route: backup}"),
        ("route: backup\n", "route: bakcup\n", "did you mean 'backup'?"),
        ("route: backup\n", "route: default\n", "a cycle: default → default"),
        (
            "{candidates: [lab",
            "{prefer: [cost], candidates: [{route: default}, lab",
            "a cycle: default → backup → default",
        ),
        (
            'candidates: [lab:qwen3-8b, "local:smollm2-135m"]',
            "candidates: []",
            "routes.backup.candidates: must not be empty",
        ),
        (
            'candidates: [lab:qwen3-8b, "local:smollm2-135m"]',
            "prefer:  [cost]",
            "routes.backup.candidates: is needed here",
        ),
        ("lab: {dialect: openai_chat, ", "lab: {", "a gateway needs its dialect"),
        ("dialect: openai_chat", "dialect: openai", "did you mean 'openai_chat'?"),
        (
            "lab:qwen3-8b: {context: 32768",
            "lba:qwen3-8b: {context: 32768",
            "unknown provider 'lba', did you mean 'lab'?",
        ),
        ("context: 32768", "context: 0", "0 is not a whole number above 0"),
        ("price: {input: 0,", "price: {input: -1,", "-1 is not a number from 0"),
        ("price: {input: 0,", "price: {inptu: 0,", "did you mean 'input'?"),
        (
            "capabilities: [tools, json_schema]",
            "capabilities: {tool: true}",
            "did you mean 'tools'?",
        ),
        ("route: default, needs", "route: defualt, needs", "did you mean 'default'?"),
        ("expect: openai:gpt-5-mini", "expect: openai:gpt-5", "no candidate of route"),
        ("needs: {tools: true", "needs: {tool: true", "did you mean 'tools'?"),
        ("chat_logs: false", "chat_logs: off", "expected true or false, found 'off'"),
        ("version: 1", "version: 2", "reads version 1"),
        ("observed:", "observd:", "did you mean 'observed'?"),
        ("overloaded: next", "cancelled: next", "ends there, whatever this says"),
    ],
)
def test_a_fault_is_named_with_line_path_and_suggestion(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    assert FULL.count(old) == 1, old
    text = FULL.replace(old, new)
    path = tmp_path / "routes.yaml"
    path.write_text(text, encoding="utf-8")
    problems = refused(path)
    line = text.count("\n", 0, text.index(new)) + 1
    found = [p for p in problems if words in p]
    assert found, problems
    assert re.match(rf"{re.escape(str(path))}:{line}: [a-z]", found[0]), (line, found)


def test_all_faults_at_once_in_the_order_of_the_file() -> None:
    problems = refused(
        FULL.replace("[cost]", "[cots]")
        .replace("attempts: 2", "attempts: x")
        .replace("weight: 2", "wieght: 2")
    )
    assert len(problems) == 3
    assert [int(p.split(":")[1]) for p in problems] == sorted(
        int(p.split(":")[1]) for p in problems
    )


def test_a_requirement_that_no_candidate_can_meet() -> None:
    models = {"openai:gpt-5-mini": {"capabilities": {"vision": False}}}
    (problem,) = refused({**route(require=["vision"]), "models": models})
    assert "every candidate declares vision: false" in problem
    # Unknown is not false, and an inner route has rules of its own.
    assert load_routes(route(require=["vision"]), env={})


def test_model_or_route() -> None:
    both = route(candidates=[{"model": "openai:gpt-5-mini", "route": "default"}])
    assert "either model or route" in refused(both)[0]
    neither = route(candidates=[{"weight": 2}])
    assert "needs model: provider:model, or route: name" in refused(neither)[0]


@pytest.mark.parametrize(
    "model",
    [
        "gpt-5-mini",
        "gpt-9",
        "gpt-5-mini-fast",
        "gpt-5-minix",
        "gpt-5.9-mini",
        "something-else-altogether",
        "ft:gpt-4o:acme::x1",
    ],
)
def test_a_name_the_catalogue_lacks_may_be_a_new_model(model: str) -> None:
    assert load_routes(route(candidates=[f"openai:{model}"]), env={})


@pytest.mark.parametrize("model", ["gpt-5-mnii", "gpt-5_mini", "gpt5-mini", "gpt-5-mimi"])
def test_a_slip_of_a_known_name_is_refused_unless_declared(model: str) -> None:
    candidates = [f"openai:{model}"]
    (problem,) = refused(route(candidates=candidates))
    assert f"unknown model {model!r}, did you mean 'gpt-5-" in problem
    assert load_routes({**route(candidates=candidates), "models": {f"openai:{model}": {}}}, env={})


@pytest.mark.parametrize(
    "ref",
    [
        "openrouter:openai/gpt-5-mnii",
        "ollama:lama3.2:1b",
        "local:/models/x.gguf",
        "litellm:openai/gpt-5-mnii",
    ],
)
def test_gateways_and_local_servers_may_serve_any_name(ref: str) -> None:
    (candidate,) = load_routes(route(candidates=[ref]), env={}).route("default").candidates
    assert candidate.ref == ref


def test_a_slip_of_a_gateways_declared_name_is_refused() -> None:
    """What the file declares and nobody then names is what a near name was meant to be."""
    gateway = {"lab": {"dialect": "openai_chat", "base_url": "http://box:8000/v1", "api_key": ""}}
    routes = {"default": {"candidates": ["lab:qwen3-8bb"]}}
    source = {"version": 1, "providers": gateway, "models": {"lab:qwen3-8b": {}}, "routes": routes}
    with pytest.raises(RoutesError, match="unknown model 'qwen3-8bb', did you mean 'qwen3-8b'"):
        load_routes(source)
    both = {"default": {"candidates": ["lab:qwen3-8b", "lab:qwen3-4b"]}}
    assert load_routes({**source, "routes": both})  # two models, one of which is declared
    assert load_routes({**source, "models": {"lab:qwen3-8b": {}, "lab:qwen3-8bb": {}}})


def test_warnings_are_not_refusals() -> None:
    config = load_routes(
        route(
            prefer=["weighted", "cost"],
            timeout={"first_token": 60, "total": 30},
            hedge={},
            retry={"attempts": 1},
            on={"rate_limit": "retry"},
        ),
        env={},
    )
    words = " / ".join(config.warnings)
    for part in (
        "'cost' never decides",
        "first_token is longer than total",
        "no second candidate",
        "retry.attempts is 1",
    ):
        assert part in words


def test_an_unknown_route_is_named_with_a_suggestion() -> None:
    config = load_routes(FULL, env={})
    with pytest.raises(RoutesError, match="no route 'defualt', did you mean 'default'"):
        config.route("defualt")


# --- what is kept ---------------------------------------------------------------------------------

SECRET = "sk-" + "secret" * 4
WITH_KEY = FULL.replace(
    'api_key: "${LAB_KEY:-}"', 'api_key: "${LAB_KEY}", headers: {x-key: "${LAB_KEY}"}'
)


def test_no_secret_in_repr_pickle_or_digest() -> None:
    config = load_routes(WITH_KEY, env={"LAB_KEY": SECRET})
    assert config.providers["lab"].api_key == SECRET
    assert SECRET not in repr(config)
    assert SECRET.encode() not in pickle.dumps(config)
    assert digest(config, "default") == digest(load_routes(WITH_KEY, env={}), "default")


def test_a_pickle_is_the_file_unexpanded_and_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_routes(WITH_KEY, env={"LAB_KEY": SECRET})
    packed = pickle.dumps(config)
    monkeypatch.setenv("LAB_KEY", "another")
    again = pickle.loads(packed)
    assert isinstance(again, RoutesConfig)
    assert again.providers["lab"].api_key == "another"
    assert again.routes == config.routes
    assert copy.deepcopy(again) == again


@pytest.mark.parametrize(
    "field",
    [
        'api_key: "sk-written-out"',
        'api_key: "", headers: {Authorization: "Bearer x"}',
        'api_key: "", proxy: "http://me:pw@proxy"',
    ],
)
def test_a_secret_written_into_the_file_does_not_pickle(field: str) -> None:
    config = load_routes(FULL.replace('api_key: "${LAB_KEY:-}"', field), env={})
    with pytest.raises(TypeError, match=r"providers\.lab\.\w+.*write it as \$\{NAME\}"):
        pickle.dumps(config)


def test_no_secret_in_an_error() -> None:
    text = (
        FULL.replace("unknown: last", "unknown: ${LAB_KEY}")
        .replace("idle: 15s", 'idle: "${LAB_KEY}"')
        .replace("attempts: 2", 'attempts: "${LAB_KEY}"')
    )
    problems = refused(text, LAB_KEY=SECRET)
    assert len(problems) == 3
    assert SECRET not in "\n".join(problems)
    (problem,) = refused(FULL.replace('api_key: "${LAB_KEY:-}"', "api_key: 12345678"))
    assert "12345678" not in problem


def test_a_digest_changes_with_what_the_route_says_and_only_then() -> None:
    def of(text: str, name: str = "default") -> str:
        return digest(load_routes(text, env={}), name)

    assert re.fullmatch(r"[0-9a-f]{16}", of(FULL))
    assert of(FULL) == of("# a comment\n" + FULL)
    assert of(FULL) != of(FULL.replace("weight: 2", "weight: 3"))
    assert of(FULL) != of(FULL.replace('"local:smollm2-135m"]', '"local:other"]'))  # inner route
    assert of(FULL) != of(FULL, "backup")
    assert of(FULL) == of(FULL.replace("LAB_KEY:-", "OTHER_KEY:-"))
    assert of(FULL, "backup") == of(FULL.replace("weight: 2", "weight: 3"), "backup")
    with pytest.raises(RoutesError):
        of(FULL, "nowhere")
