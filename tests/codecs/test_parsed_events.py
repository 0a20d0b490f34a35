"""Streams whose events an SDK has parsed already decode like those that came as text.

An SDK hands on the JSON of an event, names it or does not, and may keep pings and end markers to
itself. None of that may change what the decoder makes of the stream.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from crux_providers.base.errors import ProviderError
from crux_providers.base.wire import WireEvent
from crux_providers.codecs.framing import framing_decoder
from tests import recordings
from tests.recordings import Interaction

CASSETTES = Path(__file__).resolve().parents[2] / "cassettes"
CODECS = {
    "chat": "openai_chat",
    "responses": "openai_responses",
    "messages": "anthropic_messages",
    "streamGenerateContent": "gemini_generate",
    "ollama_chat": "ollama_chat",
}


def framed(interaction: Interaction) -> list[WireEvent]:
    frames = framing_decoder("ndjson" if interaction.endpoint.startswith("ollama") else "sse")
    return [*frames.feed(interaction.body), *frames.finish()]


def parsed(events: Sequence[WireEvent], *, named: bool) -> list[WireEvent]:
    """As an SDK gives them: JSON, with no end marker; their names are kept or are not."""
    return [
        WireEvent(json.loads(event.data), event.name if named else None)
        for event in events
        if event.data != "[DONE]"
    ]


def decoded(codec: Any, events: Sequence[WireEvent]) -> Any:
    """Events and how it ended, comparable."""
    decoder = codec.Decoder()
    made: list[Any] = []
    try:
        for event in events:
            made.extend(decoder.feed(event))
            if decoder.ended:
                break
        made.extend(decoder.finish())
    except ProviderError as error:
        made.append((error.code, error.message, error.provider_code, error.status))
    return made, decoder.skipped


def codec_of(endpoint: str) -> Any:
    return importlib.import_module(f"crux_providers.codecs.{CODECS[endpoint]}")


def differing(interactions: Sequence[Interaction]) -> list[str]:
    found = []
    for interaction in interactions:
        codec, events = codec_of(interaction.endpoint), framed(interaction)
        text = decoded(codec, events)
        if decoded(codec, parsed(events, named=True)) != text:
            found.append(interaction.name)
        if decoded(codec, parsed(events, named=False)) != text:
            found.append(f"{interaction.name} without names")
    return found


def streams(interactions: Sequence[Interaction]) -> list[Interaction]:
    return [i for i in interactions if i.stream and i.endpoint in CODECS]


def test_our_own_streams_decode_alike() -> None:
    files = sorted(CASSETTES.glob("**/*stream*.yaml"))
    own = [
        interaction
        for file in files
        for interaction in recordings.read_session(CASSETTES, str(file.relative_to(CASSETTES)))
    ]
    assert {i.endpoint for i in streams(own)} >= {"chat", "responses", "messages"}
    assert differing(streams(own)) == []


@pytest.mark.parametrize("endpoint", CODECS)
def test_every_recorded_stream_decodes_alike(endpoint: str) -> None:
    recordings.require()
    found = streams(recordings.interactions(endpoint=endpoint))
    if not found:
        pytest.skip(f"no {endpoint} stream was recorded")
    assert differing(found) == []


ODD: dict[str, list[tuple[Any, str | None]]] = {
    "openai_chat": [
        ({"choices": [{"index": 0, "delta": {"content": "Hi"}}]}, None),
        ({"object": "something.new", "x": 1}, None),
        ({"error": {"message": "overloaded", "code": 503}}, None),
    ],
    "openai_responses": [
        ({"type": "response.created", "response": {"id": "r", "output": []}}, "response.created"),
        ({"type": "response.something_new", "x": 1}, "response.something_new"),
        ({"type": "error", "code": "server_error", "message": "broken"}, "error"),
    ],
    "anthropic_messages": [
        (
            {"type": "message_start", "message": {"id": "m", "content": [], "model": "c"}},
            "message_start",
        ),
        ({"type": "ping"}, "ping"),
        ({"type": "something_new", "x": 1}, "something_new"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, "error"),
    ],
    "gemini_generate": [
        ({"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]}, None),
        ({"somethingNew": 1}, None),
        ({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}, None),
    ],
    "ollama_chat": [
        ({"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": False}, None),
        ({"something_new": 1}, None),
        ({"error": "model runner has stopped"}, None),
    ],
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("last", ["error", "cut"])
def test_unknown_events_pings_and_errors_decode_alike(name: str, named: bool, last: str) -> None:
    codec = importlib.import_module(f"crux_providers.codecs.{name}")
    odd = ODD[name] if last == "error" else ODD[name][:-1]
    text = decoded(codec, [WireEvent(json.dumps(data), event) for data, event in odd])
    plain = [WireEvent(data, event if named else None) for data, event in odd]
    assert decoded(codec, plain) == text
    assert text[0], "the error at least"
    assert isinstance(text[0][-1], tuple), "an error or a missing end, never a clean end"
