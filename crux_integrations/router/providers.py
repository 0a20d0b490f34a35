"""The providers a router calls, made once each, as the routes file and the environment say."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.factory import ProviderFactory
from crux_providers.base.provider import BaseProvider, GatewayProvider
from crux_providers.config.declaration import ProviderDeclaration, declarations

from .config import RoutesConfig
from .provider_trust import ProviderSettings, provider_settings


class ProviderPool:
    """Providers by name for the configuration in force; safe to use from many threads.

    ``ready`` are providers the program made itself; they stand over the file's. A provider is made
    at its first use, and one more where a reloaded file says other things of it: the first stays
    for the calls that began with it, until :meth:`close`.
    """

    def __init__(self, ready: Mapping[str, BaseProvider] | None = None) -> None:
        self._ready = dict(ready or {})
        self._made: dict[str, list[tuple[ProviderSettings, BaseProvider]]] = {}
        self._checked: dict[str, tuple[RoutesConfig, BaseProvider]] = {}
        self._lock = threading.Lock()

    def ready(self, name: str) -> bool:
        """Whether the program gave this provider itself, so that it needs no key of ours."""
        return name in self._ready

    def get(self, name: str, config: RoutesConfig) -> BaseProvider:
        """The provider ``name``; raises ProviderError where it cannot be made."""
        if (given := self._ready.get(name)) is not None:
            return given
        checked = self._checked.get(name)
        if checked is not None and checked[0] is config:  # its settings do not change under it
            return checked[1]
        with self._lock:
            settings = provider_settings(config, name, os.environ)
            made = self._made.setdefault(name, [])
            provider = next((p for known, p in made if known == settings), None)
            if provider is None:
                provider = make_provider(settings)
                made.append((settings, provider))
            self._checked[name] = (config, provider)
            return provider

    def close(self) -> None:
        """Close every provider made here and those given."""
        for provider in self._all():
            provider.close()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`."""
        for provider in self._all():
            await provider.aclose()

    def _all(self) -> list[BaseProvider]:
        return [*self._ready.values(), *(p for made in self._made.values() for _, p in made)]


def make_provider(settings: ProviderSettings) -> BaseProvider:
    """The provider of these settings: a declared one, or a gateway of the file's own."""
    arguments = settings.arguments()
    declared = settings.declaration
    try:
        if declared is not None and settings.dialect in ("", declared.dialect):
            return ProviderFactory.create(settings.name, **arguments)
        return GatewayProvider(declaration=gateway(settings), **arguments)
    except ValueError as exc:
        raise ProviderError(
            ErrorCode.BAD_REQUEST, f"{settings.name}: {exc}", provider=settings.name, cause=exc
        ) from exc


_AUTH = {"anthropic_messages": "x-api-key", "gemini_generate": "x-goog-api-key"}
_VERSIONS = {
    "anthropic_messages": "/v1",
    "gemini_generate": "/v1beta",
    "ollama_chat": "/api",
}

_SDK_OF = {
    "openai_chat": "openai",
    "openai_responses": "openai",
    "anthropic_messages": "anthropic",
    "gemini_generate": "gemini",
    "ollama_chat": "ollama",
}
"""The provider whose SDK speaks a dialect; it serves the file's gateways of that dialect too."""


def gateway(settings: ProviderSettings) -> ProviderDeclaration:
    """The declaration of a provider that only a routes file knows.

    Its address is held without the version, so that one written with it loses it like any other.
    """
    version = _VERSIONS.get(settings.dialect, "")
    return ProviderDeclaration(
        name=settings.name,
        client="crux_providers.base.provider:GatewayProvider",
        dialect=settings.dialect,
        base_url=(settings.base_url or "").rstrip("/").removesuffix(version),
        base_url_env="CRUX_GATEWAY_HAS_NO_VARIABLE",
        auth=_AUTH.get(settings.dialect, "bearer"),  # type: ignore[arg-type]  # words of Auth
        version_path=version,
        transports=_sdk_transport(settings.dialect),
        dialects={"chat": settings.dialect},
        key_required=False,
    )


def _sdk_transport(dialect: str) -> dict[str, str]:
    owner = declarations().get(_SDK_OF.get(dialect, ""))
    return {"sdk": owner.transports["sdk"]} if owner is not None else {}
