"""The late-bound ports: everything ``base`` reaches in a floor above it, in one table.

A port names an object by ``module:attribute`` (or a module alone); it is imported when first
asked for, so that importing ``base`` costs no SDK, no database and no provider. A name with
``{}`` takes one argument: ``resolve("codec", "openai_chat")``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

PORTS: Mapping[str, str] = {
    "store": "crux_providers.persistence.store:get_store",
    "codec": "crux_providers.codecs.{}",
    "transport": "crux_providers.transports.{}",
    "fetcher": "crux_providers.{0}.get_{0}_models",
}
"""name → ``module[:attribute]``; the only modules above ``base`` that ``base`` may reach."""


def resolve(port: str, *arguments: str) -> Any:
    """The module or object behind ``port``.

    Raises KeyError for a name that is no port, ImportError or AttributeError where its target is
    not there. Looked up at each call (about a microsecond), so a replaced module takes effect.
    """
    return load(PORTS[port].format(*arguments))


def load(path: str) -> Any:
    """The object at ``module:attribute``, or the module where no attribute is named."""
    module, _, attribute = path.partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found
