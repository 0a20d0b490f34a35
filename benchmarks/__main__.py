"""``python -m benchmarks``: what a call, a chunk and an import cost beside what peers take.

CPU time of this process (user and system) against one local mock server in another process;
contenders take turns in one run, and the smallest of several rounds counts. Figures are ratios
within the run; the machine's speed cancels out.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from .contenders import Contender, chat_crux, chat_openai, nothing, raw_httpx

Row = dict[str, Any]
RUNNER = asyncio.Runner()
"""One event loop for all: ChatOpenAI keeps its async connections beyond the loop they belong to."""


def cpu_us(run: Callable[[], object], calls: int) -> float:
    """CPU microseconds per call of ``run``, which makes ``calls`` of them."""
    gc.collect()
    began = time.process_time()
    run()
    return (time.process_time() - began) * 1e6 / calls


def interleaved(jobs: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The smallest figure of each job over ``rounds`` rounds in which all take turns."""
    seen: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()  # warm: imports, connections, TLS contexts, caches
    for _ in range(rounds):
        for name, job in jobs.items():
            seen[name].append(job())
    return {name: min(figures) for name, figures in seen.items()}


def invoke(contender: Contender, calls: int) -> float:
    """A whole answer, called in a loop."""

    def run() -> None:
        for _ in range(calls):
            contender.invoke()

    return cpu_us(run, calls)


def ainvoke(contender: Contender, calls: int, at_once: int) -> float:
    """A whole answer, awaited ``at_once`` at a time."""

    async def main() -> float:
        await contender.ainvoke()
        began = time.process_time()
        for _ in range(calls // at_once):
            if at_once == 1:
                await contender.ainvoke()
            else:
                await asyncio.gather(*(contender.ainvoke() for _ in range(at_once)))
        return (time.process_time() - began) * 1e6 / calls

    gc.collect()
    return RUNNER.run(main())


def chunk(contender: Contender, chunks: int) -> float:
    """One more chunk of a stream: a long stream less a short one, by their difference."""

    def spent(length: int) -> float:
        began = time.process_time()
        for _ in range(3):
            seen = contender.stream(length)
            if seen < length:
                raise RuntimeError(f"{contender.name}: {seen} chunks of {length}")
        return time.process_time() - began

    gc.collect()
    contender.stream(10)
    return (spent(chunks) - spent(10)) * 1e6 / (3 * (chunks - 10))


def import_ms(statement: str, rounds: int) -> float:
    """CPU milliseconds of a fresh interpreter that runs ``statement``; the median of rounds."""
    code = f"{statement}\nimport os\nt = os.times()\nprint((t[0] + t[1]) * 1000)"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    figures = []
    for _ in range(rounds + 1):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
        )
        figures.append(float(done.stdout))
    return statistics.median(figures[1:])


IMPORTS = {
    "python alone": "pass",
    "langchain-core": "import langchain_core.language_models.chat_models",
    "ChatCrux": "from crux_integrations import ChatCrux\nChatCrux(model='openai:gpt-4o')",
    "ChatOpenAI": (
        "from langchain_openai import ChatOpenAI\nChatOpenAI(model='gpt-4o', api_key='x')"
    ),
}


def ratio(figures: dict[str, float], of: str, to: str) -> str:
    """``of`` as a multiple of ``to``."""
    return f"{figures[of] / figures[to]:.2f}" if of in figures and to in figures else "-"


def measure(port: int, scale: int) -> list[Row]:
    """Every figure, as rows for the table."""
    base = f"http://127.0.0.1:{port}"
    made = [raw_httpx(base), chat_openai(base), chat_crux(base), nothing()]
    contenders: dict[str, Contender] = {c.name: c for c in made if c is not None}
    network = {n: c for n, c in contenders.items() if n != "nothing"}
    rows: list[Row] = []

    def add(figure: str, unit: str, figures: dict[str, float], goal: str) -> None:
        rows.append(
            {
                "figure": figure,
                "unit": unit,
                "goal": goal,
                "crux_over_chatopenai": ratio(figures, "ChatCrux", "ChatOpenAI"),
                **{k: round(v, 1) for k, v in figures.items()},
            }
        )

    def job(
        measure_one: Callable[..., float], contender: Contender, *more: int
    ) -> Callable[[], float]:
        return lambda: measure_one(contender, *more)

    calls = 100 * scale
    add(
        "invoke",
        "µs",
        interleaved({n: job(invoke, c, calls) for n, c in contenders.items()}, 4),
        "≤ 0.4",
    )
    add(
        "ainvoke",
        "µs",
        interleaved({n: job(ainvoke, c, calls, 1) for n, c in network.items()}, 4),
        "≤ 0.25",
    )
    add(
        "64 in flight",
        "µs",
        interleaved({n: job(ainvoke, c, 256 * scale, 64) for n, c in network.items()}, 3),
        "≤ 0.2",
    )
    add(
        "stream, per chunk",
        "µs",
        interleaved({n: job(chunk, c, 500) for n, c in network.items()}, 4),
        "≤ 30 µs where 238",
    )
    crux = contenders["ChatCrux"]
    falls = chat_crux(base, fail_first=True)
    if falls is not None:
        pair = interleaved(
            {
                "one call": job(invoke, crux, calls),
                "429, then an answer": job(invoke, falls, calls),
            },
            4,
        )
        rows.append(
            {
                "figure": "fallback after a 429",
                "unit": "own calls",
                "goal": "≤ 2.1",
                "crux_over_chatopenai": "-",
                "ChatCrux": round(pair["429, then an answer"] / pair["one call"], 2),
            }
        )
    imports = {name: import_ms(code, 3) for name, code in IMPORTS.items()}
    add("import and construct", "ms", imports, "≤ 100 ms over langchain-core")
    rows[-1]["crux over langchain-core"] = round(imports["ChatCrux"] - imports["langchain-core"], 1)
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--scale", type=int, default=3, help="hundreds of calls per round")
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    options = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.mock_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if server.stdout is None:
            raise RuntimeError("the mock server has no output")
        rows = measure(int(server.stdout.readline()), options.scale)
    finally:
        server.communicate()
    if options.json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    packages = ("langchain-core", "langchain-openai", "openai", "httpx", "crux-integrations")
    print(
        "python",
        sys.version.split()[0],
        *(f"{p} {importlib.metadata.version(p)}" for p in packages),
    )
    for row in rows:
        head = f"{row.pop('figure')} [{row.pop('unit')}]"
        tail = f"ChatCrux/ChatOpenAI {row.pop('crux_over_chatopenai')}  goal {row.pop('goal')}"
        print(f"{head:32}", "  ".join(f"{k} {v}" for k, v in row.items()), " ", tail)


Async = Callable[[], Awaitable[object]]

if __name__ == "__main__":
    main()
