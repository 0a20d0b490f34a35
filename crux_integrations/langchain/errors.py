"""Failures in LangChain's words: each is the library's own error and a ``ModelError`` at once.

The router raises :class:`~crux_providers.base.errors.ProviderError`,
:class:`~crux_providers.base.errors.AllCandidatesFailed` and
:class:`~crux_providers.base.errors.StreamInterrupted`. ``ChatCrux`` raises subclasses of those that
LangChain's code knows too (``except ModelRateLimitError``, a retry by ``is_retryable``), so one
``except`` catches either::

    ChatCruxError(ProviderError, ModelError)
     ├─ ChatCruxAllFailed(AllCandidatesFailed)
     ├─ ChatCruxInterrupted(StreamInterrupted)      .partial is an AIMessage
     └─ one class of each family for every class of LangChain's in KINDS
"""

from __future__ import annotations

from collections.abc import Mapping

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)

from crux_providers.base.errors import (
    AllCandidatesFailed,
    ErrorCode,
    ProviderError,
    StreamInterrupted,
)
from crux_providers.base.models import ChatResponse

from .answers import to_ai_message

KINDS: Mapping[ErrorCode, type[ModelError]] = {
    ErrorCode.AUTH: ModelAuthenticationError,
    ErrorCode.PERMISSION: ModelPermissionDeniedError,
    ErrorCode.BAD_REQUEST: ModelInvalidRequestError,
    ErrorCode.UNSUPPORTED: ModelInvalidRequestError,
    ErrorCode.CONTENT_FILTER: ModelInvalidRequestError,
    ErrorCode.CONTEXT_LENGTH: ContextOverflowError,
    ErrorCode.NOT_FOUND: ModelNotFoundError,
    ErrorCode.QUOTA: ModelRateLimitError,
    ErrorCode.RATE_LIMIT: ModelRateLimitError,
    ErrorCode.OVERLOADED: ModelAPIError,
    ErrorCode.SERVER_ERROR: ModelAPIError,
    ErrorCode.MALFORMED: ModelAPIError,
    ErrorCode.TRANSIENT: ModelConnectionError,
    ErrorCode.TIMEOUT: ModelTimeoutError,
}
"""LangChain's class for each code; codes not listed (conflict, cancelled, internal) are plain
``ModelError``. Where LangChain's class and the code disagree about retrying (quota), the error's
own ``is_retryable`` says what the code says."""


class ChatCruxError(ProviderError, ModelError):
    """A call that failed, for code that knows either tree; ``is_retryable`` is ``retryable``."""


class ChatCruxAllFailed(AllCandidatesFailed, ChatCruxError):
    """Every candidate was rejected or failed; ``attempts`` and ``rejected`` say how."""


class ChatCruxInterrupted(StreamInterrupted, ChatCruxError):
    """A stream that failed after its first content; ``partial`` is the AIMessage so far."""


_FAMILIES: tuple[type[ChatCruxError], ...] = (ChatCruxAllFailed, ChatCruxInterrupted, ChatCruxError)
_CLASSES: dict[tuple[type[ChatCruxError], type[ModelError]], type[ChatCruxError]] = {}


def _make_classes() -> None:
    # One class for each pair, by name in this module, so that errors cross process borders.
    for family in _FAMILIES:
        for kind in dict.fromkeys(KINDS.values()):
            name = f"{family.__name__}_{kind.__name__}"
            made = type(name, (family, kind), {"__module__": __name__, "__doc__": family.__doc__})
            globals()[name] = _CLASSES[family, kind] = made


_make_classes()


def langchain_error(error: ProviderError) -> ChatCruxError:
    """``error`` as the class LangChain knows, with the same code, words, attempts and cause.

    A ``partial`` that is a ChatResponse becomes an AIMessage. Raise it ``from error``.
    """
    if isinstance(error, ChatCruxError):
        return error
    match error:
        case AllCandidatesFailed():
            family: type[ChatCruxError] = ChatCruxAllFailed
        case StreamInterrupted():
            family = ChatCruxInterrupted
        case _:
            family = ChatCruxError
    kind = KINDS.get(error.code)
    made = family if kind is None else _CLASSES[family, kind]
    new = made.__new__(made, *error.args)
    new.args = error.args
    new.__dict__.update(error.__dict__)
    new.__dict__["is_retryable"] = error.retryable
    partial = error.__dict__.get("partial")
    if isinstance(partial, ChatResponse):
        new.__dict__["partial"] = to_ai_message(partial)
    return new
