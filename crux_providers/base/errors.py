"""The error tree and its one classification table.

::

    ProviderError                   what any provider call raises; .code is an ErrorCode
     ├─ CancelledError              (base.cancellation) the caller ended the call
     ├─ StreamInterrupted           a stream failed after content; .partial holds what came
     └─ AllCandidatesFailed         a router ran out of candidates; .attempts lists them
    WireFailure                     what transports raise; codecs turn it into a ProviderError
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal

MESSAGE_LIMIT = 300
"""Characters kept of an error's message in events, logs and the ledger."""


class ErrorCode(StrEnum):
    """What went wrong, by who can mend it rather than by provider."""

    AUTH = "auth"
    PERMISSION = "permission"
    BAD_REQUEST = "bad_request"
    CONTEXT_LENGTH = "context_length"
    UNSUPPORTED = "unsupported"
    CONTENT_FILTER = "content_filter"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    QUOTA = "quota"
    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    TRANSIENT = "transient"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    MALFORMED = "malformed"
    INTERNAL = "internal"


HARMLESS: frozenset[ErrorCode] = frozenset(
    {
        ErrorCode.BAD_REQUEST,
        ErrorCode.CONTENT_FILTER,
        ErrorCode.CANCELLED,
        ErrorCode.CONTEXT_LENGTH,
        ErrorCode.UNSUPPORTED,
        ErrorCode.INTERNAL,
    }
)
"""Codes that say something of the request, and nothing of the candidate's health."""


RETRYABLE: frozenset[ErrorCode] = frozenset(
    {
        ErrorCode.RATE_LIMIT,
        ErrorCode.OVERLOADED,
        ErrorCode.SERVER_ERROR,
        ErrorCode.TRANSIENT,
        ErrorCode.TIMEOUT,
        ErrorCode.MALFORMED,
    }
)
"""Codes for which the same request may succeed a moment later."""

STATUS_CODES: Mapping[int, ErrorCode] = {
    400: ErrorCode.BAD_REQUEST,
    401: ErrorCode.AUTH,
    402: ErrorCode.QUOTA,
    403: ErrorCode.PERMISSION,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.BAD_REQUEST,
    408: ErrorCode.TIMEOUT,
    409: ErrorCode.CONFLICT,
    410: ErrorCode.NOT_FOUND,
    413: ErrorCode.BAD_REQUEST,
    415: ErrorCode.BAD_REQUEST,
    422: ErrorCode.BAD_REQUEST,
    425: ErrorCode.TRANSIENT,
    429: ErrorCode.RATE_LIMIT,
    500: ErrorCode.SERVER_ERROR,
    502: ErrorCode.TRANSIENT,
    503: ErrorCode.TRANSIENT,
    504: ErrorCode.TRANSIENT,
    529: ErrorCode.OVERLOADED,
}
"""What a status means where the provider's own code says nothing more."""


def code_for_status(status: int) -> ErrorCode:
    """The code of an HTTP status; unlisted ones by their class (4xx, 5xx), others malformed."""
    if status in STATUS_CODES:
        return STATUS_CODES[status]
    if 400 <= status < 500:
        return ErrorCode.BAD_REQUEST
    return ErrorCode.SERVER_ERROR if 500 <= status < 600 else ErrorCode.MALFORMED


