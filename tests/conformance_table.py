"""The conformance suite as a table: ``python -m tests.conformance_table [--markdown] [-k WORD]``.

Runs ``pytest -m conformance tests/transports`` and prints what that very run said: a row per
scenario and way of calling (sync or async, whole or streamed), a column per transport. A cell is
``ok`` (``ok 4`` where the scenario has four variants), ``FAILED``, ``skipped`` with its reason or
``error`` where the transport answers with a named, tested error instead; both are listed below the
table in words, as is an SDK that is not installed, with the command that installs it. A second
table is the model inside the process, which has no sockets: each scenario's own test there, or why
there is none. ``-k`` chooses transports by a word of their name. Exit code 1 where a test failed, a
cell is blank or nothing ran.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.local.scenarios import SCENARIOS
from tests.sdk_subjects import SUBJECTS
from tests.text_table import table
from tests.transports.conformance import HARNESSES

LOCAL = "tests/local/test_conformance.py"
"""The scenarios of the model inside the process; :data:`SCENARIOS` says which is which."""

WAYS = tuple((kind, mode) for kind in ("sync", "async") for mode in ("whole", "streamed"))

Row = tuple[str, str, str]
"""Scenario, sync or async, whole or streamed."""


@dataclass
class Cell:
    """What the tests of one scenario said of one transport, called one way."""

    passed: int = 0
    failed: int = 0
    skipped: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)

    def text(self) -> str:
        """The cell in a word."""
        if self.failed:
            return "FAILED"
        if self.told:
            return "error"
        if self.passed:
            return "ok" if self.passed == 1 else f"ok {self.passed}"
        return "skipped" if self.skipped else ""


class Collector:
    """A pytest plugin that files each test's outcome."""

    def __init__(self) -> None:
        self.cells: dict[tuple[Row, str], Cell] = defaultdict(Cell)
        self.rows: dict[Row, None] = {}
        self.local: dict[str, Cell] = defaultdict(Cell)
        self._items: dict[str, tuple[list[Row], str]] = {}

    def pytest_collection_finish(self, session: Any) -> None:
        """Which cells each chosen test fills."""
        for item in session.items:
            callspec = getattr(item, "callspec", None)
            if callspec is None or "harness" not in callspec.params:
                continue
            rows = [
                (scenario_of(item), kind, mode)
                for kind, mode in WAYS
                if kind in kinds_of(item) and mode in modes_of(item)
            ]
            self._items[item.nodeid] = (rows, callspec.params["harness"].name)
            for row in rows:
                self.rows.setdefault(row)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """The outcome of one phase of a test."""
        if report.nodeid in self._items:
            rows, transport = self._items[report.nodeid]
            cells = [self.cells[row, transport] for row in rows]
        elif report.nodeid.startswith(LOCAL):
            cells = [self.local[report.nodeid.rpartition("::")[2].partition("[")[0]]]
        else:
            return
        for cell in cells:
            if report.failed:
                cell.failed += 1
            elif report.skipped:
                cell.skipped.add(re.sub(r"^Skipped: ", "", report.longrepr[2]))
            elif report.when == "call":
                cell.passed += 1
                cell.told |= {text for name, text in report.user_properties if name == "error"}


def scenario_of(item: Any) -> str:
    """The scenario of a test."""
    return words(str(item.originalname))


def words(name: str) -> str:
    """A test's name in words."""
    return name.removeprefix("test_").replace("_", " ")


def kinds_of(item: Any) -> set[str]:
    """Sync, async or both: what the driver is, else what the test itself calls."""
    driver = item.callspec.params.get("driver")
    if driver is not None:
        return {driver.name}
    source = inspect.getsource(item.obj)
    found = {"async"} if re.search(r"\.a(send|stream)\(", source) else set()
    return found | ({"sync"} if re.search(r"transport\.(send|stream)\(", source) else set())


def modes_of(item: Any) -> set[str]:
    """Whole, streamed or both: what the parameter says, else which requests the test uses."""
    streamed = item.callspec.params.get("streamed")
    if streamed is not None:
        return {"streamed" if streamed else "whole"}
    source = inspect.getsource(item.obj)
    return {mode for mode in ("whole", "streamed") if f"harness.{mode}" in source} or {
        "whole",
        "streamed",
    }


def lines(found: Collector, markdown: bool) -> Iterator[str]:
    """The table, then what its words stand for."""
    transports = [
        h.name for h in HARNESSES if any(transport == h.name for _, transport in found.cells)
    ]
    head = ("scenario", "call", "answer", *transports)
    rows = [
        (*row, *(found.cells[row, transport].text() for transport in transports))
        for row in found.rows
    ]
    yield from table(head, rows, markdown)
    notes: dict[str, set[str]] = defaultdict(set)
    for ((scenario, _, _), transport), cell in found.cells.items():
        for word, texts in (("error", cell.told), ("skipped", cell.skipped)):
            for text in texts:
                notes[f"{word}: {scenario}: {text}"].add(transport)
    yield ""
    bullet = "- " if markdown else ""
    for note, names in notes.items():
        yield f"{bullet}{note} ({', '.join(sorted(names))})"
    for subject in SUBJECTS:
        if not subject.installed:
            yield f"{bullet}{subject.sdk} SDK: not installed here: {subject.install}"
    if found.local:
        yield ""
        yield from table(("scenario", "model inside the process"), list(local(found)), markdown)


def local(found: Collector) -> Iterator[tuple[str, str]]:
    """Per scenario, what the model inside the process made of it, or why it has none."""
    for scenario, kept in SCENARIOS.items():
        if not kept.startswith("test_"):
            yield words(scenario), f"none: {kept}"
        elif cell := found.local.get(kept):
            why = f" ({'; '.join(sorted(cell.skipped))})" if cell.skipped else ""
            yield words(scenario), f"{cell.text()}: {words(kept)}{why}"


def blanks(found: Collector) -> list[str]:
    """The cells of which no test said anything."""
    transports = {transport for _, transport in found.cells}
    return [
        f"{' / '.join(row)}: {transport}"
        for row in found.rows
        for transport in sorted(transports)
        if not found.cells[row, transport].text()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 only where every cell is filled and nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance_table", description=__doc__)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("-k", dest="word", help="only transports with this word in their name")
    asked = parser.parse_args(arguments)
    found = Collector()
    options = ["-p", "no:terminal", "-m", "conformance", "tests/transports", LOCAL]
    if asked.word:
        options += ["-k", asked.word]
    status = pytest.main(options, plugins=[found])
    for line in lines(found, asked.markdown):
        print(line)
    empty = blanks(found)
    for line in empty:
        print(f"blank: {line}")
    cells = [cell for cell in (*found.cells.values(), *found.local.values()) if cell.text()]
    failed = sum(bool(cell.failed) for cell in cells)
    print(f"\n{len(cells)} cells, {failed} failed, {len(empty)} blank")
    return 0 if status == 0 and cells and not failed and not empty else 1


if __name__ == "__main__":
    sys.exit(main())
