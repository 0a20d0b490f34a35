"""Gates over what a module imports. import-linter holds the floors; these hold the names."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.policy.examined import PACKAGES, Report, Source, sources

PURE = (
    *("base/models", "base/events", "base/errors", "base/flow", "base/pricing", "codecs"),
    *("router/policy", "router/plan", "router/replay", "langchain/messages", "langchain/tools"),
)
"""The design's pure set, as paths below a package; pyproject's contract `pure` must name each."""

OPENAI_FETCHERS = r"crux_providers/(openai|openrouter|deepseek|xai)/get_\1_models\.py"
"""The listings that OpenAI's SDK serves: its own, and those of the providers that speak like it."""

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "openai": (r"crux_providers/transports/openai_sdk\.py", OPENAI_FETCHERS),
    "anthropic": (
        r"crux_providers/transports/anthropic_sdk\.py",
        r"crux_providers/anthropic/get_anthropic_models\.py",
    ),
    "google": (
        r"crux_providers/transports/google_sdk\.py",
        r"crux_providers/gemini/get_gemini_models\.py",
    ),
    "ollama": (
        r"crux_providers/transports/ollama_sdk\.py",
        r"crux_providers/ollama/get_ollama_models\.py",
    ),
    "litellm": (
        r"crux_providers/transports/litellm_sdk\.py",
        r"crux_providers/litellm/get_litellm_models\.py",
    ),
    "xllamacpp": (
        r"crux_providers/transports/llamacpp\.py",
        r"crux_providers/local/get_local_models\.py",
    ),
}
"""Each SDK's top-level name, and the only modules that import it (inside a function)."""

LANGCHAIN = ("langchain", "langchain_core", "langgraph")
LANGCHAIN_FOLDER = "crux_integrations/langchain"

CORE = {"dotenv", "httpcore", "httpx", "langchain_core", "platformdirs", "pydantic", "yaml"}
"""What the core install brings (httpcore with httpx); anything else is an extra."""

EXTRAS_AT_HOME = {
    "crux_integrations/cli": {"click", "rich"},
    "crux_integrations/gateway": {"fastapi", "starlette", "uvicorn"},
    "crux_integrations/testing": {"pytest", "vcr"},
}
"""Folders that are reached only where their extra is installed."""


def imported(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Every absolute import, late and dynamic ones too, as the dotted name of the module."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node, alias.name) for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield node, module
            case ast.Call(args=[ast.Constant(value=str(module)), *_]):
                if ast.unparse(node.func).split(".")[-1] in {"import_module", "__import__"}:
                    yield node, module


def at_import_time(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The imports that run when the module does: not in functions, not for the type checker,
    and not where their absence is handled."""
    for node in body:
        match node:
            case ast.Import() | ast.ImportFrom():
                yield node
            case ast.If(test=test, body=then, orelse=otherwise):
                if "TYPE_CHECKING" not in ast.unparse(test):
                    yield from at_import_time(then)
                yield from at_import_time(otherwise)
            case ast.Try(handlers=handlers):
                caught = " ".join(ast.unparse(h.type) for h in handlers if h.type)
                if "ImportError" not in caught and "ModuleNotFoundError" not in caught:
                    yield from at_import_time(node.body)
            case ast.With(body=inner) | ast.ClassDef(body=inner):
                yield from at_import_time(inner)


def pure_contract(root: Path) -> tuple[list[str], list[str]]:
    """The modules and the forbidden names of pyproject's contract ``pure``."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    pure = next(contract for contract in contracts if contract["id"] == "pure")
    return pure["source_modules"], pure["forbidden_modules"]


def pure_modules(root: Path) -> Report:
    """Every module of the pure set exists, is in the contract and imports nothing forbidden."""
    modules, forbidden = pure_contract(root)
    examined, findings = 0, []
    for module in modules:
        path = module.replace(".", "/")
        files = [f for f in sources(root) if f.path == f"{path}.py" or f.is_below(path)]
        if not files:
            findings.append(
                f"pyproject.toml: the contract `pure` names {module}, which is not there"
            )
        for file in files:
            examined += 1
            findings += [
                file.at(node, f"a pure module imports {name}")
                for node, name in imported(file.tree)
                if name.split(".")[0] in forbidden
            ]
    for entry in PURE:
        for package in PACKAGES:
            place = root / package / entry
            module = f"{package}.{entry.replace('/', '.')}"
            if (place.is_dir() or place.with_suffix(".py").is_file()) and module not in modules:
                findings.append(f"pyproject.toml: the contract `pure` leaves out {module}")
    return Report(examined, tuple(findings))


def sdk_imports(root: Path) -> Report:
    """Only its transport and its fetcher import an SDK, and late; only ``langchain/`` LangChain."""
    examined, findings = 0, []
    for file in sources(root):
        early = {id(node) for node in at_import_time(file.tree.body)}
        for node, name in imported(file.tree):
            examined += 1
            top = name.split(".")[0]
            if top in LANGCHAIN and not file.is_below(LANGCHAIN_FOLDER):
                findings.append(file.at(node, f"{name} is imported outside {LANGCHAIN_FOLDER}"))
            if top in MAY_IMPORT:
                if not any(re.fullmatch(home, file.path) for home in MAY_IMPORT[top]):
                    findings.append(file.at(node, f"{name} is imported outside its transport"))
                elif id(node) in early:
                    findings.append(file.at(node, f"{name} is imported at import time, not late"))
    return Report(examined, tuple(findings))


def optional_dependencies(root: Path) -> Report:
    """What the core install does not bring is imported late, or in its extra's own folder."""
    known = {*sys.stdlib_module_names, *PACKAGES, *CORE, *LANGCHAIN}
    examined, findings = 0, []
    for file in sources(root):
        allowed = known.union(
            *(extra for folder, extra in EXTRAS_AT_HOME.items() if file.is_below(folder))
        )
        for statement in at_import_time(file.tree.body):
            for node, name in imported(statement):
                examined += 1
                if name.split(".")[0] not in allowed:
                    findings.append(
                        file.at(node, f"{name} is not in the core install: import it late")
                    )
    return Report(examined, tuple(findings))


def neighbours_private_parts(root: Path) -> Report:
    """No underscored module or name is imported from another folder."""
    examined, findings = 0, []
    for file in sources(root):
        for node in ast.walk(file.tree):
            if not isinstance(node, ast.ImportFrom):
                continue
            examined += 1
            module = _absolute(file, node)
            if module.split(".")[0] not in PACKAGES or _folder(root, module) == _parent(file):
                continue
            private = [
                name
                for name in (*module.split("."), *(alias.name for alias in node.names))
                if name.startswith("_") and not name.startswith("__")
            ]
            findings += [file.at(node, f"{name} is private to {module}") for name in private]
    return Report(examined, tuple(findings))


def _parent(file: Source) -> str:
    return Path(file.path).parent.as_posix()


def _absolute(file: Source, node: ast.ImportFrom) -> str:
    """The module an import names, its leading dots resolved."""
    if not node.level:
        return node.module or ""
    package = Path(file.path).parent.parts
    base = package[: len(package) - node.level + 1]
    return ".".join((*base, *([node.module] if node.module else [])))


def _folder(root: Path, module: str) -> str:
    """The folder a module lies in, which for a package is its own."""
    place = Path(*module.split("."))
    return (place if (root / place).is_dir() else place.parent).as_posix()
