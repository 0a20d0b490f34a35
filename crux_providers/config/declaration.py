"""What a provider's folder declares about itself; everything else is derived from it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import crux_providers

Auth = Literal["bearer", "x-api-key", "x-goog-api-key", "none"]


@dataclass(frozen=True, slots=True)
class ProviderDeclaration:
    """One provider, as data.

    ``client`` is ``module:Class``. ``env_key`` and ``env_aliases`` are the variables of its key
    (None: it needs no key), ``base_url_env`` that of its base URL. ``dialects`` maps the words of
    ``api=`` to codec modules in ``crux_providers.codecs``; ``dialect`` is the one used by default.
    ``transports`` maps names to ``module:Class``. ``options`` are the dialect's ``Options`` where
    they differ from its defaults. ``json_output``/``json_schema`` say whether structured answers
    exist at all. ``models_path`` is the listing endpoint. ``server_url`` is where the usual server
    of a provider without a ``base_url`` listens: calls through an httpx transport of the user's,
    which have to go somewhere, go there unless a base URL is named.

    Two more are ``module:function``, for what needs no key and may still not be there. ``unready``
    takes a model and says in words why it cannot answer now and what to do (None: it can); plans
    ask it, so it looks at files and no further. ``nearby`` takes nothing and names the models that
    a server of this machine serves at this moment, the best one first; it may take a moment.
    """

    name: str
    client: str
    dialect: str
    base_url: str
    env_key: str | None = None
    env_aliases: tuple[str, ...] = ()
    base_url_env: str = ""
    auth: Auth = "bearer"
    headers: Mapping[str, str] = field(default_factory=dict)
    default_model: str | None = None
    dialects: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    transports: Mapping[str, str] = field(default_factory=dict)
    models_path: str | None = "/models"
    fetcher: str | None = None
    json_output: bool = True
    json_schema: bool = True
    streaming: bool = True
    key_required: bool = True
    version_path: str = ""
    server_url: str = ""
    unready: str | None = None
    nearby: str | None = None

    @property
    def base_url_variable(self) -> str:
        """The environment variable of the base URL (``<PROVIDER>_BASE_URL`` unless declared)."""
        return self.base_url_env or f"{self.name.upper()}_BASE_URL"


@cache
def declarations() -> Mapping[str, ProviderDeclaration]:
    """Every provider folder's declaration, by canonical name, in alphabetical order.

    A folder of ``crux_providers`` with a ``declaration.py`` is a provider; nothing else registers.
    """
    found: dict[str, ProviderDeclaration] = {}
    for root in crux_providers.__path__:
        for file in Path(root).glob("*/declaration.py"):
            if file != Path(__file__):
                name = f"{crux_providers.__name__}.{file.parent.name}.declaration"
                declared: ProviderDeclaration = importlib.import_module(name).DECLARATION
                found[declared.name] = declared
    return MappingProxyType(dict(sorted(found.items())))
