"""OpenAI Responses: every recorded exchange beside what OpenAI's SDK reads in it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from crux_providers.base.events import StreamFolder, fold
from crux_providers.base.wire import WireEvent
from crux_providers.codecs.framing import SSEDecoder
from crux_providers.codecs.openai_responses import Decoder
from tests import recordings
from tests.comparers import openai_responses as comparer


def test_every_recorded_exchange_reads_as_the_sdk_reads_it() -> None:
    recordings.require()
    found = recordings.interactions(endpoint="responses")
    assert len(found) > 120
    assert sum(i.stream for i in found) > 30
    assert sum(i.status >= 300 for i in found) > 8
    assert sum(i.request_body is not None for i in found) > 85
    differing = {i.name: words for i in found if (words := comparer.compare(i))}
    known = {name if "#" in name else f"{name}#0" for name in comparer.REASONS}
    assert set(differing) == known, differing


@pytest.mark.parametrize(
    ("pattern", "changed"),
    [
        (rb'("type":\s*"output_text",[^{}]*?"text":\s*")', rb"\1x"),
        (rb'("reasoning_tokens":\s*)(\d)', rb"\g<1>1\2"),
        (rb'("call_id":\s*"call)', rb"\1x"),
    ],
)
def test_the_comparison_sees_a_difference(
    monkeypatch: pytest.MonkeyPatch, pattern: bytes, changed: bytes
) -> None:
    # The codec reads one body and the SDK another: the comparer has to say so, of each.
    recordings.require()
    original = comparer.replay
    monkeypatch.setattr(
        comparer,
        "replay",
        lambda i: original(replace(i, body=re.sub(pattern, changed, i.body))),
    )
    checked = 0
    for interaction in recordings.interactions(endpoint="responses"):
        spoiled = re.sub(pattern, changed, interaction.body)
        if interaction.status < 300 and not interaction.stream and spoiled != interaction.body:
            assert comparer.compare(interaction), interaction.name
            checked += 1
    assert checked > 20


def test_a_stream_gives_the_same_answer_with_any_one_delta_destroyed() -> None:
    """The final event repeats the whole, so no single lost delta is lost to the caller."""
    recordings.require()
    checked = 0
    for interaction in recordings.interactions(endpoint="responses"):
        if not interaction.stream or interaction.file in comparer.REASONS:
            continue
        whole = fold(comparer.decode_stream(interaction.body))
        frames = SSEDecoder()
        events = [*frames.feed(interaction.body), *frames.finish()]
        deltas = [n for n, e in enumerate(events) if '.delta"' in e.data]
        for place in deltas[:: max(1, len(deltas) // 12)]:
            decoder, folder = Decoder(), StreamFolder()
            for number, event in enumerate(events):
                spoiled = WireEvent(event.data[:-9]) if number == place else event
                for found in decoder.feed(spoiled):
                    folder.add(found)
            decoder.finish()
            assert decoder.skipped == 1
            assert folder.response() == whole, (interaction.name, place)
            checked += 1
    assert checked > 150
