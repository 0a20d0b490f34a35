"""The commands of ``crux``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from crux_providers import __version__


def show_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def fail(message: str, code: int = 1) -> int:
    """One line on stderr; returns the exit code."""
    click.echo(f"crux: {message}", err=True)
    return code


AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
ROUTES_FILE = click.option(
    "--routes",
    "routes_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="The routes file (default: $CRUX_ROUTES, ./routes.yaml, else the packaged one).",
)


@click.group()
@click.version_option(__version__, prog_name="crux")
def cli() -> None:
    """One chat model over many providers: routes, recordings, answers that say what they cost."""


@cli.command()
def demo() -> int:
    """Run the main job on recorded sessions: no key, no network."""
    from .demo import run

    console = Console()
    return run(console if console.is_terminal else Console(width=140))


@cli.command()
@click.argument("words", required=False)
@click.option("--prompt", help="The prompt, where it is no argument.")
@click.option("--route", default=None, help="A route of the routes file.")
@click.option("--provider", default=None, help="A provider, with --model.")
@click.option("--model", default=None, help="A model, or provider:model.")
@ROUTES_FILE
@AS_JSON
def chat(
    words: str | None,
    prompt: str | None,
    route: str | None,
    provider: str | None,
    model: str | None,
    routes_file: Path | None,
    as_json: bool,
) -> int:
    """Ask once and stream the answer; exits 1 where no answer came."""
    from crux_integrations.router.router import CallOptions, Router
    from crux_providers.base import ChatRequest, Message, ProviderError
    from crux_providers.config import defaults

    text = words or prompt
    if not text:
        raise click.UsageError('say something: crux chat "..."')
    if route and (model or provider):
        raise click.UsageError("--route and --model exclude each other")
    target = None
    if model or provider:
        if model and ":" in model and not provider:
            target = model
        else:
            provider = provider or defaults.DEFAULT_PROVIDER
            if model is None:
                from crux_providers.base import ProviderFactory

                model = ProviderFactory.create(provider).default_model()
            if not model:
                raise click.UsageError(f"{provider} has no default model: add --model")
            target = f"{provider}:{model}"
    request = ChatRequest(messages=[Message("user", text)])
    try:
        with Router(routes_file) as router:
            options = CallOptions(model=target)
            if as_json:
                response = router.generate(request, route or "default", options=options)
                show_json(
                    {
                        "text": response.text,
                        "finish_reason": response.finish_reason,
                        **response.meta.extra,
                    }
                )
                return 0
            for event in router.stream(request, route or "default", options=options):
                if event.delta:
                    click.echo(event.delta, nl=False)
                    sys.stdout.flush()
            click.echo()
    except ProviderError as error:
        return fail(str(error))
    except ValueError as error:
        return fail(str(error), 2)
    return 0


@cli.group()
def routes() -> None:
    """Look at a routes file and at what it decides."""


def _find(routes_file: Path | None) -> Path:
    from crux_integrations.router.runtime import find_routes

    return routes_file if routes_file is not None else find_routes(os.environ)


@routes.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@AS_JSON
def check(file: Path | None, as_json: bool) -> int:
    """Check a routes file: every fault with its line; exits 1 where there is one."""
    from crux_integrations.router.config import RoutesError, load_routes

    path = _find(file)
    try:
        config = load_routes(path)
    except (RoutesError, OSError) as error:
        problems = getattr(error, "problems", [str(error)])
        if as_json:
            show_json({"file": str(path), "ok": False, "problems": problems})
        else:
            click.echo("\n".join(problems), err=True)
        return 1
    from crux_integrations.router.runtime import key_report

    notes = [*config.warnings, *key_report(config, os.environ)]
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

    runtime = Runtime(_find(routes_file))
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

    config = load_routes(_find(routes_file))
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


@cli.command()
@click.argument("cassettes", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("--port", type=int, default=0, help="The port (0: a free one).")
@click.option("--faults", multiple=True, help="cut@40, stall@10:30s, malformed@3, status:429 …")
@click.option("--speed", type=float, default=None, help="1: as recorded; default: at once.")
@click.option(
    "--match",
    type=click.Choice(["body", "turn", "path"]),
    default="body",
    help="How much of a request must agree with its recording.",
)
def replay(
    cassettes: tuple[str, ...], port: int, faults: tuple[str, ...], speed: float | None, match: Any
) -> int:
    """Serve recordings over real sockets on 127.0.0.1, until interrupted."""
    from crux_integrations.testing import ReplayServer

    with ReplayServer(
        list(cassettes), list(faults) or None, speed, match=match, port=port
    ) as server:
        click.echo(server.url)
        server.wait()
    return 0
