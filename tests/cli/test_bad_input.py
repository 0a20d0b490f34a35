"""Bad input ends in one line that says what to do, loses nothing, and stops no call it need not."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crux_providers.base import ChatRequest, Message, ProviderFactory
from crux_providers.service.db import init_db
from tests.cli.conftest import Ran
from tests.servers.scripted_server import ScriptedServer

Crux = Callable[..., Ran]
CHAT = ("chat", "hi", "--model", "openai:gpt-4o")

pytestmark = pytest.mark.contract(187)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- configuration --------------------------------------------------------------------------------


@pytest.mark.contract(22, 89, "S9")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"api: {openai: [", ":1: "),
        (b"- a list", ":1: expected a mapping"),
        (b"api: \xff\xfe", "not UTF-8"),
    ],
)
def test_a_config_that_cannot_be_read(
    text: bytes, says: str, crux: Crux, openai: ScriptedServer, project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (project / "config.yaml").write_bytes(text)
    assert crux(*CHAT).out == "Hello there\n"  # a key in the environment asks no file
    monkeypatch.delenv("OPENAI_API_KEY")
    done = crux(*CHAT)
    assert (done.code, done.out) == (1, "")
    (line,) = [line for line in done.lines if "config.yaml" in line]
    assert says in line
    assert "OPENAI_API_KEY is not set" in line
    assert openai.requests == 1


@pytest.mark.contract(24)
def test_a_broken_config_costs_the_providers_that_need_it_and_no_others(
    crux: Crux, openai: ScriptedServer, project: Path
) -> None:
    (project / "config.yaml").write_text("api: {anthropic: [")
    (project / "routes.yaml").write_text(
        "version: 1\n"
        "routes: {default: {candidates: ['anthropic:claude-haiku-4-5', 'openai:gpt-4o']}}\n"
    )
    assert crux("chat", "hi").out == "Hello there\n"


@pytest.mark.contract(69)
def test_a_default_model_that_cannot_be_looked_up_is_the_providers_error(project: Path) -> None:
    (project / "config.yaml").write_text("api: {openai: [")
    provider = ProviderFactory.create("openai", api_key="k")
    (event,) = provider.stream_chat(ChatRequest(messages=[Message("user", "hi")]))
    assert (event.error or "").startswith("bad_request:")
    assert "config.yaml" in (event.error or "")


@pytest.mark.contract(16, "S12", "S20")
@pytest.mark.parametrize("key", ["", "changeme", "your-api-key-here", "<key>", "sk-xxxx"])
def test_a_placeholder_is_no_key(
    key: str, crux: Crux, openai: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    done = crux(*CHAT)
    assert (done.code, done.out, openai.requests) == (1, "", 0)
    assert "OPENAI_API_KEY" in done.err


@pytest.mark.contract(40)
@pytest.mark.parametrize(
    "words",
    [
        ("chat", "hi", "--provider", "opnai"),
        ("chat", "hi", "--provider", "opnai", "--model", "gpt-4o"),
        ("chat", "hi", "--model", "opnai:gpt-4o"),
        ("benchmark", "--provider", "opnai", "--model", "m", "--prompt", "x"),
    ],
)
def test_an_unknown_provider(words: tuple[str, ...], crux: Crux) -> None:
    done = crux(*words)
    assert done.code != 0
    assert done.out == ""
    assert "opnai" in done.lines[-1]
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "No such file"), ("x: [", "routes.yaml:"), ("version: 9\n", "routes.yaml:1")],
)
def test_a_routes_file_that_is_none(text: str | None, says: str, crux: Crux, project: Path) -> None:
    if text is not None:
        (project / "routes.yaml").write_text(text)
    for words in (("chat", "hi"), ("routes", "explain"), ("routes", "test")):
        done = crux(*words, "--routes", "routes.yaml")
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("crux: routes.yaml:")
        assert says in done.err
    assert crux("routes", "check", "routes.yaml").code == 1


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("routes", "explain", "nosuch"), 1, "no route 'nosuch'"),
        (("routes", "explain", "--needs", "nosuch"), 2, "unknown capability: nosuch"),
        (("routes", "explain", "--request", "broken.json"), 1, "line 1 column 2"),
        (("replay", "broken.json"), 1, "broken.json"),
        (("chat", "hi", "--route", "nosuch"), 1, "no route 'nosuch'"),
    ],
)
def test_every_command_says_in_words_what_is_wrong(
    words: tuple[str, ...], code: int, says: str, crux: Crux, project: Path
) -> None:
    (project / "broken.json").write_text("{")
    done = crux(*words)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("crux: ")
    assert says in done.err


def test_a_fault_of_our_own_keeps_its_traceback(
    crux: Crux, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **more: object) -> object:
        raise KeyError("ours")

    monkeypatch.setattr(ProviderFactory, "create", fail)
    with pytest.raises(KeyError, match="ours"):
        crux("benchmark", "--provider", "openai", "--model", "m", "--prompt", "x")


# -- the database ---------------------------------------------------------------------------------


def newer(path: Path) -> None:
    init_db(path)
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO schema_version (version) VALUES (999)")
    database.close()


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database at all, whatever its name says\n" * 9)


@pytest.mark.contract(144, 161, "S33")
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (garbage, "is no SQLite database: move it away"),
        (Path.mkdir, "set CRUX_DB to another file"),
        (newer, "made by a newer crux"),
    ],
    ids=["garbage", "folder", "newer"],
)
def test_a_database_that_cannot_be_used_stops_no_chat(
    make: Callable[[Path], None], says: str, crux: Crux, openai: ScriptedServer, project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = project / "the.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    monkeypatch.setenv("CRUX_DB", str(path))
    done = crux(*CHAT)
    assert (done.code, done.out) == (0, "Hello there\n")
    assert {record["level"] for record in done.records} == {"WARNING"}
    assert {says in record["error"] for record in done.records} == {True}
    assert done.lines == []
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert not list(project.glob("the.db-*"))


@pytest.mark.contract(144, "S33")
@pytest.mark.parametrize("place", ["mysql://db", "postgresql://127.0.0.1:9/x", "/dev/null/x.db"])
def test_a_database_that_is_not_there_stops_no_chat(
    place: str, crux: Crux, openai: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRUX_DB", place)
    done = crux(*CHAT)
    assert (done.code, done.out) == (0, "Hello there\n")
    assert done.records
    assert done.lines == []


@pytest.mark.contract(169)
@pytest.mark.parametrize("make", [garbage, newer], ids=["garbage", "newer"])
def test_the_backfill_says_what_and_where(make: Callable[[Path], None], project: Path) -> None:
    from crux_providers.persistence.sqlite.backfill_timestamps import main

    path = project / "the.db"
    make(path)
    before = path.read_bytes()
    code = main(["--db", str(path), "--apply", "--yes"])
    assert code == 1 if make is garbage else code in (0, 1)
    assert make is newer or path.read_bytes() == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here; a limit on files stands for it")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(path: Path) -> None:
    """Write to ``path`` until there is no room."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


