"""The commands of ``crux``: a table of names, each imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

from crux_providers import __version__

COMMANDS: Mapping[str, str] = {
    "demo": "demo:demo",
    "chat": "chat:chat",
    "routes": "routes:routes",
    "capabilities": "capabilities:capabilities",
    "attempts": "attempts:attempts",
    "replay": "replay:replay",
    "doctor": "doctor:doctor",
}
"""name → ``module:command`` in this folder, in the order that ``crux --help`` shows."""


class Commands(click.Group):
    """The group over :data:`COMMANDS`: ``crux --version`` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of that name, imported now; None for a name that is not in the table."""
        place = COMMANDS.get(name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        found: click.Command = getattr(import_module(f"{__package__}.{module}"), attribute)
        return found


@click.command(cls=Commands)
@click.version_option(__version__, prog_name="crux")
def cli() -> None:
    """One chat model over many providers: routes, recordings, answers that say what they cost."""