class ProviderError(Exception):
    """A call that failed, in the one taxonomy.

    ``message`` is the provider's where it gave one; ``status`` the HTTP status; ``request_id`` the
    provider's id of the call; ``retry_after`` seconds it asked to wait; ``retryable`` whether the
    same request may succeed later (by code unless said); ``cause`` the exception beneath.
    ``feature`` names the capability a refusal (``unsupported``) was about, where the provider's
    own words say which. ``provider_code`` is the provider's own code, as sent.
    """

    def __init__(
        self,
        code: ErrorCode | str,
        message: str = "",
        *,
        provider: str | None = None,
        model: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
        cause: BaseException | None = None,
        feature: str | None = None,
        provider_code: str | None = None,
    ) -> None:
        self.code = ErrorCode(code)
        self.message = message
        self.provider = provider
        self.model = model
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        self.retryable = self.code in RETRYABLE if retryable is None else retryable
        self.cause = cause
        self.feature = feature
        self.provider_code = provider_code
        super().__init__(message)
        if cause is not None:
            self.__cause__ = cause

    def __str__(self) -> str:
        where = ":".join(x for x in (self.provider, self.model) if x)
        status = f" (HTTP {self.status})" if self.status is not None else ""
        return f"{where + ' ' if where else ''}{self.code}{status}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, _portable(self.__dict__))

    def terminal(self) -> str:
        """``<code>:<message>``, the message cut to one line of :data:`MESSAGE_LIMIT` characters."""
        return f"{self.code}:{short_message(self.message)}"

    def locate(self, provider: str | None, model: str | None) -> ProviderError:
        """Fill in provider and model where they are unknown yet; returns the same error."""
        self.provider = self.provider or provider
        self.model = self.model or model
        return self


class StreamInterrupted(ProviderError):
    """A stream that failed after its first content.

    ``partial`` is the answer so far (a ChatResponse; an AIMessage from ChatCrux), ``attempts`` the
    attempts of the call as mappings, ``cause`` what broke it; ``code`` is the cause's.
    """

    def __init__(
        self, cause: ProviderError, *, partial: Any = None, attempts: Sequence[Any] = ()
    ) -> None:
        super().__init__(
            cause.code,
            f"stream interrupted after content: {cause.message}",
            provider=cause.provider,
            model=cause.model,
            status=cause.status,
            request_id=cause.request_id,
            retry_after=cause.retry_after,
            retryable=cause.retryable,
            cause=cause,
        )
        self.partial = partial
        self.attempts = list(attempts)


class AllCandidatesFailed(ProviderError):
    """Every candidate of a route was rejected or failed.

    ``attempts`` and ``rejected`` are lists of mappings (the shape of ``response_metadata.crux``);
    the message has a line for each. ``code`` and ``cause`` are the last failure's.
    """

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode | str = ErrorCode.INTERNAL,
        cause: BaseException | None = None,
        attempts: Sequence[Any] = (),
        rejected: Sequence[Any] = (),
        **more: Any,
    ) -> None:
        super().__init__(code, message, cause=cause, **more)
        self.attempts = list(attempts)
        self.rejected = list(rejected)

    def __str__(self) -> str:
        return self.message


WireKind = Literal["connect", "timeout", "cut", "status", "in_band", "local"]


