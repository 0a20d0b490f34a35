"""Anthropic Messages: mutated bodies and streams raise ProviderError and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from crux_providers.base.errors import ProviderError, WireFailure
from crux_providers.base.events import ChatStreamEvent, StreamFolder
from crux_providers.base.models import ChatRequest
from crux_providers.base.wire import WireEvent
from crux_providers.codecs.anthropic_messages import (
    Decoder,
    RenderState,
    classify,
    decode,
    encode,
    models,
    parse_request,
    render_event,
    render_response,
)
from crux_providers.codecs.framing import SSEDecoder, render_sse
from tests import recordings
from tests.codecs.anthropic_messages_wire import (
    CITED,
    FOUND,
    SEARCH,
    call,
    message,
    streamed,
    text,
)

ROUNDS = 2500

WHOLE = message(
    {"type": "thinking", "thinking": "hm", "signature": "s=="},
    {"type": "redacted_thinking", "data": "d=="},
    text("a\u00e4", citations=[CITED]),
    SEARCH,
    FOUND,
    call(input={"x": [1, {"y": None}]}, caller={"type": "direct"}),
    stop_reason="tool_use",
    stop_details={"type": "refusal", "explanation": "no"},
    usage={
        "input_tokens": 3,
        "cache_read_input_tokens": 20,
        "cache_creation": {"ephemeral_5m_input_tokens": 10},
        "output_tokens": 5,
        "server_tool_use": {"web_search_requests": 1},
    },
)
REQUEST = {
    "model": "m",
    "max_tokens": 5,
    "system": [text("s")],
    "messages": [
        {"role": "user", "content": [text("q"), {"type": "image", "source": {"type": "url"}}]},
        {"role": "assistant", "content": WHOLE["content"]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_f", "content": [text("r")]},
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "d"},
                },
            ],
        },
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object"}}, {"type": "bash_20250124"}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "stop_sequences": ["x"],
    "temperature": 0.5,
}
ERROR = {
    "type": "error",
    "error": {"type": "x", "message": "y", "details": {"error_code": "z"}},
    "request_id": "r",
}
LISTING = {"data": [{"id": "m", "capabilities": {"thinking": {"supported": True}}, "line": "x"}]}


def deep(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"a": [value]}
    return value


def junk(chance: random.Random) -> Any:
    return chance.choice(
        [None, True, -1, 0.5, 10**400, 1e308, "", "\ud800", "text", [], {}, [None], {"type": 1},
         {"type": "text"}, deep(3), deep(400)]
    )  # fmt: skip


def mutate_json(value: Any, chance: random.Random) -> Any:
    """A copy with one value somewhere in it replaced, dropped, doubled or moved."""
    copy = json.loads(json.dumps(value))
    places: list[tuple[Any, Any]] = []
    waiting = [copy]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                waiting.append(node[key])
    node, key = chance.choice(places)
    match chance.randrange(4):
        case 0:
            del node[key]
        case 1 if isinstance(node, list):
            node.insert(key, node[key])
        case 2:
            other, place = chance.choice(places)
            if place in other if isinstance(other, dict) else place < len(other):
                node[key] = json.loads(json.dumps(other[place]))
        case _:
            node[key] = junk(chance)
    return copy


def mutate_bytes(data: bytes, chance: random.Random) -> bytes:
    begin = chance.randrange(len(data))
    end = min(len(data), begin + chance.choice([1, 1, 2, 30]))
    match chance.randrange(4):
        case 0:
            return data[:begin]
        case 1:
            return data[:begin] + data[end:]
        case 2:
            return data[:end] + data[begin:]
        case _:
            return data[:begin] + chance.randbytes(end - begin) + data[end:]


def survives(read: Callable[..., Any], *arguments: Any) -> bool:
    """Whether ``read`` returned; ProviderError is the only way it may fail."""
    try:
        read(*arguments)
    except ProviderError:
        return False
    return True


def use_answer(payload: Any) -> None:
    """Decode, render for a client, and say the answer again in the next request."""
    answer = decode(payload)
    render_response(answer)
    encode(ChatRequest("m", [answer.to_message()]), stream=True)


def use_request(body: Any) -> None:
    """Read a client's request and send it on."""
    encode(parse_request(body), stream=False)


