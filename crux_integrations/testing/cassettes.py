"""Recording HTTP once and replaying it from a file, for tests that need no network and no key.

vcrpy lies beneath: it patches httpx and httpx2 (sync and async transports), requests and urllib3,
aiohttp's client session, httplib2, http.client, tornado and botocore. Here stand the matching, the
scrubbing, the misses, the modes, the format, and for httpx and httpx2 the faults.

``none`` refuses every IP connection while the cassette is open, loopback included, and so does
``once`` when the file is there. Patches are the process's: two cassettes open at a time must be
nested, never side by side in two threads.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import inspect
import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NamedTuple, TypeVar
from unittest import mock
from urllib.parse import urlsplit

import httpx

from . import scrubbing
from .cassette_file import Cassette, Interaction, decode_body, read_cassette, write_cassette
from .deck import Deck
from .faults import Fault, FaultSpec, parse_faults, play
from .in_process import replayed_response
from .matching import FIELDS, RequestKey, matches
from .misses import CassetteMiss, explain_miss
from .modes import Mode, check_mode, effective_mode
from .sockets import blocked_sockets, is_allowed

try:
    import vcr.cassette
    import vcr.patch
    import vcr.record_mode
except ImportError as exc:
    raise ImportError("cassettes need vcrpy: pip install 'crux-integrations[cassettes]'") from exc

_F = TypeVar("_F", bound=Callable[..., Any])

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# What must end a program is never exchanged for a miss.
_NEVER_REPLACED = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)


def use_cassette(
    path: str | os.PathLike[str],
    mode: str = "none",
    faults: FaultSpec | Mapping[str, FaultSpec] = None,
    *,
    allow: Collection[str] = (),
    repeats: bool = False,
    match: Sequence[str] = FIELDS,
    answered_by: Mapping[str, str] | str | None = None,
) -> UseCassette:
    """Answer HTTP from the cassette at ``path``: a context manager (also async) and a decorator.

    ``mode``: ``none`` replays, ``once`` records where there is no file, ``rewrite`` records anew;
    pytest's ``--crux-record`` beats it. A recording is written when the block ends without an
    exception, whole or not at all.

    ``faults`` (see :mod:`~crux_integrations.testing.faults`) are laid over every replayed answer,
    or where it is a mapping over those whose URL begins with the key, written without scheme
    (``{"api.openai.com": "cut@3"}``). A recording whose place a ``status`` fault took is not used
    up. A fault that never struck is an AssertionError at the end.

    Identical requests get their recordings in order, each once; ``repeats`` plays the last again.
    ``match`` are the fields compared (of method, host, path, body). Hosts in ``allow`` (``host`` or
    ``host:port``) are reached for real. ``answered_by`` goes into the file's header.

    Raises CassetteMiss for a request without recording, and again at the end of the block.
    """
    return UseCassette(path, mode, faults, allow, repeats, match, answered_by)


class UseCassette:
    """What :func:`use_cassette` returns; may be used again after it was closed."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: str,
        faults: FaultSpec | Mapping[str, FaultSpec],
        allow: Collection[str],
        repeats: bool,
        match: Sequence[str],
        answered_by: Mapping[str, str] | str | None,
    ) -> None:
        file = Path(path)
        self._make = functools.partial(
            OpenCassette,
            file if file.suffix in (".yaml", ".yml") else file.with_name(f"{file.name}.yaml"),
            faults=_by_place(faults),
            allow=frozenset([allow] if isinstance(allow, str) else allow),
            repeats=repeats,
            match=tuple(match),
            answered_by={"name": answered_by} if isinstance(answered_by, str) else answered_by,
        )
        if unknown := set(match) - set(FIELDS):
            raise ValueError(f"match has no {sorted(unknown)}; it takes {', '.join(FIELDS)}")
        self._mode = check_mode(mode)
        self._marker_mode: Mode | None = None
        self._open: tuple[OpenCassette, ExitStack] | None = None

    def __enter__(self) -> OpenCassette:
        if self._open is not None:
            raise RuntimeError("this cassette is open already")
        cassette = self._make(mode=effective_mode(self._mode, self._marker_mode))
        with ExitStack() as stack:
            cassette.install(stack)
            self._open = cassette, stack.pop_all()
        return cassette

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._open is not None, "left without being entered"
        (cassette, stack), self._open = self._open, None
        stack.close()
        cassette.finish(exc)

    async def __aenter__(self) -> OpenCassette:
        return self.__enter__()

    async def __aexit__(self, *exc_info: Any) -> None:
        self.__exit__(*exc_info)

    def __call__(self, function: _F) -> _F:
        """``function`` (``def`` or ``async def``) with the cassette open while it runs."""
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise TypeError("use_cassette decorates functions, not generators; use it inside")
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaiting(*args: Any, **kwargs: Any) -> Any:
                with self._copy():
                    return await function(*args, **kwargs)

            return awaiting  # type: ignore[return-value]  # wraps() keeps the signature

        @functools.wraps(function)
        def calling(*args: Any, **kwargs: Any) -> Any:
            with self._copy():
                return function(*args, **kwargs)

        return calling  # type: ignore[return-value]  # wraps() keeps the signature

    def with_mode(self, mode: str) -> UseCassette:
        """The same with a mode that beats the command line, as a marker's does."""
        copy = self._copy()
        copy._marker_mode = check_mode(mode)
        return copy

    def _copy(self) -> UseCassette:
        copy = object.__new__(UseCassette)
        copy.__dict__ = {**self.__dict__, "_open": None}
        return copy


