"""Gates over how the code is written: size, shells, conditions, defaults, docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.policy.examined import CHECKED, Report, Source, docstrings, provider_folders, sources

MAX_LINES = 500


def file_size(root: Path) -> Report:
    """No Python file over 500 lines, tests among them."""
    files = list(sources(root, CHECKED))
    return Report(
        len(files),
        tuple(
            f"{file.path}: {lines} lines, {MAX_LINES} at most"
            for file in files
            if (lines := len(file.text.splitlines())) > MAX_LINES
        ),
    )


def no_shell(root: Path) -> Report:
    """No call with ``shell=`` other than a literal False, and no ``os.system`` or ``os.popen``."""
    examined, findings = 0, []
    for file in sources(root, CHECKED):
        for call in (node for node in ast.walk(file.tree) if isinstance(node, ast.Call)):
            examined += 1
            for keyword in call.keywords:
                match keyword:
                    case ast.keyword(arg="shell", value=ast.Constant(value=False)):
                        pass
                    case ast.keyword(arg="shell"):
                        findings.append(file.at(call, "a shell runs this; pass a list of words"))
            if ast.unparse(call.func) in {"os.system", "os.popen"}:
                findings.append(file.at(call, "a shell runs this; use subprocess with a list"))
    return Report(examined, tuple(findings))


def provider_names_in_conditions(root: Path) -> Report:
    """No provider's name in an ``if``, ``while`` or ``case`` outside the provider's own folder.

    What differs between providers is data in their declarations. ``local`` is also an ordinary
    word, so it counts only where the condition speaks of a provider.
    """
    folders = provider_folders(root)
    examined, findings = 0, []
    for file in sources(root):
        for condition, subject in _conditions(file.tree):
            examined += 1
            for constant in ast.walk(condition):
                if not isinstance(constant, ast.Constant) or not isinstance(constant.value, str):
                    continue
                name = constant.value.lower().strip(" :/.-")
                if name not in folders or file.is_below(folders[name]):
                    continue
                if name == "local" and "provider" not in subject.lower():
                    continue
                findings.append(file.at(constant, f"decides by the provider's name {name!r}"))
    return Report(examined, tuple(findings))


def _conditions(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Every condition, with the text that says what it is about."""
    for node in ast.walk(tree):
        match node:
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
                yield test, ast.unparse(test)
            case ast.comprehension(ifs=ifs):
                for test in ifs:
                    yield test, ast.unparse(test)
            case ast.Match(subject=subject, cases=cases):
                for case in cases:
                    yield case.pattern, ast.unparse(subject)
                    if case.guard is not None:
                        yield case.guard, ast.unparse(case.guard)


def defaults_not_repeated(root: Path) -> Report:
    """No value of ``config/defaults.py`` that names an address, model or date is written again.

    Single ordinary words (a journal mode, a provider's name) are left out: they occur in their
    own right. So is the catalogue, which holds facts about models by name.
    """
    home = "crux_providers/config/defaults.py"
    files = list(sources(root))
    owned = {
        value
        for file in files
        if file.path == home
        for value in _literals(file)
        if not value.isalpha() and not any(c.isspace() for c in value)
    }
    findings = [
        f"{file.path}: {value!r} is a default; import it from crux_providers.config.defaults"
        for file in files
        if file.path != home and not file.is_below("crux_providers/catalog")
        for value in sorted(owned & set(_literals(file)))
    ]
    return Report(len(owned), tuple(findings))


def _literals(file: Source) -> Iterator[str]:
    prose = docstrings(file.tree)
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            prose.add(id(node.value))  # the text below an attribute, which documents it
    for node in ast.walk(file.tree):
        match node:
            case ast.Constant(value=str(value)) if id(node) not in prose:
                yield value


def no_timeout_numbers_in_adapters(root: Path) -> Report:
    """No number for a timeout or a retry in a provider's folder; the defaults have them all."""
    folders = tuple(provider_folders(root).values())
    examined, findings = 0, []
    for file in sources(root):
        if not file.is_below(*folders):
            continue
        examined += 1
        for name, value in _named_values(file.tree):
            if not any(word in name.lower() for word in ("timeout", "retries", "retry")):
                continue
            match value:
                case ast.Constant(value=bool()):
                    pass
                case ast.Constant(value=int() | float() as number) if number:
                    findings.append(file.at(value, f"{name} = {number} belongs in the defaults"))
    return Report(examined, tuple(findings))


def _named_values(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Every value that is given a name: assignments, keyword arguments, parameters' defaults."""
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg=str(name), value=value):
                yield name, value
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value
            case ast.arguments():
                positional = [*node.posonlyargs, *node.args]
                pairs = [
                    *zip(reversed(positional), reversed(node.defaults), strict=False),
                    *zip(node.kwonlyargs, node.kw_defaults, strict=True),
                ]
                yield from ((arg.arg, value) for arg, value in pairs if value is not None)


