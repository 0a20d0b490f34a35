"""Five local providers that fail at random, one a dialect, in a process of their own.

``python -m tests.soak_servers SEED GOOD`` prints a JSON line with the base URLs by dialect, answers
until its standard input ends, then prints what it counted: for each dialect the requests by what
was done to them, and the tokens of the answers that were sent whole. Each answer repeats the last
user text, so that whoever asked knows its own. ``GOOD`` is the weight of a good answer, beside 40
of faults.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from collections import Counter
from typing import Any

from tests.faults.test_fault_table import begin
from tests.faults.wires import PRESENT, Wire
from tests.servers.scripted_server import Exchange, ScriptedServer

FAULTS = {
    "slow": 8, "429": 8, "500": 6, "529": 4, "cut before": 4, "cut after": 4, "no end": 3,
    "stall": 3,
}  # fmt: skip
"""What happens to a request instead of a good answer, with its weight."""
PIECES = 8


def asked(body: Any) -> str:
    """The last user text of a request, whatever its dialect."""
    turns = body.get("messages") or body.get("contents") or body.get("input")
    content = turns[-1].get("content", turns[-1].get("parts"))
    return content if isinstance(content, str) else str(content[0]["text"])


def replaced(value: Any, text: str) -> Any:
    """A whole answer with ``text`` where it says hello."""
    if isinstance(value, dict):
        return {key: replaced(inner, text) for key, inner in value.items()}
    if isinstance(value, list):
        return [replaced(inner, text) for inner in value]
    return text if value == "Hello there" else value


def streamed_end(wire: Wire, text: str) -> list[bytes]:
    """The proper end; the Responses API repeats the whole answer in it."""
    return [frame.replace(b"Hello there", text.encode()) for frame in wire.ending]


class Provider:
    """One dialect's server."""

    def __init__(self, wire: Wire, seed: int, good: int) -> None:
        self.wire = wire
        self._kinds = {"good": good, **FAULTS}
        self.counts: Counter[str] = Counter()
        self._random = random.Random(f"{seed} {wire.dialect}")
        self._lock = threading.Lock()
        self.server = ScriptedServer(self.answer)

    def answer(self, x: Exchange) -> None:
        """Answer well or badly, as the dice say."""
        with self._lock:
            (kind,) = self._random.choices(list(self._kinds), list(self._kinds.values()))
            self.counts["requests"] += 1
            self.counts[kind] += 1
            wait = self._random.choice([0.2, 0.5, 1])
        wire, stop = self.wire, threading.Event()
        if kind.isdigit():
            headers = {"retry-after": str(wait)} if kind == "429" else {}
            x.answer(json.dumps(wire.status_error).encode(), int(kind), headers=headers)
            return
        if kind == "stall":
            x.keep_alive = False
            stop.wait(1.0)  # longer than the caller's limit
            x.reset()
            return
        if kind == "slow":
            stop.wait(0.15)
        text = asked(json.loads(x.body))
        if b'"stream":true' not in x.body and "streamGenerateContent" not in x.target:
            body = json.dumps(replaced(wire.whole, text)).encode()
            if kind in ("cut before", "cut after", "no end"):
                x.head(200, {"content-type": "application/json", "content-length": "9999"})
                x.send(body[: len(body) // 2])
                x.reset()
                return
            x.answer(body)
        elif not self.stream(x, kind, text):
            return
        with self._lock:
            self.counts["answered"] += 1
            self.counts["prompt_tokens"] += 3
            self.counts["completion_tokens"] += 2

    def stream(self, x: Exchange, kind: str, text: str) -> bool:
        """A stream; whether it was sent to its end."""
        wire = self.wire
        begin(x, wire)
        size = -(-len(text) // PIECES)
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        for frame in wire.opening:
            x.chunk(frame)
        if kind == "cut before":
            x.reset()
            return False
        half = len(pieces) // 2
        for piece in pieces[:half]:
            x.chunk(wire.text(piece))
        if kind in ("cut after", "no end"):
            if kind == "no end":
                x.end_stream()
            else:
                x.reset()
            return False
        for frame in (*map(wire.text, pieces[half:]), *streamed_end(wire, text)):
            x.chunk(frame)
        x.end_stream()
        return True


def main() -> None:
    """Serve until standard input ends."""
    providers = [Provider(wire, int(sys.argv[1]), int(sys.argv[2])) for wire in PRESENT]
    urls = {}
    for provider in providers:
        url = provider.server.url
        if not provider.wire.dialect.startswith("openai"):
            url = url.removesuffix("/v1")
        urls[provider.wire.dialect] = url
    print(json.dumps(urls), flush=True)
    sys.stdin.read()
    print(json.dumps({p.wire.dialect: dict(p.counts) for p in providers}), flush=True)
    for provider in providers:
        provider.server.close()


if __name__ == "__main__":
    main()
