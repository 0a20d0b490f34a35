"""When two requests are one, and how the nearest recording is named."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crux_integrations.testing.matching import (
    FIELDS,
    Difference,
    RequestKey,
    differences,
    matches,
    nearest,
    normalize,
    turn_of,
)

URL = "https://api.openai.com/v1/chat/completions"
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)
BODIES = st.dictionaries(st.text(max_size=6), JSON_VALUES, max_size=5)


def key(body: object, url: str = URL, method: str = "POST") -> RequestKey:
    return RequestKey.of(method, url, json.dumps(body))


def shuffled(value: object, seed: int) -> object:
    rng = random.Random(seed)
    match value:
        case dict():
            items = list(value.items())
            rng.shuffle(items)
            return {k: shuffled(v, seed) for k, v in items}
        case list():
            return [shuffled(v, seed) for v in value]
    return value


@given(BODIES, st.integers())
def test_key_order_whitespace_and_escapes_say_nothing(body: object, seed: int) -> None:
    other = json.dumps(shuffled(body, seed), indent=3, ensure_ascii=False)
    assert matches(key(body), RequestKey.of("post", URL, other.encode("utf-8", "surrogatepass")))


@example({}, {"": {"type": []}})
@given(BODIES, BODIES)
def test_matching_is_equality_of_what_matters(a: dict[str, object], b: dict[str, object]) -> None:
    def canonical(body: dict[str, object]) -> str:
        kept = {k: v for k, v in body.items() if v is not None and (k, v) != ("stream", False)}
        return json.dumps(kept, sort_keys=True)

    # JSON writes 1 and 1.0 apart although they are one number, so only this direction is sure.
    if canonical(a) == canonical(b):
        assert matches(key(a), key(b))
    if matches(key(a), key(b)):
        assert normalize(json.dumps(a)) == normalize(json.dumps(b))


@pytest.mark.parametrize(
    ("recorded", "sent", "path"),
    [
        ({"model": "a"}, {"model": "b"}, "body.model"),
        ({"m": [{"c": "x"}]}, {"m": [{"c": "y"}]}, "body.m[0].c"),
        ({"m": [1]}, {"m": [1, 2]}, "body.m[1]"),
        ({"t": 0}, {}, "body.t"),
        ({}, {"t": 0}, "body.t"),
        ({"t": 1}, {"t": True}, "body.t"),
        ({"t": 0.1}, {"t": 0.2}, "body.t"),
        ({"stream": True}, {}, "body.stream"),
    ],
)
def test_a_difference_is_found_and_named(recorded: object, sent: object, path: str) -> None:
    assert [d.path for d in differences(key(recorded), key(sent))] == [path]


@pytest.mark.parametrize(
    ("recorded", "sent"),
    [
        ({"t": 1}, {"t": 1.0}),
        ({"stream": False}, {}),
        ({"user": None}, {}),
        ({"a": "é"}, {"a": "\u00e9"}),
    ],
)
def test_irrelevant_differences(recorded: object, sent: object) -> None:
    assert matches(key(recorded), key(sent))


def chat(*ids: str) -> dict[str, object]:
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    calls = [call | {"id": name} for name in ids[:2]]
    results = [{"role": "tool", "tool_call_id": name, "content": "x"} for name in ids[2:]]
    return {"messages": [{"role": "assistant", "tool_calls": calls}, *results]}


def claude(*ids: str) -> dict[str, object]:
    calls = [{"type": "tool_use", "id": name, "name": "f", "input": {}} for name in ids[:2]]
    results = [{"type": "tool_result", "tool_use_id": name, "content": "x"} for name in ids[2:]]
    return {"messages": [{"content": calls}, {"content": results}]}


def gemini(*ids: str) -> dict[str, object]:
    calls = [{"functionCall": {"id": name, "name": "f"}} for name in ids[:2]]
    results = [{"functionResponse": {"id": name, "name": "f"}} for name in ids[2:]]
    return {"contents": [{"parts": calls}, {"parts": results}]}


def responses(*ids: str) -> dict[str, object]:
    calls = [{"type": "function_call", "call_id": name, "name": "f"} for name in ids[:2]]
    results = [{"type": "function_call_output", "call_id": name} for name in ids[2:]]
    return {"input": [*calls, *results]}


@pytest.mark.parametrize("dialect", [chat, claude, gemini, responses])
def test_ids_of_tool_calls_say_only_what_belongs_together(
    dialect: Callable[..., dict[str, object]],
) -> None:
    recorded = key(dialect("a", "b", "a", "b"))
    assert matches(recorded, key(dialect("x", "y", "x", "y")))
    assert not matches(recorded, key(dialect("x", "y", "y", "x")))
    assert not matches(recorded, key(dialect("x", "x", "x", "x")))


def test_an_id_in_the_callers_own_data_is_what_it_says() -> None:
    def body(number: str) -> dict[str, object]:
        data = {"type": "function", "id": number, "call_id": number}
        return {"messages": [{"type": "tool_use", "id": "t", "input": data}], "id": number}

    assert matches(key(body("1")), key(body("1")))
    assert not matches(key(body("1")), key(body("2")))
    found = [d.path for d in differences(key(body("1")), key(body("2")))]
    assert found == [f"body.messages[0].input.{k}" for k in ("id", "call_id")] + ["body.id"]


def test_a_null_inside_is_relevant() -> None:
    assert not matches(key({"m": [{"content": None}]}), key({"m": [{}]}))


def test_host_without_port_path_without_query() -> None:
    assert matches(key({}, "http://h:1/v1/x?key=1"), key({}, "https://h:2/v1/x"))
    assert not matches(key({}, "http://h/v1/x"), key({}, "http://i/v1/x"))
    assert matches(key({}, "http://h/v1/x"), key({}, "http://i/v1/x"), ("method", "path", "body"))


def test_a_body_that_is_no_json_is_text() -> None:
    assert normalize(b"a=1&b=2") == "a=1&b=2"
    assert normalize(b"\xff{") == "\\xff{"
    assert normalize(b"") is None
    assert normalize(b"[" * 100_000) == "[" * 100_000


def test_the_nearest_recording_differs_least() -> None:
    sent = key({"model": "m", "messages": ["hello"], "n": 1})
    recordings = [
        key({"model": "m", "messages": ["hello"], "n": 1}, "https://api.openai.com/v1/models"),
        key({"model": "m", "messages": ["bye"], "n": 2}),
        key({"model": "m", "messages": ["bye"], "n": 1}),
    ]
    found = nearest(recordings, sent, FIELDS)
    assert found is not None
    assert found.place == 2
    assert str(found.differences[0]) == 'body.messages[0]: recorded "bye", sent "hello"'
    assert nearest([], sent) is None


def test_long_values_are_cut_around_the_place_where_they_part() -> None:
    words = str(Difference("body.x", "a" * 5000 + "1" + "b" * 5000, "a" * 5000 + "2" + "b" * 5000))
    assert "a1b" in words
    assert "a2b" in words
    assert len(words) < 300


GEMINI = "/v1beta/models/m:generateContent"
TOOL_TURNS = [
    ("/v1/chat/completions", {"messages": [{"role": "tool", "content": "x"}]}),
    ("/v1/messages", {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}),
    ("/v1/responses", {"input": [{"type": "function_call_output", "output": "x"}]}),
    (GEMINI, {"contents": [{"role": "user", "parts": [{"functionResponse": {}}]}]}),
    ("/api/chat", {"messages": [{"role": "tool", "content": "x"}]}),
]  # fmt: skip
USER_TURNS = [
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
    ("/v1/messages", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
    ("/v1/responses", {"input": "x"}),
    (GEMINI, {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}),
    ("/api/chat", {"messages": [{"role": "user", "content": "x"}]}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), TOOL_TURNS)
def test_a_tool_result_ends_the_turn_in_every_dialect(path: str, body: object) -> None:
    assert turn_of(path, body).last == "tool"


@pytest.mark.parametrize(("path", "body"), USER_TURNS)
def test_a_user_ends_the_turn_in_every_dialect(path: str, body: object) -> None:
    assert turn_of(path, body).last == "user"


def test_gemini_names_model_and_streaming_in_the_path() -> None:
    assert turn_of("/v1beta/models/g-2:streamGenerateContent", {})[:2] == ("g-2", True)
    assert turn_of("/v1beta/models/g-2:generateContent", {})[:2] == ("g-2", False)
    assert turn_of("/v1/messages", {"model": "m", "stream": True})[:2] == ("m", True)
