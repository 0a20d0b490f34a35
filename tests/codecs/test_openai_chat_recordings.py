"""Every recorded exchange of the OpenAI chat dialect beside the SDK, and the report of it."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pytest

from tests import recordings, recordings_report
from tests.comparers import openai_chat as comparer
from tests.recordings import Interaction

PROVIDERS = {
    "alibaba", "azure_openai", "cerebras", "deepseek", "gemini", "groq", "huggingface", "mistral",
    "moonshot", "ollama", "openai", "openrouter", "perplexity", "xai", "zai",
}  # fmt: skip


def test_the_report_finds_no_difference_without_a_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recordings.require()
    assert recordings_report.main(["--endpoint", "chat"]) == 0
    printed = capsys.readouterr().out
    head, *rows = (line.split() for line in printed.split("\n\n")[0].splitlines())
    assert head == list(recordings_report.HEAD)
    counts = {row[0]: [int(n) for n in row[2:]] for row in rows if row[0] != "all"}
    assert counts.keys() >= PROVIDERS
    for provider in PROVIDERS:
        files, interactions, decoded, compared, differing = counts[provider]
        listed = sum(key.startswith(f"_bodies/{provider}") for key in comparer.REASONS)
        assert files > 0
        assert decoded == compared == interactions - listed
        assert differing == listed


@pytest.fixture
def interaction() -> Interaction:
    recordings.require()
    return next(i for i in recordings.interactions("openai", "chat") if b'"content":' in i.body)


def test_the_comparer_sees_a_difference(
    interaction: Interaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert comparer.compare(interaction) == []
    real = comparer.codec.decode

    def wrong(payload: Any) -> Any:
        return dataclasses.replace(real(payload), text="another")

    monkeypatch.setattr(comparer.codec, "decode", wrong)
    assert any(line.startswith("text: 'another' != SDK") for line in comparer.compare(interaction))


def test_the_comparer_sees_a_lost_field(interaction: Interaction) -> None:
    body = json.loads(interaction.body)
    rendered = comparer.codec.render_response(comparer.codec.decode(body))
    assert comparer._lost(body, rendered) == []
    body["choices"][0]["novelty"] = 1
    assert comparer._lost(body, rendered) == ["lost: choices[0].novelty 1 is rendered None"]


def test_the_report_fails_without_a_reason_and_with_a_stale_one(
    interaction: Interaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(interaction, file="other.yaml")

    def report(differences: list[str], reasons: dict[str, str]) -> recordings_report.Report:
        module = SimpleNamespace(
            __name__="fake",
            compare=lambda i: differences if i is interaction else [],
            REASONS=reasons,
        )
        monkeypatch.setattr(recordings_report, "comparer", lambda endpoint: module)
        return recordings_report.run([interaction, other])

    assert report([], {}).ok
    assert not report(["text: a != b"], {}).ok
    assert report(["text: a != b"], {interaction.file: "known"}).ok
    assert report(["text: a != b"], {interaction.name: "known"}).ok
    assert not report([], {interaction.file: "known"}).ok  # it explains nothing any more
    lost = report(["decode: malformed"], {interaction.file: "known"})
    row = lost.rows["openai", "chat"]
    assert (row.interactions, row.decoded, row.compared, row.differing) == (2, 1, 1, 1)
    assert not recordings_report.run([]).ok  # nothing examined is no success


def test_an_absent_comparer_is_skipped_with_a_line(
    interaction: Interaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(recordings_report.COMPARERS, "chat", "tests.comparers.no_such_dialect")
    report = recordings_report.run([interaction])
    printed = list(recordings_report.lines(report))
    assert "\nskipped chat: tests.comparers.no_such_dialect is not there" in printed
