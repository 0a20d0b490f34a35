"""``crux routes``: what a routes file says and decides."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import AS_JSON, ROUTES_FILE, fail, find_routes_file, show_json

if TYPE_CHECKING:
    from crux_integrations.router.config import RoutesConfig


@click.group()
def routes() -> None:
    """Look at a routes file and at what it decides."""


def notes_on(config: RoutesConfig) -> list[str]:
    """What may be worth a look in a file that is good: keys that are missing, figures that are old
    or not there."""
    from datetime import UTC, datetime

    from crux_integrations.router.ageing import figure_report
    from crux_integrations.router.usable import usable_report

    aged = figure_report(config, datetime.now(UTC).date())
    return [*config.warnings, *usable_report(config, os.environ), *aged]


FILE = click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))


def the_one_file(file: Path | None, routes_file: Path | None) -> Path:
    """The file a command names, as argument or as ``--routes``; wrong usage where it names two."""
    if file is not None and routes_file is not None and file != routes_file:
        raise click.UsageError(f"two routes files: {file} and --routes {routes_file}; give one")
    return find_routes_file(file if file is not None else routes_file)


@routes.command()
@FILE
@ROUTES_FILE
@AS_JSON
def check(file: Path | None, routes_file: Path | None, as_json: bool) -> int:
    """Check a routes file: every fault with its line; exits 1 where there is one."""
    from crux_integrations.router.config import RoutesError, load_routes

    path = the_one_file(file, routes_file)
    try:
        config = load_routes(path)
    except (RoutesError, OSError) as error:
        problems = (
            error.problems
            if isinstance(error, RoutesError)
            else [f"{path}: {error.strerror or error}"]
        )
        if as_json:
            show_json({"file": str(path), "ok": False, "problems": problems})
        else:
            click.echo("\n".join(problems), err=True)
        return 1
    notes = notes_on(config)
    if as_json:
        show_json({"file": str(path), "ok": True, "routes": list(config.routes), "notes": notes})
    else:
        for note in notes:
            click.echo(f"note: {note}")
        click.echo(f"{path}: {len(config.routes)} routes are good")
    return 0


@routes.command()
@click.argument("route", default="default")
@click.option("--needs", default="", help="Capabilities, comma-separated: tools,json_schema.")
@click.option("--input-tokens", type=click.IntRange(min=0), default=None, help="Tokens of input.")
@click.option(
    "--request",
    "request_file",
    type=click.File("r"),
    default=None,
    help="A request in OpenAI's chat form, as JSON.",
)
@click.option("--stream", is_flag=True, help="Plan a stream.")
@ROUTES_FILE
@AS_JSON
def explain(
    route: str,
    needs: str,
    input_tokens: int | None,
    request_file: Any,
    stream: bool,
    routes_file: Path | None,
    as_json: bool,
) -> int:
    """Show which candidates a call would try, in which order, and why not the others."""
    from crux_integrations.router.runtime import Runtime, needs_from_words
    from crux_providers.base import ChatRequest
    from crux_providers.base.ports import resolve

    runtime = Runtime(find_routes_file(routes_file))
    if request_file is not None:
        try:
            payload = json.load(request_file)
        except ValueError as error:
            return fail(f"--request: {request_file.name} is no JSON: {error}")
        request = resolve("codec", "openai_chat").parse_request(payload)
    else:
        request = ChatRequest()
    wanted = needs_from_words(request, needs, input_tokens, stream=stream)
    plan = runtime.plan_for(wanted, route, seed=0)
    if as_json:
        show_json(plan.as_json())
    else:
        click.echo(plan.as_text())
    return 0


@routes.command()
@AS_JSON
def schema(as_json: bool) -> int:
    """Print the JSON Schema of a routes file, for editors; it is JSON with --json or without."""
    from crux_integrations.router.schema import json_schema

    show_json(json_schema())
    return 0


@routes.command("test")
@FILE
@ROUTES_FILE
@AS_JSON
def test_routes(file: Path | None, routes_file: Path | None, as_json: bool) -> int:
    """Run the file's own ``tests:``; exits 1 where one fails."""
    import time

    from crux_integrations.router.config import catalog_lookup, load_routes
    from crux_integrations.router.route_tests import run_tests

    config = load_routes(the_one_file(file, routes_file))
    results = run_tests(config, catalog_lookup(config), time.time())
    if as_json:
        show_json([result.as_json() for result in results])
    else:
        for result in results:
            mark = "ok  " if result.passed else "FAIL"
            expected, got = (
                ", ".join(names) or "nothing" for names in (result.test.expect, result.got)
            )
            tail = "" if result.passed else f": expected {expected}; got {got}"
            click.echo(f"{mark} {result.test.name}{tail}")
        click.echo(f"{len(results)} tests, {sum(not r.passed for r in results)} failed")
    return 0 if all(r.passed for r in results) else 1


@routes.command()
@click.option(
    "--routes",
    "routes_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The other routes file.",
)
@click.option("--route", default=None, help="Only calls of this route.")
@click.option("--since", default=None, help="Only the latest: 2h, 7d, 30m (default: all kept).")
@click.option("--keys", is_flag=True, help="Reject candidates whose key is not set here and now.")
@AS_JSON
def replay(
    routes_file: Path, route: str | None, since: str | None, keys: bool, as_json: bool
) -> int:
    """Plan the ledger's calls again under another file: what moves, dollars, p95, failures.

    No call is made. Keys count as set unless --keys is given.
    """
    import time

    from crux_integrations.router.config import RoutesError, catalog_lookup, load_routes
    from crux_integrations.router.durations import parse_duration
    from crux_integrations.router.plan import PlanState
    from crux_integrations.router.replay import replay as replayed
    from crux_integrations.router.usable import Unusable, unusable
    from crux_providers.persistence.errors import StorageError
    from crux_providers.persistence.ledger import traffic
    from crux_providers.persistence.rows import Attempt, Call
    from crux_providers.persistence.store import get_store

    after: float | None = None
    if since is not None:
        try:
            after = time.time() - parse_duration(since)
        except ValueError as error:
            raise click.UsageError(f"--since: {error}") from error
    try:
        config = load_routes(routes_file)
        store = get_store()
        calls: list[tuple[Call, list[Attempt]]] = store.read(
            lambda db: list(traffic(db, route=route, since=after)), []
        )
    except (RoutesError, OSError, StorageError) as error:
        return fail(str(error))
    candidates = {
        (c.provider, c.model) for r in config.routes.values() for c in r.candidates if c.provider
    }
    observed: dict[str, dict[str, Any]] = {}
    for (provider, model), facts in store.snapshot().items():
        observed.setdefault(provider, {})[model] = facts
    out = unusable(config, candidates, os.environ) if keys else Unusable({}, {})
    state = PlanState(
        missing_keys=out.providers,
        unready=out.models,
        observed=observed,
        expire=config.observed.expire,
    )
    report = replayed(calls, config, catalog_lookup(config), state)
    if as_json:
        show_json(report.as_json())
    else:
        click.echo(report.as_text())
    return 0
