"""Faults laid over a recorded answer, as words: ``cut@40``, ``stall@10:30s``, ``status:429``.

N counts the dialect's events (server-sent events with data, lines of NDJSON) from 1, and the fault
strikes *at* event N: the events before it arrive whole.

==================  ==============================================================================
``cut@N``           the connection is reset in place of event N
``truncate@N``      the body ends cleanly in place of event N
``stall@N:30s``     this long passes before event N (``ms``, ``s``, ``m``)
``malformed@N``     broken JSON comes in place of event N; the rest follows
``status:429``      this status and the dialect's error body instead of the recorded answer;
                    ``status:429:2s`` adds ``retry-after: 2``
==================  ==============================================================================

A whole (not framed) body is one event; ``cut@1`` and ``truncate@1`` then come after half of it.
N may be one more than there are events: cut and stall then strike before the end of the body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

FaultKind = Literal["cut", "truncate", "stall", "malformed", "status"]
FaultSpec = str | Sequence[str] | None

EVENT_STREAMS = {"text/event-stream": "sse", "application/x-ndjson": "ndjson"}
"""Media types of framed bodies."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. ``at`` is N; ``seconds`` how long a stall lasts or what Retry-After says."""

    kind: FaultKind
    at: int = 1
    seconds: float | None = None
    status: int = 0

    def __str__(self) -> str:
        where = f":{self.status}" if self.kind == "status" else f"@{self.at}"
        return f"{self.kind}{where}" + (f":{self.seconds:g}s" if self.seconds is not None else "")


class Send(NamedTuple):
    """Bytes to hand over; one event, unless a fault halved it."""

    data: bytes


class Wait(NamedTuple):
    """Seconds of silence."""

    seconds: float


class Playback(NamedTuple):
    """An answer as it will be played: what happens in order, and how it ends.

    ``framed`` says that the body comes event by event (whole bodies have a length). ``reset`` says
    that the connection is reset at the end. ``struck`` are the faults that took place.
    """

    status: int
    headers: Mapping[str, str]
    steps: tuple[Send | Wait, ...]
    framed: bool
    reset: bool = False
    struck: frozenset[Fault] = frozenset()


_FAULT = re.compile(
    r"(?:(?P<kind>cut|truncate|stall|malformed)@(?P<at>[1-9]\d*)|status:(?P<status>[1-5]\d\d))"
    r"(?::(?P<time>\d+(?:\.\d+)?)(?P<unit>ms|s|m))?"
)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_SSE_DATA = re.compile(rb"(?:\A|[\r\n])(?:\xef\xbb\xbf)?data(?::|[\r\n]|\Z)")
_NOT_BLANK = re.compile(rb"\S")


def parse_faults(spec: FaultSpec) -> tuple[Fault, ...]:
    """The faults that ``spec`` names; raises ValueError saying what is wrong with which."""
    if spec is None:
        return ()
    return tuple(_parse(text) for text in ([spec] if isinstance(spec, str) else spec))


def is_fault(text: str) -> bool:
    """Whether ``text`` reads as one fault."""
    return _FAULT.fullmatch(text.strip()) is not None


def _parse(text: str) -> Fault:
    found = _FAULT.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            f"{text!r} is no fault; there are cut@N, truncate@N, malformed@N, stall@N:30s and"
            " status:429, with N from 1"
        )
    kind = found["kind"] or "status"
    seconds = float(found["time"]) * _SECONDS[found["unit"]] if found["time"] else None
    if (kind == "stall") != (seconds is not None) and kind != "status":
        raise ValueError(
            f"{text!r}: stall needs a duration (stall@10:30s)"
            if kind == "stall"
            else f"{text!r}: only stall and status take a duration"
        )
    return Fault(kind, int(found["at"] or 1), seconds, int(found["status"] or 0))  # type: ignore[arg-type]  # the pattern's own words


