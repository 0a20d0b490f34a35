"""What the errors of an SDK mean when it lists models, as what a transport raises.

Classes are known by name and fields, as in :mod:`.network_errors`, so that no SDK is imported to
recognise them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from ..base.errors import ErrorCode, ProviderError, WireFailure
from .network_errors import wire_failure


@contextmanager
def listing_failures() -> Iterator[None]:
    """Raise an SDK's error as the WireFailure it stands for.

    What no table knows is an SDK that stumbled over a 200 that is no listing: ``malformed``.
    """
    try:
        yield
    except ProviderError:
        raise
    except Exception as exc:
        raise _meaning(exc) from exc


def _meaning(exc: Exception) -> Exception:
    names = {cls.__name__ for cls in type(exc).__mro__}
    status = getattr(exc, "status_code", None) or getattr(exc, "code", None)
    if isinstance(status, int) and status >= 400:
        return _status(exc, status)
    if "APIConnectionError" in names:  # OpenAI, Anthropic; the cause is their HTTP library's
        cause = exc.__cause__
        known = wire_failure(cause) if cause is not None else None
        return known or WireFailure("connect", str(exc), cause=exc)
    if (known := wire_failure(exc)) is not None:
        return known
    if isinstance(exc, OSError):  # requests' own errors, beneath Google's SDK
        return WireFailure("connect", str(exc), cause=exc)
    message = f"the SDK could not read the listing: {type(exc).__name__}: {exc}"
    return ProviderError(ErrorCode.MALFORMED, message, cause=exc)


def _status(exc: Exception, status: int) -> WireFailure:
    response = getattr(exc, "response", None)
    headers = {str(k).lower(): str(v) for k, v in getattr(response, "headers", {}).items()}
    body = getattr(response, "content", None)
    if not isinstance(body, bytes):
        body = json.dumps({"error": str(getattr(exc, "error", exc))}).encode()  # Ollama's has words
    return WireFailure("status", str(exc), status=status, headers=headers, body=body, cause=exc)
