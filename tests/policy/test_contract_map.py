"""The contract's map names tests that are there: a renamed one is seen before the report runs."""

from __future__ import annotations

from pathlib import Path

from tests.contract_tests import TESTS

TREE = Path(__file__).resolve().parents[1]


def test_every_mapped_test_exists() -> None:
    names = [name for row in TESTS.values() for name in row.split()]
    assert len(names) > 100
    texts: dict[str, str] = {}
    missing = []
    for name in names:
        file, _, function = name.partition("::")
        if file not in texts:
            texts[file] = (TREE / file).read_text("utf-8")
        function = function.rpartition("::")[2].partition("[")[0]
        if function and f"def {function}(" not in texts[file]:
            missing.append(name)
    assert missing == []
