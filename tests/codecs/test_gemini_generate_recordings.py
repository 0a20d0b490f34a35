"""Gemini: every recorded exchange beside what Google's SDK reads in it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from crux_providers.base.models import Message
from crux_providers.codecs.gemini_generate import decode, parse_request
from tests import recordings
from tests.comparers import gemini_generate as comparer
from tests.recordings import Interaction


def found() -> list[Interaction]:
    recordings.require()
    return [i for i in recordings.interactions() if i.endpoint.endswith("enerateContent")]


def test_every_recorded_exchange_reads_as_the_sdk_reads_it() -> None:
    exchanges = found()
    assert len(exchanges) > 140
    assert {i.provider for i in exchanges} == {"gemini", "vertex"}
    assert sum(i.stream for i in exchanges) > 12
    assert sum(i.status >= 300 for i in exchanges) > 7
    assert sum(i.request_body is not None for i in exchanges) > 100
    differing = {i.name: words for i in exchanges if (words := comparer.compare(i))}
    known = {name if "#" in name else f"{name}#0" for name in comparer.REASONS}
    assert set(differing) == known, differing


@pytest.mark.parametrize(
    ("pattern", "changed", "least"),
    [
        (rb'("text":\s*")', rb"\1x", 60),
        (rb'("thoughtsTokenCount":\s*)(\d)', rb"\g<1>1\2", 40),
        (rb'("finishReason":\s*")STOP', rb"\1MAX_TOKENS", 60),
        (rb'("thoughtSignature":\s*")C', rb"\1D", 30),
    ],
)
def test_the_comparison_sees_a_difference(
    monkeypatch: pytest.MonkeyPatch, pattern: bytes, changed: bytes, least: int
) -> None:
    # The codec reads one body and the SDK another: the comparer has to say so, of each.
    original = comparer._whole
    monkeypatch.setattr(
        comparer,
        "_whole",
        lambda body, status=200: original(re.sub(pattern, changed, body), status),
    )
    checked = 0
    for exchange in found():
        if exchange.status < 300 and not exchange.stream and re.search(pattern, exchange.body):
            assert comparer.compare(exchange), exchange.name
            checked += 1
    assert checked > least


@pytest.mark.parametrize("place", ["contents", "tools", "generationConfig"])
def test_the_comparison_sees_a_lost_field_of_a_request(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def lossy(body: Any) -> Any:
        found = parse_request({k: v for k, v in body.items() if k != place} | {"contents": []})
        whole = parse_request(body)
        kept = {"contents": "messages", "tools": "tools"}.get(place)
        if kept is not None:
            return replace(whole, **{kept: getattr(found, kept)})
        return replace(found, messages=whole.messages)

    monkeypatch.setattr(comparer.codec, "parse_request", lossy)
    checked = 0
    for exchange in found():
        body = exchange.request_body
        # What says nothing to Google (an empty list, a false) may well be lost.
        given = body and place in body and comparer.canonical({place: body[place]})
        if exchange.status < 300 and given:
            assert comparer.compare(exchange), exchange.name
            checked += 1
    assert checked > 40


def test_signatures_return_on_the_parts_they_came_on() -> None:
    checked = 0
    for exchange in found():
        if exchange.status >= 300 or exchange.stream or exchange.body.startswith(b"["):
            continue
        answer = decode(exchange.body)
        if not any(p.signature for p in (*answer.parts, *answer.tool_calls)):
            continue
        request = comparer.codec.encode(
            replace(
                parse_request({"contents": []}),
                model="m",
                messages=[Message("user", "q"), answer.to_message()],
            ),
            stream=False,
        )
        assert request.body is not None
        _, content = request.body["contents"]
        sent = [p.get("thoughtSignature") for p in content["parts"]]
        assert [s for s in sent if s] == re.findall(
            r'"thoughtSignature":\s*"([^"]+)"', exchange.body.decode()
        )
        checked += 1
    assert checked > 30
