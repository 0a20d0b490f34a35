"""``python -m tests.fuzz``: damaged recordings through framing, decoders, stream lifecycle.

Every recorded answer of every chat endpoint is a seed; each run damages one (bytes flipped,
dropped, doubled, cut off, moved, invalid UTF-8, deep nesting, huge numbers), feeds it in pieces
and asks for: no exception but ProviderError, exactly one terminal event, an end in time. Exits 1
at the first surprise, printing the seed that makes it again.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from crux_providers.base.errors import ProviderError
from crux_providers.base.interfaces import WireStream
from crux_providers.base.logging import LogContext, get_logger
from crux_providers.base.models import ChatRequest
from crux_providers.base.ports import resolve
from crux_providers.base.provider_call import PreparedCall, events_of
from crux_providers.base.retry import RetryConfig
from crux_providers.base.streaming_adapter import BaseStreamingAdapter, StreamController
from crux_providers.base.timeouts import TimeoutConfig
from crux_providers.base.wire import WireEvent, WireRequest
from crux_providers.codecs.framing import framing_decoder
from tests.codecs.mutations import spoiled_bytes
from tests.recordings import sessions

ENDPOINTS = {
    "chat": ("openai_chat", "sse"),
    "messages": ("anthropic_messages", "sse"),
    "responses": ("openai_responses", "sse"),
    "generateContent": ("gemini_generate", "sse"),
    "streamGenerateContent": ("gemini_generate", "sse"),
    "ollama_chat": ("ollama_chat", "ndjson"),
}
SLOWEST_S = 5.0


@dataclass(frozen=True)
class Seed:
    """One recorded answer."""

    dialect: str
    framing: str
    stream: bool
    body: bytes
    name: str


@dataclass
class Bytes:
    """A wire stream over bytes that arrive in pieces."""

    pieces: list[bytes]
    framing: Any
    owned: bool = True
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[WireEvent]:
        decoder = framing_decoder(self.framing)
        for piece in self.pieces:
            yield from decoder.feed(piece)
        yield from decoder.finish()

    def __next__(self) -> WireEvent:
        raise StopIteration

    def close(self) -> None:
        """Nothing is open."""


def seeds() -> list[Seed]:
    """Every recorded answer of a chat endpoint."""
    found = []
    for session in sessions():
        if session.endpoint not in ENDPOINTS:
            continue
        dialect, framing = ENDPOINTS[session.endpoint]
        for interaction in session.interactions:
            if interaction.body and interaction.status < 300:
                found.append(
                    Seed(dialect, framing, interaction.stream, interaction.body, session.file)
                )
    return found


def pieces_of(body: bytes, dice: random.Random) -> list[bytes]:
    """``body`` cut at a few random places."""
    cuts = sorted(dice.randrange(len(body) + 1) for _ in range(dice.choice((0, 1, 3))))
    edges = [0, *cuts, len(body)]
    return [body[a:b] for a, b in itertools.pairwise(edges)]


def read_stream(codec: ModuleType, seed: Seed, body: bytes, dice: random.Random) -> str:
    """One damaged stream through the lifecycle; how it ended."""
    stream: WireStream = Bytes(pieces_of(body, dice), seed.framing)
    call = PreparedCall(
        "fuzz", ChatRequest(model="m"), "m", codec, WireRequest("/"),  # type: ignore[arg-type]  # a codec module
        TimeoutConfig(), None, RetryConfig(),  # type: ignore[arg-type]  # no token is asked for
    )  # fmt: skip
    adapter = BaseStreamingAdapter(
        ctx=LogContext("fuzz", "m"), provider_name="fuzz", model="m",
        starter=lambda: events_of(call, stream), timeouts=TimeoutConfig(), owned=True,
    )  # fmt: skip
    controller = StreamController(adapter)
    events = list(controller)
    terminal = [event for event in events if event.finish]
    if len(terminal) != 1 or not events[-1].finish:
        raise AssertionError(f"{len(terminal)} terminal events")
    if controller.error is None:
        return "answered"
    if controller.error.code == "internal":
        raise AssertionError(f"internal: {controller.error}")
    return str(controller.error.code)


def read_whole(codec: ModuleType, body: bytes) -> str:
    """One damaged whole answer; how it ended."""
    try:
        codec.decode(body)
    except ProviderError as error:
        return str(error.code)
    return "answered"


def main() -> None:
    """Run and print how the damaged answers ended."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    get_logger().setLevel(logging.CRITICAL + 1)
    corpus = seeds()
    if not corpus:
        sys.exit("no recordings here: nothing to damage")
    codecs = {dialect: resolve("codec", dialect) for dialect, _ in ENDPOINTS.values()}
    ends: dict[str, Counter[str]] = {dialect: Counter() for dialect in codecs}
    slowest, began = 0.0, time.process_time()
    by_dialect = {d: [s for s in corpus if s.dialect == d] for d in codecs}
    for run in range(options.runs):
        dice = random.Random(f"{options.seed}/{run}")
        dialect = list(codecs)[run % len(codecs)]
        seed = dice.choice(by_dialect[dialect])
        body = spoiled_bytes(seed.body, dice)
        started = time.process_time()
        try:
            if seed.stream:
                end = read_stream(codecs[dialect], seed, body, dice)
            else:
                end = read_whole(codecs[dialect], body)
        except Exception as exc:  # whatever it is, it is what we look for
            print(f"run {run} of seed {options.seed}: {seed.name}: {type(exc).__name__}: {exc}")
            sys.exit(1)
        spent = time.process_time() - started
        slowest = max(slowest, spent)
        if spent > SLOWEST_S:
            sys.exit(f"run {run} of seed {options.seed}: {seed.name}: took {spent:.1f} s")
        ends[dialect][end] += 1
    for dialect, counts in ends.items():
        print(f"{dialect:20} {sum(counts.values()):7}", dict(counts.most_common()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{options.runs} runs over {len(corpus)} recorded answers, "
        f"{time.process_time() - began:.0f} s CPU, slowest {slowest * 1000:.0f} ms, "
        f"peak {peak:.0f} MiB"
    )


if __name__ == "__main__":
    main()
