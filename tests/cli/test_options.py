"""Options that every command has, and the two ways to name a routes file."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from crux_integrations.cli import demo
from crux_integrations.cli.commands import cli
from tests.cli.conftest import Ran

Crux = Callable[..., Ran]
ROUTES = "version: 1\nroutes: {default: {candidates: ['openai:gpt-4o']}}\n"


def leaves(command: click.Command, name: str = "crux") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with the words that call it."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    with click.Context(command) as context:
        for word in command.list_commands(context):
            found = command.get_command(context, word)
            assert found is not None
            yield from leaves(found, f"{name} {word}")


def test_every_command_takes_json() -> None:
    commands = dict(leaves(cli))
    assert len(commands) > 12
    without = [
        name
        for name, command in commands.items()
        if not any("--json" in parameter.opts for parameter in command.params)
    ]
    assert without == []


@pytest.mark.parametrize("command", ["check", "test"])
def test_a_routes_file_is_an_argument_or_an_option(
    command: str, crux: Crux, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(ROUTES)
    for words in ((str(file),), ("--routes", str(file)), (str(file), "--routes", str(file))):
        assert crux("routes", command, *words).code == 0
    file.write_text(ROUTES.replace("candidates", "candidate"))
    for words in ((str(file),), ("--routes", str(file))):
        done = crux("routes", command, *words)
        assert done.code == 1
        assert "mine.yaml:2: routes.default.candidate: unknown key" in done.err
    assert crux("routes", command, str(file), "--routes", "other.yaml").code == 2


def test_a_routes_file_that_is_not_there_is_one_line(crux: Crux) -> None:
    done = crux("routes", "check", "nosuch.yaml")
    assert (done.code, done.err) == (1, "nosuch.yaml: No such file or directory\n")
    done = crux("routes", "check", "nosuch.yaml", "--json")
    assert done.json["problems"] == ["nosuch.yaml: No such file or directory"]


def test_the_schema_is_json_either_way(crux: Crux) -> None:
    assert crux("routes", "schema", "--json").json == crux("routes", "schema").json


def test_no_input_is_shorter_than_nothing(crux: Crux) -> None:
    assert crux("routes", "explain", "--input-tokens", "-3").code == 2


def test_the_demo_says_in_json_what_it_showed(
    crux: Crux, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("crux_providers.local.weights.installer", lambda: None)
    done = crux("demo", "--json")
    assert done.code == 0
    assert done.json["ok"] is True
    assert done.json["recorded"]["question"] == demo.QUESTION
    assert "18 degrees" in done.json["recorded"]["answer"]
    codes = [attempt["error_code"] for attempt in done.json["recorded"]["attempts"]]
    assert codes == ["rate_limit", None, None]
    assert done.json["alive"]["question"] == demo.UNRECORDED
    assert done.json["alive"]["answer"] or done.json["alive"]["missing"]


def test_replay_says_in_json_where_it_is() -> None:
    folder = demo.cassette_folder()
    assert folder is not None
    cassette = str(folder / "anthropic.yaml")
    words = [sys.executable, "-m", "crux_integrations.cli", "replay", cassette, "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            line = running.stdout.readline()
            assert line, said
            said += line
        running.send_signal(signal.SIGINT)
        running.wait(timeout=10)
    found = json.loads(said)
    assert found["url"].startswith("http://127.0.0.1:")
    assert found["cassettes"] == [cassette]
