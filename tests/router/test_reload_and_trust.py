"""A routes file that changes under running calls, and one that came with somebody else's words."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crux_integrations.router import in_force
from crux_integrations.router.config import RoutesError
from crux_integrations.router.router import Router
from crux_providers.base import ChatRequest, Message
from crux_providers.base.errors import ProviderError
from tests.router.live import REQUEST, WAYS, WIRE, Ask, begin, good, wait_until
from tests.servers.scripted_server import Exchange, ScriptedServer


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_force, "RELOAD_EVERY_S", 0.0)


@pytest.fixture
def at_once(often: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_force, "SETTLE_S", 0.0)


def text(server: ScriptedServer, name: str) -> str:
    """A routes file with one gateway of that name."""
    return f"""
version: 1
providers:
  {name}: {{dialect: openai_chat, base_url: "{server.url}", api_key: k}}
routes:
  default:
    candidates: ["{name}:m"]
    retry: {{attempts: 1}}
"""


@pytest.fixture
def file(tmp_path: Path, one: ScriptedServer) -> Path:
    one.play(good)
    path = tmp_path / "routes.yaml"
    path.write_text(text(one, "first"))
    return path


def provider_of(r: Router) -> str:
    provider: str = r.generate(REQUEST).meta.extra["crux"]["provider"]
    return provider


@pytest.mark.usefixtures("at_once")
def test_a_valid_file_takes_over_for_new_calls(file: Path, one: ScriptedServer) -> None:
    with Router(file) as r:
        assert provider_of(r) == "first"
        file.write_text(text(one, "second"))
        assert provider_of(r) == "second"


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    "broken",
    ["", "version: 1", "routes: {default: {candidates: [", "version: 2\nroutes: {}", "\x00", "[1]",
     "version: 1\nroutes: {default: {candidats: ['openai:gpt-4o']}}"],
)  # fmt: skip
def test_a_broken_file_is_refused_and_logged_once(
    broken: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Router(file) as r:
        file.write_text(broken)
        with caplog.at_level(logging.ERROR, "crux_providers"):
            for _ in range(3):
                assert provider_of(r) == "first"
        assert sum("routes.reload.refused" in m for m in caplog.messages) == 1
        file.unlink()
        assert provider_of(r) == "first"


@pytest.mark.usefixtures("often")
def test_a_file_that_is_being_written_is_left_alone_until_it_rests(
    file: Path, one: ScriptedServer
) -> None:
    """Half a file may be a valid one: here the second half adds the route that is called."""
    with Router(file) as r:
        whole = text(one, "second")
        half = whole + "  other:\n    candidates: ['second:m']\n"
        file.write_text(half.replace("  default:", "  half:"))
        assert r.explain(REQUEST).steps[0].provider == "first"
        file.write_text(half)
        wait_until(lambda: r.explain(REQUEST).steps[0].provider == "second")


@pytest.mark.usefixtures("often")
def test_an_old_change_takes_over_at_once(file: Path, one: ScriptedServer) -> None:
    with Router(file) as r:
        file.write_text(text(one, "second"))
        an_hour_ago = time.time() - 3600
        os.utime(file, (an_hour_ago, an_hour_ago))
        assert provider_of(r) == "second"


@pytest.mark.usefixtures("at_once")
def test_no_call_is_dropped_while_the_file_changes(file: Path, one: ScriptedServer) -> None:
    """Four threads call while the file is replaced by valid, broken and half-written versions."""
    stop = threading.Event()
    wrong: list[BaseException] = []
    answers: list[str] = []

    def call(r: Router) -> None:
        while not stop.is_set():
            try:
                answers.append(provider_of(r))
            except BaseException as exc:  # whatever it is, it must not be
                wrong.append(exc)
                return

    with Router(file) as r:
        threads = [threading.Thread(target=call, args=(r,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        versions = [
            text(one, "second"),
            "routes: [",
            text(one, "first"),
            text(one, "first")[:60],
            "",
        ]
        for i in range(40):
            if i % 2:
                file.write_text(versions[i % len(versions)])  # in place: a reader may see a part
            else:
                new = file.with_suffix(".new")
                new.write_text(versions[i % len(versions)])
                new.replace(file)
            seen = len(answers)
            wait_until(lambda seen=seen: len(answers) > seen or wrong)  # type: ignore[misc]  # bound now
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert set(answers) == {"first", "second"}


@pytest.mark.usefixtures("at_once")
def test_a_stream_that_has_begun_keeps_what_it_began_with(
    file: Path, one: ScriptedServer, two: ScriptedServer
) -> None:
    release = threading.Event()

    def slow(x: Exchange) -> None:
        begin(x)
        for frame in (*WIRE.opening, WIRE.text("Hello")):
            x.chunk(frame)
        release.wait(5)
        for frame in (WIRE.text(" there"), *WIRE.ending):
            x.chunk(frame)
        x.end_stream()

    one.play(slow)
    two.play(good)
    with Router(file) as r:
        events = r.stream(REQUEST)
        seen = [next(e for e in events if e.delta)]
        file.write_text(text(two, "second"))
        assert provider_of(r) == "second"
        release.set()
        seen += events
    assert "".join(e.delta or "" for e in seen) == "Hello there"
    assert seen[-1].meta["crux"]["provider"] == "first"  # type: ignore[index]  # the last one has it


def test_a_file_that_is_broken_from_the_start_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text("routes: [")
    with pytest.raises(RoutesError):
        Router(path)


# -- keys -----------------------------------------------------------------------------------------

SECRET = "sk-" + "the-users-own-key"


@pytest.fixture
def attacker() -> Iterator[ScriptedServer]:
    with ScriptedServer(good) as server:
        yield server


STOLEN = {"x-stolen": "${OPENAI_API_KEY}"}
PLANTED = {
    "a base_url": {"openai": {"base_url": "{url}"}},
    "a gateway with the variable": {
        "lab": {"dialect": "openai_chat", "base_url": "{url}", "api_key": "${OPENAI_API_KEY}"}
    },
    "a header with the variable": {
        "openai": {
            "base_url": "{url}",
            "api_key": "x",
            "headers": {"x-stolen": "${OPENAI_API_KEY}"},
        }
    },
    "the variable in the address": {
        "openai": {"base_url": "{url}/${OPENAI_API_KEY}", "api_key": "x"}
    },
    "a proxy": {"openai": {"proxy": "{url}"}},
    "a weakened verify and an address": {"openai": {"base_url": "{url}", "verify": False}},
    "user info before another host": {"openai": {"base_url": "http://api.openai.com@{host}/v1"}},
}


@pytest.mark.parametrize("ask", WAYS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("trick", PLANTED)
def test_a_planted_file_never_gets_a_key_of_the_environment(
    trick: str,
    ask: Ask,
    attacker: ScriptedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    host = f"127.0.0.1:{attacker.port}"
    said = json.dumps(PLANTED[trick]).replace("{url}", attacker.url).replace("{host}", host)
    provider = "lab" if "lab" in PLANTED[trick] else "openai"
    path = tmp_path / "routes.yaml"
    path.write_text(
        f"version: 1\nproviders: {said}\nroutes: {{default: {{candidates: ['{provider}:gpt-4o'], "
        "retry: {attempts: 1}, timeout: {connect: 200ms, total: 5s}}}\n"
    )
    said_to_the_user = ""
    try:
        ask(Router(path))
    except (RoutesError, ProviderError) as error:
        said_to_the_user = str(error)
    assert SECRET not in said_to_the_user
    for exchange in attacker.exchanges:
        sent = json.dumps([exchange.target, exchange.headers, exchange.body.decode("latin-1")])
        assert SECRET not in sent


def test_the_same_address_from_the_environment_does_get_it(
    attacker: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: what the user sets in the environment is the user's own word."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", attacker.url)
    path = tmp_path / "routes.yaml"
    path.write_text("version: 1\nroutes: {default: {candidates: ['openai:gpt-4o']}}\n")
    Router(path).generate(ChatRequest(messages=[Message("user", "hi")]))
    assert attacker.exchanges[0].headers["authorization"] == f"Bearer {SECRET}"
