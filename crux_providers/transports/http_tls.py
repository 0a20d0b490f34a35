"""TLS over something that is no plain socket: an event loop's, or a tunnel that is TLS itself.

The protocol is a generator that yields what it needs (bytes to send, or None for bytes received)
and does no I/O, so that one logic serves sync and async.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable, Generator
from typing import Any

Steps = Generator[bytes | None, bytes | None, Any]

RECORD_BYTES = 64 * 1024


class TLSSession:
    """One TLS connection over memory. ``read`` gives b"" at the end, ragged or proper."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str | None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.object = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_hostname
        )

    def handshake(self) -> Steps:
        """Steps that agree on keys; they raise ssl.SSLError where the peer is not to be trusted."""
        return self._steps(self.object.do_handshake)

    def read(self, size: int) -> Steps:
        """Steps that return up to ``size`` decrypted bytes."""
        try:
            data: bytes = yield from self._steps(functools.partial(self.object.read, size))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        return data

    def write(self, data: bytes) -> Steps:
        """Steps that send all of ``data``."""
        rest = memoryview(data)
        while rest:
            sent: int = yield from self._steps(functools.partial(self.object.write, rest))
            rest = rest[sent:]

    def _steps(self, operation: Callable[[], Any]) -> Steps:
        while True:
            try:
                result, waiting = operation(), False
            except ssl.SSLWantReadError:
                result, waiting = None, True
            except ssl.SSLError:
                if alert := self._outgoing.read():
                    yield alert
                raise
            if encrypted := self._outgoing.read():
                yield encrypted
            if not waiting:
                return result
            received = yield None
            if received:
                self._incoming.write(received)
            else:
                self._incoming.write_eof()
