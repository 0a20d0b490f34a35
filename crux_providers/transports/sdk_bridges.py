"""A ready client serves both kinds of call: sync clients in threads, async ones on their loop.

A sync client is used from any thread, so an async call does its blocking work in one. An async
client belongs to the event loop it was first used on; a call from elsewhere is handed to that loop,
which is one of our own where a sync call came first. Once that loop is over the client cannot be
used any more (its open connections are the loop's), and every call says so.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ..base.abandon import AsyncThreadReader
from ..base.errors import WireFailure
from .http_call import Call
from .http_exchange import AsyncExchange, Exchange, shut_socket
from .sdk_exchange import AsyncReadyExchange, SdkExchange, Verb

T = TypeVar("T")


class ThreadedExchange(AsyncExchange):
    """An async call on a ready sync client: the blocking work is done in a thread."""

    def __init__(self, verb: Verb, call: Call) -> None:
        super().__init__(verb, call)
        self._inner = SdkExchange(verb, call)
        self._reader = AsyncThreadReader(call.scope)
        self._inside = False

    async def _run(self, job: Callable[[], T]) -> T:
        def tracked() -> T:
            self._inside = True
            try:
                return job()
            finally:
                self._inside = False

        return await self._reader.call(tracked)

    async def open(self, request: Any) -> Any:
        """Send, and wait for the status and the headers."""
        self.call.left()
        self._response = await self._run(lambda: self._inner.open(request))
        return self._response

    async def read(self) -> Any:
        """The next piece, or None at the end."""
        return await self._run(self._inner.read)

    async def read_all(self) -> bytes:
        """The rest of the body."""
        return await self._run(self._inner.read_all)

    async def leave(self) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Done. A read that was left behind ends with its socket, or by the SDK's own timeout."""
        self.call.end()
        if self._inside:
            shut_socket(self._response)
        self._response = None
        self._reader.close(self._inner.close)


class Home:
    """The event loop that a ready async client lives on."""

    def __init__(self, client_name: str) -> None:
        self._client_name = client_name
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        self._own: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._process = os.getpid()

    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that has to do the work; raises WireFailure(local) where there is none."""
        running = running_loop()
        with self._lock:
            if self._loop is None:
                loop = running or self._start()
                self._loop, self._process = weakref.ref(loop), os.getpid()
                return loop
            home = self._loop()
        if home is None or self._process != os.getpid():
            raise self.gone()
        if home is not self._own and not home.is_running():  # ours takes work before it begins
            raise self.gone()
        return home

    def gone(self) -> WireFailure:
        """The failure of a call on a client whose loop is over."""
        return WireFailure(
            "local",
            f"this {self._client_name} belongs to the event loop it was first used on, which does "
            "not run any more: pass a new client, or none and let crux make its own",
        )

    def _start(self) -> asyncio.AbstractEventLoop:
        self._own = loop = asyncio.new_event_loop()
        threading.Thread(target=_serve, args=(loop,), name="crux-sdk-loop", daemon=True).start()
        weakref.finalize(self, loop.call_soon_threadsafe, loop.stop)
        return loop

    def hand_over(self, work: Coroutine[Any, Any, T]) -> Any:
        """A concurrent Future of ``work``, done on the client's loop from outside of it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop())


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop this thread runs, or None."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class LoopExchange(Exchange):
    """A sync call on a ready async client: this thread waits while the client's loop works."""

    def __init__(self, verb: Verb, call: Call, home: Home) -> None:
        super().__init__(verb, call)
        self._inner = AsyncReadyExchange(verb, call)
        self._home = home

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            if self._home.loop() is running_loop():
                raise WireFailure(
                    "local", "a sync call would block the event loop its async client needs"
                )
            future = self._home.hand_over(work)
        except BaseException:
            work.close()
            raise
        try:
            result: T = future.result()
        except concurrent.futures.CancelledError:
            raise self._home.gone() from None
        except BaseException:
            future.cancel()
            raise
        return result

    def open(self, request: Any) -> Any:
        """Send, and wait for the status and the headers."""
        self.call.left()
        return self._run(self._inner.open(request))

    def read(self) -> Any:
        """The next piece, or None at the end."""
        return self._run(self._inner.read())

    def read_all(self) -> bytes:
        """The rest of the body."""
        return self._run(self._inner.read_all())

    def leave(self) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Done."""
        self.call.end()
        try:
            self._run(self._inner.close())
        except WireFailure:
            pass  # the loop is gone, and the connection with it


class HandedOverExchange(AsyncExchange):
    """An async call on a ready async client from another event loop than the client's."""

    def __init__(self, verb: Verb, call: Call, home: Home) -> None:
        super().__init__(verb, call)
        self._inner = AsyncReadyExchange(verb, call)
        self._home = home

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            future = self._home.hand_over(work)
        except BaseException:
            work.close()
            raise
        try:
            result: T = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise self._home.gone() from None  # that loop ended and cancelled what it was doing
        return result

    async def open(self, request: Any) -> Any:
        """Send, and wait for the status and the headers."""
        self.call.left()
        return await self._run(self._inner.open(request))

    async def read(self) -> Any:
        """The next piece, or None at the end."""
        return await self._run(self._inner.read())

    async def read_all(self) -> bytes:
        """The rest of the body."""
        return await self._run(self._inner.read_all())

    async def leave(self) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Done."""
        self.call.end()
        try:
            await self._run(self._inner.close())
        except WireFailure:
            pass  # the loop is gone, and the connection with it
