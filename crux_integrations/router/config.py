"""Reading a routes file: parsed, checked as a whole, and refused with every fault named at once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from crux_providers import catalog
from crux_providers.config.declaration import declarations

from .checks import check, find_warnings
from .compiled import Lookup
from .fields import BAD, Context, Problem, suggestion
from .grammar import FILE
from .provider_trust import ProviderSettings, is_foreign, provider_settings
from .routes import (
    Breaker,
    Budget,
    Candidate,
    Hedge,
    Ledger,
    ModelConfig,
    Observed,
    OnTable,
    ProviderConfig,
    Retry,
    RouteConfig,
    RouteTest,
    StreamPolicy,
    Timeouts,
)
from .yaml12 import Node, YAMLError, from_data, parse

__all__ = [
    "Breaker",
    "Budget",
    "Candidate",
    "Hedge",
    "Ledger",
    "ModelConfig",
    "Observed",
    "OnTable",
    "ProviderConfig",
    "ProviderSettings",
    "Retry",
    "RouteConfig",
    "RouteTest",
    "RoutesConfig",
    "RoutesError",
    "RoutesSource",
    "StreamPolicy",
    "Timeouts",
    "catalog_lookup",
    "digest",
    "load_routes",
    "provider_settings",
]

RoutesSource: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any] | Source"


class RoutesError(ValueError):
    """A routes file that is refused; the message has a line ``file:line: path: what`` for each
    fault, and ``problems`` the same lines as a list."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def __reduce__(self) -> tuple[Any, ...]:
        return RoutesError, (self.problems,)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a configuration came from: its text with every ``${}`` as written.

    ``form`` is ``yaml`` or, for a mapping given in Python, ``json``.
    """

    text: str = field(repr=False)
    name: str = "<text>"
    form: str = "yaml"

    def node(self) -> Node:
        """The parsed text; raises YAMLError."""
        return from_data(json.loads(self.text)) if self.form == "json" else parse(self.text)


@dataclass(frozen=True, slots=True)
class RoutesConfig:
    """A checked routes file, its ``${}`` replaced from the environment it was read with.

    Pickles as its text, unexpanded, and is read again (with the environment of the process that
    unpickles it); a key that stands in the text itself is refused there. ``warnings`` are lines
    like a RoutesError's about what is likely not meant.
    """

    routes: Mapping[str, RouteConfig]
    providers: Mapping[str, ProviderConfig]
    models: Mapping[str, ModelConfig]
    tests: tuple[RouteTest, ...] = ()
    observed: Observed = field(default_factory=Observed)
    ledger: Ledger = field(default_factory=Ledger)
    chat_logs: bool = False
    warnings: tuple[str, ...] = ()
    source: Source = field(default=Source(""), repr=False, compare=False)
    _digests: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def route(self, name: str) -> RouteConfig:
        """The route of that name; raises RoutesError with a suggestion where there is none."""
        found = self.routes.get(name)
        if found is None:
            known = suggestion(name, self.routes) or f"; there is {', '.join(self.routes)}"
            raise RoutesError([f"{self.source.name}: routes: no route {name!r}{known}"])
        return found

    def expanded(self, env: Mapping[str, str]) -> RoutesConfig:
        """The same file read with another environment."""
        return load_routes(self.source, env=env)

    def __reduce__(self) -> tuple[Any, ...]:
        written = sorted(_written_secrets(self.source.node()))
        if written:
            raise TypeError(
                f"{self.source.name}: {', '.join(written)}: a secret stands in the file itself, "
                "and a pickle would carry it; write it as ${NAME}"
            )
        return load_routes, (self.source,)


def load_routes(source: RoutesSource, *, env: Mapping[str, str] | None = None) -> RoutesConfig:
    """The configuration in ``source``: a path, a mapping, or YAML text.

    A string is text where it holds a line break or begins with ``{``, else a path. ``env`` stands
    for ``os.environ``. Raises RoutesError with every fault of the file, OSError where it cannot be
    read. Opens nothing but the file and the catalogue's data.
    """
    origin = _source(source)
    env = os.environ if env is None else env
    try:
        root = origin.node()
    except YAMLError as exc:
        raise RoutesError([_line(origin.name, Problem(exc.line, "", f"yaml: {exc}"))]) from exc
    ctx = Context(env)
    values = FILE.read(root, "", ctx)
    if values is BAD:
        raise RoutesError(_lines(origin.name, ctx.problems))
    providers = {
        name: _provider(name, fields, env) for name, fields in values.get("providers", {}).items()
    }
    routes = {
        name: RouteConfig(name=name, **fields) for name, fields in values.get("routes", {}).items()
    }
    config = RoutesConfig(
        routes=MappingProxyType(routes),
        providers=MappingProxyType(providers),
        models=values.get("models", MappingProxyType({})),
        tests=values.get("tests", ()),
        observed=values.get("observed", Observed()),
        ledger=values.get("ledger", Ledger()),
        chat_logs=values.get("chat_logs", False),
        source=origin,
        warnings=tuple(_lines(origin.name, find_warnings(routes, root))),
    )
    problems = ctx.problems + check(routes, providers, config.models, config.tests, ctx.named, root)
    if problems:
        raise RoutesError(_lines(origin.name, problems))
    return config


def catalog_lookup(config: RoutesConfig) -> Lookup:
    """What the catalogue has of a candidate's model, for ``compile_route``.

    A gateway of the file's own counts as the vendor of its name only at that vendor's address.
    """

    def lookup(provider: str, model: str) -> catalog.CatalogEntry | None:
        if provider in declarations():
            return catalog.lookup(provider, model)
        declared = config.providers.get(provider)
        if declared is None or declared.base_url is None:
            return None
        return catalog.lookup(provider, model, base_url=declared.base_url)

    return lookup


def digest(config: RoutesConfig, route: str) -> str:
    """Sixteen hex digits that change when the route does, or one inside it, or what the file
    declares of models and providers. Made from the unexpanded text, without keys and headers."""
    known = config._digests.get(route)
    if known is None:
        tree = config.source.node().data()
        config.route(route)
        reached, todo = {}, [route]
        while todo:
            name = todo.pop()
            if name not in reached:
                reached[name] = tree["routes"][name]
                todo += [c.route for c in config.route(name).candidates if c.route is not None]
        providers = {
            name: {
                k: v for k, v in (fields or {}).items() if k not in ("api_key", "headers", "proxy")
            }
            for name, fields in (tree.get("providers") or {}).items()
        }
        parts = {
            "route": route,
            "routes": reached,
            "models": tree.get("models"),
            "providers": providers,
        }
        text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        known = hashlib.sha256(text.encode()).hexdigest()[:16]
        config._digests[route] = known
    return known


def _source(source: RoutesSource) -> Source:
    match source:
        case Source():
            return source
        case Mapping():
            try:
                node = from_data(source)
            except YAMLError as exc:
                raise RoutesError([f"<mapping>: {exc}"]) from exc
            return Source(json.dumps(node.data(), ensure_ascii=False), "<mapping>", "json")
        case str() as text if "\n" in text or text.lstrip().startswith("{"):
            return Source(text)
        case _:
            path = Path(source)
            try:
                return Source(path.read_text(encoding="utf-8"), str(source))
            except UnicodeDecodeError as exc:
                raise RoutesError([f"{source}: yaml: not UTF-8 text: {exc.reason}"]) from exc


def _provider(name: str, fields: dict[str, Any], env: Mapping[str, str]) -> ProviderConfig:
    provider = ProviderConfig(name=name, **fields)
    return replace(provider, foreign=is_foreign(provider, env))


def _lines(name: str, problems: list[Problem]) -> list[str]:
    ordered = sorted(problems, key=lambda p: p.line or 0)
    return list(dict.fromkeys(_line(name, p) for p in ordered))


def _line(name: str, problem: Problem) -> str:
    where = f"{name}:{problem.line}" if problem.line is not None else name
    return ": ".join(part for part in (where, problem.path, problem.what) if part)


_SECRET_HEADERS = ("authorization", "cookie", "key", "token", "secret")


def _written_secrets(root: Node) -> list[str]:
    """The paths of keys that stand in the text as they are."""
    found: list[str] = []
    providers = root.value.get("providers") if isinstance(root.value, dict) else None
    if providers is None or not isinstance(providers.value, dict):
        return found
    for name, node in providers.value.items():
        fields = node.data() or {}
        candidates = {"api_key": fields.get("api_key")}
        for header, text in (fields.get("headers") or {}).items():
            if any(part in header.lower() for part in _SECRET_HEADERS):
                candidates[f"headers.{header}"] = text
        for key in ("proxy", "base_url"):
            if "@" in str(fields.get(key) or ""):
                candidates[key] = fields[key]
        found += [
            f"providers.{name}.{key}"
            for key, text in candidates.items()
            if text and "${" not in str(text)
        ]
    return found
