"""The matrix itself: what its judge says, and a real cell of crux through a process of its own."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.faults.matrix import PEERS, SHORT, Fault, Process, faults, judge, markdown, play
from tests.faults.wires import PRESENT

AFTER = Fault("cut", "after", None)
BEFORE = Fault("429", "before", None)


@pytest.mark.parametrize(
    ("fault", "answer", "second", "seconds", "right", "words"),
    [
        (BEFORE, {"text": "Hello there", "seen": ""}, 1, 0, True, "falls over"),
        (BEFORE, {"text": "Hello there", "seen": ""}, 2, 0, False, "falls over"),
        (BEFORE, {"text": "", "seen": ""}, 0, 0, False, "empty"),
        (BEFORE, {"error": "a.B", "seen": ""}, 0, 0, False, "error (B)"),
        (BEFORE, None, 0, 20, False, "hangs"),
        (Fault("hang", "before", None, SHORT), {"text": "Hello there", "seen": ""}, 1, 5, False,
         "waits on"),
        (AFTER, {"error": "a.B", "seen": "Hel", "partial": "Hel"}, 0, 0, True, "partial answer"),
        (AFTER, {"error": "a.B", "seen": "Hel", "partial": None}, 0, 0, False, "partial lost"),
        (AFTER, {"text": "Hel", "seen": "Hel"}, 0, 0, False, "half the answer"),
        (AFTER, {"text": "HelHello there", "seen": "HelHello there"}, 1, 0, False, "mixes"),
        (AFTER, {"error": "a.B", "seen": "HelHello", "partial": "HelHello"}, 1, 0, False, "mixes"),
    ],
)  # fmt: skip
def test_the_judge(
    fault: Fault, answer: Any, second: int, seconds: float, right: bool, words: str
) -> None:
    cell = judge(fault, answer, False, second, seconds)
    assert cell.right is right
    assert words in cell.words


def test_a_real_cell_before_and_after_content() -> None:
    peer = next(peer for peer in PEERS if peer.dialect == "openai_chat")
    wire = next(wire for wire in PRESENT if wire.dialect == "openai_chat")
    rows = {(f.phase, f.name): f for f in faults()}
    chosen = [rows["before", "429"], rows["after", "cut"], rows["after", "the caller leaves early"]]
    with Process(peer, sys.executable) as process:
        column = {
            (f.phase, f.name): tuple(play(f, m, process, wire) for m in ("stream", "astream"))
            for f in chosen
        }
        assert all(cell.right for pair in column.values() for cell in pair), column
        page = markdown({peer.name: column}, {peer.name: process.versions})
    assert "| 429 | ✓ falls over |" in page
    assert f"| {peer.name} | 6 | 6 |" in page
