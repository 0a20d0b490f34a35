"""``crux models``: the models of every provider, what is known of them, and what has changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from .options import AS_JSON, ROUTES_FILE, fail, find_routes_file, show_json

PROVIDER = click.option(
    "--provider", "chosen", multiple=True, help="Only this one (may be given again)."
)


@click.group()
def models() -> None:
    """List the providers' models, fetch their listings anew, see what has changed."""


def _names(chosen: Sequence[str], more: Iterable[str] = ()) -> list[str]:
    """The providers chosen, or all and ``more``; wrong usage for a name that is none."""
    from crux_providers.base import ProviderFactory

    known = list(dict.fromkeys((*ProviderFactory.names(), *more)))
    for name in chosen:
        if name not in known:
            raise click.BadParameter(
                f"{name!r} is none of {', '.join(known)}", param_hint="--provider"
            )
    return list(dict.fromkeys(chosen)) or known


@models.command("list")
@PROVIDER
@ROUTES_FILE
@AS_JSON
def list_models(chosen: tuple[str, ...], routes_file: Path | None, as_json: bool) -> int:
    """Show models with context, price and capabilities, each with its source and date.

    A provider whose models were never fetched is shown as the catalogue knows it, a gateway of the
    routes file as that declares it. Figures more than 90 days old are flagged.
    """
    from crux_integrations.router.config import RoutesError, load_routes
    from crux_providers.base.repositories.model_registry import ModelRegistryRepository

    from .model_facts import FactFinder

    try:
        config = load_routes(find_routes_file(routes_file))
    except (RoutesError, OSError) as error:
        return fail(str(error))
    finder = FactFinder(config, datetime.now(UTC).date())
    repository = ModelRegistryRepository()
    found = []
    for name in _names(chosen, config.providers):
        snapshot = repository.list_models(name)
        found.append((snapshot, finder.models(snapshot)))
    if as_json:
        show_json(
            [
                {
                    "provider": snapshot.provider,
                    "fetched_at": snapshot.fetched_at,
                    "source": snapshot.metadata.get("source") if snapshot.models else "catalogue",
                    "models": [facts.as_json() for facts in known],
                }
                for snapshot, known in found
            ]
        )
        return 0
    for snapshot, known in found:
        _show(snapshot.provider, snapshot.fetched_at, snapshot.metadata.get("source"), known)
    return 0


def _show(provider: str, fetched_at: str | None, source: str | None, known: Sequence[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    origin = f"fetched {fetched_at[:10]} ({source})" if fetched_at else "never fetched: catalogue"
    table = Table(title=f"{provider}: {len(known)} models, {origin}", title_justify="left")
    table.add_column("model", overflow="fold")
    table.add_column("context", justify="right")
    table.add_column("$ in/out per M", justify="right")
    table.add_column("capabilities", overflow="fold")
    for facts in known:
        price = facts.price
        table.add_row(
            facts.id,
            "–" if facts.context is None else f"{facts.context.value:,}{_mark(facts.context)}",
            "unknown" if price is None else _dollars(price.value) + _mark(price),
            _words(facts.capabilities),
        )
    console = Console()
    # A pipe has no width of its own: a table cut to 80 columns there would lose figures.
    (console if console.is_terminal else Console(width=160)).print(table)


def _words(capabilities: Mapping[str, Any]) -> str:
    """The capabilities, those of one source and date together."""
    groups: dict[str, list[str]] = {}
    for word, fact in capabilities.items():
        groups.setdefault(_mark(fact), []).append(word if fact.value else f"no {word}")
    return "; ".join(", ".join(words) + mark for mark, words in groups.items())


def _dollars(price: dict[str, float]) -> str:
    return " / ".join(
        "?" if (value := price.get(name)) is None else f"{value:g}" for name in ("input", "output")
    )


def _mark(fact: Any) -> str:
    """The source in brackets with its date, and a word where that is long ago."""
    words = " ".join(word for word in (fact.source, fact.date, "old" if fact.stale else "") if word)
    return f" ({words})"


@models.command()
@PROVIDER
@AS_JSON
def refresh(chosen: tuple[str, ...], as_json: bool) -> int:
    """Fetch the listings anew; what could not be fetched stays as it was, and the exit code is 1.

    A provider that is not set up here (no key, no package) is skipped; one that was named is a
    failure then.
    """
    from crux_providers.utils.refresh_all_models import progress, refresh_all, report

    names = _names(chosen)
    with progress(len(names)) as told:
        outcomes = refresh_all(names, told)
    click.echo(report(outcomes, as_json=as_json))
    bad = ("failed", "skipped") if chosen else ("failed",)
    return 1 if any(outcome.status in bad for outcome in outcomes) else 0


@models.command()
@PROVIDER
@AS_JSON
def diff(chosen: tuple[str, ...], as_json: bool) -> int:
    """Compare the stored listings with fresh ones, which are not stored: new, gone, changed."""
    from crux_providers.base import ProviderError, ProviderFactory
    from crux_providers.base.get_models_base import load_snapshot
    from crux_providers.utils.refresh_all_models import not_set_up

    from .model_facts import changes

    report: list[dict[str, Any]] = []
    code = 0
    for name in _names(chosen):
        try:
            with ProviderFactory.create(name) as provider:
                fresh = provider.fetch_models()
        except ProviderError as error:
            code = 1 if chosen or not not_set_up(error) else code
            report.append({"provider": name, "error": f"{error.code}: {error.message}"})
            continue
        stored = load_snapshot(name)
        before, now = ({m.id for m in snapshot.models} for snapshot in (stored, fresh))
        report.append(
            {
                "provider": name,
                "stored_at": stored.fetched_at,
                "new": [m.id for m in fresh.models if m.id not in before],
                "gone": [m.id for m in stored.models if m.id not in now],
                "changed": changes(stored.models, fresh.models),
            }
        )
    if as_json:
        show_json(report)
    else:
        for entry in report:
            _show_diff(entry)
    return code


def _show_diff(entry: dict[str, Any]) -> None:
    if "error" in entry:
        click.echo(f"[{entry['provider']}] not compared: {entry['error']}")
        return
    since = entry["stored_at"][:10] if entry["stored_at"] else "nothing stored"
    counts = ", ".join(f"{len(entry[word])} {word}" for word in ("new", "gone", "changed"))
    click.echo(f"[{entry['provider']}] since {since}: {counts}")
    for word, mark in (("new", "+"), ("gone", "-")):
        for model in entry[word]:
            click.echo(f"  {mark} {model}")
    for model, fields in entry["changed"].items():
        words = "; ".join(f"{name}: {old} → {new}" for name, (old, new) in fields.items())
        click.echo(f"  ~ {model}  {words}")
