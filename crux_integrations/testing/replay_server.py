"""Recorded providers over real sockets, for any client in any language.

>>> with ReplayServer("cassettes/openai_chat/text_stream.yaml", faults="cut@5") as server:
...     client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any")

Framed bodies are sent event by event, one HTTP chunk each; whole bodies with their length. A
request that nothing recorded answers gets 501 and an error that names the nearest recording.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from .cassette_file import Interaction, read_cassette
from .deck import Deck
from .faults import (
    EVENT_STREAMS,
    FaultSpec,
    Playback,
    Send,
    is_fault,
    parse_faults,
    play,
    split_events,
)
from .matching import RequestKey, matches, turn_of
from .misses import explain_miss

Match = Literal["body", "turn", "path"]

DEFAULT_EVENT_MS = 20.0
"""The wait before each event of a recording that kept no times, at speed 1."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Mount:
    """What answers below one path prefix of a server.

    ``cassettes``: paths of files or folders; or one fault such as ``status:429:2s`` where nothing
    needs to be recorded. ``match`` says how much of a request must agree with its recording:
    ``body`` (method, path and normalized JSON body), ``turn`` (method, end of the path, model,
    streaming, and whether the user, the assistant or a tool spoke last), ``path`` (method and end
    of the path). Each recording is played once and in order, the last fitting one again and again.
    """

    cassettes: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    faults: FaultSpec = None
    match: Match = "body"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request the server got. ``interaction`` is what answered it; None: nothing did."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    interaction: Interaction | None = None

    @property
    def json(self) -> Any:
        """The body parsed, or None where it was empty."""
        return json.loads(self.body) if self.body else None