def split_events(body: bytes, media_type: str) -> list[bytes]:
    """``body`` cut after each event; joined again it is the same bytes.

    Comments and blank lines go with the event that follows them, or with the last one.
    """
    match EVENT_STREAMS.get(media_type):
        case "sse":
            pieces = re.split(rb"(?<=\n\n)|(?<=\r\n\r\n)|(?<=\r\r)", body)
            return _grouped(pieces, _SSE_DATA)
        case "ndjson":
            return _grouped(re.split(rb"(?<=\n)", body), _NOT_BLANK)
        case _:
            return [body] if body else []


def _grouped(pieces: Sequence[bytes], event: re.Pattern[bytes]) -> list[bytes]:
    events: list[bytes] = []
    held = b""
    for piece in pieces:
        held += piece
        if event.search(piece):
            events.append(held)
            held = b""
    if held:
        events[-1:] = [b"".join((*events[-1:], held))]
    return events


def play(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    faults: Sequence[Fault] = (),
    *,
    path: str = "",
    event_ms: Sequence[float] = (),
) -> Playback:
    """The recorded answer with ``faults`` over it.

    ``path`` is the request's: the error body of ``status`` follows its dialect. ``event_ms`` are
    the waits before each event, in milliseconds.
    """
    for fault in faults:
        if fault.kind == "status":
            return _error_answer(fault, path)
    media_type = headers.get("content-type", "").split(";")[0].strip().lower()
    framed = media_type in EVENT_STREAMS
    events = split_events(body, media_type)
    steps: list[Send | Wait] = []
    struck: set[Fault] = set()
    for number, event in enumerate([*events, b""], 1):
        if number <= len(event_ms) and event_ms[number - 1] > 0:
            steps.append(Wait(event_ms[number - 1] / 1000))
        here = {f.kind: f for f in faults if f.at == number}
        if stall := here.get("stall"):
            struck.add(stall)
            steps.append(Wait(stall.seconds or 0))
        if number <= len(events) and (bad := here.get("malformed")):
            struck.add(bad)
            event = _malformed(event, media_type)
        end = here.get("cut") or (here.get("truncate") if number <= len(events) else None)
        if end:
            struck.add(end)
            if not framed and event:
                steps.append(Send(event[: len(event) // 2]))
            reset = end.kind == "cut"
            return Playback(status, headers, tuple(steps), True, reset, frozenset(struck))
        if event:
            steps.append(Send(event))
    return Playback(status, headers, tuple(steps), framed, False, frozenset(struck))


def _malformed(event: bytes, media_type: str) -> bytes:
    """What comes in an event's place: its name is kept, its JSON breaks off."""
    match EVENT_STREAMS.get(media_type):
        case "sse":
            name = re.search(rb"(?m)^event:[^\r\n]*", event)
            return (name[0] + b"\n" if name else b"") + b'data: {"malformed": \n\n'
        case "ndjson":
            return b'{"malformed": \n'
        case _:
            return b'{"malformed": '


def _error_answer(fault: Fault, path: str) -> Playback:
    headers = {"content-type": "application/json"}
    if fault.seconds is not None:
        headers["retry-after"] = f"{fault.seconds:g}"
    body = json.dumps(error_body(path, fault.status, f"fault {fault}")).encode()
    return Playback(fault.status, headers, (Send(body),), False, False, frozenset({fault}))


# What each API calls a failure, by status: platform.openai.com/docs/guides/error-codes,
# docs.claude.com/en/api/errors, ai.google.dev/gemini-api/docs/troubleshooting (read 2026-11-22).
_ANTHROPIC_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error",
    529: "overloaded_error",
}  # fmt: skip
_GOOGLE_STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_OPENAI_TYPES = {401: "authentication_error", 429: "requests", 500: "server_error"}
_OPENAI_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def error_body(path: str, status: int, message: str) -> dict[str, object]:
    """An error in the shape of the dialect that ``path`` belongs to (OpenAI's where unknown)."""
    if path.endswith("/messages"):
        kind = _ANTHROPIC_TYPES.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}}
    if path.endswith("enerateContent"):
        word = _GOOGLE_STATUSES.get(status, "UNKNOWN")
        return {"error": {"code": status, "message": message, "status": word}}
    if path.endswith("/api/chat"):
        return {"error": message}
    kind = _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    code = _OPENAI_CODES.get(status)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
