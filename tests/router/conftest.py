"""Servers for the router's own tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.scripted_server import ScriptedServer


@pytest.fixture
def one() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def two() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server
