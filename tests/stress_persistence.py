"""Many threads in many processes write at once, some are killed: what is in the database then?

    python -m tests.stress_persistence [--engine sqlite|postgres] [--db PLACE]
        [--processes 4] [--threads 8] [--rows 500] [--seed N]

Three parts, each of ``rows`` observations and ``rows`` lines of the ledger a thread. One thread:
what handing a row over costs, beside bare queues in the same run. All at once: the sums must be
exact, and a put no dearer than two of the bare queue (``queue.Queue``; ``queue.SimpleQueue``, one
call into C, is shown beside it). Kills: processes die by SIGKILL at random moments; the database
must open clean, hold every row that was committed, and of each thread's rows a beginning without a
hole; what is missing is younger than the last batches.

``--engine postgres`` makes a schema of its own on the server that CRUX_TEST_PG names (else
127.0.0.1:5432, database test) and drops it at the end. Exits 1 where any of it does not hold.
"""

from __future__ import annotations

import argparse
import multiprocessing
import queue
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any, NamedTuple

from crux_providers.base.capabilities import Observation
from crux_providers.persistence.database import Database, open_database
from crux_providers.persistence.location import Location, parse
from crux_providers.persistence.rows import Attempt
from crux_providers.persistence.store import Store, store_at

MEDIAN_LIMIT_US = 20.0
P99_LIMIT_US = 200.0
JITTER_US = 20.0
"""In a crowd one put in a hundred may wait for its turn on the processor; below this it is nothing
that a put does."""
LABELS = {
    "observe": "observation", "put": "ledger row", "bare": "queue.Queue",
    "simple": "queue.SimpleQueue",
}  # fmt: skip
LAG_LIMIT_S = 2.0
"""The oldest that a lost row may be: the interval, and a commit beside three other writers."""


class Figures(NamedTuple):
    """Median and 99th percentile in microseconds."""

    median: float
    p99: float

    @classmethod
    def of(cls, nanoseconds: Sequence[int]) -> Figures:
        ordered = sorted(nanoseconds)
        return cls(statistics.median(ordered) / 1000, ordered[int(len(ordered) * 0.99)] / 1000)

    def __str__(self) -> str:
        return f"median {self.median:7.2f} µs   p99 {self.p99:8.2f} µs"


def rows_of(name: str, thread: int, number: int) -> tuple[Observation, Attempt]:
    """One observation and one line of the ledger."""
    now = time.time()
    return (
        Observation("stress", name, "tools", number % 5 != 0, "whole", now, None),
        Attempt(
            f"{name}-{thread}-{number}", 1, "stress", "stress", name, "success", now, cost_usd=0.5
        ),
    )


def no_times() -> dict[str, list[int]]:
    """Where nanoseconds go, by what they were spent on."""
    return {name: [] for name in LABELS}


def show(times: dict[str, list[int]]) -> dict[str, Figures]:
    """Print a line for each, and how many bare queues that is."""
    figures = {name: Figures.of(taken) for name, taken in times.items()}
    for name, label in LABELS.items():
        share = figures[name].median / figures["bare"].median
        print(f"  {label:<18} {figures[name]}   {share:4.2f} queue.Queue")
    return figures


def produce(store: Store, name: str, thread: int, rows: int, bare: Callable[[Any], object],
            times: dict[str, list[int]], pace: Callable[[], float] | None = None,
            note: Callable[[], None] = lambda: None) -> None:  # fmt: skip
    """Hand over ``rows`` of each kind and time every put, beside a put to bare queues."""
    clock = time.perf_counter_ns
    simple = queue.SimpleQueue[Any]().put
    steps = [("observe", store.observe), ("put", store.put), ("bare", bare), ("simple", simple)]
    for number in range(rows):
        observation, attempt = rows_of(name, thread, number)
        note()
        steps.append(steps.pop(0))  # each is the first, the cold one, as often as the others
        for step, hand_over in steps:
            row = observation if step == "observe" else attempt
            start = clock()
            hand_over(row)
            times[step].append(clock() - start)
        if pace is not None:
            time.sleep(pace())


