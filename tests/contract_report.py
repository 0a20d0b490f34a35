"""The contract, row by row: ``python -m tests.contract_report [--json] [ROW …]``.

Runs the tests that show each row and prints number, name, result and tests. A row fails where a
test of it fails, where it has no test, or where every test of it is skipped. A test that is
mapped and does not exist, or is marked with a row that does not, fails the report as well. Exit
code 0 only where nothing is wrong. Needs no network; what the machine lacks is a skip with its
reason.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.contract_rows import ROWS
from tests.contract_tests import TESTS

ROOT = Path(__file__).resolve().parents[1]
PROPERTY = "contract"


def rows_of(nodeid: str) -> list[str]:
    """The rows that :data:`TESTS` gives the test, its function and its file."""
    function = nodeid.partition("[")[0]
    names = dict.fromkeys((nodeid, function, function.partition("::")[0]))
    return [row for name in names for row in _mapped().get(name, ())]


def mark(items: Iterable[pytest.Item]) -> None:
    """Give mapped tests their marker and every marked test its rows; refuses unknown rows."""
    for item in items:
        if mapped := rows_of(item.nodeid):
            item.add_marker(pytest.mark.contract(*mapped))
        rows = [str(row) for found in item.iter_markers("contract") for row in found.args]
        if unknown := sorted({row for row in rows if row not in ROWS}):
            raise pytest.UsageError(f"{item.nodeid}: the contract has no row {', '.join(unknown)}")
        if rows:
            item.user_properties.append((PROPERTY, " ".join(dict.fromkeys(rows))))


_by_test: dict[str, list[str]] = {}


def _mapped() -> Mapping[str, list[str]]:
    if not _by_test:
        for row, names in TESTS.items():
            for name in names.split():
                _by_test.setdefault(f"tests/{name}", []).append(row)
    return _by_test


@dataclass
class Row:
    """One row, and what its tests did: test → ``passed``, ``failed: …`` or ``skipped: …``."""

    number: str
    name: str
    tests: dict[str, str] = field(default_factory=dict)

    @property
    def result(self) -> str:
        """``passed``, or what is wrong: ``failed``, ``no test``, ``skipped``."""
        said = list(self.tests.values())
        if not said:
            return "no test"
        if any(word.startswith("failed") for word in said):
            return "failed"
        if "passed" in said:
            return "passed"
        return "skipped"

    @property
    def good(self) -> bool:
        """Whether the row is shown."""
        return self.result == "passed"

    def as_mapping(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "row": self.number,
            "name": self.name,
            "result": self.result,
            "good": self.good,
            "tests": self.tests,
        }


class Collector:
    """A pytest plugin that keeps what happened to each test, by function and row."""

    def __init__(self) -> None:
        self.rows = {number: Row(number, name) for number, name in ROWS.items()}
        self.troubles: list[str] = []
        self.seen: set[str] = set()
        self.functions: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take one phase of one test."""
        rows = " ".join(value for name, value in report.user_properties if name == PROPERTY)
        if report.when != "call" and report.outcome == "passed":
            return
        function = report.nodeid.partition("[")[0]
        self.seen.update((report.nodeid, function, function.partition("::")[0]))
        self.functions.add(function)
        word = report.outcome
        if word == "skipped":
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "xfailed"
            word = f"skipped: {reason.removeprefix('Skipped: ')}"
        elif word == "failed":
            word = f"failed: {next(reversed(str(report.longrepr).strip().splitlines()), '')[:200]}"
        for number in rows.split():
            tests = self.rows[number].tests
            tests[function] = _worse(tests.get(function), word)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be collected."""
        if report.failed:
            self.troubles.append(f"{report.nodeid}: {str(report.longrepr).splitlines()[-1]}")


def _worse(before: str | None, word: str) -> str:
    # Of one function's many parameters a failure counts before a pass, a pass before a skip.
    order = ("failed", "passed", "skipped")
    known = [w for w in (before, word) if w is not None]
    return min(known, key=lambda w: next(i for i, start in enumerate(order) if w.startswith(start)))


def _files() -> list[str]:
    """The test files that show a row: those in the table, and those with a marker."""
    marked = (
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if "mark.contract(" in path.read_text(encoding="utf-8")
    )
    mapped = (ROOT / name.partition("::")[0] for name in _mapped())
    return [str(path) for path in sorted({*marked, *mapped}) if path.is_file()]


def run(arguments: list[str], stream: io.StringIO) -> Collector:
    """Run every test that is marked; what pytest prints goes to ``stream``."""
    collector = Collector()
    with contextlib.redirect_stdout(stream):
        code = pytest.main(
            ["-q", "-m", "contract", "--rootdir", str(ROOT), *arguments, *_files()],
            plugins=[collector],
        )
    if code == pytest.ExitCode.USAGE_ERROR or code == pytest.ExitCode.INTERNAL_ERROR:
        collector.troubles.append("pytest could not run the tests")
    for name in sorted(_mapped()):
        if name not in collector.seen:
            collector.troubles.append(f"no such test, or it did not run: {name}")
    return collector


def main(argv: list[str] | None = None) -> int:
    """Run, print, and say by the exit code whether every row is shown."""
    parser = argparse.ArgumentParser(prog="python -m tests.contract_report", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="print these rows only")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("-n", dest="workers", default="2", help="processes (0: this one)")
    options = parser.parse_args(argv)
    if unknown := [row for row in options.rows if row not in ROWS]:
        parser.error(f"the contract has no row {', '.join(unknown)}")
    stream = io.StringIO()
    collector = run(["-n", options.workers], stream)
    shown = [
        row for row in collector.rows.values() if not options.rows or row.number in options.rows
    ]
    bad = [row for row in shown if not row.good]
    if options.json:
        document = {
            "rows": [row.as_mapping() for row in shown],
            "troubles": collector.troubles,
            "good": not bad and not collector.troubles,
        }
        print(json.dumps(document, ensure_ascii=False, indent=1))
    else:
        for row in shown:
            _print(row)
        print(*collector.troubles, sep="\n")
        print(
            f"{len(shown)} rows, {len(bad)} not shown, {len(collector.functions)} tests, "
            f"{len(collector.troubles)} troubles"
        )
        if bad or collector.troubles:
            print(stream.getvalue()[-6000:], file=sys.stderr)
    return 1 if bad or collector.troubles or not collector.seen else 0


def _print(row: Row) -> None:
    counts: dict[str, int] = {}
    for word in row.tests.values():
        counts[word.partition(":")[0]] = counts.get(word.partition(":")[0], 0) + 1
    said = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    print(f"{row.number:>4}  {row.result:8} {row.name}  ({said or 'no test'})")
    for test, word in row.tests.items():
        print(f"      {'' if word == 'passed' else f'[{word}] '}{test.removeprefix('tests/')}")


if __name__ == "__main__":
    sys.exit(main())