class _Exchange(NamedTuple):
    """A request and its answer as they were, before anything is scrubbed."""

    request: Any
    response: Mapping[str, Any]


class OpenCassette:
    """A cassette while it is open.

    ``requests`` are the requests it saw, ``misses`` those it could not answer: clearing that list
    says that the misses were expected. ``recording`` is false where it replays.
    """

    def __init__(
        self,
        path: Path,
        *,
        mode: Mode,
        faults: Mapping[str, tuple[Fault, ...]],
        allow: frozenset[str],
        repeats: bool,
        match: tuple[str, ...],
        answered_by: Mapping[str, str] | None,
    ) -> None:
        self.path = path
        self.mode = mode
        self.recording = mode == "rewrite" or (mode == "once" and not path.exists())
        self.requests: list[RequestKey] = []
        self.misses: list[CassetteMiss] = []
        self._faults = faults
        self._allow = allow
        self._match = match
        self._answered_by = answered_by
        self._recorded: list[_Exchange] = []
        self._struck: set[Fault] = set()
        self._lock = threading.Lock()
        self._interactions: Sequence[Interaction] = ()
        if self.recording:
            if faults:
                raise ValueError("faults are laid over a replay; this cassette records")
        elif path.exists():
            self._interactions = read_cassette(path).interactions
        self._deck = Deck(
            self._interactions, lambda a, b: matches(a, b, self._match), repeats=repeats
        )

    def install(self, stack: ExitStack) -> None:
        """Enter every patch; they end with ``stack``."""
        libraries = [httpx, *_installed("httpx2")]
        before = [
            (x.HTTPTransport.handle_request, x.AsyncHTTPTransport.handle_async_request)
            for x in libraries
        ]
        for patcher in vcr.patch.CassettePatcherBuilder(_Bridge(self)).build():
            stack.enter_context(patcher)
        for library, (real, areal) in zip(libraries, before, strict=True):
            self._patch(stack, library, real, areal)
        if not self.recording:
            stack.enter_context(blocked_sockets(self._refuse, self._allow))

    def _patch(self, stack: ExitStack, library: ModuleType, real: Any, areal: Any) -> None:
        replay = library.HTTPTransport.handle_request
        areplay = library.AsyncHTTPTransport.handle_async_request

        def handle_request(transport: Any, request: Any) -> Any:
            if self.allows(str(request.url)):
                return real(transport, request)
            response = replay(transport, request)
            return response if self.recording else self._played(library, request, response)

        async def handle_async_request(transport: Any, request: Any) -> Any:
            if self.allows(str(request.url)):
                return await areal(transport, request)
            response = await areplay(transport, request)
            return response if self.recording else self._played(library, request, response)

        for owner, name, wrapper in (
            (library.HTTPTransport, "handle_request", handle_request),
            (library.AsyncHTTPTransport, "handle_async_request", handle_async_request),
        ):
            stack.enter_context(mock.patch.object(owner, name, wrapper))

    def allows(self, url: str) -> bool:
        """Whether ``url`` is reached for real."""
        if not self._allow:
            return False
        parts = urlsplit(url)
        port = parts.port or {"https": 443}.get(parts.scheme, 80)
        return is_allowed(parts.hostname or "", port, self._allow)

    def answer(self, sent: RequestKey, url: str) -> Interaction:
        """The recording for ``sent``; raises CassetteMiss where there is none."""
        with self._lock:
            self.requests.append(sent)
        item = self._deck.deal(sent)
        if item is None and not self.path.exists():
            # Found out only now: a test that sends nothing needs no file.
            raise self._miss(f"no cassette at {self.path}; --crux-record=once records one")
        if item is None:
            raise self._miss(explain_miss(sent, self._interactions, str(self.path), self._match))
        if any(f.kind == "status" for f in self._faults_at(url)):
            self._deck.put_back(item)
        return item

    def record(self, exchange: _Exchange) -> None:
        """Keep an exchange until the cassette is written."""
        with self._lock:
            self._recorded.append(exchange)

    def finish(self, exc: BaseException | None) -> None:
        """Write what was recorded, or say what went wrong while replaying."""
        if exc is None and self.recording and self._recorded:
            write_cassette(self.path, self._written())
        if isinstance(exc, (CassetteMiss, *_NEVER_REPLACED)):
            return
        if self.misses:
            raise self.misses[0] from exc
        laid = {f for faults in self._faults.values() for f in faults}
        if exc is None and (idle := laid - self._struck):
            names = ", ".join(sorted(map(str, idle)))
            raise AssertionError(f"{self.path}: fault {names} never struck: no event it waits for")

    def _played(self, library: ModuleType, request: Any, response: Any) -> Any:
        playback = play(
            response.status_code,
            dict(response.headers),
            b"".join(response.stream),
            self._faults_at(str(request.url)),
            path=request.url.path,
        )
        with self._lock:
            self._struck |= playback.struck
        return replayed_response(library, request, playback)

    def _faults_at(self, url: str) -> tuple[Fault, ...]:
        place = url.split("://", 1)[-1]
        return tuple(f for key, fs in self._faults.items() if place.startswith(key) for f in fs)

    def _refuse(self, address: str) -> CassetteMiss:
        return self._miss(
            f"a connection to {address} while {self.path} replays; nothing recorded answers it"
        )

    def _miss(self, message: str) -> CassetteMiss:
        miss = CassetteMiss(message)
        with self._lock:
            self.misses.append(miss)
        return miss

    def _written(self) -> Cassette:
        secrets = scrubbing.secrets_in_environment()
        for request, _ in self._recorded:
            secrets |= scrubbing.secrets_in(request.headers, request.uri)
        items = [_interaction(x, i, secrets) for i, x in enumerate(self._recorded, 1)]
        return Cassette(items, {**self._who_answered(), **(self._answered_by or {})}, self.path)

    def _who_answered(self) -> dict[str, str]:
        request, response = self._recorded[0]
        parts = urlsplit(request.uri)
        headers = {k.lower(): v for k, v in response["headers"].items()}
        server = headers.get("server", [""])[0]
        return {
            "kind": "local server" if parts.hostname in _LOOPBACK else "provider",
            "name": server if parts.hostname in _LOOPBACK and server else str(parts.hostname),
            "date": datetime.now(UTC).date().isoformat(),
        }


