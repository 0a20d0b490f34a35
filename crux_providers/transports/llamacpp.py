"""The model inside this process: llama.cpp (the wheel ``xllamacpp``) in OpenAI's dialect.

A model file has one :class:`Engine` per process: a thread that owns the server, loads it at the
first call and answers one call after another. Several at once would gain nothing on the processors
such a model is for (four answers of 40 tokens: 1.3 s in a row, 1.2 s two at a time), cost the
window's memory once more each, and make a seed worthless, since a batch changes the arithmetic.
Callers wait for their turn under their own deadlines; one that leaves while it waits costs nothing.

Whole answers are computed as streams too and put together here: the server asks whether to go on
only between the pieces of a stream. It asks after each token and, with ``return_progress``, after
each piece of the prompt, so that a call nobody waits for stops computing within one of these.

What the server does that must not reach a user: an HTTP port of its own that cannot be switched off
(on loopback, under a key nobody knows), some errors returned and others raised, an exception in the
callback taken for an end, and no life after a fork.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import os
import queue
import secrets
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..base.abandon import expired, wait_for
from ..base.errors import WireFailure
from ..base.timeouts import CallScope
from ..base.wire import WireEvent, WireRequest, WireResponse

WINDOW = 8192
"""Tokens of prompt and answer together; what the memory goes into: 190 MB for SmolLM2-135M."""

MAX_TOKENS = 512
"""Written at most where the request does not say, so that nothing runs until the window is full."""

PROMPT_STEP = 64
"""Tokens of a prompt between two looks at whether anybody still waits."""

EXIT_S = 10.0
"""What a process that ends gives an engine to stop; a token takes far less."""

NOT_INSTALLED = "xllamacpp is not installed: pip install 'crux-integrations[local]'"

Locate = Callable[[str], Path]
"""The file of a model's name; raises FileNotFoundError with words that say what to do."""


class LlamaCppTransport:
    """Answers from the file that ``locate`` finds for the request's model.

    Any number of threads, tasks and transports share one engine per file. It goes, with its memory,
    when the last transport that used it is closed or gone; a later call loads it again.
    """

    owned = True

    def __init__(self, locate: Locate) -> None:
        self._locate = locate
        self._finalizer = weakref.finalize(self, _release, id(self))
        self._finalizer.atexit = False

    def send(self, request: WireRequest, scope: CallScope) -> WireResponse:
        """The whole answer; raises WireFailure."""
        with self.stream(request, scope) as stream:
            return WireResponse(200, {}, fold([event.data for event in stream]))

    async def asend(self, request: WireRequest, scope: CallScope) -> WireResponse:
        """The async twin of :meth:`send`."""
        async with await self.astream(request, scope) as stream:
            return WireResponse(200, {}, fold([event.data async for event in stream]))

    def stream(self, request: WireRequest, scope: CallScope) -> LlamaCppStream:
        """A stream whose turn may still have to come; its first event waits for that."""
        return LlamaCppStream(self._begin, request, scope)

    async def astream(self, request: WireRequest, scope: CallScope) -> AsyncLlamaCppStream:
        """The async twin of :meth:`stream`."""
        return AsyncLlamaCppStream(self._begin, request, scope)

    def close(self) -> None:
        """Give the engines back; what has begun is answered. May be called twice and used again."""
        _release(id(self))

    async def aclose(self) -> None:
        """The async twin of :meth:`close`; nothing is waited for."""
        self.close()

    def _begin(self, request: WireRequest, scope: CallScope, put: Callable[[Any], None]) -> Run:
        """The call, in its engine's queue; ``put`` gets what comes of it, in that thread."""
        scope.token.raise_if_cancelled()
        if (seconds := scope.remaining()[0]) is not None and seconds <= 0:
            raise expired(scope)
        body = dict(request.body or {})
        try:
            path = self._locate(str(body.get("model", "")))
        except FileNotFoundError as exc:
            raise refusal(404, "model_not_found", str(exc)) from exc
        options = body.get("stream_options")
        body |= {
            "model": path.stem,
            "stream": True,
            "stream_options": {**(options if isinstance(options, Mapping) else {})}
            | ({} if request.stream else {"include_usage": True}),
            "return_progress": True,
        }
        run = Run(body, put)
        while not _engine(path, id(self)).take(run):
            pass  # it was given back in this very moment: the next one is new
        return run


def refusal(status: int, code: str, message: str) -> WireFailure:
    """An error of this side in the form that the dialect's providers give theirs."""
    error = {"error": {"message": message, "code": code}}
    return WireFailure("status", message, status=status, body=error)


