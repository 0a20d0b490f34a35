"""Anthropic Messages: every recorded exchange beside what Anthropic's SDK reads in it."""

from __future__ import annotations

from typing import Any

import pytest

from tests import recordings
from tests.comparers import anthropic_messages as comparer
from tests.recordings import Interaction


def test_every_recorded_exchange_reads_as_the_sdk_reads_it() -> None:
    recordings.require()
    found = recordings.interactions(endpoint="messages")
    assert len(found) > 100
    assert sum(i.stream for i in found) > 20
    assert sum(i.status >= 300 for i in found) > 2
    differing = {i.file: words for i in found if (words := comparer.compare(i))}
    assert set(differing) == set(comparer.REASONS), differing


def test_the_comparison_sees_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    # The codec reads one body and the SDK another: the comparer has to say so, of each.
    recordings.require()
    replay = comparer._replay

    def other(interaction: Interaction, body: bytes) -> Any:
        return replay(interaction, body.replace(b'"output_tokens":', b'"output_tokens":1'))

    monkeypatch.setattr(comparer, "_replay", other)
    checked = 0
    for interaction in recordings.interactions(endpoint="messages"):
        if interaction.status < 300 and b'"output_tokens": ' not in interaction.body:
            words = comparer.compare(interaction)
            assert any(w.startswith(("completion:", "decode:")) for w in words), interaction.name
            checked += 1
    assert checked > 50
