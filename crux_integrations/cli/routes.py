"""``crux routes``: what a routes file says and decides."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import AS_JSON, ROUTES_FILE, find_routes_file, show_json

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
    from crux_integrations.router.runtime import key_report

    aged = figure_report(config, datetime.now(UTC).date())
    return [*config.warnings, *key_report(config, os.environ), *aged]


@routes.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@AS_JSON
def check(file: Path | None, as_json: bool) -> int:
    """Check a routes file: every fault with its line; exits 1 where there is one."""
    from crux_integrations.router.config import RoutesError, load_routes

    path = find_routes_file(file)
    try:
        config = load_routes(path)
    except (RoutesError, OSError) as error:
        problems = getattr(error, "problems", [str(error)])
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
@click.option("--input-tokens", type=int, default=None, help="Tokens of input.")
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
        request = resolve("codec", "openai_chat").parse_request(json.load(request_file))
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
def schema() -> int:
    """Print the JSON Schema of a routes file, for editors."""
    from crux_integrations.router.schema import json_schema

    show_json(json_schema())
    return 0


@routes.command("test")
@ROUTES_FILE
@AS_JSON
def test_routes(routes_file: Path | None, as_json: bool) -> int:
    """Run the file's own ``tests:``; exits 1 where one fails."""
    import time

    from crux_integrations.router.config import catalog_lookup, load_routes
    from crux_integrations.router.route_tests import run_tests

    config = load_routes(find_routes_file(routes_file))
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
