"""Faults as words, and what they make of an answer. Pure."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_integrations.testing.faults import (
    Fault,
    Playback,
    Send,
    Wait,
    error_body,
    is_fault,
    parse_faults,
    play,
    split_events,
)
from crux_providers.codecs.framing import framing_decoder
from tests.testing.conftest import CASSETTES

SSE = {"content-type": "text/event-stream; charset=utf-8"}
NDJSON = {"content-type": "application/x-ndjson"}
JSON = {"content-type": "application/json"}
FIVE = b"".join(b'event: e\ndata: {"n": %d}\n\n' % n for n in range(1, 6))


def sent(playback: Playback) -> bytes:
    return b"".join(step.data for step in playback.steps if isinstance(step, Send))


def played(fault: str, body: bytes = FIVE, headers: dict[str, str] = SSE) -> Playback:
    return play(200, headers, body, parse_faults(fault), path="/v1/chat/completions")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("cut@40", Fault("cut", 40)),
        ("truncate@1", Fault("truncate", 1)),
        ("stall@10:30s", Fault("stall", 10, 30.0)),
        ("stall@1:250ms", Fault("stall", 1, 0.25)),
        ("stall@2:1.5m", Fault("stall", 2, 90.0)),
        ("malformed@3", Fault("malformed", 3)),
        ("status:429", Fault("status", status=429)),
        ("status:429:2s", Fault("status", seconds=2.0, status=429)),
    ],
)
def test_the_words(text: str, fault: Fault) -> None:
    assert parse_faults(text) == (fault,)
    assert parse_faults(str(fault)) == (fault,)
    assert parse_faults([text, "cut@1"]) == (fault, Fault("cut", 1))
    assert is_fault(text)


def test_no_fault() -> None:
    assert parse_faults(None) == ()
    assert not is_fault("cassettes/demo/openai.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "cut",
        "cut@0",
        "cut@-1",
        "cut@x",
        "stall@3",
        "cut@3:2s",
        "status:42",
        "status:999",
        "drop@1",
        "",
    ],
)
def test_a_wrong_word_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"fault|duration") as refused:
        parse_faults(text)
    assert repr(text) in str(refused.value)


def test_cut_resets_in_place_of_event_n() -> None:
    playback = played("cut@3")
    assert sent(playback) == b"".join(split_events(FIVE, "text/event-stream")[:2])
    assert playback.reset
    assert playback.struck == {Fault("cut", 3)}


def test_truncate_ends_cleanly_in_place_of_event_n() -> None:
    playback = played("truncate@3")
    assert sent(playback) == b"".join(split_events(FIVE, "text/event-stream")[:2])
    assert not playback.reset


def test_stall_comes_before_event_n() -> None:
    playback = played("stall@2:3s")
    assert [type(step) for step in playback.steps] == [Send, Wait, Send, Send, Send, Send]
    assert playback.steps[1] == Wait(3.0)
    assert sent(playback) == FIVE


def test_malformed_replaces_event_n_and_keeps_its_name() -> None:
    events = split_events(sent(played("malformed@2")), "text/event-stream")
    assert len(events) == 5
    assert events[1].startswith(b"event: e\ndata: ")
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(events[1].split(b"data: ")[1])
    assert events[2] == b'event: e\ndata: {"n": 3}\n\n'


def test_malformed_ndjson() -> None:
    lines = sent(played("malformed@2", b'{"n":1}\n{"n":2}\n', NDJSON)).splitlines()
    assert lines[0] == b'{"n":1}'
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(lines[1])


def test_one_past_the_last_event() -> None:
    assert played("cut@6").reset
    assert sent(played("cut@6")) == FIVE
    assert played("stall@6:1s").steps[-1] == Wait(1.0)
    assert played("truncate@6").struck == frozenset()


def test_a_fault_beyond_the_end_does_not_strike() -> None:
    playback = played("cut@7")
    assert playback.struck == frozenset()
    assert not playback.reset


def test_a_whole_body_is_one_event() -> None:
    body = json.dumps({"text": "x" * 50}).encode()
    cut = played("cut@1", body, JSON)
    assert cut.reset
    assert sent(cut) == body[: len(body) // 2]
    assert sent(played("truncate@1", body, JSON)) == body[: len(body) // 2]
    assert played("stall@1:2s", body, JSON).steps[0] == Wait(2.0)
    assert not played("stall@1:2s", body, JSON).framed
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(sent(played("malformed@1", body, JSON)))


def test_several_faults() -> None:
    playback = play(200, SSE, FIVE, parse_faults(["stall@2:1s", "malformed@3", "cut@5"]))
    assert Wait(1.0) in playback.steps
    assert b"malformed" in sent(playback)
    assert playback.reset
    assert len(playback.struck) == 3


def test_the_recorded_pace() -> None:
    playback = play(200, SSE, FIVE, event_ms=[10, 0, 30])
    assert [s.seconds for s in playback.steps if isinstance(s, Wait)] == [0.01, 0.03]


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/v1/chat/completions", 429, ("error", "code", "rate_limit_exceeded")),
        ("/v1/responses", 401, ("error", "code", "invalid_api_key")),
        ("/v1/messages", 529, ("error", "type", "overloaded_error")),
        ("/v1/messages", 429, ("error", "type", "rate_limit_error")),
        ("/v1beta/models/g:streamGenerateContent", 503, ("error", "status", "UNAVAILABLE")),
    ],
)
def test_a_status_speaks_the_dialect(
    path: str, status: int, expected: tuple[str, str, str]
) -> None:
    body = error_body(path, status, "no")
    outer, inner, word = expected
    assert body[outer][inner] == word  # type: ignore[index]


def test_a_status_replaces_the_answer() -> None:
    playback = play(200, SSE, FIVE, parse_faults("status:429:2s"), path="/api/chat")
    assert playback.status == 429
    assert playback.headers == {"content-type": "application/json", "retry-after": "2"}
    assert json.loads(sent(playback)) == {"error": "fault status:429:2s"}


def test_comments_belong_to_the_next_event() -> None:
    body = b": ping\n\ndata: 1\n\n: ping\n\n: ping\n\ndata: 2\n\n: bye\n\n"
    assert split_events(body, "text/event-stream") == [
        b": ping\n\ndata: 1\n\n",
        b": ping\n\n: ping\n\ndata: 2\n\n: bye\n\n",
    ]
    assert split_events(b": only\n\n", "text/event-stream") == [b": only\n\n"]
    assert split_events(b"", "text/event-stream") == []


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"data: %d", b"event: x\ndata:%d", b": note\ndata: %d", b"id: 7\ndata: %d"]
        ),
        st.integers(0, 99),
        st.sampled_from([b"\n", b"\r\n", b"\r"]),
    )
)


@given(EVENTS)
def test_splitting_loses_nothing_and_cuts_where_the_framing_does(
    events: list[tuple[bytes, int, bytes]],
) -> None:
    body = b"".join((text % n).replace(b"\n", end) + end + end for text, n, end in events)
    pieces = split_events(body, "text/event-stream")
    assert b"".join(pieces) == body
    assert len(pieces) == len(events)


@given(
    st.binary(max_size=200),
    st.sampled_from(["text/event-stream", "application/x-ndjson", "text/plain"]),
)
def test_splitting_any_bytes_loses_nothing(body: bytes, media_type: str) -> None:
    assert b"".join(split_events(body, media_type)) == body


def test_events_are_counted_as_the_framing_counts_them() -> None:
    from crux_integrations.testing.cassette_file import read_cassette

    examined = 0
    for file in sorted(CASSETTES.rglob("*.yaml")):
        for item in read_cassette(file).interactions:
            if item.content_type in ("text/event-stream", "application/x-ndjson"):
                framing = "sse" if item.content_type.startswith("text") else "ndjson"
                decoder = framing_decoder(framing)
                decoded = [*decoder.feed(item.body), *decoder.finish()]
                assert len(split_events(item.body, item.content_type)) == len(decoded), file
                examined += 1
    assert examined > 20
