"""What a ``ChatCrux`` is made from: its router, and the same again without keys or connections."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crux_integrations.router.router import Router


@dataclass(frozen=True, slots=True)
class Source:
    """The arguments that decide which router a model uses; equal sources may share one."""

    routes: Any = None
    model: str | None = None
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    client: Any = field(default=None, repr=False)


def split_model(model: str) -> tuple[str | None, str]:
    """``provider:model`` as both; the provider is None for a bare name.

    A name may hold colons of its own (``llama3.2:3b``), so what stands before the first one is a
    provider only where it could be the name of one.
    """
    provider, colon, name = model.partition(":")
    if colon and name and re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", provider):
        return provider, name
    return None, model


def is_provider(router: Router, name: str) -> bool:
    """Whether ``name`` is a provider that the router or the library knows."""
    if name in router.config.providers:
        return True
    from crux_providers.base.factory import ProviderFactory

    return name in ProviderFactory.names()


def build_router(source: Source) -> Router:
    """The router of ``source``: a given one, that of a routes file or mapping, or of one model.

    Raises ValueError for arguments that do not go together, and what the router says of a file
    that is wrong.
    """
    alone = {
        name: value
        for name in ("api_key", "base_url", "client")
        if (value := getattr(source, name)) is not None
    }
    if source.routes is not None or source.model is None:
        if alone.pop("api_key", None) is not None:
            # Programs that make any chat model pass a key to it (LangChain's own tests do).
            warnings.warn(
                "api_key was not used: with routes a key belongs to a provider, under `providers` "
                "or in its environment variable",
                stacklevel=2,
            )
        if alone:
            raise ValueError(
                f"{', '.join(alone)}: belongs to ChatCrux(model='provider:model') without routes; "
                "with routes, providers are declared there"
            )
    if source.routes is not None and not isinstance(source.routes, (str, os.PathLike, Mapping)):
        return _as_router(source.routes)
    from crux_integrations.router.router import Router

    if isinstance(source.routes, Mapping):
        return Router(source.routes)
    if source.routes is not None:
        return Router.from_file(os.fspath(source.routes))
    if source.model is None:
        return Router()
    provider, _ = split_model(source.model)
    if provider is None:
        raise ValueError(f"model {source.model!r} has no provider: write provider:model")
    mapping = {"version": 1, "routes": {"default": {"candidates": [source.model]}}}
    if not alone:
        return Router(mapping)
    from crux_providers.base.factory import ProviderFactory

    return Router(mapping, providers={provider: ProviderFactory.create(provider, **alone)})


def _as_router(value: Any) -> Router:
    if not all(callable(getattr(value, name, None)) for name in ("generate", "stream")):
        raise ValueError("routes is a path, a mapping or a Router")
    router: Router = value
    return router


_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::-[^}]*)?\}")
_SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)


def configured_routes(routes: Any) -> Any:
    """``routes`` as plain configuration, to write down or to send to another process.

    A path stays a path; a mapping loses its keys (``${NAME}`` stays, a key written out does not);
    a router becomes the mapping it was read from, every ``${}`` as written.
    """
    if isinstance(routes, (str, os.PathLike)):
        return os.fspath(routes)
    if not isinstance(routes, Mapping):
        routes = routes.config.source.node().data()
    return without_keys(routes)


def shown_routes(routes: Any) -> Any:
    """``routes`` for people: a path, a mapping without keys, or the kind of object it is."""
    if isinstance(routes, (str, os.PathLike, Mapping)):
        return configured_routes(routes)
    return f"<{type(routes).__name__}>"


def without_keys(routes: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping with no key written out: not in ``api_key``, not in a header."""
    made = dict(routes)
    providers = made.get("providers")
    if isinstance(providers, Mapping):
        made["providers"] = {name: _provider_without_keys(p) for name, p in providers.items()}
    return made


def _provider_without_keys(provider: Any) -> Any:
    if not isinstance(provider, Mapping):
        return provider
    made = {
        name: value for name, value in provider.items() if name != "api_key" or _is_reference(value)
    }
    headers = made.get("headers")
    if isinstance(headers, Mapping):
        made["headers"] = {
            name: value
            for name, value in headers.items()
            if not _SECRET_HEADER.search(str(name)) or _is_reference(value)
        }
    return made


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and _REFERENCE.search(value) is not None
