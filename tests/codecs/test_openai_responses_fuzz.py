"""OpenAI Responses: mutated bodies and streams raise ProviderError and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from crux_providers.base.errors import ProviderError, WireFailure
from crux_providers.base.events import ChatStreamEvent, StreamFolder
from crux_providers.base.models import ChatRequest, Message
from crux_providers.base.wire import WireEvent
from crux_providers.codecs.framing import SSEDecoder, render_sse
from crux_providers.codecs.openai_responses import (
    Decoder,
    RenderState,
    classify,
    decode,
    encode,
    parse_request,
    render_event,
    render_response,
)
from tests import recordings
from tests.codecs.mutations import spoiled_bytes, spoiled_json, spoiled_stream
from tests.codecs.openai_responses_wire import (
    REFUSAL,
    call,
    message,
    reasoning,
    response,
    streamed,
    text,
)

ROUNDS = 2000

WHOLE = response(
    reasoning("first", "second", encrypted_content="gAAAA"),
    {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"query": "q"}},
    message(
        text("aä", annotations=[{"type": "url_citation", "url": "u"}], logprobs=[{"token": "a"}]),
        REFUSAL,
        {"type": "output_of_next_year", "x": [1]},
        phase="commentary",
    ),
    {"id": "rs_2", "type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
    call(arguments='{"x": [1, {"y": null}]}'),
    {"id": "ctc_1", "type": "custom_tool_call", "call_id": "c", "name": "sql", "input": "SELECT"},
    {"id": "sh_1", "type": "shell_call", "call_id": "s", "action": {"commands": ["ls"]}},
    incomplete_details=None,
    service_tier="default",
)
REQUEST = {
    "model": "gpt-5",
    "instructions": "be brief",
    "input": [
        {"role": "user", "content": [
            {"type": "input_text", "text": "q"},
            {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"},
            {"type": "input_file", "filename": "a.pdf",
             "file_data": "data:application/pdf;base64,aGk="},
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        ]},
        *WHOLE["output"],
        {"type": "function_call_output", "call_id": "call_1", "output": "r"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": [
            {"type": "input_text", "text": "t"}]},
        {"type": "shell_call_output", "call_id": "s", "output": []},
        {"type": "item_reference", "id": "msg_0"},
        {"role": "assistant", "content": "so"},
        {"role": "developer", "content": "now"},
    ],
    "tools": [
        {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False},
        {"type": "web_search"},
    ],
    "tool_choice": {"type": "function", "name": "f"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
    "include": ["message.output_text.logprobs"],
    "top_logprobs": 2,
    "max_output_tokens": 5,
    "temperature": 0.5,
    "stream": True,
}  # fmt: skip
ERROR = {
    "error": {"message": "Unsupported parameter: 'tools' is not supported with this model.",
              "type": "invalid_request_error", "param": "tools", "code": None}
}  # fmt: skip


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
    history = [answer.to_message(), Message("user", "go on")]
    encode(ChatRequest("m", history), stream=True)


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
    own = [WireEvent(e, e["type"]) for e in streamed(WHOLE)]
    found = {"": b"".join(map(render_sse, own))}
    for session in recordings.sessions(endpoint="responses"):
        for interaction in session.interactions:
            if interaction.stream and len(interaction.body) < 20_000:
                found.setdefault(session.scenario, interaction.body)
    return list(found.values())


def test_the_bodies_are_whole() -> None:
    use_answer(WHOLE)
    use_request(REQUEST)
    use_bytes(sources()[0])


def test_whole_bodies() -> None:
    dice = random.Random(1)
    raw = json.dumps(WHOLE).encode()
    passed = 0
    for _ in range(ROUNDS):
        passed += survives(use_answer, spoiled_json(WHOLE, dice))
        passed += survives(use_answer, spoiled_bytes(raw, dice))
    assert 0 < passed < 2 * ROUNDS


def test_streams_of_mutated_events() -> None:
    dice = random.Random(2)
    events = streamed(WHOLE)
    passed = 0
    for _ in range(ROUNDS):
        changed = list(events)
        for _ in range(dice.choice((1, 1, 3))):
            place = dice.randrange(len(changed))
            match dice.randrange(4):
                case 0:
                    del changed[place]
                case 1:
                    changed.insert(place, changed[place])
                case 2:
                    changed.insert(dice.randrange(len(changed)), changed.pop(place))
                case _:
                    changed[place] = spoiled_json(changed[place], dice)
        as_text = dice.random() < 0.5
        wire = [WireEvent(json.dumps(e) if as_text else e, None) for e in changed]
        passed += survives(use_stream, wire)
    assert 0 < passed < ROUNDS


def test_streams_of_mutated_bytes() -> None:
    dice = random.Random(3)
    bodies = sources()
    passed = 0
    for number in range(ROUNDS):
        body = bodies[number % len(bodies)]
        passed += survives(use_bytes, spoiled_bytes(body, dice))
        passed += survives(use_bytes, spoiled_stream(body, dice))
    assert 0 < passed < 2 * ROUNDS


def test_requests() -> None:
    dice = random.Random(4)
    passed = sum(survives(use_request, spoiled_json(REQUEST, dice)) for _ in range(ROUNDS))
    assert 0 < passed < ROUNDS


def test_errors() -> None:
    dice = random.Random(5)
    for _ in range(ROUNDS // 2):
        body = spoiled_json(ERROR, dice)
        assert isinstance(classify(WireFailure("in_band", body=body)), ProviderError)
        raw = spoiled_bytes(json.dumps(ERROR).encode(), dice)
        assert isinstance(classify(WireFailure("status", status=400, body=raw)), ProviderError)


@pytest.mark.parametrize("levels", [300, 900, 5_000, 50_000])
def test_deep_nesting(levels: int) -> None:
    nested = "[" * levels + "]" * levels
    body = json.dumps(WHOLE)
    for place in ('"query": "q"', '"x": [1]', '"cached_tokens": 4', '"service_tier": "default"'):
        assert place in body
        survives(use_answer, body.replace(place, place[: place.index(":") + 2] + nested))
        lines = [json.dumps(e) for e in streamed(WHOLE)]
        deep = [line.replace(place, place[: place.index(":") + 2] + nested) for line in lines]
        survives(use_stream, [WireEvent(line) for line in deep])
