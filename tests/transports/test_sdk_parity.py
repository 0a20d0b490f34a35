"""The SDK transports beside ``http``: the same recorded answers, the same results."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import recordings, sdk_parity
from tests.recordings import Interaction
from tests.sdk_parity import WAYS, Parity

pytestmark = pytest.mark.conformance

CASSETTES = Path(__file__).resolve().parents[2] / "cassettes"


@pytest.fixture(scope="module")
def side_by_side() -> Iterator[Parity]:
    with sdk_parity.parity() as made:
        yield made


def our_own() -> list[Interaction]:
    """The exchanges of this project's own cassettes whose SDK is installed."""
    found = []
    for dialect in ("openai_chat", "openai_responses", "anthropic_messages"):
        for file in sorted((CASSETTES / dialect).glob("*.yaml")):
            for interaction in recordings.read_session(CASSETTES, f"{dialect}/{file.name}"):
                known = sdk_parity.DIALECTS.get(interaction.endpoint)
                if known is not None and sdk_parity.installed(known):
                    found.append(interaction)
    return found


def test_our_own_cassettes_are_equal_every_way(side_by_side: Parity) -> None:
    examined = our_own()
    assert len(examined) > 10
    assert {i.name: d for i in examined if (d := side_by_side.differences(i))} == {}


def test_a_difference_is_seen(side_by_side: Parity, monkeypatch: pytest.MonkeyPatch) -> None:
    interaction = next(i for i in our_own() if not i.stream and i.status == 200)
    real = side_by_side.outcome

    def other(interaction: Interaction, way: str) -> sdk_parity.Outcome:
        found = real(interaction, way)
        return found if way == "http" else dataclasses.replace(found, result="another")

    monkeypatch.setattr(side_by_side, "outcome", other)
    assert set(side_by_side.differences(interaction)) == set(WAYS)


def test_a_sample_of_every_provider_is_equal(side_by_side: Parity) -> None:
    """The first whole answer, stream and error of each provider and dialect."""
    recordings.require()
    sample: dict[tuple[str, str, bool, bool], Interaction] = {}
    for interaction in sdk_parity.interactions():
        kind = (interaction.provider, interaction.endpoint, interaction.stream)
        sample.setdefault((*kind, interaction.status >= 300), interaction)
    assert sample
    assert {i.name: d for i in sample.values() if (d := side_by_side.differences(i))} == {}


@pytest.mark.slow
def test_every_recorded_exchange_is_equal(capsys: pytest.CaptureFixture[str]) -> None:
    recordings.require()
    assert sdk_parity.main([]) == 0, capsys.readouterr().out
