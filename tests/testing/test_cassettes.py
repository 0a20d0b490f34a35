"""Cassettes in process: modes, misses, sockets, and every client that is promised."""

from __future__ import annotations

import asyncio
import socket
import threading
import urllib.request
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from crux_integrations.testing import CassetteMiss, use_cassette
from crux_integrations.testing.cassette_file import read_cassette
from tests.testing.conftest import ANSWER, CAPITAL, CASSETTES, HTTP, LOCAL, STREAM, Upstream

CHAT = CASSETTES / "openai_chat"
MESSAGES = CASSETTES / "anthropic_messages"
SYSTEM = [{"role": "system", "content": "You are terse."}, *CAPITAL["messages"]]
BODY = CAPITAL | STREAM
URL = f"{LOCAL}/v1/chat/completions"


def client(**options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{LOCAL}/v1", api_key="any", max_retries=0, **options)


def text_of(chunks: Any) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


# -- clients --------------------------------------------------------------------------------------


def test_httpx() -> None:
    with use_cassette(CHAT / "text_stream.yaml") as cassette:
        answer = httpx.post(URL, json=BODY)
    assert answer.content == read_cassette(CHAT / "text_stream.yaml").interactions[0].body
    assert str(cassette.requests[0]) == "POST 127.0.0.1/v1/chat/completions"
    assert not cassette.recording


def test_a_stream_comes_event_by_event() -> None:
    with use_cassette(CHAT / "text_stream.yaml"), HTTP.stream("POST", URL, json=BODY) as answer:
        pieces = list(answer.iter_raw())
    assert len(pieces) == 11
    assert all(piece.startswith(b"data: ") and piece.endswith(b"\n\n") for piece in pieces)


async def test_httpx_async() -> None:
    async with (
        use_cassette(CHAT / "text_stream.yaml"),
        httpx.AsyncClient() as http,
        http.stream("POST", URL, json=BODY) as answer,
    ):
        pieces = [piece async for piece in answer.aiter_raw()]
    assert len(pieces) == 11


def test_the_openai_sdk() -> None:
    with use_cassette(CHAT / "text_stream.yaml"):
        assert text_of(client().chat.completions.create(**CAPITAL, **STREAM)) == ANSWER
    with use_cassette(CHAT / "text.yaml"):
        whole = client().chat.completions.create(**CAPITAL | {"messages": SYSTEM})
        assert whole.choices[0].message.content == ANSWER


async def test_the_openai_sdk_async() -> None:
    with use_cassette(CHAT / "text_stream.yaml"):
        http = openai.AsyncOpenAI(base_url=f"{LOCAL}/v1", api_key="any")
        chunks = [c async for c in await http.chat.completions.create(**CAPITAL, **STREAM)]
        assert text_of(chunks) == ANSWER


def test_the_anthropic_sdk() -> None:
    with use_cassette(MESSAGES / "text_stream.yaml"):
        http = anthropic.Anthropic(base_url=LOCAL, api_key="any")
        with http.messages.stream(**_claude()) as stream:
            assert "".join(stream.text_stream) == ANSWER


async def test_the_anthropic_sdk_async() -> None:
    async with use_cassette(MESSAGES / "text_stream.yaml"):
        http = anthropic.AsyncAnthropic(base_url=LOCAL, api_key="any")
        async with http.messages.stream(**_claude()) as stream:
            assert "".join([piece async for piece in stream.text_stream]) == ANSWER


def _claude() -> dict[str, Any]:
    # The SDK no longer takes `temperature` as an argument of its own.
    kept = {k: v for k, v in CAPITAL.items() if k != "temperature"}
    return {**kept, "extra_body": {"temperature": 0}}


def test_urllib_and_aiohttp_replay_too() -> None:
    aiohttp = pytest.importorskip("aiohttp")
    body = read_cassette(CHAT / "text_stream.yaml").interactions[0].body

    async def post() -> bytes:
        async with aiohttp.ClientSession() as session, session.post(URL, json=BODY) as answer:
            return bytes(await answer.read())

    with use_cassette(CHAT / "text_stream.yaml", repeats=True):
        request = urllib.request.Request(URL, httpx.Request("POST", URL, json=BODY).content)
        assert urllib.request.urlopen(request).read() == body
        assert asyncio.run(post()) == body


# -- decorators -----------------------------------------------------------------------------------


@use_cassette(CHAT / "text_stream.yaml")
def ask() -> str:
    return text_of(client().chat.completions.create(**CAPITAL, **STREAM))


@use_cassette(CHAT / "text_stream.yaml")
async def ask_async() -> str:
    http = openai.AsyncOpenAI(base_url=f"{LOCAL}/v1", api_key="any")
    return text_of([c async for c in await http.chat.completions.create(**CAPITAL, **STREAM)])


async def test_decorated_functions_open_it_anew_each_time() -> None:
    assert [ask(), ask()] == [ANSWER, ANSWER]
    assert [await ask_async(), await ask_async()] == [ANSWER, ANSWER]
    assert ask.__name__ == "ask"


def test_generators_are_not_decorated() -> None:
    with pytest.raises(TypeError, match="generators"):

        @use_cassette(CHAT / "text_stream.yaml")
        def numbers() -> Any:
            yield 1


def test_one_object_serves_one_block_after_the_other() -> None:
    cassette = use_cassette(CHAT / "text_stream.yaml")
    for _ in range(2):
        with cassette:
            assert text_of(client().chat.completions.create(**CAPITAL, **STREAM)) == ANSWER
            with pytest.raises(RuntimeError, match="open already"), cassette:
                pass


# -- misses ---------------------------------------------------------------------------------------


def test_a_miss_names_the_nearest_recording_and_the_first_field_that_differs() -> None:
    with pytest.raises(CassetteMiss) as missed, use_cassette(CHAT / "length.yaml"):
        HTTP.post(URL, json=CAPITAL)
    words = str(missed.value)
    assert "length.yaml" in words
    assert "nearest: interaction 1 of 2" in words
    assert 'body.messages[0].content: recorded "Count from one to thirty.", sent "Name the' in words


def test_a_miss_that_was_swallowed_is_raised_when_the_cassette_closes() -> None:
    @use_cassette(CHAT / "text_stream.yaml")
    def swallow() -> None:
        try:
            HTTP.post(URL, json=BODY | {"model": "x"})
        except Exception:
            pass

    with pytest.raises(CassetteMiss, match=r"body\.model"):
        swallow()


def test_a_miss_takes_the_place_of_what_it_was_made_into() -> None:
    @use_cassette(CHAT / "text_stream.yaml")
    def wrap() -> None:
        try:
            HTTP.post(URL, json={})
        except CassetteMiss as exc:
            # As an SDK would.
            raise openai.APIConnectionError(request=None) from exc  # type: ignore[arg-type]  # unused

    with pytest.raises(CassetteMiss) as missed:
        wrap()
    assert isinstance(missed.value.__cause__, openai.APIConnectionError)


async def test_a_miss_goes_through_the_sdks_as_itself() -> None:
    http = openai.AsyncOpenAI(base_url=f"{LOCAL}/v1", api_key="any", max_retries=2)
    with pytest.raises(CassetteMiss, match="diff"), use_cassette(CHAT / "text_stream.yaml"):
        await http.chat.completions.create(model="x", messages=[])


def test_a_cleared_miss_was_expected() -> None:
    with use_cassette(CHAT / "text_stream.yaml") as cassette:
        with pytest.raises(CassetteMiss):
            HTTP.post(URL, json={})
        cassette.misses.clear()


def test_an_interruption_is_never_exchanged_for_a_miss() -> None:
    @use_cassette(CHAT / "text_stream.yaml")
    def interrupted() -> None:
        with pytest.raises(CassetteMiss):
            HTTP.post(URL, json={})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_no_file_is_a_miss_that_says_how_to_record(tmp_path: Path) -> None:
    words = r"absent\.yaml.*--crux-record=once"
    with pytest.raises(CassetteMiss, match=words), use_cassette(tmp_path / "absent"):
        HTTP.post(URL, json=BODY)


def test_what_sends_nothing_needs_no_file(tmp_path: Path) -> None:
    for mode in ("none", "once"):
        with use_cassette(tmp_path / "absent", mode=mode) as cassette:
            pass
        assert cassette.recording == (mode == "once")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "answered"),
    [(("method", "path", "body"), True), (("method", "host", "path", "body"), False)],
)
def test_what_is_matched_on_can_be_chosen(fields: tuple[str, ...], answered: bool) -> None:
    with use_cassette(CHAT / "text_stream.yaml", match=fields) as cassette:
        try:
            HTTP.post("https://elsewhere.example/v1/chat/completions", json=CAPITAL | STREAM)
        except CassetteMiss:
            cassette.misses.clear()
            assert not answered
        else:
            assert answered