def one_thread(place: Location, rows: int) -> bool:
    """What a put costs alone."""
    store = store_at(place)
    store.snapshot()
    times: dict[str, list[int]] = no_times()
    produce(store, "alone", 0, rows, queue.Queue[Any]().put, times)
    store.close()
    print(f"one thread, {rows} of each")
    figures = show(times)
    return all(
        figures[name].median <= MEDIAN_LIMIT_US and figures[name].p99 <= P99_LIMIT_US
        for name in ("observe", "put")
    )


def worker(target: str, name: str, threads: int, rows: int, start: Any, results: Any) -> None:
    """One process of the second part."""
    store = store_at(parse(target))
    store.snapshot()
    bare: queue.Queue[Any] = queue.Queue()
    times: dict[str, list[int]] = no_times()
    made = [
        threading.Thread(target=produce, args=(store, name, number, rows, bare.put, times))
        for number in range(threads)
    ]
    start.wait(60)
    for thread in made:
        thread.start()
    for thread in made:
        thread.join()
    begun = time.perf_counter()
    store.close()
    assert store.writer is not None
    results.put((times, store.writer.stats, time.perf_counter() - begun))


def all_at_once(place: Location, processes: int, threads: int, rows: int) -> bool:
    """Exact sums, and what a put costs in the crowd."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(processes), context.Queue()
    made = [
        context.Process(
            target=worker, args=(place.target, f"crowd-{n}", threads, rows, start, results)
        )
        for n in range(processes)
    ]
    for process in made:
        process.start()
    gathered = [results.get(timeout=300) for _ in made]
    for process in made:
        process.join(60)
    expected = processes * threads * rows
    print(f"{processes} processes x {threads} threads x {rows} of each")
    figures = show({name: [t for times, _, _ in gathered for t in times[name]] for name in LABELS})
    with open_database(place) as database:
        found = sums(database, "crowd-%")
    print(f"  expected {expected} observations, {expected} ledger rows, ${expected * 0.5:.2f}")
    print(f"  found    {found.observations} observations, {found.attempts} ledger rows, "
          f"${found.dollars:.2f}")  # fmt: skip
    lost = sum(stats.failed + stats.dropped for _, stats, _ in gathered)
    print(f"  failed or dropped {lost}; close took at most "
          f"{max(took for _, _, took in gathered):.2f} s")  # fmt: skip
    exact = found == Sums(expected, expected // 5 * 4, expected, expected * 0.5)
    cheap = all(
        figures[name].median <= 2 * figures["bare"].median
        and figures[name].p99 <= max(2 * figures["bare"].p99, JITTER_US)
        for name in ("observe", "put")
    )
    return exact and cheap and lost == 0


class Sums(NamedTuple):
    """What the database holds of the processes whose name is like a pattern."""

    observations: int
    successes: int
    attempts: int
    dollars: float


def sums(database: Database, like: str) -> Sums:
    """The sums of one process or of several."""
    ((seen, good),) = database.execute(
        "SELECT COALESCE(SUM(successes + refusals), 0), COALESCE(SUM(successes), 0) "
        "FROM capability_evidence WHERE model_id LIKE ?",
        (like,),
    )
    ((count, dollars),) = database.execute(
        "SELECT COUNT(*), COALESCE(SUM(cost_usd), 0) FROM attempts WHERE model LIKE ?", (like,)
    )
    return Sums(int(seen), int(good), int(count), float(dollars))


def victim(target: str, name: str, threads: int, rows: int, begun: Any, written: Any,
           first: Any) -> None:  # fmt: skip
    """One process of the third part.

    ``begun`` counts by thread what it was about to hand over, ``written`` what it knows to be
    committed, ``first`` is when it began.
    """
    store = store_at(parse(target))
    store.snapshot()

    def note(thread: int) -> None:
        begun[thread] += 1
        if not first[0]:
            first[0] = time.time()
        if store.writer is not None:
            written[0] = store.writer.stats.written

    def work(thread: int) -> None:
        times: dict[str, list[int]] = no_times()
        dice = random.Random(f"{name}{thread}")
        produce(store, name, thread, rows, lambda row: None, times,
                lambda: dice.random() * 0.004, lambda: note(thread))  # fmt: skip

    made = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in made:
        thread.start()
    for thread in made:
        thread.join()
    store.close()


def kills(place: Location, processes: int, threads: int, rows: int, seed: int) -> bool:
    """Processes die at random moments; what was committed is there."""
    dice = random.Random(seed)
    context = multiprocessing.get_context("spawn")
    print(f"{processes} processes x {threads} threads x {rows} of each, killed at random")
    made = []
    for n in range(processes):
        begun, written, first = RawArray("q", threads), RawArray("q", 1), RawArray("d", 1)
        arguments = (place.target, f"victim-{n}", threads, rows, begun, written, first)
        process = context.Process(target=victim, args=arguments)
        process.start()
        made.append((process, begun, written, first))
    killed_at: list[float] = []
    for process, begun, _, _ in made:
        wanted = dice.randrange(threads * rows // 10, threads * rows * 9 // 10)
        while process.is_alive() and sum(begun) < wanted:
            time.sleep(0.001)
        if len(killed_at) < processes - 1:  # the last one may finish
            process.kill()
        killed_at.append(time.time())
    good, killed = True, 0
    for n, (process, begun, written, first) in enumerate(made):
        process.join(120)
        put, committed = 2 * sum(begun), written[0]
        with open_database(place) as database:
            found = sums(database, f"victim-{n}")
            ((last,),) = database.execute(
                "SELECT MAX(started_at) FROM attempts WHERE model = ?", (f"victim-{n}",)
            )
            whole_until = holes(database, f"victim-{n}")
        here, lag = found.observations + found.attempts, 0.0
        if process.exitcode == -signal.SIGKILL:
            killed += 1
            lag = killed_at[n] - (first[0] if last is None else last)
            complete = committed <= here <= put
            how = f"killed, lost at most the last {lag * 1000:.0f} ms"
        else:
            complete = process.exitcode == 0 and here == put == 2 * threads * rows
            how = "finished"
        print(f"  victim-{n}: handed over {put}, committed by its own count {committed}, "
              f"found {here}, missing {put - here} ({how})")  # fmt: skip
        if whole_until:
            print(f"    rows missing before others that are there: {whole_until}")
        good = good and complete and lag <= LAG_LIMIT_S and not whole_until
    print(f"  {killed} of {processes} killed")
    return good and killed > 0


def holes(database: Database, name: str) -> list[str]:
    """The threads of a process whose rows in the ledger are no beginning of what it handed over."""
    numbers: dict[str, list[int]] = {}
    for (call_id,) in database.execute("SELECT call_id FROM attempts WHERE model = ?", (name,)):
        thread, _, number = call_id.rpartition("-")
        numbers.setdefault(thread, []).append(int(number))
    return [thread for thread, found in numbers.items() if len(found) != max(found) + 1]


def whole(place: Location) -> bool:
    """Whether the database is in order."""
    with open_database(place) as database:
        said = database.execute("PRAGMA integrity_check") if place.kind == "sqlite" else [("ok",)]
        ((odd,),) = database.execute(
            "SELECT COUNT(*) FROM (SELECT provider, model_id, feature, MAX(value) AS value "
            "FROM capability_evidence GROUP BY provider, model_id, feature) e "
            "LEFT JOIN observed_capabilities o ON o.provider = e.provider "
            "AND o.model_id = e.model_id AND o.feature = e.feature "
            "WHERE o.value IS NULL OR o.value <> e.value"
        )
    print(f"integrity {said[0][0]}; observed_capabilities that differ from their evidence: {odd}")
    return said == [("ok",)] and odd == 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the three parts; returns the exit status."""
    parser = argparse.ArgumentParser(description="Stress the persistence layer.")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--db", help="a path or a postgresql:// URL (default: a temporary file)")
    parser.add_argument("--engine", choices=("sqlite", "postgres"), default="sqlite")
    options = parser.parse_args(argv)
    with ExitStack() as stack:
        if options.db:
            place = parse(options.db)
        elif options.engine == "postgres":
            from tests.databases import own_schema

            place = parse(stack.enter_context(own_schema()))
        else:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            place = parse(str(Path(directory) / "stress.db"))
        sizes = (options.processes, options.threads, options.rows)
        print(f"{place.kind}, seed {options.seed}, Python {sys.version.split()[0]}")
        results = {
            "a put alone": one_thread(place, options.threads * options.rows),
            "all at once": all_at_once(place, *sizes),
            "kills": kills(place, *sizes, options.seed),
            "in order": whole(place),
        }
    for name, good in results.items():
        print(f"{'ok  ' if good else 'FAIL'} {name}")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
