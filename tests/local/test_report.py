"""The figures of ``python -m tests.local_report`` are what the README says of the model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_the_figures(gguf: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.local_report", "--json"],
        capture_output=True, text=True, check=False, timeout=300,
        env=os.environ | {"CRUX_TEST_GGUF": str(gguf)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert "Paris" in found["answer"]["text"]
    assert set(found["json_schema"]["answer"]) == {"city", "rank"}
    assert found["cancel"]["pieces_before"] > 0
    assert found["cancel"]["latency_ms"] < 300
    assert found["cancel"]["cpu_after_ms"] < 150
    assert found["threads"]["calls"] == 6
    assert len(found["threads"]["answers"]) == 1
    assert (found["tasks"]["calls"], found["tasks"]["cancelled"]) == (20, 1)
    assert found["tasks"]["answers"] == found["threads"]["answers"]
    assert found["fork"]["child_exit"] == 3
    assert "Paris" in found["fork"]["parent_after"]
    assert found["memory"]["peak_mib"] < 600
    assert found["process"] == {"exit": 0, "stderr": ""}