def test_wrong_words_fail_at_once() -> None:
    with pytest.raises(ValueError, match="none, once, rewrite"):
        use_cassette("x", mode="all")
    with pytest.raises(ValueError, match="it takes method, host, path, body"):
        use_cassette("x", match=("headers",))
    with pytest.raises(ValueError, match="no fault"):
        use_cassette("x", faults="explode@1")


# -- order and repeats ----------------------------------------------------------------------------


@pytest.fixture
def counted(tmp_path: Path, upstream: Upstream) -> tuple[Path, str]:
    """A cassette of three identical requests, answered 1, 2, 3."""
    path = tmp_path / "counted.yaml"
    with use_cassette(path, mode="rewrite"):
        for _ in range(3):
            HTTP.post(f"{upstream.url}/v1/x", json={"a": 1})
    return path, f"{upstream.url}/v1/x"


def test_identical_requests_replay_in_order_and_then_miss(counted: tuple[Path, str]) -> None:
    path, url = counted
    with use_cassette(path) as cassette:
        assert [HTTP.post(url, json={"a": 1}).json()["count"] for _ in range(3)] == [1, 2, 3]
        with pytest.raises(CassetteMiss, match=r"recorded 3 time\(s\) and played as often"):
            HTTP.post(url, json={"a": 1})
        cassette.misses.clear()