class Run:
    """One call in an engine: ``put`` gets each chunk, a WireFailure, and None at the end."""

    __slots__ = ("_put", "body", "left")

    def __init__(self, body: dict[str, Any], put: Callable[[Any], None]) -> None:
        self.body = body
        self.left = False  # nobody waits any more
        self._put = put

    def put(self, item: Any) -> None:
        """Hand over; a consumer whose event loop is gone is one that has left."""
        try:
            self._put(item)
        except RuntimeError:
            self.left = True

    def on_chunk(self, chunk: Any) -> bool:
        """Called by the server; true ends the computing. Must not raise: that would be an end."""
        if not self.left and "prompt_progress" not in chunk:
            self.put(_failed(chunk) if "error" in chunk else chunk)
        return self.left

    def compute(self, server: Any) -> None:
        """Answer, in the engine's thread."""
        try:
            server.handle_chat_completions(self.body, self.on_chunk)
        except (ValueError, TypeError) as exc:  # what it says of a request it cannot read
            self.put(refusal(400, "invalid_request_error", str(exc)))
        except RuntimeError as exc:
            self.put(refusal(500, "server_error", str(exc)))
        self.put(None)


def _failed(chunk: Mapping[str, Any]) -> WireFailure:
    error = chunk["error"]
    status = error.get("code") if isinstance(error, Mapping) else None
    status = status if isinstance(status, int) else 500
    return WireFailure("status", f"HTTP {status}", status=status, body=dict(chunk))


# -- engines ---------------------------------------------------------------------------------------


class Engine:
    """A thread that owns the server of one model file and answers runs in their order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._queue: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._stopping = False
        self._current: Run | None = None
        self.server: Any = None
        name = f"crux-model-{path.stem}"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def take(self, run: Run) -> bool:
        """Put ``run`` into the queue; False where the engine takes no more."""
        with self._lock:
            if not self._closed:
                self._queue.put(run)
            return not self._closed

    def close(self) -> None:
        """Take no more, answer what waits, then free the memory; returns at once."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)

    def stop(self) -> None:
        """Compute no further: the process ends. Waits until the thread is out of native code."""
        self._stopping = True
        if (run := self._current) is not None:
            run.left = True
        self.close()
        self._thread.join(EXIT_S)

    def _work(self) -> None:
        try:
            self.server = load(self.path)
        except WireFailure as failure:
            _forget(self)
            self._drain(failure)
            return
        _alive.add(self)
        if _orphan:
            _keep_for_ever(self.server)
        while (run := self._queue.get()) is not None and not self._stopping:
            self._current = run
            if not run.left and not self._stopping:
                run.compute(self.server)
            self._current = run = None
        self.server = None
        _alive.discard(self)

    def _drain(self, failure: WireFailure) -> None:
        self.close()
        while (run := self._queue.get()) is not None:
            run.put(failure)
            run.put(None)


_lock = threading.Lock()
_engines: dict[Path, Engine] = {}
_users: defaultdict[Path, set[int]] = defaultdict(set)
_alive: set[Engine] = set()
"""Those whose server is in memory, given back ones that still answer among them."""


def _engine(path: Path, user: int) -> Engine:
    with _lock:
        _users[path].add(user)
        engine = _engines.get(path)
        if engine is None:
            engine = _engines[path] = Engine(path)
        return engine


def _release(user: int) -> None:
    with _lock:
        unused = [path for path, users in _users.items() if user in users and len(users) == 1]
        for users in _users.values():
            users.discard(user)
        engines = [engine for path in unused if (engine := _engines.pop(path, None)) is not None]
    for engine in engines:
        engine.close()


def _forget(engine: Engine) -> None:
    with _lock:
        if _engines.get(engine.path) is engine:
            del _engines[engine.path]


@atexit.register
def _stop_all() -> None:
    """A thread inside native code when the interpreter goes would end the process with an abort."""
    with _lock:
        engines = {*_engines.values(), *_alive}
        _engines.clear()
    for engine in engines:
        engine.stop()


_orphan = False
"""Whether this process was forked from one with a server: nothing native can be freed any more."""


def _after_fork() -> None:
    """The child builds its own: the threads behind the parent's server are not here.

    Freeing a server would wait for those threads for ever, and so would the library's destructors
    when the process exits. So servers are made immortal, and ``exit`` ends where Python has ended.
    """
    global _lock, _orphan
    _lock = threading.Lock()
    servers = [engine.server for engine in _alive if engine.server is not None]
    _alive.clear()
    _engines.clear()
    _users.clear()
    for server in servers:
        _keep_for_ever(server)
    if servers and not _orphan:
        _orphan = True
        libc = ctypes.CDLL(None)
        if hasattr(libc, "on_exit"):  # glibc; elsewhere forking is not the usual way to a process
            libc.on_exit(libc._exit, None)


def _keep_for_ever(server: Any) -> None:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(server))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def load(path: Path) -> Any:
    """The server of a model file; raises WireFailure where there can be none."""
    try:
        import xllamacpp
    except ImportError as exc:
        raise refusal(501, "unsupported", NOT_INSTALLED) from exc
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {path.stem}  # else it reports the file's path as the model
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.api_keys = [secrets.token_urlsafe(32)]
    params.n_threads_http, params.ui, params.endpoint_slots = 1, False, False
    params.verbosity = -1
    params.n_ctx, params.n_parallel, params.n_predict = WINDOW, 1, MAX_TOKENS
    params.n_batch = params.n_ubatch = PROMPT_STEP
    params.cache_ram_mib = 0  # the default keeps up to 8 GiB of old prompts
    params.cpuparams.n_threads = threads()
    params.use_jinja = True
    try:
        return xllamacpp.Server(params)
    except RuntimeError as exc:
        words = f"{path.name} could not be loaded: is it a whole GGUF file? ({exc})"
        raise refusal(501, "unsupported", words) from exc


