"""What the exceptions of providers' SDKs mean, as a :class:`WireFailure`.

SDKs are known by what their exceptions carry (a status, a response, a body) and by what caused
them, never by import: an ``APIConnectionError`` says nothing that the network error beneath it does
not say better, and a status error is its status, headers and body.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..base.errors import WireFailure, passes_through
from .http_transport import refusal
from .network_errors import wire_failure, wire_kind

CAUSES = 8
"""How many exceptions of a chain are looked at."""


def sdk_failure(exc: BaseException, *, phase: str = "total") -> Exception | None:
    """``exc``, raised by a call of an SDK, as what a transport raises.

    None where it says nothing of the call: a cassette's miss, a KeyboardInterrupt. Anything else
    without a network error beneath it is ``local``: the SDK could not make the call out of its
    arguments, its credentials or its settings. ``phase`` names the deadline of a timeout.
    """
    if not isinstance(exc, Exception) or any(passes_through(link) for link in chain(exc)):
        return None
    if (failure := status_failure(exc)) is not None:
        return failure
    for link in chain(exc):
        if wire_kind(link) == ("status", "HTTPStatusError"):
            return status_failure(link)  # reading the text of the error broke off
        if (known := wire_failure(link, phase=phase)) is not None:
            return known
    name = type(exc).__name__
    if "Timeout" in name:
        return WireFailure("timeout", f"{name}: {exc}", cause=exc, phase=phase)
    if "Connection" in name:
        return WireFailure("connect", f"{name}: {exc}", cause=exc)
    if getattr(exc, "body", None):
        return WireFailure("in_band", f"{name}: {exc}", body=exc.body, cause=exc)  # type: ignore[attr-defined]  # looked for just now
    return WireFailure("local", f"{name}: {exc}", cause=exc)


def missed(exc: BaseException) -> BaseException | None:
    """The cassette's miss beneath an SDK's error, which has to leave as itself."""
    return next((link for link in chain(exc) if passes_through(link)), None)


def chain(exc: BaseException) -> Iterator[BaseException]:
    """``exc`` and what caused it, from the outside in."""
    link: BaseException | None = exc
    for _ in range(CAUSES):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


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