def test_or_the_last_one_repeats(counted: tuple[Path, str]) -> None:
    path, url = counted
    with use_cassette(path, repeats=True):
        assert [HTTP.post(url, json={"a": 1}).json()["count"] for _ in range(5)] == [1, 2, 3, 3, 3]


def test_each_recording_is_played_once_by_many_threads(counted: tuple[Path, str]) -> None:
    path, url = counted
    counts: list[int] = []

    def post() -> None:
        counts.append(HTTP.post(url, json={"a": 1}).json()["count"])

    with use_cassette(path):
        threads = [threading.Thread(target=post) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(counts) == [1, 2, 3]


# -- modes ----------------------------------------------------------------------------------------


def test_once_records_where_there_is_no_file_and_replays_otherwise(
    tmp_path: Path, upstream: Upstream
) -> None:
    path = tmp_path / "new" / "session.yaml"
    counts = []
    for _ in range(3):
        with use_cassette(path, mode="once"):
            counts.append(HTTP.post(f"{upstream.url}/v1/x", json={"a": 1}).json()["count"])
    assert counts == [1, 1, 1]
    assert upstream.count == 1
    with pytest.raises(CassetteMiss), use_cassette(path, mode="once"):
        HTTP.post(f"{upstream.url}/v1/x", json={"a": 2})
    assert upstream.count == 1


def test_rewrite_records_anew(tmp_path: Path, upstream: Upstream) -> None:
    path = tmp_path / "session.yaml"
    for expected in (1, 2):
        with use_cassette(path, mode="rewrite"):
            HTTP.post(f"{upstream.url}/v1/x", json={"a": 1})
        with use_cassette(path):
            assert HTTP.post(f"{upstream.url}/v1/x", json={"a": 1}).json()["count"] == expected


async def test_async_recording(tmp_path: Path, upstream: Upstream) -> None:
    path = tmp_path / "session.yaml"
    for _ in range(2):
        async with use_cassette(path, mode="once"), httpx.AsyncClient() as http:
            assert (await http.post(f"{upstream.url}/v1/x", json={})).json()["count"] == 1


@pytest.mark.parametrize("mode", ["once", "rewrite"])
def test_a_block_that_fails_leaves_no_half_cassette(
    tmp_path: Path, upstream: Upstream, mode: str
) -> None:
    path = tmp_path / "session.yaml"
    if mode == "rewrite":
        path.write_text("old")

    @use_cassette(path, mode=mode)
    def fail() -> None:
        HTTP.post(f"{upstream.url}/v1/x", json={})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.exists() == (mode == "rewrite")
    assert [p.name for p in tmp_path.iterdir()] == (["session.yaml"] if mode == "rewrite" else [])
    assert mode == "once" or path.read_text() == "old"


def test_the_header_says_who_answered_and_when(tmp_path: Path, upstream: Upstream) -> None:
    path = tmp_path / "session.yaml"
    with use_cassette(path, mode="rewrite", answered_by={"name": "upstream", "version": "1"}):
        HTTP.post(f"{upstream.url}/v1/x", json={})
    who = read_cassette(path).answered_by
    assert who["kind"] == "local server"
    assert who["name"] == "upstream"
    assert who["version"] == "1"
    assert len(who["date"]) == len("2026-11-22")


def test_what_was_recorded_is_unpacked(tmp_path: Path, upstream: Upstream) -> None:
    path = tmp_path / "session.yaml"
    with use_cassette(path, mode="rewrite"):
        recorded = HTTP.post(f"{upstream.url}/v1/x", json={})
    assert recorded.headers["content-encoding"] == "gzip"
    with use_cassette(path):
        replayed = HTTP.post(f"{upstream.url}/v1/x", json={})
    assert "content-encoding" not in replayed.headers
    assert replayed.json()["sent"] == {}


def test_after_the_block_everything_is_as_before(upstream: Upstream) -> None:
    before = httpx.HTTPTransport.handle_request, socket.socket.connect, socket.getaddrinfo
    with use_cassette(CHAT / "text_stream.yaml"):
        assert httpx.HTTPTransport.handle_request is not before[0]
    assert (httpx.HTTPTransport.handle_request, socket.socket.connect, socket.getaddrinfo) == before
    assert HTTP.post(f"{upstream.url}/v1/x", json={}).json()["count"] == 1


def test_nested_cassettes(tmp_path: Path, upstream: Upstream) -> None:
    with use_cassette(CHAT / "text_stream.yaml"):
        with use_cassette(MESSAGES / "text_stream.yaml"):
            body = CAPITAL | {"stream": True}
            assert b"message_stop" in HTTP.post(f"{LOCAL}/v1/messages", json=body).content
        assert b"[DONE]" in HTTP.post(URL, json=BODY).content


# -- sockets --------------------------------------------------------------------------------------


def test_no_connection_leaves_while_it_replays(upstream: Upstream) -> None:
    address = ("127.0.0.1", int(upstream.url.rsplit(":", 1)[1]))
    with use_cassette(CHAT / "text_stream.yaml") as cassette, socket.socket() as raw:
        with pytest.raises(CassetteMiss, match=r"connection to 127\.0\.0\.1:\d+"):
            socket.create_connection(address)
        with pytest.raises(CassetteMiss):
            raw.connect_ex(address)
        with pytest.raises(CassetteMiss, match=r"api\.openai\.com:443"):
            socket.getaddrinfo("api.openai.com", 443)
        assert len(cassette.misses) == 3
        cassette.misses.clear()


async def test_nor_one_of_the_event_loop(upstream: Upstream) -> None:
    with pytest.raises(CassetteMiss), use_cassette(CHAT / "text_stream.yaml"):
        await asyncio.open_connection("127.0.0.1", int(upstream.url.rsplit(":", 1)[1]))


def test_a_client_that_vcrpy_does_not_know_is_stopped_too(upstream: Upstream) -> None:
    httpcore = pytest.importorskip("httpcore")
    with (
        pytest.raises(CassetteMiss),
        use_cassette(CHAT / "text_stream.yaml"),
        httpcore.ConnectionPool() as pool,
    ):
        pool.request("POST", f"{upstream.url}/v1/x", content=b"{}")


@pytest.mark.parametrize("allow", ["127.0.0.1", ["127.0.0.1:{port}"]])
def test_allowed_hosts_are_reached_for_real(upstream: Upstream, allow: str | list[str]) -> None:
    port = upstream.url.rsplit(":", 1)[1]
    names = allow if isinstance(allow, str) else [name.format(port=port) for name in allow]
    with use_cassette(CHAT / "text_stream.yaml", allow=names):
        assert HTTP.post(f"{upstream.url}/v1/x", json={}).json()["count"] == 1


def test_unix_sockets_are_left_alone(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, use_cassette(CHAT / "text_stream.yaml"):
        server.bind(str(tmp_path / "s"))
        server.listen()
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(tmp_path / "s"))
