"""Damaged Gemini answers, errors and requests: a ProviderError or a sane result, nothing else.

``python -m tests.codecs.test_gemini_generate_fuzz COUNT [SEED]`` runs as many mutations as asked.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure
from crux_providers.base.events import ChatStreamEvent, fold
from crux_providers.codecs import gemini_generate as codec
from crux_providers.codecs.framing import SSEDecoder
from tests import recordings
from tests.codecs.mutations import spoiled_bytes, spoiled_json, spoiled_stream

LARGEST = 60_000
"""Recorded bodies beyond this are left out: they are images, and slow to copy."""

LISTING = {
    "models": [
        {"name": "models/m", "displayName": "M", "inputTokenLimit": 5, "outputTokenLimit": 3,
         "supportedGenerationMethods": ["generateContent"], "thinking": True},
    ]
}  # fmt: skip


class Corpus:
    """Recorded bodies to spoil."""

    def __init__(self) -> None:
        found = [
            i
            for i in recordings.interactions()
            if i.endpoint.endswith("enerateContent") and len(i.body) < LARGEST
        ]
        self.whole = [i.body for i in found if not i.stream and i.status < 300]
        self.streams = [i.body for i in found if i.stream]
        self.errors = [(i.status, i.body) for i in found if i.status >= 300]
        self.requests = [
            i.request_body for i in found if i.request_body and len(i.request_text or "") < LARGEST
        ]


def spoil(body: bytes, dice: random.Random) -> bytes:
    if dice.random() < 0.4:
        return spoiled_bytes(body, dice)
    return json.dumps(spoiled_json(json.loads(body), dice)).encode()


def fuzz_whole(corpus: Corpus, dice: random.Random) -> str:
    body = spoil(dice.choice(corpus.whole), dice)
    try:
        answer = codec.decode(body)
    except ProviderError as exc:
        return f"refused {exc.code}"
    assert codec.decode(codec.render_response(answer)) == _compact(answer), body
    return "read"


def _compact(answer: Any) -> Any:
    calls = [replace(c, raw_arguments=None) for c in answer.tool_calls]
    return replace(answer, tool_calls=calls)


def fuzz_stream(corpus: Corpus, dice: random.Random) -> str:
    body = dice.choice(corpus.streams)
    body = spoiled_stream(body, dice) if dice.random() < 0.6 else spoiled_bytes(body, dice)
    frames, decoder = SSEDecoder(), codec.Decoder()
    events: list[ChatStreamEvent] = []
    try:
        for wire in [*frames.feed(body), *frames.finish()]:
            events += decoder.feed(wire)
        events += decoder.finish()
    except ProviderError as exc:
        return f"refused {exc.code}"
    assert sum(e.finish_reason is not None for e in events) == 1, body
    assert events[-1].finish_reason is not None
    assert fold(events).finish_reason is not None
    state = codec.RenderState()
    for event in [*events, ChatStreamEvent(finish=True)]:
        codec.render_event(event, state)
    return "read"


def fuzz_error(corpus: Corpus, dice: random.Random) -> str:
    status, body = dice.choice(corpus.errors)
    error = codec.classify(WireFailure("status", status=status, body=spoil(body, dice)))
    assert isinstance(error, ProviderError)
    assert error.code in ErrorCode
    return str(error.code)


def fuzz_request(corpus: Corpus, dice: random.Random) -> str:
    body = spoiled_json(dice.choice(corpus.requests), dice)
    try:
        wire = codec.encode(replace(codec.parse_request(body), model="m"), stream=False)
    except ProviderError as exc:
        return f"refused {exc.code}"
    again = codec.encode(replace(codec.parse_request(wire.body), model="m"), stream=False)
    assert json.dumps(again.body) == json.dumps(wire.body), body
    return "read"


def fuzz_models(corpus: Corpus, dice: random.Random) -> str:
    try:
        codec.models(spoiled_json(LISTING, dice))
    except ProviderError as exc:
        return f"refused {exc.code}"
    return "read"


ROUNDS = (fuzz_whole, fuzz_stream, fuzz_error, fuzz_request, fuzz_models)


def run(count: int, seed: int) -> Counter[str]:
    """So many mutations; what became of them."""
    corpus, dice = Corpus(), random.Random(seed)
    outcomes: Counter[str] = Counter()
    for number in range(count):
        chosen = ROUNDS[number % len(ROUNDS)]
        outcomes[f"{chosen.__name__}: {chosen(corpus, dice)}"] += 1
    return outcomes


@pytest.mark.parametrize("seed", [1, 2])
def test_damage_gives_a_provider_error_or_an_answer(seed: int) -> None:
    recordings.require()
    outcomes = run(600, seed)
    for name in ("fuzz_whole", "fuzz_stream", "fuzz_request"):
        assert outcomes[f"{name}: read"] > 10
        assert outcomes[f"{name}: refused malformed"] > 5
    assert not [name for name in outcomes if "internal" in name]


if __name__ == "__main__":
    for what, times in sorted(run(int(sys.argv[1]), int((sys.argv[2:] or ["0"])[0])).items()):
        print(f"{times:8} {what}")
