"""What several commands share: their options, and how they print."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from crux_providers.persistence.store import Store

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
ROUTES_FILE = click.option(
    "--routes",
    "routes_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="The routes file (default: $CRUX_ROUTES, ./routes.yaml, else the packaged one).",
)


class Duration(click.ParamType[float]):
    """Seconds, written like 200ms, 3s, 5m, 2h or 7d."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The seconds; wrong usage where it is no duration."""
        from crux_integrations.router.durations import parse_duration

        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


SINCE = click.option("--since", type=Duration(), default=None, help="Only the last 30m, 2h, 7d, …")


def open_store() -> Store:
    """The store of the database that the environment names; a StorageError where it cannot be."""
    from crux_providers.persistence.location import current
    from crux_providers.persistence.store import store_at

    return store_at(current())


def find_routes_file(routes_file: Path | None) -> Path:
    """The routes file a command works on."""
    from crux_integrations.router.runtime import find_routes

    return routes_file if routes_file is not None else find_routes(os.environ)


def show_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def fail(message: str, code: int = 1) -> int:
    """One line on stderr; returns the exit code."""
    click.echo(f"crux: {message}", err=True)
    return code
