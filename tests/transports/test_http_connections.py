"""The http transport's own connections: pools, TLS, looking names up, bodies, what is relied on."""

from __future__ import annotations

import asyncio
import functools
import gc
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpcore
import httpx
import pytest

from crux_providers.base.cancellation import CancellationToken, CancelledError
from crux_providers.base.errors import ProviderError, WireFailure
from crux_providers.base.timeouts import CallScope
from crux_providers.base.wire import Endpoint, WireRequest
from crux_providers.transports import http_connections
from crux_providers.transports.http import HttpTransport
from crux_providers.transports.http_call import Call
from crux_providers.transports.http_connections import PooledTransport
from crux_providers.transports.http_request import RequestBuilder, own_timeouts
from tests.servers.certificates import Certificates, make_certificates
from tests.servers.scripted_server import DEADLINE, Exchange, ScriptedServer
from tests.transports.conformance import AT_ONCE, HARNESSES, SyncDriver, data_of, scope, within

HTTP = HARNESSES[0]


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def tls_server(certs: Certificates) -> Iterator[ScriptedServer]:
    with ScriptedServer(HTTP.answer_well, tls=certs.server) as running:
        yield running


def make(server: ScriptedServer, **more: Any) -> HttpTransport:
    return HttpTransport(Endpoint(server.url, proxy="", verify=False, **more))


# -- pools -----------------------------------------------------------------------------------------


def test_transports_of_one_process_share_connections(
    server: ScriptedServer, driver: SyncDriver
) -> None:
    server.play(HTTP.answer_well)
    one, other = make(server), make(server, headers={"x-key": "another"})
    driver.call(one, HTTP.whole, scope())
    driver.call(other, HTTP.whole, scope())
    assert len(server.connections) == 1
    driver.close(one)
    driver.call(other, HTTP.whole, scope())
    assert len(server.connections) == 1, "another transport still uses the pool"
    driver.close(other)
    server.assert_closed()


def test_closing_a_transport_leaves_its_open_streams_alone(
    server: ScriptedServer, driver: SyncDriver
) -> None:
    server.play(HTTP.answer_well)
    transport = make(server)
    limits = scope()
    stream = driver.open(transport, HTTP.streamed, limits)
    assert driver.next(stream) is not None
    driver.close(transport)
    gc.collect()
    assert len(driver.read(stream, limits)) == 3
    del stream
    gc.collect()
    server.assert_closed()


def test_a_transport_that_nobody_holds_closes_its_connections(
    server: ScriptedServer, driver: SyncDriver
) -> None:
    server.play(HTTP.answer_well)
    transport = make(server)
    driver.call(transport, HTTP.whole, scope())
    del transport
    gc.collect()
    server.assert_closed()


def test_idle_connections_expire(
    server: ScriptedServer, driver: SyncDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connections, "KEEPALIVE_S", 0.05)
    server.play(HTTP.answer_well)
    transport = make(server)
    driver.call(transport, HTTP.whole, scope())
    time.sleep(0.1)
    driver.call(transport, HTTP.whole, scope())
    server.assert_closed(0)
    assert len(server.connections) == 2


def test_the_number_of_idle_connections_is_bounded(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connections, "MAX_IDLE", 3)
    server.play(HTTP.answer_well)

    async def main() -> None:
        transport = make(server)
        calls = (transport.asend(HTTP.whole, scope()) for _ in range(10))
        await asyncio.gather(*calls)
        for _ in range(200):
            if sum(not c.closed.is_set() for c in server.connections) == 3:
                break
            await asyncio.sleep(0.01)
        assert sum(not c.closed.is_set() for c in server.connections) == 3
        await transport.aclose()

    asyncio.run(main())


def test_nothing_grows_over_many_calls(server: ScriptedServer, driver: SyncDriver) -> None:
    server.play(HTTP.answer_well)
    transport = make(server)

    def objects() -> int:
        for request in (HTTP.whole, HTTP.streamed):
            for _ in range(20):
                driver.call(transport, request, scope())
        server.exchanges.clear()
        gc.collect()
        return len(gc.get_objects())

    objects()
    before = objects()
    assert objects() - before < 40, "a call leaves something behind"
    driver.close(transport)