class WireFailure(Exception):
    """What a transport raises, and nothing else.

    ``kind``: ``connect`` (never reached the server), ``timeout`` (``phase`` says which deadline:
    connect, first_token, idle, total), ``cut`` (connection lost or body cut short), ``status`` (an
    HTTP error status, with ``headers`` lower-case and ``body`` bytes or parsed JSON), ``in_band``
    (an error inside a 200 answer; ``body`` holds it), ``local`` (this side could not send: a
    redirect, an unusable option, a missing SDK). Holds no request headers.
    """

    def __init__(
        self,
        kind: WireKind,
        message: str = "",
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = b"",
        cause: BaseException | None = None,
        phase: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.headers: Mapping[str, str] = headers or {}
        self.body = body
        self.cause = cause
        self.phase = phase
        if cause is not None:
            self.__cause__ = cause


def classify_wire(
    failure: WireFailure,
    *,
    message: str | None = None,
    code: ErrorCode | None = None,
    provider_code: str | None = None,
    feature: str | None = None,
    retry_after: float | None = None,
) -> ProviderError:
    """The part of ``classify`` that no dialect changes: kinds, statuses, ids, Retry-After.

    A codec passes what the provider's own fields say (``code``, ``message``); the rest follows
    from the failure. A timeout is ``timeout`` except between events (``idle``); the streaming
    lifecycle turns one that comes after content into ``transient``.
    """
    known = ErrorCode.BAD_REQUEST  # kind local: this side could not send
    match failure.kind:
        case "connect" | "cut":
            known = ErrorCode.TRANSIENT
        case "timeout":
            known = ErrorCode.TRANSIENT if failure.phase == "idle" else ErrorCode.TIMEOUT
        case "status" | "in_band":
            known = (
                code_for_status(failure.status)
                if failure.status is not None and failure.status >= 300
                else ErrorCode.SERVER_ERROR
            )
    if code is ErrorCode.SERVER_ERROR and known in (ErrorCode.TRANSIENT, ErrorCode.OVERLOADED):
        code = None  # "a server error" says less than the status: 502 to 504 may pass, 529 is load
    wait = retry_after if retry_after is not None else retry_after_seconds(failure.headers)
    return ProviderError(
        code or known,
        without_keys(message or failure.message)
        or (f"HTTP {failure.status}" if failure.status else failure.kind),
        status=failure.status,
        request_id=request_id_of(failure.headers),
        retry_after=wait,
        cause=failure,
        feature=feature,
        provider_code=provider_code,
    )


def passes_through(exc: BaseException) -> bool:
    """Whether the exception is a test's own and no failure of a provider: a cassette's miss.

    Known by name: a library that replays is never imported here.
    """
    names = ("CassetteMiss", "CannotOverwriteExistingRequestException")
    return any(kind.__name__ in names for kind in type(exc).__mro__)


def classify_exception(exc: BaseException, *, started: bool = False) -> ProviderError:
    """Any exception as a ProviderError; ``started`` says whether content came before it.

    ProviderError stays itself; TimeoutError is ``timeout`` in the start phase and ``transient``
    after it; ConnectionError and OSError are ``transient``; what nobody knows is ``internal`` with
    the exception's type in the message.
    """
    match exc:
        case ProviderError():
            return exc
        case WireFailure():
            return classify_wire(exc)
        case TimeoutError():
            code = ErrorCode.TRANSIENT if started else ErrorCode.TIMEOUT
            return ProviderError(code, str(exc) or "operation timed out", cause=exc)
        case OSError():
            return ProviderError(ErrorCode.TRANSIENT, f"{type(exc).__name__}: {exc}", cause=exc)
        case _:
            return ProviderError(ErrorCode.INTERNAL, f"{type(exc).__name__}: {exc}", cause=exc)


REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-amzn-requestid", "apim-request-id", "cf-ray")


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """The provider's id of the call, by the first header that has one (lower-case names)."""
    return next((headers[h] for h in REQUEST_ID_HEADERS if headers.get(h)), None)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """``retry-after-ms`` or ``retry-after`` in seconds; a date counts from the ``date`` header.

    A date with no ``date`` header beside it says nothing here, since this module has no clock.
    """
    if (text := headers.get("retry-after-ms")) is not None:
        with_ms = _number(text)
        if with_ms is not None:
            return with_ms / 1000
    text = headers.get("retry-after")
    if text is None:
        return None
    if (seconds := _number(text)) is not None:
        return seconds
    from email.utils import parsedate_to_datetime  # rare path, 5 ms of import

    try:
        until = parsedate_to_datetime(text)
        now = parsedate_to_datetime(headers["date"])
        return max(0.0, (until - now).total_seconds())
    except (KeyError, TypeError, ValueError):
        return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


_SECRET = re.compile(
    r"(?i)\b(?:sk|pk|rk|xai|gsk|key|AIza)[-_]?[A-Za-z0-9*_\-]{16,}|(?<=Bearer )[^\s\"']{8,}"
)


def without_keys(message: str) -> str:
    """The words with anything in them that looks like a key removed: some servers echo it."""
    return _SECRET.sub("[key]", message)


def short_message(message: str, limit: int = MESSAGE_LIMIT) -> str:
    """One line of at most ``limit`` characters with anything that looks like a key removed."""
    line = " ".join(without_keys(message).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _portable(state: Mapping[str, Any]) -> dict[str, Any]:
    # A cause may hold sockets or SDK objects that cannot cross a process; its words can.
    cause = state.get("cause")
    kept = dict(state)
    if cause is not None and not isinstance(cause, ProviderError):
        kept["cause"] = None
    return kept


def _rebuild(
    kind: type[ProviderError], args: tuple[Any, ...], state: dict[str, Any]
) -> ProviderError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error
