"""The scripted transport: what users put into a script, and that it behaves as a real one does."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from crux_providers.base.cancellation import CancellationToken, CancelledError
from crux_providers.base.errors import WireFailure
from crux_providers.base.wire import WireEvent, WireRequest, WireResponse
from crux_providers.transports.scripted import Pause, ScriptedTransport, StreamScript
from tests.transports.conformance import AT_ONCE, SyncDriver, scope, within

WHOLE = WireRequest("/chat", {"a": 1})
STREAM = WireRequest("/chat", {"a": 1}, stream=True)


def test_whole_answers_in_turn(driver: SyncDriver) -> None:
    transport = ScriptedTransport(
        [
            WireResponse(200, {"x-request-id": "r"}, {"n": 1}),
            {"n": 2},
            [Pause(0.0), WireResponse(200, {}, b'{"n": 3}')],
        ]
    )
    first, second, third = (driver.send(transport, WHOLE, scope()) for _ in range(3))
    assert (first.headers["x-request-id"], first.body) == ("r", {"n": 1})
    assert (second.status, second.body) == (200, {"n": 2})
    assert third.body == b'{"n": 3}'
    assert transport.requests == [WHOLE] * 3
    with pytest.raises(WireFailure, match="3 answers") as caught:
        driver.send(transport, WHOLE, scope())
    assert caught.value.kind == "local"


def test_failures_come_as_they_are(driver: SyncDriver, streamed: bool) -> None:
    request = STREAM if streamed else WHOLE
    script = [
        WireFailure("connect", "nobody there"),
        WireResponse(429, {"retry-after": "1"}, b"{}"),
    ]
    transport = ScriptedTransport(script)
    call = driver.open if streamed else driver.send
    with pytest.raises(WireFailure, match="nobody there"):
        call(transport, request, scope())
    with pytest.raises(WireFailure) as caught:
        call(transport, request, scope())
    assert (caught.value.kind, caught.value.status) == ("status", 429)
    assert caught.value.headers == {"retry-after": "1"}


def test_a_stream_of_everything(driver: SyncDriver) -> None:
    transport = ScriptedTransport(
        [
            StreamScript(
                [
                    WireEvent("1", "named"),
                    "2",
                    b"data: 3\n\nda",
                    Pause(0.0),
                    b"ta: 4\n\ndata: 5",
                ],
                {"x-request-id": "r"},
            )
        ]
    )
    stream: Any = driver.open(transport, STREAM, scope())
    assert stream.headers["x-request-id"] == "r"
    events = driver.read(stream, scope())
    assert events == [WireEvent("1", "named"), *(WireEvent(n) for n in "2345")]
    assert transport.streams[0].closed


def test_the_bytes_of_a_recorded_stream(driver: SyncDriver) -> None:
    body = b"data: 1\n\ndata: 2\n\n"
    transport = ScriptedTransport([WireResponse(200, {"x-request-id": "r"}, body)])
    stream: Any = driver.open(transport, STREAM, scope())
    assert stream.headers == {"x-request-id": "r"}
    assert driver.read(stream, scope()) == [WireEvent("1"), WireEvent("2")]


def test_a_stream_that_breaks(driver: SyncDriver) -> None:
    transport = ScriptedTransport([["1", WireFailure("cut", "gone"), "never"]])
    stream = driver.open(transport, STREAM, scope())
    assert driver.next(stream) == WireEvent("1")
    with pytest.raises(WireFailure, match="gone"):
        driver.next(stream)
    assert driver.next(stream) is None
    assert transport.streams[0].closed


def test_leaving_a_stream(driver: SyncDriver) -> None:
    transport = ScriptedTransport([["1", "2"]])
    stream = driver.open(transport, STREAM, scope())
    assert driver.next(stream) == WireEvent("1")
    assert not transport.streams[0].closed
    driver.leave(stream)
    assert transport.streams[0].closed
    assert driver.next(stream) is None


def test_a_function_as_script(driver: SyncDriver) -> None:
    transport = ScriptedTransport(lambda request: {"path": request.path})
    assert driver.send(transport, WireRequest("/a"), scope()).body == {"path": "/a"}
    assert driver.send(transport, WireRequest("/b"), scope()).body == {"path": "/b"}


def test_pauses_obey_deadlines_and_cancellation(driver: SyncDriver, streamed: bool) -> None:
    long_pause = [Pause(60.0), WireResponse(200, {}, b"data: 1\n\n")]
    transport = ScriptedTransport([long_pause, long_pause])
    request = STREAM if streamed else WHOLE
    with within(0.05 + AT_ONCE), pytest.raises(WireFailure) as caught:
        driver.call(transport, request, scope(first_token=0.05))
    assert (caught.value.kind, caught.value.phase) == ("timeout", "first_token")
    token = CancellationToken()
    threading.Timer(0.05, token.cancel, ["enough"]).start()
    with within(0.05 + AT_ONCE), pytest.raises(CancelledError, match="enough"):
        driver.call(transport, request, scope(token=token))
    if streamed:
        assert [stream.closed for stream in transport.streams] == [True, True]


def test_a_call_cancelled_before_it_began_is_no_call(driver: SyncDriver, streamed: bool) -> None:
    transport = ScriptedTransport([{}])
    token = CancellationToken()
    token.cancel("enough")
    with pytest.raises(CancelledError):
        driver.call(transport, STREAM if streamed else WHOLE, scope(token=token))
    assert transport.requests == []


def test_a_stream_where_a_whole_answer_was_asked_for(driver: SyncDriver) -> None:
    for script in ([["1"]], [[]]):
        with pytest.raises(WireFailure, match="the script has") as caught:
            driver.send(ScriptedTransport(script), WHOLE, scope())
        assert caught.value.kind == "local"


def test_what_a_stream_cannot_hold(driver: SyncDriver) -> None:
    stream = driver.open(ScriptedTransport([[object()]]), STREAM, scope())
    with pytest.raises(TypeError, match="object"):
        driver.next(stream)


def test_closing_is_remembered(driver: SyncDriver) -> None:
    transport = ScriptedTransport([])
    driver.close(transport)
    driver.close(transport)
    assert transport.closed
