"""``${NAME}`` and ``${NAME:-default}`` in a routes file; nothing else is evaluated. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|)")


class ExpansionError(ValueError):
    """A ``${`` that is neither form."""


class Expanded(NamedTuple):
    """The text with its references replaced.

    ``whole`` says that the text is one reference and nothing else; ``names`` are the variables it
    names, ``missing`` those that are not set (or empty) and have no default.
    """

    text: str
    whole: bool = False
    names: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def expand(text: str, env: Mapping[str, str]) -> Expanded:
    """Replace the references in ``text``; ``$${`` stands for a literal ``${``.

    A variable that is set to nothing counts as not set, in both forms. A value is taken as it is:
    references inside it are not looked at. Raises ExpansionError for a ``${`` of another form.
    """
    if "${" not in text:
        return Expanded(text)
    names: list[str] = []
    missing: list[str] = []

    def replace(found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        name, default = found[1], found[2]
        if name is None or "${" in (default or ""):
            raise ExpansionError(f"{text!r}: only ${{NAME}} and ${{NAME:-default}} are taken")
        names.append(name)
        value = env.get(name) or default
        if value is None:
            missing.append(name)
            return ""
        return value

    result = _REFERENCE.sub(replace, text)
    only = _REFERENCE.fullmatch(text)
    whole = only is not None and only[1] is not None
    return Expanded(result, whole, tuple(names), tuple(missing))
