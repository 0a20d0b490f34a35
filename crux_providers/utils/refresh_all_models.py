"""Run every provider's model fetcher: ``python -m crux_providers.utils.refresh_all_models``.

A provider that could not be reached is reported as failed, one that is not set up on this machine
(no key, no package, no local model) as skipped; either way its stored listing stays. Importing this
module fetches nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import Literal

from ..base.errors import ErrorCode, ProviderError
from ..base.factory import ProviderFactory
from ..base.get_models_base import load_snapshot

Status = Literal["loaded", "skipped", "failed"]


def not_set_up(error: ProviderError) -> bool:
    """Whether the error came before any request: no key, no package, no local model."""
    return error.status is None and error.code in (ErrorCode.AUTH, ErrorCode.UNSUPPORTED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one provider.

    ``models`` counts its stored models, which after a failure are those from before; ``source`` is
    the listing's (``api``, ``openai_sdk_enriched``); ``code`` and ``error`` say what went wrong.
    """

    provider: str
    status: Status
    models: int
    source: str | None = None
    code: str | None = None
    error: str | None = None

    def __str__(self) -> str:
        if self.status == "loaded":
            return f"[{self.provider}] loaded {self.models} models"
        reason = self.error if self.status == "skipped" else f"{self.code}: {self.error}"
        return f"[{self.provider}] {self.status}: {reason} ({self.models} stored models stay)"


def refresh(name: str) -> Outcome:
    """Fetch and store one provider's models; never raises for what a provider does."""
    try:
        with ProviderFactory.create(name) as provider:
            snapshot = provider.list_models(refresh=True)
    except ProviderError as error:
        return Outcome(
            name,
            "skipped" if not_set_up(error) else "failed",
            len(load_snapshot(name).models),
            code=str(error.code),
            error=error.message,
        )
    return Outcome(name, "loaded", len(snapshot.models), str(snapshot.metadata.get("source")))


def refresh_all(
    names: Sequence[str], told: Callable[[Outcome], None] = lambda outcome: None
) -> list[Outcome]:
    """Refresh the providers side by side; ``told`` hears of each as it ends.

    Returns the outcomes in the order of ``names``.
    """
    found: dict[str, Outcome] = {}
    with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
        for future in as_completed([pool.submit(refresh, name) for name in names]):
            outcome = future.result()
            found[outcome.provider] = outcome
            told(outcome)
    return [found[name] for name in names]


@contextlib.contextmanager
def progress(total: int) -> Iterator[Callable[[Outcome], None]]:
    """A progress bar on stderr where that is a terminal and rich is installed; else lines there.

    Yields what is told of each outcome. Where stderr is no terminal nothing is shown.
    """
    if not sys.stderr.isatty():
        yield lambda outcome: None
        return
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ModuleNotFoundError:
        done = 0

        def line(outcome: Outcome) -> None:
            nonlocal done
            done += 1
            print(f"{done}/{total} {outcome.provider}: {outcome.status}", file=sys.stderr)

        yield line
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("models", total=total)

        def step(outcome: Outcome) -> None:
            bar.update(task, advance=1, description=f"{outcome.provider}: {outcome.status}")

        yield step


def report(outcomes: Sequence[Outcome], *, as_json: bool) -> str:
    """The outcomes for people, a line each, or as one JSON document."""
    if not as_json:
        return "\n".join(map(str, outcomes))
    counts = {
        status: sum(outcome.status == status for outcome in outcomes)
        for status in ("loaded", "skipped", "failed")
    }
    document = {"providers": [asdict(outcome) for outcome in outcomes], "totals": counts}
    return json.dumps(document, ensure_ascii=False, indent=2)


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit code (2 for wrong usage)."""
    names = ProviderFactory.names()
    parser = argparse.ArgumentParser(
        prog="python -m crux_providers.utils.refresh_all_models",
        description="Fetch the model listings of all providers and store them.",
    )
    parser.add_argument(
        "--provider", action="append", choices=names, help="only this one (may be given again)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--fail-on-error", action="store_true", help="exit 1 where a provider failed"
    )
    options = parser.parse_args(argv)
    wanted = list(dict.fromkeys(options.provider or names))
    with progress(len(wanted)) as told:
        outcomes = refresh_all(wanted, told)
    print(report(outcomes, as_json=options.json))
    failed = any(outcome.status == "failed" for outcome in outcomes)
    return 1 if failed and options.fail_on_error else 0


if __name__ == "__main__":
    sys.exit(main())
