"""One call as the network sees it: how long a wait may take, and how to end it from outside.

httpcore hands the values of a request's ``timeout`` extension to its network backend untouched.
So a :class:`Call` travels as that value: it is a float (the connect limit, for whoever only wants
a number) that also knows the call's scope. Nothing else has to be threaded through, and threads,
tasks and reused connections cannot mix calls up.

A :class:`Line` is a socket with the call it serves at the moment. Ending a call from outside means
shutting its socket down, which wakes a blocked reader at once, where closing would not; only while
the socket is still that call's, since a moment later it may serve another.
"""

from __future__ import annotations

import asyncio
import math
import select
import socket
import sys
import threading
import time
import weakref
from typing import Self

from ..base.cancellation import CancelledError
from ..base.errors import WireFailure
from ..base.timeouts import CallScope


class Call(float):
    """The clock and the switch of one HTTP call, in the shape of a timeout."""

    __slots__ = (
        "_connect_by", "_connecting", "_drain_by", "_forget", "_line", "_phase", "_rang", "_timer",
        "_timer_at", "_waiting", "scope", "token",
    )  # fmt: skip

    def __new__(cls, scope: CallScope) -> Self:
        connect = scope.timeouts.connect
        return super().__new__(cls, math.inf if connect is None else connect)

    def __init__(self, scope: CallScope) -> None:
        self.scope = scope
        self.token = scope.token
        self._connect_by: float | None = None
        self._connecting = False
        self._drain_by: float | None = None
        self._line: Line | None = None
        self._phase = "total"
        self._rang = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._waiting = False
        self._forget = self.token.on_cancel(self.interrupt)

    # -- the clock ------------------------------------------------------------------------------

    def left(self, *, connecting: bool = False) -> float | None:
        """Seconds the next wait may take; None is no limit.

        Raises CancelledError where the call was cancelled and WireFailure(timeout) where no time
        is left. Resolving, connecting and the TLS handshake share one connect limit.
        """
        if self.token.reason is not None:
            raise CancelledError(self.token.reason)
        if self._drain_by is not None:
            seconds: float | None = self._drain_by - time.monotonic()
        else:
            seconds, self._phase = self.scope.remaining()
            if connecting and self != math.inf:
                now = time.monotonic()
                if self._connect_by is None:
                    self._connect_by = now + self
                if seconds is None or self._connect_by - now < seconds:
                    seconds, self._phase = self._connect_by - now, "connect"
        if seconds is not None and seconds <= 0:
            raise self.expired()
        return seconds

    @property
    def phase(self) -> str:
        """Which deadline the latest wait had."""
        return self._phase

    def expired(self) -> WireFailure:
        """The failure of the deadline that is over."""
        return WireFailure("timeout", f"operation timed out ({self._phase})", phase=self._phase)

    def broken(self, otherwise: Exception) -> Exception:
        """Why a wait ended early: cancelled, out of time, or ``otherwise``."""
        if self.token.reason is not None:
            return CancelledError(self.token.reason)
        if self._rang:
            return self.expired()
        return otherwise

    def drain(self, seconds: float) -> None:
        """From here on the answer is only read to its end so that the connection can be kept."""
        self._drain_by = time.monotonic() + seconds

    # -- the switch -----------------------------------------------------------------------------

    def take(self, line: Line) -> None:
        """``line`` serves this call now; raises CancelledError where it comes too late."""
        self._line = line
        if self.token.reason is not None:
            raise CancelledError(self.token.reason)

    def interrupt(self) -> None:
        """Shut the socket of the call down, from any thread."""
        line = self._line
        if line is not None:
            line.shut(self)

    def end(self) -> None:
        """The call is over: its line may serve another one. May be called twice."""
        self._forget()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._line is not None:
            self._line.leave(self)
            self._line = None

    def drop(self) -> None:
        """Close the call's socket as it is: nobody will read on."""
        line = self._line
        self.end()
        if line is not None:
            line.close()

    # -- waiting on an event loop ---------------------------------------------------------------

    def wait_begins(self, *, connecting: bool = False) -> None:
        """Before awaiting the socket: it will be shut down when the time is over.

        One timer serves the whole call. It is moved only when a deadline comes nearer; one that
        rings too early looks again.
        """
        seconds = self.left(connecting=connecting)
        self._waiting = True
        self._connecting = connecting
        if seconds is None:
            return
        at = time.monotonic() + seconds
        if self._timer is not None and self._timer_at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_later(seconds, self._ring)

    def wait_ends(self) -> None:
        """After awaiting it."""
        self._waiting = False

    def _ring(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        try:
            self.wait_begins(connecting=self._connecting)
        except CancelledError:
            pass  # whoever cancelled has shut the socket down
        except WireFailure:
            self._rang = True
            self.interrupt()


class Line:
    """A socket and the call it serves; safe to shut down and to close from any thread."""

    __slots__ = ("__weakref__", "_lock", "owner", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.owner: Call | None = None
        self._lock = threading.RLock()  # re-entrant: a forgotten stream closes in its finalizer

    def serve(self, timeout: float | None) -> Call:
        """The call behind an operation, now served by this line.

        httpcore names no timeout while it speaks SOCKS: then it is still the call that connected.
        """
        owner = self.owner
        if timeout is owner and owner is not None:
            return owner
        if not isinstance(timeout, Call):
            if owner is None:
                raise RuntimeError("a connection of this pool was used outside of a call")
            return owner
        with self._lock:
            self.owner = timeout
        timeout.take(self)
        return timeout

    def leave(self, call: Call) -> None:
        """``call`` is over."""
        with self._lock:
            if self.owner is call:
                self.owner = None

    def shut(self, call: Call) -> None:
        """Wake whoever waits on the socket, if it still serves ``call``."""
        with self._lock:
            if self.owner is not call:
                return
            try:
                # Not SSLSocket.shutdown: that forgets its TLS state under the reader's feet.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
            except OSError:
                pass  # closed already, or not connected yet

    def close(self) -> None:
        """Close the socket. May be called twice."""
        with self._lock:
            self.owner = None
            self.sock.close()

    def drop_copy(self) -> None:
        """In a forked child: a close without a shutdown, and without a lock that a thread which is
        not here may hold."""
        self._lock = threading.RLock()
        self.owner = None
        self.sock.close()

    def is_readable(self) -> bool:
        """Whether a read would not wait: there are bytes, or the peer is gone."""
        number = self.sock.fileno()
        if number < 0:
            return True
        if sys.platform == "win32":
            return bool(select.select([number], [], [], 0)[0])
        poll = select.poll()
        poll.register(number, select.POLLIN)
        return bool(poll.poll(0))


class Lines:
    """The open lines of one pool."""

    def __init__(self) -> None:
        self._lines: weakref.WeakSet[Line] = weakref.WeakSet()
        self._lock = threading.RLock()  # re-entrant, as that of a line

    def add(self, line: Line) -> None:
        """``line`` is open."""
        with self._lock:
            self._lines.add(line)

    def __len__(self) -> int:
        return sum(line.sock.fileno() >= 0 for line in self._all())

    def _all(self) -> list[Line]:
        with self._lock:
            return list(self._lines)

    def close(self, *, idle_only: bool = False) -> None:
        """Close every socket, or those that serve no call."""
        for line in self._all():
            if line.owner is None or not idle_only:
                line.close()

    def drop_copies(self) -> None:
        """In a forked child: close its copies of the sockets and leave the connections, which are
        the parent's, alone."""
        for line in list(self._lines):
            line.drop_copy()
