"""The stored listings of models, one snapshot for each provider."""

from __future__ import annotations

import json
from typing import Any

from ..base.models import ModelInfo, ModelRegistrySnapshot
from .database import Database
from .sink import storable

_MODEL = (
    "provider, model_id, place, name, family, context_length, max_output_tokens, capabilities, "
    "capability_sources, updated_at, extra"
)


def save_snapshot(database: Database, snapshot: ModelRegistrySnapshot) -> None:
    """Replace the provider's snapshot, inside a transaction of the caller's."""
    provider = snapshot.provider
    database.serialize("registry")
    database.execute("DELETE FROM models WHERE provider = ?", (provider,))
    database.execute_many(
        f"INSERT INTO models ({_MODEL}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            tuple(
                map(
                    storable,
                    (
                        provider,
                        model.id,
                        place,
                        model.name,
                        model.family,
                        model.context_length,
                        model.max_output_tokens,
                        model.capabilities,
                        model.capability_sources,
                        model.updated_at,
                        model.extra,
                    ),
                )
            )
            for place, model in enumerate(snapshot.models)
        ],
    )
    database.execute(
        "INSERT INTO registry_snapshots (provider, fetched_via, fetched_at, metadata) "
        "VALUES (?, ?, ?, ?) ON CONFLICT (provider) DO UPDATE SET "
        "fetched_via = excluded.fetched_via, fetched_at = excluded.fetched_at, "
        "metadata = excluded.metadata",
        (provider, snapshot.fetched_via, snapshot.fetched_at, storable(snapshot.metadata)),
    )


def load_snapshot(database: Database, provider: str) -> ModelRegistrySnapshot:
    """The provider's snapshot; an empty one where nothing was stored."""
    head = database.execute(
        "SELECT fetched_via, fetched_at, metadata FROM registry_snapshots WHERE provider = ?",
        (provider,),
    )
    if not head:
        return ModelRegistrySnapshot(provider)
    rows = database.execute(
        f"SELECT {_MODEL} FROM models WHERE provider = ? ORDER BY place, model_id", (provider,)
    )
    ((fetched_via, fetched_at, metadata),) = head
    return ModelRegistrySnapshot(
        provider, [_model(row) for row in rows], fetched_via, fetched_at, _mapping(metadata)
    )


def stored_providers(database: Database) -> dict[str, str]:
    """provider → when its snapshot was fetched, for every stored one."""
    rows = database.execute("SELECT provider, fetched_at FROM registry_snapshots ORDER BY provider")
    return {str(provider): str(at) for provider, at in rows}


def _model(row: tuple[Any, ...]) -> ModelInfo:
    provider, model_id, _, name, family, context, most, flags, sources, updated_at, extra = row
    return ModelInfo(
        id=model_id,
        name=name,
        context_length=context,
        capabilities={k: bool(v) for k, v in _mapping(flags).items()},
        updated_at=updated_at,
        provider=provider,
        family=family,
        max_output_tokens=most,
        capability_sources=_mapping(sources),
        extra=_mapping(extra),
    )


def _mapping(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:  # a row edited by hand
        return {}
    return value if isinstance(value, dict) else {}
