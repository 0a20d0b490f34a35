"""Ollama's and Google's SDKs beside ``http``: the same recorded answers, the same results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crux_providers.base.interfaces import Transport
from tests import native_parity, recordings
from tests.native_parity import WAYS, Parity
from tests.recordings import Interaction

pytestmark = pytest.mark.conformance

CASSETTES = Path(__file__).resolve().parents[2] / "cassettes"


@pytest.fixture(scope="module")
def side_by_side() -> Iterator[Parity]:
    with native_parity.parity() as made:
        yield made


def our_own() -> Iterator[Interaction]:
    """The exchanges of this project's own cassettes in these dialects."""
    for folder in ("gemini_generate", "emulated/gemini_generate", "emulated/ollama_chat"):
        for file in sorted((CASSETTES / folder).glob("*.yaml")):
            for interaction in recordings.read_session(CASSETTES, f"{folder}/{file.name}"):
                if interaction.endpoint in native_parity.ENDPOINTS:
                    yield interaction


def test_our_own_cassettes_are_equal_both_ways() -> None:
    report = native_parity.run(our_own())
    assert report.differing == []
    answered = sum(c.exchanges - c.refused for c in report.table.values())
    assert answered > 8
    assert all(" knows no " in words or " cannot hold " in words for words in report.refusals)


def test_a_difference_is_seen(side_by_side: Parity, monkeypatch: pytest.MonkeyPatch) -> None:
    interaction = next(i for i in our_own() if not i.stream and i.status == 200)
    real = side_by_side.outcome

    def other(interaction: Interaction, transport: Transport, way: str) -> Any:
        found = real(interaction, transport, way)
        return found if transport is side_by_side._http else "another"

    monkeypatch.setattr(side_by_side, "outcome", other)
    assert set(side_by_side.differences(interaction)) == set(WAYS)


def test_every_recorded_exchange_is_equal_or_refused_by_name() -> None:
    recordings.require()
    report = native_parity.run(native_parity.interactions())
    assert report.differing == []
    exchanges = sum(c.exchanges for c in report.table.values())
    refused = sum(c.refused for c in report.table.values())
    assert exchanges > 140
    assert exchanges - refused > 50
    assert report.table["ollama", "ollama_chat"].refused == 0, "Ollama's raw request takes it all"
    # A refusal names the field, or is the codec's own.
    assert [w for w in report.refusals if " knows no " not in w] == [
        "contents[0].role is 'invalid_role', not user or model"
    ]
