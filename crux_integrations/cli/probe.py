"""``crux capabilities probe``: ask a model on purpose what it can do."""

from __future__ import annotations

from dataclasses import asdict

import click

from .options import AS_JSON, fail, show_json

_WORDS = {True: "yes", False: "no", None: "not shown"}


@click.command()
@click.argument("model")
@click.option("--capability", multiple=True, help="Only this one (may be given again).")
@AS_JSON
def probe(model: str, capability: tuple[str, ...], as_json: bool) -> int:
    """Send MODEL (provider:model) one small request for each capability; plans read the findings.

    It costs what a dozen short answers cost; the sum is printed where the price is known.
    """
    from crux_providers.base import ProviderError, ProviderFactory
    from crux_providers.persistence.store import get_store
    from crux_providers.utils.probe import PROBES, Finding
    from crux_providers.utils.probe import probe as ask

    name, colon, rest = model.partition(":")
    if not (colon and rest):
        raise click.UsageError(f"{model!r} has no provider: write provider:model")
    findings: list[Finding] = []
    try:
        provider = ProviderFactory.create(name)
        with provider:
            for found in ask(provider, rest, capability or tuple(PROBES)):
                findings.append(found)
                if not as_json:
                    click.echo(f"{found.feature:<22}{_WORDS[found.value]:<11}{found.reason}")
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except ProviderError as error:
        return fail(str(error))
    finally:
        get_store().flush()
    costs = [f.cost_usd for f in findings if f.cost_usd is not None]
    total = sum(costs) if costs else None
    if as_json:
        show_json(
            {"model": model, "cost_usd": total, "findings": [asdict(found) for found in findings]}
        )
    else:
        click.echo(f"cost: {'unknown' if total is None else f'${total:.6f}'}")
    return 0
