"""Every transport: what it makes of good answers, refusals and damaged ones."""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from crux_providers.base.errors import ProviderError, WireFailure
from crux_providers.base.interfaces import Transport
from tests.servers.scripted_server import Exchange, ScriptedServer
from tests.transports.conformance import (
    Harness,
    SyncDriver,
    data_of,
    json_of,
    scope,
)

pytestmark = pytest.mark.conformance


def events_of(harness: Harness) -> list[Any]:
    texts = [event.partition(b"data: ")[2] or event.lstrip(b"[,") for event in harness.events]
    return [json.loads(text) for text in texts]


def told(harness: Harness, result: Any, streamed: bool) -> Any:
    """What a result says."""
    return harness.told(data_of(result) if streamed else json_of(result))


def expected(harness: Harness, streamed: bool) -> Any:
    """What the good answer of that mode says."""
    return harness.told(events_of(harness) if streamed else harness.answer)


def test_success(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool,
) -> None:  # fmt: skip
    result = driver.call(transport, harness.request(streamed), scope(whole=not streamed))
    if streamed:
        assert told(harness, result, True) == expected(harness, True)
    else:
        assert told(harness, result, False) == expected(harness, False)
        assert result.status == 200
        assert result.headers["x-request-id"] == "req_1"
    (exchange,) = server.exchanges
    assert (exchange.method, exchange.target) == ("POST", harness.target_of(streamed))
    assert json.loads(exchange.body) == harness.sent(harness.request(streamed))


def test_an_open_stream_knows_its_status_and_headers(
    harness: Harness, driver: SyncDriver, transport: Transport
) -> None:
    stream: Any = driver.open(transport, harness.streamed, scope())
    assert stream.status == 200
    assert stream.headers["x-request-id"] == "req_1"
    assert driver.next(stream) is not None
    driver.leave(stream)
    driver.leave(stream)
    assert driver.next(stream) is None


STATUSES = (400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529)


def test_each_error_status(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool,
) -> None:  # fmt: skip
    for status in STATUSES:
        error = {"error": {"message": f"no {status}", "code": "c"}}

        def refuse(exchange: Exchange, status: int = status, error: Any = error) -> None:
            exchange.answer(
                json.dumps(error).encode(),
                status,
                headers={"Retry-After": "7", "X-Request-Id": "req_2"},
            )

        server.play(refuse)
        with pytest.raises(WireFailure) as caught:
            driver.call(transport, harness.request(streamed), scope(whole=not streamed))
        failure = caught.value
        assert (failure.kind, failure.status) == ("status", status)
        assert failure.headers["retry-after"] == "7"
        assert failure.headers["x-request-id"] == "req_2"
        body = failure.body
        assert (body if isinstance(body, dict) else json.loads(body)) == error
    assert server.requests == len(STATUSES), "a refusal costs one request"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool, status: int,
) -> None:  # fmt: skip
    if harness.rewrites:
        pytest.skip("it follows redirects; what it is sent to is the operator's affair")
    server.play(lambda e: e.answer(b"", status, headers={"location": f"{server.url}/elsewhere"}))
    with pytest.raises(WireFailure) as caught:
        driver.call(transport, harness.request(streamed), scope())
    assert caught.value.kind == "local"
    assert "/elsewhere" in caught.value.message
    assert server.requests == 1


def nothing(exchange: Exchange) -> None:
    exchange.hang_up()


def reset_at_once(exchange: Exchange) -> None:
    exchange.reset()


