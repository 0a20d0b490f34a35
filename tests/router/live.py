"""Routers over scripted servers, and the four ways to ask them."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from crux_integrations.router.router import Router
from crux_providers.base import ChatRequest, Message
from tests.faults.wires import PRESENT
from tests.servers.scripted_server import Exchange, ScriptedServer

WIRE = next(w for w in PRESENT if w.dialect == "openai_chat")
REQUEST = ChatRequest(messages=[Message("user", "hi")], max_tokens=100)
Scenario = Callable[[Exchange], None]
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}


def streamed(x: Exchange) -> bool:
    return b'"stream":true' in x.body


def good(x: Exchange, **headers: str) -> None:
    """An answer, whole or streamed as asked, with usage."""
    if not streamed(x):
        x.answer(json.dumps({**WIRE.whole, "usage": USAGE}).encode(), headers=headers)
        return
    begin(x, **headers)
    for frame in (*WIRE.opening, WIRE.text("Hello"), WIRE.text(" there"), *WIRE.ending):
        x.chunk(frame)
    x.end_stream()


def begin(x: Exchange, **headers: str) -> None:
    x.head(200, {"content-type": WIRE.content_type, "transfer-encoding": "chunked", **headers})


def status(code: int, **headers: str) -> Scenario:
    body = json.dumps(WIRE.status_error).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda x: x.answer(body, code, headers=named)


def hang(x: Exchange) -> None:
    x.stall()


def after(gate: threading.Event, then: Scenario = good) -> Scenario:
    """``then``, once the gate is open."""

    def play(x: Exchange) -> None:
        gate.wait(5)
        then(x)

    return play


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what another thread is about to bring about."""
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until, "it never came about"
        time.sleep(0.002)


def router(*servers: ScriptedServer, price: float | None = 1.0, **route: Any) -> Router:
    """A router over gateways one, two, …; every model costs ``price`` dollars per million."""
    names = ["one", "two", "three", "four"][: len(servers)]
    told = {} if price is None else {"price": {"input": price, "output": price}}
    return Router(
        {
            "version": 1,
            "providers": {
                name: {"dialect": "openai_chat", "base_url": server.url, "api_key": "k"}
                for name, server in zip(names, servers, strict=True)
            },
            "models": {f"{name}:m": {"context": 100000, **told} for name in names},
            "routes": {
                "default": {
                    "candidates": [f"{name}:m" for name in names],
                    "retry": {"attempts": 1},
                    "timeout": {"connect": "5s", "first_token": "10s", "total": "30s"},
                    **route,
                }
            },
        }
    )


Ask = Callable[[Router], tuple[str, dict[str, Any]]]


def whole(r: Router) -> tuple[str, dict[str, Any]]:
    response = r.generate(REQUEST)
    return response.text, response.meta.extra["crux"]


def awhole(r: Router) -> tuple[str, dict[str, Any]]:
    async def main() -> tuple[str, dict[str, Any]]:
        response = await r.agenerate(REQUEST)
        await r.aclose()
        return response.text, response.meta.extra["crux"]

    return asyncio.run(main())


def stream(r: Router) -> tuple[str, dict[str, Any]]:
    events = list(r.stream(REQUEST))
    assert [e.finish for e in events].count(True) == 1
    return "".join(e.delta or "" for e in events), events[-1].meta["crux"]  # type: ignore[index]  # the last one has it


def astream(r: Router) -> tuple[str, dict[str, Any]]:
    async def main() -> tuple[str, dict[str, Any]]:
        events = [e async for e in r.astream(REQUEST)]
        await r.aclose()
        return "".join(e.delta or "" for e in events), events[-1].meta["crux"]  # type: ignore[index]  # the last one has it

    return asyncio.run(main())


WAYS: list[Ask] = [whole, awhole, stream, astream]
STREAMS: list[Ask] = [stream, astream]
