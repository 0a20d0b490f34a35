"""What the exceptions of HTTP libraries and sockets mean, as a :class:`WireFailure`.

Classes are known by name, so that nothing is imported to recognise them and httpx2, which repeats
httpx's names, needs no table of its own. What is not in the table is nobody's network error (a
replay that misses, a bug) and passes through as itself.
"""

from __future__ import annotations

import errno
import socket
import ssl

from ..base.cancellation import CancelledError
from ..base.errors import WireFailure, WireKind

LIBRARIES = frozenset({"httpx", "httpcore", "httpx2", "httpcore2"})

KINDS: dict[str, WireKind] = {
    "ConnectTimeout": "timeout",
    "PoolTimeout": "timeout",
    "ReadTimeout": "timeout",
    "WriteTimeout": "timeout",
    "TimeoutException": "timeout",
    "ConnectError": "connect",
    "ConnectionNotAvailable": "connect",
    "ProxyError": "connect",
    "NetworkError": "cut",
    "ReadError": "cut",
    "WriteError": "cut",
    "CloseError": "cut",
    "ProtocolError": "cut",
    "RemoteProtocolError": "cut",
    "DecodingError": "cut",
    "TransportError": "cut",
    "RequestError": "cut",
    "HTTPError": "cut",
    "HTTPStatusError": "status",
    "LocalProtocolError": "local",
    "UnsupportedProtocol": "local",
    "TooManyRedirects": "local",
    "InvalidURL": "local",
    "CookieConflict": "local",
    "StreamError": "local",
    "StreamConsumed": "local",
    "StreamClosed": "local",
    "RequestNotRead": "local",
    "ResponseNotRead": "local",
    "SSEError": "cut",
}
"""Every exception class of httpx, httpcore and their successors; a test holds the table to them."""

_STARTING = frozenset({"ConnectTimeout", "PoolTimeout"})

_NETWORK_ERRNO = frozenset(
    getattr(errno, name)
    for name in (
        "EADDRNOTAVAIL",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETRESET",
        "ENETUNREACH",
        "ENOBUFS",
        "ENOTCONN",
        "ETIMEDOUT",
    )
    if hasattr(errno, name)
)

_UNSENDABLE = frozenset({"LocalProtocolError"})
"""Classes whose message repeats a header's value, which may be a key."""


def wire_kind(exc: BaseException) -> tuple[WireKind, str] | None:
    """The kind of a network exception with the class name that decided it, or None for others."""
    for cls in type(exc).__mro__:
        if cls.__name__ in KINDS and cls.__module__.partition(".")[0] in LIBRARIES:
            return KINDS[cls.__name__], cls.__name__
    match exc:
        case TimeoutError():
            return "timeout", "TimeoutError"
        case socket.gaierror() | socket.herror() | ConnectionRefusedError():
            return "connect", type(exc).__name__
        case ssl.SSLCertVerificationError():
            return "connect", "SSLCertVerificationError"
        case ConnectionError() | ssl.SSLError():
            return "cut", type(exc).__name__
        case OSError(errno=number) if number in _NETWORK_ERRNO:
            return "cut", "OSError"
        case _:
            return None


def wire_failure(exc: BaseException, *, phase: str = "total") -> Exception | None:
    """``exc`` as what a transport raises, or None where it is no network error.

    A WireFailure and a CancelledError are that already. ``phase`` names the deadline that was
    nearest when a timeout came; connecting is its own.
    """
    if isinstance(exc, WireFailure | CancelledError):
        return exc
    known = wire_kind(exc)
    if known is None:
        return None
    kind, name = known
    if kind == "status":
        return _status_failure(exc)
    message = f"{name}: {exc}".rstrip(": ")
    if name in _UNSENDABLE:
        message = f"{name}: the request could not be written as HTTP"
    return WireFailure(
        kind,
        message,
        cause=None if name in _UNSENDABLE else exc,
        phase=("connect" if name in _STARTING else phase) if kind == "timeout" else None,
    )


def _status_failure(exc: BaseException) -> WireFailure:
    # Raised by a wrapper around a transport; it carries the request with its keys, so it is not
    # kept as the cause.
    response = getattr(exc, "response", None)
    headers = {k.lower(): v for k, v in getattr(response, "headers", {}).items()}
    body = getattr(response, "_content", b"")
    status = getattr(response, "status_code", None)
    return WireFailure("status", f"HTTP {status}", status=status, headers=headers, body=body)
