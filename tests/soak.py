"""``python -m tests.soak``: thousands of calls at once against providers that fail at random.

Five local providers, one a dialect (:mod:`tests.soak_servers`), answer 429 with Retry-After, 500
and 529, cut, stop without an end, stall and are slow. Calls are whole and streamed in turn, sync
(threads) or async (tasks), through one Router. Every call must end in its own right answer, or in
one typed error: all candidates failed, or (streams that hold nothing back) interrupted, with the
right beginning of its answer. Then: nothing is left open, memory is back, and the ledger's sums are
what the servers counted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crux_integrations import AllCandidatesFailed, Router, StreamInterrupted
from crux_providers.base import ChatRequest, Message
from crux_providers.persistence.store import get_store

AT_ONCE = 64
GROWTH_KIB, GROWTH_OBJECTS = 16_384, 2_000
"""What may be left of thousands of calls: the allocator's slack, and a cache or two."""
ROUTES = ("live", "held")


def routes(urls: dict[str, str]) -> dict[str, Any]:
    """Two routes over the same five: one hands out at once, one holds all of a stream back."""
    rules = {
        "candidates": [
            {"model": f"{dialect.replace('_', '-')}:m-1", "weight": 1} for dialect in urls
        ],
        "prefer": ["weighted"],
        "retry": {"attempts": 2, "initial": "20ms", "max": "200ms", "patience": "3s"},
        "timeout": {"connect": "5s", "first_token": "700ms", "total": "20s"},
        "breaker": {"failures": 40, "window": "2s", "open": "300ms"},
    }
    return {
        "version": 1,
        "providers": {
            d.replace("_", "-"): {"dialect": d, "base_url": url, "api_key": "k"}
            for d, url in urls.items()
        },
        "models": {
            f"{d.replace('_', '-')}:m-1": {"price": {"input": 1, "output": 2}} for d in urls
        },
        "routes": {
            "default": rules,
            "live": {**rules, "stream": {"hold": "0ms", "idle": "700ms"}},
            "held": {**rules, "stream": {"hold": "all", "idle": "700ms"}},
        },
    }


@dataclass
class Tally:
    """How the calls ended; ``wrong`` has what must not be."""

    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def answered(self, text: str, wanted: str, finishes: int) -> None:
        if text != wanted or finishes != 1:
            self.wrong.append(f"{wanted!r} got {text!r} with {finishes} ends")
        self.ends["right answer"] += 1

    def failed(self, error: Exception, wanted: str, route: str, seen: str) -> None:
        match error:
            case StreamInterrupted():
                partial = error.partial.text
                if route == "held" or not partial or not wanted.startswith(partial):
                    self.wrong.append(f"{wanted!r} on {route}: interrupted with {partial!r}")
                if seen != partial:
                    self.wrong.append(f"{wanted!r}: saw {seen!r}, partial {partial!r}")
                self.ends["interrupted, with its partial"] += 1
            case AllCandidatesFailed():
                if seen:
                    self.wrong.append(f"{wanted!r}: {seen!r}, then all failed")
                self.ends["all candidates failed"] += 1
            case _:
                self.wrong.append(f"{wanted!r}: {type(error).__name__}: {error}")


def question(number: int) -> tuple[ChatRequest, str, str, bool]:
    """The request, its answer, its route, and whether it is streamed."""
    text = f"call {number:05d} " + "lorem ipsum " * (number % 7)
    route = ROUTES[number % 4 // 2]
    return ChatRequest(messages=[Message("user", text)]), text, route, bool(number % 2)


def ask(router: Router, number: int, tally: Tally) -> None:
    """One call."""
    request, wanted, route, streamed = question(number)
    seen: list[str] = []
    ends = 1
    try:
        if streamed:
            ends = 0
            for event in router.stream(request, route):
                seen.append(event.delta or "")
                ends += event.finish
            text = "".join(seen)
        else:
            text = router.generate(request, route).text
    except Exception as error:
        tally.failed(error, wanted, route, "".join(seen))
    else:
        tally.answered(text, wanted, ends)


async def aask(router: Router, number: int, tally: Tally) -> None:
    """Its async twin."""
    request, wanted, route, streamed = question(number)
    seen: list[str] = []
    ends = 1
    try:
        if streamed:
            ends = 0
            async for event in router.astream(request, route):
                seen.append(event.delta or "")
                ends += event.finish
            text = "".join(seen)
        else:
            text = (await router.agenerate(request, route)).text
    except Exception as error:
        tally.failed(error, wanted, route, "".join(seen))
    else:
        tally.answered(text, wanted, ends)


def run_sync(router: Router, numbers: range, tally: Tally) -> int:
    """All calls in threads; how many threads are left over."""
    before = threading.active_count()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda n: ask(router, n, tally), numbers))
    return threading.active_count() - before


def run_async(router: Router, numbers: range, tally: Tally) -> int:
    """All calls in tasks; how many tasks are left over."""

    async def main() -> int:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with gate:
                await aask(router, number, tally)

        await asyncio.gather(*(one(n) for n in numbers))
        await router.aclose()
        await asyncio.sleep(0)
        return len(asyncio.all_tasks()) - 1

    return asyncio.run(main())


