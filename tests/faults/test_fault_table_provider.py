"""The fault table at the provider itself: one terminal event, one code, nothing sent twice.

A provider on its own has nobody to fall over to. A stream that fails ends in exactly one terminal
event with the code of the fault, whatever came before it; a whole answer raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from crux_integrations.router.provider_trust import ProviderSettings
from crux_integrations.router.providers import gateway
from crux_providers.base import ChatRequest, Message, ProviderError
from crux_providers.base.events import ChatStreamEvent
from crux_providers.base.provider import BaseProvider, GatewayProvider
from tests.faults.test_fault_table import AFTER, BEFORE, DIALECTS, SHORT, WHOLE, base, servers
from tests.faults.wires import Wire
from tests.servers.scripted_server import ScriptedServer

__all__ = ["servers"]

REQUEST = ChatRequest(model="m-1", messages=[Message("user", "hi")])
LIMIT = float(SHORT.removesuffix("ms")) / 1000


def provider(wire: Wire, server: ScriptedServer, fault: str) -> BaseProvider:
    settings = ProviderSettings("one", None, wire.dialect, "file", base_url=base(server, wire))
    waits = fault.startswith(("hang", "pings"))
    idles = fault in ("idle", "malformed")
    return GatewayProvider(
        declaration=gateway(settings),
        api_key="k",
        base_url=base(server, wire),
        timeout={"connect": 5, "first_token": LIMIT if waits else 10, "total": 30},
        idle_timeout=LIMIT if idles else 10,
    )


def stream(one: BaseProvider) -> list[ChatStreamEvent]:
    return list(one.stream_chat(REQUEST))


def astream(one: BaseProvider) -> list[ChatStreamEvent]:
    async def main() -> list[ChatStreamEvent]:
        try:
            return [event async for event in one.astream_chat(REQUEST)]
        finally:
            await one.aclose()

    return asyncio.run(main())


def chat(one: BaseProvider) -> Any:
    return one.chat(REQUEST)


def achat(one: BaseProvider) -> Any:
    async def main() -> Any:
        try:
            return await one.achat(REQUEST)
        finally:
            await one.aclose()

    return asyncio.run(main())


STREAMS = pytest.mark.parametrize("ask", [stream, astream], ids=lambda f: f.__name__)
WHOLES = pytest.mark.parametrize("ask", [chat, achat], ids=lambda f: f.__name__)
FAULTS = {f"before: {name}": row for name, row in BEFORE.items()} | {
    f"after: {name}": row for name, row in AFTER.items()
}


@DIALECTS
@STREAMS
@pytest.mark.parametrize("fault", FAULTS)
def test_a_stream_ends_in_one_terminal_event(
    wire: Wire, ask: Callable[[BaseProvider], list[ChatStreamEvent]], fault: str, servers: Any
) -> None:
    server, _ = servers
    scenario, codes = FAULTS[fault]
    server.play(scenario(wire))
    phase, _, name = fault.partition(": ")
    events = ask(provider(wire, server, name))
    assert [event.finish for event in events].count(True) == 1
    last = events[-1]
    assert last.finish
    text = "".join(event.delta or "" for event in events)
    assert text == ("Hel" if phase == "after" else "")
    if codes == {"empty"}:  # whether an empty answer is good enough is the router's question
        assert last.error is None
    else:
        assert (last.error or "").partition(":")[0] in codes
    assert server.requests == 1


@DIALECTS
@WHOLES
@pytest.mark.parametrize("fault", WHOLE)
def test_a_whole_answer_raises(
    wire: Wire, ask: Callable[[BaseProvider], Any], fault: str, servers: Any
) -> None:
    server, _ = servers
    scenario, codes = WHOLE[fault]
    server.play(scenario(wire))
    one = provider(wire, server, fault)
    if codes == {"empty"}:
        assert ask(one).empty
    else:
        with pytest.raises(ProviderError) as caught:
            ask(one)
        assert str(caught.value.code) in codes
        assert (caught.value.provider, caught.value.model) == ("one", "m-1")
    assert server.requests == 1
