"""The replay server over real sockets, with the official SDKs and plain httpx as its clients."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from crux_integrations.testing import Mount, ReplayServer
from crux_integrations.testing.cassette_file import (
    Cassette,
    Interaction,
    read_cassette,
    write_cassette,
)
from tests.testing.conftest import ANSWER, CAPITAL, CASSETTES, HTTP, STREAM

CHAT = CASSETTES / "openai_chat"
MESSAGES = CASSETTES / "anthropic_messages"
STREAMED = CHAT / "text_stream.yaml"
BODY = CAPITAL | STREAM
PATH = "/v1/chat/completions"


def events(server: ReplayServer, body: dict[str, Any] = BODY, path: str = PATH) -> list[bytes]:
    """The HTTP chunks of a streamed answer; a failure carries those that came before it."""
    got: list[bytes] = []
    try:
        with HTTP.stream("POST", f"{server.url}{path}", json=body) as answer:
            got.extend(answer.iter_raw())
    except httpx.TransportError as exc:
        exc.got = got  # type: ignore[attr-defined]  # for the test to look at
        raise
    return got


# -- clients --------------------------------------------------------------------------------------


def test_the_openai_sdk() -> None:
    with ReplayServer(STREAMED) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)
        chunks = list(client.chat.completions.create(**BODY))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ANSWER
    assert chunks[-1].usage is not None
    assert server.count == 1


async def test_the_openai_sdk_async() -> None:
    with ReplayServer(STREAMED) as server:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)
        stream = await client.chat.completions.create(**BODY)
        chunks = [c async for c in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ANSWER


def _claude(**more: Any) -> dict[str, Any]:
    kept = {k: v for k, v in CAPITAL.items() if k != "temperature"}
    return {**kept, "extra_body": {"temperature": 0}, **more}


def test_the_anthropic_sdk() -> None:
    with ReplayServer(MESSAGES) as server:
        client = anthropic.Anthropic(base_url=server.url, api_key="any", max_retries=0)
        with client.messages.stream(**_claude()) as stream:
            assert "".join(stream.text_stream) == ANSWER
        whole = client.messages.create(**_claude(system="You are terse."))
        assert whole.content[0].text == ANSWER  # type: ignore[union-attr]  # the recording has text
    assert server.count == 2


async def test_the_anthropic_sdk_async() -> None:
    with ReplayServer(MESSAGES) as server:
        client = anthropic.AsyncAnthropic(base_url=server.url, api_key="any", max_retries=0)
        async with client.messages.stream(**_claude()) as stream:
            assert "".join([piece async for piece in stream.text_stream]) == ANSWER


def test_a_provider_error_is_the_sdks_typed_error() -> None:
    cassette = CASSETTES / "emulated" / "anthropic_messages" / "errors.yaml"
    with ReplayServer(cassette) as server:
        client = anthropic.Anthropic(base_url=server.url, api_key="any", max_retries=0)
        with pytest.raises(anthropic.RateLimitError) as refused:
            client.messages.create(
                **_claude(
                    model="claude-haiku-4-5", messages=[{"role": "user", "content": "error 429"}]
                )
            )
    assert refused.value.response.headers["retry-after"] == "2"


# -- the wire -------------------------------------------------------------------------------------


def test_each_event_is_one_chunk_and_the_bytes_are_the_recordings() -> None:
    with (
        ReplayServer(STREAMED) as server,
        HTTP.stream("POST", f"{server.url}{PATH}", json=BODY) as r,
    ):
        got = list(r.iter_raw())
        assert r.headers["transfer-encoding"] == "chunked"
        assert r.headers["content-type"] == "text/event-stream"
    recorded = read_cassette(STREAMED).interactions[0].body
    assert b"".join(got) == recorded
    assert len(got) <= 11
    assert all(piece.endswith(b"\n\n") for piece in got)


def test_a_whole_body_has_a_length() -> None:
    body = CAPITAL | {
        "messages": [{"role": "system", "content": "You are terse."}, *CAPITAL["messages"]]
    }
    with ReplayServer(CHAT / "text.yaml") as server:
        answer = HTTP.post(f"{server.url}{PATH}", json=body)
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.json()["choices"][0]["message"]["content"] == ANSWER


def test_ndjson() -> None:
    cassette = CASSETTES / "emulated" / "ollama_chat" / "text_stream.yaml"
    (item,) = read_cassette(cassette).interactions
    with ReplayServer(cassette) as server:
        got = events(server, json.loads(item.request_body or b""), "/api/chat")
    assert b"".join(got) == item.body
    assert all(piece.endswith(b"\n") for piece in got)


def test_connections_are_kept_and_http_1_0_is_spoken() -> None:
    with ReplayServer(STREAMED) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        for _ in range(3):
            connection.request("POST", PATH, json.dumps(BODY))
            assert b"[DONE]" in connection.getresponse().read()
        with socket.create_connection(("127.0.0.1", server.port)) as plain:
            data = json.dumps(BODY).encode()
            head = f"POST {PATH} HTTP/1.0\r\nContent-Length: {len(data)}\r\n\r\n"
            plain.sendall(head.encode() + data)
            answer = b"".join(iter(lambda: plain.recv(65536), b""))
    assert b"transfer-encoding" not in answer
    assert answer.endswith(b"data: [DONE]\n\n")


def test_a_chunked_request_body_is_read() -> None:
    with ReplayServer(STREAMED) as server:
        data = json.dumps(BODY).encode()
        answer = HTTP.post(f"{server.url}{PATH}", content=iter([data[:50], data[50:]]))
    assert b"[DONE]" in answer.content


def test_many_at_once() -> None:
    with ReplayServer(STREAMED) as server, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: b"".join(events(server)), range(48)))
        assert server.count == 48
    assert len(set(answers)) == 1


def test_real_sessions_of_other_recorders(recordings: Path) -> None:
    """vcrpy's own files: each streamed session is served byte for byte."""
    examined = 0
    for file in sorted(recordings.glob("*/*_stream*.yaml"))[::6]:
        items = read_cassette(file).interactions
        with ReplayServer(file) as server:
            for item in items:
                if item.method != "POST" or "event-stream" not in item.content_type:
                    continue
                answer = HTTP.post(f"{server.url}{item.key.path}", content=item.request_body)
                assert answer.content in {i.body for i in items}, file
                assert answer.status_code == item.status
                examined += 1
    assert examined > 5