class ReplayServer:
    """An HTTP server that answers from cassettes; a context manager.

    ``cassettes``: a path, several, a :class:`Mount`, or a mapping from path prefix to any of these
    (the longest prefix wins and is taken off: ``{"/openai": "…", "/anthropic": "…"}`` gives the
    base URLs ``url + "/openai/v1"`` and ``url + "/anthropic"``). ``match`` holds where there is no
    Mount, ``faults`` also where a Mount has none. ``speed``: None sends as fast as it can, 1 at the
    recorded pace, 2 at twice that.

    ``requests`` lists what was asked, ``misses`` the words of each 501, ``left_early`` counts
    clients that went away before the end of an answer.
    """

    def __init__(
        self,
        cassettes: Any,
        faults: FaultSpec = None,
        speed: float | None = None,
        *,
        match: Match = "body",
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        if speed is not None and speed <= 0:
            raise ValueError(f"speed is {speed}; it must be above 0")
        mounts = cassettes if isinstance(cassettes, Mapping) else {"": cassettes}
        self._mounts = sorted(
            (
                _Mounted(prefix.rstrip("/"), _as_mount(source, faults, match), speed)
                for prefix, source in mounts.items()
            ),
            key=lambda mounted: -len(mounted.prefix),
        )
        self._address = (host, port)
        self._httpd: _Server | None = None
        self._thread: threading.Thread | None = None
        self.requests: list[Seen] = []
        self.misses: list[str] = []
        self.left_early = 0

    @property
    def url(self) -> str:
        """``http://host:port``; raises RuntimeError while it does not run."""
        if self._httpd is None:
            raise RuntimeError("the replay server is not running")
        host, port = self._httpd.server_address[:2]
        return f"http://{host!s}:{port}"

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rsplit(":", 1)[1])

    @property
    def count(self) -> int:
        """How many requests it got."""
        return len(self.requests)

    def start(self) -> ReplayServer:
        """Listen and serve in threads; returns itself."""
        if self._httpd is not None:
            raise RuntimeError("the replay server is running already")
        self._httpd = _Server(self._address, self)
        self._thread = threading.Thread(
            target=self._httpd.serve_forever, args=(0.02,), name="crux-replay", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close every connection and the port; may be called twice."""
        httpd, self._httpd = self._httpd, None
        if httpd is not None and self._thread is not None:
            httpd.stopping.set()
            httpd.shutdown()
            self._thread.join()
            httpd.close_connections()
            httpd.server_close()

    def wait(self) -> None:
        """Block until the server stops or the program is interrupted."""
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> ReplayServer:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def answer(self, request: Seen) -> Playback:
        """What ``request`` gets; a 501 where nothing recorded answers it."""
        path = urlsplit(request.path).path
        mounted = next((m for m in self._mounts if m.serves(path)), None)
        if mounted is None:
            known = ", ".join(m.prefix or "/" for m in self._mounts)
            return self._missed(request, f"nothing is mounted at {path}; there is {known}")
        inner = path[len(mounted.prefix) :] or "/"
        sent = RequestKey.of(request.method, inner, request.body)
        item, playback = mounted.answer(sent)
        if playback is None:
            fields = ("method", "path", "body")
            return self._missed(
                request, explain_miss(sent, mounted.interactions, mounted.names, fields)
            )
        self.requests.append(replace(request, interaction=item))
        return playback

    def _missed(self, request: Seen, message: str) -> Playback:
        self.requests.append(request)
        self.misses.append(message)
        _log.warning("replay miss: %s", message)
        word = "cassette_miss"
        error = {"message": message, "type": word, "param": None, "code": word}
        # The official SDKs retry a 501 unless they are told not to.
        headers = {"content-type": "application/json", "x-should-retry": "false"}
        return play(501, headers, json.dumps({"error": error}).encode())


class _Mounted:
    """A :class:`Mount` at its prefix, with its recordings read and what is left of them."""

    def __init__(self, prefix: str, mount: Mount, speed: float | None) -> None:
        self.prefix = prefix
        self._speed = speed
        single = mount.cassettes if isinstance(mount.cassettes, str) else ""
        faults = parse_faults(mount.faults)
        files = [] if is_fault(single) else list(_files(mount.cassettes))
        self._faults = (*parse_faults(single), *faults) if is_fault(single) else faults
        self.interactions = [i for file in files for i in read_cassette(file).interactions]
        self.names = ", ".join(map(str, files)) or single
        self._deck = Deck(self.interactions, _FITS[mount.match], repeats=True)

    def serves(self, path: str) -> bool:
        return path == self.prefix or path.startswith(f"{self.prefix}/") or not self.prefix

    def answer(self, sent: RequestKey) -> tuple[Interaction | None, Playback | None]:
        status = next((f for f in self._faults if f.kind == "status"), None)
        if status is not None:
            return None, play(status.status, {}, b"", [status], path=sent.path)
        item = self._deck.deal(sent)
        if item is None:
            return None, None
        return item, play(
            item.status, item.headers, item.body, self._faults, path=sent.path,
            event_ms=self._pace(item),
        )  # fmt: skip

    def _pace(self, item: Interaction) -> Sequence[float]:
        if self._speed is None or item.content_type not in EVENT_STREAMS:
            return ()
        events = split_events(item.body, item.content_type)
        return [ms / self._speed for ms in item.event_ms or [DEFAULT_EVENT_MS] * len(events)]


def _as_mount(source: Any, faults: FaultSpec, match: Match) -> Mount:
    if not isinstance(source, Mount):
        return Mount(source, faults, match)
    return source if source.faults is not None else replace(source, faults=faults)


def _files(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Iterator[Path]:
    for item in [source] if isinstance(source, str | os.PathLike) else source:
        path = Path(item)
        found = sorted(path.rglob("*.yaml")) if path.is_dir() else [path]
        if not found:
            raise FileNotFoundError(f"no cassette below {path}")
        yield from found


def _fits_path(recorded: RequestKey, sent: RequestKey) -> bool:
    # Recorded below another base path, say /api/v1: one path is the end of the other.
    a, b = recorded.path, sent.path
    return recorded.method == sent.method and (a.endswith(b) or b.endswith(a))


def _fits_turn(recorded: RequestKey, sent: RequestKey) -> bool:
    return _fits_path(recorded, sent) and turn_of(recorded.path, recorded.body) == turn_of(
        sent.path, sent.body
    )


_FITS: Mapping[Match, Callable[[RequestKey, RequestKey], bool]] = {
    "body": lambda recorded, sent: matches(recorded, sent, ("method", "path", "body")),
    "turn": _fits_turn,
    "path": _fits_path,
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], replay: ReplayServer) -> None:
        super().__init__(address, _Handler)
        self.replay = replay
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()

    def track(self, connection: socket.socket, open_: bool) -> None:
        with self._lock:
            (self._connections.add if open_ else self._connections.discard)(connection)

    def close_connections(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("replay connection %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # each event leaves at once
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.track(self.connection, True)

    def finish(self) -> None:
        self.server.track(self.connection, False)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug("replay: %s", format % args)

    def _serve(self) -> None:
        body = self._read_body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        playback = self.server.replay.answer(Seen(self.command, self.path, headers, body))
        try:
            self._send_head(playback)
            for step in playback.steps:
                if isinstance(step, Send):
                    self._send_piece(step.data, playback.framed)
                elif not self._wait(step.seconds):
                    raise ConnectionAbortedError("the client left or the server stops")
            if playback.reset:
                self._reset()
            elif playback.framed and not self.close_connection:
                self.wfile.write(b"0\r\n\r\n")
        except ConnectionError:
            self.server.replay.left_early += not self.server.stopping.is_set()
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send_head(self, playback: Playback) -> None:
        self.send_response_only(playback.status)
        for name, value in playback.headers.items():
            self.send_header(name, value)
        if not playback.framed:
            size = sum(len(step.data) for step in playback.steps if isinstance(step, Send))
            self.send_header("content-length", str(size))
        elif self.request_version == "HTTP/1.0":
            self.close_connection = True  # no chunks there: the body ends with the connection
        else:
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def _send_piece(self, data: bytes, framed: bool) -> None:
        chunked = framed and self.request_version != "HTTP/1.0"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)

    def _wait(self, seconds: float) -> bool:
        """Let time pass; false as soon as the client has left or the server stops."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            readable, _, _ = select.select([self.connection], [], [], min(left, 0.05))
            if self.server.stopping.is_set():
                return False
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                return False
            if readable:  # the client's next request is here already
                self.server.stopping.wait(min(left, 0.05))
        return True

    def _reset(self) -> None:
        """Close with RST once the client's side has all that was sent before."""
        _drain(self.connection)
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.server.track(self.connection, False)
        # Detached, since http.server's own closing would first send an orderly FIN.
        socket.close(self.connection.detach())
        self.close_connection = True


def _drain(connection: socket.socket) -> None:
    """Wait until the kernel has delivered what was written: a reset throws the rest away."""
    try:
        import fcntl
        import termios
    except ImportError:  # Windows has neither; a moment is enough on loopback
        time.sleep(0.02)
        return
    for _ in range(200):
        unsent = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
        if not int.from_bytes(unsent, "little"):
            return
        time.sleep(0.005)
