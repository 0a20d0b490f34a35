"""No network while a cassette replays: every IP connection and look-up is refused.

Loopback is refused too: a server that happens to run there would hide a missing recording. Unix
sockets are left alone, and so is code that opens sockets below Python (libpq, gRPC).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

_IP_FAMILIES = (socket.AF_INET, socket.AF_INET6)


@contextmanager
def blocked_sockets(
    refuse: Callable[[str], BaseException], allow: Collection[str] = ()
) -> Iterator[None]:
    """Raise ``refuse("host:port")`` for every connection but those to hosts in ``allow``.

    ``allow`` has ``host`` or ``host:port``. Names are not looked up either, except local ones.
    """
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    look_up = socket.getaddrinfo
    names = set(allow)

    def check(family: int, address: Any) -> None:
        if family in _IP_FAMILIES and not is_allowed(address[0], address[1], names):
            raise refuse(f"{address[0]}:{address[1]}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check(self.family, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check(self.family, address)
        return connect_ex(self, address)

    def guarded_look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name and not _needs_no_look_up(name) and not is_allowed(name, port, names):
            raise refuse(f"{name}:{port}")
        return look_up(host, port, *args, **kwargs)

    with (
        mock.patch.object(socket.socket, "connect", guarded_connect),
        mock.patch.object(socket.socket, "connect_ex", guarded_connect_ex),
        mock.patch.object(socket, "getaddrinfo", guarded_look_up),
    ):
        yield


def is_allowed(host: str, port: object, allow: Collection[str]) -> bool:
    """Whether ``host`` or ``host:port`` is in ``allow``."""
    return host in allow or f"{host}:{port}" in allow


def _needs_no_look_up(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True
