"""The model inside this process: llama.cpp (the wheel ``xllamacpp``) in OpenAI's dialect.

Each file has one engine per process, which answers one call after another (see
:mod:`.llamacpp_engine`).

Whole answers are computed as streams too and put together here: the server asks whether to go on
only between the pieces of a stream. It asks after each token and, with ``return_progress``, after
each piece of the prompt, so that a call nobody waits for stops computing within one of these.

What the server does that must not reach a user: an HTTP port of its own that cannot be switched off
(on loopback, under a key nobody knows), some errors returned and others raised, an exception in the
callback taken for an end, and no life after a fork. Loading a file holds the interpreter's lock:
for half a second with a small model, nothing else runs in the process.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import queue
import secrets
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..base.abandon import expired, wait_for
from ..base.errors import WireFailure
from ..base.timeouts import CallScope
from ..base.wire import WireEvent, WireRequest, WireResponse
from .llamacpp_engine import Run, engine_for, refusal, release

WINDOW = 8192
"""Tokens of prompt and answer together; what the memory goes into: 190 MB for SmolLM2-135M."""

MAX_TOKENS = 512
"""Written at most where the request does not say, so that nothing runs until the window is full."""

PROMPT_STEP = 64
"""Tokens of a prompt between two looks at whether anybody still waits."""

NOT_INSTALLED = "xllamacpp is not installed: pip install 'crux-integrations[local]'"

_NUMBERS = itertools.count()

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
        self._user = next(_NUMBERS)
        self._finalizer = weakref.finalize(self, release, self._user)
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
        release(self._user)

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
        options = body.get("stream_options") or {}
        body |= {
            "model": path.stem,
            "stream": True,
            "stream_options": options if request.stream else {"include_usage": True},
            "return_progress": True,
        }
        run = Run(body, put)
        while not engine_for(path, self._user, load).take(run):
            pass  # it was given back in this very moment: the next one is new
        return run


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
