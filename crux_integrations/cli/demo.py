"""``crux demo``: the main job end to end, on recorded sessions, with no key and no network.

A small server plays recordings over real sockets. A LangChain agent with a tool runs through the
shipped ``routes.yaml``: its first candidate answers 429, the next one streams the answer.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
from rich.console import Console

from .tables import attempts_table

QUESTION = "What is the weather in Paris?"


def cassette_folder() -> Path | None:
    """The recordings of the demo: in a checkout beside the packages, else in the wheel."""
    here = Path(__file__).resolve()
    for folder in (here.parents[2] / "cassettes" / "demo", here.parent / "demo_cassettes"):
        if folder.is_dir():
            return folder
    return None


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """``os.environ`` with ``values`` over it, put back at the end."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def run(console: Console) -> int:
    """Play the demo; 0 when it ended as it should."""
    from crux_integrations.langchain.demo_agent import run_agent
    from crux_integrations.testing import Mount, ReplayServer

    folder = cassette_folder()
    if folder is None:
        console.print("the demo's recordings (cassettes/demo) are not here: run it in a checkout")
        return 1
    mounts = {
        "/openai": Mount(folder / "openai.yaml", match="path"),
        "/anthropic": Mount(folder / "anthropic.yaml", match="turn"),
    }
    # Everything else the shipped routes could reach is switched off: the demo uses no network.
    with (
        tempfile.TemporaryDirectory(prefix="crux-demo-") as scratch,
        ReplayServer(mounts, speed=1.0) as server,
        environment(
            {
                "OPENAI_API_KEY": "demo-key-of-no-worth",
                "OPENAI_BASE_URL": f"{server.url}/openai/v1",
                "ANTHROPIC_API_KEY": "demo-key-of-no-worth",
                "ANTHROPIC_BASE_URL": f"{server.url}/anthropic",
                "CRUX_DB": str(Path(scratch) / "demo.db"),
            }
        ),
    ):
        console.print(f"[bold]{QUESTION}[/bold]\n")
        began = time.monotonic()
        messages = run_agent(QUESTION, lambda text: console.print(text, end="", highlight=False))
        seconds = time.monotonic() - began
        console.print(f"\n\n({seconds:.1f} s, {server.count} requests over sockets)\n")
        calls = [message.response_metadata["crux"] for message in messages]
        attempts = [attempt for call in calls for attempt in call["attempts"]]
        console.print(attempts_table(attempts))
        for number, call in enumerate(calls, 1):
            for out in call["rejected"]:
                if out["rule"] != "key":
                    candidate = f"{out['provider']}:{out['model']}"
                    console.print(
                        f"call {number} did not try {candidate} ({out['rule']}): {out['evidence']}"
                    )
        costs = [a["cost_usd"] for a in attempts if a["cost_usd"] is not None]
        console.print(f"total: ${sum(costs):.6f} over {len(attempts)} attempts")
        refused = any(a["error_code"] == "rate_limit" for a in attempts)
        answered = bool(attempts) and attempts[-1]["outcome"] == "success"
        if not (refused and answered):
            console.print("[red]the demo did not run as recorded[/red]")
            return 1
    return 0


@click.command()
def demo() -> int:
    """Run the main job on recorded sessions: no key, no network."""
    console = Console()
    return run(console if console.is_terminal else Console(width=140))
