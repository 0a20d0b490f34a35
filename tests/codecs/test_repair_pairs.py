"""A history begun on any dialect, sent to any: every pair, judged by the target's own rules."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crux_providers.base.models import ChatRequest, Message
from crux_providers.codecs.repair import INVALID_ARGUMENTS, OPENING, repair
from crux_providers.codecs.repair_calls import NO_RESULT
from tests.codecs.histories import (
    ANTHROPIC,
    CHAT,
    DIALECTS,
    GEMINI,
    OLLAMA,
    RESPONSES,
    SECRET,
    codec,
    encoded,
    histories,
    judged,
    rules_of,
)

PAIRS = list(itertools.product(DIALECTS, DIALECTS))
_FEW = 6  # for each of 25 pairs; the slow test looks longer


def _examples(number: int) -> settings:
    return settings(max_examples=number, deadline=None, suppress_health_check=list(HealthCheck))


def _signed(messages: Iterable[Message], provider: str | None) -> list[Message]:
    """The messages as a provider's driver marks what the model said."""

    def mark(made: Any) -> Any:
        owned = made.dialect is not None or getattr(made, "type", "") in ("reasoning", "raw")
        return replace(made, provider=provider) if owned else made

    return [
        m
        if m.role != "assistant"
        else replace(
            m,
            content=m.content if isinstance(m.content, str) else [mark(p) for p in m.parts],
            tool_calls=[mark(c) for c in m.tool_calls],
        )
        for m in messages
    ]  # fmt: skip


def _texts(messages: Iterable[Message]) -> list[str]:
    """Every text of the conversation, in order, each piece by itself."""
    found = [p.text or "" for m in messages if m.role not in ("system", "developer", "tool")
             for p in m.parts if p.type in ("text", "refusal")]  # fmt: skip
    return [t for t in found if t != OPENING]


def _system(messages: Iterable[Message]) -> list[str]:
    return [p.text or "" for m in messages if m.role in ("system", "developer") for p in m.parts]


def _calls(messages: Iterable[Message]) -> list[tuple[str, str]]:
    """Every call's name and the text of its arguments, unwrapped where it is no object."""
    return [
        (c.name, str(c.arguments.get(INVALID_ARGUMENTS, c.raw_arguments)))
        for m in messages
        for c in m.tool_calls
    ]


def _objects(messages: Iterable[Message]) -> list[Any]:
    """The arguments that are JSON objects, as their values."""
    return [dict(c.arguments) for m in messages for c in m.tool_calls
            if c.valid and INVALID_ARGUMENTS not in c.arguments]  # fmt: skip


def _results(messages: Iterable[Message]) -> list[str]:
    return [m.text for m in messages if m.role == "tool" and m.text != NO_RESULT]


def _files(messages: Iterable[Message]) -> list[Any]:
    kinds = ("image", "pdf", "audio")
    return [(p.type, p.data) for m in messages for p in m.parts if p.type in kinds]


def _user_files(target: str) -> tuple[str, ...]:
    return ("image",) if target == OLLAMA else ("image", "pdf")


@pytest.mark.parametrize(("origin", "target"), PAIRS)
@_examples(_FEW)
@given(data=st.data())
def test_every_pair(origin: str, target: str, data: st.DataObject) -> None:
    _judge_pair(origin, target, data)


@pytest.mark.slow
@pytest.mark.parametrize(("origin", "target"), PAIRS)
@_examples(100)
@given(data=st.data())
def test_every_pair_at_length(origin: str, target: str, data: st.DataObject) -> None:
    _judge_pair(origin, target, data)


def _judge_pair(origin: str, target: str, data: st.DataObject) -> None:
    given_ = data.draw(histories(origin, files=_user_files(target)))
    maker = data.draw(st.sampled_from([None, "here", "elsewhere"]))
    history = _signed(given_, maker)
    rules = rules_of(target, provider="here")
    made, lost = repair(history, rules)

    # A fixed point: repaired again it is the same, and loses nothing more.
    assert repair(made, rules) == (made, ())

    # Every text and payload is there, byte for byte and in order. An orphan result became the
    # user's; what the user sends has no results in it otherwise.
    orphans = [m.text for m in history if m.tool_call_id == "call_nobody_made"]
    kept = _texts(made)
    for text in orphans if rules.results != "free" else ():
        kept.remove(text)  # the first of the same words; the others are in order all the same
    assert sorted(kept) == sorted(_texts(history))
    if not orphans:
        assert kept == _texts(history)
        assert sorted(_results(made)) == sorted(_results(history))
    assert _system(made) == _system(history)
    assert _calls(made) == _calls(history)
    assert sorted(_files(made)) == sorted(_files(history))

    # The target takes it.
    body, told = encoded(target, history, provider="here")
    assert judged(target, body) == []
    assert told == lost

    # Nothing that is another's goes along, nor becomes text.
    if origin != target or maker == "elsewhere":
        assert SECRET not in json.dumps(body)
        if SECRET in repr(history):
            assert lost

    # What is on the wire says the same.
    options = {"model": body.get("model", "m")} | body
    read = codec(target).parse_request(options)
    assert "".join(_texts(read.messages)) == "".join(_texts(made))
    assert "".join(_system(read.messages)) == "".join(_system(made))
    assert [n for n, _ in _calls(read.messages)] == [n for n, _ in _calls(made)]
    assert _objects(read.messages) == _objects(made)
    assert _results(read.messages) == _results(made)


@pytest.mark.parametrize("dialect", [RESPONSES, ANTHROPIC, GEMINI, OLLAMA])
@_examples(_FEW * 3)
@given(data=st.data())
def test_what_a_provider_made_goes_back_to_it(dialect: str, data: st.DataObject) -> None:
    """Marked with its own provider, a history is repaired as one that bears no mark."""
    history = data.draw(histories(dialect))
    marked, lost = repair(_signed(history, "here"), rules_of(dialect, provider="here"))
    plain, same = repair(history, rules_of(dialect))
    assert lost == same
    assert _signed(plain, None) == _signed(marked, None)


def test_the_judges_see_what_is_wrong() -> None:
    """Unrepaired, the histories break the rules: the judges are awake."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asks = {"role": "assistant", "content": None, "tool_calls": [call]}
    body = {"model": "m", "messages": [asks, {"role": "user", "content": "x"}]}
    assert judged(CHAT, body)
    lone = {"type": "function_call_output", "call_id": "c", "output": "x"}
    assert judged(RESPONSES, {"model": "m", "input": [lone]})
    said = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}
    assert judged(GEMINI, {"contents": [said]})
    use = {"type": "tool_use", "id": "a.b", "name": "f", "input": {}}
    turns = [{"role": "assistant", "content": [use]}, {"role": "user", "content": "x"}]
    assert judged(ANTHROPIC, {"model": "m", "max_tokens": 1, "messages": turns})
    request = ChatRequest("m", [Message("user", "x")])
    assert codec(CHAT).encode(request, stream=False).degraded == ()
