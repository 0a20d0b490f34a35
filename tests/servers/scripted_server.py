"""A real HTTP/1.1 server over real sockets that does to each request what a test's scenario says.

It counts requests and connections, so that "exactly one HTTP call" and "the socket was closed" are
asserted where they matter: on the other side.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

DEADLINE = 5.0
"""Seconds after which anything a test waits for counts as not having come."""

Scenario = Callable[["Exchange"], None]


@dataclass
class Connection:
    """One accepted connection; ``closed`` is set once the client has closed its side."""

    sock: socket.socket
    number: int
    closed: threading.Event = field(default_factory=threading.Event)
    received: bytes = b""

    def read_request(self) -> tuple[str, str, dict[str, str], bytes] | None:
        """Method, target, headers (lower case) and body of the next request; None at the end."""
        while b"\r\n\r\n" not in self.received:
            if not self._receive():
                return None
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        length = int(headers.get("content-length", "0"))
        while len(self.received) < length:
            if not self._receive():
                return None
        body, self.received = self.received[:length], self.received[length:]
        return method, target, headers, body

    def _receive(self) -> bool:
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            return False  # the client is still there
        except OSError:
            data = b""
        if not data:
            self.closed.set()
        self.received += data
        return bool(data)


class ClientGone(Exception):
    """The client closed while the scenario was still talking."""


@dataclass
class Exchange:
    """One request, and the means to answer it well or badly."""

    server: ScriptedServer
    connection: Connection
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool = True

    def send(self, data: bytes) -> None:
        """Bytes as they are; raises ClientGone where nobody listens."""
        try:
            self.connection.sock.sendall(data)
        except OSError:
            self.connection.closed.set()
            raise ClientGone from None

    def head(self, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Status line and headers."""
        lines = [f"HTTP/1.1 {status} Scripted"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def answer(
        self,
        body: bytes,
        status: int = 200,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> None:
        """A whole answer, in one piece."""
        lines = [f"HTTP/1.1 {status} Scripted", f"content-type: {content_type}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines += [f"content-length: {len(body)}", "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + body)

    def begin_stream(self, headers: dict[str, str] | None = None) -> None:
        """The headers of a chunked stream of server-sent events."""
        self.head(
            200,
            {
                "content-type": "text/event-stream",
                "transfer-encoding": "chunked",
                **(headers or {}),
            },
        )

    def chunk(self, data: bytes) -> None:
        """One chunk of it."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def end_stream(self) -> None:
        """Its proper end."""
        self.send(b"0\r\n\r\n")

    def hang_up(self) -> None:
        """Close the connection in an orderly way."""
        self.keep_alive = False

    def reset(self) -> None:
        """Break the connection: the client sees ECONNRESET."""
        self.keep_alive = False
        self.connection.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        if isinstance(self.connection.sock, ssl.SSLSocket):
            self.connection.sock.close()

    def stall(self) -> None:
        """Say nothing until the client goes."""
        self.keep_alive = False
        self.server.stalled.set()
        self.connection.sock.settimeout(DEADLINE)
        self.connection._receive()

    def ping_for_ever(self, data: bytes, every: float = 0.02) -> None:
        """Send ``data`` again and again until the client goes."""
        self.keep_alive = False
        self.server.stalled.set()
        until = time.monotonic() + DEADLINE
        try:
            while time.monotonic() < until and not self.connection.closed.wait(every):
                self.chunk(data)
        except ClientGone:
            pass


class ScriptedServer:
    """Listens on a free port of this machine; a context manager."""

    def __init__(self, scenario: Scenario | None = None, *, tls: ssl.SSLContext | None = None):
        self.scenario = scenario or (lambda exchange: exchange.answer(b"{}"))
        self.exchanges: list[Exchange] = []
        self.connections: list[Connection] = []
        self.stalled = threading.Event()
        self._tls = tls
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    @property
    def requests(self) -> int:
        """How many requests have come."""
        return len(self.exchanges)

    def play(self, scenario: Scenario) -> None:
        """What happens to the requests from now on."""
        self.scenario = scenario
        self.stalled.clear()

    def play_in_turn(self, *scenarios: Scenario) -> None:
        """The first scenario for the next request, and so on; the last one stays."""
        rest = list(scenarios)
        lock = threading.Lock()

        def take_turns(exchange: Exchange) -> None:
            with lock:
                scenario = rest.pop(0) if len(rest) > 1 else rest[0]
            scenario(exchange)

        self.play(take_turns)

    def assert_closed(self, number: int = -1) -> None:
        """The client has closed that connection, or does so before the deadline."""
        assert self.connections[number].closed.wait(DEADLINE), "the client kept its socket open"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                connection = Connection(sock, len(self.connections))
                self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        try:
            if self._tls is not None:
                connection.sock = self._tls.wrap_socket(connection.sock, server_side=True)
            while (request := connection.read_request()) is not None:
                exchange = Exchange(self, connection, *request)
                with self._lock:
                    self.exchanges.append(exchange)
                self.scenario(exchange)
                if not exchange.keep_alive:
                    break
        except (ClientGone, OSError):
            connection.closed.set()
        finally:
            connection.sock.close()

    def close(self) -> None:
        """Stop listening and break every connection."""
        with self._lock:
            listening = [self._listener, *(connection.sock for connection in self.connections)]
        for sock in listening:
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # wakes the thread that waits on it
            except OSError:
                pass  # it is closed already
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
