"""The fault table: every fault, before and after content, whole and streamed, sync and async, on
every dialect, at the Router and at ChatCrux. Real sockets; the first candidate misbehaves."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crux_integrations import AllCandidatesFailed, ChatCrux, Router, StreamInterrupted
from crux_providers.base import ChatRequest, Message
from tests.faults.wires import PRESENT, Wire
from tests.servers.scripted_server import Exchange, ScriptedServer

LIMITS = {"connect": "5s", "first_token": "10s", "total": "30s"}
IDLE = "10s"
SHORT = "400ms"
"""The limit of a wait that a fault makes us sit out; all others never end by the clock."""
DIALECTS = pytest.mark.parametrize("wire", PRESENT, ids=lambda w: w.dialect)
REQUEST = ChatRequest(messages=[Message("user", "hi")])
Scenario = Callable[[Exchange], None]


def begin(x: Exchange, wire: Wire) -> None:
    x.head(200, {"content-type": wire.content_type, "transfer-encoding": "chunked"})


def good_stream(wire: Wire) -> Scenario:
    def play(x: Exchange) -> None:
        begin(x, wire)
        for frame in (*wire.opening, wire.text("Hello"), wire.text(" there"), *wire.ending):
            x.chunk(frame)
        x.end_stream()

    return play


def good_whole(wire: Wire) -> Scenario:
    return lambda x: x.answer(json.dumps(wire.whole).encode())


def good(wire: Wire) -> Scenario:
    def play(x: Exchange) -> None:
        streamed = b'"stream":true' in x.body or "streamGenerateContent" in x.target
        (good_stream(wire) if streamed else good_whole(wire))(x)

    return play


def status(code: int, **headers: str) -> Callable[[Wire], Scenario]:
    return lambda wire: (
        lambda x: x.answer(json.dumps(wire.status_error).encode(), code, headers=headers)
    )


def frames(
    chosen: Callable[[Wire], list[bytes]], end: Callable[[Exchange], None]
) -> Callable[[Wire], Scenario]:
    def of(wire: Wire) -> Scenario:
        def play(x: Exchange) -> None:
            begin(x, wire)
            for frame in chosen(wire):
                x.chunk(frame)
            end(x)

        return play

    return of


def stall(wire: Wire) -> Scenario:
    return lambda x: x.stall()


def sequence(*done: None) -> None:
    """Its arguments, done in order."""


def clean(x: Exchange) -> None:
    x.end_stream()


def hang(x: Exchange) -> None:
    x.stall()


def reset(x: Exchange) -> None:
    x.reset()


def before(*more: str) -> Callable[[Wire], list[bytes]]:
    return lambda w: [*w.opening, *(getattr(w, name) for name in more)]


def after(*more: str) -> Callable[[Wire], list[bytes]]:
    return lambda w: [*w.opening, w.text("Hel"), *(getattr(w, name) for name in more)]


BEFORE: dict[str, tuple[Callable[[Wire], Scenario], set[str]]] = {
    "429": (status(429), {"rate_limit"}),
    "500": (status(500), {"server_error"}),
    "529": (status(529), {"overloaded"}),
    "hang to the headers": (stall, {"timeout"}),
    "hang to the first token": (frames(before(), hang), {"timeout"}),
    "pings and no token": (
        lambda w: lambda x: sequence(begin(x, w), x.ping_for_ever(w.ping)),
        {"timeout"},
    ),
    "error event first": (
        frames(lambda w: [w.error], clean),
        {"server_error", "overloaded", "transient"},
    ),
    "error event after the role": (
        frames(before("error"), clean),
        {"server_error", "overloaded", "transient"},
    ),
    "cut at once": (frames(lambda w: [], reset), {"transient"}),
    "cut after the role": (frames(before(), reset), {"transient"}),
    "clean close, no end": (frames(before(), clean), {"transient", "malformed"}),
    "nothing at all": (frames(lambda w: [], clean), {"transient", "malformed"}),
    "malformed first": (frames(before("malformed"), clean), {"malformed", "transient"}),
    "empty answer": (frames(lambda w: [*w.opening, *w.ending_empty], clean), {"empty"}),
}

AFTER: dict[str, tuple[Callable[[Wire], Scenario], set[str]]] = {
    "error event": (frames(after("error"), clean), {"server_error", "overloaded", "transient"}),
    "cut": (frames(after(), reset), {"transient"}),
    "clean close, no end": (frames(after(), clean), {"transient", "malformed"}),
    "idle": (frames(after(), hang), {"transient"}),
    "malformed": (frames(after("malformed"), hang), {"malformed", "transient"}),
}

WHOLE: dict[str, tuple[Callable[[Wire], Scenario], set[str]]] = {
    "429": (status(429), {"rate_limit"}),
    "500": (status(500), {"server_error"}),
    "529": (status(529), {"overloaded"}),
    "hang": (stall, {"timeout"}),
    "cut before the headers": (lambda w: lambda x: x.reset(), {"transient"}),
    "cut in the body": (
        lambda w: (
            lambda x: sequence(
                x.head(200, {"content-type": "application/json", "content-length": "500"}),
                x.send(b'{"id": '),
                x.reset(),
            )
        ),
        {"transient"},
    ),
    "half a body": (lambda w: lambda x: x.answer(json.dumps(w.whole).encode()[:40]), {"malformed"}),
    "no JSON": (lambda w: lambda x: x.answer(b"<html>busy</html>"), {"malformed"}),
    "empty answer": (lambda w: lambda x: x.answer(json.dumps(w.whole_empty).encode()), {"empty"}),
}


@pytest.fixture
def servers() -> Iterator[tuple[ScriptedServer, ScriptedServer]]:
    with ScriptedServer() as first, ScriptedServer() as second:
        yield first, second


def router(wire: Wire, first: str, second: str, **route: Any) -> Router:
    def gateway(url: str) -> dict[str, str]:
        return {"dialect": wire.dialect, "base_url": url.removesuffix("/v1"), "api_key": "k"}

    return Router(
        {
            "version": 1,
            "providers": {"one": gateway(first), "two": gateway(second)},
            "routes": {
                "default": {
                    "candidates": ["one:m-1", "two:m-1"],
                    "retry": {"attempts": 1},
                    "timeout": LIMITS,
                    "stream": {"idle": IDLE},
                    **route,
                }
            },
        }
    )


def base(server: ScriptedServer, wire: Wire) -> str:
    return server.url if wire.dialect.startswith("openai") else server.url.removesuffix("/v1")


def limits(fault: str, **stream: Any) -> dict[str, Any]:
    """The route's limits for a fault: short where it is about waiting."""
    waits = fault.startswith(("hang", "pings"))
    first = {**LIMITS, "first_token": SHORT} if waits else LIMITS
    idle = SHORT if fault in ("idle", "malformed") else IDLE
    return {"timeout": first, "stream": {"idle": idle, **stream}}


