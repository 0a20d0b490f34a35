"""Providers by canonical name, imported when first asked for."""

from __future__ import annotations

import difflib
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ..config.declaration import declarations
from .errors import ErrorCode, ProviderError
from .ports import load
from .provider import BaseProvider


class _Declared(Mapping[str, str]):
    """name → ``module:Class`` of every provider folder, looked for when first asked."""

    def __getitem__(self, name: str) -> str:
        return declarations()[name].client

    def __iter__(self) -> Iterator[str]:
        return iter(declarations())

    def __len__(self) -> int:
        return len(declarations())


class ProviderFactory:
    """Makes providers; register another by ``_PROVIDERS["mine"] = "package.module:Class"``.

    A class itself will do as well. What is registered so stands over a provider folder's own.
    """

    _PROVIDERS: ClassVar[ChainMap[str, Any]] = ChainMap({}, _Declared())  # type: ignore[arg-type]  # only the first is written to

    @classmethod
    def names(cls) -> list[str]:
        """The canonical names it knows."""
        return sorted(cls._PROVIDERS)

    @classmethod
    def create(cls, name: str, **arguments: Any) -> BaseProvider:
        """The provider ``name``; ``arguments`` are its constructor's.

        Raises ProviderError (``not_found``) for a name it does not know, with the nearest one.
        """
        key = name.strip().lower()
        try:
            entry = cls._PROVIDERS[key]
        except KeyError:
            near = difflib.get_close_matches(key, cls.names(), 1)
            hint = f", did you mean {near[0]!r}?" if near else f"; known: {', '.join(cls.names())}"
            raise ProviderError(
                ErrorCode.NOT_FOUND, f"unknown provider {name!r}{hint}", provider=name
            ) from None
        kind: type[BaseProvider] = load(entry) if isinstance(entry, str) else entry
        return kind(**arguments)
