"""What every test stands on: an environment of its own, and the way to the provider recordings."""

from __future__ import annotations

import gc
import itertools
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# `make test` has two minutes; `HYPOTHESIS_PROFILE=thorough` looks further.
settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

ROOT = Path(__file__).resolve().parent.parent

_FOREIGN_SUFFIXES = ("_API_KEY", "_BASE_URL", "_PROXY")
_FOREIGN_PREFIXES = ("CRUX_", "PROVIDERS_", "LANGCHAIN_", "LANGSMITH_", "OTEL_", "XDG_")
_FOREIGN_NAMES = ("OLLAMA_HOST", "DOTENV_FILE")
_KEPT = ("CRUX_RECORDINGS", "CRUX_TEST_GGUF")

_homes = itertools.count()


def _is_foreign(name: str) -> bool:
    """Whether this variable of the developer's own could change what a test sees."""
    if name in _KEPT:
        return False
    return (
        name in _FOREIGN_NAMES
        or name.upper().endswith(_FOREIGN_SUFFIXES)
        or name.startswith(_FOREIGN_PREFIXES)
    )


@pytest.fixture(scope="session")
def _homes_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(autouse=True)
def isolated_environment(_homes_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty HOME, no key, base URL or proxy, and no database: the directory that is HOME.

    `CRUX_DB` is `off`; a test that wants a database asks for `crux_db`.
    """
    # A counter, not tmp_path: that scans its parent for the next number, for every test.
    home = _homes_dir / str(next(_homes))
    home.mkdir()
    for name in filter(_is_foreign, list(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("CRUX_DB", "off")
    # What the process keeps in memory instead: nothing that another test observed counts here.
    if (store := sys.modules.get("crux_providers.persistence.store")) is not None:
        store._in_force = None
        store._stores.clear()
    return home


@pytest.fixture
def crux_db(isolated_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of this test's own database, which `CRUX_DB` names and nothing has made yet."""
    path = isolated_environment / "crux.db"
    monkeypatch.setenv("CRUX_DB", str(path))
    return path


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of recorded provider sessions; the test skips where it is not there.

    `CRUX_RECORDINGS` names it; without that it is `../shared/recordings` beside the checkout.
    """
    path = Path(os.environ.get("CRUX_RECORDINGS") or ROOT.parent / "shared" / "recordings")
    if not path.is_dir():
        pytest.skip(f"no provider recordings at {path}; CRUX_RECORDINGS names another folder")
    return path


def pytest_collection_finish() -> None:
    """Set what the imports left aside: tests that count objects would walk it all each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tell each test which rows of the contract it shows, before `-m` chooses."""
    from tests.contract_report import mark

    mark(items)