# -- the four ways to ask, each giving (text, crux mapping) or raising ----------------------------


def router_stream(r: Router) -> tuple[str, Any]:
    events = list(r.stream(REQUEST))
    assert [e.finish for e in events].count(True) == 1
    assert events[-1].finish
    return "".join(e.delta or "" for e in events), events[-1].meta["crux"]


def router_astream(r: Router) -> tuple[str, Any]:
    async def main() -> tuple[str, Any]:
        events = [e async for e in r.astream(REQUEST)]
        assert [e.finish for e in events].count(True) == 1
        await r.aclose()
        return "".join(e.delta or "" for e in events), events[-1].meta["crux"]

    return asyncio.run(main())


def chat_stream(r: Router) -> tuple[str, Any]:
    chunks = list(ChatCrux(routes=r).stream("hi"))
    return "".join(c.text for c in chunks), chunks[-1].response_metadata["crux"]


def chat_astream(r: Router) -> tuple[str, Any]:
    async def main() -> tuple[str, Any]:
        chunks = [c async for c in ChatCrux(routes=r).astream("hi")]
        await r.aclose()
        return "".join(c.text for c in chunks), chunks[-1].response_metadata["crux"]

    return asyncio.run(main())


def router_whole(r: Router) -> tuple[str, Any]:
    response = r.generate(REQUEST)
    return response.text, response.meta.extra["crux"]


