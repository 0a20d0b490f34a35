"""``python -m tests.breaker_picture [FILE.svg]``: a candidate dies and comes back, from the ledger.

Two local servers serve one route, steadily asked. The first one answers 500 for a while. The
picture is drawn from the ledger's attempts alone: each dot is one attempt, at its time, in the row
of its candidate, and its colour says what came of it. Exit 1 where calls to the dead candidate did
not stop after the window's failures, or did not come back with the first probe that succeeded.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crux_integrations import Router
from crux_providers.base import ChatRequest, Message
from crux_providers.persistence.ledger import list_attempts
from crux_providers.persistence.rows import Attempt
from crux_providers.persistence.store import get_store
from tests.faults.test_fault_table import good, status
from tests.faults.wires import PRESENT
from tests.servers.scripted_server import Exchange, ScriptedServer

DIES, COMES_BACK, ENDS = 1.0, 3.5, 6.5
"""Seconds from the start."""
FAILURES, OPEN_S = 5, 0.3
CALLERS, PAUSE_S = 4, 0.02
REQUEST = ChatRequest(messages=[Message("user", "hi")])


@dataclass(frozen=True)
class Seen:
    """What the ledger says; times in seconds from the start of the run."""

    attempts: Sequence[tuple[float, str, bool]]
    ran_into: int
    probes: int
    back_after_s: float | None
    failed_calls: int

    def faults(self) -> list[str]:
        """What is not as a breaker should have it."""
        found = []
        # Calls that were on their way when the breaker opened come on top of the window's own.
        if self.ran_into > FAILURES + CALLERS:
            found.append(f"{self.ran_into} attempts at the dead candidate before it was left alone")
        if self.probes > (COMES_BACK - DIES) / OPEN_S + 1:
            found.append(f"{self.probes} probes while it was dead")
        if self.probes == 0:
            found.append("no probe while it was dead: nobody would have noticed its coming back")
        if self.back_after_s is None:
            found.append("no call went back to it")
        if self.failed_calls:
            found.append(f"{self.failed_calls} calls failed, with a good candidate left")
        return found


def run(folder: Path) -> Seen:
    """Play it, then read the ledger."""
    wire = PRESENT[0]
    alive: Callable[[Exchange], None] = good(wire)
    dead = status(500)(wire)
    os.environ["CRUX_DB"] = str(folder / "ledger.db")
    failed: list[Exception] = []
    with ScriptedServer(alive) as one, ScriptedServer(alive) as two:
        gateway: dict[str, Any] = {"dialect": wire.dialect, "api_key": "k"}
        router = Router(
            {
                "version": 1,
                "providers": {
                    "one": {**gateway, "base_url": one.url},
                    "two": {**gateway, "base_url": two.url},
                },
                "routes": {
                    "default": {
                        "candidates": ["one:m", "two:m"],
                        "retry": {"attempts": 1},
                        "breaker": {
                            "failures": FAILURES, "window": "2s", "open": f"{OPEN_S * 1000:g}ms",
                        },
                    }
                },
            }
        )  # fmt: skip
        began = time.time()

        def ask() -> None:
            while time.time() - began < ENDS:
                try:
                    router.generate(REQUEST)
                except Exception as error:
                    failed.append(error)
                time.sleep(PAUSE_S)

        callers = [threading.Thread(target=ask) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        time.sleep(DIES)
        one.play(dead)
        died = time.time() - began
        time.sleep(COMES_BACK - DIES)
        one.play(alive)
        back = time.time() - began
        for caller in callers:
            caller.join()
        router.close()
    store = get_store()
    store.flush()
    rows: list[Attempt] = store.read(lambda db: list_attempts(db, limit=100_000), [])
    store.close()
    attempts = sorted((r.started_at - began, r.provider, r.outcome == "success") for r in rows)
    bad = [at for at, provider, fine in attempts if provider == "one" and not fine]
    opened = bad[0] + OPEN_S / 2 if bad else died
    ran_into = sum(at <= opened for at in bad)
    again = [at for at, provider, fine in attempts if provider == "one" and fine and at > back]
    return Seen(
        attempts,
        ran_into=ran_into,
        probes=len(bad) - ran_into,
        back_after_s=again[0] - back if again else None,
        failed_calls=len(failed),
    )


WIDTH, LEFT, ROW = 900, 90, 46
COLOURS = {True: "#2a9d4a", False: "#d0342c"}


def svg(seen: Seen) -> str:
    """The picture."""

    def x(at: float) -> float:
        return LEFT + at / ENDS * (WIDTH - LEFT - 20)

    rows = {"one": ROW, "two": 2 * ROW}
    size = f'width="{WIDTH}" height="{3 * ROW + 40}"'
    dead = f'x="{x(DIES):.1f}" y="16" width="{x(COMES_BACK) - x(DIES):.1f}" height="{ROW + 14}"'
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">',
        f'<rect {size} fill="white"/>',
        f'<rect {dead} fill="#f6d5d2"/>',
        f'<text x="{x(DIES) + 6:.1f}" y="30" fill="#8c2f27">the first answers 500</text>',
    ]
    for provider, y in rows.items():
        out.append(f'<text x="12" y="{y + 4}">{provider}:m</text>')
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y}" y2="{y}" stroke="#ddd"/>')
    for number, (at, provider, fine) in enumerate(seen.attempts):
        y = rows[provider] + (number % 7 - 3) * 2.2  # apart, so that many can be told from one
        out.append(f'<circle cx="{x(at):.1f}" cy="{y:.1f}" r="2" fill="{COLOURS[fine]}"/>')
    for second in range(int(ENDS) + 1):
        out.append(
            f'<text x="{x(second):.1f}" y="{3 * ROW}" text-anchor="middle">{second} s</text>'
        )
    out.append(f'<text x="12" y="{3 * ROW + 28}">{sentence(seen)}</text></svg>')
    return "\n".join(out) + "\n"


def sentence(seen: Seen) -> str:
    """What it shows, in words."""
    back = "never" if seen.back_after_s is None else f"{seen.back_after_s:.2f} s later"
    return (
        f"{seen.ran_into} attempts fail before it is left alone, {seen.probes} probes while it is "
        f"dead (one each {OPEN_S:g} s at first, then rarer), calls go back to it {back}; "
        f"{seen.failed_calls} calls failed."
    )


def main() -> int:
    """Play, draw, say what is wrong."""
    with tempfile.TemporaryDirectory(prefix="crux-breaker-") as folder:
        seen = run(Path(folder))
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(svg(seen), "utf-8")
    print(sentence(seen))
    print(json.dumps({"attempts": len(seen.attempts), "faults": seen.faults()}))
    return 1 if seen.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
