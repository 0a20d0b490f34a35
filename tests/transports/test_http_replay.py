"""The http transport under vcrpy: recording and replaying, sync and async, whole and streamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import vcr
import yaml
from vcr.errors import CannotOverwriteExistingCassetteException

from crux_providers.base.wire import Endpoint
from crux_providers.transports.http import HttpTransport
from tests.servers.scripted_server import Exchange, ScriptedServer
from tests.transports.conformance import HARNESSES, SyncDriver, data_of, json_of, scope

HTTP = HARNESSES[0]


def call(url: str, driver: SyncDriver, streamed: bool) -> Any:
    transport = HttpTransport(Endpoint(url, proxy=""))
    try:
        result = driver.call(transport, HTTP.request(streamed), scope())
        return data_of(result) if streamed else json_of(result)
    finally:
        driver.close(transport)


def test_what_is_recorded_plays_again(
    server: ScriptedServer, driver: SyncDriver, streamed: bool, tmp_path: Path
) -> None:
    server.play(HTTP.answer_well)
    cassette = str(tmp_path / "cassette.yaml")
    with vcr.use_cassette(cassette, record_mode="once"):
        recorded = call(server.url, driver, streamed)
    assert server.requests == 1
    server.close()
    with vcr.use_cassette(cassette, record_mode="none") as tape:
        assert call(server.url, driver, streamed) == recorded
        assert tape.all_played
    (interaction,) = yaml.safe_load(Path(cassette).read_text(encoding="utf-8"))["interactions"]
    assert interaction["request"]["uri"] == f"{server.url}/chat/completions"
    assert interaction["request"]["method"] == "POST"


def test_a_transport_made_and_used_before_the_cassette_plays_too(
    server: ScriptedServer, driver: SyncDriver, streamed: bool, tmp_path: Path
) -> None:
    """The patched method is looked up at each call, and while it is patched the calls take httpx's
    own connections; afterwards the pool is as it was."""
    server.play(HTTP.answer_well)
    transport = HttpTransport(Endpoint(server.url, proxy=""))
    driver.call(transport, HTTP.request(streamed), scope())
    with vcr.use_cassette(str(tmp_path / "cassette.yaml"), record_mode="once"):
        driver.call(transport, HTTP.request(streamed), scope())
    with vcr.use_cassette(str(tmp_path / "cassette.yaml"), record_mode="none"):
        driver.call(transport, HTTP.request(streamed), scope())
    driver.call(transport, HTTP.request(streamed), scope())
    assert (server.requests, len(server.connections)) == (3, 2)
    driver.close(transport)


def test_packed_bodies_and_refusals_play_again(
    server: ScriptedServer, driver: SyncDriver, tmp_path: Path
) -> None:
    import gzip
    import json

    def answer(exchange: Exchange) -> None:
        body = gzip.compress(json.dumps(HTTP.answer).encode())
        exchange.answer(body, headers={"content-encoding": "gzip"})

    server.play(answer)
    cassette = str(tmp_path / "cassette.yaml")
    for mode in ("once", "none"):
        with vcr.use_cassette(cassette, record_mode=mode):
            assert call(server.url, driver, streamed=False) == HTTP.answer
    assert server.requests == 1


def test_a_miss_passes_as_itself(
    server: ScriptedServer, driver: SyncDriver, streamed: bool, tmp_path: Path
) -> None:
    with (
        vcr.use_cassette(str(tmp_path / "empty.yaml"), record_mode="none"),
        pytest.raises(CannotOverwriteExistingCassetteException),
    ):
        call(server.url, driver, streamed)
    assert server.requests == 0