def use_stream(events: list[WireEvent]) -> None:
    """Feed a decoder to its end: one finish reason where it completes, an error where not."""
    decoder, folder, state = Decoder(), StreamFolder(), RenderState()
    finished = 0
    for event in events:
        for found in decoder.feed(event):
            assert not found.finish
            finished += found.finish_reason is not None
            folder.add(found)
            render_event(found, state)
    for found in decoder.finish():
        folder.add(found)
    assert finished == 1
    render_event(ChatStreamEvent(finish=True), state)
    folder.response()


def use_bytes(body: bytes) -> None:
    """The same from bytes."""
    frames = SSEDecoder()
    use_stream([*frames.feed(body), *frames.finish()])


def sources() -> list[bytes]:
    """Streams to mutate: one of our own, and a recorded one of each scenario where there are."""
    found = {"": b"".join(map(render_sse, streamed(WHOLE)))}
    for session in recordings.sessions("anthropic", "messages"):
        for interaction in session.interactions:
            if interaction.stream and len(interaction.body) < 20_000:
                found.setdefault(session.scenario, interaction.body)
    return list(found.values())


def test_whole_bodies() -> None:
    chance = random.Random(1)
    raw = json.dumps(WHOLE).encode()
    passed = 0
    for _ in range(ROUNDS):
        passed += survives(use_answer, mutate_json(WHOLE, chance))
        passed += survives(use_answer, mutate_json(mutate_json(WHOLE, chance), chance))
        passed += survives(use_answer, mutate_bytes(raw, chance))
    assert 0 < passed < 3 * ROUNDS


def test_streams_of_mutated_events() -> None:
    chance = random.Random(3)
    events = [json.loads(e.data) for e in streamed(WHOLE)]
    passed = 0
    for _ in range(ROUNDS):
        changed = list(events)
        place = chance.randrange(len(events))
        match chance.randrange(4):
            case 0:
                del changed[place]
            case 1:
                changed.insert(place, changed[place])
            case 2:
                changed.insert(chance.randrange(len(events)), changed.pop(place))
            case _:
                changed[place] = mutate_json(changed[place], chance)
        as_text = chance.random() < 0.5
        wire = [WireEvent(json.dumps(e) if as_text else e, None) for e in changed]
        passed += survives(use_stream, wire)
    assert 0 < passed < ROUNDS


def test_streams_of_mutated_bytes() -> None:
    chance = random.Random(4)
    bodies = sources()
    passed = 0
    for number in range(ROUNDS):
        body = bodies[number % len(bodies)]
        for _ in range(chance.randrange(1, 4)):
            body = mutate_bytes(body, chance) or b"x"
        passed += survives(use_bytes, body)
    assert 0 < passed < ROUNDS


def test_requests() -> None:
    chance = random.Random(5)
    passed = sum(survives(use_request, mutate_json(REQUEST, chance)) for _ in range(ROUNDS))
    assert 0 < passed < ROUNDS


def test_errors_and_listings() -> None:
    chance = random.Random(6)
    for _ in range(ROUNDS // 5):
        body = mutate_json(ERROR, chance)
        assert isinstance(classify(WireFailure("in_band", body=body)), ProviderError)
        raw = mutate_bytes(json.dumps(ERROR).encode(), chance)
        assert isinstance(classify(WireFailure("status", status=400, body=raw)), ProviderError)
        survives(models, mutate_json(LISTING, chance))


@pytest.mark.parametrize("levels", [300, 900, 5_000, 50_000])
def test_deep_nesting(levels: int) -> None:
    nested = "[" * levels + "]" * levels
    body = json.dumps(message(call(input={"a": 0}), {"type": "x", "y": 0}))
    for place in ('"a": 0', '"y": 0', '"input_tokens": 3'):
        assert place in body
        survives(use_answer, body.replace(place, place[: place.index(":") + 2] + nested))
