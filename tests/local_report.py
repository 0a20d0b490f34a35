"""``python -m tests.local_report``: what the model inside the process does and costs, measured.

Answers for real from the weights that the tests use. ``--json`` prints the figures as one object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from crux_providers.base.cancellation import CancellationToken, CancelledError
from crux_providers.base.provider import CallOptions
from crux_providers.local.client import LocalProvider
from crux_providers.transports.llamacpp import LlamaCppTransport
from tests.local.calls import LONG, chat
from tests.weights_for_tests import model_file

CACHE = Path(__file__).resolve().parent.parent / ".pytest_cache" / "d" / "crux-models"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "rank": {"type": "integer"}},
    "required": ["city", "rank"],
    "additionalProperties": False,
}
THREADS, TASKS = 6, 20
WATCHED_S = 1.0
"""How long the processor is watched after a cancel."""

Figures = dict[str, Any]


def answer(provider: LocalProvider) -> Figures:
    """The first answer, with loading the model, and the second."""
    began = time.perf_counter()
    provider.chat(chat(max_tokens=1))
    loaded = time.perf_counter()
    text = provider.chat(chat()).text
    took = time.perf_counter() - loaded
    return {"text": text, "load_s": loaded - began, "answer_s": took}


def schema(provider: LocalProvider) -> Figures:
    """An answer under a JSON schema."""
    request = chat(response_format="json_schema", json_schema=SCHEMA, max_tokens=40)
    found = provider.chat(request).structured
    jsonschema.validate(found, SCHEMA)
    return {"answer": found}


def cancel(provider: LocalProvider) -> Figures:
    """A stream cancelled from another thread: how soon it ends, and what is computed after it."""
    token = CancellationToken()
    request = chat(max_tokens=LONG, extra={"ignore_eos": True})
    cancelled_at: list[float] = []

    def end() -> None:
        cancelled_at.append(time.perf_counter())
        token.cancel("enough")

    pieces = 0
    timer = threading.Timer(0.3, end)
    for event in provider.stream_chat(request, options=CallOptions(token=token)):
        if event.delta and not pieces:
            timer.start()
        pieces += bool(event.delta)
    latency = time.perf_counter() - cancelled_at[0]
    before = time.process_time()
    time.sleep(WATCHED_S)
    return {
        "pieces_before": pieces,
        "latency_ms": latency * 1000,
        "cpu_after_ms": (time.process_time() - before) * 1000,
        "watched_s": WATCHED_S,
    }


def threads(provider: LocalProvider) -> Figures:
    """Several threads at once."""
    texts: list[str] = []
    began = time.perf_counter()
    calls = [
        threading.Thread(target=lambda: texts.append(provider.chat(chat()).text))
        for _ in range(THREADS)
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    return {"calls": len(texts), "answers": sorted(set(texts)), "s": time.perf_counter() - began}


def tasks(provider: LocalProvider) -> Figures:
    """Many tasks at once, one of them cancelled while it waits for its turn."""

    async def main() -> list[Any]:
        token = CancellationToken()
        calls = [
            provider.achat(chat(), options=CallOptions(token=token if i == TASKS - 1 else None))
            for i in range(TASKS)
        ]
        asyncio.get_running_loop().call_later(0.05, token.cancel)
        return await asyncio.gather(*calls, return_exceptions=True)

    began = time.perf_counter()
    results = asyncio.run(main())
    return {
        "calls": len(results),
        "cancelled": sum(isinstance(result, CancelledError) for result in results),
        "answers": sorted({r.text for r in results if not isinstance(r, BaseException)}),
        "s": time.perf_counter() - began,
    }


def fork(provider: LocalProvider) -> Figures:
    """A forked child answers from a model of its own, and exits as it wants to."""
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        text = provider.chat(chat()).text
        provider.close()
        sys.exit(3 if "Paris" in text else 4)
    until = time.monotonic() + 60
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > until:
            os.kill(child, 9)
            raise RuntimeError("the forked child hangs")
        time.sleep(0.01)
    return {
        "child_exit": os.waitstatus_to_exitcode(ended[1]),
        "s": time.perf_counter() - began,
        "parent_after": provider.chat(chat()).text,
    }


def memory(before_kb: int, gguf: Path) -> Figures:
    """The peak of this process, and what it was before the model."""
    return {
        "peak_mib": _peak_kb() / 1024,
        "before_mib": before_kb / 1024,
        "file_mib": gguf.stat().st_size / 2**20,
    }


def _peak_kb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def measure() -> dict[str, Figures]:
    """All figures, by name."""
    gguf = model_file(CACHE)
    before = _peak_kb()
    parts: Mapping[str, Callable[[LocalProvider], Figures]] = {
        "answer": answer,
        "json_schema": schema,
        "cancel": cancel,
        "threads": threads,
        "tasks": tasks,
    }
    with LocalProvider(transport=LlamaCppTransport(lambda name: gguf)) as provider:
        found = {name: part(provider) for name, part in parts.items()}
        found["memory"] = memory(before, gguf)
        if hasattr(os, "fork"):
            found["fork"] = fork(provider)
    return found


def show(figures: Mapping[str, Figures]) -> None:
    """A line for each figure."""
    for name, values in figures.items():
        said = ", ".join(
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value!r}"
            for key, value in values.items()
        )
        print(f"{name:<12} {said}")


def main() -> int:
    """Measure and print; 0 when everything came out as it should, 1 where there is no model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.worker:
        return run(as_json=options.json)
    try:
        print(json.dumps(measure()), flush=True)
    except pytest.skip.Exception as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


def run(*, as_json: bool) -> int:
    """Measure in a process of its own, so that its end and its noise are measured too."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.local_report", "--worker"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if ran.returncode != 0:
        print(ran.stderr, file=sys.stderr, end="")
        return 1
    figures = json.loads(ran.stdout)
    figures["process"] = {"exit": ran.returncode, "stderr": ran.stderr}
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
