"""``crux capabilities``: what models were seen to do and to refuse."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import click

from .options import AS_JSON, fail, open_store, show_json

if TYPE_CHECKING:
    from crux_providers.persistence.ledger import CapabilityEvidence

NOTHING = "nothing observed yet: each call that succeeds or is refused leaves its evidence here"

PROVIDER = click.option("--provider", default=None, help="Only this provider's.")
MODEL = click.option("--model", default=None, help="Only this model's (model or provider:model).")
FEATURE = click.option("--capability", default=None, help="Only this one: tools, json_schema, …")


@click.group()
def capabilities() -> None:
    """Look at what models were seen to do, and forget it."""


@capabilities.command("list")
@PROVIDER
@MODEL
@FEATURE
@AS_JSON
def list_capabilities(
    provider: str | None, model: str | None, capability: str | None, as_json: bool
) -> int:
    """The evidence: by model, capability and mode, with counts, dates and the last reason."""
    from crux_providers.persistence import ledger
    from crux_providers.persistence.errors import StorageError

    query = partial(ledger.list_capabilities, provider=provider, model=model, feature=capability)
    try:
        store = open_store()
        nothing: list[CapabilityEvidence] = []
        found = store.read(query, nothing)
    except StorageError as error:
        return fail(str(error))
    expire = _expire()
    now = time.time()
    if as_json:
        show_json([{**one._asdict(), "in_force": _in_force(one, expire, now)} for one in found])
    elif found:
        _show(found, expire, now)
    elif store.location.kind == "off":
        click.echo("CRUX_DB=off: nothing is kept")
    elif provider or model or capability:
        click.echo("nothing observed of that")
    else:
        click.echo(NOTHING)
    return 0


def _expire() -> float:
    """How long a refusal counts: as the routes file says, where it can be read."""
    from crux_integrations.router.config import RoutesError, load_routes
    from crux_providers.config import defaults

    from .options import find_routes_file

    try:
        return load_routes(find_routes_file(None)).observed.expire
    except (RoutesError, OSError):
        return defaults.OBSERVED_EXPIRE_S


def _in_force(one: CapabilityEvidence, expire: float, now: float) -> bool:
    """A success counts for ever, a refusal until it expires."""
    return one.value or now - one.last_at <= expire


def _show(found: list[CapabilityEvidence], expire: float, now: float) -> None:
    from rich.markup import escape

    from . import tables

    made = tables.table(
        None,
        ("model", "capability", "mode", "seen", "last seen (UTC)", "counts until", "last reason"),
        ("yes", "no"),
    )
    for one in found:
        word = "[green]yes[/green]" if one.value else "[red]no[/red]"
        until = "always" if one.value else tables.moment(one.last_at + expire)
        made.add_row(
            escape(f"{one.provider}:{one.model}"),
            one.feature,
            one.mode,
            word if _in_force(one, expire, now) else "[dim]no, expired[/dim]",
            tables.moment(one.last_at),
            until,
            escape(one.last_reason or ""),
            str(one.successes),
            str(one.refusals),
        )
    tables.console().print(made)


@capabilities.command()
@PROVIDER
@MODEL
@FEATURE
@click.option("--all", "everything", is_flag=True, help="Everything ever observed.")
@AS_JSON
def forget(
    provider: str | None,
    model: str | None,
    capability: str | None,
    everything: bool,
    as_json: bool,
) -> int:
    """Delete what was observed, so that it is found out anew.

    Programs that run take it into account within seconds; what they saw themselves they keep.
    """
    from crux_providers.persistence import ledger
    from crux_providers.persistence.errors import StorageError

    if everything == any((provider, model, capability)):
        raise click.UsageError("say what: --provider, --model, --capability, or --all alone")
    work = partial(ledger.forget_capabilities, provider=provider, model=model, feature=capability)
    try:
        store = open_store()
        gone = store.change(work) if store.location.exists() else 0
    except StorageError as error:
        return fail(str(error))
    if as_json:
        show_json({"forgotten": gone})
    else:
        click.echo(f"{gone} observed capabilities forgotten")
    return 0