# -- faults ---------------------------------------------------------------------------------------


def test_cut_is_a_reset_after_the_events_before_it() -> None:
    for _ in range(5):  # a reset overtakes what was not delivered yet, if it may
        faulty = ReplayServer(STREAMED, faults="cut@4")
        with faulty as server, pytest.raises(httpx.ReadError) as cut:
            events(server)
        got = b"".join(cut.value.got)  # type: ignore[attr-defined]  # put there by events()
        assert got.count(b"data: ") == 3


def test_a_reset_waits_until_what_came_before_is_delivered(tmp_path: Path) -> None:
    """More than the sockets' buffers hold: a reset would throw away what still waits there."""
    events_of_64k = b"".join(b"data: %s\n\n" % (b"x" * 65536) for _ in range(48))
    item = Interaction(
        "POST", "http://h/x", {}, b"{}", 200, "OK", {"content-type": "text/event-stream"},
        events_of_64k,
    )  # fmt: skip
    path = tmp_path / "long.yaml"
    write_cassette(path, Cassette([item]))
    with ReplayServer(path, faults="cut@49") as server, pytest.raises(httpx.ReadError) as cut:
        events(server, {}, "/x")
    got = b"".join(cut.value.got)  # type: ignore[attr-defined]  # put there by events()
    assert len(got) == len(events_of_64k)


def test_truncate_is_a_clean_close() -> None:
    with ReplayServer(STREAMED, faults="truncate@4") as server:
        assert b"".join(events(server)).count(b"data: ") == 3


def test_malformed_replaces_an_event() -> None:
    with ReplayServer(STREAMED, faults="malformed@4") as server:
        assert b"".join(events(server)).count(b'data: {"malformed": \n\n') == 1


def test_stall_comes_before_an_event() -> None:
    with ReplayServer(STREAMED, faults="stall@4:300ms") as server:
        times = []
        with HTTP.stream("POST", f"{server.url}{PATH}", json=BODY) as answer:
            for _ in answer.iter_raw():
                times.append(time.monotonic())
        gaps = [b - a for a, b in itertools.pairwise(times)]
    assert max(gaps) > 0.25
    assert sum(gap > 0.2 for gap in gaps) == 1


def test_status() -> None:
    with ReplayServer(STREAMED, faults="status:429:2s") as server:
        answer = HTTP.post(f"{server.url}{PATH}", json={"anything": 1})
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "2"
    assert server.misses == []


