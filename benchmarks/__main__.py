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
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from .contenders import Contender, chat_crux, chat_openai, nothing, raw_httpx, router_alone

Row = dict[str, Any]
GROWTH_CALLS = 5000
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
    code = f"{statement}\nimport time\nprint(time.process_time() * 1000)"
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


Held = Callable[[float], bool]


class Goal(NamedTuple):
    """What a figure is held to, in words and as a test of the number it is about."""

    words: str
    held: Held


def at_most(limit: float, of: str) -> Goal:
    """A goal that is met up to ``limit``."""
    return Goal(f"≤ {limit:g} {of}".rstrip(), lambda figure: figure <= limit)


def resident_kib() -> float:
    """KiB of this process that are in memory now (Linux), else the most that ever were."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return pages * resource.getpagesize() / 1024


def growth(contender: Contender, calls: int) -> tuple[float, int]:
    """MiB and objects more after ``calls`` calls than before, rows of the ledger written."""
    from crux_providers.persistence import writer

    def settle() -> tuple[float, int]:
        writer.close_all()
        gc.collect()
        return resident_kib(), len(gc.get_objects())

    for _ in range(500):
        contender.invoke()
    settle()
    for _ in range(500):  # so that the ledger has begun anew before the first look, too
        contender.invoke()
    memory, objects = settle()
    for _ in range(calls):
        contender.invoke()
    after, more = settle()
    return (after - memory) / 1024, more - objects


def router_share(candidates: int, calls: int) -> float:
    """CPU µs a call costs through the router beyond the same call of the provider itself; both
    answered from memory, so that the network's noise is not in the difference."""
    through, alone = router_alone(candidates)
    jobs = {
        "router": lambda: cpu_us(lambda: [through() for _ in range(calls)], calls),
        "provider": lambda: cpu_us(lambda: [alone() for _ in range(calls)], calls),
    }
    took = interleaved(jobs, 5)
    return took["router"] - took["provider"]


def ratio(figures: dict[str, float], of: str, to: str) -> float | None:
    """``of`` as a multiple of ``to``, None where one of them is missing."""
    return figures[of] / figures[to] if of in figures and to in figures else None


def measure(port: int, scale: int) -> list[Row]:
    """Every figure, as rows for the table."""
    base = f"http://127.0.0.1:{port}"
    made = [raw_httpx(base), chat_openai(base), chat_crux(base), nothing()]
    contenders: dict[str, Contender] = {c.name: c for c in made if c is not None}
    network = {n: c for n, c in contenders.items() if n != "nothing"}
    rows: list[Row] = []

    def add(
        figure: str,
        unit: str,
        figures: dict[str, float],
        goal: Goal,
        decides: float | None = None,
    ) -> None:
        """A row; ``decides`` is the number the goal is about, without one the ratio."""
        over = ratio(figures, "ChatCrux", "ChatOpenAI")
        number = over if decides is None else decides
        rows.append(
            {
                "figure": figure,
                "unit": unit,
                "goal": goal.words,
                "met": None if number is None else goal.held(number),
                "crux_over_chatopenai": None if over is None else round(over, 2),
                **{k: round(v, 2) for k, v in figures.items()},
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
        at_most(0.4, "of ChatOpenAI"),
    )
    add(
        "ainvoke",
        "µs",
        interleaved({n: job(ainvoke, c, calls, 1) for n, c in network.items()}, 4),
        at_most(0.25, "of ChatOpenAI"),
    )
    add(
        "64 in flight",
        "µs",
        interleaved({n: job(ainvoke, c, 256 * scale, 64) for n, c in network.items()}, 3),
        at_most(0.2, "of ChatOpenAI"),
    )
    chunks = interleaved({n: job(chunk, c, 500) for n, c in network.items()}, 4)
    # 30 µs where ChatOpenAI takes 238, on whatever machine this is.
    add("stream, per chunk", "µs", chunks, at_most(round(30 / 238, 3), "of ChatOpenAI"))
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
        calls_of_its_own = pair["429, then an answer"] / pair["one call"]
        add(
            "fallback after a 429",
            "own calls",
            {"ChatCrux": calls_of_its_own},
            at_most(2.1, "calls"),
            calls_of_its_own,
        )
    imports = {name: import_ms(code, 5) for name, code in IMPORTS.items()}
    over = imports["ChatCrux"] - imports["langchain-core"]
    imports["ChatCrux over langchain-core"] = over
    add("import and construct", "ms", imports, at_most(100, "ms over langchain-core"), over)
    mib, objects = growth(crux, GROWTH_CALLS)
    grown = f"growth over {GROWTH_CALLS} calls"
    add(grown, "MiB", {"ChatCrux": mib}, at_most(1, "MiB"), mib)
    add(grown, "objects", {"ChatCrux": objects}, at_most(0, ""), objects)
    for candidates, limit in ((5, 100), (300, 3000)):
        share = router_share(candidates, calls if candidates < 100 else calls // 5)
        figure = f"router's share, {candidates} candidates"
        add(figure, "µs", {"ChatCrux": share}, at_most(limit, "µs"), share)
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
        met = {True: "met", False: "NOT met", None: "no peer"}[row.pop("met")]
        goal, over = row.pop("goal"), row.pop("crux_over_chatopenai")
        against = "" if over is None else f"  ChatCrux/ChatOpenAI {over}"
        figures = "  ".join(f"{name} {value:g}" for name, value in row.items())
        print(f"{head:34} {figures}{against}  goal {goal}: {met}")


Async = Callable[[], Awaitable[object]]

if __name__ == "__main__":
    main()
