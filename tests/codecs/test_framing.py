"""Framing: how bytes become events, wherever they are split."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.wire import WireEvent
from crux_providers.codecs import framing
from crux_providers.codecs.framing import (
    NDJSONDecoder,
    SSEDecoder,
    framing_decoder,
    render_ndjson,
    render_sse,
)


def _bytes_of(body: bytes) -> list[bytes]:
    return [body[i : i + 1] for i in range(len(body))]


def read(decoder: Any, *pieces: bytes) -> list[WireEvent]:
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return [*events, *decoder.finish()]


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"data: a\n\n", [("a", None)]),
        (b"data:a\r\n\r\n", [("a", None)]),
        (b"data:  a\r\r", [(" a", None)]),
        (b"data: a\n\ndata: b\n\n", [("a", None), ("b", None)]),
        (b"\xef\xbb\xbfdata: a\n\n", [("a", None)]),
        (b": hello\n\ndata: a\n: inside\nid: 7\nretry: 5\n\n", [("a", None)]),
        (b"data: a\ndata: b\ndata:\n\n", [("a\nb\n", None)]),
        (b"data\n\n", [("", None)]),
        (b"event: ping\n\ndata: a\n\n", [("a", None)]),
        (b"event: ping\ndata: a\n\ndata: b\n\n", [("a", "ping"), ("b", None)]),
        (b"event: x\nevent\ndata: a\n\n", [("a", None)]),
        (b"data: a\n\ndata: b", [("a", None), ("b", None)]),
        (b"data: a\n\nevent: b\n", [("a", None)]),
        (b"data: \xff\n\ndata: a\n\n", [(b"\xff", None), ("a", None)]),
        ("data: {\"a\": \"ä€😀\"}\n\n".encode(), [('{"a": "ä€😀"}', None)]),
        (b"\n\n\ndata: a\n\n\n\n", [("a", None)]),
        (b"data: a\r\ndata: b\n\r\n", [("a\nb", None)]),
        (b"unknown: x\ndata: a\n\n", [("a", None)]),
        (b"\xef\xbb", []),
        (b"", []),
    ],
)  # fmt: skip
def test_sse_lines(body: bytes, events: list[Any]) -> None:
    expected = [WireEvent(*event) for event in events]
    assert read(SSEDecoder(), body) == expected
    assert read(SSEDecoder(), *_bytes_of(body)) == expected


@pytest.mark.parametrize(
    "pieces",
    [
        [b"event: e\n", b"data: a\n\n", b"data: b\n\n"],
        [b"data: a\n", b"data: b\n\n"],
        [b"da", b"data: b\n\n"],
        [b"data: a\rdata: b\n\n"],
        [b"data: a\r", b"\ndata: b\n\n"],
        [b"data: a\n\n", b"data: b\r\n\r\n"],
        [b"data: a\n\n\n", b"data: b\n\n"],
        [b"data: a\rdata: b", b"\n\ndata: c\n\n"],
        [b"data: a\nb\n\n", b"data: \n\n"],
    ],
)
def test_reads_of_one_event_are_no_other_than_the_rest(pieces: list[bytes]) -> None:
    body = b"".join(pieces)
    assert read(SSEDecoder(), *pieces) == read(SSEDecoder(), *_bytes_of(body))


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b'{"a":1}\n{"b":2}\n', ['{"a":1}', '{"b":2}']),
        (b'{"a":1}\r\n\r\n  \n{"b":2}', ['{"a":1}', '{"b":2}']),
        (b'\xef\xbb\xbf{"a":1}\n', ['{"a":1}']),
        (b"\xff\n{}\n", [b"\xff", "{}"]),
        (b"", []),
    ],
)
def test_ndjson_lines(body: bytes, events: list[Any]) -> None:
    expected = [WireEvent(event) for event in events]
    assert read(NDJSONDecoder(), body) == expected
    assert read(NDJSONDecoder(), *_bytes_of(body)) == expected


PIECES = st.sampled_from(
    [b"data", b":", b" ", b"data: x", b"event: e", b"\n", b"\r", b"\r\n", b"\n\n", b"\xef\xbb\xbf",
     b"\xc3\xa4", b"\xff", b"{}", b": c", b"data: [DONE]\n\n"]
)  # fmt: skip
BODIES = st.lists(PIECES, max_size=25).map(b"".join)


@settings(max_examples=200, deadline=None)
@given(body=BODIES, cuts=st.lists(st.integers(0, 120), max_size=6))
@pytest.mark.parametrize("decoder", [SSEDecoder, NDJSONDecoder])
def test_splits_change_nothing(decoder: Any, body: bytes, cuts: list[int]) -> None:
    at = [0, *sorted(c for c in cuts if c < len(body)), len(body)]
    pieces = [body[a:b] for a, b in itertools.pairwise(at)]
    assert read(decoder(), *pieces) == read(decoder(), body)


@settings(deadline=None)
@given(body=BODIES, cuts=st.lists(st.integers(0, 120), max_size=6), limit=st.integers(1, 12))
@pytest.mark.parametrize("decoder", [SSEDecoder, NDJSONDecoder])
def test_the_bound_is_the_same_however_split(
    decoder: Any, body: bytes, cuts: list[int], limit: int
) -> None:
    def outcome(*pieces: bytes) -> tuple[list[WireEvent], ErrorCode | None]:
        frames, events = decoder(limit), []
        try:
            for piece in pieces:
                events += frames.feed(piece)
            events += frames.finish()
        except ProviderError as exc:
            return events, exc.code
        return events, None

    at = [0, *sorted(c for c in cuts if c < len(body)), len(body)]
    pieces = [body[a:b] for a, b in itertools.pairwise(at)]
    assert outcome(*pieces) == outcome(body)


def test_an_event_beyond_the_bound_is_malformed_and_stays_so(monkeypatch: Any) -> None:
    assert framing.MAX_EVENT_BYTES == 32 * 1024 * 1024
    frames = SSEDecoder(100)
    assert frames.feed(b"data: a\n\ndata: " + b"x" * 200) == [WireEvent("a")]
    for _ in range(2):
        with pytest.raises(ProviderError) as caught:
            frames.feed(b"\n\n")
        assert caught.value.code is ErrorCode.MALFORMED
    with pytest.raises(ProviderError):
        frames.finish()
    many = SSEDecoder(100)  # many short lines of one event count together
    with pytest.raises(ProviderError):
        many.feed(b"data: xxxxxxxxxxxx\n" * 10)


def test_a_long_line_in_small_pieces_takes_linear_time() -> None:
    def cost(size: int) -> float:
        body = b"data: " + b"x" * size + b"\n\n"
        frames = SSEDecoder()
        begun = time.process_time()
        events = [e for i in range(0, len(body), 1024) for e in frames.feed(body[i : i + 1024])]
        taken = time.process_time() - begun
        assert [len(e.data) for e in events] == [size]
        return taken

    cost(1_000_000)
    small, large = min(cost(1_000_000) for _ in range(3)), min(cost(10_000_000) for _ in range(2))
    assert large < 60 * small + 0.05  # ten times the bytes; quadratic would be a hundred


@settings(deadline=None)
@given(
    data=st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"])),
    name=st.none() | st.from_regex(r"[a-z_.]{1,12}", fullmatch=True),
)
def test_rendered_events_read_the_same(data: str, name: str | None) -> None:
    event = WireEvent(data, name)
    assert read(SSEDecoder(), render_sse(event)) == [event]


def test_rendering_takes_json_and_bytes_and_lone_surrogates() -> None:
    named = WireEvent({"ä": [1, None]}, "e")
    assert render_sse(named) == 'event: e\ndata: {"ä":[1,null]}\n\n'.encode()
    assert render_sse(WireEvent(b"\xff")) == b"data: \xff\n\n"
    assert render_ndjson(WireEvent({"a": 1})) == b'{"a":1}\n'
    (event,) = read(SSEDecoder(), render_sse(WireEvent({"a": "\ud800"})))
    assert json.loads(event.data) == {"a": "\ud800"}


def test_framing_by_name() -> None:
    assert isinstance(framing_decoder("sse"), SSEDecoder)
    assert isinstance(framing_decoder("ndjson"), NDJSONDecoder)