def test_the_sdks_meet_faults_as_their_own_errors() -> None:
    with ReplayServer(STREAMED, faults="cut@4") as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)
        with pytest.raises(openai.APIConnectionError):
            list(client.chat.completions.create(**BODY))
    with ReplayServer(STREAMED, faults="cut@1") as server:
        # Retried by the SDK before the first event? No: the status has come, so it may not be.
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=2)
        with pytest.raises(openai.APIConnectionError):
            list(client.chat.completions.create(**BODY))
        assert server.count == 1


def test_a_cut_whole_body_breaks_off() -> None:
    body = CAPITAL | {
        "messages": [{"role": "system", "content": "You are terse."}, *CAPITAL["messages"]]
    }
    faulty = ReplayServer(CHAT / "text.yaml", faults="cut@1")
    with faulty as server, pytest.raises(httpx.ReadError):
        HTTP.post(f"{server.url}{PATH}", json=body)
    with ReplayServer(CHAT / "text.yaml", faults="truncate@1") as server:
        answer = HTTP.post(f"{server.url}{PATH}", json=body)
        with pytest.raises(ValueError, match=r"."):
            answer.json()


def test_a_client_that_leaves_is_noticed() -> None:
    with ReplayServer(STREAMED, faults="stall@3:60s") as server:
        with HTTP.stream("POST", f"{server.url}{PATH}", json=BODY) as answer:
            next(answer.iter_raw())
        until = time.monotonic() + 5
        while not server.left_early and time.monotonic() < until:
            threading.Event().wait(0.01)
        assert server.left_early == 1


def test_stopping_does_not_wait_for_a_stall() -> None:
    server = ReplayServer(STREAMED, faults="stall@3:60s").start()
    with (
        httpx.Client() as client,
        client.stream("POST", f"{server.url}{PATH}", json=BODY) as answer,
    ):
        pieces = answer.iter_raw()  # kept: httpx closes a stream whose iterator is dropped
        next(pieces)
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 5
    server.stop()
    assert server.left_early == 0


# -- misses, order, mounts ------------------------------------------------------------------------


def test_an_unmatched_request_is_a_501_that_names_the_nearest_recording() -> None:
    with ReplayServer(STREAMED) as server:
        answer = HTTP.post(f"{server.url}{PATH}", json=BODY | {"model": "other"})
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=2)
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(model="other", messages=[])
        assert server.count == 2  # the SDK did not try again
        assert len(server.misses) == 2
    assert answer.status_code == 501
    error = answer.json()["error"]
    assert error["code"] == "cassette_miss"
    assert "nearest: interaction 1 of 1" in error["message"]
    assert 'body.model: recorded "smollm2-135m", sent "other"' in error["message"]


def test_requests_are_kept_with_what_answered_them() -> None:
    with ReplayServer(STREAMED) as server:
        HTTP.post(f"{server.url}{PATH}?x=1", json=BODY, headers={"authorization": "Bearer mine"})
        HTTP.get(f"{server.url}/nothing")
    first, second = server.requests
    assert (first.method, first.path, first.json["model"]) == (
        "POST",
        f"{PATH}?x=1",
        "smollm2-135m",
    )
    assert first.headers["authorization"] == "Bearer mine"
    assert "mine" not in repr(first)
    assert first.interaction is not None
    assert second.interaction is None
    assert second.json is None


def test_identical_requests_in_order_then_the_last_again(tmp_path: Path) -> None:
    def numbered(number: int) -> Interaction:
        return Interaction(
            "GET", "http://h/n", {}, None, 200, "OK", {"content-type": "text/plain"}, b"%d" % number
        )

    path = tmp_path / "n.yaml"
    write_cassette(path, Cassette([numbered(n) for n in (1, 2, 3)]))
    with ReplayServer(path) as server:
        assert [HTTP.get(f"{server.url}/n").text for _ in range(5)] == ["1", "2", "3", "3", "3"]


def test_mounts() -> None:
    mounts = {
        "/openai": "status:429:2s",
        "/anthropic": Mount(CASSETTES / "demo" / "anthropic.yaml", match="turn"),
        "/plain/": [STREAMED, CHAT / "text.yaml"],
    }
    with ReplayServer(mounts) as server:
        refused = HTTP.post(f"{server.url}/openai{PATH}", json={})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
        assert b"".join(events(server, path=f"/plain{PATH}")).endswith(b"[DONE]\n\n")
        answer = HTTP.post(f"{server.url}/gemini/v1", json={})
        assert answer.status_code == 501
        assert "/anthropic, /openai, /plain" in answer.json()["error"]["message"]


