"""What a routes file must hold together: references, cycles, rules that can never match."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from crux_providers import catalog
from crux_providers.config.declaration import declarations

from .fields import Named, Problem, suggestion
from .provider_trust import key_variables, may_hold
from .routes import (
    DEFAULT_ROUTE,
    Candidate,
    ModelConfig,
    ProviderConfig,
    RouteConfig,
    RouteTest,
)
from .yaml12 import Node


def check(
    routes: Mapping[str, RouteConfig],
    providers: Mapping[str, ProviderConfig],
    models: Mapping[str, ModelConfig],
    tests: Sequence[RouteTest],
    named: Mapping[str, Named],
    root: Node,
) -> list[Problem]:
    """Every fault that shows only in the whole file. ``named`` has the variables by path."""
    known = {*declarations(), *providers}
    used = {c.ref for route in routes.values() for c in route.candidates}
    return [
        *_providers(providers, root),
        *_keys(providers, named),
        *_models(models, known, root),
        *_candidates(routes, models, known, [ref for ref in models if ref not in used]),
        *_cycles(routes),
        *_requirements(routes, models, root),
        *_rows(routes, root),
        *_tests(tests, routes),
    ]


def find_warnings(routes: Mapping[str, RouteConfig], root: Node) -> list[Problem]:
    """What is allowed, and likely not meant."""
    found: list[Problem] = []
    for name, route in routes.items():

        def warn(key: str, what: str, name: str = name) -> None:
            where = f"routes.{name}.{key}"
            found.append(Problem(line_of(root, "routes", name, key), where, what))

        for i, word in enumerate(route.prefer[:-1]):
            if word in ("order", "weighted"):
                warn("prefer", f"{word!r} leaves no tie, so {route.prefer[i + 1]!r} never decides")
                break
        limits = route.timeout
        for part in ("connect", "first_token"):
            own = getattr(limits, part)
            if own is not None and limits.total is not None and own > limits.total:
                warn("timeout", f"{part} is longer than total and never ends anything")
        if route.hedge is not None and len(route.candidates) < 2:
            warn("hedge", "there is no second candidate to ask")
        if route.retry.attempts == 1 and "on" in _keys_of(root, "routes", name):
            rows = _keys_of(root, "routes", name, "on")
            again = [r for r in rows if route.on.action(r) == "retry"]
            if again:
                warn("on", f"{', '.join(again)}: retry, but retry.attempts is 1")
    return found


def line_of(root: Node, *keys: str | int) -> int | None:
    """The line of the key at the end of a path, or of the last one that is there."""
    node, line = root, root.line
    for key in keys:
        match node.value:
            case dict() as mapping if key in mapping:
                line = (node.key_lines or {}).get(str(key), line)
                node = mapping[str(key)]
            case list() as items if isinstance(key, int) and key < len(items):
                node = items[key]
                line = node.line
            case _:
                break
    return line


def split_ref(ref: str) -> tuple[str, str]:
    """``provider:model`` as its two parts; a reference without a colon has no provider."""
    provider, colon, model = ref.partition(":")
    return (provider, model) if colon else ("", provider)


def _keys_of(root: Node, *keys: str) -> Iterable[str]:
    node = root
    for key in keys:
        if not isinstance(node.value, dict) or key not in node.value:
            return ()
        node = node.value[key]
    return node.value if isinstance(node.value, dict) else ()


def _providers(providers: Mapping[str, ProviderConfig], root: Node) -> Iterator[Problem]:
    for name, provider in providers.items():
        where = f"providers.{name}"
        declared = declarations().get(name)
        if declared is None:
            for key in ("dialect", "base_url"):
                written = key in _keys_of(root, "providers", name)
                if getattr(provider, key) is None and not written:
                    near = suggestion(name, declarations(), 0.75)
                    yield Problem(provider.line, where, f"a gateway needs its {key}{near}")
                    break
            continue
        line = line_of(root, "providers", name, "api")
        if provider.api not in (None, "auto", *declared.dialects):
            yield Problem(line, f"{where}.api", f"{name} has no api {provider.api!r}")
        line = line_of(root, "providers", name, "transport")
        if provider.transport not in (None, "http", *declared.transports):
            yield Problem(line, f"{where}.transport", f"{name} has no {provider.transport!r}")


def _keys(providers: Mapping[str, ProviderConfig], named: Mapping[str, Named]) -> Iterator[Problem]:
    """No variable that holds a provider's key where it could leave for another host."""
    homes = {f"providers.{name}.api_key": provider for name, provider in providers.items()}
    for path, value in named.items():
        for variable in value.names:
            if variable not in key_variables():
                continue
            home = homes.get(path)
            if home is None or not may_hold(variable, home):
                owner = key_variables()[variable]
                yield Problem(
                    value.line,
                    path,
                    f"{variable} goes only to {owner}'s own host, as its api_key; give this one a "
                    f"key of its own, or set {declarations()[owner].base_url_variable}",
                )


def _models(models: Mapping[str, ModelConfig], known: set[str], root: Node) -> Iterator[Problem]:
    for ref in models:
        provider, _ = split_ref(ref)
        if provider not in known:
            yield Problem(
                line_of(root, "models", ref),
                f"models.{ref}",
                f"unknown provider {provider!r}{suggestion(provider, known)}",
            )


def _candidates(
    routes: Mapping[str, RouteConfig],
    models: Mapping[str, ModelConfig],
    known: set[str],
    unused: Sequence[str],
) -> Iterator[Problem]:
    for name, route in routes.items():
        for i, candidate in enumerate(route.candidates):
            where = f"routes.{name}.candidates[{i}]"
            what = _fault(candidate, routes, models, known, unused)
            if what is not None:
                yield Problem(candidate.line, where, what)