# -- what is relied on inside httpx and httpcore ---------------------------------------------------


def test_httpx_transports_still_call_the_pool_we_put_there(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.play(HTTP.answer_well)
    seen = []
    original = http_connections.Connections.handle_request

    def note(self: Any, request: httpcore.Request) -> httpcore.Response:
        seen.append(request)
        return original(self, request)

    monkeypatch.setattr(http_connections.Connections, "handle_request", note)
    transport = make(server)
    transport.send(HTTP.whole, scope())
    assert seen == [], "nobody listens: a bare connection"
    sent = httpx.HTTPTransport.handle_request

    @functools.wraps(sent)
    def listen(self: Any, request: httpx.Request) -> httpx.Response:
        return sent(self, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", listen)
    transport.send(HTTP.whole, scope())
    assert [type(request) for request in seen] == [httpcore.Request]
    assert "handle_request" not in vars(PooledTransport), "vcrpy patches the inherited method"
    made = vars(httpx.HTTPTransport(verify=False))
    assert set(made) == {"_pool"}, "what else the constructor sets, ours has to set too"
    made = vars(httpx.AsyncHTTPTransport(verify=False))
    assert set(made) == {"_pool"}


def test_httpcore_hands_timeouts_to_the_backend_untouched() -> None:
    """What a Call travels as; for every operation on a connection."""
    seen: dict[str, object] = {}

    class Stream(httpcore.MockStream):
        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            seen["read"] = timeout
            return super().read(max_bytes, timeout)

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            seen["write"] = timeout

        def start_tls(self, *args: Any, timeout: float | None = None, **more: Any) -> Any:
            seen["start_tls"] = timeout
            return self

    class Backend(httpcore.NetworkBackend):
        def connect_tcp(self, *args: Any, timeout: float | None = None, **more: Any) -> Any:
            seen["connect_tcp"] = timeout
            return Stream([b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"])

    call = Call(scope(connect=3.0))
    request = RequestBuilder(Endpoint("https://host.example")).build(
        WireRequest("/chat", {}), own_timeouts(call)
    )
    transport = httpx.HTTPTransport(verify=False)
    transport._pool = httpcore.ConnectionPool(network_backend=Backend())
    transport.handle_request(request).read()
    assert set(seen) == {"connect_tcp", "start_tls", "write", "read"}
    assert all(value is call for value in seen.values())
    assert call == 3.0


# -- cancellation and deadlines under TLS ----------------------------------------------------------


@pytest.mark.parametrize("when", ["before the headers", "reused", "in the stream"])
def test_cancel_under_tls(tls_server: ScriptedServer, driver: SyncDriver, when: str) -> None:
    transport = make(tls_server)
    if when == "reused":
        driver.call(transport, HTTP.whole, scope())
    token = CancellationToken()
    limits = scope(token=token)

    def stall(exchange: Exchange) -> None:
        if when == "in the stream":
            exchange.begin_stream()
            exchange.chunk(HTTP.events[0])
        exchange.stall()

    tls_server.play(stall)
    stream = driver.open(transport, HTTP.streamed, limits) if "stream" in when else None
    if stream is not None:
        assert driver.next(stream) is not None

    def cancel() -> None:
        tls_server.stalled.wait(DEADLINE)
        time.sleep(0.03)
        token.cancel("enough")

    thread = threading.Thread(target=cancel)
    thread.start()
    blocked = (
        partial(driver.call, transport, HTTP.whole, limits)
        if stream is None
        else partial(driver.next, stream)
    )
    with within(0.03 + 2 * AT_ONCE), pytest.raises(CancelledError):
        blocked()
    thread.join()
    tls_server.assert_closed()
    driver.close(transport)


def test_a_silent_tls_handshake_is_bounded_by_the_connect_limit(driver: SyncDriver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        transport = HttpTransport(Endpoint(f"https://127.0.0.1:{port}", proxy="", verify=False))
        with within(0.1 + AT_ONCE), pytest.raises(WireFailure) as caught:
            driver.call(transport, HTTP.whole, scope(connect=0.1))
        assert (caught.value.kind, caught.value.phase) == ("timeout", "connect")
        token = CancellationToken()
        threading.Timer(0.05, token.cancel, ["enough"]).start()
        with within(0.05 + AT_ONCE), pytest.raises(CancelledError):
            driver.call(transport, HTTP.whole, scope(token=token))


def test_an_idle_stream_under_tls_times_out(tls_server: ScriptedServer, driver: SyncDriver) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.chunk(HTTP.events[0])
        exchange.ping_for_ever(HTTP.ping)

    tls_server.play(answer)
    transport = make(tls_server)
    limits = scope(idle=0.1)
    stream = driver.open(transport, HTTP.streamed, limits)
    assert driver.next(stream) is not None
    limits.committed()
    with within(0.1 + AT_ONCE), pytest.raises(WireFailure) as caught:
        driver.next(stream)
    assert caught.value.phase == "idle"
    tls_server.assert_closed()


def test_a_stream_closed_under_its_reader_ends_at_once(server: ScriptedServer) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.chunk(HTTP.events[0])
        exchange.stall()

    server.play(answer)
    stream = make(server).stream(HTTP.streamed, scope())
    assert next(stream)

    def close() -> None:
        server.stalled.wait(DEADLINE)
        time.sleep(0.03)
        stream.close()

    thread = threading.Thread(target=close)
    thread.start()
    with within(0.03 + AT_ONCE), pytest.raises(WireFailure) as caught:
        next(stream)
    thread.join()
    assert caught.value.kind == "cut"
    server.assert_closed()
    assert next(stream, None) is None


async def test_an_async_stream_closed_under_its_reader_ends_at_once(server: ScriptedServer) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.chunk(HTTP.events[0])
        exchange.stall()

    server.play(answer)
    stream = await make(server).astream(HTTP.streamed, scope())
    assert await anext(stream)
    reading = asyncio.ensure_future(anext(stream))
    await asyncio.to_thread(server.stalled.wait, DEADLINE)
    with within(AT_ONCE):
        await stream.aclose()
        with pytest.raises(WireFailure) as caught:
            await reading
    assert caught.value.kind == "cut"
    await asyncio.to_thread(server.assert_closed)


def test_large_bodies_under_tls(tls_server: ScriptedServer, driver: SyncDriver) -> None:
    body = {"padding": "x" * 2_000_000}
    tls_server.play(lambda e: e.answer(e.body))
    transport = make(tls_server)
    answer = driver.send(transport, WireRequest("/chat", body), scope())
    assert len(answer.body) == len(b'{"padding":""}') + 2_000_000


# -- looking names up ------------------------------------------------------------------------------


@pytest.fixture
def slow_lookup(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Names (not addresses) take until the event is set."""
    release = threading.Event()
    original = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host == "slow.example" and not more.get("flags"):
            release.wait(DEADLINE)
            raise socket.gaierror(socket.EAI_NONAME, "no such host")
        return original(host, port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield release
    release.set()


def test_a_look_up_is_bounded_and_can_be_cancelled(
    slow_lookup: threading.Event, driver: SyncDriver
) -> None:
    transport = HttpTransport(Endpoint("http://slow.example/v1", proxy=""))
    with within(0.1 + AT_ONCE), pytest.raises(WireFailure) as caught:
        driver.call(transport, HTTP.whole, scope(connect=0.1))
    assert (caught.value.kind, caught.value.phase) == ("timeout", "connect")
    token = CancellationToken()
    threading.Timer(0.05, token.cancel, ["enough"]).start()
    with within(0.05 + AT_ONCE), pytest.raises(CancelledError):
        driver.call(transport, HTTP.whole, scope(token=token))
    slow_lookup.set()
    with pytest.raises(WireFailure) as caught:
        driver.call(transport, HTTP.whole, scope())
    assert caught.value.kind == "connect"
    assert "slow.example" in caught.value.message


def test_the_next_address_is_tried(
    server: ScriptedServer, driver: SyncDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.play(HTTP.answer_well)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = listener.getsockname()
    kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    original = socket.getaddrinfo

    def two_addresses(host: Any, *args: Any, **more: Any) -> Any:
        if host != "two.example":
            return original(host, *args, **more)
        if more.get("flags"):
            raise socket.gaierror
        return [(*kind, dead), (*kind, ("127.0.0.1", server.port))]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    transport = HttpTransport(Endpoint(f"http://two.example:{server.port}/v1", proxy=""))
    driver.call(transport, HTTP.whole, scope(connect=2.0))
    assert server.requests == 1


# -- bodies ----------------------------------------------------------------------------------------


def test_json_instead_of_a_stream_is_one_event(server: ScriptedServer, driver: SyncDriver) -> None:
    """Some servers answer a stream's request with status 200 and an error as plain JSON."""
    server.play(lambda e: e.answer(b' {"error":\n {"message": "no"}}'))
    events = driver.call(make(server), HTTP.streamed, scope())
    assert data_of(events) == [{"error": {"message": "no"}}]


def test_a_stream_with_the_wrong_content_type_is_a_stream(
    server: ScriptedServer, driver: SyncDriver
) -> None:
    server.play(lambda e: e.answer(b"".join(HTTP.events)))
    assert len(driver.call(make(server), HTTP.streamed, scope())) == 3


def test_ndjson(server: ScriptedServer, driver: SyncDriver) -> None:
    server.play(lambda e: e.answer(b'{"a": 1}\n{"a": 2}\n', content_type="application/x-ndjson"))
    request = WireRequest("/chat", {}, stream=True, framing="ndjson")
    assert data_of(driver.call(make(server), request, scope())) == [{"a": 1}, {"a": 2}]


def test_an_event_without_end_is_malformed_and_closes_the_socket(
    server: ScriptedServer, driver: SyncDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crux_providers.codecs import framing

    monkeypatch.setattr(framing.SSEDecoder.__init__, "__defaults__", (1000,))

    def endless(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.ping_for_ever(b"x" * 400)

    server.play(endless)
    with pytest.raises(ProviderError) as caught:
        driver.call(make(server), HTTP.streamed, scope())
    assert caught.value.code == "malformed"
    server.assert_closed()


def test_an_error_text_is_bounded(server: ScriptedServer, driver: SyncDriver) -> None:
    server.play(lambda e: e.answer(b"x" * 3_000_000, 500))
    with pytest.raises(WireFailure) as caught:
        driver.call(make(server), HTTP.whole, scope())
    assert len(caught.value.body) == 1024 * 1024
    server.assert_closed()


def test_an_encoding_nobody_knows(server: ScriptedServer, driver: SyncDriver) -> None:
    server.play(lambda e: e.answer(b"?", headers={"content-encoding": "rot13"}))
    with pytest.raises(WireFailure, match="rot13") as caught:
        driver.call(make(server), HTTP.whole, scope())
    assert caught.value.kind == "local"


def test_repeated_headers_are_joined(server: ScriptedServer, driver: SyncDriver) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.send(
            b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nX-L: \xe9\r\ncontent-length: 2\r\n\r\n{}"
        )

    server.play(answer)
    headers = driver.send(make(server), HTTP.whole, scope()).headers
    assert (headers["x-a"], headers["x-l"]) == ("1, 2", "é")


def test_a_server_may_answer_before_it_has_read_everything(
    driver: SyncDriver,
) -> None:
    """As a gateway does that finds a body too large."""

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(1000)
                sock.sendall(b"HTTP/1.1 413 Too much\r\ncontent-length: 2\r\n\r\n{}")
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(1 << 20):  # the client is still sending
                    pass

        thread = threading.Thread(target=refuse)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        transport = HttpTransport(Endpoint(url, proxy=""))
        body = {"padding": "x" * 5_000_000}
        with pytest.raises(WireFailure) as caught:
            driver.send(transport, WireRequest("/chat", body), scope())
        assert (caught.value.kind, caught.value.status) == ("status", 413)
        driver.close(transport)
        thread.join()


def test_the_scope_of_a_call_is_free_again_afterwards(server: ScriptedServer) -> None:
    token = CancellationToken()
    limits: CallScope = scope(token=token)
    make(server).send(HTTP.whole, limits)
    assert token._callbacks == []
