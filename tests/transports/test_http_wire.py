"""Our reader of HTTP/1.1 answers, held against h11's: whatever the bytes, and however they come."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import h11
import httpcore
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crux_providers.transports.http_wire import MAX_HEAD_BYTES, AnswerReader


@dataclass
class Seen:
    """What a reader made of the bytes; None for a body where they are no answer."""

    status: int = 0
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes | None = b""
    reusable: bool = False


def by_h11(method: str, pieces: list[bytes]) -> Seen:
    """What httpcore's connections make of them."""
    connection = h11.Connection(h11.CLIENT)
    sizes = [("content-length", "0")] if method == "POST" else []
    connection.send(h11.Request(method=method, target="/", headers=[("host", "x"), *sizes]))
    connection.send(h11.EndOfMessage())
    seen, body = Seen(), b""
    waiting = [*pieces, b""]
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(waiting.pop(0))
            elif isinstance(event, h11.Response):
                seen.status, seen.headers = event.status_code, tuple(event.headers.raw_items())
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            elif isinstance(event, h11.ConnectionClosed):
                return Seen(seen.status, seen.headers, None)
    except h11.RemoteProtocolError:
        return Seen(body=None)
    seen.body = body
    left = connection.trailing_data[0]
    alive = connection.our_state is h11.DONE and connection.their_state is h11.DONE
    hung_up = not waiting  # and then it is not used again, which httpcore sees at the socket
    seen.reusable = alive and not left and not hung_up
    return seen


def by_us(method: str, pieces: list[bytes]) -> Seen:
    """What ours makes of them."""
    reader = AnswerReader(method)
    body = b""
    try:
        for piece in [*pieces, b""]:
            reader.receive(piece)
            body += reader.take()
            if reader.complete:
                break
    except httpcore.RemoteProtocolError:
        return Seen(body=None)
    return Seen(reader.status_code, tuple(reader.headers.raw), body, reader.reusable)


def unframed(seen: Seen) -> list[tuple[bytes, bytes]]:
    """Its headers without those of the framing, which h11 writes anew."""
    framing = (b"content-length", b"transfer-encoding")
    return [field for field in seen.headers if field[0].lower() not in framing]


def cut_up(data: bytes, places: list[int]) -> list[bytes]:
    """``data`` in pieces that begin at ``places``."""
    at = sorted({p % (len(data) + 1) for p in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(at) if a < b]


STATUS_LINES = [
    b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 404", b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 304 ", b"HTTP/1.1 429 Too Many", b"HTTP/1.1 200 \xc3\xa9", b"HTTP/1.1 20",
    b"HTTX/1.1 200 OK", b"HTTP/1.1  200 OK", b"", b"HTTP/1.1 700 odd",
]  # fmt: skip
FIELDS = [
    b"Content-Length: 5", b"content-length: 0", b"Content-Length:  7 ", b"content-length: 5, 5",
    b"content-length: 5, 6", b"content-length: x", b"content-length: -1",
    b"Transfer-Encoding: chunked", b"transfer-encoding: Chunked", b"transfer-encoding: gzip",
    b"transfer-encoding: gzip, chunked", b"Connection: close", b"connection: keep-alive",
    b"connection: Keep-Alive, CLOSE", b"X-A: 1", b"x-a:2", b"x-empty:", b"x y: 1", b"x : 1",
    b"no field", b"x-nul: \x00", b" folded", b"x-latin: \xe9",
]  # fmt: skip
BODIES = [
    b"", b"hello", b"hello, you", b"5\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n0\r\n\r\n",
    b"05\r\nhello\r\n1\r\n!\r\n0\r\nx: y\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\nmore", b"5\r\nhel",
    b"5\r\nhelloxx0\r\n\r\n", b"zz\r\n", b"0\r\n", b"A\r\n0123456789\r\n0\r\n\r\n", b"\r\n",
]  # fmt: skip
ANNOUNCED = [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n"]


@given(
    st.sampled_from(ANNOUNCED),
    st.sampled_from(STATUS_LINES),
    st.lists(st.sampled_from(FIELDS), max_size=4),
    st.sampled_from(BODIES),
    st.sampled_from(["POST", "GET", "HEAD"]),
    st.lists(st.integers(0, 400), max_size=6),
    st.booleans(),
)
@example(b"", b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked"], BODIES[5], "POST", [], False)
def test_as_h11_reads_it(
    announced: bytes, status_line: bytes, fields: list[bytes], body: bytes, method: str,
    places: list[int], bare: bool,
) -> None:  # fmt: skip
    end = b"\n" if bare else b"\r\n"
    data = announced + end.join([status_line, *fields, b"", b""]) + body
    pieces = cut_up(data, places)
    theirs, ours = by_h11(method, pieces), by_us(method, pieces)
    assert ours.body == theirs.body
    if ours.body is not None:
        assert (ours.status, unframed(ours)) == (theirs.status, unframed(theirs))
        # What lies behind the answer may come later than its end: then a look at the socket tells.
        assert ours.reusable == theirs.reusable
    whole = by_us(method, [data])
    assert (whole.body, whole.status) == (ours.body, ours.status)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.lists(st.integers(0, 300)))
def test_a_body_in_chunks_comes_whole_however_it_is_cut(
    chunks: list[bytes], places: list[int]
) -> None:
    data = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    data += b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
    assert by_us("POST", cut_up(data, places)) == Seen(
        200, ((b"transfer-encoding", b"chunked"),), b"".join(chunks), True
    )
    broken = by_us("POST", [data[:-1]])
    assert broken.body is None, "a missing end is no end"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_an_answer_that_breaks_off_anywhere_is_no_answer(answer: bytes) -> None:
    assert by_us("POST", [answer]).body == b"hello"
    for length in range(len(answer)):
        assert by_us("POST", [answer[:length]]).body is None, answer[:length]
        assert by_h11("POST", [answer[:length]]).body is None


@pytest.mark.parametrize(
    "endless",
    [
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * MAX_HEAD_BYTES,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;" + b"y" * (MAX_HEAD_BYTES + 2),
    ],
)
def test_what_never_ends_is_refused(endless: bytes) -> None:
    with pytest.raises(httpcore.RemoteProtocolError, match="does not end"):
        AnswerReader("POST").receive(endless)


def test_a_changed_protocol_is_an_answer_without_a_body() -> None:
    reader = AnswerReader("POST")
    reader.receive(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nanything")
    assert (reader.status_code, reader.complete, reader.take()) == (101, True, b"")
    assert not reader.reusable
