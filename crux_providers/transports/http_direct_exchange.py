"""Exchanges over bare connections: what :mod:`.http_exchange` is without httpx."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..base.errors import WireFailure
from .http_call import Call
from .http_connections import AsyncPooledTransport, PooledTransport
from .http_direct import READ_BYTES, AsyncDirectConnection, DirectConnection
from .http_exchange import AsyncExchange, Exchange
from .http_wire import AnswerReader


class Written(NamedTuple):
    """A request as it goes over the wire."""

    method: str
    content: bytes


class DirectExchange(Exchange):
    """On a bare connection, for threads."""

    def __init__(self, pool: PooledTransport, call: Call) -> None:
        super().__init__(pool, call)
        self._pool = pool.connections
        self._connection: DirectConnection | None = None

    def open(self, request: Written) -> Any:  # type: ignore[override]  # what _prepared made for it
        """Send, and wait for the status and the headers."""
        self.call.left()
        connection = self._connection = self._pool.direct(self.call)
        return connection.ask(request.method, request.content, self.call)

    def _open_connection(self) -> tuple[DirectConnection, AnswerReader]:
        connection = self._connection
        if connection is None or connection.answer is None:
            raise WireFailure("local", "the exchange is closed")
        return connection, connection.answer

    def read(self) -> bytes | None:
        """The next piece of the body as it came, or None at its end."""
        connection, answer = self._open_connection()
        while not (piece := answer.take()):
            if answer.complete:
                return None
            answer.receive(connection.stream.read(READ_BYTES, self.call))
        return piece

    def read_all(self) -> bytes:
        """The rest of the body."""
        connection, answer = self._open_connection()
        while not answer.complete:
            answer.receive(connection.stream.read(READ_BYTES, self.call))
        return answer.take()

    def close(self) -> None:
        """Done. A connection whose answer was read to its end is kept, any other is closed."""
        self.call.end()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give_back(connection)


class AsyncDirectExchange(AsyncExchange):
    """The async twin of :class:`DirectExchange`."""

    def __init__(self, pool: AsyncPooledTransport, call: Call) -> None:
        super().__init__(pool, call)
        self._pool = pool.connections
        self._connection: AsyncDirectConnection | None = None

    async def open(self, request: Written) -> Any:  # type: ignore[override]  # what _prepared made for it
        """Send, and wait for the status and the headers."""
        self.call.left()
        connection = self._connection = await self._pool.direct(self.call)
        return await connection.ask(request.method, request.content, self.call)

    def _open_connection(self) -> tuple[AsyncDirectConnection, AnswerReader]:
        connection = self._connection
        if connection is None or connection.answer is None:
            raise WireFailure("local", "the exchange is closed")
        return connection, connection.answer

    async def read(self) -> bytes | None:
        """The next piece of the body as it came, or None at its end."""
        connection, answer = self._open_connection()
        while not (piece := answer.take()):
            if answer.complete:
                return None
            answer.receive(await connection.stream.read(READ_BYTES, self.call))
        return piece

    async def read_all(self) -> bytes:
        """The rest of the body."""
        connection, answer = self._open_connection()
        while not answer.complete:
            answer.receive(await connection.stream.read(READ_BYTES, self.call))
        return answer.take()

    async def close(self) -> None:
        """Done. A connection whose answer was read to its end is kept, any other is closed."""
        self.call.end()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give_back_direct(connection)