def test_the_demo_scenario() -> None:
    """What `make demo` mounts: 429 first; then a tool call and an answer, both streamed."""
    mounts = {
        "/openai": Mount(CASSETTES / "demo" / "openai.yaml", match="path"),
        "/anthropic": Mount(CASSETTES / "demo" / "anthropic.yaml", match="turn"),
    }
    with ReplayServer(mounts) as server:
        gpt = openai.OpenAI(base_url=f"{server.url}/openai/v1", api_key="any", max_retries=0)
        with pytest.raises(openai.RateLimitError) as refused:
            gpt.chat.completions.create(model="gpt-5-mini", messages=[], stream=True)
        assert refused.value.response.headers["retry-after"] == "20"
        with pytest.raises(openai.RateLimitError):
            gpt.responses.create(model="gpt-5-mini", input="x", stream=True)
        claude = anthropic.Anthropic(
            base_url=f"{server.url}/anthropic", api_key="any", max_retries=0
        )
        question: Any = {"role": "user", "content": "Any words at all?"}
        ask: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 9}
        with claude.messages.stream(**ask, messages=[question]) as stream:
            pass
        # llama.cpp names no input where a tool call begins, so the SDK's accumulator is not asked.
        recorded = server.requests[-1].interaction
        assert recorded is not None
        assert b'"name":"get_weather"' in recorded.body
        result = {"type": "tool_result", "tool_use_id": "x", "content": "y"}
        turns: Any = [question, {"role": "user", "content": [result]}]
        with claude.messages.stream(**ask, messages=turns) as stream:
            assert "".join(stream.text_stream) == "It is 18 degrees Celsius, light rain."


def test_a_loose_match_still_looks_at_the_turn() -> None:
    with ReplayServer(Mount(CASSETTES / "demo" / "anthropic.yaml", match="turn")) as server:
        other = HTTP.post(f"{server.url}/v1/messages", json={"model": "x", "messages": []})
        assert other.status_code == 501
        tool = {"role": "user", "content": [{"type": "tool_result"}]}
        answer = HTTP.post(
            f"{server.url}/v1/messages", json={"model": "claude-haiku-4-5", "messages": [tool]}
        )
        assert answer.json()["stop_reason"] == "end_turn"


def test_another_base_path_is_the_same_for_a_loose_match() -> None:
    with ReplayServer(Mount(STREAMED, match="path")) as server:
        assert b"[DONE]" in HTTP.post(f"{server.url}/api/v1/chat/completions", json={}).content
        assert HTTP.post(f"{server.url}/v1/embeddings", json={}).status_code == 501


def test_a_folder_is_all_its_cassettes(tmp_path: Path) -> None:
    with ReplayServer(CHAT) as server:
        assert b"[DONE]" in b"".join(events(server))
    with pytest.raises(FileNotFoundError):
        ReplayServer(tmp_path)
    with pytest.raises(FileNotFoundError):
        ReplayServer(tmp_path / "absent.yaml")


def test_the_pace(tmp_path: Path) -> None:
    path = tmp_path / "paced.yaml"
    item = Interaction(
        "POST", "http://h/x", {}, None, 200, "OK", {"content-type": "text/event-stream"},
        b"data: 1\n\ndata: 2\n\n", (0.0, 400.0),
    )  # fmt: skip
    write_cassette(path, Cassette([item]))

    def seconds(speed: float | None) -> float:
        with ReplayServer(path, speed=speed) as server:
            started = time.monotonic()
            HTTP.post(f"{server.url}/x")
            return time.monotonic() - started

    assert seconds(1.0) > 0.38
    assert 0.18 < min(seconds(2.0) for _ in range(3)) < 0.38
    assert min(seconds(None) for _ in range(3)) < 0.18
    with pytest.raises(ValueError, match="above 0"):
        ReplayServer(path, speed=0)


def test_start_and_stop() -> None:
    server = ReplayServer(STREAMED)
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url
    with server:
        url = server.url
        with pytest.raises(RuntimeError, match="running already"):
            server.start()
    with pytest.raises(httpx.ConnectError):
        HTTP.post(url)
    assert not [t for t in threading.enumerate() if t.name == "crux-replay"]


async def test_it_serves_the_loop_it_was_started_from() -> None:
    with ReplayServer(STREAMED) as server:
        async with httpx.AsyncClient() as client:
            answers = await asyncio.gather(
                *(client.post(f"{server.url}{PATH}", json=BODY) for _ in range(8))
            )
    assert {a.status_code for a in answers} == {200}
