"""``python -m tests.faults.matrix``: every fault, at crux and at what one would take instead.

Each peer runs in a process of its own (and, but for crux, in a virtual environment that this
command makes), with its own fallback from a first server that misbehaves to a second one that
answers. A row is a fault, a cell what the caller gets, sync and async. Right is what the contract
of streams asks: before content the second server's answer and nothing else; after content an error
that carries what had come, and never an end that looks whole; an early leave closes the socket.

``--markdown FILE`` writes the page in ``docs``; ``--only crux`` needs no environment.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.faults.test_fault_table import AFTER, BEFORE, WHOLE, Scenario, after, frames, good, hang
from tests.faults.wires import PRESENT, Wire
from tests.servers.scripted_server import ScriptedServer

ROOT = Path(__file__).resolve().parents[2]
SHORT, LONG = 0.4, 4.0
LATE_S = 3.0
"""Seconds after which a limit of SHORT was no limit: the server has given up pinging at 5."""
CELL_S = 15.0
"""Seconds after which a caller that has nothing yet counts as hanging."""


@dataclass(frozen=True)
class Peer:
    """A column: the module that speaks the protocol, and what its environment needs."""

    name: str
    module: str
    dialect: str = "openai_chat"
    requirements: Sequence[str] = ()


PEERS = (
    *(Peer(f"crux, {w.dialect}", "crux", w.dialect) for w in PRESENT),
    Peer(
        "LangChain with_fallbacks",
        "langchain_fallbacks",
        requirements=("langchain", "langchain-openai"),
    ),
    Peer("LiteLLM Router", "litellm_router", requirements=("litellm>=1.108.4,<1.109", "openai<3")),
    Peer(
        "pydantic-ai FallbackModel",
        "pydantic_ai_fallback",
        requirements=("pydantic-ai-slim[openai]",),
    ),
)


@dataclass(frozen=True)
class Fault:
    """A row. ``phase``: before, after or whole; ``leave``: the caller goes after the first text."""

    name: str
    phase: str
    scenario: Any
    first_token: float = LONG
    idle: float = LONG
    leave: bool = False


def faults() -> Iterator[Fault]:
    """Every row, in the order of the table."""

    def waits(name: str) -> float:
        return SHORT if name.startswith(("hang", "pings")) else LONG

    for name, (scenario, _) in BEFORE.items():
        yield Fault(name, "before", scenario, first_token=waits(name))
    yield Fault("refused connection", "before", None)
    for name, (scenario, _) in AFTER.items():
        idle = SHORT if name in ("idle", "malformed") else LONG
        yield Fault(name, "after", scenario, idle=idle)
    yield Fault("the caller leaves early", "after", frames(after(), hang), leave=True)
    for name, (scenario, _) in WHOLE.items():
        yield Fault(name, "whole", scenario, first_token=waits(name))
    yield Fault("refused connection", "whole", None)


@dataclass
class Cell:
    """What came of one fault in one mode; ``words`` say it."""

    right: bool
    words: str


@dataclass
class Process:
    """A peer's process, started again where it hangs."""

    peer: Peer
    python: str
    versions: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[str] | None = None
    _lines: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop()

    def _start(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.upper().endswith("_PROXY")}
        self._process = subprocess.Popen(
            [self.python, "-m", f"tests.faults.peers.{self.peer.module}"],
            cwd=ROOT,
            env={**environment, "CRUX_DB": "off", "OPENAI_API_KEY": "k"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._lines = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(self._process, self._lines), daemon=True).start()
        self.versions = json.loads(self._lines.get(timeout=120) or "{}")

    @staticmethod
    def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
        for line in process.stdout or ():
            lines.put(line)
        lines.put("")

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def ask(self, **job: Any) -> dict[str, Any] | None:
        """The peer's answer; None where it hangs or dies."""
        if self._process is None or self._process.stdin is None:
            raise RuntimeError("the process is not running")
        try:
            print(json.dumps(job), file=self._process.stdin, flush=True)
            line = self._lines.get(timeout=CELL_S)
        except (queue.Empty, BrokenPipeError):
            line = ""
        if not line:
            self._stop()
            self._start()
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer


def judge(
    fault: Fault, answer: dict[str, Any] | None, closed: bool, second: int, seconds: float = 0
) -> Cell:
    """Whether the caller got what the contract asks, in words; ``seconds`` is what it took."""
    if answer is None:
        return Cell(False, "hangs")
    if SHORT in (fault.first_token, fault.idle) and seconds > LATE_S:
        return Cell(False, f"waits on and on (a limit of {SHORT:g} s)")
    error, seen, text = answer.get("error"), answer["seen"], answer.get("text")
    if fault.leave:
        return Cell(closed and not second, "socket closed" if closed else "socket left open")
    if fault.phase != "after":
        if text == "Hello there":
            return Cell(second == 1, "falls over")
        if error:
            return Cell(False, f"error ({error.partition('.')[2]})")
        return Cell(False, "ends as success, empty" if not text else f"ends as success: {text!r}")
    if error is None:
        whole = "ends as success, half the answer" if text == "Hel" else f"mixes answers: {text!r}"
        return Cell(False, whole)
    if second or seen != "Hel":
        return Cell(False, f"mixes answers, then {error.partition('.')[2]}")
    if answer.get("partial") == "Hel":
        return Cell(True, "error with the partial answer")
    return Cell(False, f"error ({error.partition('.')[2]}), partial lost")


def play(fault: Fault, mode: str, process: Process, wire: Wire) -> Cell:
    """One cell: two fresh servers, one question."""
    with ScriptedServer() as first, ScriptedServer() as second:
        second.play(good(wire))
        one = first.url
        if fault.scenario is None:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                one = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        else:
            scenario: Scenario = fault.scenario(wire)
            first.play(scenario)
        began = time.monotonic()
        answer = process.ask(
            mode=mode,
            one=one,
            two=second.url,
            dialect=wire.dialect,
            first_token=fault.first_token,
            idle=fault.idle,
            leave=fault.leave,
        )
        seconds = time.monotonic() - began
        closed = fault.leave and first.connections[-1].closed.wait(3)
        return judge(fault, answer, closed, second.requests, seconds)


def environment(peer: Peer, folder: Path) -> str:
    """The interpreter of the peer's environment, made where it is not there."""
    if not peer.requirements:
        return sys.executable
    place = folder / peer.module
    python = place / "bin" / "python"
    if not python.exists():
        print(f"making an environment for {peer.name}: {', '.join(peer.requirements)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *peer.requirements], check=True)
    return str(python)


Table = dict[str, dict[tuple[str, str], tuple[Cell, Cell]]]


def measure(peers: Sequence[Peer], folder: Path) -> tuple[Table, dict[str, dict[str, str]]]:
    """Every cell of every column: (sync, async) by (phase, fault)."""
    table: Table = {}
    versions: dict[str, dict[str, str]] = {}
    wires = {wire.dialect: wire for wire in PRESENT}
    for peer in peers:
        column: dict[tuple[str, str], tuple[Cell, Cell]] = {}
        with Process(peer, environment(peer, folder)) as process:
            versions[peer.name] = process.versions
            for fault in faults():
                modes = ("whole", "awhole") if fault.phase == "whole" else ("stream", "astream")
                sync, twin = (play(fault, m, process, wires[peer.dialect]) for m in modes)
                column[fault.phase, fault.name] = (sync, twin)
        table[peer.name] = column
        right = sum(cell.right for pair in column.values() for cell in pair)
        print(f"{peer.name}: {right} of {2 * len(column)} right", flush=True)
    return table, versions


PHASES = {
    "before": "Streamed, before content",
    "after": "Streamed, after content",
    "whole": "Whole",
}


def words_of(pair: tuple[Cell, Cell]) -> str:
    """Both modes in one cell of the table."""

    def mark(cell: Cell) -> str:
        return f"{'✓' if cell.right else '✗'} {cell.words}"

    sync, twin = pair
    if sync == twin:
        return mark(sync)
    return f"sync {mark(sync)}; async {mark(twin)}"


def markdown(table: Table, versions: dict[str, dict[str, str]]) -> str:
    """The page: the table by phase, the sums, the versions."""
    crux = [name for name in table if name.startswith("crux")]
    others = [name for name in table if name not in crux]
    lines = [
        "# What a fault does",
        "",
        "Made by `python -m tests.faults.matrix --markdown docs/fault-matrix.md`; nothing in it is",
        "written by hand. Two local servers: the first misbehaves, the second answers. Each peer",
        "uses its own fallback from the one to the other, its retries off, its timeouts set as",
        "the fault needs them. ✓ is what [the streaming contract](streaming.md) asks: before",
        "content the second server's answer and nothing of the first's; after content an error",
        "that carries what had come; never half an answer that looks whole. Others may want other",
        "things of an error after content (the pieces that the caller kept are still the",
        "caller's); the words in each cell say what came of it.",
        "",
        "crux stands for all its dialects where they agree: "
        + ", ".join(name.removeprefix("crux, ") for name in crux)
        + ". The peers are asked in OpenAI's dialect.",
        "",
    ]
    heads = (["crux"] if crux else []) + others
    for phase, title in PHASES.items():
        rows = [row for row in next(iter(table.values())) if row[0] == phase]
        lines += [
            f"## {title}",
            "",
            f"| fault | {' | '.join(heads)} |",
            "|---" * (len(heads) + 1) + "|",
        ]
        for row in rows:
            cells = []
            if crux:
                said = {words_of(table[name][row]): name for name in crux}
                cells.append(
                    next(iter(said))
                    if len(said) == 1
                    else "; ".join(f"{n.removeprefix('crux, ')} {w}" for w, n in said.items())
                )
            cells += [words_of(table[name][row]) for name in others]
            lines.append(f"| {row[1]} | {' | '.join(cells)} |")
        lines.append("")
    lines += ["## Sums", "", "| | right | of |", "|---|---|---|"]
    for name, column in table.items():
        right = sum(cell.right for pair in column.values() for cell in pair)
        lines.append(f"| {name} | {right} | {2 * len(column)} |")
    lines += ["", "## Versions", ""]
    shown: dict[str, str] = {}
    for name, found in versions.items():
        title = "crux" if name.startswith("crux") else name
        shown[title] = ", ".join(f"{k} {v}" for k, v in found.items())
    lines += [f"- {title}: {text}" for title, text in shown.items()]
    lines += [f"- Python {sys.version.split()[0]}", ""]
    return "\n".join(lines)


def main() -> int:
    """Measure, print, write the page; 1 where crux has a cell that is not right."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.matrix", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--only", default="", help="columns whose name has this in it")
    parser.add_argument("--envs", type=Path, default=ROOT / ".venv-peers", help="their folder")
    parser.add_argument("--markdown", type=Path, help="write the page there")
    parser.add_argument("--json", action="store_true", help="print the cells as JSON")
    options = parser.parse_args()
    peers = [peer for peer in PEERS if options.only.lower() in peer.name.lower()]
    table, versions = measure(peers, options.envs)
    page = markdown(table, versions)
    if options.markdown:
        options.markdown.write_text(page, "utf-8")
    if options.json:
        print(
            json.dumps(
                {
                    "versions": versions,
                    "cells": {
                        name: {
                            f"{phase}: {fault}": [vars(cell) for cell in pair]
                            for (phase, fault), pair in column.items()
                        }
                        for name, column in table.items()
                    },
                },
                indent=1,
            )
        )
    elif not options.markdown:
        print(page)
    wrong = [
        f"{name}: {row}"
        for name, column in table.items()
        if name.startswith("crux")
        for row, pair in column.items()
        if not all(cell.right for cell in pair)
    ]
    for line in wrong:
        print(f"not right: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
