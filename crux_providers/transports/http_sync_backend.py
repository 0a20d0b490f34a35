"""httpcore's network backend for threads: every wait obeys its call, and can be ended at once."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterable
from typing import Any, Protocol

import httpcore

from .http_call import Call, Line, Lines
from .http_tls import RECORD_BYTES, Steps, TLSSession

HELD_BYTES = 16 * 1024
"""Writes smaller than this wait for the next one, so that head and body leave in one packet."""

KEEPALIVE_PROBE_S = 60
"""Silence after which the system probes whether the peer is still there."""


class SyncBackend(httpcore.NetworkBackend):
    """Opens TCP connections for one pool; ``lines`` are those still open."""

    def __init__(self) -> None:
        self.lines = Lines()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first address of ``host`` that answers.

        The connect limit is for all of them together; each gets its share of what is left.
        """
        call = a_call(timeout)
        addresses = _resolve(host, port, call)
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for place, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = socket.socket(family, kind, protocol)
            line = Line(sock)
            try:
                line.serve(call)
                seconds = call.left(connecting=True)
                ways = len(addresses) - place
                sock.settimeout(None if seconds is None else seconds / ways)
                sock.connect(address)
                tune(sock)
            except OSError as exc:
                line.close()
                refused = httpcore.ConnectError(f"{host}:{port}: {exc}")
                failure = call.broken(call.expired() if isinstance(exc, TimeoutError) else refused)
                call.left(connecting=True)
            except BaseException:
                line.close()
                raise
            else:
                self.lines.add(line)
                return SyncStream(line, sock)
        raise failure


def a_call(timeout: float | None) -> Call:
    """The call behind a timeout of this pool's requests."""
    if not isinstance(timeout, Call):
        raise RuntimeError("this backend serves only requests whose timeouts are a Call")
    return timeout


def tune(sock: socket.socket) -> None:
    """No delay for small packets; probes, since a model that thinks for minutes sends nothing and
    what lies between (a NAT, a firewall) forgets silent connections."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_PROBE_S)


def numeric_addresses(host: str, port: int) -> list[tuple[Any, ...]] | None:
    """``getaddrinfo`` of an address, which needs no look-up; None for a name."""
    try:
        return list(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        )
    except socket.gaierror:
        return None


def _resolve(host: str, port: int, call: Call) -> list[tuple[Any, ...]]:
    """Addresses of ``host``. A look-up cannot be interrupted, so it is waited for in a thread."""
    if (numeric := numeric_addresses(host, port)) is not None:
        return numeric
    done = threading.Event()
    found: list[list[tuple[Any, ...]] | OSError] = []

    def look_up() -> None:
        try:
            found.append(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except OSError as exc:
            found.append(exc)
        done.set()

    seconds = call.left(connecting=True)
    forget = call.token.on_cancel(done.set)
    try:
        threading.Thread(target=look_up, name="crux-resolver", daemon=True).start()
        in_time = done.wait(seconds)
    finally:
        forget()
    call.left(connecting=True)
    if not in_time or not found:
        raise call.expired()
    if isinstance(found[0], OSError):
        raise httpcore.ConnectError(f"{host}: {found[0]}") from found[0]
    return found[0]


class _Socket(Protocol):
    """What a stream reads from: a socket, an SSLSocket, or TLS within TLS."""

    def settimeout(self, value: float | None, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...
    def send(self, data: Any, /) -> int: ...


class SyncStream(httpcore.NetworkStream):
    """A connection: ``line`` can be shut down, ``sock`` (perhaps TLS over it) is read."""

    def __init__(self, line: Line, sock: _Socket) -> None:
        self.line = line
        self._sock = sock
        self._held = b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Up to ``max_bytes``; b"" at the end."""
        call = self.line.serve(timeout)
        if self._held:
            held, self._held = self._held, b""
            try:
                self._send(held, call)
            except httpcore.WriteError:
                pass  # the server may have answered before it hung up
        sock = self._sock
        sock.settimeout(call.left())
        try:
            data = sock.recv(max_bytes)
        except TimeoutError:
            raise call.broken(call.expired()) from None
        except OSError as exc:
            raise call.broken(httpcore.ReadError(str(exc))) from exc
        if not data:
            call.token.raise_if_cancelled()
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send ``buffer``, at the latest with the next read."""
        call = self.line.serve(timeout)
        data = self._held + buffer if self._held else bytes(buffer)
        if len(data) < HELD_BYTES:
            self._held = data
            return
        self._held = b""
        self._send(data, call)

    def _send(self, data: bytes, call: Call) -> None:
        rest = memoryview(data)
        sock = self._sock
        try:
            while rest:
                sock.settimeout(call.left())
                rest = rest[sock.send(rest) :]
        except TimeoutError:
            raise call.broken(call.expired()) from None
        except OSError as exc:
            raise call.broken(httpcore.WriteError(str(exc))) from exc

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """TLS over this connection; over TLS too, as a tunnel through an https proxy needs."""
        call = self.line.serve(timeout)
        line = self.line
        try:
            line.sock.settimeout(call.left(connecting=True))
            if isinstance(line.sock, ssl.SSLSocket):
                nested = NestedTLS(line.sock, ssl_context, server_hostname)
                nested.handshake()
                return SyncStream(line, nested)
            secure = ssl_context.wrap_socket(
                line.sock, server_hostname=server_hostname, do_handshake_on_connect=False
            )
            line.sock = secure  # the plain socket object is empty now
            secure.settimeout(call.left(connecting=True))
            secure.do_handshake()
        except TimeoutError:
            line.close()
            raise call.broken(call.expired()) from None
        except (OSError, ValueError) as exc:
            line.close()
            raise call.broken(httpcore.ConnectError(f"TLS: {exc}")) from exc
        except BaseException:
            line.close()
            raise
        return SyncStream(line, secure)

    def close(self) -> None:
        """Close the socket."""
        self.line.close()

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks about a connection."""
        sock = self.line.sock
        match info:
            case "is_readable":
                return self.line.is_readable()
            case "ssl_object":
                if isinstance(self._sock, NestedTLS):
                    return self._sock.session.object
                return sock if isinstance(sock, ssl.SSLSocket) else None
            case "socket":
                return sock
            case "client_addr":
                return sock.getsockname()
            case "server_addr":
                return sock.getpeername()
            case _:
                return None


class NestedTLS:
    """TLS inside a TLS socket, with the few socket methods a stream uses."""

    def __init__(
        self, outer: ssl.SSLSocket, context: ssl.SSLContext, server_hostname: str | None
    ) -> None:
        self._outer = outer
        self.session = TLSSession(context, server_hostname)

    def handshake(self) -> None:
        """Agree on keys; raises ssl.SSLError."""
        self._run(self.session.handshake())

    def settimeout(self, value: float | None, /) -> None:
        """The limit of each wait on the outer socket."""
        self._outer.settimeout(value)

    def recv(self, size: int, /) -> bytes:
        """Up to ``size`` bytes."""
        data: bytes = self._run(self.session.read(size))
        return data

    def send(self, data: Any, /) -> int:
        """Send all of ``data``; returns its length."""
        self._run(self.session.write(data))
        return len(data)

    def _run(self, steps: Steps) -> Any:
        received: bytes | None = None
        while True:
            try:
                wanted = steps.send(received)
            except StopIteration as stop:
                return stop.value
            received = None
            if wanted is None:
                received = self._outer.recv(RECORD_BYTES)
            else:
                self._outer.sendall(wanted)