def router_awhole(r: Router) -> tuple[str, Any]:
    async def main() -> tuple[str, Any]:
        response = await r.agenerate(REQUEST)
        await r.aclose()
        return response.text, response.meta.extra["crux"]

    return asyncio.run(main())


def chat_whole(r: Router) -> tuple[str, Any]:
    message = ChatCrux(routes=r).invoke("hi")
    return message.text, message.response_metadata["crux"]


def chat_awhole(r: Router) -> tuple[str, Any]:
    async def main() -> tuple[str, Any]:
        message = await ChatCrux(routes=r).ainvoke("hi")
        await r.aclose()
        return message.text, message.response_metadata["crux"]

    return asyncio.run(main())


STREAMS = pytest.mark.parametrize(
    "ask", [router_stream, router_astream, chat_stream, chat_astream], ids=lambda f: f.__name__
)
WHOLES = pytest.mark.parametrize(
    "ask", [router_whole, router_awhole, chat_whole, chat_awhole], ids=lambda f: f.__name__
)


def assert_fell_over(answer: tuple[str, Any], codes: set[str], second: ScriptedServer) -> None:
    text, crux = answer
    assert text == "Hello there"
    assert second.requests == 1
    assert [a["provider"] for a in crux["attempts"]] == ["one", "two"]
    failed, won = crux["attempts"]
    assert (failed["error_code"] or failed["outcome"]) in codes, failed
    if failed["status"] is not None and failed["status"] >= 400:
        assert failed["reason"] == "no", "the provider's own words are the reason"
    assert won["outcome"] == "success"
    assert crux["provider"] == "two"


@DIALECTS
@STREAMS
@pytest.mark.parametrize("fault", BEFORE)
def test_before_content_every_fault_falls_over_unseen(
    wire: Wire, ask: Any, fault: str, servers: Any
) -> None:
    first, second = servers
    scenario, codes = BEFORE[fault]
    first.play(scenario(wire))
    second.play(good(wire))
    answer = ask(router(wire, base(first, wire), base(second, wire), **limits(fault)))
    assert_fell_over(answer, codes, second)
    assert first.requests == 1


@DIALECTS
@WHOLES
@pytest.mark.parametrize("fault", WHOLE)
def test_whole_answers_fall_over(wire: Wire, ask: Any, fault: str, servers: Any) -> None:
    first, second = servers
    scenario, codes = WHOLE[fault]
    first.play(scenario(wire))
    second.play(good(wire))
    answer = ask(router(wire, base(first, wire), base(second, wire), **limits(fault)))
    assert_fell_over(answer, codes, second)
    assert first.requests == 1


@DIALECTS
@pytest.mark.parametrize(
    "ask", [router_stream, router_astream, router_whole, router_awhole], ids=lambda f: f.__name__
)
def test_a_refused_connection_falls_over(wire: Wire, ask: Any, servers: Any) -> None:
    _, second = servers
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    second.play(good(wire))
    answer = ask(
        router(
            wire,
            f"http://127.0.0.1:{port}/v1"
            if wire.dialect.startswith("openai")
            else f"http://127.0.0.1:{port}",
            base(second, wire),
        )
    )
    assert_fell_over(answer, {"transient"}, second)


