"""A test sees none of the developer's own keys, addresses, proxies, home or database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

FOREIGN = {
    "OPENAI_API_KEY": "a key",
    "LAB_BASE_URL": "http://127.0.0.1:1",
    "OLLAMA_HOST": "127.0.0.1:1",
    "https_proxy": "http://127.0.0.1:1",
    "CRUX_ROUTES": "elsewhere.yaml",
    "CRUX_DB": "elsewhere.db",
    "PROVIDERS_DB_PATH": "elsewhere.db",
    "XDG_DATA_HOME": "elsewhere",
    "LANGSMITH_TRACING": "true",
}


@pytest.fixture(scope="module", autouse=True)
def developers_environment() -> Iterator[None]:
    """Set before each test's own environment is made, as a developer's shell would have it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in FOREIGN.items():
            patch.setenv(name, value)
        yield


def test_nothing_of_the_developers_is_seen() -> None:
    assert {name: os.environ[name] for name in FOREIGN if name in os.environ} == {"CRUX_DB": "off"}


def test_home_is_empty_and_this_tests_own(isolated_environment: Path) -> None:
    assert Path.home() == isolated_environment
    assert list(isolated_environment.iterdir()) == []
    (isolated_environment / "left behind").touch()


def test_home_is_not_shared_with_the_test_before(isolated_environment: Path) -> None:
    assert list(isolated_environment.iterdir()) == []


def test_a_database_is_named_only_where_it_is_asked_for(crux_db: Path) -> None:
    assert os.environ["CRUX_DB"] == str(crux_db)
    assert not crux_db.exists()
