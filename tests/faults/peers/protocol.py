"""What the matrix asks of a peer, and the loop that a peer's process runs.

A peer gives four functions: ``whole``, ``awhole``, ``stream``, ``astream``. Each takes a
:class:`Job` (two base URLs, limits in seconds) and uses the peer's own fallback from the first to
the second with what the peer offers of timeouts, retries off. Streams call ``job.saw(text)`` for
every piece and return, or raise what the peer raises; they stop when ``job.enough`` is true.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

PARTIAL = ("partial", "partial_response", "partial_message")
"""Attributes under which an error may carry what had come of the answer."""


@dataclass
class Job:
    """One question. ``leave``: stop after the first piece of text."""

    mode: str
    one: str
    two: str
    dialect: str = "openai_chat"
    first_token: float = 5.0
    idle: float = 5.0
    leave: bool = False
    pieces: list[str] = field(default_factory=list)

    def saw(self, text: str | None) -> None:
        """A piece of the answer came."""
        if text:
            self.pieces.append(text)

    @property
    def enough(self) -> bool:
        """Whether the caller leaves now."""
        return self.leave and bool(self.pieces)


def _partial(error: BaseException | None) -> str | None:
    while error is not None:
        for name in PARTIAL:
            found = getattr(error, name, None)
            if found is not None:
                text = getattr(found, "text", found)
                return str(text() if callable(text) and not isinstance(text, str) else text)
        error = error.__cause__
    return None


async def _awaited(ask: Callable[[Job], Any], job: Job) -> Any:
    return await ask(job)


def _answer(ask: Callable[[Job], Any], job: Job, runner: asyncio.Runner) -> dict[str, Any]:
    try:
        twin = inspect.iscoroutinefunction(ask)
        text = runner.run(_awaited(ask, job)) if twin else ask(job)
    except Exception as error:  # whatever a peer raises is its answer
        kind = type(error)
        return {
            "error": f"{kind.__module__.partition('.')[0]}.{kind.__name__}",
            "message": str(error)[:200],
            "partial": _partial(error),
            "seen": "".join(job.pieces),
        }
    return {"text": "".join(job.pieces) if text is None else text, "seen": "".join(job.pieces)}


def serve(packages: tuple[str, ...], **asks: Callable[[Job], Any]) -> None:
    """Answer jobs from standard input, a line each, until it ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    runner = asyncio.Runner()
    print(json.dumps({name: version(name) for name in packages}), file=out, flush=True)
    for line in sys.stdin:
        job = Job(**json.loads(line))
        answer = _answer(asks[job.mode], job, runner)
        gc.collect()
        runner.run(asyncio.sleep(0))
        print(json.dumps(answer), file=out, flush=True)
