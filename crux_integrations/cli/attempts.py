"""``crux attempts``: the ledger, every request of every call."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from .options import AS_JSON, SINCE, fail, open_store, show_json

if TYPE_CHECKING:
    from crux_providers.persistence.database import Database
    from crux_providers.persistence.rows import Attempt, Call
    from crux_providers.persistence.store import Store

NOTHING = "no attempts yet: they appear here once a route has answered (crux chat, ChatCrux)"
NO_MATCH = "no attempts match"
SHORT_ID = 15
"""Characters of a call's id in a list: the time in milliseconds, and four that tell apart."""


@click.group()
def attempts() -> None:
    """Look at what was asked of whom, and what came of it."""


@attempts.command("list")
@click.option("--route", default=None, help="Only this route's.")
@click.option("--provider", default=None, help="Only this provider's.")
@click.option("--model", default=None, help="Only this model's (model or provider:model).")
@click.option("--outcome", default=None, help="success, error, empty, … or an error's code.")
@SINCE
@click.option("--limit", type=click.IntRange(1), default=20, help="How many (default: 20).")
@AS_JSON
def list_attempts(
    route: str | None,
    provider: str | None,
    model: str | None,
    outcome: str | None,
    since: float | None,
    limit: int,
    as_json: bool,
) -> int:
    """The latest attempts, the newest first."""
    from crux_providers.base.errors import ErrorCode
    from crux_providers.persistence import ledger
    from crux_providers.persistence.errors import StorageError

    conditions: dict[str, Any] = {"route": route, "provider": provider, "model": model}
    if outcome is not None:
        conditions["error_code" if outcome in set(ErrorCode) else "outcome"] = outcome
    if since is not None:
        conditions["since"] = time.time() - since
    try:
        store = open_store()
        query = partial(ledger.list_attempts, **conditions, limit=limit)
        nothing: list[Attempt] = []
        found = store.read(query, nothing)
    except StorageError as error:
        return fail(str(error))
    if as_json:
        show_json([row._asdict() for row in found])
    elif found:
        _show_list(found)
    else:
        click.echo(_why_empty(store, any(v is not None for v in conditions.values())))
    return 0


def _why_empty(store: Store, filtered: bool) -> str:
    if store.location.kind == "off":
        return "CRUX_DB=off: nothing is kept"
    return NO_MATCH if filtered else NOTHING


def _show_list(found: list[Attempt]) -> None:
    from rich.markup import escape

    from . import tables

    made = tables.table(
        None,
        ("when (UTC)", "call", "#", "route", "candidate", "outcome", "reason"),
        ("first token", "duration", "tokens in/out", "cost"),
    )
    for row in found:
        made.add_row(
            tables.moment(row.started_at),
            row.call_id[:SHORT_ID],
            str(row.seq),
            escape(row.route or ""),
            escape(f"{row.provider}:{row.model}"),
            tables.outcome(row.outcome, row.error_code, row.status),
            escape(row.reason or ""),
            tables.milliseconds(row.ttft_ms),
            tables.milliseconds(row.duration_ms),
            tables.tokens(row.prompt_tokens, row.completion_tokens),
            tables.dollars(row.cost_usd, unknown="–" if row.error_code else "unknown"),
        )
    tables.console().print(made)


@attempts.command()
@click.argument("call_id", required=False)
@AS_JSON
def show(call_id: str | None, as_json: bool) -> int:
    """One call with its attempts; the id may be cut short, and without one it is the latest."""
    from crux_providers.persistence import ledger
    from crux_providers.persistence.errors import StorageError

    try:
        store = open_store()
        if call_id is None:
            latest: Callable[[Database], str | None] = ledger.latest_call
            call_id = store.read(latest, None)
            if call_id is None:
                if as_json:
                    show_json(None)
                else:
                    click.echo(_why_empty(store, filtered=False))
                return 0
        nothing: tuple[Call | None, list[Attempt]] = (None, [])
        call, found = store.read(partial(ledger.show_call, call_id=call_id), nothing)
    except StorageError as error:
        return fail(str(error))
    if call is None and not found:
        return fail(f"no call, or more than one, has an id that begins with {call_id!r}")
    if as_json:
        show_json(
            {
                "call": None if call is None else call._asdict(),
                "attempts": [row._asdict() for row in found],
            }
        )
    else:
        _show_call(call, found)
    return 0


def _show_call(call: Call | None, found: list[Attempt]) -> None:
    from . import tables

    begun = call.started_at if call is not None else found[0].started_at
    if call is not None:
        for name, value in _facts(call):
            click.echo(f"{name:<11} {value}")
    rows = [
        {
            **row._asdict(),
            "usage": {"prompt": row.prompt_tokens, "completion": row.completion_tokens},
            "started_ms": (row.started_at - begun) * 1000,
        }
        for row in found
    ]
    if rows:
        tables.console().print(tables.attempts_table(rows))


def _facts(call: Call) -> list[tuple[str, str]]:
    from . import tables

    extra = call.extra or {}
    needs = call.needs or {}
    size = f"about {call.input_tokens} tokens in" if call.input_tokens is not None else ""
    if call.max_tokens is not None:
        size += f", at most {call.max_tokens} out"
    words = [*needs.get("capabilities", ()), *needs.get("tags", ())]
    shown = [
        ("call", call.call_id),
        ("when", f"{tables.moment(call.started_at)} UTC, {tables.milliseconds(call.duration_ms)}"),
        ("route", f"{call.route}{' (streamed)' if call.stream else ''}"),
        ("outcome", call.outcome or "unknown"),
        ("needs", ", ".join(words) or "nothing in particular"),
        ("size", size),
        ("model", extra.get("model") or ""),
        ("candidates", ", ".join(map(str, call.candidates or ()))),
        ("not tried", ", ".join(f"{c} ({r})" for c, r in extra.get("rejected", {}).items())),
        ("policy", call.policy or ""),
    ]
    return [(name, value) for name, value in shown if value]