def numbers_not_repeated(root: Path) -> Report:
    """No number of ``config/defaults.py`` from 100 on is written again where defaults are used.

    In providers' folders, persistence and the command line. Smaller ones mean many things.
    """
    home = "crux_providers/config/defaults.py"
    users = ["crux_providers/persistence", "crux_integrations/cli"]
    users += provider_folders(root).values()
    files = list(sources(root))
    owned = {value for f in files if f.path == home for value, _ in _large_numbers(f.tree)}
    findings = [
        file.at(node, f"{value:g} is a default; import it from {home}")
        for file in files
        if file.is_below(*users)
        for value, node in _large_numbers(file.tree)
        if value in owned
    ]
    return Report(len(owned), tuple(findings))


def _large_numbers(tree: ast.Module) -> Iterator[tuple[float, ast.AST]]:
    """The numbers from 100 on with their nodes; a product of numbers counts as what it makes."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                if value >= 100:
                    yield float(value), node
            case ast.BinOp(
                left=ast.Constant(value=int() | float() as left),
                op=ast.Mult(),
                right=ast.Constant(value=int() | float() as right),
            ):
                yield float(left * right), node
            case _:
                todo.extend(ast.iter_child_nodes(node))


def public_raises(root: Path) -> Report:
    """A public function of ``base`` or ``config`` that raises says so, or whose twin it is."""
    examined, findings = 0, []
    for file in sources(root):
        if not file.is_below("crux_providers/base", "crux_providers/config"):
            continue
        for owner, node in _public(file.tree.body):
            if isinstance(node, ast.ClassDef) or not _raises(node):
                continue
            examined += 1
            said = f"{ast.get_docstring(node)} {ast.get_docstring(owner) if owner else ''}".lower()
            if not any(word in said for word in ("raise", "refuse", "async twin")):
                findings.append(file.at(node, f"{node.name} does not say what it raises"))
    return Report(examined, tuple(findings))


def _raises(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    inside: list[ast.AST] = list(function.body)
    while inside:
        match inside.pop():
            case ast.Raise(exc=ast.expr()):
                return True
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
                pass
            case node:
                inside.extend(ast.iter_child_nodes(node))
    return False


def public_docstrings(root: Path) -> Report:
    """Every public module, class, function and method says what it is.

    An empty ``__init__.py`` needs none, nor does an overload, a setter, or a method whose base
    class in this project documents it.
    """
    files = list(sources(root))
    classes = {
        node.name: node
        for file in files
        for node in ast.walk(file.tree)
        if isinstance(node, ast.ClassDef)
    }
    examined, findings = 0, []
    for file in files:
        if file.tree.body and not Path(file.path).stem.startswith("_"):
            examined += 1
            if ast.get_docstring(file.tree) is None:
                findings.append(f"{file.path}: the module has no docstring")
        for owner, node in _public(file.tree.body):
            examined += 1
            if ast.get_docstring(node) is None and not _inherits_docstring(owner, node, classes):
                where = f"{owner.name}.{node.name}" if owner else node.name
                findings.append(file.at(node, f"{where} has no docstring"))
    return Report(examined, tuple(findings))


def _public(
    body: list[ast.stmt], owner: ast.ClassDef | None = None
) -> Iterator[tuple[ast.ClassDef | None, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in body:
        match node:
            case ast.ClassDef(name=name) if not name.startswith("_"):
                yield owner, node
                yield from _public(node.body, node)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if not name.startswith("_") and not _is_variant(node):
                    yield owner, node
            case ast.If() | ast.Try():
                yield from _public(node.body, owner)


def _is_variant(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether this is one more form of a name documented elsewhere."""
    return any(
        ast.unparse(decorator).split(".")[-1] in {"overload", "override", "setter", "deleter"}
        for decorator in node.decorator_list
    )


def _inherits_docstring(
    owner: ast.ClassDef | None, node: ast.AST, classes: dict[str, ast.ClassDef]
) -> bool:
    if owner is None or isinstance(node, ast.ClassDef):
        return False
    seen: set[str] = set()
    bases = list(owner.bases)
    while bases:
        # Base[T] and module.Base name the class Base.
        name = ast.unparse(bases.pop()).split("[")[0].split(".")[-1]
        if name in seen or name not in classes:
            continue
        seen.add(name)
        base = classes[name]
        bases.extend(base.bases)
        for member in base.body:
            if (
                isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
                and member.name == getattr(node, "name", None)
                and ast.get_docstring(member) is not None
            ):
                return True
    return False
