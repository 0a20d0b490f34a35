"""Tool loops begun in real sessions go on at every other dialect, by the target's own rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.events import StreamFolder
from crux_providers.base.models import ChatRequest, ChatResponse, Message, ToolCall
from crux_providers.codecs.framing import NDJSONDecoder, SSEDecoder
from tests import recordings
from tests.codecs.histories import (
    ANTHROPIC,
    CHAT,
    DIALECTS,
    GEMINI,
    MODEL,
    OLLAMA,
    RESPONSES,
    codec,
    encoded,
    judged,
)
from tests.recordings import Interaction

ENDPOINTS = {
    "chat": CHAT,
    "responses": RESPONSES,
    "messages": ANTHROPIC,
    "generateContent": GEMINI,
    "streamGenerateContent": GEMINI,
    "ollama_chat": OLLAMA,
}


def _answer(exchange: Interaction, dialect: str) -> ChatResponse:
    if not exchange.stream:
        answer: ChatResponse = codec(dialect).decode(exchange.body)
        return answer
    frames = NDJSONDecoder() if dialect == OLLAMA else SSEDecoder()
    decoder, folder = codec(dialect).Decoder(), StreamFolder()
    for wire in [*frames.feed(exchange.body), *frames.finish()]:
        for event in decoder.feed(wire):
            folder.add(event)
    for event in decoder.finish():
        folder.add(event)
    return folder.response()


def _loop(exchange: Interaction, dialect: str) -> list[Message] | None:
    """The conversation of an exchange that ended in calls, with a result for each."""
    body = exchange.request_body
    if exchange.status >= 300 or not isinstance(body, dict):
        return None
    try:
        request: ChatRequest = codec(dialect).parse_request(body)
        answer = _answer(exchange, dialect)
    except ProviderError:
        return None  # what the comparers list, with their reasons
    if not answer.tool_calls or any(
        (c.extra or {}).get("type") == "function_call" for c in answer.tool_calls
    ):
        return None  # of OpenAI's functions before tools a result has a role of its own
    results = [
        Message("tool", f"result of {call.name}\n", call.name, tool_call_id=call.id)
        for call in answer.tool_calls
    ]
    return [*request.messages, answer.to_message(), *results]


@cache
def loops() -> tuple[tuple[str, str, list[Message]], ...]:
    """``(name, dialect, history)`` of every recorded tool loop."""

    def found() -> Iterator[tuple[str, str, list[Message]]]:
        for session in recordings.sessions():
            if "tools" not in session.scenario:
                continue
            for exchange in session.interactions:
                dialect = ENDPOINTS.get(exchange.endpoint)
                if dialect is not None and (history := _loop(exchange, dialect)) is not None:
                    yield exchange.name, dialect, history

    return tuple(found())


@pytest.fixture(autouse=True)
def _recorded() -> None:
    recordings.require()


def _said_of(history: list[Message]) -> list[str]:
    """The payloads of calls, and the texts of results, as they have to reach the target."""
    calls = [c for m in history for c in m.tool_calls]
    results = [m.text for m in history if m.role == "tool"]
    return [json.dumps(dict(c.arguments), sort_keys=True) for c in calls if c.valid] + results


def _body(target: str, history: list[Message]) -> Any:
    """The body, or None for a file that the target's user cannot send: a picture by its URL, say.

    That is an error of its own, before any request, on which the router goes to the next candidate.
    """
    try:
        return encoded(target, history, provider="another")[0]
    except ProviderError as error:
        if (error.code, error.feature in ("vision", "pdf", "audio")) != (
            ErrorCode.UNSUPPORTED,
            True,
        ):
            raise
        return None


@pytest.mark.parametrize("target", DIALECTS)
def test_a_recorded_tool_loop_goes_on_at_another_dialect(target: str) -> None:
    checked: dict[str, int] = {}
    for name, dialect, history in loops():
        body = _body(target, history)
        if body is None:
            continue
        broken = judged(target, body)
        if dialect == target == GEMINI:  # an older Gemini's calls, which no other model's are
            broken = [b for b in broken if "thought_signature" not in b]
        assert broken == [], name
        read = codec(target).parse_request({"model": MODEL} | body).messages
        assert _said_of(list(read)) == _said_of(history), name
        checked[dialect] = checked.get(dialect, 0) + 1
    assert set(checked) == set(DIALECTS)
    assert sum(checked.values()) > 100


def test_what_another_provider_signed_stays_at_home() -> None:
    """A recorded loop marked with its maker reaches another of the same dialect without secrets."""
    checked = 0
    for name, dialect, history in loops():
        turn = next(m for m in reversed(history) if m.role == "assistant")
        secrets = {
            s
            for made in (*turn.parts, *turn.tool_calls)
            for s in (made.signature, None if isinstance(made, ToolCall) else made.data)
            if isinstance(s, str)
        }
        if not secrets:
            continue
        marked = replace(
            turn,
            content=[replace(p, provider="maker") for p in turn.parts],
            tool_calls=[replace(c, provider="maker") for c in turn.tool_calls],
        )
        theirs = [marked if m is turn else m for m in history]
        body, lost = encoded(dialect, theirs, provider="another")
        wire = json.dumps(body)
        assert not [s for s in secrets if json.dumps(s)[1:-1] in wire], name
        assert any("maker" in line for line in lost), name
        assert judged(dialect, body) == [], name
        back, _ = encoded(dialect, theirs, provider="maker")
        plain, _ = encoded(dialect, history)
        assert back == plain, name
        checked += 1
    assert checked > 10
