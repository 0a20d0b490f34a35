"""Files stay small: none over the limit, and most far below it."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest

from tests.policy import code_gates
from tests.policy.examined import PACKAGES, sources

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.contract(193)


@pytest.mark.contract(188)
def test_no_file_is_over_the_limit() -> None:
    report = code_gates.file_size(ROOT)
    assert code_gates.MAX_LINES == 500
    assert report.examined > 100
    report.assert_clean()


@pytest.mark.contract(199)
def test_most_modules_are_small() -> None:
    lengths = [len(file.text.splitlines()) for file in sources(ROOT, PACKAGES)]
    assert len(lengths) > 100
    assert median(lengths) < 200


@pytest.mark.contract(188)
def test_one_line_too_many_is_found(tmp_path: Path) -> None:
    file = tmp_path / "crux_providers" / "long.py"
    file.parent.mkdir()
    file.write_text("x = 1\n" * 501)
    report = code_gates.file_size(tmp_path)
    assert (report.examined, len(report.findings)) == (1, 1)


@pytest.mark.contract(191)
def test_tests_lie_in_their_folder_alone() -> None:
    looked_at = [file.path for file in sources(ROOT, PACKAGES)]
    assert len(looked_at) > 100
    assert [path for path in looked_at if "/test_" in path or path.endswith("_test.py")] == []


@pytest.mark.contract(110, 149, 192)
def test_the_named_tests_are_there() -> None:
    found = {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}
    for name in (
        "test_policies_filesize.py", "test_env_config_edge_cases.py", "test_metrics_emission.py",
        "test_provider_factory_smoke.py", "test_capabilities_helpers.py",
        "test_model_registry_observed_merge.py", "test_stream_internal_error.py",
        "test_stream_contract_logging.py",
    ):  # fmt: skip
        assert "def test_" in found[name].read_text(encoding="utf-8"), name
    assert len(list((ROOT / "tests" / "streaming").glob("test_*.py"))) > 3
