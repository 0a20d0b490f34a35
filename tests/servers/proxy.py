"""A forward proxy over real sockets: plain requests, CONNECT tunnels, SOCKS 5. It counts them."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Listens on a free port; ``asked`` are the targets it was asked for, in order.

    ``credentials`` (``user:password``) are demanded from HTTP clients where set. With ``tls`` the
    proxy itself speaks TLS. ``refuse`` answers every CONNECT with that status.
    """

    def __init__(
        self,
        *,
        credentials: str | None = None,
        tls: ssl.SSLContext | None = None,
        refuse: int | None = None,
    ) -> None:
        self.asked: list[str] = []
        self._credentials = credentials
        self._tls = tls
        self._refuse = refuse
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._guarded, args=(sock,), daemon=True).start()

    def _guarded(self, sock: socket.socket) -> None:
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            self._serve(sock)
        except OSError:
            pass  # one side went away: so does this one
        finally:
            sock.close()

    def _serve(self, client: socket.socket) -> None:
        received = client.recv(65536)
        if received[:1] == b"\x05":
            self._socks(client)
            return
        while b"\r\n\r\n" not in received:
            received += client.recv(65536)
        head, _, rest = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, version = first.split(" ")
        self.asked.append(f"{method} {target}")
        if self._credentials is not None:
            wanted = "basic " + base64.b64encode(self._credentials.encode()).decode().lower()
            given = [line.lower() for line in lines]
            if f"proxy-authorization: {wanted}" not in given:
                client.sendall(b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n")
                return
        if method == "CONNECT":
            if self._refuse is not None:
                client.sendall(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % self._refuse)
                return
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Go ahead\r\n\r\n")
                _pipe(client, server)
            return
        url = urlsplit(target)
        with socket.create_connection((url.hostname or "", url.port or 80)) as server:
            path = url.path + (f"?{url.query}" if url.query else "")
            kept = [line for line in lines if not line.lower().startswith("proxy-")]
            new_head = "\r\n".join([f"{method} {path} {version}", *kept])
            server.sendall(new_head.encode("latin-1") + b"\r\n\r\n" + rest)
            _pipe(client, server)

    def _socks(self, client: socket.socket) -> None:
        client.sendall(b"\x05\x00")
        request = client.recv(512)
        kind, rest = request[3], request[4:]
        if kind == 3:
            host, port = rest[1 : 1 + rest[0]].decode(), int.from_bytes(rest[1 + rest[0] :], "big")
        else:
            host, port = socket.inet_ntoa(rest[:4]), int.from_bytes(rest[4:6], "big")
        self.asked.append(f"SOCKS {host}:{port}")
        with socket.create_connection((host, port)) as server:
            client.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
            _pipe(client, server)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        except OSError:
            pass  # not everywhere; it is a daemon
        self._listener.close()


def _pipe(one: socket.socket, other: socket.socket) -> None:
    """Copy both ways until either side ends."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass  # the other direction ends too
        for sock in (source, target):
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already

    thread = threading.Thread(target=copy, args=(other, one), daemon=True)
    thread.start()
    copy(one, other)
    thread.join(5)
