"""Lists, mappings and sections of the kinds in :mod:`fields`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .fields import BAD, Context, JSONSchema, Kind, shape, shown, suggestion
from .yaml12 import Node


class ByShape(NamedTuple):
    """Different kinds for one value, a list and a mapping; None is a shape that is not taken."""

    value: Kind | None = None
    list: Kind | None = None
    mapping: Kind | None = None

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        kinds = {"value": self.value, "list": self.list, "mapping": self.mapping}
        kind = kinds[shape(node)]
        if kind is None:
            taken = " or ".join(f"a {name}" for name, k in kinds.items() if k is not None)
            return ctx.problem(node, path, f"expected {taken}, found a {shape(node)}")
        return kind.read(node, path, ctx)

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        return {"anyOf": [k.schema() for k in (self.value, self.list, self.mapping) if k]}


class ListOf(NamedTuple):
    """A list, read as a tuple (or what ``build`` makes of it)."""

    item: Kind
    least: int = 0
    build: Callable[[tuple[Any, ...]], Any] = tuple

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        if not isinstance(node.value, list):
            return ctx.problem(node, path, f"expected a list, found {shown(node)}")
        if len(node.value) < self.least:
            return ctx.problem(node, path, "must not be empty")
        items = [self.item.read(n, f"{path}[{i}]", ctx) for i, n in enumerate(node.value)]
        return self.build(tuple(i for i in items if i is not BAD))

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        least = {"minItems": self.least} if self.least else {}
        return {"type": "array", "items": self.item.schema(), **least}


class MapOf(NamedTuple):
    """A mapping with keys of a closed list, or of a pattern with ``noun`` for its name."""

    item: Kind
    keys: tuple[str, ...] | None = None
    pattern: str | None = None
    noun: str = "name"
    build: Callable[[dict[str, Any]], Any] = MappingProxyType

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        if not isinstance(node.value, dict):
            return ctx.problem(node, path, f"expected a mapping, found {shown(node)}")
        values: dict[str, Any] = {}
        for key, child in node.value.items():
            where = _join(path, key)
            if not self._takes(key):
                ctx.problem(_at_key(node, key), where, self._refusal(key))
                continue
            value = self.item.read(child, where, ctx)
            if value is not BAD:
                values[key] = value
        return self.build(values)

    def _takes(self, key: str) -> bool:
        if self.keys is not None:
            return key in self.keys
        return self.pattern is None or re.fullmatch(self.pattern, key) is not None

    def _refusal(self, key: str) -> str:
        if self.keys is not None:
            return f"unknown key{suggestion(key, self.keys) or '; known: ' + ', '.join(self.keys)}"
        return f"{key!r} is no {self.noun}"

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        item = self.item.schema()
        if self.keys is not None:
            return {
                "type": "object",
                "properties": dict.fromkeys(self.keys, item),
                "additionalProperties": False,
            }
        names = {"propertyNames": {"pattern": f"^(?:{self.pattern})$"}} if self.pattern else {}
        return {"type": "object", "additionalProperties": item, **names}


class Field(NamedTuple):
    """A key of a section: its kind and one line for people."""

    kind: Kind
    doc: str
    required: bool = False


class Section(NamedTuple):
    """A mapping with a closed set of keys; ``build`` gets the values of those that are there.

    A key with no value at all (``retry:``) counts as not there. ``rules`` is what the JSON Schema
    says besides, of rules between keys that the loader holds elsewhere.
    """

    fields: Mapping[str, Field]
    build: Callable[..., Any] = dict
    located: bool = False
    doc: str = ""
    rules: Mapping[str, Any] = MappingProxyType({})

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        if not isinstance(node.value, dict):
            return ctx.problem(node, path, f"expected a mapping, found {shown(node)}")
        values: dict[str, Any] = {"line": node.line} if self.located else {}
        whole = True
        for key, child in node.value.items():
            where = _join(path, key)
            found = self.fields.get(key)
            if found is None:
                known = suggestion(key, self.fields) or f"; known: {', '.join(self.fields)}"
                ctx.problem(_at_key(node, key), where, f"unknown key{known}")
            elif child.value is not None:
                value = found.kind.read(child, where, ctx)
                if value is BAD:
                    whole = whole and not found.required
                else:
                    values[key] = value
        for key, known_field in self.fields.items():
            child = node.value.get(key, _NOTHING)
            if known_field.required and child.value is None:
                ctx.problem(node, _join(path, key), "is needed here")
                whole = False
        return self.build(**values) if whole else BAD

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        required = [k for k, f in self.fields.items() if f.required]
        properties = {k: {"description": f.doc, **f.kind.schema()} for k, f in self.fields.items()}
        return {
            "type": "object",
            **({"description": self.doc} if self.doc else {}),
            "properties": properties,
            **({"required": required} if required else {}),
            "additionalProperties": False,
            **self.rules,
        }


class Anything:
    """Any value, references in its strings replaced."""

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        match node.value:
            case dict() as mapping:
                return {k: self.read(n, _join(path, k), ctx) for k, n in mapping.items()}
            case list() as items:
                return [self.read(n, f"{path}[{i}]", ctx) for i, n in enumerate(items)]
            case _:
                return ctx.scalar(node, path)

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        return {}


_NOTHING = Node(None)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _at_key(node: Node, key: str) -> Node:
    line = (node.key_lines or {}).get(key, node.line)
    return Node(None, line)
