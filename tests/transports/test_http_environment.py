"""Proxies and certificates, from the environment and from the endpoint, over real sockets."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from crux_providers.base.errors import WireFailure
from crux_providers.base.wire import Endpoint, WireRequest
from crux_providers.transports import http_environment
from crux_providers.transports.http import HttpTransport
from crux_providers.transports.http_environment import bypasses_proxy, certificates, proxy_for
from tests.servers.certificates import Certificates, make_certificates
from tests.servers.proxy import Proxy
from tests.servers.scripted_server import Exchange, ScriptedServer
from tests.transports.conformance import HARNESSES, AsyncDriver, SyncDriver, data_of, scope

HTTP = HARNESSES[0]


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def tls_server(certs: Certificates) -> Iterator[ScriptedServer]:
    with ScriptedServer(HTTP.answer_well, tls=certs.server) as running:
        yield running


# -- which proxy -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "scheme", "expected"),
    [
        ({}, "https", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https", "http://p:1"),
        ({"HTTPS_PROXY": "p:1"}, "https", "http://p:1"),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}, "https", "http://low:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://up:1"}, "https", None),
        ({"HTTP_PROXY": "http://p:1"}, "https", None),
        ({"HTTP_PROXY": "http://p:1"}, "http", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, "http", None),
        ({"ALL_PROXY": "socks5://p:1"}, "https", "socks5://p:1"),
        ({"ALL_PROXY": "http://all:1", "HTTPS_PROXY": "http://p:1"}, "https", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "api.example.com"}, "https", None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "other"}, "https", "http://p:1"),
    ],
)
def test_proxy_variables(
    environment: dict[str, str], scheme: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(scheme, "api.example.com", 443, None) == expected
    assert proxy_for(scheme, "api.example.com", 443, "") is None
    assert proxy_for(scheme, "api.example.com", 443, "http://own:2") == "http://own:2"


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "expected"),
    [
        ("", "example.com", 443, False),
        ("*", "example.com", 443, True),
        ("a.com, *", "example.com", 443, True),
        ("example.com", "example.com", 443, True),
        ("example.com", "api.example.com", 443, True),
        ("example.com", "notexample.com", 443, False),
        ("example.com", "example.com.evil.net", 443, False),
        (".example.com", "api.example.com", 443, True),
        (".example.com", "example.com", 443, True),
        ("*.example.com", "api.example.com", 443, True),
        ("EXAMPLE.com", "Api.Example.COM", 443, True),
        ("example.com.", "example.com", 443, True),
        ("a.com b.com\tc.com", "b.com", 443, True),
        ("example.com:443", "example.com", 443, True),
        ("example.com:8443", "example.com", 443, False),
        ("*:8080", "example.com", 8080, True),
        ("*:8080", "example.com", 443, False),
        ("localhost", "localhost", 80, True),
        ("127.0.0.1", "127.0.0.1", 80, True),
        ("127.0.0.1:81", "127.0.0.1", 80, False),
        ("127.0.0.1", "127.0.0.11", 80, False),
        ("0.0.1", "127.0.0.1", 80, False),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("10.9.9.9/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "ten.example.com", 80, False),
        ("::1", "::1", 80, True),
        ("[::1]", "[::1]", 80, True),
        ("[::1]:80", "::1", 80, True),
        ("[::1]:81", "::1", 80, False),
        ("fd00::/8", "fd12::1", 80, True),
        ("fd00::/8", "10.1.2.3", 80, False),
        ("10.0.0.0/99", "10.1.2.3", 80, False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, port: int, expected: bool) -> None:
    assert bypasses_proxy(host, port, no_proxy) is expected


# -- through a proxy -------------------------------------------------------------------------------


def call(url: str, driver: SyncDriver, *, streamed: bool = False, **more: object) -> object:
    transport = HttpTransport(Endpoint(url, **more))  # type: ignore[arg-type]
    try:
        result = driver.call(transport, HTTP.request(streamed), scope())
        return data_of(result) if streamed else json.loads(result.body)
    finally:
        driver.close(transport)


def test_http_through_a_proxy_of_the_environment(
    server: ScriptedServer, driver: SyncDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.play(HTTP.answer_well)
    with Proxy(credentials="us@er:p:w") as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://us%40er:p%3Aw@127.0.0.1:{proxy.port}")
        assert call(server.url, driver) == HTTP.answer
        assert proxy.asked == [f"POST http://127.0.0.1:{server.port}/v1/chat/completions"]
        monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
        assert call(server.url, driver) == HTTP.answer
        assert len(proxy.asked) == 1
    assert "proxy-authorization" not in server.exchanges[0].headers


@pytest.mark.parametrize("streamed", [False, True])
def test_https_through_a_tunnel(
    tls_server: ScriptedServer, certs: Certificates, driver: SyncDriver, streamed: bool
) -> None:
    with Proxy() as proxy:
        given = f"http://127.0.0.1:{proxy.port}"
        verify = str(certs.authority)
        assert call(tls_server.url, driver, streamed=streamed, proxy=given, verify=verify)
        assert proxy.asked == [f"CONNECT 127.0.0.1:{tls_server.port}"]


def test_tls_within_tls(
    tls_server: ScriptedServer, certs: Certificates, driver: SyncDriver
) -> None:
    """An https server behind a proxy that is itself spoken to over TLS."""
    with Proxy(tls=certs.server) as proxy:
        given = f"https://127.0.0.1:{proxy.port}"
        verify = str(certs.authority)
        assert call(tls_server.url, driver, proxy=given, verify=verify) == HTTP.answer
        assert call(tls_server.url, driver, streamed=True, proxy=given, verify=verify)
        assert proxy.asked == [f"CONNECT 127.0.0.1:{tls_server.port}"] * 2


@pytest.mark.parametrize("nested", [False, True])
def test_a_cut_under_tls(
    tls_server: ScriptedServer, certs: Certificates, driver: SyncDriver, nested: bool
) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.begin_stream()
        exchange.chunk(HTTP.events[0])
        exchange.hang_up()

    tls_server.play(cut)
    with Proxy(tls=certs.server) as proxy:
        given = f"https://127.0.0.1:{proxy.port}" if nested else ""
        transport = HttpTransport(Endpoint(tls_server.url, proxy=given, verify=False))
        stream = driver.open(transport, HTTP.streamed, scope())
        assert driver.next(stream) is not None
        with pytest.raises(WireFailure) as caught:
            driver.next(stream)
        driver.close(transport)
    assert caught.value.kind == "cut"


def test_a_proxy_that_refuses_is_a_failed_connection(
    tls_server: ScriptedServer, driver: SyncDriver
) -> None:
    with Proxy(refuse=403) as proxy, pytest.raises(WireFailure) as caught:
        call(tls_server.url, driver, proxy=f"http://127.0.0.1:{proxy.port}", verify=False)
    assert caught.value.kind == "connect"
    assert "403" in caught.value.message
    assert tls_server.requests == 0


def test_socks(server: ScriptedServer, driver: SyncDriver) -> None:
    server.play(HTTP.answer_well)
    with Proxy() as proxy:
        given = f"socks5://127.0.0.1:{proxy.port}"
        if importlib.util.find_spec("socksio") is None:
            with pytest.raises(WireFailure, match="socksio") as caught:
                call(server.url, driver, proxy=given)
            assert caught.value.kind == "local"
        else:
            assert call(server.url, driver, proxy=given) == HTTP.answer
            assert proxy.asked == [f"SOCKS 127.0.0.1:{server.port}"]


@pytest.mark.parametrize(
    "given", ["ftp://secret@proxy.example", "http://secret@a:port", "nonsense://"]
)
def test_a_proxy_url_that_is_none_is_refused_without_showing_it(given: str) -> None:
    with pytest.raises(WireFailure) as caught:
        call("http://host.example", SyncDriver(), proxy=given)
    assert caught.value.kind == "local"
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


# -- certificates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
def test_tls_with_an_authority_of_ones_own(
    tls_server: ScriptedServer, certs: Certificates, driver: SyncDriver, streamed: bool
) -> None:
    verify = str(certs.authority)
    transport = HttpTransport(Endpoint(tls_server.url, proxy="", verify=verify))
    for _ in range(3):
        driver.call(transport, HTTP.request(streamed), scope())
    driver.close(transport)
    assert (tls_server.requests, len(tls_server.connections)) == (3, 1)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_tls_with_certificates_of_the_environment(
    tls_server: ScriptedServer,
    certs: Certificates,
    driver: SyncDriver,
    variable: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = certs.authority
    if variable == "SSL_CERT_DIR":
        value = tmp_path / "folder"
        value.mkdir()
        (value / "authority.pem").write_bytes(certs.authority.read_bytes())
        openssl = shutil.which("openssl") or ""  # the fixture has skipped where there is none
        subprocess.run([openssl, "rehash", str(value)], check=True, capture_output=True)
    monkeypatch.setenv(variable, str(value))
    assert call(tls_server.url, driver, proxy="") == HTTP.answer


def test_an_unknown_authority_is_not_trusted(
    tls_server: ScriptedServer, driver: SyncDriver
) -> None:
    with pytest.raises(WireFailure) as caught:
        call(tls_server.url, driver, proxy="")
    assert caught.value.kind == "connect"
    assert "verify" in caught.value.message
    assert tls_server.requests == 0


def test_another_hosts_certificate_is_not_trusted(
    tls_server: ScriptedServer, certs: Certificates, driver: SyncDriver
) -> None:
    url = tls_server.url.replace("127.0.0.1", "127.0.0.2")
    with pytest.raises(WireFailure) as caught:
        call(url, driver, proxy="", verify=str(certs.authority))
    assert caught.value.kind == "connect"


def test_verification_can_be_switched_off(tls_server: ScriptedServer, driver: SyncDriver) -> None:
    assert call(tls_server.url, driver, proxy="", verify=False) == HTTP.answer


def test_no_tls_where_tls_is_expected(driver: SyncDriver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_in_clear() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(1)
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer_in_clear)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(WireFailure) as caught:
            call(url, driver, proxy="", verify=False)
        thread.join()
    assert caught.value.kind == "connect"


def test_certificates_that_cannot_be_read(tls_server: ScriptedServer, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for place in (tmp_path / "nowhere.pem", empty):
        with pytest.raises(WireFailure, match=place.name) as caught:
            call(tls_server.url, SyncDriver(), proxy="", verify=str(place))
        assert caught.value.kind == "local"


def test_one_ssl_context_serves_all(certs: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = http_environment._new_context
    monkeypatch.setattr(http_environment, "_contexts", {})
    monkeypatch.setattr(http_environment, "_new_context", lambda *a: made.append(a) or original(*a))
    with (
        ScriptedServer(HTTP.answer_well, tls=certs.server) as one,
        ScriptedServer(HTTP.answer_well, tls=certs.server) as other,
    ):
        driver = AsyncDriver()
        for url in (one.url, other.url, one.url):
            call(url, SyncDriver(), proxy="", verify=str(certs.authority))
            call(url, driver, proxy="", verify=str(certs.authority))
        driver.finish()
    assert made == [certificates(str(certs.authority))]


def test_no_context_is_made_before_it_is_needed(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*settings: object) -> None:
        raise AssertionError("an SSL context costs 40 to 100 ms")

    monkeypatch.setattr(http_environment, "_contexts", {})
    monkeypatch.setattr(http_environment, "_new_context", refuse)
    HttpTransport(Endpoint("https://api.example.com"))
    HttpTransport(Endpoint(server.url, proxy="")).send(WireRequest("/chat", {}), scope())
