"""The registry of models: stored snapshots with observed capabilities laid over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from ...capabilities import load_observed, merge_capabilities
from ...errors import ErrorCode, ProviderError, classify_exception
from ...get_models_base import (
    load_cached_models,
    load_snapshot,
    no_fetcher,
    normalize_items,
    refreshing,
    run_fetcher,
    save_provider_models,
)
from ...listing import fetch_listing, lists_plainly
from ...models import ModelInfo, ModelRegistrySnapshot
from ...ports import PORTS, resolve

ENTRY_POINTS = ("run", "get_models", "fetch_models", "update_models", "refresh_models", "main")
"""Names a fetcher's entry point may have, in the order they are looked for."""


class ModelRegistryRepository:
    """Reads listings from the database, and only from there."""

    def list_models(self, provider: str, refresh: bool = False) -> ModelRegistrySnapshot:
        """The provider's snapshot; an empty one where nothing was ever stored.

        What was observed stands over what the listing says, in both directions. ``refresh`` first
        runs the provider's fetcher, stores the models that it returns and did not store itself,
        and raises ProviderError where it fails or has none; the stored snapshot then stays as it
        was.
        """
        if refresh:
            self._refresh(provider)
        snapshot = load_snapshot(provider)
        listed = {model.id: model.capabilities for model in snapshot.models}
        observed = {m: flags for m, flags in load_observed(provider).items() if m in listed}
        if not observed:
            return snapshot
        merged = merge_capabilities(listed, observed)
        models = [
            replace(
                model,
                capabilities=merged[model.id],
                capability_sources=model.capability_sources
                | dict.fromkeys(observed.get(model.id, ()), "observed"),
            )
            for model in snapshot.models
        ]
        return replace(snapshot, models=models)

    def fetch(self, provider: str) -> ModelRegistrySnapshot:
        """The provider's listing as it is now, without observations; nothing is stored.

        Raises ProviderError where it cannot be fetched or has no model.
        """
        items = _run(_entry(provider), provider, store=False)
        models = [ModelInfo(**item) for item in normalize_items(items or (), provider)]
        if not models:
            raise _no_models(provider)
        return ModelRegistrySnapshot(provider, models, "api", datetime.now(UTC).isoformat())

    def _refresh(self, provider: str) -> None:
        entry = _entry(provider)
        before = load_snapshot(provider).fetched_at
        items = _run(entry, provider, store=True)
        after = load_snapshot(provider).fetched_at
        if after is not None and after != before:
            return
        # A fetcher may leave the storing to us; one that gives back what is stored fetched nothing.
        models = normalize_items(items if isinstance(items, list | tuple) else (), provider)
        if not models or models == load_cached_models(provider):
            raise _no_models(provider)
        save_provider_models(provider, models, "fetcher", {"source": "fetcher"})


def _run(entry: Callable[[], Any], provider: str, *, store: bool) -> Any:
    try:
        with refreshing(store=store):
            return entry()
    except Exception as exc:  # whatever a fetcher raises is one failed refresh
        raise classify_exception(exc).locate(provider, None) from exc


def _no_models(provider: str) -> ProviderError:
    return ProviderError(
        ErrorCode.TRANSIENT,
        "the refresh brought no models; the stored listing is as it was",
        provider=provider,
    )


def _entry(provider: str) -> Callable[[], Any]:
    """What refreshes ``provider``: its fetcher, else its endpoint as the dialect reads it."""
    try:
        module = _fetcher(provider)
    except ProviderError as error:
        if error.code is ErrorCode.NOT_FOUND and lists_plainly(provider):
            return lambda: run_fetcher(provider, lambda: fetch_listing(provider))
        raise
    return _entry_point(module, provider)


def _fetcher(provider: str) -> ModuleType:
    if not provider.isidentifier():
        raise no_fetcher(provider)
    name = PORTS["fetcher"].format(provider)
    try:
        module: ModuleType = resolve("fetcher", provider)
    except ModuleNotFoundError as exc:
        if exc.name is not None and name.startswith(exc.name):
            raise no_fetcher(provider) from None
        raise ProviderError(  # the fetcher is there, something it needs is not
            ErrorCode.INTERNAL, f"{name}: {exc}", provider=provider, cause=exc
        ) from exc
    return module


def _entry_point(module: ModuleType, provider: str) -> Callable[[], Any]:
    for name in ENTRY_POINTS:
        entry = getattr(module, name, None)
        if callable(entry):
            found: Callable[[], Any] = entry
            return found
    raise ProviderError(
        ErrorCode.INTERNAL,
        f"{module.__name__} has none of {', '.join(ENTRY_POINTS)}",
        provider=provider,
    )
