"""What several commands share: their options, and how they print."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import click

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
ROUTES_FILE = click.option(
    "--routes",
    "routes_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="The routes file (default: $CRUX_ROUTES, ./routes.yaml, else the packaged one).",
)


def find_routes_file(routes_file: Path | None) -> Path:
    """The routes file a command works on."""
    from crux_integrations.router.runtime import find_routes

    return routes_file if routes_file is not None else find_routes(os.environ)


def show_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def show_logs(level: int = logging.WARNING) -> None:
    """Send the library's records to stderr as JSON lines.

    Those of ``level`` and above, without finalize records: the command itself says how a call
    ended. ``PROVIDERS_LOG_LEVEL`` shows every record of its own level instead.
    """
    from crux_providers.base.logging import LEVEL_VARIABLE, Record, configure_logging

    handler = configure_logging()
    if not os.environ.get(LEVEL_VARIABLE):
        handler.setLevel(level)
        handler.addFilter(
            lambda record: (
                not (
                    isinstance(record.msg, Record) and record.msg.fields.get("phase") == "finalize"
                )
            )
        )


def fail(message: str, code: int = 1) -> int:
    """One line on stderr; returns the exit code."""
    click.echo(f"crux: {message}", err=True)
    return code
