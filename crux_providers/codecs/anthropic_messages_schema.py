"""Anthropic Messages: a JSON Schema as structured output takes it.

The API refuses a schema whose objects are not closed or that bounds a value ("JSON Schema
limitations" of platform.claude.com/docs/en/build-with-claude/structured-outputs, read 2026-11).
What it has another place for is moved there, as the official SDKs do, and said; what it has no
place for is ``unsupported``.
"""

from __future__ import annotations

from collections.abc import Mapping

from crux_providers.base.models import JSON, compact_json

from .anthropic_messages_blocks import unsupported
from .repair_words import Notes

BOUNDS = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    "minLength", "maxLength", "maxItems", "uniqueItems", "minProperties", "maxProperties",
)  # fmt: skip
"""Keywords that become words of the description. ``minItems`` is taken where it is 0 or 1."""

_SCHEMA_MAPS = ("properties", "$defs", "definitions")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
DEPTH = 100
"""How deep a schema may be nested."""


def output_schema(schema: Mapping[str, JSON], notes: Notes) -> dict[str, JSON]:
    """``schema`` as the API takes it: objects closed, bounds moved into descriptions.

    Raises ``unsupported`` (feature ``json_schema``) for an object with free keys.
    """
    return _adapted(schema, notes, DEPTH)


def _adapt(value: JSON, notes: Notes, depth: int) -> JSON:
    return _adapted(value, notes, depth) if isinstance(value, Mapping) else value


def _adapted(schema: Mapping[str, JSON], notes: Notes, depth: int) -> dict[str, JSON]:
    if not depth:
        raise unsupported("the schema is nested too deep", "json_schema")
    adapted: dict[str, JSON] = {}
    for key, value in schema.items():
        if key in _SCHEMA_MAPS and isinstance(value, Mapping):
            adapted[key] = {k: _adapt(v, notes, depth - 1) for k, v in value.items()}
        elif key in _SCHEMA_LISTS and isinstance(value, list):
            adapted[key] = [_adapt(v, notes, depth - 1) for v in value]
        elif key == "items":
            adapted[key] = _adapt(value, notes, depth - 1)
        else:
            adapted[key] = value
    _move_bounds(adapted, notes)
    if _is_object(adapted):
        _close(adapted, notes)
    return adapted


def _is_object(schema: Mapping[str, JSON]) -> bool:
    kind = schema.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


def _move_bounds(schema: dict[str, JSON], notes: Notes) -> None:
    moved = {k: schema.pop(k) for k in BOUNDS if k in schema}
    if schema.get("minItems") not in (None, 0, 1):
        moved["minItems"] = schema.pop("minItems")
    if not moved:
        return
    words = "{" + ", ".join(f"{k}: {compact_json(v)}" for k, v in moved.items()) + "}"
    described = schema.get("description")
    schema["description"] = f"{described}\n\n{words}" if described else words
    notes.add("bounds of the json_schema became words of its descriptions")


def _close(schema: dict[str, JSON], notes: Notes) -> None:
    free = schema.get("additionalProperties")
    if free is False:
        return
    if isinstance(free, Mapping) or "properties" not in schema:
        raise unsupported("structured output has no objects with free keys", "json_schema")
    schema["additionalProperties"] = False
    notes.add("objects of the json_schema were closed (additionalProperties: false)")