@DIALECTS
@STREAMS
@pytest.mark.parametrize("fault", AFTER)
def test_after_content_a_fault_is_stream_interrupted(
    wire: Wire, ask: Any, fault: str, servers: Any
) -> None:
    first, second = servers
    scenario, codes = AFTER[fault]
    first.play(scenario(wire))
    second.play(good(wire))
    with pytest.raises(StreamInterrupted) as caught:
        ask(router(wire, base(first, wire), base(second, wire), **limits(fault)))
    error = caught.value
    assert str(error.code) in codes
    partial = error.partial
    assert (partial.text if isinstance(partial.text, str) else partial.text()) == "Hel"
    assert [a["provider"] for a in error.attempts] == ["one"]
    assert error.attempts[0]["outcome"] == "interrupted"
    assert second.requests == 0
    if fault in ("idle", "malformed"):  # in the others the server ended it, or it was read whole
        first.assert_closed()


@DIALECTS
@STREAMS
@pytest.mark.parametrize("fault", AFTER)
def test_hold_turns_early_faults_into_full_fallbacks(
    wire: Wire, ask: Any, fault: str, servers: Any
) -> None:
    first, second = servers
    scenario, codes = AFTER[fault]
    first.play(scenario(wire))
    second.play(good(wire))
    held = limits(fault, hold="all")
    answer = ask(router(wire, base(first, wire), base(second, wire), **held))
    assert_fell_over(answer, codes, second)


@DIALECTS
@WHOLES
def test_when_all_fail_every_attempt_has_a_line(wire: Wire, ask: Any, servers: Any) -> None:
    first, second = servers
    first.play(status(429)(wire))
    second.play(status(500)(wire))
    with pytest.raises(AllCandidatesFailed) as caught:
        ask(router(wire, base(first, wire), base(second, wire)))
    error = caught.value
    assert "one:m-1: rate_limit (HTTP 429)" in str(error)
    assert "two:m-1: server_error (HTTP 500)" in str(error)
    assert len(error.attempts) == 2
    assert str(error.code) == "server_error"


@DIALECTS
def test_leaving_early_closes_the_socket_and_blames_nobody(wire: Wire, servers: Any) -> None:
    first, second = servers
    first.play(frames(after(), hang)(wire))
    r = router(wire, base(first, wire), base(second, wire))
    events = r.stream(REQUEST)
    assert any(e.delta == "Hel" for e in iter(lambda: next(events), None) if e.delta)
    events.close()
    first.assert_closed()
    assert r.explain(REQUEST).rejected == ()


@DIALECTS
def test_a_cancelled_task_closes_the_socket(wire: Wire, servers: Any) -> None:
    first, second = servers
    first.play(frames(after(), hang)(wire))
    r = router(wire, base(first, wire), base(second, wire), stream={"idle": "30s"})

    async def main() -> None:
        seen = asyncio.Event()

        async def consume() -> None:
            async for event in r.astream(REQUEST):
                if event.delta:
                    seen.set()

        task = asyncio.create_task(consume())
        await asyncio.wait_for(seen.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    first.assert_closed()
    assert second.requests == 0


@DIALECTS
@STREAMS
def test_every_candidate_empty_gives_the_last_empty_answer(
    wire: Wire, ask: Any, servers: Any
) -> None:
    first, second = servers
    scenario, _ = BEFORE["empty answer"]
    first.play(scenario(wire))
    second.play(scenario(wire))
    text, crux = ask(router(wire, base(first, wire), base(second, wire)))
    assert text == ""
    assert [a["outcome"] for a in crux["attempts"]] == ["empty", "empty"]


@DIALECTS
@STREAMS
def test_an_empty_answer_after_a_tool_result_is_no_failure(
    wire: Wire, ask: Any, servers: Any
) -> None:
    first, second = servers
    scenario, _ = BEFORE["empty answer"]
    first.play(scenario(wire))
    r = router(wire, base(first, wire), base(second, wire))
    from crux_providers.base import ToolCall

    request = ChatRequest(
        messages=[
            Message("user", "weather?"),
            Message("assistant", tool_calls=[ToolCall("call_1", "weather", {})]),
            Message("tool", "sunny", tool_call_id="call_1", name="weather"),
        ]
    )
    events = list(r.stream(request))
    assert events[-1].finish
    assert second.requests == 0
