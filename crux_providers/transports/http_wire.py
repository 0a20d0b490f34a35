"""HTTP/1.1 as bytes, for a client that sends whole requests: no sockets, no clock.

:class:`AnswerReader` takes an answer in whatever pieces it comes and gives its status, its headers
and its body without the framing (RFC 9112). What is no proper answer, or breaks off, is a
RemoteProtocolError of httpcore's, as it would be on httpcore's own connections. A connection may
serve another request only where :attr:`AnswerReader.reusable` says so.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import httpcore

MAX_HEAD_BYTES = 100 * 1024
"""The longest head of an answer, line of a chunk or trailer that is read."""

_HEAD_END = re.compile(rb"\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00]*)?")
_FIELD = re.compile(rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+):[ \t]*([^\x00\r]*?)[ \t]*")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\x00]*)?\r?")

_LENGTH, _CHUNKS, _UNTIL_CLOSED = range(3)


class Fields(NamedTuple):
    """Header lines as they came: names in their own case, values without surrounding blanks."""

    raw: list[tuple[bytes, bytes]]


class AnswerReader:
    """Reads one answer. Feed it with :meth:`receive` until ``complete``, b"" for the end.

    ``status_code`` is 0 until the head is here; :meth:`take` gives what came of the body since.
    """

    __slots__ = (
        "_buffer", "_expected", "_framing", "_in_trailer", "_keep_alive", "_left", "_method",
        "_pieces", "complete", "headers", "status_code",
    )  # fmt: skip

    def __init__(self, method: str) -> None:
        self.status_code = 0
        self.headers = Fields([])
        self.complete = False
        self._method = method
        self._buffer = b""
        self._pieces: list[bytes] = []
        self._framing = _UNTIL_CLOSED
        self._left = 0  # bytes of the body, or of the chunk with its end of line
        self._expected = 0
        self._in_trailer = False
        self._keep_alive = False

    @property
    def reusable(self) -> bool:
        """Whether the connection may serve another request: nothing is open, nothing is left."""
        return self.complete and self._keep_alive and not self._buffer

    def take(self) -> bytes:
        """The bytes of the body that came since the last look."""
        pieces = self._pieces
        if len(pieces) == 1:
            return pieces.pop()
        found = b"".join(pieces)
        pieces.clear()
        return found

    def receive(self, data: bytes) -> None:
        """The next bytes of the connection; raises RemoteProtocolError for what is no answer."""
        if not data:
            self._closed()
        elif self.status_code == 0:
            self._buffer = self._buffer + data if self._buffer else data
            self._read_head()
        else:
            self._read_body(data)

    # -- the head ---------------------------------------------------------------------------------

    def _read_head(self) -> None:
        while self.status_code == 0:
            end = _HEAD_END.search(self._buffer)
            if end is None or end.start() > MAX_HEAD_BYTES:
                if len(self._buffer) > MAX_HEAD_BYTES:
                    raise httpcore.RemoteProtocolError("the head of the answer does not end")
                return
            head, rest = self._buffer[: end.start()], self._buffer[end.end() :]
            self._buffer = b""
            self._parse(head)
            if self.status_code == 0:
                self._buffer = rest
            elif rest:
                self._read_body(rest)

    def _parse(self, head: bytes) -> None:
        lines = head.split(b"\n")
        status_line = _STATUS_LINE.fullmatch(lines[0].rstrip(b"\r"))
        if status_line is None:
            raise httpcore.RemoteProtocolError("the server does not speak HTTP/1.1")
        raw: list[tuple[bytes, bytes]] = []
        lengths: set[bytes] = set()
        codings: list[bytes] = []
        keep_alive = status_line[1] == b"1"
        for line in lines[1:]:
            line = line.removesuffix(b"\r")
            if line[:1] in b" \t" and line and raw:  # a folded line, as RFC 9112 5.2 has it
                name, before = raw.pop()
                value = (before + b" " + line.strip(b" \t")).strip(b" ")
            else:
                field = _FIELD.fullmatch(line)
                if field is None:
                    raise httpcore.RemoteProtocolError("the answer has a header that is none")
                name, value = field.groups()
            raw.append((name, value))
        for name, value in raw:
            match name.lower():
                case b"content-length":
                    lengths.update(part.strip() for part in value.split(b","))
                case b"transfer-encoding":
                    codings += [part.strip().lower() for part in value.split(b",")]
                case b"connection":
                    if b"close" in value.lower():
                        keep_alive = False
        status = int(status_line[2])
        if status < 200 and status != 101:
            return  # an announcement; the answer follows
        self.headers = Fields(raw)
        self.status_code = status
        self._keep_alive = keep_alive
        self._frame(lengths, codings)

    def _frame(self, lengths: set[bytes], codings: list[bytes]) -> None:
        """How long the body is (RFC 9112 6.3)."""
        if codings and codings != [b"chunked"]:
            raise httpcore.RemoteProtocolError(
                "the answer has a transfer coding other than chunked"
            )
        length = lengths.pop() if lengths else None
        if lengths or (length is not None and not (length.isdigit() and len(length) <= 20)):
            raise httpcore.RemoteProtocolError("the answer's Content-Length is no number")
        status = self.status_code
        if status < 200 or status in (204, 304) or self._method == "HEAD":
            self.complete = True
            self._keep_alive = self._keep_alive and status != 101
        elif codings:
            self._framing = _CHUNKS
        elif length is not None:
            self._framing = _LENGTH
            self._left = self._expected = int(length)
            self.complete = self._left == 0

    # -- the body ---------------------------------------------------------------------------------

    def _read_body(self, data: bytes) -> None:
        if self.complete:
            self._buffer += data  # nobody asked for it: the connection is not used again
        elif self._framing == _LENGTH:
            if len(data) > self._left:
                self._buffer = data[self._left :]
                data = data[: self._left]
            self._left -= len(data)
            self._pieces.append(data)
            self.complete = self._left == 0
        elif self._framing == _CHUNKS:
            self._read_chunks(self._buffer + data if self._buffer else data)
        else:
            self._pieces.append(data)

    def _read_chunks(self, data: bytes) -> None:
        """Whole chunks and parts of them; ``_left`` counts the end of line after a chunk, too."""
        at, size = 0, len(data)
        left = self._left
        while not self.complete:
            if left > 2:
                until = min(at + left - 2, size)
                self._pieces.append(data[at:until])
                left -= until - at
                at = until
            if left:
                if size - at < left:
                    break
                if data[at : at + 2] != b"\r\n":
                    raise httpcore.RemoteProtocolError(
                        "a chunk of the answer is longer than it says"
                    )
                at += 2
                left = 0
            end = data.find(b"\n", at)
            if end < 0:
                if size - at > MAX_HEAD_BYTES:
                    raise httpcore.RemoteProtocolError(
                        "a line between the chunks of the answer does not end"
                    )
                break
            line = data[at:end]
            at = end + 1
            if self._in_trailer:
                self.complete = line in (b"", b"\r")
            else:
                found = _CHUNK_LINE.fullmatch(line)
                if found is None:
                    raise httpcore.RemoteProtocolError("the answer has a chunk without a size")
                left = int(found[1], 16)
                if left:
                    left += 2
                else:
                    self._in_trailer = True
        self._left = left
        self._buffer = data[at:]

    def _closed(self) -> None:
        self._keep_alive = False
        if self.complete:
            return
        if self.status_code == 0:
            raise httpcore.RemoteProtocolError("the server hung up without an answer")
        if self._framing == _LENGTH:
            came = self._expected - self._left
            raise httpcore.RemoteProtocolError(
                f"the answer broke off after {came} of {self._expected} bytes"
            )
        if self._framing == _CHUNKS:
            raise httpcore.RemoteProtocolError("the answer broke off between its chunks")
        self.complete = True
