"""Damaged answers, errors and requests: a ProviderError or a sane result, and nothing else.

``python -m tests.codecs.test_openai_chat_fuzz COUNT [SEED]`` runs as many mutations as asked for.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from typing import Any

import pytest

from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure
from crux_providers.base.events import ChatStreamEvent, fold
from crux_providers.base.models import ChatResponse
from crux_providers.codecs import openai_chat as codec
from crux_providers.codecs.framing import SSEDecoder
from tests import recordings
from tests.codecs.mutations import spoiled_bytes, spoiled_json, spoiled_stream

LARGEST = 60_000
"""Recorded bodies beyond this are left out: they are images, and slow to copy."""


class Corpus:
    """Recorded bodies to spoil."""

    def __init__(self) -> None:
        found = [
            i
            for i in recordings.interactions(endpoint="chat")
            if i.provider != "cohere" and len(i.body) < LARGEST
        ]
        self.whole = [i.body for i in found if not i.stream and i.status < 300]
        self.streams = [i.body for i in found if i.stream]
        self.errors = [(i.status, i.body) for i in found if i.status >= 300]
        self.requests = [i.request_body for i in found if i.request_body]


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
    assert isinstance(answer, ChatResponse)
    assert codec.decode(codec.render_response(answer)) == answer, body
    return "read"


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
    assert events[-1].finish_reason is not None or decoder.complete
    assert fold(events).finish_reason is not None
    state = codec.RenderState()
    for event in [*events, ChatStreamEvent(finish=True)]:
        codec.render_event(event, state)
    return "read"


def fuzz_error(corpus: Corpus, dice: random.Random) -> str:
    status, body = dice.choice(corpus.errors)
    error = codec.classify(WireFailure("status", status=status, body=spoil(body, dice)))
    assert error.status == status
    return str(error.code)


def fuzz_request(corpus: Corpus, dice: random.Random) -> str:
    body: Any = spoiled_json(dice.choice(corpus.requests), dice)
    try:
        request = codec.parse_request(body)
    except ProviderError as exc:
        return _refused(exc, ErrorCode.BAD_REQUEST)
    try:
        wire = codec.encode(request, stream=False)
    except ProviderError as exc:
        return "when encoded: " + _refused(exc, ErrorCode.UNSUPPORTED, ErrorCode.BAD_REQUEST)
    again = codec.parse_request(json.loads(json.dumps(wire.body)))
    assert codec.encode(again, stream=False).body == wire.body, body
    return "read"


def _refused(error: ProviderError, *codes: ErrorCode) -> str:
    assert error.code in codes, error
    return f"refused {error.code}"


FUZZERS = (fuzz_whole, fuzz_stream, fuzz_error, fuzz_request)


def run(count: int, seed: int) -> Counter[str]:
    """``count`` mutations of each kind of body; how each came out."""
    corpus, dice = Corpus(), random.Random(seed)
    return Counter(
        f"{fuzzer.__name__}: {fuzzer(corpus, dice)}" for fuzzer in FUZZERS for _ in range(count)
    )


@pytest.mark.parametrize("fuzzer", FUZZERS)
def test_damage_is_refused_or_read(fuzzer: Any) -> None:
    recordings.require()
    corpus, dice = Corpus(), random.Random(20261122)
    outcomes = Counter(fuzzer(corpus, dice) for _ in range(1500))
    assert len(outcomes) > 1, outcomes  # damage and sound bodies were both among them


if __name__ == "__main__":
    size = int(sys.argv[1])
    for outcome, times in sorted(run(size, int((sys.argv[2:] or ["1"])[0])).items()):
        print(f"{times:8} {outcome}")