def _fault(
    candidate: Candidate,
    routes: Mapping[str, RouteConfig],
    models: Mapping[str, ModelConfig],
    known: set[str],
    unused: Sequence[str],
) -> str | None:
    if candidate.route is not None:
        if candidate.model:
            return "either model or route, not both"
        if candidate.params:
            return "params belong to a model, not to a route"
        if candidate.route not in routes:
            return f"no route {candidate.route!r}{suggestion(candidate.route, routes)}"
        return None
    if not candidate.model:
        return "needs model: provider:model, or route: name"
    if not candidate.provider:
        if candidate.model in routes:
            return f"a route stands as {{route: {candidate.model}}}"
        return f"{candidate.model!r} is no provider:model"
    if candidate.provider not in known:
        near = suggestion(candidate.provider, known)
        return f"unknown provider {candidate.provider!r}{near}"
    if candidate.ref in models:
        return None
    meant = misspelt(candidate.provider, candidate.model) or _declared(candidate, unused)
    if meant is not None:
        return (
            f"unknown model {candidate.model!r}, did you mean {meant!r}? "
            f"(if it exists, declare it: models: {{{candidate.ref}: {{}}}})"
        )
    return None


def _declared(candidate: Candidate, unused: Sequence[str]) -> str | None:
    """The declared model that no candidate names and that this one is a slip of, or None.

    So a gateway's names are judged too, by what the file itself says of its models.
    """
    import difflib

    names = [name for provider, name in map(split_ref, unused) if provider == candidate.provider]
    near = difflib.get_close_matches(candidate.model, names, n=1, cutoff=0.8)
    return near[0] if near else None


def misspelt(provider: str, model: str) -> str | None:
    """The catalogue's name that ``model`` is a slip of, or None.

    Only providers that serve their own models and nobody else's are judged (``catalog.closed``): a
    gateway, an aggregator or a local server may serve any name. There, a name the catalogue does
    not have is a slip when it is one or two edits from one it has. A name with other digits, or
    one that only adds to a known name, is taken for a newer model than the catalogue.
    """
    if not catalog.closed(provider) or catalog.lookup(provider, model) is not None:
        return None
    import difflib

    name = model.lower()
    for known in difflib.get_close_matches(name, catalog.model_names(provider), n=5, cutoff=0.8):
        same_version = _digits(known) == _digits(name)
        extended = known.startswith(name) or name.startswith(known)
        if same_version and not extended and _distance(known, name) <= 2:
            return known
    return None


def _digits(text: str) -> str:
    return "".join(c for c in text if c.isdigit())


def _distance(a: str, b: str) -> int:
    """Edits (insert, delete, replace, swap of neighbours) between two names."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                best = min(best, older[j - 2] + 1)
            row.append(best)
    return row[-1]


def _cycles(routes: Mapping[str, RouteConfig]) -> Iterator[Problem]:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> Iterator[Problem]:
        for i, candidate in enumerate(routes[name].candidates):
            inner = candidate.route
            if inner is None or inner not in routes:
                continue
            if inner in path:
                round_ = " → ".join((*path[path.index(inner) :], inner))
                yield Problem(
                    candidate.line, f"routes.{name}.candidates[{i}]", f"a cycle: {round_}"
                )
            elif inner not in done:
                yield from visit(inner, (*path, inner))
        done.add(name)

    for name in routes:
        if name not in done:
            yield from visit(name, (name,))


def _requirements(
    routes: Mapping[str, RouteConfig], models: Mapping[str, ModelConfig], root: Node
) -> Iterator[Problem]:
    """A capability that every candidate is declared not to have leaves a route without any."""
    for name, route in routes.items():
        for word in sorted(route.require):
            own = [c for c in route.candidates if c.route is None]
            declared = [
                models[c.ref].capabilities.get(word) if c.ref in models else None for c in own
            ]
            if own and len(own) == len(route.candidates) and all(d is False for d in declared):
                yield Problem(
                    line_of(root, "routes", name, "require"),
                    f"routes.{name}.require",
                    f"every candidate declares {word}: false, so none can ever be taken",
                )


def _rows(routes: Mapping[str, RouteConfig], root: Node) -> Iterator[Problem]:
    """A row of ``on`` that nothing ever comes to."""
    for name, route in routes.items():
        if route.on.action("cancelled") != "stop":
            yield Problem(
                line_of(root, "routes", name, "on", "cancelled"),
                f"routes.{name}.on.cancelled",
                "a call that its caller cancels ends there, whatever this says",
            )


def _tests(tests: Sequence[RouteTest], routes: Mapping[str, RouteConfig]) -> Iterator[Problem]:
    for i, test in enumerate(tests):
        where = f"tests[{i}]"
        if test.route not in routes:
            near = suggestion(test.route, routes)
            yield Problem(test.line, f"{where}.route", f"no route {test.route!r}{near}")
            continue
        refs = set(leaves(routes, test.route))
        named = [
            *test.expect,
            *test.state.get("breaker", ()),
            *test.state.get("admission", ()),
            *test.state.get("observed", ()),
            *test.state.get("latency", ()),
        ]
        for ref in named:
            if ref not in refs:
                near = suggestion(ref, refs)
                yield Problem(
                    test.line, where, f"{ref!r} is no candidate of route {test.route!r}{near}"
                )


def leaves(routes: Mapping[str, RouteConfig], name: str = DEFAULT_ROUTE) -> Iterator[str]:
    """Every ``provider:model`` a route can reach, inner routes too; a cycle is passed over."""
    seen: set[str] = set()
    todo = [name]
    while todo:
        current = todo.pop()
        if current in seen or current not in routes:
            continue
        seen.add(current)
        for candidate in routes[current].candidates:
            if candidate.route is not None:
                todo.append(candidate.route)
            else:
                yield candidate.ref
