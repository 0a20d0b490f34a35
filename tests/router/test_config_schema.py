"""The JSON Schema for editors takes what the loader takes, and refuses what it refuses."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from crux_integrations.router.config import RoutesError, load_routes
from crux_integrations.router.schema import json_schema
from crux_integrations.router.yaml12 import parse

jsonschema = pytest.importorskip("jsonschema")

EXAMPLE = Path(__file__).parent.parent.parent / "routes.yaml"


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture
def example() -> Any:
    return parse(EXAMPLE.read_text(encoding="utf-8")).data()


def test_the_example_is_valid(validator: Any, example: Any) -> None:
    assert [e.message for e in validator.iter_errors(example)] == []


def test_every_key_says_what_it_is(validator: Any) -> None:
    described = 0

    def walk(schema: Any) -> None:
        nonlocal described
        if isinstance(schema, dict):
            if schema.get("additionalProperties") is False and "properties" in schema:
                for name, inner in schema["properties"].items():
                    described += "description" in inner
                    assert name
            for inner in schema.values():
                walk(inner)
        elif isinstance(schema, list):
            for inner in schema:
                walk(inner)

    walk(json_schema())
    assert described > 50


def _set(*path: Any, value: Any) -> Any:
    def change(tree: Any) -> None:
        for key in path[:-1]:
            tree = tree[key]
        tree[path[-1]] = value

    return change


ROUTE = ("routes", "default")
WRONG = [
    _set("routs", value={}),
    _set("version", value=2),
    _set(*ROUTE, "retyr", value={}),
    _set(*ROUTE, "prefer", value=["cots"]),
    _set(*ROUTE, "prefer", value=[]),
    _set(*ROUTE, "require", value=["tolls"]),
    _set(*ROUTE, "unknown", value="maybe"),
    _set(*ROUTE, "candidates", value=[]),
    _set(*ROUTE, "candidates", 0, value={"model": "openai:x", "wieght": 2}),
    _set(*ROUTE, "candidates", 0, value={"model": "openai:x", "weight": -1}),
    _set(*ROUTE, "candidates", 0, value={"model": "openai:gpt-5-mini", "route": "backup"}),
    _set(*ROUTE, "candidates", 0, value={"route": "backup", "params": {"temperature": 0}}),
    _set(*ROUTE, "candidates", 0, value={"weight": 2}),
    _set(*ROUTE, "candidates", 0, value="no-provider"),
    _set(*ROUTE, "candidates", 0, value=5),
    _set(*ROUTE, "on", value={"rate_limt": "next"}),
    _set(*ROUTE, "on", value={"rate_limit": "again"}),
    _set(*ROUTE, "retry", value={"attempts": 0}),
    _set(*ROUTE, "retry", value={"attempts": 1.5}),
    _set(*ROUTE, "stream", value={"hold": "some"}),
    _set(*ROUTE, "stream", value={"idle": "15 sec"}),
    _set(*ROUTE, "stream", value={"idle": 0}),
    _set(*ROUTE, "hedge", value={"max_extra": "five"}),
    _set(*ROUTE, "budget", value={"per_call": 0}),
    _set(*ROUTE, "budget", value={"per_call": "much"}),
    _set("providers", "lab", "dialect", value="openai"),
    _set("providers", "lab", "transport", value="smoke"),
    _set("providers", "lab", "key", value="x"),
    _set("providers", "Lab!", value={}),
    _set("models", "lab:qwen3-8b", "price", value={"inptu": 1}),
    _set("models", "lab:qwen3-8b", "price", value={"input": -1}),
    _set("models", "lab:qwen3-8b", "capabilities", value=["tool"]),
    _set("models", "lab:qwen3-8b", "capabilities", value={"tools": "yes"}),
    _set("models", "lab:qwen3-8b", "context", value=0),
    _set("models", "nocolon", value={}),
    _set("tests", 0, "expcet", value="x"),
    _set("tests", 0, "needs", value={"tool": True}),
    _set("tests", 0, "state", value={"keys": []}),
    _set("chat_logs", value="off"),
    _set("observed", value={"expire": "soon"}),
    _set("ledger", value={"keep": 0}),
]
RIGHT = [
    _set(*ROUTE, "prefer", value="cost"),
    _set(*ROUTE, "retry", value={"attempts": "${N:-2}", "initial": 0.2, "max": "5s"}),
    _set(*ROUTE, "budget", value={"per_call": "${DOLLARS:-1}"}),
    _set(*ROUTE, "stream", value={"hold": "all"}),
    _set(*ROUTE, "hedge", value={"after": "500ms", "max_extra": 0.1}),
    _set(*ROUTE, "candidates", 0, value="openai:${MODEL:-gpt-5-mini}"),
    _set(*ROUTE, "candidates", 0, value={"model": "openai:gpt-5-mini", "params": {"user": "x"}}),
    _set(*ROUTE, "candidates", 0, value={"route": "backup", "weight": 2, "tags": ["eu"]}),
    _set("providers", "lab", "headers", value={"x-team": "${TEAM:-}"}),
    _set("models", "lab:qwen3-8b", "capabilities", value={"tools": True, "vision": False}),
    _set("providers", "openai", value={"timeout": "20s", "verify": True, "api": "chat"}),
    _set("providers", "openai", value={"timeout": {"connect": "5s"}}),
    _set("tests", 0, "needs", value=["tools"]),
    _set("ledger", value={"keep": "90d"}),
]


@pytest.mark.parametrize("change", WRONG, ids=range(len(WRONG)))
def test_what_one_refuses_the_other_does(validator: Any, example: Any, change: Any) -> None:
    tree = copy.deepcopy(example)
    change(tree)
    assert list(validator.iter_errors(tree))
    with pytest.raises(RoutesError):
        load_routes(tree, env={})


@pytest.mark.parametrize("change", RIGHT, ids=range(len(RIGHT)))
def test_what_one_takes_the_other_does(validator: Any, example: Any, change: Any) -> None:
    tree = copy.deepcopy(example)
    change(tree)
    tree["tests"] = tree["tests"][:1] if change in RIGHT[-2:] else []
    assert [e.message for e in validator.iter_errors(tree)] == []
    assert load_routes(tree, env={})
