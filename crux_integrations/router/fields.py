"""Kinds of value in a routes file: each reads a node into a value and tells its JSON Schema.

Lists and mappings of them are in :mod:`containers`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from .durations import parse_duration, parse_share
from .expansion import Expanded, ExpansionError, expand
from .yaml12 import Node, YAMLError, resolve

JSONSchema = dict[str, Any]

REFERENCE: JSONSchema = {"type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}$"}
"""A value that is only a ``${}`` may stand for any scalar."""


class _Bad:
    """The value of a node that could not be read; its problem is already noted."""

    def __bool__(self) -> bool:
        return False


BAD: Any = _Bad()


class Problem(NamedTuple):
    """One thing wrong with a file: where (``path`` as in ``routes.default.retry``), and what."""

    line: int | None
    path: str
    what: str


class Named(NamedTuple):
    """The variables that one value names, and its line."""

    names: tuple[str, ...]
    line: int | None


@dataclass(slots=True)
class Context:
    """What reading needs to know, and what it collects.

    ``lenient`` gathers unset names (a provider's), where other places refuse them. ``named``
    collects the variables by the path that names them.
    """

    env: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    lenient: list[str] | None = None
    named: dict[str, Named] = field(default_factory=dict)

    def problem(self, node: Node, path: str, what: str) -> Any:
        """Note a problem; returns :data:`BAD` for the value."""
        self.problems.append(Problem(node.line, path, what))
        return BAD

    def expand(self, node: Node, path: str) -> Expanded | None:
        """The text of a string node with references replaced, or None where that is impossible."""
        if not isinstance(node.value, str):
            return None
        try:
            done = expand(node.value, self.env)
        except ExpansionError as exc:
            self.problem(node, path, str(exc))
            return None
        if done.names:
            self.named[path] = Named(done.names, node.line)
        if done.missing:
            if self.lenient is None:
                for name in done.missing:
                    self.problem(
                        node,
                        path,
                        f"environment variable {name} is not set; set it or write ${{{name}:-…}}",
                    )
            else:
                self.lenient.extend(n for n in done.missing if n not in self.lenient)
            return None
        return done

    def scalar(self, node: Node, path: str) -> Any:
        """A scalar node's value, a lone reference typed as its text would be, or :data:`BAD`."""
        if isinstance(node.value, (list, dict)):
            return self.problem(node, path, f"expected one value, found a {shape(node)}")
        if not isinstance(node.value, str):
            return node.value
        done = self.expand(node, path)
        if done is None:
            return BAD
        try:
            return resolve(done.text) if done.whole else done.text
        except YAMLError as exc:
            return self.problem(node, path, str(exc))


def shape(node: Node) -> str:
    """``list``, ``mapping`` or ``value``."""
    match node.value:
        case list():
            return "list"
        case dict():
            return "mapping"
        case _:
            return "value"


def suggestion(word: str, choices: Iterable[str], cutoff: float = 0.6) -> str:
    """``, did you mean 'x'?`` for the closest choice, else nothing."""
    import difflib  # only for a file that is wrong

    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=cutoff)
    return f", did you mean {close[0]!r}?" if close else ""


class Kind(Protocol):
    """A kind of value."""

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """The value, or :data:`BAD` with the problem noted."""
        ...

    def schema(self) -> JSONSchema:
        """What an editor may know of it."""
        ...


class Text(NamedTuple):
    """A string; numbers and booleans are not turned into one. A ``secret`` is never shown."""

    what: str = "text"
    empty: bool = False
    secret: bool = False

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        if not isinstance(node.value, str):
            found = "another kind of value" if self.secret else shown(node)
            return ctx.problem(node, path, f"expected {self.what}, found {found}")
        done = ctx.expand(node, path)
        if done is None:
            return BAD
        if not (done.text or self.empty):
            return ctx.problem(node, path, f"expected {self.what}, found nothing")
        return done.text

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        return {"type": "string"} if self.empty else {"type": "string", "minLength": 1}