class _Bridge(vcr.cassette.Cassette):  # type: ignore[misc]  # vcrpy ships no types
    """The cassette as vcrpy's patches see it: they ask, an :class:`OpenCassette` answers."""

    def __init__(self, cassette: OpenCassette) -> None:
        modes = vcr.record_mode.RecordMode
        super().__init__(
            str(cassette.path), record_mode=modes.ALL if cassette.recording else modes.NONE
        )
        self._open = cassette
        # The stubs ask whether they may play, some of them twice, and then for the answer.
        self._dealt: dict[int, tuple[Any, Interaction]] = {}

    def filter_request(self, request: Any) -> Any:
        return None if self._open.allows(request.uri) else request

    def can_play_response_for(self, request: Any) -> bool:
        if self._open.recording or self._open.allows(request.uri):
            return False
        if id(request) not in self._dealt:
            # Scrubbed as the recording was, or what was replaced there could never match.
            body = scrubbing.scrub_body(_body_of(request))
            key = RequestKey.of(request.method, request.uri, body)
            self._dealt[id(request)] = request, self._open.answer(key, request.uri)
        return True

    def play_response(self, request: Any) -> dict[str, Any]:
        _, item = self._dealt.pop(id(request))
        return {
            "status": {"code": item.status, "message": item.reason},
            "headers": {name: [value] for name, value in item.headers.items()},
            "body": {"string": item.body},
        }

    def append(self, request: Any, response: Mapping[str, Any]) -> None:
        if not self._open.allows(request.uri):
            self._open.record(_Exchange(request, dict(response)))


def _interaction(exchange: _Exchange, number: int, secrets: set[str]) -> Interaction:
    request, response = exchange
    headers = [(name, value) for name, values in response["headers"].items() for value in values]
    status = int(response["status"]["code"])
    body = decode_body(status, dict(headers), response["body"].get("string") or b"")
    return Interaction(
        method=request.method,
        uri=scrubbing.scrub_text(scrubbing.scrub_url(request.uri), secrets),
        request_headers=scrubbing.scrub_request_headers(dict(request.headers)),
        request_body=scrubbing.scrub_body(_body_of(request), secrets),
        status=status,
        reason=response["status"]["message"] or "",
        headers=scrubbing.scrub_response_headers(headers, number),
        body=scrubbing.scrub_body(body, secrets) or b"",
    )


def _body_of(request: Any) -> bytes | None:
    """The request's body as bytes; aiohttp hands over the JSON value itself."""
    body = request.body
    match body:
        case None | bytes():
            return body
        case str():
            return body.encode()
        case dict() | list():
            return httpx.Request("POST", request.uri, json=body).content
        case _ if hasattr(body, "read"):
            return bytes(body.read())
        case _:
            return b"".join(x.encode() if isinstance(x, str) else bytes(x) for x in body)


def _by_place(
    faults: FaultSpec | Mapping[str, FaultSpec],
) -> dict[str, tuple[Fault, ...]]:
    places = faults if isinstance(faults, Mapping) else {"": faults}
    return {place: parsed for place, spec in places.items() if (parsed := parse_faults(spec))}


def _installed(name: str) -> list[ModuleType]:
    return [import_module(name)] if importlib.util.find_spec(name) else []
