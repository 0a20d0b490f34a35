"""How a stream's bytes are cut into events: server-sent events and newline-delimited JSON.

Both decoders take bytes split anywhere and take time linear in them. One event is at most
:data:`MAX_EVENT_BYTES`; a longer one raises ``ProviderError(malformed)`` once the events before it
have been handed over. After an error a decoder only raises it again.

Source: HTML Living Standard, 9.2.6 "Interpreting an event stream", and
github.com/ndjson/ndjson-spec 1.0.
"""

from __future__ import annotations

from typing import Protocol

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import compact_json
from crux_providers.base.wire import Framing, WireEvent

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""The longest event or line taken; a base64 image in one event stays well below."""

_BOM = b"\xef\xbb\xbf"


class FrameDecoder(Protocol):
    """What cuts bytes into events."""

    def feed(self, data: bytes) -> list[WireEvent]:
        """The events completed by ``data``; raises ``malformed`` for one beyond the bound."""
        ...

    def finish(self) -> list[WireEvent]:
        """The events left when the bytes have ended."""
        ...


class _Lines:
    """What both framings share: the unfinished line, the byte order mark, the bound."""

    __slots__ = ("_error", "_limit", "_pending", "_pending_size", "_start")

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        self._pending: list[bytes] = []  # pieces of the line that has not ended yet
        self._pending_size = 0
        self._start: bytes | None = b""  # the first bytes, until a BOM is seen or ruled out
        self._error: ProviderError | None = None

    def _strip_bom(self, data: bytes) -> bytes:
        head = (self._start or b"") + data
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._start = head
            return b""
        self._start = None
        return head.removeprefix(_BOM)

    def _hold(self, data: bytes, size: int) -> None:
        self._pending.append(data)
        self._pending_size += len(data)
        if size + self._pending_size > self._limit:
            self._too_long()

    def _take_pending(self, data: bytes) -> bytes:
        self._pending.append(data)
        whole = b"".join(self._pending)
        self._pending.clear()
        self._pending_size = 0
        return whole

    def _too_long(self) -> None:
        self._pending.clear()
        self._pending_size = 0
        self._error = ProviderError(
            ErrorCode.MALFORMED, f"an event of the stream is longer than {self._limit} bytes"
        )

    def _deliver(self, events: list[WireEvent]) -> list[WireEvent]:
        # Events before the bad one come first, however the bytes were split.
        if self._error is not None and not events:
            raise self._error
        return events


class SSEDecoder(_Lines):
    """Server-sent events: bytes in, :class:`WireEvent` out.

    Lines end in LF, CRLF or CR; comments, ``id`` and ``retry`` are passed over; several ``data``
    lines are joined by a newline. ``data`` of an event is text, or bytes where it is not UTF-8.
    Unlike a browser, ``finish`` delivers an event whose blank line never came, since some
    providers close right after the last one.
    """

    __slots__ = ("_after_cr", "_data", "_name", "_size")

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        super().__init__(limit)
        self._after_cr = False  # the last byte was a CR: an LF right after it says nothing
        self._data: list[bytes] = []
        self._name: str | None = None
        self._size = 0  # bytes of the event so far, without its unfinished line

    def feed(self, data: bytes) -> list[WireEvent]:
        """The events that ``data`` completes, in order."""
        events: list[WireEvent] = []
        if self._start is not None:
            data = self._strip_bom(data)
        if self._error is not None:
            raise self._error
        if not data:
            return events
        if self._after_cr:
            self._after_cr = False
            if data[0] == 10:
                data = data[1:]
        elif (  # one whole event of one line, as most reads bring it
            data.startswith(b"data: ")
            and data.find(b"\n") == len(data) - 2
            and data.endswith(b"\n\n")
            and not (self._pending or self._data or self._name)
            and b"\r" not in data
            and len(data) <= self._limit
        ):
            self._data.append(data[6:-2])
            events.append(self._event())
            return events
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if not end:
            if data:
                self._hold(data, self._size)
            return self._deliver(events)
        head, tail = (data, b"") if end == len(data) else (data[:end], data[end:])
        if self._pending:
            head = self._take_pending(head)
        if not tail and head[-1] == 13:
            self._after_cr = True
        self._lines(head.splitlines(), events)
        if tail and self._error is None:
            self._hold(tail, self._size)
        return self._deliver(events)

    def _lines(self, lines: list[bytes], events: list[WireEvent]) -> None:
        for line in lines:
            if not line:
                if self._data:
                    events.append(self._event())
                self._name = None
                self._size = 0
                continue
            if self._size + len(line) > self._limit:
                self._too_long()
                return
            if line.startswith(b"data:"):
                self._size += len(line)
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif line.startswith(b"event:"):
                value = line[7:] if line.startswith(b"event: ") else line[6:]
                self._name = value.decode("utf-8", "replace") or None
            elif line == b"data":
                self._size += len(line)
                self._data.append(b"")
            elif line == b"event":
                self._name = None

    def _event(self) -> WireEvent:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data = []
        try:
            return WireEvent(data.decode(), self._name)
        except UnicodeDecodeError:
            return WireEvent(data, self._name)

    def finish(self) -> list[WireEvent]:
        """The last event where its blank line is missing and it has data."""
        if self._error is not None:
            raise self._error
        events: list[WireEvent] = []
        left = self._take_pending(self._start or b"")
        self._start = None
        self._lines([left, b""] if left else [b""], events)
        return self._deliver(events)


class NDJSONDecoder(_Lines):
    """Newline-delimited JSON: each line that is not blank is one event, not parsed yet."""

    __slots__ = ()

    def feed(self, data: bytes) -> list[WireEvent]:
        """The lines that ``data`` completes, in order."""
        events: list[WireEvent] = []
        if self._start is not None:
            data = self._strip_bom(data)
        if self._error is not None:
            raise self._error
        end = data.rfind(b"\n") + 1
        if not end:
            if data:
                self._hold(data, 0)
            return self._deliver(events)
        head = self._take_pending(data[: end - 1])
        self._lines(head.split(b"\n"), events)
        if end < len(data) and self._error is None:
            self._hold(data[end:], 0)
        return self._deliver(events)

    def _lines(self, lines: list[bytes], events: list[WireEvent]) -> None:
        for line in lines:
            if len(line) > self._limit:
                self._too_long()
                return
            line = line.strip()
            if not line:
                continue
            try:
                events.append(WireEvent(line.decode()))
            except UnicodeDecodeError:
                events.append(WireEvent(line))

    def finish(self) -> list[WireEvent]:
        """The last line where its newline is missing."""
        if self._error is not None:
            raise self._error
        events: list[WireEvent] = []
        left = self._take_pending(self._start or b"")
        self._start = None
        self._lines([left], events)
        return self._deliver(events)


def framing_decoder(framing: Framing) -> FrameDecoder:
    """A fresh decoder for the framing a :class:`~crux_providers.base.wire.WireRequest` names."""
    return _DECODERS[framing]()


_DECODERS: dict[Framing, type[SSEDecoder] | type[NDJSONDecoder]] = {
    "sse": SSEDecoder,
    "ndjson": NDJSONDecoder,
}


def _bytes_of(event: WireEvent) -> bytes:
    if isinstance(event.data, bytes):
        return event.data
    text = event.data if isinstance(event.data, str) else compact_json(event.data)
    # A lone surrogate has no UTF-8; its backslash form is what JSON writes for it.
    return text.encode("utf-8", "backslashreplace")


def render_sse(event: WireEvent) -> bytes:
    """The bytes of one server-sent event; ``data`` that is neither text nor bytes becomes JSON."""
    name = f"event: {event.name}\n".encode() if event.name else b""
    lines = b"".join(b"data: " + line + b"\n" for line in _bytes_of(event).split(b"\n"))
    return name + lines + b"\n"


def render_ndjson(event: WireEvent) -> bytes:
    """The bytes of one line of newline-delimited JSON."""
    return _bytes_of(event) + b"\n"