class Word(NamedTuple):
    """One word of a closed list."""

    choices: tuple[str, ...]

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        word = ""
        if isinstance(node.value, str):
            done = ctx.expand(node, path)
            if done is None:
                return BAD
            word = done.text
        if word in self.choices:
            return word
        # The value is shown as the file has it: what a variable held may be a secret.
        return ctx.problem(
            node,
            path,
            f"{shown(node)} is not one of {', '.join(self.choices)}"
            f"{suggestion(word, self.choices)}",
        )

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        return {"anyOf": [{"enum": list(self.choices)}, REFERENCE]}


class Boolean:
    """``true`` or ``false``; YAML 1.2 knows no other."""

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        value = ctx.scalar(node, path)
        if value is BAD or isinstance(value, bool):
            return value
        return ctx.problem(node, path, f"expected true or false, found {shown(node)}")

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        return {"anyOf": [{"type": "boolean"}, REFERENCE]}


class Number(NamedTuple):
    """A number of at least ``minimum``, or above it (``above``)."""

    minimum: float = 0.0
    above: bool = False
    whole: bool = False

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        value = ctx.scalar(node, path)
        if value is BAD:
            return BAD
        number = isinstance(value, int if self.whole else (int, float))
        if isinstance(value, bool) or not number or not math.isfinite(value):
            return ctx.problem(node, path, f"expected {self._what()}, found {shown(node)}")
        if value < self.minimum or (self.above and value == self.minimum):
            return ctx.problem(node, path, f"{value} is not {self._what()}")
        return value

    def _what(self) -> str:
        noun = "a whole number" if self.whole else "a number"
        return f"{noun} above {self.minimum:g}" if self.above else f"{noun} from {self.minimum:g}"

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        bound = "exclusiveMinimum" if self.above else "minimum"
        kind = "integer" if self.whole else "number"
        return {"anyOf": [{"type": kind, bound: self.minimum}, REFERENCE]}


class Duration(NamedTuple):
    """``200ms``, ``3s``, ``5m``, ``1h``, ``7d`` or a number of seconds."""

    positive: bool = False

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        value = ctx.scalar(node, path)
        if value is BAD:
            return BAD
        try:
            seconds = parse_duration(value)
        except (TypeError, ValueError):
            return ctx.problem(
                node,
                path,
                f"{shown(node)} is no duration; write it like 200ms, 3s, 5m, 1h or 7d",
            )
        if self.positive and not seconds:
            return ctx.problem(node, path, "must be longer than zero")
        return seconds

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        bound = "exclusiveMinimum" if self.positive else "minimum"
        pattern = r"^\s*(\d+(\.\d+)?|\.\d+)\s*(ms|s|m|h|d|)\s*$"
        return {
            "anyOf": [
                {"type": "number", bound: 0},
                {"type": "string", "pattern": pattern},
                REFERENCE,
            ]
        }


class Share:
    """``5%`` or ``0.05``."""

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        value = ctx.scalar(node, path)
        if value is BAD:
            return BAD
        try:
            return parse_share(value)
        except (TypeError, ValueError):
            return ctx.problem(node, path, f"{shown(node)} is no share; write it like 5% or 0.05")

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        return {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": r"^\s*(\d+(\.\d+)?|\.\d+)\s*%?\s*$"},
                REFERENCE,
            ]
        }


class WordOr(NamedTuple):
    """One of some words, each with the value it stands for, or another kind."""

    words: Mapping[str, Any]
    other: Kind

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        if isinstance(node.value, str) and node.value in self.words:
            return self.words[node.value]
        return self.other.read(node, path, ctx)

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        return {"anyOf": [{"enum": list(self.words)}, self.other.schema()]}


def shown(node: Node) -> str:
    """A node in a message, as the file has it: a reference is never replaced here."""
    match node.value:
        case list() | dict():
            return f"a {shape(node)}"
        case None:
            return "nothing"
        case bool() as value:
            return str(value).lower()
        case str() as text if "${" in text:
            return "the value of " + text
        case str() as text:
            return repr(text if len(text) <= 60 else text[:59] + "…")
        case value:
            return str(value)