def rows(path: Path) -> int:
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    ((count,),) = database.execute("SELECT count(*) FROM attempts").fetchall()
    database.close()
    return int(count)


@pytest.mark.contract(144, 161)
def test_a_full_disk_stops_no_chat(
    small_disk: Path, crux: Crux, openai: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small_disk / "the.db"
    monkeypatch.setenv("CRUX_DB", str(path))
    assert crux(*CHAT).err == ""
    assert rows(path) == 1
    fill(small_disk / "filler")
    done = crux(*CHAT)
    assert (done.code, done.out, done.lines) == (0, "Hello there\n", [])
    os.unlink(small_disk / "filler")
    assert rows(path) >= 1
    assert crux(*CHAT).out == "Hello there\n"
    assert rows(path) >= 2


@pytest.mark.contract(144, 161)
def test_a_limit_on_files_stops_no_chat(openai: ScriptedServer, project: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))

    done = subprocess.run(
        [sys.executable, "-m", "crux_integrations.cli", *CHAT],
        capture_output=True, text=True, timeout=60, check=False, preexec_fn=limit,
        # Under the limit Python itself would leave half a .pyc in the checkout.
        env={**os.environ, "CRUX_DB": str(project / "the.db"), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "Hello there\n")
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert said
    assert all("the.db" in record["error"] for record in said)


@pytest.mark.contract(144, 161)
def test_a_home_that_cannot_be_written_stops_no_chat(
    crux: Crux, openai: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CRUX_DB")
    monkeypatch.setenv("HOME", "/dev/null")  # which not even root can write into
    done = crux(*CHAT)
    assert (done.code, done.out, done.lines) == (0, "Hello there\n", [])
    assert {record["level"] for record in done.records} == {"WARNING"}
