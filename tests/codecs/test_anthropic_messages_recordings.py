"""Anthropic Messages: every recorded exchange beside what Anthropic's SDK reads in it."""

from __future__ import annotations

from dataclasses import replace

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


def _changed(interaction: Interaction, old: bytes, new: bytes) -> Interaction:
    assert old in interaction.body
    return replace(interaction, body=interaction.body.replace(old, new))


def test_the_comparison_sees_a_difference() -> None:
    # The codec reads one body and the SDK another: the comparer has to say so.
    recordings.require()
    for interaction in recordings.interactions(endpoint="messages"):
        if interaction.status >= 300 or b'"output_tokens": ' in interaction.body:
            continue
        expected = comparer._replay
        try:
            comparer._replay = lambda one, body, expected=expected: expected(
                one, body.replace(b'"output_tokens":', b'"output_tokens":1')
            )
            words = comparer.compare(interaction)
        finally:
            comparer._replay = expected
        assert any(w.startswith(("completion:", "decode:")) for w in words), interaction.name
