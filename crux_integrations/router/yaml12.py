"""YAML 1.2 (core schema) with line numbers, on PyYAML's parser.

PyYAML resolves YAML 1.1: there ``on`` and ``no`` are booleans and ``1:30`` is ninety. Here its
parser gives events only, and the values are made by the rules of YAML 1.2's core schema
(https://yaml.org/spec/1.2.2/#103-core-schema). Custom tags, duplicate keys, several documents,
aliases that multiply and nesting without end are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

MAX_BYTES = 1 << 20
MAX_NODES = 50_000
"""Nodes of a document with every alias written out: a "billion laughs" ends here."""
MAX_DEPTH = 50

Scalar: TypeAlias = str | int | float | bool | None


class YAMLError(ValueError):
    """Text that is no YAML this module takes; ``line`` counts from 1 (None: unknown)."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A value and the line it stands on (None: it came from no file).

    ``value`` is a scalar, a list of Nodes or a dict of str to Node; ``key_lines`` has the line of
    each key of a dict. ``plain`` marks an unquoted scalar.
    """

    value: Scalar | list[Node] | dict[str, Node]
    line: int | None = None
    plain: bool = False
    key_lines: Mapping[str, int] | None = None
    size: int = 1

    def data(self) -> Any:
        """The value without the lines."""
        match self.value:
            case dict() as mapping:
                return {k: v.data() for k, v in mapping.items()}
            case list() as items:
                return [v.data() for v in items]
            case scalar:
                return scalar


def parse(text: str) -> Node:
    """The one document in ``text`` (an empty text is an empty mapping). Raises YAMLError."""
    import yaml  # 8 ms that a router made of a mapping saves

    if len(text) > MAX_BYTES:
        raise YAMLError(f"more than {MAX_BYTES} characters")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _document(iter(yaml.parse(text, Loader=loader)))
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        what = " ".join(str(x) for x in (exc.context, exc.problem) if x)
        raise YAMLError(what, mark.line + 1 if mark else None) from exc
    except yaml.YAMLError as exc:
        raise YAMLError(" ".join(str(exc).split())) from exc


def from_data(value: Any) -> Node:
    """A Node of plain data (a mapping given in Python). Raises YAMLError as :func:`parse` does."""
    return _Wrapper().wrap(value, 0)


def resolve(text: str) -> Scalar:
    """The value of a plain scalar by the core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] in _NUMERIC:
        if _INT.fullmatch(text):
            return _integer(text, text, 10)
        if text.startswith("0o") and _OCTAL.fullmatch(text):
            return _integer(text, text[2:], 8)
        if text.startswith("0x") and _HEX.fullmatch(text):
            return _integer(text, text[2:], 16)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _INFINITE.fullmatch(text):
            return float(text.replace(".", ""))
    return text


_CORE = "tag:yaml.org,2002:"
_TAGS = {
    int: f"{_CORE}int",
    float: f"{_CORE}float",
    bool: f"{_CORE}bool",
    type(None): f"{_CORE}null",
}
_WORDS: Mapping[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_NUMERIC = frozenset("+-.0123456789")
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)")


def _integer(text: str, digits: str, base: int) -> int:
    if len(digits) > 100:
        raise YAMLError(f"a number of {len(digits)} digits: {text[:20]}…")
    return int(digits, base)


class _Open:
    """A list or mapping whose end is still to come."""

    __slots__ = ("anchor", "items", "key", "key_line", "key_lines", "line", "mapping", "size")

    def __init__(self, mapping: bool, line: int, anchor: str | None) -> None:
        self.mapping = mapping
        self.line = line
        self.anchor = anchor
        self.items: list[Node] | dict[str, Node] = {} if mapping else []
        self.key: str | None = None
        self.key_line = line
        self.key_lines: dict[str, int] = {}
        self.size = 1

    def add(self, node: Node) -> None:
        self.size += node.size
        if isinstance(self.items, list):
            self.items.append(node)
        elif self.key is None:
            self._take_key(node)
        else:
            self.items[self.key] = node
            self.key_lines[self.key] = self.key_line
            self.key = None

    def _take_key(self, node: Node) -> None:
        line = node.line or self.line
        if isinstance(node.value, (list, dict)):
            raise YAMLError("a key is a word, not a list or a mapping", line)
        # Keys are names: `on`, `1` and `null` mean their own letters.
        key = node.value if isinstance(node.value, str) else _as_written(node.value)
        if key in self.items:
            raise YAMLError(f"key {key!r} is here twice, first on line {self.key_lines[key]}", line)
        self.key, self.key_line = key, line

    def close(self) -> Node:
        return Node(
            self.items,
            self.line,
            key_lines=self.key_lines if self.mapping else None,
            size=self.size,
        )


