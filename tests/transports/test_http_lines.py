"""The lowest layer of the http transport: a socket, the call it serves, and who may end what."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from crux_providers.base.cancellation import CancellationToken, CancelledError
from crux_providers.base.errors import WireFailure
from crux_providers.transports.http_async_backend import AsyncStream
from crux_providers.transports.http_call import Call, Line, Lines
from crux_providers.transports.http_sync_backend import SyncStream
from tests.transports.conformance import scope

Pair = tuple[Line, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A line, and the socket at its other end."""
    here, there = socket.socketpair()
    line = Line(here)
    yield line, there
    line.close()
    there.close()


def is_shut(line: Line) -> bool:
    line.sock.setblocking(False)
    try:
        return line.sock.recv(1) == b""
    except BlockingIOError:
        return False


def test_a_cancelled_call_shuts_the_line_it_is_served_by(pair: Pair) -> None:
    line, _ = pair
    token = CancellationToken()
    line.serve(Call(scope(token=token)))
    assert not is_shut(line)
    token.cancel()
    assert is_shut(line)


def test_a_line_that_serves_another_call_by_now_is_left_alone(pair: Pair) -> None:
    """The cancelling thread may have looked before the line changed hands."""
    line, _ = pair
    token = CancellationToken()
    old, new = Call(scope(token=token)), Call(scope())
    line.serve(old)
    line.serve(new)
    line.shut(old)
    token.cancel()
    assert not is_shut(line)
    line.leave(old)
    assert line.owner is new
    line.shut(new)
    assert is_shut(line)


def test_a_call_that_is_over_ends_nothing(pair: Pair) -> None:
    line, _ = pair
    token = CancellationToken()
    call = Call(scope(token=token))
    line.serve(call)
    call.end()
    call.end()
    token.cancel()
    call.interrupt()
    assert not is_shut(line)
    assert line.owner is None


def test_a_call_cancelled_before_it_has_a_line_gets_none(pair: Pair) -> None:
    line, _ = pair
    token = CancellationToken()
    call = Call(scope(token=token))
    token.cancel("too late")
    with pytest.raises(CancelledError, match="too late"):
        line.serve(call)


def test_a_line_is_closed_once_and_shut_never_after(pair: Pair) -> None:
    line, _ = pair
    call = Call(scope())
    line.serve(call)
    line.close()
    line.close()
    line.shut(call)
    assert line.is_readable(), "a closed line must not be taken for a live one"


def test_only_calls_use_a_line(pair: Pair) -> None:
    line, _ = pair
    with pytest.raises(RuntimeError, match="outside of a call"):
        line.serve(5.0)
    call = Call(scope())
    line.serve(call)
    assert line.serve(None) is call, "httpcore's SOCKS names no timeout"


def test_lines_close_all_or_only_the_idle_ones() -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    lines = Lines()
    held = [Line(here) for here, _ in pairs]
    for line in held:
        lines.add(line)
    call = Call(scope())
    held[1].serve(call)
    assert len(lines) == 3
    lines.close(idle_only=True)
    assert [line.sock.fileno() >= 0 for line in held] == [False, True, False]
    lines.close()
    assert len(lines) == 0
    for _, there in pairs:
        there.close()


def test_an_answer_is_read_though_the_request_could_not_be_written(pair: Pair) -> None:
    """A server that refuses a request early may have hung up by the time it is sent."""
    line, there = pair
    call = Call(scope())
    there.sendall(b"HTTP/1.1 413 Too much")
    there.close()
    stream = SyncStream(line, line.sock)
    stream.write(b"small", call)
    assert stream.read(100, call) == b"HTTP/1.1 413 Too much"


async def test_an_answer_is_read_though_the_request_could_not_be_written_async(pair: Pair) -> None:
    line, there = pair
    line.sock.setblocking(False)
    call = Call(scope())
    there.sendall(b"HTTP/1.1 413 Too much")
    there.close()
    stream = AsyncStream(line)
    await stream.write(b"small", call)
    assert await stream.read(100, call) == b"HTTP/1.1 413 Too much"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no pair of datagram sockets here")
def test_head_and_body_leave_in_one_piece() -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # keeps pieces apart
    with here, there:
        call, stream = Call(scope()), SyncStream(Line(here), here)
        there.send(b"answer")
        stream.write(b"head ", call)
        stream.write(b"body", call)
        assert stream.read(100, call) == b"answer"
        assert there.recv(100) == b"head body"


def test_writing_obeys_the_deadline(pair: Pair) -> None:
    """The peer does not read, the buffers are full: a write blocks as a read does."""
    line, _ = pair
    stream = SyncStream(line, line.sock)
    began = time.monotonic()
    with pytest.raises(WireFailure) as caught:
        stream.write(b"x" * 50_000_000, Call(scope(total=0.1)))
    assert caught.value.kind == "timeout"
    assert time.monotonic() - began < 0.5


async def test_writing_obeys_the_deadline_async(pair: Pair) -> None:
    line, _ = pair
    line.sock.setblocking(False)
    stream = AsyncStream(line)
    with pytest.raises(WireFailure) as caught:
        await stream.write(b"x" * 50_000_000, Call(scope(total=0.1)))
    assert caught.value.kind == "timeout"


async def test_a_stream_that_never_runs_dry_leaves_others_their_turn(pair: Pair) -> None:
    line, there = pair
    line.sock.setblocking(False)
    there.sendall(b"x" * 1000)
    call, stream, turns = Call(scope()), AsyncStream(line), 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    for _ in range(200):
        await stream.read(1, call)
    assert turns > 5
    task.cancel()
    call.end()


def test_the_nearest_deadline_is_named(pair: Pair) -> None:
    call = Call(scope(connect=1.0, total=5.0))
    assert 4.9 < (call.left() or 0) <= 5.0
    assert call.phase == "total"
    assert 0.9 < (call.left(connecting=True) or 0) <= 1.0
    assert call.phase == "connect"
    call = Call(scope(connect=9.0, first_token=2.0))
    assert 1.9 < (call.left(connecting=True) or 0) <= 2.0
    assert call.phase == "first_token"
