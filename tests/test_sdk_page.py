"""docs/sdks.md, written by ``python -m tests.sdk_matrix``, says what pyproject.toml says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.sdk_matrix import HEAD, INTRODUCTION, SDKS, Result, requirements, write

PAGE = Path(__file__).resolve().parents[1] / "docs" / "sdks.md"


def rows(page: Path = PAGE) -> list[dict[str, str]]:
    """The table's rows by column."""
    found = re.findall(r"^\| (.*) \|$", page.read_text("utf-8"), re.MULTILINE)
    return [dict(zip(HEAD, row.split(" | "), strict=True)) for row in found[1:]]


def next_after(version: Version, digits: int) -> Version:
    """The first version above all that begin with the same ``digits`` numbers."""
    *same, last = (*version.release, 0, 0)[:digits]
    return Version(".".join(map(str, (*same, last + 1))))


def bound(requirement: Requirement, operator: str) -> str:
    """The version behind an operator of the requirement."""
    (found,) = [s.version for s in requirement.specifier if s.operator == operator]
    return found


@pytest.mark.parametrize("sdk", SDKS)
def test_the_extra_allows_what_was_tried_and_no_more(sdk: str) -> None:
    (allowed,) = [r for r in requirements(SDKS[sdk].extra) if r.name == sdk]
    lowest, highest = [row for row in rows() if row["SDK"] == sdk]
    for row in (lowest, highest):
        assert row["allowed"] == f"`{allowed}`", "run the matrix again for this SDK"
        assert int(row["passed"]) > 100
        assert row["failed"] == "0"
        assert " 0 differing" in row["recorded exchanges"]
    assert Version(lowest["version"]) == Version(bound(allowed, ">="))
    ceiling = bound(allowed, "<")
    digits = ceiling.count(".") + 1
    assert next_after(Version(highest["version"]), digits) == Version(ceiling)


def test_the_page_begins_as_the_command_writes_it() -> None:
    assert PAGE.read_text("utf-8").startswith(INTRODUCTION)


def test_a_run_replaces_its_own_rows_and_limits_alone(tmp_path: Path) -> None:
    page = tmp_path / "sdks.md"
    results = [
        Result("ollama", "0.5.0", passed=1, limits={"no": ["a scenario"]}),
        Result("openai", "3.10.0", passed=2, limits={"never": ["another"]}),
        Result("openai", "3.9.0", passed=2, limits={"never": ["another"]}),
    ]
    write(page, results)
    once = page.read_text("utf-8")
    assert [row["version"] for row in rows(page)] == ["3.9.0", "3.10.0", "0.5.0"]
    assert "## openai\n\n- never (another)\n\n## ollama\n\n- no (a scenario)\n" in once
    write(page, results)
    assert page.read_text("utf-8") == once
    write(page, [Result("ollama", "0.6.0", passed=3)])
    assert [row["version"] for row in rows(page)] == ["3.9.0", "3.10.0", "0.6.0"]
    assert "a scenario" not in page.read_text("utf-8")
    assert "- never (another)" in page.read_text("utf-8")
