"""What the exceptions of providers' SDKs mean, as a :class:`WireFailure`.

SDKs are known by what their exceptions carry (a status, a response, a body) and by what caused
them, never by import: an ``APIConnectionError`` says nothing that the network error beneath it does
not say better, and a status error is its status, headers and body.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..base.errors import WireFailure, WireKind, passes_through
from .http_transport import refusal
from .network_errors import wire_failure, wire_kind

CAUSES = 16
"""How many exceptions of a chain are looked at."""


def sdk_failure(
    exc: BaseException,
    *,
    phase: str = "total",
    otherwise: WireKind = "local",
    before: BaseException | None = None,
) -> BaseException:
    """``exc``, raised by a call of an SDK, as what a transport raises instead.

    A cassette's miss is found beneath what the SDK made of it and leaves as itself. What has no
    network error beneath it is ``otherwise``: before the answer ``local``, since the SDK could not
    make the call out of its arguments, its credentials or its settings. ``phase`` names the
    deadline of a timeout, ``before`` is the exception that was being handled already when the call
    was made (a fallback calls so): it says nothing of this one. Nothing that is returned holds the
    request, which has the keys.
    """
    links = list(chain(exc, before))
    if (miss := next(filter(passes_through, links), None)) is not None:
        return miss
    if (failure := status_failure(exc)) is not None:
        return failure
    for link in links:  # reading the text of an error may break off; its status is here
        if wire_kind(link) == ("status", "HTTPStatusError"):
            return status_failure(link) or link
    for place, link in enumerate(links):
        if (known := wire_failure(link, phase=phase)) is not None:
            if known is not link and isinstance(known, WireFailure):
                known.cause = known.__cause__ = _innermost(links[place:])
            return known
    name = type(exc).__name__
    kind: WireKind = otherwise
    if "Timeout" in name:
        kind = "timeout"
    elif "ConnectionError" in name:
        kind = "connect"
    elif getattr(exc, "body", None):
        kind = "in_band"
    return WireFailure(
        kind,
        f"{name}: {exc}",
        body=getattr(exc, "body", None) or b"",
        cause=None if hasattr(exc, "request") else exc,
        phase=phase if kind == "timeout" else None,
    )


def plain_failure(exc: BaseException) -> WireFailure | None:
    """What an exception says that came from no call of ours, or None where it says nothing.

    Only what is certain: an answer that it carries, or a network error that it is or was made from.
    """
    if (failure := status_failure(exc)) is not None:
        return failure
    link: BaseException | None = exc
    for _ in range(CAUSES):
        if link is None:
            break
        if isinstance(known := wire_failure(link), WireFailure):
            return known
        link = link.__cause__
    return None


def _innermost(links: list[BaseException]) -> BaseException | None:
    # An HTTP library's exception has the request on it; the one of the socket beneath has not.
    return next((link for link in reversed(links) if wire_kind(link) is not None), None)


def chain(exc: BaseException, before: BaseException | None = None) -> Iterator[BaseException]:
    """``exc`` and what it came from, the nearest first, up to what was handled ``before`` it."""
    seen: list[BaseException] = []
    waiting = [exc]
    while waiting and len(seen) < CAUSES:
        link = waiting.pop(0)
        if link is before or link in seen:
            continue
        seen.append(link)
        yield link
        waiting += [origin for origin in (link.__cause__, link.__context__) if origin is not None]


def status_failure(exc: BaseException) -> WireFailure | None:
    """The failure of an exception that carries an answer, or None.

    An answer with status 200 that an SDK raises is an error inside a stream (``in_band``).
    """
    response = getattr(exc, "response", None)
    status = _status(exc, response)
    if status is None:
        return None
    headers = {k.lower(): v for k, v in getattr(response, "headers", {}).items()}
    parsed = getattr(exc, "body", None)
    if status < 300:
        return WireFailure(
            "in_band", f"HTTP {status} with an error inside", headers=headers, body=parsed or {}
        )
    # The bytes as they came say more than what the SDK cut out of them. Without the cause, since
    # its response holds the request with its keys.
    raw = getattr(response, "_content", None)
    return refusal(status, headers, raw if raw else parsed if parsed is not None else b"")


def _status(exc: BaseException, response: Any) -> int | None:
    for holder in (exc, response):
        status = getattr(holder, "status_code", None)
        if isinstance(status, int) and status >= 100:
            return status
    return None
