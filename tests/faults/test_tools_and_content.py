"""The fault table where the answer is a tool call, and where an answer comes but is not good
enough; on every dialect, sync and async, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from crux_integrations import Router
from crux_providers.base import ChatRequest, Message, Tool
from crux_providers.base.events import ChatStreamEvent
from tests.faults.test_fault_table import DIALECTS, base, begin, good_stream, router, servers
from tests.faults.wires import CALL, Wire, _openai, sse
from tests.servers.scripted_server import Exchange

__all__ = ["servers"]  # a fixture

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = ChatRequest(
    messages=[Message("user", "weather?")], tools=[Tool("weather", "The weather.", SCHEMA)]
)
Read = Callable[[Router, ChatRequest], list[ChatStreamEvent]]


def read(r: Router, request: ChatRequest) -> list[ChatStreamEvent]:
    return list(r.stream(request))


def aread(r: Router, request: ChatRequest) -> list[ChatStreamEvent]:
    async def main() -> list[ChatStreamEvent]:
        events = [e async for e in r.astream(request)]
        await r.aclose()
        return events

    return asyncio.run(main())


READS = pytest.mark.parametrize("read", [read, aread], ids=["sync", "async"])


def plays(
    frames: Sequence[bytes], end: Callable[[Exchange], None]
) -> Callable[[Wire], Callable[[Exchange], None]]:
    def of(wire: Wire) -> Callable[[Exchange], None]:
        def play(x: Exchange) -> None:
            begin(x, wire)
            for frame in (*wire.opening, *frames):
                x.chunk(frame)
            end(x)

        return play

    return of


def cut(x: Exchange) -> None:
    x.reset()


def clean(x: Exchange) -> None:
    x.end_stream()


def over(wire: Wire, first: Any, second: Any, **route: Any) -> Router:
    """The first, then the second, whatever was seen of them in this process."""
    return router(wire, base(first, wire), base(second, wire), unknown="allow", **route)


def text_of(events: list[ChatStreamEvent]) -> str:
    return "".join(e.delta or "" for e in events)


@DIALECTS
@READS
def test_before_a_tool_call_every_fault_falls_over(wire: Wire, read: Read, servers: Any) -> None:
    first, second = servers
    first.play(plays([], cut)(wire))
    second.play(good_stream(wire))
    events = read(over(wire, first, second), TOOLS)
    assert text_of(events) == "Hello there"


# -- answers that are not good enough -------------------------------------------------------------


def says(text: str) -> Callable[[Wire], Callable[[Exchange], None]]:
    def of(wire: Wire) -> Callable[[Exchange], None]:
        def play(x: Exchange) -> None:
            begin(x, wire)
            ending = wire.ending
            if wire.dialect == "openai_responses":  # its last event repeats the whole
                quoted = json.dumps(text)[1:-1].encode()
                ending = [frame.replace(b"Hello there", quoted) for frame in wire.ending]
            for frame in (*wire.opening, wire.text(text), *ending):
                x.chunk(frame)
            x.end_stream()

        return play

    return of


JSON_REQUEST = ChatRequest(
    messages=[Message("user", "city?")], response_format="json_schema", json_schema=SCHEMA
)
CONTENT = {"invalid_json": "not json at all", "schema_mismatch": '{"town": 1}'}


@DIALECTS
@READS
@pytest.mark.parametrize("trigger", CONTENT)
def test_held_back_an_answer_that_does_not_fit_is_never_seen(
    wire: Wire, read: Read, trigger: str, servers: Any
) -> None:
    first, second = servers
    first.play(says(CONTENT[trigger])(wire))
    second.play(says('{"city": "Oslo"}')(wire))
    r = over(wire, first, second, stream={"hold": "all"})
    events = read(r, JSON_REQUEST)
    assert json.loads(text_of(events)) == CALL
    crux = events[-1].meta["crux"]  # type: ignore[index]  # the last one has it
    assert [a["outcome"] for a in crux["attempts"]] == [trigger, "success"]


@DIALECTS
@READS
@pytest.mark.parametrize("trigger", CONTENT)
def test_after_content_it_is_only_noted(wire: Wire, read: Read, trigger: str, servers: Any) -> None:
    first, second = servers
    first.play(says(CONTENT[trigger])(wire))
    events = read(over(wire, first, second), JSON_REQUEST)
    assert text_of(events) == CONTENT[trigger]
    crux = events[-1].meta["crux"]  # type: ignore[index]  # the last one has it
    assert [a["outcome"] for a in crux["attempts"]] == [trigger]
    assert second.requests == 0


def openai_ending(finish: str, **delta: Any) -> list[bytes]:
    return [sse(_openai(delta, finish)), sse("[DONE]")]


@READS
@pytest.mark.parametrize(
    ("trigger", "frames"),
    [
        ("refusal", openai_ending("stop", refusal="I will not.")),
        ("length", [sse(_openai({"content": "Hel"})), *openai_ending("length")]),
    ],
)
def test_held_back_refusals_and_cut_answers_fall_over_where_the_table_says_so(
    read: Read, trigger: str, frames: list[bytes], servers: Any
) -> None:
    from tests.faults.wires import PRESENT

    wire = next(w for w in PRESENT if w.dialect == "openai_chat")
    first, second = servers
    first.play(plays(frames, clean)(wire))
    second.play(good_stream(wire))
    r = over(
        wire,
        first,
        second,
        stream={"hold": "all"},
        on={"length": "next", "refusal": "next"},
    )
    events = read(r, ChatRequest(messages=[Message("user", "hi")]))
    assert text_of(events) == "Hello there"
    crux = events[-1].meta["crux"]  # type: ignore[index]  # the last one has it
    assert [a["outcome"] for a in crux["attempts"]] == [trigger, "success"]
