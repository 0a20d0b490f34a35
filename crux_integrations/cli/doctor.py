"""``crux doctor``: what is there, what is missing, and what to do about it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import click

from .options import AS_JSON, ROUTES_FILE, find_routes_file, show_json

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

Verdict = Literal["ok", "warn", "fail"]
DISTRIBUTION = "crux-integrations"
WAIT_S = 2.0
"""How long a server may take to answer."""


class Finding(NamedTuple):
    """One line: what was looked at, how it stands, and in words."""

    name: str
    verdict: Verdict
    detail: str


@click.command()
@ROUTES_FILE
@AS_JSON
def doctor(routes_file: Path | None, as_json: bool) -> int:
    """Look at everything crux stands on; exits 1 where something fails. Changes nothing."""
    findings = [finding for check in checks(routes_file) for finding in check()]
    failed = any(finding.verdict == "fail" for finding in findings)
    if as_json:
        show_json({"ok": not failed, "findings": [one._asdict() for one in findings]})
    else:
        marks = {"ok": "green", "warn": "yellow", "fail": "red"}
        width = max(len(one.name) for one in findings)
        for one in findings:
            mark = click.style(f"{one.verdict:<4}", fg=marks[one.verdict])
            click.echo(f"{mark}  {one.name:<{width}}  {one.detail}")
    return 1 if failed else 0


def checks(routes_file: Path | None) -> tuple[Callable[[], Iterable[Finding]], ...]:
    """What is looked at, in order."""
    return (
        python,
        packages,
        keys,
        database,
        lambda: routes(routes_file),
        state,
        local_model,
        catalogue,
    )


# -- programs -------------------------------------------------------------------------------------


def python() -> Iterator[Finding]:
    """The interpreter, and this program itself."""
    from crux_providers import __version__

    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if good else "fail", version if good else f"{version}: needs 3.11")
    yield Finding("crux", "ok", __version__)


def packages() -> Iterator[Finding]:
    """Every package that an extra installs: its version, and whether that is one we support.

    A package that is not there is no fault: the extra that brings it is named.
    """
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Finding("packages", "warn", f"{DISTRIBUTION} is not installed: pip install it")
        return
    needs = [need for need in map(Requirement, lines) if need.name != DISTRIBUTION]
    seen: set[str] = set()
    for extra in ("", *_EXTRAS):
        for need in needs:
            marker = need.marker
            if need.name not in seen and (marker is None or marker.evaluate({"extra": extra})):
                seen.add(need.name)
                yield _package(need.name, need.specifier, extra)


_EXTRAS = (
    "openai", "anthropic", "gemini", "ollama", "local", "litellm", "fast", "postgres", "redis",
    "cli", "service", "cassettes",
)  # fmt: skip
"""The extras that bring packages of their own; of two that bring the same, the first one's bounds
are the ones that count."""


def _package(name: str, bounds: SpecifierSet, extra: str) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        if not extra:
            return Finding(name, "fail", f"not installed: pip install '{name}{bounds}'")
        how = f"pip install '{DISTRIBUTION}[{extra}]'"
        return Finding(name, "ok", f"not installed (extra {extra}: {how})")
    if bounds.contains(version, prereleases=True):
        return Finding(name, "ok", version)
    return Finding(name, "warn" if extra else "fail", f"{version}: supported is {bounds}")


# -- keys -----------------------------------------------------------------------------------------


def keys() -> Iterator[Finding]:
    """Where each provider's key is found, by the name of the variable, never its value."""
    from crux_providers.config.declaration import declarations
    from crux_providers.config.env import get_env_var_candidates
    from crux_providers.config.files import ConfigError

    found, missing = [], []
    for name, declared in declarations().items():
        if declared.env_key is None:
            continue
        try:
            place = _key_place(name)
        except ConfigError as error:
            yield Finding("keys", "fail", str(error))
            return
        if place is not None:
            found.append(f"{name} ({place})")
        elif declared.key_required:
            missing.append(get_env_var_candidates(name)[0])
    if found:
        yield Finding("keys", "ok", ", ".join(found))
    else:
        yield Finding("keys", "warn", f"none found: set one of {', '.join(missing)}")


def _key_place(provider: str) -> str | None:
    from crux_providers.base.repositories.keys import KeysRepository
    from crux_providers.config import files
    from crux_providers.config.env import (
        get_env_var_candidates,
        is_placeholder,
        resolve_provider_key,
    )

    _, variable = resolve_provider_key(provider)
    if variable is not None:
        return variable
    stored = files.dotenv()
    for name in get_env_var_candidates(provider):
        if not is_placeholder(stored.get(name)):
            return f"{name} in .env"
    return "config.yaml" if KeysRepository().get_api_key(provider) is not None else None


# -- storage --------------------------------------------------------------------------------------