def cut_in_headers(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\ncontent-ty")
    exchange.hang_up()


def no_http(exchange: Exchange) -> None:
    exchange.send(b"\x16\x03\x01 what is this\r\n\r\n")
    exchange.hang_up()


@pytest.mark.parametrize("cut", [nothing, reset_at_once, cut_in_headers, no_http])
def test_cut_before_the_headers(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool, cut: Callable[[Exchange], None],
) -> None:  # fmt: skip
    server.play(cut)
    with pytest.raises(WireFailure) as caught:
        driver.call(transport, harness.request(streamed), scope())
    # aiohttp, which LiteLLM's async half stands on, takes a reset for a connection never made.
    assert caught.value.kind in (("cut", "connect") if harness.rewrites else ("cut",))
    assert caught.value.__cause__ is not None
    assert server.requests == 1, "what the server may have acted on is not sent again"


def short_body(exchange: Exchange) -> None:
    exchange.head(200, {"content-type": "application/json", "content-length": "999"})
    exchange.send(b'{"choices": [')
    exchange.hang_up()


def reset_in_body(exchange: Exchange) -> None:
    exchange.head(200, {"content-type": "application/json", "content-length": "999"})
    exchange.send(b'{"choices": [')
    exchange.reset()


def cut_in_chunk(exchange: Exchange) -> None:
    exchange.head(200, {"content-type": "application/json", "transfer-encoding": "chunked"})
    exchange.send(b'ff\r\n{"choices": [')
    exchange.hang_up()


def bad_chunk(exchange: Exchange) -> None:
    exchange.head(200, {"content-type": "application/json", "transfer-encoding": "chunked"})
    exchange.send(b'5\r\n{"cho\r\nzz\r\nices"\r\n')
    exchange.hang_up()


def no_last_chunk(exchange: Exchange) -> None:
    exchange.head(200, {"content-type": "application/json", "transfer-encoding": "chunked"})
    exchange.chunk(b'{"choices": []}')
    exchange.hang_up()


@pytest.mark.parametrize("cut", [short_body, reset_in_body, cut_in_chunk, bad_chunk, no_last_chunk])
def test_a_whole_answer_cut_short(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    cut: Callable[[Exchange], None],
) -> None:  # fmt: skip
    server.play(cut)
    with pytest.raises(WireFailure) as caught:
        driver.send(transport, harness.whole, scope(whole=True))
    assert caught.value.kind == "cut"
    assert server.requests == 1


@pytest.mark.parametrize("how", ["close", "reset", "in a chunk", "bad chunk"])
def test_a_stream_cut_in_the_middle_gives_what_came_before(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport, how: str
) -> None:
    received = threading.Event()

    def cut(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.chunk(harness.events[0])
        received.wait(4)  # a reset throws away what the client has not read yet
        match how:
            case "close":
                exchange.hang_up()
            case "reset":
                exchange.reset()
            case "in a chunk":
                exchange.send(b"fff\r\n" + harness.events[1])
                exchange.hang_up()
            case _:
                exchange.send(b"zz\r\n")
                exchange.hang_up()

    server.play(cut)
    stream = driver.open(transport, harness.streamed, scope())
    first = driver.next(stream)
    received.set()
    assert first is not None
    assert told(harness, [first], True) == expected(harness, True)[:1]
    with pytest.raises(WireFailure) as caught:
        driver.read(stream, scope())
    # aiohttp waits on after a chunk that is none.
    assert caught.value.kind in (("cut", "timeout") if harness.rewrites else ("cut",))
    assert driver.next(stream) is None, "after its failure a stream is over"
    assert server.requests == 1


def test_a_clean_close_without_an_end_marker_is_the_end(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    """No length, no chunks: the close is the end of the body; the decoder misses the marker."""

    def close(exchange: Exchange) -> None:
        exchange.head(200, {"content-type": "text/event-stream"})
        exchange.send(harness.events[0])
        exchange.hang_up()

    server.play(close)
    if harness.rewrites:
        with pytest.raises(WireFailure) as caught:  # it makes up an end, which is not handed on
            driver.call(transport, harness.streamed, scope())
        assert caught.value.kind == "cut"
        return
    events = driver.call(transport, harness.streamed, scope())
    assert data_of(events) == events_of(harness)[:1]


def test_a_line_of_10_mb(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool,
) -> None:  # fmt: skip
    if harness.rewrites:
        pytest.skip("it looks through every chunk again and again; its own test has a shorter line")
    long = {"choices": [{"index": 0, "delta": {"content": "x" * 10_000_000}}]}

    def answer(exchange: Exchange) -> None:
        if not streamed:
            exchange.answer(json.dumps(long).encode())
            return
        exchange.begin_stream()
        data = harness.frame(json.dumps(long).encode())
        for place in range(0, len(data), 100_000):
            exchange.chunk(data[place : place + 100_000])
        exchange.chunk(harness.end)
        exchange.end_stream()

    server.play(answer)
    result = driver.call(transport, harness.request(streamed), scope())
    assert (data_of(result)[0] if streamed else json_of(result)) == long


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", _raw_deflate),
}


@pytest.mark.parametrize("packing", PACKERS)
def test_packed_answers_are_unpacked(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool, packing: str,
) -> None:  # fmt: skip
    """A stream too, though it asks not to be packed."""
    name, pack = PACKERS[packing]

    def answer(exchange: Exchange) -> None:
        if not streamed:
            body = pack(json.dumps(harness.answer).encode())
            exchange.answer(body, headers={"content-encoding": name})
            return
        body = pack(b"".join(harness.events) + harness.end)
        exchange.begin_stream({"content-encoding": name})
        for place in range(0, len(body), 7):
            exchange.chunk(body[place : place + 7])
        exchange.end_stream()

    server.play(answer)
    result = driver.call(transport, harness.request(streamed), scope())
    if streamed:
        assert told(harness, result, True) == expected(harness, True)
    else:
        assert told(harness, result, False) == expected(harness, False)


@pytest.mark.parametrize("damage", ["truncated", "corrupted"])
def test_damaged_gzip_is_a_cut(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool, damage: str,
) -> None:  # fmt: skip
    def answer(exchange: Exchange) -> None:
        text = b"".join(harness.events) if streamed else json.dumps(harness.answer).encode()
        body = gzip.compress(text)
        body = body[:-9] if damage == "truncated" else body[:12] + b"\xff\xff\xff" + body[15:]
        kind = "text/event-stream" if streamed else "application/json"
        exchange.answer(body, content_type=kind, headers={"content-encoding": "gzip"})

    server.play(answer)
    if damage == "truncated" and not harness.checks_packing:
        # The checksum is lost and nobody looks at it; what was packed is all there, or it is a cut.
        try:
            result = driver.call(transport, harness.request(streamed), scope())
        except WireFailure as failure:
            if failure.kind != "cut":
                raise
        else:
            assert told(harness, result, streamed) == expected(harness, streamed)
        return
    with pytest.raises(WireFailure) as caught:
        driver.call(transport, harness.request(streamed), scope())
    assert caught.value.kind == "cut"


def test_bytes_that_are_no_utf8_are_handed_on_as_bytes(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport
) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.chunk(harness.events[0])
        exchange.chunk(harness.frame(b'{"text": "\xff\xfe"}', False))
        exchange.chunk(harness.end)
        exchange.end_stream()

    server.play(answer)
    if harness.rewrites:
        with pytest.raises(ProviderError) as refused:
            driver.call(transport, harness.streamed, scope())
        assert refused.value.code == "malformed"
        return
    events = driver.call(transport, harness.streamed, scope())
    assert told(harness, events[:1], True) == expected(harness, True)[:1]
    if harness.raw:
        assert events[1].data == b'{"text": "\xff\xfe"}'
    else:
        assert events[1].data == {"text": "\ufffd\ufffd"}, "what SDKs make of it"


def test_an_error_text_that_breaks_off_leaves_the_status(
    harness: Harness, server: ScriptedServer, driver: SyncDriver, transport: Transport,
    streamed: bool, record_property: Callable[[str, str], None],
) -> None:  # fmt: skip
    def answer(exchange: Exchange) -> None:
        exchange.head(503, {"content-type": "application/json", "content-length": "500"})
        exchange.send(b'{"error": {"mess')
        exchange.hang_up()

    server.play(answer)
    with pytest.raises(WireFailure) as caught:
        driver.call(transport, harness.request(streamed), scope())
    assert caught.value.kind == harness.broken_error
    assert caught.value.status == (503 if harness.broken_error == "status" else None)
    if harness.broken_error != "status":
        record_property("error", f"kind {caught.value.kind}: the SDK tells no status")
