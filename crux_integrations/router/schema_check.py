"""Whether a JSON value fits a JSON Schema: the keywords models are asked to obey. Pure.

A keyword it does not know rejects nothing; so a mismatch it reports is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, Mapping),
    "array": lambda v: isinstance(v, list | tuple),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "integer": lambda v: (
        (isinstance(v, int) and not isinstance(v, bool))
        or (isinstance(v, float) and v.is_integer())
    ),
}


def mismatch(value: Any, schema: Any) -> str | None:
    """The first way in which ``value`` breaks ``schema``, in words with its path, or None."""
    return _check(value, schema, schema, "$", 0)


def _check(value: Any, schema: Any, root: Any, path: str, depth: int) -> str | None:
    if schema is False:
        return f"{path}: nothing is allowed here"
    if not isinstance(schema, Mapping) or depth > 64:
        return None
    if isinstance(ref := schema.get("$ref"), str):
        found = _resolve(ref, root)
        if found is not None and (wrong := _check(value, found, root, path, depth + 1)):
            return wrong
    for keyword, check in _KEYWORDS.items():
        if keyword in schema and (wrong := check(value, schema, root, path, depth)):
            return wrong
    return None


def _resolve(ref: str, root: Any) -> Any:
    if not ref.startswith("#"):
        return None
    node = root
    for step in ref[1:].strip("/").split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if not key:
            continue
        if not isinstance(node, Mapping) or key not in node:
            return None
        node = node[key]
    return node


def _type(value: Any, schema: Any, root: Any, path: str, depth: int) -> str | None:
    wanted = schema["type"]
    names = wanted if isinstance(wanted, list) else [wanted]
    if any(name not in _TYPES or _TYPES[name](value) for name in names):
        return None
    return f"{path}: {type(value).__name__} is not of type {' or '.join(map(str, names))}"


def _enum(value: Any, schema: Any, root: Any, path: str, depth: int) -> str | None:
    allowed = schema["enum"]
    if not isinstance(allowed, list) or any(_same(value, a) for a in allowed):
        return None
    return f"{path}: not one of the allowed values"


def _const(value: Any, schema: Any, root: Any, path: str, depth: int) -> str | None:
    return None if _same(value, schema["const"]) else f"{path}: not the required constant"


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _required(value: Any, schema: Any, root: Any, path: str, depth: int) -> str | None:
    if not isinstance(value, Mapping):
        return None
    missing = [k for k in schema["required"] if k not in value]
    return f"{path}: {', '.join(map(repr, missing))} missing" if missing else None


def _properties(value: Any, schema: Any, root: Any, path: str, depth: int) -> str | None:
    if not isinstance(value, Mapping):
        return None
    for key, inner in schema["properties"].items():
        if key in value and (wrong := _check(value[key], inner, root, f"{path}.{key}", depth + 1)):
            return wrong
    return None


def _additional(value: Any, schema: Any, root: Any, path: str, depth: int) -> str | None:
    if not isinstance(value, Mapping) or schema.get("patternProperties"):
        return None
    known = schema.get("properties", {})
    for key in value:
        if key not in known and (
            wrong := _check(
                value[key], schema["additionalProperties"], root, f"{path}.{key}", depth + 1
            )
        ):
            return wrong
    return None


def _items(value: Any, schema: Any, root: Any, path: str, depth: int) -> str | None:
    if not isinstance(value, list):
        return None
    start = len(schema.get("prefixItems", ()))
    for i, item in enumerate(value[start:], start):
        if wrong := _check(item, schema["items"], root, f"{path}[{i}]", depth + 1):
            return wrong
    return None


def _prefix_items(value: Any, schema: Any, root: Any, path: str, depth: int) -> str | None:
    if not isinstance(value, list):
        return None
    for i, (item, inner) in enumerate(zip(value, schema["prefixItems"], strict=False)):
        if wrong := _check(item, inner, root, f"{path}[{i}]", depth + 1):
            return wrong
    return None


def _all_of(value: Any, schema: Any, root: Any, path: str, depth: int) -> str | None:
    for inner in schema["allOf"]:
        if wrong := _check(value, inner, root, path, depth + 1):
            return wrong
    return None


def _any_of(value: Any, schema: Any, root: Any, path: str, depth: int) -> str | None:
    wrongs = [_check(value, inner, root, path, depth + 1) for inner in schema["anyOf"]]
    return None if not wrongs or None in wrongs else f"{path}: fits none of anyOf ({wrongs[0]})"


def _one_of(value: Any, schema: Any, root: Any, path: str, depth: int) -> str | None:
    fits = sum(_check(value, inner, root, path, depth + 1) is None for inner in schema["oneOf"])
    return None if fits == 1 else f"{path}: fits {fits} of oneOf"


def _bound(keyword: str, size: Callable[[Any], Any], bad: Callable[[Any, Any], bool]) -> Any:
    def check(value: Any, schema: Any, root: Any, path: str, depth: int) -> str | None:
        measured, limit = size(value), schema[keyword]
        if measured is None or not isinstance(limit, int | float) or not bad(measured, limit):
            return None
        return f"{path}: {keyword} {limit} broken"

    return check


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _length(value: Any) -> Any:
    return len(value) if isinstance(value, str) else None


def _count(value: Any) -> Any:
    return len(value) if isinstance(value, list) else None


def _pattern(value: Any, schema: Any, root: Any, path: str, depth: int) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        found = re.search(schema["pattern"], value)
    except re.error:
        return None
    return None if found else f"{path}: does not match the pattern"


_KEYWORDS: Mapping[str, Callable[[Any, Any, Any, str, int], str | None]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "prefixItems": _prefix_items,
    "items": _items,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "pattern": _pattern,
    "minimum": _bound("minimum", _number, lambda v, limit: v < limit),
    "maximum": _bound("maximum", _number, lambda v, limit: v > limit),
    "exclusiveMinimum": _bound("exclusiveMinimum", _number, lambda v, limit: v <= limit),
    "exclusiveMaximum": _bound("exclusiveMaximum", _number, lambda v, limit: v >= limit),
    "minLength": _bound("minLength", _length, lambda v, limit: v < limit),
    "maxLength": _bound("maxLength", _length, lambda v, limit: v > limit),
    "minItems": _bound("minItems", _count, lambda v, limit: v < limit),
    "maxItems": _bound("maxItems", _count, lambda v, limit: v > limit),
}
