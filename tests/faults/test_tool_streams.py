"""Streams that break in the middle of a tool call: the same contract as for text, on every dialect,
at the Router, at ChatCrux, in its events, and inside an agent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from crux_integrations import ChatCrux, Router, StreamInterrupted
from crux_providers.base import ChatRequest, Message, Tool
from tests.faults.test_fault_table import (
    DIALECTS,
    Scenario,
    base,
    begin,
    clean,
    good,
    hang,
    limits,
    reset,
    router,
    servers,
)
from tests.faults.wires import TOOL_FRAMES, Wire

__all__ = ["servers"]

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
REQUEST = ChatRequest(
    messages=[Message("user", "weather?")], tools=[Tool("weather", "The weather.", SCHEMA)]
)
WHOLE_CALLS = ("gemini_generate", "ollama_chat")
"""Dialects whose calls come in one piece."""


def broken(wire: Wire, fault: str) -> Scenario:
    """A tool call that begins, and then the fault."""
    endings: dict[str, Callable[..., None]] = {"cut": reset, "clean close, no end": clean,
                                               "idle": hang, "error event": clean}  # fmt: skip

    def play(x: Any) -> None:
        begin(x, wire)
        for frame in (*wire.opening, *TOOL_FRAMES[wire.dialect]):
            x.chunk(frame)
        if fault == "error event":
            x.chunk(wire.error)
        endings[fault](x)

    return play


AT_ONCE = ["cut", "clean close, no end", "error event"]


def router_stream(r: Router) -> list[Any]:
    return list(r.stream(REQUEST))


def router_astream(r: Router) -> list[Any]:
    async def main() -> list[Any]:
        try:
            return [event async for event in r.astream(REQUEST)]
        finally:
            await r.aclose()

    return asyncio.run(main())


@tool
def weather(city: str) -> str:
    """The weather."""
    raise AssertionError("half a call was run")


def model(r: Router) -> Any:
    return ChatCrux(routes=r).bind_tools([weather])


def chat_stream(r: Router) -> None:
    list(model(r).stream("weather?"))


def chat_astream(r: Router) -> None:
    async def main() -> None:
        try:
            async for _ in model(r).astream("weather?"):
                pass
        finally:
            await r.aclose()

    asyncio.run(main())


def chat_events(r: Router) -> None:
    async def main() -> None:
        try:
            async for _ in model(r).astream_events("weather?", version="v2"):
                pass
        finally:
            await r.aclose()

    asyncio.run(main())


QUESTION = {"messages": [{"role": "user", "content": "weather?"}]}


def agent_stream(r: Router) -> None:
    list(create_agent(ChatCrux(routes=r), [weather]).stream(QUESTION, stream_mode="messages"))


def agent_astream(r: Router) -> None:
    async def main() -> None:
        try:
            agent = create_agent(ChatCrux(routes=r), [weather])
            async for _ in agent.astream(QUESTION, stream_mode="messages"):
                pass
        finally:
            await r.aclose()

    asyncio.run(main())


ASKS = [
    router_stream, router_astream, chat_stream, chat_astream, chat_events, agent_stream,
    agent_astream,
]  # fmt: skip


PAIRS = [(fault, ask) for fault in AT_ONCE for ask in ASKS]
PAIRS += [("idle", router_stream), ("idle", chat_astream)]  # its limit has to be waited for


@DIALECTS
@pytest.mark.parametrize(
    ("fault", "ask"), PAIRS, ids=lambda v: v if isinstance(v, str) else v.__name__
)
def test_half_a_call_is_interrupted_and_never_run(
    wire: Wire, fault: str, ask: Callable[[Router], Any], servers: Any
) -> None:
    first, second = servers
    first.play(broken(wire, fault))
    second.play(good(wire))
    with pytest.raises(StreamInterrupted) as caught:
        ask(router(wire, base(first, wire), base(second, wire), **limits(fault)))
    error = caught.value
    assert second.requests == 0, "the provider changed after a tool call had begun"
    assert error.attempts[-1]["outcome"] == "interrupted"
    calls = [*error.partial.tool_calls, *getattr(error.partial, "invalid_tool_calls", ())]
    names = [c["name"] if isinstance(c, dict) else c.name for c in calls]
    assert names == ["weather"]
    if wire.dialect not in WHOLE_CALLS:  # half of its arguments, as they came
        (call,) = calls
        raw = call["args"] if isinstance(call, dict) else call.raw_arguments
        assert raw == '{"city": '


@DIALECTS
@pytest.mark.parametrize("fault", AT_ONCE)
@pytest.mark.parametrize("ask", [router_stream, router_astream], ids=lambda f: f.__name__)
def test_hold_falls_over_from_half_a_call(
    wire: Wire, fault: str, ask: Callable[[Router], list[Any]], servers: Any
) -> None:
    first, second = servers
    first.play(broken(wire, fault))
    second.play(good(wire))
    events = ask(router(wire, base(first, wire), base(second, wire), **limits(fault, hold="all")))
    assert second.requests == 1
    assert not any(event.tool_call for event in events)
    assert "".join(event.delta or "" for event in events) == "Hello there"
