"""Environment variables of the providers' keys, derived from their declarations.

``ENV_MAP`` (provider → its variable) and ``ENV_ALIASES`` (provider → the variables it accepts, in
order, for those that accept several) are made when first asked for. Variables are read at use.
"""

from __future__ import annotations

import os
import re
from typing import Any

from . import declaration

ENV_MAP: dict[str, str]
ENV_ALIASES: dict[str, tuple[str, ...]]


def __getattr__(name: str) -> Any:
    if name not in ("ENV_MAP", "ENV_ALIASES"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    declared = [d for d in declaration.declarations().values() if d.env_key is not None]
    found = globals()
    found["ENV_MAP"] = {d.name: d.env_key for d in declared}
    found["ENV_ALIASES"] = {d.name: (d.env_key, *d.env_aliases) for d in declared if d.env_aliases}
    return found[name]


_TEMPLATE = re.compile(r"<.*>|\$?\{.*\}|\[.*\]|%.*%", re.DOTALL)
_FILLER = re.compile(r"x{3,}|[*•.]{3,}|…+", re.IGNORECASE)
_JOINED = re.compile(r"(your|insert|enter|add|put|replace|paste)[a-z]*(key|token|secret)(here)?")
_SEPARATORS = re.compile(r"[\s_\-]+")
_MARKERS = frozenset(
    {
        "add", "change", "changeme", "dummy", "enter", "example", "fill", "here", "insert", "paste",
        "placeholder", "put", "replace", "replaceme", "tbd", "todo", "your", "yours",
    }
)  # fmt: skip
_FURNITURE = frozenset(
    {
        "a", "actual", "ai", "an", "ant", "anthropic", "api", "apikey", "deepseek", "gemini",
        "google", "goes", "gsk", "in", "it", "key", "later", "me", "my", "openai", "openrouter",
        "or", "own", "proj", "provider", "real", "secret", "sk", "the", "this", "to", "token",
        "v1", "value", "with", "xai",
    }
)  # fmt: skip


def is_placeholder(val: str | None) -> bool:
    """Whether ``val`` is a dummy and no key: nothing at all, a template, or words that say so.

    ``changeme``, ``your-api-key-here``, ``<key>``, ``${KEY}``, ``sk-xxxx``. Matched whole: a real
    key that has such a word in it is a key.
    """
    text = (val or "").strip().strip("\"'")
    if not text or _TEMPLATE.fullmatch(text):
        return True
    words = [word.lower() for word in _SEPARATORS.split(text) if word]
    said = [word for word in words if word not in _FURNITURE]
    if not words:
        return True
    return bool(said) and all(
        word in _MARKERS or _FILLER.fullmatch(word) or _JOINED.fullmatch(word) for word in said
    )


def get_env_var_name(provider: str) -> str | None:
    """The variable of the provider's key, or None where it is unknown or needs none."""
    table: dict[str, str] = _table("ENV_MAP")
    return table.get(provider)


def get_env_var_candidates(provider: str) -> list[str]:
    """The variables its key may stand in: the canonical one first, then aliases, each once."""
    name = get_env_var_name(provider)
    aliases = _table("ENV_ALIASES").get(provider, ())
    return list(dict.fromkeys((*((name,) if name else ()), *aliases)))


def resolve_provider_key(provider: str) -> tuple[str, str] | tuple[None, None]:
    """``(key, variable)`` from the process environment, or ``(None, None)``."""
    for name in get_env_var_candidates(provider):
        value = os.environ.get(name)
        if value is not None and not is_placeholder(value):
            return value.strip(), name
    return None, None


def set_canonical_env_if_missing(provider: str, value: str | None) -> None:
    """Set the provider's canonical variable to ``value`` where it holds no real key yet.

    Does nothing for an unknown provider or where ``value`` is a placeholder itself.
    """
    name = get_env_var_name(provider)
    if name is None or value is None or is_placeholder(value):
        return
    if is_placeholder(os.environ.get(name)):
        os.environ[name] = value.strip()


def _table(name: str) -> Any:
    return globals().get(name) or __getattr__(name)
