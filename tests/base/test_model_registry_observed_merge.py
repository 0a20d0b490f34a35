"""The registry: stored listings with observations over them, and refreshes that say what failed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from crux_providers.base.capabilities import record_observation
from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.get_models_base import (
    load_cached_models,
    load_snapshot,
    run_fetcher,
    save_provider_models,
)
from crux_providers.base.repositories.model_registry.repository import (
    ENTRY_POINTS,
    ModelRegistryRepository,
)

Fetcher = Callable[..., ModuleType]


@pytest.fixture
def registry(crux_db: object) -> ModelRegistryRepository:
    return ModelRegistryRepository()


@pytest.fixture
def fetcher(monkeypatch: pytest.MonkeyPatch) -> Fetcher:
    """Puts a fetcher for the provider ``fake`` in place, under any entry point's name."""

    def install(entry: Callable[[], Any] | None, name: str = "run") -> ModuleType:
        module = ModuleType("crux_providers.fake.get_fake_models")
        if entry is not None:
            setattr(module, name, entry)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return module

    return install


def test_an_empty_database_gives_an_empty_snapshot(registry: ModelRegistryRepository) -> None:
    snapshot = registry.list_models("openai")
    assert (snapshot.provider, snapshot.models, snapshot.fetched_via) == ("openai", [], None)


def test_observations_stand_over_the_listing_in_both_directions(
    registry: ModelRegistryRepository,
) -> None:
    listed = {"tools": True, "vision": False, "pdf": True}
    save_provider_models("p", [{"id": "m", "capabilities": listed}, {"id": "other"}])
    record_observation("p", "m", "tools", False, reason="refused")
    record_observation("p", "m", "vision", True)
    record_observation("p", "m", "streaming", True, mode="stream")
    record_observation("p", "not-listed", "tools", True)
    record_observation("q", "m", "pdf", False)
    first, second = registry.list_models("p").models
    assert first.capabilities == {"tools": False, "vision": True, "pdf": True, "streaming": True}
    assert first.capability_sources == {
        "tools": "observed", "vision": "observed", "streaming": "observed", "pdf": "api",
    }  # fmt: skip
    assert (second.id, second.capabilities) == ("other", {})
    # The stored snapshot is as it was: the overlay is made when it is read.
    assert load_snapshot("p").models[0].capabilities == listed


def test_no_observation_leaves_the_listing_as_it_is(registry: ModelRegistryRepository) -> None:
    saved = save_provider_models("p", [{"id": "m", "capabilities": {"tools": True}}])
    assert registry.list_models("p") == saved


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_a_refresh_runs_the_fetcher_and_reads_the_database(
    name: str, registry: ModelRegistryRepository, fetcher: Fetcher
) -> None:
    fetcher(lambda: run_fetcher("fake", lambda: (["new"], "api")), name)
    assert registry.list_models("fake").models == []
    assert [m.id for m in registry.list_models("fake", refresh=True).models] == ["new"]
    assert [m.id for m in registry.list_models("fake").models] == ["new"]


def test_a_failed_refresh_is_reported_and_keeps_the_listing(
    registry: ModelRegistryRepository, fetcher: Fetcher
) -> None:
    save_provider_models("fake", ["old"])
    before = load_snapshot("fake")

    def no_key() -> Any:
        raise ProviderError(ErrorCode.AUTH, "no API key for fake: set FAKE_API_KEY")

    fetcher(lambda: run_fetcher("fake", no_key))
    with pytest.raises(ProviderError, match="FAKE_API_KEY") as caught:
        registry.list_models("fake", refresh=True)
    assert (caught.value.code, caught.value.provider) == (ErrorCode.AUTH, "fake")
    assert registry.list_models("fake") == before


@pytest.mark.parametrize(
    "entry",
    [
        lambda: load_cached_models("fake"),
        lambda: run_fetcher("fake", lambda: ([], "api")),
        list,
        lambda: None,
    ],
)
def test_a_refresh_that_brings_nothing_is_a_failure(
    entry: Callable[[], Any], registry: ModelRegistryRepository, fetcher: Fetcher
) -> None:
    save_provider_models("fake", ["old"])
    fetcher(entry)
    with pytest.raises(ProviderError, match="brought no models"):
        registry.list_models("fake", refresh=True)
    assert [m.id for m in registry.list_models("fake").models] == ["old"]


@pytest.mark.contract(51, 123, 125)
@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_what_a_fetcher_only_returns_is_stored(
    name: str, registry: ModelRegistryRepository, fetcher: Fetcher
) -> None:
    save_provider_models("fake", ["old"])
    fetcher(lambda: [{"id": "new", "context_window": 4096}], name)
    models = registry.list_models("fake", refresh=True).models
    assert [(m.id, m.context_length) for m in models] == [("new", 4096)]
    assert registry.list_models("fake").metadata["source"] == "fetcher"


def test_a_fetcher_may_raise_anything(registry: ModelRegistryRepository, fetcher: Fetcher) -> None:
    fetcher(lambda: {}["missing"])
    with pytest.raises(ProviderError, match="KeyError") as caught:
        registry.list_models("fake", refresh=True)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("provider", ["nobody", "../etc", "os.path", ""])
def test_an_unknown_provider_has_no_fetcher(
    provider: str, registry: ModelRegistryRepository
) -> None:
    with pytest.raises(ProviderError, match="no model fetcher") as caught:
        registry.list_models(provider, refresh=True)
    assert caught.value.code is ErrorCode.NOT_FOUND
    assert registry.list_models(provider).models == []


def test_a_fetcher_without_an_entry_point_says_so(
    registry: ModelRegistryRepository, fetcher: Fetcher
) -> None:
    fetcher(None)
    with pytest.raises(ProviderError, match="has none of run, get_models"):
        registry.list_models("fake", refresh=True)
