"""``crux replay``: recordings over real sockets."""

from __future__ import annotations

from typing import Any

import click

from .options import AS_JSON, show_json


@click.command()
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
@AS_JSON
def replay(
    cassettes: tuple[str, ...],
    port: int,
    faults: tuple[str, ...],
    speed: float | None,
    match: Any,
    as_json: bool,
) -> int:
    """Serve recordings over real sockets on 127.0.0.1, until interrupted.

    Its address is the first thing on stdout, with --json as {"url": …}.
    """
    from crux_integrations.testing import ReplayServer

    with ReplayServer(
        list(cassettes), list(faults) or None, speed, match=match, port=port
    ) as server:
        if as_json:
            show_json({"url": server.url, "cassettes": list(cassettes)})
        else:
            click.echo(server.url)
        server.wait()
    return 0
