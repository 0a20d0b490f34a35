"""``crux demo``: the main job end to end, on recorded sessions, with no key.

A small server plays recordings over real sockets. A LangChain agent with a tool runs through the
shipped ``routes.yaml``: its first candidate answers 429, the next one streams the answer. Then
every provider is down (503), and the last candidate answers for real: a small model inside this
process, whose weights are fetched once.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from crux_providers.config.declaration import declarations

from .options import AS_JSON, fail, show_json
from .tables import attempts_table

QUESTION = "What is the weather in Paris?"
UNRECORDED = "In one sentence: what is the capital of France?"
"""A question that no recording answers."""


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


def run(console: Console, report: dict[str, Any] | None = None) -> int:
    """Play the demo; 0 when it ended as it should.

    ``report`` takes what was seen: ``recorded`` and ``alive``, each with question, answer, seconds,
    attempts; where no model is in this process ``alive`` has ``missing``, which says why.
    """
    from crux_integrations.router.runtime import packaged_routes

    report = {} if report is None else report
    with (
        tempfile.TemporaryDirectory(prefix="crux-demo-") as scratch,
        environment(
            {"CRUX_DB": str(Path(scratch) / "demo.db"), "CRUX_ROUTES": str(packaged_routes())}
        ),
    ):
        return recorded(console, report) or alive(console, report)


def addresses(server: str) -> dict[str, str]:
    """Variables that send everything the shipped routes could reach to a server of this machine.

    Two have a key of no worth; whoever else has none is passed over, and where a file of the user's
    gives one the call still goes no further than this. The model of this process has no address.
    """
    values = {"LAB_URL": f"{server}/lab/v1"}
    for declared in declarations().values():
        address = "" if declared.unready else f"{server}/{declared.name}"
        values[declared.base_url_variable] = address
        values |= dict.fromkeys((v for v in (declared.env_key, *declared.env_aliases) if v), "")
    return values | dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY"), "demo-key-of-no-worth")


def recorded(console: Console, report: dict[str, Any] | None = None) -> int:
    """The agent on recorded sessions; 0 when it ended as it should."""
    report = {} if report is None else report
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
    with ReplayServer(mounts, speed=1.0) as server, environment(addresses(server.url)):
        console.print(f"[bold]{QUESTION}[/bold]\n")
        began = time.monotonic()
        messages = run_agent(QUESTION, _streamed(console))
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
        report["recorded"] = {
            "question": QUESTION,
            "answer": messages[-1].text if messages else "",
            "seconds": seconds,
            "requests": server.count,
            "cost_usd": sum(costs),
            "attempts": attempts,
            "rejected": [out for call in calls for out in call["rejected"]],
        }
        refused = any(a["error_code"] == "rate_limit" for a in attempts)
        answered = bool(attempts) and attempts[-1]["outcome"] == "success"
        if not (refused and answered):
            console.print("[red]the demo did not run as recorded[/red]")
            return 1
    return 0


def alive(console: Console, report: dict[str, Any] | None = None) -> int:
    """A question nobody recorded, with every provider down; 0 also where no model can be had."""
    report = {} if report is None else report
    from crux_integrations.langchain.demo_agent import ask
    from crux_integrations.testing import Mount, ReplayServer
    from crux_providers.base.errors import ProviderError
    from crux_providers.local import weights

    from .local import progress

    console.print(f"\nNow every provider is down.\n[bold]{UNRECORDED}[/bold]\n")
    name = declarations()["local"].default_model or ""
    missing = weights.unready(name)
    if missing is not None and missing != weights.not_installed():
        words = f"fetching the weights of {name}, once, into {weights.folder()}"
        console.print(words, soft_wrap=True, markup=False)
        try:
            with progress(console, name) as advance:
                weights.pull(name, progress=advance)
        except weights.PullError as error:
            missing = str(error)
        else:
            missing = weights.unready(name)
    if missing is not None:
        report["alive"] = {"question": UNRECORDED, "answer": None, "missing": missing}
        words = f"The model inside the process is not here to answer it: {missing}"
        console.print(words, soft_wrap=True, markup=False)
        return 0
    began = time.monotonic()
    with ReplayServer(Mount("status:503")) as down, environment(addresses(down.url)):
        try:
            answer = ask(UNRECORDED, _streamed(console))
        except ProviderError as error:
            console.print(f"[red]the model inside the process did not answer:[/red] {error}")
            return 1
    seconds = time.monotonic() - began
    call = answer.response_metadata["crux"]
    report["alive"] = {
        "question": UNRECORDED,
        "answer": answer.text,
        "seconds": seconds,
        "attempts": call["attempts"],
    }
    who = f"{call['provider']}:{answer.response_metadata['model_name']}"
    console.print(f"\n\n({seconds:.1f} s, answered here and now by {who}; no recording)\n")
    console.print(attempts_table(call["attempts"]))
    return 0


def _streamed(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(text, end="", highlight=False, markup=False)


@click.command()
@AS_JSON
def demo(as_json: bool) -> int:
    """Run the main job on recorded sessions, then a model of one's own: no key."""
    if find_spec("langchain") is None:
        return fail("the demo's agent needs langchain: pip install langchain")
    console = Console(stderr=as_json)
    report: dict[str, Any] = {}
    code = run(console if console.is_terminal else Console(stderr=as_json, width=140), report)
    if as_json:
        show_json({"ok": code == 0, **report})
    return code
