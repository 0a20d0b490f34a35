"""The SDK transports beside ``http``: the same recorded answers, the same results."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import recordings, sdk_parity
from tests.recordings import Interaction
from tests.sdk_parity import Outcome, Pair
from tests.sdk_subjects import SUBJECTS, Subject

pytestmark = pytest.mark.conformance

CASSETTES = Path(__file__).resolve().parents[2] / "cassettes"
FOLDERS = (
    "openai_chat",
    "openai_responses",
    "anthropic_messages",
    "gemini_generate",
    "emulated/gemini_generate",
    "emulated/ollama_chat",
)


@pytest.fixture(
    params=[
        pytest.param(
            subject,
            id=f"{subject.sdk} SDK",
            marks=[] if subject.installed else [pytest.mark.skip(f"needs {subject.install}")],
        )
        for subject in SUBJECTS
    ]
)
def subject(request: pytest.FixtureRequest) -> Subject:
    return request.param


def our_own(subject: Subject) -> Iterator[Pair]:
    """The exchanges of this project's own cassettes in the dialects of the SDK."""
    for folder in FOLDERS:
        for file in sorted((CASSETTES / folder).glob("*.yaml")):
            for interaction in recordings.read_session(CASSETTES, f"{folder}/{file.name}"):
                if interaction.endpoint in subject.codecs:
                    yield subject, interaction


def test_our_own_cassettes_are_equal_every_way(subject: Subject) -> None:
    report = sdk_parity.run(our_own(subject))
    assert report.differing == []
    assert sum(c.equal for c in report.table.values()) > 1
    told = report.refusals.get(subject.sdk, {})
    assert all(" knows no " in words or " cannot hold " in words for words in told)


def test_a_difference_is_seen(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = next(p for p in our_own(subject) if not p[1].stream and p[1].status == 200)
    with sdk_parity.parity() as side_by_side:
        real = side_by_side.outcome

        def other(subject: Subject, interaction: Interaction, way: str) -> Outcome:
            found = real(subject, interaction, way)
            return found if way == "http" else dataclasses.replace(found, result="another")

        monkeypatch.setattr(side_by_side, "outcome", other)
        assert set(side_by_side.differences(*pair)) == set(subject.ways)


def test_a_sample_of_every_provider_is_equal(subject: Subject) -> None:
    """The first whole answer, stream and error of each provider and dialect."""
    recordings.require()
    sample: dict[tuple[str, str, bool, bool], Pair] = {}
    for pair in sdk_parity.interactions(subject.sdk):
        _, interaction = pair
        kind = (interaction.provider, interaction.endpoint, interaction.stream)
        sample.setdefault((*kind, interaction.status >= 300), pair)
    report = sdk_parity.run(sample.values())
    assert report.table
    assert report.differing == []


@pytest.mark.slow
def test_every_recorded_exchange_is_equal_or_refused_by_name(
    subject: Subject, capsys: pytest.CaptureFixture[str]
) -> None:
    recordings.require()
    assert sdk_parity.main(["--sdk", subject.sdk, "--json"]) == 0, capsys.readouterr().out
    told = json.loads(capsys.readouterr().out)
    rows = told["table"]
    assert sum(row["exchanges"] for row in rows) == sum(
        row["equal"] + row["refused"] + row["known"] for row in rows
    )
    recorded = {interaction.name for _, interaction in sdk_parity.interactions(subject.sdk)}
    needed = len(recorded & set(subject.known))
    assert sum(row["known"] for row in rows) == needed, "a reason nobody needs"
    if subject.compared == Subject.compared:
        assert told["refusals"] == {}, "a raw verb takes it all"


def test_a_parity_that_examines_nothing_fails() -> None:
    assert sdk_parity.main(["--provider", "nobody"]) == 1
