"""What every gate shares: the files it looks at, and the report it gives."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGES = ("crux_providers", "crux_integrations")
CHECKED = (*PACKAGES, "tests")


@dataclass(frozen=True, slots=True)
class Report:
    """What a gate saw: how many things, and what is wrong as ``path:line: what``."""

    examined: int
    findings: tuple[str, ...]

    def assert_clean(self) -> None:
        """Raise AssertionError on any finding, and when nothing was examined at all."""
        assert self.examined > 0, "the gate examined nothing"
        assert not self.findings, "\n" + "\n".join(self.findings)


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file: its path below the root, its text and its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    def at(self, node: ast.AST, what: str) -> str:
        """A finding that points at the line of ``node``."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {what}"

    def is_below(self, *folders: str) -> bool:
        """Whether the file lies in one of these folders (paths below the root)."""
        return any(self.path.startswith(f"{folder}/") for folder in folders)


def sources(root: Path, folders: Iterable[str] = PACKAGES) -> Iterator[Source]:
    """Every Python file in these folders of ``root``, in a stable order."""
    for folder in folders:
        for file in sorted((root / folder).rglob("*.py")):
            yield _parsed(root, file, file.stat().st_mtime_ns)


@cache
def _parsed(root: Path, file: Path, changed: int) -> Source:
    text = file.read_text(encoding="utf-8")
    return Source(file.relative_to(root).as_posix(), text, ast.parse(text, str(file)))


def provider_folders(root: Path) -> dict[str, str]:
    """Each provider's name and its folder below ``root``: the folders that declare one."""
    declared = (root / "crux_providers").glob("*/declaration.py")
    return {
        file.parent.name: file.parent.relative_to(root).as_posix()
        for file in declared
        if file.parent.name != "config"
    }


def docstrings(tree: ast.Module) -> set[int]:
    """The ``id`` of every docstring's node, so that a gate over literals can leave them out."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str()) as text), *_]:
                    found.add(id(text))
    return found