def threads() -> int:
    """Half of the processors this process may use: as many as there are cores of two threads each.

    They wait for one another in a busy loop after each layer, so that one more than there is room
    for makes an answer many times slower.
    """
    usable = getattr(os, "sched_getaffinity", None)
    count = len(usable(0)) if usable is not None else os.cpu_count() or 1
    return max(1, count // 2)


# -- streams ---------------------------------------------------------------------------------------

_WAKE = object()
"""In the consumer's queue: look at the token, or at who left."""

Begin = Callable[[WireRequest, CallScope, Callable[[Any], None]], Run]


class LlamaCppStream:
    """An open stream of chunks as dicts; ``close`` ends it early, from any thread."""

    status = 200
    owned = True

    def __init__(self, begin: Begin, request: WireRequest, scope: CallScope) -> None:
        self._over = True
        self.headers: Mapping[str, str] = {}
        self._scope = scope
        items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._items = items
        self._run = begin(request, scope, items.put)
        self._over = False
        self._forget = scope.token.on_cancel(lambda: items.put(_WAKE))

    def __iter__(self) -> LlamaCppStream:
        return self

    def __next__(self) -> WireEvent:
        if self._over:
            raise StopIteration
        try:
            item = self._wait()
        except BaseException:
            self.close()
            raise
        if item is None or self._over:
            self.close()
            raise StopIteration
        if isinstance(item, WireFailure):
            self.close()
            raise item
        return WireEvent(item)

    def _wait(self) -> Any:
        scope = self._scope
        while not self._over:
            scope.token.raise_if_cancelled()
            seconds, _ = scope.remaining()
            try:
                item = self._items.get(timeout=None if seconds is None else max(seconds, 0))
            except queue.Empty:
                raise expired(scope) from None
            if item is not _WAKE:
                return item
        return None

    def close(self) -> None:
        """End the stream; computing stops with the token or piece of the prompt it is at."""
        if not self._over:
            self._over = self._run.left = True
            self._forget()
            self._items.put(_WAKE)  # for a reader in another thread

    def __enter__(self) -> LlamaCppStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class AsyncLlamaCppStream:
    """The async twin of :class:`LlamaCppStream`, read on one event loop."""

    status = 200
    owned = True

    def __init__(self, begin: Begin, request: WireRequest, scope: CallScope) -> None:
        self._over = True
        self.headers: Mapping[str, str] = {}
        self._scope = scope
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[Any] = asyncio.Queue()
        self._items = items
        self._run = begin(request, scope, lambda item: _soon(loop, items.put_nowait, item))
        self._over = False

    def __aiter__(self) -> AsyncLlamaCppStream:
        return self

    async def __anext__(self) -> WireEvent:
        if self._over:
            raise StopAsyncIteration
        try:
            item = await wait_for(self._items.get(), self._scope)
        except BaseException:
            self._leave()
            raise
        if item is None or self._over:
            self._leave()
            raise StopAsyncIteration
        if isinstance(item, WireFailure):
            self._leave()
            raise item
        return WireEvent(item)

    def _leave(self) -> None:
        if not self._over:
            self._over = self._run.left = True
            self._items.put_nowait(None)  # for a reader in another task

    async def aclose(self) -> None:
        """End the stream; computing stops with the token or piece of the prompt it is at."""
        self._leave()

    async def __aenter__(self) -> AsyncLlamaCppStream:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._leave()

    def __del__(self) -> None:
        if not self._over:
            self._over = self._run.left = True


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[Any], None], item: Any) -> None:
    loop.call_soon_threadsafe(call, item)


# -- a whole answer --------------------------------------------------------------------------------


def fold(chunks: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The whole answer that these chunks of a stream are the pieces of."""
    texts: defaultdict[str, list[str]] = defaultdict(list)
    logprobs: list[Any] = []
    whole: dict[str, Any] = {}
    finish: str | None = None
    for chunk in chunks:
        whole.update({k: v for k, v in chunk.items() if k not in ("choices", "object")})
        for choice in chunk.get("choices", ()):
            finish = choice.get("finish_reason") or finish
            logprobs += (choice.get("logprobs") or {}).get("content") or ()
            for name, text in choice.get("delta", {}).items():
                if isinstance(text, str) and name != "role":
                    texts[name].append(text)
    message = {"role": "assistant", "content": ""}
    message |= {name: "".join(pieces) for name, pieces in texts.items()}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    if logprobs:
        choice["logprobs"] = {"content": logprobs}
    return {**whole, "object": "chat.completion", "choices": [choice]}
