"""Providers by canonical name, imported when first asked for."""

from __future__ import annotations

import difflib
from typing import Any, ClassVar

from ..config.declaration import declarations
from .errors import ErrorCode, ProviderError
from .ports import load
from .provider import BaseProvider


class _Registry(dict[str, str]):
    """name → ``module:Class``; filled from the providers' declarations when first read."""

    def __missing__(self, name: str) -> str:
        declared = declarations().get(name)
        if declared is None:
            raise KeyError(name)
        return declared.client

    def names(self) -> list[str]:
        """Every name: declared ones and those added by hand."""
        return sorted({*declarations(), *self})


class ProviderFactory:
    """Makes providers; register another by ``_PROVIDERS["mine"] = "package.module:Class"``."""

    _PROVIDERS: ClassVar[_Registry] = _Registry()

    @classmethod
    def names(cls) -> list[str]:
        """The canonical names it knows."""
        return cls._PROVIDERS.names()

    @classmethod
    def create(cls, name: str, **arguments: Any) -> BaseProvider:
        """The provider ``name``; ``arguments`` are its constructor's.

        Raises ProviderError (``not_found``) for a name it does not know, with the nearest one.
        """
        key = name.strip().lower()
        try:
            path = cls._PROVIDERS[key]
        except KeyError:
            near = difflib.get_close_matches(key, cls.names(), 1)
            hint = f", did you mean {near[0]!r}?" if near else f"; known: {', '.join(cls.names())}"
            raise ProviderError(
                ErrorCode.NOT_FOUND, f"unknown provider {name!r}{hint}", provider=name
            ) from None
        kind: type[BaseProvider] = load(path)
        return kind(**arguments)