def rss_kib() -> int:
    """Resident memory now, in KiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


def files() -> int:
    """Open file descriptors."""
    return len(os.listdir("/proc/self/fd"))


class Servers:
    """The process with the providers."""

    def __init__(self, seed: int, good: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak_servers", str(seed), str(good)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.urls: dict[str, str] = self._line()

    def _line(self) -> Any:
        if self._process.stdout is None:
            raise RuntimeError("the servers have no output")
        return json.loads(self._process.stdout.readline())

    def end(self) -> dict[str, dict[str, int]]:
        """Stop them; what they counted."""
        out, _ = self._process.communicate()
        counted: dict[str, dict[str, int]] = json.loads(out)
        return counted


def ledger_sums() -> dict[str, Counter[str]]:
    """What the ledger says of each dialect."""
    store = get_store()
    store.flush()

    def read(database: Any) -> Any:
        return database.execute(
            "SELECT provider, error_code, outcome, prompt_tokens, completion_tokens, cost_usd "
            "FROM attempts"
        )

    sums: dict[str, Counter[str]] = {}
    for provider, code, outcome, prompt, completion, cost in store.read(read, []):
        row = sums.setdefault(provider.replace("-", "_"), Counter())
        row["requests"] += 1
        row["answered"] += outcome == "success"
        row["429"] += code == "rate_limit"
        row["529"] += code == "overloaded"
        if outcome == "success":
            row["prompt_tokens"] += prompt or 0
            row["completion_tokens"] += completion or 0
            row["cost_e6"] += round((cost or 0) * 1e6)
    return sums


def soak(calls: int, seed: int, good: int, asynchronous: bool) -> tuple[list[str], dict[str, Any]]:
    """One run: what is wrong, and the figures."""
    servers = Servers(seed, good)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="crux-soak-") as folder:
        os.environ["CRUX_DB"] = f"{folder}/soak.db"
        router = Router(routes(servers.urls))
        run = run_async if asynchronous else run_sync
        warm = calls // 4
        run(router, range(warm), tally)
        get_store().flush()
        gc.collect()
        before = (rss_kib(), len(gc.get_objects()))
        began, cpu = time.monotonic(), time.process_time()
        left = run(router, range(warm, warm + calls), tally)
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        router.close()
        get_store().flush()  # rows that wait to be written are no leak
        gc.collect()
        grown = (rss_kib() - before[0], len(gc.get_objects()) - before[1])
        counted = servers.end()
        sums = ledger_sums()
        store = get_store()
        dropped = store.writer.stats.dropped + store.writer.stats.failed if store.writer else 0
        store.close()
    wrong = list(tally.wrong)
    total = sum(tally.ends.values())
    if total != warm + calls:
        wrong.append(f"{warm + calls} calls, {total} ends")
    if left:
        wrong.append(f"{left} threads or tasks are left")
    for dialect, row in counted.items():
        for name in ("requests", "429", "529"):
            if row.get(name, 0) != sums.get(dialect, {}).get(name, 0):
                said = f"the server counted {row.get(name, 0)}, the ledger {sums[dialect][name]}"
                wrong.append(f"{dialect} {name}: {said}")
        # An answer sent whole may still be one that its caller no longer waited for.
        if sums[dialect]["answered"] > row.get("answered", 0):
            wrong.append(f"{dialect}: more answers in the ledger than were sent")
        if sums[dialect]["completion_tokens"] != 2 * sums[dialect]["answered"]:
            wrong.append(f"{dialect}: the ledger's tokens are not those of its answers")
        if sums[dialect]["cost_e6"] != 7 * sums[dialect]["answered"]:
            wrong.append(f"{dialect}: the ledger's dollars are not those of its answers")
    if grown[0] > GROWTH_KIB or grown[1] > GROWTH_OBJECTS:
        wrong.append(f"{grown[0]} KiB and {grown[1]} objects more than before")
    if dropped:
        wrong.append(f"the ledger dropped {dropped} rows")
    figures = {
        "calls": total,
        "good_weight": good,
        "mode": "async" if asynchronous else "sync",
        "ends": dict(tally.ends),
        "requests": sum(row["requests"] for row in counted.values()),
        "seconds": round(seconds, 1),
        "cpu_ms_per_call": round(cpu * 1000 / calls, 2),
        "grown_kib": grown[0],
        "grown_objects": grown[1],
    }
    return wrong, figures


def main() -> int:
    """Both modes; 1 where anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--good", type=int, nargs="*", default=[60, 4], help="weights of good answers beside 40"
    )
    parser.add_argument("--mode", choices=["sync", "async", "both"], default="both")
    options = parser.parse_args()
    open_before = files()
    failed = False
    modes = [m for m in ("sync", "async") if options.mode in (m, "both")]
    for good, mode in itertools.product(options.good, modes):
        wrong, figures = soak(options.calls, options.seed, good, mode == "async")
        left = files() - open_before
        if left > 2:
            wrong.append(f"{left} files or sockets are left open")
        print(json.dumps(figures), flush=True)
        for line in wrong[:20]:
            print(f"  wrong: {line}")
        print(f"  {len(wrong)} wrong", flush=True)
        failed = failed or bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
