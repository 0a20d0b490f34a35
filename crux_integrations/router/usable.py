"""Who cannot be used now, and what to do about it: keys that are missing, weights, packages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from crux_providers.base.ports import load
from crux_providers.base.repositories.keys import KeysRepository
from crux_providers.config.declaration import ProviderDeclaration

from .provider_trust import key_in_environment, provider_settings

if TYPE_CHECKING:
    from .config import RoutesConfig

Candidates: TypeAlias = tuple[tuple[str, str], ...]
"""Providers and models."""


class Unusable(NamedTuple):
    """The words of each provider, and of each ``(provider, model)``, that cannot be used."""

    providers: Mapping[str, str]
    models: Mapping[tuple[str, str], str]


def find_key(declared: ProviderDeclaration, env: Mapping[str, str]) -> str | None:
    """The provider's key by environment, ``.env`` or ``config.yaml``."""
    return key_in_environment(declared, env) or KeysRepository().get_api_key(declared.name)


def unusable(
    config: RoutesConfig,
    candidates: Iterable[tuple[str, str]],
    env: Mapping[str, str],
    has_provider: Callable[[str], bool] = lambda name: False,
) -> Unusable:
    """Who of ``candidates`` cannot be used now, saying why.

    ``has_provider`` tells those that the program made itself, which need nothing of ours.
    """
    providers: dict[str, str] = {}
    models: dict[tuple[str, str], str] = {}
    checks: dict[str, Callable[[str], str | None] | None] = {}
    for name, model in candidates:
        if name not in checks:
            checks[name] = None
            if has_provider(name):
                continue
            try:
                settings = provider_settings(config, name, env, find_key)
            except KeyError:
                providers[name] = f"nobody declares a provider {name!r}"
                continue
            if settings.missing is not None:
                providers[name] = settings.missing
            declared = settings.declaration
            elsewhere = settings.base_url or (declared and env.get(declared.base_url_variable))
            if declared and declared.unready and settings.dialect == declared.dialect:
                checks[name] = None if elsewhere else load(declared.unready)
        check = checks[name]
        if check is not None and (words := check(model)) is not None:
            models[(name, model)] = words
    return Unusable(providers, models)


def usable_report(config: RoutesConfig, env: Mapping[str, str]) -> list[str]:
    """A line for each provider or model of the routes that cannot be used now, saying why."""
    candidates = {
        (c.provider, c.model) for r in config.routes.values() for c in r.candidates if c.provider
    }
    found = unusable(config, sorted(candidates), env)
    return [
        *(f"{name}: its candidates are rejected: {why}" for name, why in found.providers.items()),
        *(f"{name}:{model}: it is rejected: {why}" for (name, model), why in found.models.items()),
    ]