def database() -> Iterator[Finding]:
    """The database: where, which version, who may read it. Neither made nor migrated here."""
    from crux_providers.persistence.database import connect_database
    from crux_providers.persistence.errors import StorageError
    from crux_providers.persistence.location import current
    from crux_providers.persistence.schema import MIGRATIONS, version_of

    try:
        place = current()
        if place.kind == "off":
            yield Finding("database", "ok", "CRUX_DB=off: nothing is kept")
            return
        if place.kind == "sqlite":
            if not place.exists():
                yield _room_for(place.path)
                return
            yield from _mode(place.path)
        with connect_database(place, create=False) as opened:
            version = version_of(opened)
    except StorageError as error:
        yield Finding("database", "fail", str(error))
        return
    known = len(MIGRATIONS)
    if version > known:
        words = f"{place}: schema {version} is of a newer crux, this one knows {known}: upgrade it"
        yield Finding("database", "fail", words)
    else:
        tail = "" if version == known else f", becomes {known} at the next use"
        yield Finding("database", "ok", f"{place}: schema {version}{tail}")


def _room_for(file: Path) -> Finding:
    folder = next((p for p in file.parents if p.exists()), file.parent)
    if folder.is_dir() and os.access(folder, os.W_OK):
        return Finding("database", "ok", f"{file}: made at the first use")
    words = f"{file} cannot be made ({folder} is not writable): nothing is kept; set CRUX_DB"
    return Finding("database", "warn", words)


def _mode(file: Path) -> Iterator[Finding]:
    if not os.access(file, os.W_OK):
        yield Finding("database", "warn", f"{file} is read-only: nothing new is kept; set CRUX_DB")
    mode = file.stat().st_mode & 0o777
    if os.name == "posix" and mode & 0o077:
        words = f"{file}: others may read it (mode {mode:04o}): chmod 600 {file}"
        yield Finding("database", "warn", words)


def state() -> Iterator[Finding]:
    """The server that replicas share breakers and budgets through, where one is named."""
    from urllib.parse import urlsplit

    url = os.environ.get("CRUX_STATE", "").strip()
    if not url:
        return
    parts = urlsplit(url)
    name = f"{parts.scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")
    if parts.scheme not in ("redis", "rediss"):
        yield Finding("state", "fail", "CRUX_STATE names no redis://")
        return
    try:
        import redis
    except ImportError:
        words = f"CRUX_STATE needs redis: pip install '{DISTRIBUTION}[redis]'"
        yield Finding("state", "fail", words)
        return
    try:
        with redis.Redis.from_url(
            url, socket_connect_timeout=WAIT_S, socket_timeout=WAIT_S
        ) as server:
            version = server.info("server").get("redis_version", "")
    except (redis.RedisError, OSError, ValueError) as error:
        words = f"{name} does not answer ({type(error).__name__}): each process is on its own"
        yield Finding("state", "fail", words)
    else:
        yield Finding("state", "ok", f"{name}: redis {version}")


# -- what is routed -------------------------------------------------------------------------------


def routes(routes_file: Path | None) -> Iterator[Finding]:
    """The routes file as ``crux routes check`` sees it."""
    from crux_integrations.router.config import RoutesError, load_routes
    from crux_providers.config.files import ConfigError

    from .routes import notes_on

    path = find_routes_file(routes_file)
    try:
        config = load_routes(path)
        notes = notes_on(config)
    except (RoutesError, ConfigError, OSError) as error:
        problems = getattr(error, "problems", [str(error)])
        more = f" (and {len(problems) - 1} more: crux routes check)" if len(problems) > 1 else ""
        yield Finding("routes", "fail", f"{problems[0]}{more}")
        return
    tail = f", {len(notes)} notes: crux routes check" if notes else ""
    yield Finding("routes", "ok", f"{path}: {len(config.routes)} routes are good{tail}")


def local_model() -> Iterator[Finding]:
    """The embedded model: its engine, and a file for it."""
    from platformdirs import user_data_path

    from crux_providers.persistence.location import DIRECTORY

    named = os.environ.get("CRUX_LOCAL_GGUF", "").strip()
    if named:
        there = Path(named).expanduser().is_file()
        yield Finding(
            "local model",
            "ok" if there else "fail",
            named if there else f"CRUX_LOCAL_GGUF names {named}, which is not there",
        )
        return
    folder = user_data_path(DIRECTORY, appauthor=False)
    found = sorted(folder.rglob("*.gguf")) if folder.is_dir() else []
    if found:
        yield Finding("local model", "ok", ", ".join(map(str, found)))
    else:
        yield Finding("local model", "ok", "none (crux local pull fetches one)")


def catalogue() -> Iterator[Finding]:
    """How old the figures of the catalogue are."""
    from datetime import UTC, datetime

    from crux_providers import catalog
    from crux_providers.config import defaults

    today = datetime.now(UTC).date()
    every = {name: sources for name, sources in catalog.sources().items() if sources}
    dated = [source for sources in every.values() for source in sources]
    old = sorted(
        name
        for name, sources in every.items()
        if any(catalog.stale(source, today) for source in sources)
    )
    oldest, newest = min(s.date for s in dated), max(s.date for s in dated)
    span = oldest if oldest == newest else f"{oldest} to {newest}"
    if old:
        some = ", ".join(old[:5]) + (", …" if len(old) > 5 else "")
        words = (
            f"figures of {span}; {len(old)} of {len(every)} files are older than "
            f"{defaults.CATALOG_STALE_DAYS} days ({some}): upgrade {DISTRIBUTION}"
        )
        yield Finding("catalogue", "warn", words)
    else:
        yield Finding("catalogue", "ok", f"{len(every)} files, figures of {span}")
