"""``crux chat``: ask once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import AS_JSON, ROUTES_FILE, fail, find_routes_file, show_json, show_logs

if TYPE_CHECKING:
    from crux_providers.base import ProviderError


@click.command()
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
    from crux_integrations.cli.surroundings import Surroundings
    from crux_integrations.router.router import CallOptions, Router
    from crux_providers.base import ChatRequest, Message, ProviderError

    text = words or prompt
    if not text:
        raise click.UsageError('say something: crux chat "..."')
    if route and (model or provider):
        raise click.UsageError("--route and --model exclude each other")
    show_logs()
    request = ChatRequest(messages=[Message("user", text)])
    target = _target(provider, model)
    anything: Surroundings | None = None
    source: Any = routes_file
    if target is None and route is None:
        anything = Surroundings.of(find_routes_file(routes_file), request)
        source = anything.config
    options = CallOptions(model=target)
    try:
        with Router(source) as router:
            if as_json:
                response = router.generate(request, route or "default", options=options)
                answer = {"text": response.text, "finish_reason": response.finish_reason}
                show_json({**answer, **response.meta.extra})
                return 0
            for event in router.stream(request, route or "default", options=options):
                if event.delta:
                    click.echo(event.delta, nl=False)
                    sys.stdout.flush()
            click.echo()
    except ProviderError as error:
        if anything is None or anything.nothing is None or routes_file or _reached(error):
            raise
        return fail(anything.nothing)
    return 0


def _reached(error: ProviderError) -> bool:
    """Whether a server said no: then its answer is the news, not that nobody is set up here."""
    attempts = getattr(error, "attempts", ())
    return any(a["status"] is not None or a["error_code"] != "transient" for a in attempts)


def _target(provider: str | None, model: str | None) -> str | None:
    """``provider:model`` of a call that names either; None leaves it to the route."""
    if not (provider or model) or (model and ":" in model and not provider):
        return model
    from crux_providers.base import ProviderFactory
    from crux_providers.config import defaults

    name = provider or defaults.DEFAULT_PROVIDER
    model = model or ProviderFactory.create(name).default_model()
    if not model:
        raise click.UsageError(f"{name} has no default model: add --model")
    return f"{name}:{model}"
