"""Every exception of httpx and httpcore means something; what is no network error means nothing."""

from __future__ import annotations

import errno
import inspect
import socket
import ssl
from types import ModuleType

import httpcore
import httpx
import pytest

from crux_providers.base.cancellation import CancelledError
from crux_providers.base.errors import WireFailure
from crux_providers.transports.network_errors import KINDS, LIBRARIES, wire_failure, wire_kind


def exceptions_of(library: ModuleType) -> dict[str, type[Exception]]:
    return {
        name: value
        for name in library.__all__
        if inspect.isclass(value := getattr(library, name)) and issubclass(value, Exception)
    }


@pytest.mark.parametrize("library", [httpx, httpcore], ids=lambda library: library.__name__)
def test_every_exception_class_has_an_entry_of_its_own(library: ModuleType) -> None:
    classes = exceptions_of(library)
    assert len(classes) > 10
    assert {name for name in classes if name not in KINDS} == set()


@pytest.mark.parametrize("library", ["httpx2", "httpcore2"])
def test_the_successors_names_are_known_too(library: str) -> None:
    module = pytest.importorskip(library)
    classes = exceptions_of(module)
    assert len(classes) > 10
    assert {name for name in classes if name not in KINDS} == set()
    assert wire_kind(module.ConnectError("no")) == ("connect", "ConnectError")


def test_the_table_names_nothing_that_is_not_there() -> None:
    known = {*exceptions_of(httpx), *exceptions_of(httpcore)}
    only_in_httpx2 = {"SSEError"}
    assert set(KINDS) - known == only_in_httpx2
    assert {"httpx", "httpcore"} <= LIBRARIES


@pytest.mark.parametrize(
    ("exc", "kind", "phase"),
    [
        (httpx.ConnectTimeout("x"), "timeout", "connect"),
        (httpx.PoolTimeout("x"), "timeout", "connect"),
        (httpx.ReadTimeout("x"), "timeout", "idle"),
        (httpx.WriteTimeout("x"), "timeout", "idle"),
        (httpx.ConnectError("x"), "connect", None),
        (httpx.ProxyError("x"), "connect", None),
        (httpx.ReadError("x"), "cut", None),
        (httpx.RemoteProtocolError("x"), "cut", None),
        (httpx.DecodingError("x"), "cut", None),
        (httpx.UnsupportedProtocol("x"), "local", None),
        (httpx.LocalProtocolError("x"), "local", None),
        (httpcore.ReadError("x"), "cut", None),
        (httpcore.ConnectTimeout("x"), "timeout", "connect"),
        (ConnectionResetError("x"), "cut", None),
        (ConnectionRefusedError("x"), "connect", None),
        (socket.gaierror(8, "x"), "connect", None),
        (TimeoutError("x"), "timeout", "idle"),
        (ssl.SSLCertVerificationError("x"), "connect", None),
        (ssl.SSLError("x"), "cut", None),
        (OSError(errno.EHOSTUNREACH, "x"), "cut", None),
    ],
)
def test_kinds(exc: Exception, kind: str, phase: str | None) -> None:
    failure = wire_failure(exc, phase="idle")
    assert isinstance(failure, WireFailure)
    assert (failure.kind, failure.phase) == (kind, phase)
    if kind != "local":
        assert type(exc).__name__ in failure.message or isinstance(exc, OSError)


class _MyError(httpx.ReadError):
    """As a transport of a user's own may raise."""


def test_a_subclass_is_what_its_parent_is() -> None:
    failure = wire_failure(_MyError("x"))
    assert isinstance(failure, WireFailure)
    assert failure.kind == "cut"


@pytest.mark.parametrize(
    "exc",
    [ValueError("x"), RuntimeError("x"), FileNotFoundError(2, "x"), PermissionError(13, "x"),
     AssertionError("x"), KeyError("x")],
)  # fmt: skip
def test_what_is_no_network_error_is_left_alone(exc: Exception) -> None:
    assert wire_failure(exc) is None


def test_what_is_mapped_already_stays_itself() -> None:
    for exc in (WireFailure("cut", "x"), CancelledError("x")):
        assert wire_failure(exc) is exc


def test_a_status_error_gives_its_answer_and_not_its_request() -> None:
    request = httpx.Request("POST", "http://host.example", headers={"authorization": "secret"})
    response = httpx.Response(429, headers={"Retry-After": "3"}, json={"a": 1}, request=request)
    with pytest.raises(httpx.HTTPStatusError) as caught:
        response.raise_for_status()
    failure = wire_failure(caught.value)
    assert isinstance(failure, WireFailure)
    assert (failure.kind, failure.status, failure.headers["retry-after"]) == ("status", 429, "3")
    assert failure.body == response.content
    assert failure.cause is None