def _as_written(value: Scalar) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def _document(events: Iterator[Any]) -> Node:
    import yaml

    stack: list[_Open] = []
    anchors: dict[str, Node] = {}
    root: Node | None = None
    nodes = 0
    for event in events:
        line = event.start_mark.line + 1
        done: Node | None = None
        anchor: str | None = None
        match event:
            case yaml.ScalarEvent():
                anchor = event.anchor
                done = _scalar(event, line)
            case yaml.AliasEvent():
                if event.anchor not in anchors:
                    raise YAMLError(f"alias *{event.anchor} has no anchor before it", line)
                found = anchors[event.anchor]
                done = found
                nodes += found.size
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                mapping = isinstance(event, yaml.MappingStartEvent)
                _check_tag(event.tag, "map" if mapping else "seq", line)
                stack.append(_Open(mapping, line, event.anchor))
                if len(stack) > MAX_DEPTH:
                    raise YAMLError(f"nested deeper than {MAX_DEPTH}", line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                closed = stack.pop()
                anchor, done = closed.anchor, closed.close()
            case yaml.DocumentStartEvent() if root is not None:
                raise YAMLError("a second document begins here; there is one", line)
        nodes += 1
        if nodes > MAX_NODES:
            raise YAMLError(f"more than {MAX_NODES} values, aliases written out", line)
        if done is None:
            continue
        if anchor is not None:
            anchors[anchor] = done
        if stack:
            stack[-1].add(done)
        else:
            root = done
    if root is None or root.value is None:
        return Node({}, 1, key_lines={})
    return root


def _scalar(event: Any, line: int) -> Node:
    text: str = event.value
    if event.tag is None and event.implicit[0]:
        return Node(resolve(text), line, plain=True)
    if event.tag in (None, "!", f"{_CORE}str"):
        return Node(text, line)
    value = resolve(text)
    if event.tag != _TAGS.get(type(value)):
        raise YAMLError(f"tag {event.tag} of {text!r} is not taken; values are plain YAML", line)
    return Node(value, line)


def _check_tag(tag: str | None, kind: str, line: int) -> None:
    if tag not in (None, "!", f"{_CORE}{kind}"):
        raise YAMLError(f"tag {tag} is not taken; values are plain YAML", line)


def _key(key: Any) -> str:
    """A key of a mapping given in Python. One that PyYAML read has True where the file says ``on``:
    it reads YAML 1.1, and no key of a routes file is any other of that boolean's words."""
    if key is True:
        return "on"
    if not isinstance(key, str):
        raise YAMLError(f"key {key!r} is not a string")
    return key


class _Wrapper:
    def __init__(self) -> None:
        self._left = MAX_NODES

    def wrap(self, value: Any, depth: int) -> Node:
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise YAMLError(f"more than {MAX_NODES} values or nested deeper than {MAX_DEPTH}")
        match value:
            case None | bool() | int() | float() | str():
                return Node(value)
            case Mapping():
                made: dict[str, Node] = {}
                for key, inner in value.items():
                    name = _key(key)
                    if name in made:
                        raise YAMLError(f"key {name!r} is here twice")
                    made[name] = self.wrap(inner, depth + 1)
                return Node(made)
            case list() | tuple() | set() | frozenset():
                items = sorted(value) if isinstance(value, (set, frozenset)) else value
                return Node([self.wrap(v, depth + 1) for v in items])
            case _:
                raise YAMLError(f"{type(value).__name__} is no value of a routes file")
