"""The scenarios and the cassettes belong together, and the recorder does what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crux_integrations.testing import ReplayServer
from crux_integrations.testing.cassette_file import read_cassette
from tests import record_cassettes
from tests.cassette_scenarios import Scenario, openai_chat
from tests.record_cassettes import ANSWERED_BY, SCENARIOS, main, record
from tests.testing.conftest import CASSETTES

SEPARATELY_RECORDED = ("langchain",)
"""Folders that tests record through ChatCrux with --crux-record."""


def test_every_scenario_has_its_cassette_and_every_cassette_its_scenario() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    files = {
        str(path.relative_to(CASSETTES).with_suffix(""))
        for path in CASSETTES.rglob("*.yaml")
        if not set(path.relative_to(CASSETTES).parts) & set(SEPARATELY_RECORDED)
    }
    assert len(names) == len(set(names)) > 50
    assert files == set(names)


def test_every_cassette_says_it_was_the_scenarios_server() -> None:
    for scenario in SCENARIOS:
        who = read_cassette(CASSETTES / f"{scenario.name}.yaml").answered_by
        assert who["name"] == ANSWERED_BY[scenario.server]["name"], scenario.name
        assert who["version"] == ANSWERED_BY[scenario.server]["version"], scenario.name


def test_what_an_emulator_said_is_kept_apart() -> None:
    emulators = {name for name, who in ANSWERED_BY.items() if who["kind"] == "emulator"}
    assert emulators == {"aimock"}
    for scenario in SCENARIOS:
        if scenario.server in emulators:
            assert scenario.name.startswith(("emulated/", "demo/")), scenario.name


def test_a_scenario_is_recorded_again(tmp_path: Path) -> None:
    """From a server that replays what it once answered."""
    scenario = Scenario("openai_chat/tools_stream", "llamacpp_tools", openai_chat.tools_stream)
    with ReplayServer(CASSETTES / f"{scenario.name}.yaml") as server:
        path = record(scenario, server.url, "a-key-of-some-length", tmp_path)
    again, before = (
        read_cassette(p).interactions for p in (path, CASSETTES / f"{scenario.name}.yaml")
    )
    assert [i.body for i in again] == [i.body for i in before]
    assert [i.key.body for i in again] == [i.key.body for i in before]
    assert "a-key-of-some-length" not in path.read_text()
    assert len(json.loads(again[1].request_body or b"")["messages"]) == 3


def test_an_answer_that_should_be_none_stops_the_recording(tmp_path: Path) -> None:
    scenario = Scenario("openai_chat/text", "llamacpp", openai_chat.text)
    words = "openai_chat/text: 500"
    with ReplayServer({"": "status:500"}) as server, pytest.raises(SystemExit, match=words):
        record(scenario, server.url, "a-key-of-some-length", tmp_path)
    assert list(tmp_path.rglob("*.yaml")) == []


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["--list", "--only", "demo/*"]) == 0
    assert capsys.readouterr().out.split() == [
        "demo/openai",
        "aimock",
        "demo/anthropic",
        "llamacpp_tools",
    ]
    assert main([]) == 2
    recorded: list[str] = []

    def fake(scenario: Scenario, server: str, key: str) -> Path:
        recorded.append(scenario.name)
        return CASSETTES / f"{scenario.name}.yaml"

    monkeypatch.setattr(record_cassettes, "record", fake)
    assert main(["--aimock", "http://127.0.0.1:1", "--only", "demo/*"]) == 0
    assert recorded == ["demo/openai"]
