"""The format: what goes in comes out, vcrpy reads it, it is written whole or not at all."""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path

import pytest
import vcr
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crux_integrations.testing import cassette_file
from crux_integrations.testing.cassette_file import (
    Cassette,
    CassetteFormatError,
    Interaction,
    read_cassette,
    render_cassette,
    write_cassette,
)
from crux_integrations.testing.scrubbing import REQUEST_HEADERS
from tests.testing.conftest import CAPITAL, CASSETTES, HTTP, LOCAL


def interaction(
    body: bytes, content_type: str = "text/event-stream", **more: object
) -> Interaction:
    fields = {
        "method": "POST",
        "uri": "https://api.openai.com/v1/chat/completions",
        "request_headers": {"content-type": "application/json"},
        "request_body": b'{"model": "m"}',
        "status": 200,
        "reason": "OK",
        "headers": {"content-type": content_type},
        "body": body,
    }
    return Interaction(**(fields | more))  # type: ignore[arg-type]  # the names are the fields'


def returned(path: Path, item: Interaction) -> Interaction:
    write_cassette(path, Cassette([item]))
    return read_cassette(path).interactions[0]


@given(
    st.binary(max_size=60)
    | st.text(max_size=60).map(lambda text: text.encode("utf-8", "ignore"))
    | st.text(alphabet="a \n\r\t\x85\u2028:#|-", max_size=30).map(str.encode)
)
def test_a_framed_body_comes_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, body: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "framed.yaml"
    # The lead keeps it from being JSON, whose whitespace is not kept.
    assert returned(path, interaction(b"data: " + body)).body == b"data: " + body


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=9),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3),
    )
)
def test_a_json_body_comes_back_as_the_same_value(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "json.yaml"
    body = json.dumps(value).encode()
    assert json.loads(returned(path, interaction(body, "application/json")).body) == value


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": "\\ud800"}',
        b"\xff\xfe",
        b'{"broken": ',
        b"[" * 9999,
    ],
)
def test_json_that_would_not_survive_indenting_stays_as_it_is(tmp_path: Path, body: bytes) -> None:
    kept = returned(tmp_path / "x.yaml", interaction(body, "application/json")).body
    assert kept == body or (json.loads(kept) == json.loads(body) and b"ud800" in body)


def test_times_and_header_come_back(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    item = interaction(b"data: 1\n\ndata: 2\n\n", event_ms=(1.5, 20.0))
    write_cassette(
        path, Cassette([item], {"kind": "emulator", "version": "1.0", "date": "2026-11-22"})
    )
    cassette = read_cassette(path)
    assert cassette.answered_by == {"kind": "emulator", "version": "1.0", "date": "2026-11-22"}
    assert cassette.interactions[0].event_ms == (1.5, 20.0)
    assert cassette.interactions[0].key == item.key
    assert cassette.interactions[0].body == item.body


def test_it_is_plain_and_readable() -> None:
    text = render_cassette(
        Cassette([interaction(b'data: {"a": "\xc3\xa9\xf0\x9f\x98\x80"}\n\ndata: [DONE]\n\n')])
    )
    assert "!!" not in text
    assert '        data: {"a": "é😀"}\n\n        data: [DONE]\n' in text
    assert '      {\n        "model": "m"\n      }\n' in text


def test_vcrpy_reads_it() -> None:
    """Our own patches are not in the way: this is vcrpy alone."""
    path = CASSETTES / "openai_chat" / "text_stream.yaml"
    recorder = vcr.VCR(record_mode="none", match_on=["method", "host", "path"])
    with recorder.use_cassette(str(path)):
        answer = HTTP.post(f"{LOCAL}/v1/chat/completions", json=CAPITAL)
    assert answer.content == read_cassette(path).interactions[0].body


@pytest.mark.parametrize(
    "text",
    ["interactions: 3", "[]", "a: [", "interactions:\n- request: {}", "null", "interactions: [x]"],
)
def test_what_is_no_cassette_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "no.yaml"
    path.write_text(text)
    with pytest.raises(CassetteFormatError, match=r"no\.yaml"):
        read_cassette(path)


def test_a_packed_body_is_unpacked(tmp_path: Path) -> None:
    packed = {
        "version": 1,
        "interactions": [
            {
                "request": {"method": "get", "uri": "http://h/x", "body": None, "headers": {}},
                "response": {
                    "status": {"code": 200, "message": "OK"},
                    "headers": {
                        "Content-Encoding": ["gzip"],
                        "Content-Length": ["9"],
                        "X": "plain",
                    },
                    "body": {"string": gzip.compress(b"hello")},
                },
            }
        ],
    }
    path = tmp_path / "packed.yaml"
    path.write_text(yaml.safe_dump(packed))
    item = read_cassette(path).interactions[0]
    assert item.body == b"hello"
    assert item.headers == {"x": "plain"}
    assert item.method == "GET"


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("old")

    def broken(self: Path, target: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(cassette_file.Path, "replace", broken)
    with pytest.raises(OSError, match="no space"):
        write_cassette(path, Cassette([interaction(b"x")]))
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["x.yaml"]
    assert path.read_text() == "old"


def test_every_cassette_of_the_project_says_who_answered() -> None:
    files = sorted(CASSETTES.rglob("*.yaml"))
    assert len(files) > 50
    for file in files:
        cassette = read_cassette(file)
        who = cassette.answered_by
        assert {"kind", "name", "version", "date"} <= set(who), file
        assert cassette.interactions, file
        place = file.relative_to(CASSETTES).parts[0]
        if place not in ("emulated", "demo"):
            assert who["kind"] != "emulator", file
        for item in cassette.interactions:
            assert set(item.request_headers) <= REQUEST_HEADERS, file


def test_every_file_of_real_sessions_reads(recordings: Path) -> None:
    files = sorted(recordings.glob("*/*.yaml"))
    assert len(files) > 100
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counted = sum(len(read_cassette(file).interactions) for file in files)
    assert counted >= len(files)
