"""Fixtures over the real model: its file, a transport that keeps it in memory, a provider."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crux_providers.local.client import LocalProvider
from crux_providers.transports.llamacpp import LlamaCppTransport
from tests.transports.conformance import AsyncDriver, SyncDriver
from tests.weights_for_tests import model_file


@pytest.fixture(scope="session")
def gguf(request: pytest.FixtureRequest) -> Path:
    """The model file."""
    return model_file(Path(request.config.cache.mkdir("crux-models")))


@pytest.fixture(scope="module")
def model(gguf: Path) -> Iterator[LlamaCppTransport]:
    """A transport that keeps the model loaded for a module's tests."""
    made = LlamaCppTransport(lambda name: gguf)
    yield made
    made.close()


@pytest.fixture
def provider(model: LlamaCppTransport) -> LocalProvider:
    """The provider over it."""
    return LocalProvider(transport=model)


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
