"""Faults over a replay in process: for plain httpx, for the SDKs, for our own transport."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx
import httpx2
import openai
import pytest

from crux_integrations.testing import use_cassette
from crux_providers.base.cancellation import CancellationToken, CancelledError
from crux_providers.base.errors import WireFailure
from crux_providers.base.timeouts import CallScope, TimeoutConfig
from crux_providers.base.wire import Endpoint, WireRequest
from crux_providers.transports.http import HttpTransport
from tests.testing.conftest import ANSWER, CAPITAL, CASSETTES, LOCAL, STREAM

STREAMED = CASSETTES / "openai_chat" / "text_stream.yaml"
URL = f"{LOCAL}/v1/chat/completions"
BODY = CAPITAL | STREAM
LONG = "stall@4:60s"
SHORT = TimeoutConfig(connect=5, first_token=0.2, idle=0.2, total=5, explicit=True)


def pieces(library: Any, **options: Any) -> list[bytes]:
    got: list[bytes] = []
    try:
        with library.stream("POST", URL, json=BODY, verify=False, **options) as answer:
            got.extend(answer.iter_raw())
    except library.TransportError as exc:
        exc.got = got
        raise
    return got


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_cut(library: Any) -> None:
    with (
        use_cassette(STREAMED, faults="cut@4"),
        pytest.raises(library.ReadError, match="reset") as cut,
    ):
        pieces(library)
    assert len(cut.value.got) == 3  # type: ignore[attr-defined]  # put there by pieces()


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_truncate(library: Any) -> None:
    with use_cassette(STREAMED, faults="truncate@4"):
        assert len(pieces(library)) == 3


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_malformed(library: Any) -> None:
    with use_cassette(STREAMED, faults="malformed@4"):
        got = pieces(library)
    assert len(got) == 11
    assert got[3] == b'data: {"malformed": \n\n'


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_stall_ends_at_the_clients_own_timeout(library: Any) -> None:
    started = time.monotonic()
    with use_cassette(STREAMED, faults=LONG), pytest.raises(library.ReadTimeout):
        pieces(library, timeout=0.2)
    assert 0.15 < time.monotonic() - started < 5


def test_a_short_stall_passes() -> None:
    started = time.monotonic()
    with use_cassette(STREAMED, faults="stall@4:150ms"):
        assert len(pieces(httpx)) == 11
    assert time.monotonic() - started > 0.14


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_status(library: Any) -> None:
    with use_cassette(STREAMED, faults="status:429:2s"):
        answer = library.post(URL, json=BODY, verify=False)
        again = library.post(URL, json=BODY, verify=False)  # the recording was not used up
    assert (answer.status_code, again.status_code) == (429, 429)
    assert answer.headers["retry-after"] == "2"
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("fault", "error"), [("cut@4", httpx.ReadError), (LONG, httpx.ReadTimeout)]
)
async def test_async_faults(fault: str, error: type[Exception]) -> None:
    got: list[bytes] = []

    async def read() -> None:
        async with (
            httpx.AsyncClient(timeout=0.2) as http,
            http.stream("POST", URL, json=BODY) as answer,
        ):
            async for piece in answer.aiter_raw():
                got.append(piece)

    with use_cassette(STREAMED, faults=fault), pytest.raises(error):
        await read()
    assert len(got) == 3


def test_the_sdk_sees_them_as_its_own_errors() -> None:
    client = openai.OpenAI(base_url=f"{LOCAL}/v1", api_key="any", max_retries=0)
    with use_cassette(STREAMED, faults="cut@4"), pytest.raises(openai.APIConnectionError):
        list(client.chat.completions.create(**BODY))
    with use_cassette(STREAMED, faults="status:429"), pytest.raises(openai.RateLimitError):
        client.chat.completions.create(**BODY)


def test_faults_for_one_place_only() -> None:
    here, elsewhere = {"127.0.0.1:18091/v1/chat": "cut@4"}, {"api.anthropic.com": "cut@4"}
    with use_cassette(STREAMED, faults=here), pytest.raises(httpx.ReadError):
        pieces(httpx)
    with pytest.raises(AssertionError, match="struck"), use_cassette(STREAMED, faults=elsewhere):
        assert len(pieces(httpx)) == 11


def test_a_fault_that_never_strikes_fails_the_block() -> None:
    words = "fault cut@40 never struck"
    with pytest.raises(AssertionError, match=words), use_cassette(STREAMED, faults="cut@40"):
        pieces(httpx)


def test_faults_need_a_replay(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="records"):
        use_cassette(tmp_path / "x.yaml", mode="rewrite", faults="cut@1").__enter__()


# -- our own transport ----------------------------------------------------------------------------


def transport() -> HttpTransport:
    return HttpTransport(Endpoint(f"{LOCAL}/v1", {"authorization": "Bearer any"}))


REQUEST = WireRequest("/chat/completions", BODY, stream=True)


def wire_events(
    faults: str | None,
    timeouts: TimeoutConfig = SHORT,
    token: CancellationToken | None = None,
    third: threading.Event | None = None,
) -> tuple[int, BaseException | None]:
    """How many events came, and what ended the stream; ``third`` is set when three have come."""
    count = 0
    with use_cassette(STREAMED, faults=faults):
        try:
            scope = CallScope(timeouts, token)
            for _ in transport().stream(REQUEST, scope):
                count += 1
                scope.committed()
                if third is not None and count == 3:
                    third.set()
        except (WireFailure, CancelledError) as exc:
            return count, exc
    return count, None


async def async_wire_events(
    faults: str | None,
    timeouts: TimeoutConfig = SHORT,
    token: CancellationToken | None = None,
    third: threading.Event | None = None,
) -> tuple[int, BaseException | None]:
    count = 0
    async with use_cassette(STREAMED, faults=faults):
        try:
            scope = CallScope(timeouts, token)
            async for _ in await transport().astream(REQUEST, scope):
                count += 1
                scope.committed()
                if third is not None and count == 3:
                    third.set()
        except (WireFailure, CancelledError) as exc:
            return count, exc
    return count, None


CASES = [
    (None, 11, None, None),
    ("cut@4", 3, "cut", None),
    ("truncate@4", 3, None, None),
    ("malformed@4", 11, None, None),
    ("status:429:2s", 0, "status", None),
    ("stall@1:60s", 0, "timeout", "first_token"),
    ("stall@4:60s", 3, "timeout", "idle"),
]


@pytest.mark.parametrize(("faults", "count", "kind", "phase"), CASES)
async def test_our_transport_reports_each_fault(
    faults: str | None, count: int, kind: str | None, phase: str | None
) -> None:
    for got, failure in (wire_events(faults), await async_wire_events(faults)):
        assert got == count
        assert getattr(failure, "kind", None) == kind
        assert getattr(failure, "phase", None) == phase


async def test_a_stalled_replay_is_cancelled_at_once() -> None:
    patient = TimeoutConfig(connect=5, first_token=30, idle=30, total=30, explicit=True)
    for asynchronous in (False, True):
        token, third, cancelled = CancellationToken(), threading.Event(), []

        def cancel(token: Any = token, third: Any = third, cancelled: Any = cancelled) -> None:
            third.wait(30)
            time.sleep(0.05)  # a moment to block in the stall
            cancelled.append(time.monotonic())
            token.cancel("enough")

        thread = threading.Thread(target=cancel)
        thread.start()
        if asynchronous:
            count, failure = await async_wire_events(LONG, patient, token, third)
        else:
            count, failure = wire_events(LONG, patient, token, third)
        ended = time.monotonic()
        thread.join()
        assert count == 3
        assert isinstance(failure, CancelledError)
        assert ended - cancelled[0] < 5


def test_our_transport_answers_from_cassettes() -> None:
    with use_cassette(STREAMED):
        events = list(transport().stream(REQUEST, CallScope(TimeoutConfig())))
    assert events[-1].data == "[DONE]"
    assert ANSWER.split()[0] in events[1].data
