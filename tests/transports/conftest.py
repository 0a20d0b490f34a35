"""Fixtures of the conformance suite: the server, the transport under test, and how to drive it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crux_providers.base.interfaces import Transport
from tests.servers.scripted_server import ScriptedServer
from tests.transports.conformance import HARNESSES, AsyncDriver, Harness, SyncDriver, warm


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server of this test's own."""
    with ScriptedServer() as running:
        yield running


@pytest.fixture(
    params=[
        pytest.param(harness, id=harness.name, marks=[pytest.mark.slow] if harness.slow else [])
        for harness in HARNESSES
    ]
)
def harness(request: pytest.FixtureRequest) -> Harness:
    """Each transport in turn."""
    if request.param.slow:
        warm(request.param.name)
    return request.param


@pytest.fixture(params=[SyncDriver, AsyncDriver], ids=lambda kind: kind.name)
def driver(request: pytest.FixtureRequest) -> Iterator[SyncDriver]:
    """Sync and async in turn."""
    made = request.param()
    yield made
    made.finish()


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def streamed(request: pytest.FixtureRequest) -> bool:
    """Whole and streamed in turn."""
    return request.param


@pytest.fixture
def transport(harness: Harness, server: ScriptedServer, driver: SyncDriver) -> Iterator[Transport]:
    """The transport under test, which calls the server."""
    made = harness.make(server.url)
    server.play(harness.answer_well)
    yield made
    driver.close(made)
