"""The report of the contract goes red where it should, and its tables agree with the project."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import contract_report
from tests.contract_report import Collector, Row
from tests.contract_rows import ROWS
from tests.contract_tests import TESTS

ROOT = Path(__file__).resolve().parents[1]


def test_the_tables_agree() -> None:
    assert len(ROWS) > 250
    assert set(TESTS) <= set(ROWS)
    assert len(set(ROWS.values())) > 250
    names = {name for tests in TESTS.values() for name in tests.split()}
    assert len(names) > 100
    assert all(name.partition("::")[0].endswith(".py") for name in names)
    there = [name for name in names if (ROOT / "tests" / name.partition("::")[0]).is_file()]
    assert len(there) > 100


def report(nodeid: str, outcome: str, rows: str, **more: Any) -> Any:
    properties = [("contract", rows)]
    return SimpleNamespace(
        nodeid=nodeid, outcome=outcome, when="call", longrepr="", user_properties=properties, **more
    )


def test_what_each_result_makes_of_a_row() -> None:
    collector = Collector()
    skip = report("tests/c.py::t", "skipped", "4")
    skip.longrepr = ("c.py", 1, "Skipped: no server")
    for said in (
        report("tests/a.py::t[1]", "passed", "1 2"),
        report("tests/a.py::t[2]", "failed", "1 2"),
        report("tests/a.py::t[3]", "passed", "1 2"),
        report("tests/b.py::t", "passed", "2 3"),
        skip,
    ):
        collector.pytest_runtest_logreport(said)
    results = {number: row.result for number, row in collector.rows.items() if row.tests}
    assert results == {"1": "failed", "2": "failed", "3": "passed", "4": "skipped"}
    assert collector.rows["4"].tests == {"tests/c.py::t": "skipped: no server"}
    assert collector.rows["5"].result == "no test"
    assert [n for n in ("1", "2", "3", "4", "5") if collector.rows[n].good] == ["3"]
    assert Row("9", "x").as_mapping()["good"] is False


class Item:
    """As much of a pytest item as marking needs."""

    def __init__(self, nodeid: str, *rows: object) -> None:
        self.nodeid = nodeid
        self.user_properties: list[tuple[str, object]] = []
        self.marks = [pytest.mark.contract(*rows).mark] if rows else []

    def add_marker(self, marker: Any) -> None:
        self.marks.append(marker.mark)

    def iter_markers(self, name: str) -> list[Any]:
        return [mark for mark in self.marks if mark.name == name]


def test_a_mark_with_a_row_that_is_not_there_is_refused() -> None:
    good: Any = Item("tests/x.py::t[1]", 12, "S1")
    contract_report.mark([good])
    assert good.user_properties == [("contract", "12 S1")]
    wrong: Any = Item("tests/x.py::t", 1000)
    with pytest.raises(pytest.UsageError, match="no row 1000"):
        contract_report.mark([wrong])
    mapped: Any = Item("tests/config/test_files.py::test_openai_config")
    contract_report.mark([mapped])
    assert mapped.user_properties == [("contract", "24 S7")]


def test_a_row_that_is_not_there_cannot_be_asked_after(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        contract_report.main(["1000"])
    assert caught.value.code == 2
    assert "no row 1000" in capsys.readouterr().err
