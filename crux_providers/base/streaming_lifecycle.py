"""What every stream goes through, without reading anything: counts, ids, one terminal event.

The drivers in :mod:`streaming_adapter` (sync and async) feed it; all rules of the streaming
contract that are not about waiting live here, once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import metrics, tracing
from .cancellation import CancelledError
from .errors import (
    ErrorCode,
    ProviderError,
    WireFailure,
    classify_exception,
    passes_through,
    short_message,
)
from .events import ChatStreamEvent, usage_fields
from .logging import LogContext, log_event
from .models import Usage, parse_structured
from .ports import resolve

Translator = Callable[[Any], Any]
Hook = Callable[["StreamLifecycle"], None]

_TERMINAL_OK = ChatStreamEvent(finish=True)
_NOTHING = ChatStreamEvent()

CLOSED_EARLY = "closed by the consumer"
"""The reason of a stream whose consumer left before its end."""


def starter_parts(result: Any) -> tuple[Any, Mapping[str, Any]]:
    """The (stream, ids) in what a starter returned; raises ``internal`` for any other shape.

    Accepted: an iterable (a list too), a tuple of two (stream, mapping), or a mapping with
    ``stream``; the mappings may hold ``request_id`` and ``response_id``.
    """
    match result:
        case None:
            raise ProviderError(ErrorCode.INTERNAL, "starter() returned None")
        case Mapping():
            if "stream" not in result:
                raise ProviderError(ErrorCode.INTERNAL, "starter() mapping missing 'stream' key")
            stream, ids = result["stream"], result
        case tuple():
            if len(result) != 2:
                raise ProviderError(
                    ErrorCode.INTERNAL,
                    f"starter() returned a tuple of {len(result)}; (stream, mapping) has two",
                )
            stream, ids = result
            if not isinstance(ids, Mapping):
                raise ProviderError(
                    ErrorCode.INTERNAL,
                    f"starter() second element must be mapping, not {type(ids).__name__}",
                )
        case _:
            stream, ids = result, {}
    if isinstance(stream, (str, bytes)) or not (
        hasattr(stream, "__iter__") or hasattr(stream, "__aiter__")
    ):
        raise ProviderError(
            ErrorCode.INTERNAL, f"starter() returned {type(stream).__name__}, not a stream"
        )
    return stream, ids


class StreamLifecycle:
    """The state of one stream from its start to its only terminal event.

    ``emitted_count`` counts committing events; times are milliseconds as floats, on a monotonic
    clock that starts with :meth:`begin`. ``usage`` is the latest seen. After :meth:`end`,
    ``error`` holds the ProviderError, or None for success.
    """

    __slots__ = (
        "_first_at",
        "_given_ids",
        "_pieces",
        "_skip_logged",
        "_span",
        "_started_at",
        "_translator",
        "attempt",
        "cost_usd",
        "ctx",
        "emitted_count",
        "ended",
        "error",
        "finish_reason",
        "logger",
        "logprobs",
        "model",
        "model_name",
        "on_end",
        "on_first",
        "provider",
        "reasoned",
        "response_format",
        "skipped",
        "structured",
        "tool_calls",
        "total_duration_ms",
        "usage",
        "usage_fields",
    )

    def __init__(
        self,
        *,
        ctx: LogContext,
        provider: str,
        model: str,
        translator: Translator | None,
        logger: logging.Logger,
        response_format: str | None = None,
        on_first: Hook | None = None,
        on_end: Hook | None = None,
    ) -> None:
        self.ctx = ctx
        self.provider = provider
        self.model = model
        self.logger = logger
        self.response_format = response_format
        self.on_first = on_first
        self.on_end = on_end
        self.attempt = 1
        self.emitted_count = 0
        self.skipped = 0
        self.tool_calls = 0
        self.reasoned = False
        self.logprobs = False
        self.usage: Usage | None = None
        self.usage_fields: Mapping[str, Any] = {}
        self.cost_usd: float | None = None
        self.finish_reason: str | None = None
        self.model_name: str | None = None
        self.structured: Any = None
        self.error: ProviderError | None = None
        self.ended = False
        self.total_duration_ms = 0.0
        self._translator = translator
        self._started_at = time.perf_counter()
        self._first_at: float | None = None
        self._pieces: list[str] | None = (
            [] if response_format in ("json_object", "json_schema") else None
        )
        self._skip_logged = False
        self._span: Any = None
        self._given_ids = (ctx.request_id, ctx.response_id)

    def begin(self) -> None:
        """Start the clock and the start-phase span."""
        self._started_at = time.perf_counter()
        self._span = tracing.start_span("providers.stream.start", self._labels())

    def begin_attempt(self, number: int) -> None:
        """Count an attempt; ids of the one before it are no ids of this one."""
        self.attempt = number
        self.ctx.request_id, self.ctx.response_id = self._given_ids

    def _labels(self) -> dict[str, Any]:
        return {"provider": self.provider, "model": self.model}

    def take_ids(self, ids: Mapping[str, Any]) -> None:
        """Put ids on the context where it has none yet."""
        if self.ctx.request_id is None and ids.get("request_id"):
            self.ctx.request_id = str(ids["request_id"])
        if self.ctx.response_id is None and ids.get("response_id"):
            self.ctx.response_id = str(ids["response_id"])

    def translate(self, native: Any) -> Sequence[ChatStreamEvent]:
        """The events in a native chunk; a translator that fails skips it, counted, logged once.

        The terminal event is the lifecycle's alone: one that a translator makes says how the call
        went, so its error is raised and its mark taken off.
        """
        translator = self._translator
        if translator is None and isinstance(native, ChatStreamEvent):
            return (native,) if not native.finish else _unmarked((native,))
        try:
            events = as_events(translator(native) if translator is not None else native)
            for event in events:
                if event.finish:
                    return _unmarked(events)
            return events
        except ProviderError:
            raise  # not a fault of the translator: the chunk says the call failed
        except Exception as exc:  # noqa: BLE001  # isolation: a bad chunk ends nothing
            self.skipped += 1
            if not self._skip_logged:
                self._skip_logged = True
                self._trouble("stream.translator.skipped", exc)
            return ()

    def note(self, event: ChatStreamEvent) -> bool:
        """Take note of an event about to be handed out; returns whether it is the first content."""
        if event.usage is not None:
            self.usage = event.usage
        if event.finish_reason is not None:
            self.finish_reason = event.finish_reason
        if event.meta is not None:
            self.take_ids(event.meta)
            self.model_name = event.meta.get("model_name") or self.model_name
            self.logprobs = self.logprobs or bool(event.meta.get("logprobs"))
            if "wire_fields" in event.meta:
                self.usage_fields = usage_fields(event.meta)
        if event.structured is not None:
            self.structured = event.structured
        if not event.commits:
            return False
        self.emitted_count += 1
        if event.reasoning:
            self.reasoned = True
        elif event.tool_call is not None and event.tool_call.index >= self.tool_calls:
            self.tool_calls = event.tool_call.index + 1
        if self._pieces is not None and event.delta:
            self._pieces.append(event.delta)
        if self.logger.isEnabledFor(logging.DEBUG):
            log_event(
                self.logger,
                logging.DEBUG,
                "stream.adapter.delta",
                **self._labels(),
                phase="mid_stream",
                emitted_count=self.emitted_count,
            )
        if self._first_at is None:
            self._first_at = time.perf_counter()
            tracing.end_span(self._span, self._labels())
            self._span = tracing.start_span("providers.stream.run", self._labels())
            self._tell(self.on_first)
            return True
        return False

    @property
    def emitted(self) -> bool:
        """Whether any content was handed out."""
        return self.emitted_count > 0

    @property
    def time_to_first_token_ms(self) -> float | None:
        """Start to first content; None where there was none."""
        if self._first_at is None:
            return None
        return max((self._first_at - self._started_at) * 1000, 1e-3)

    def classify(self, exc: BaseException) -> ProviderError:
        """An exception as this stream's error: after content a timeout is ``transient``.

        Raises the exception itself where it is a test's own (a cassette's miss).
        """
        if passes_through(exc):
            self.closed_early()
            raise exc
        known = exc
        if not isinstance(exc, ProviderError | WireFailure | OSError):
            # A starter of the user's raises what its HTTP library or SDK raises.
            known = resolve("transport", "sdk_errors").plain_failure(exc) or exc
        error = classify_exception(known, started=self.emitted).locate(self.provider, self.model)
        if error.code is ErrorCode.TIMEOUT and self.emitted:
            error = ProviderError(
                ErrorCode.TRANSIENT,
                error.message,
                provider=error.provider,
                model=error.model,
                status=error.status,
                request_id=error.request_id,
                cause=error,
            )
        if error.code is ErrorCode.INTERNAL and not isinstance(exc, ProviderError):
            self._trouble("stream.unclassified", exc, level=logging.ERROR, exc_info=exc)
        return error

    def end(self, error: ProviderError | None) -> ChatStreamEvent:
        """End the stream: the terminal event, one log record, one metrics payload, spans closed.

        Called again it changes nothing and returns the same kind of terminal event.
        """
        if not self.ended:
            self.ended = True
            self.error = error
            duration = (time.perf_counter() - self._started_at) * 1000
            self.total_duration_ms = max(duration, self.time_to_first_token_ms or 0.0, 1e-3)
            if error is None and self._pieces is not None and self.structured is None:
                self.structured = parse_structured("".join(self._pieces), self.response_format)
            if error is not None and error.request_id and self.ctx.request_id is None:
                self.ctx.request_id = error.request_id
            self._finalize()
            self._tell(self.on_end)
        if self.error is not None:
            return ChatStreamEvent(finish=True, error=self.error.terminal())
        if self.structured is not None:
            return replace(_TERMINAL_OK, structured=self.structured)
        return _TERMINAL_OK

    def closed_early(self) -> None:
        """The consumer left before the end: finalize runs, nobody sees the terminal event."""
        if not self.ended:
            self.end(CancelledError(CLOSED_EARLY).locate(self.provider, self.model))

    def close_quietly(self, stream: Any) -> None:
        """Close a native stream that has a ``close``; one that fails to is logged, no more."""
        close = getattr(stream, "close", None)
        if callable(close):
            try:
                close()
            except Exception as exc:  # noqa: BLE001  # foreign code; the stream is over whatever it says
                self.close_failed(exc)

    def close_failed(self, exc: Exception) -> None:
        """Log that a native stream could not be closed."""
        self._trouble("stream.close.error", exc)

    def _tell(self, hook: Hook | None) -> None:
        if hook is None:
            return
        try:
            hook(self)
        except Exception as exc:  # noqa: BLE001  # whoever listens ends no stream
            self._trouble("stream.hook.error", exc)

    def _trouble(
        self,
        event: str,
        exc: BaseException,
        *,
        level: int = logging.WARNING,
        exc_info: BaseException | None = None,
    ) -> None:
        log_event(
            self.logger,
            level,
            event,
            exc_info=exc_info,
            **self._labels(),
            operation="stream",
            stage="finalize" if self.ended else "mid_stream" if self.emitted else "start",
            failure_class=type(exc).__name__,
            error=short_message(str(exc)),
        )

    def _finalize(self) -> None:
        error = self.error
        terminal = error.terminal() if error is not None else None
        tokens = (self.usage or Usage()).tokens
        timings: dict[str, Any] = {
            "emitted_count": self.emitted_count,
            "time_to_first_token_ms": self.time_to_first_token_ms,
            "total_duration_ms": self.total_duration_ms,
        }
        tracing.end_span(self._span, {**self._labels(), **timings}, error=terminal)
        self._span = None
        if self.logger.isEnabledFor(logging.INFO if error is None else logging.ERROR):
            ids = {
                k: v
                for k, v in (
                    ("request_id", self.ctx.request_id),
                    ("response_id", self.ctx.response_id),
                )
                if v
            }
            fields: dict[str, Any] = {
                **self._labels(),
                "phase": "finalize",
                "attempt": self.attempt,
                "error_code": None if error is None else str(error.code),
                "emitted": self.emitted,
                **timings,
                "tokens": tokens,
                **ids,
            }
            if self.skipped:
                fields["skipped"] = self.skipped
            if error is None:
                log_event(self.logger, logging.INFO, "stream.adapter.end", **fields)
            else:
                quiet = error.code is ErrorCode.CANCELLED
                log_event(
                    self.logger,
                    logging.INFO if quiet else logging.ERROR,
                    "stream.adapter.error",
                    **fields,
                    error=terminal,
                )
        if metrics.export_enabled():
            metrics.emit(
                metrics.StreamMetricsPayload(
                    provider=self.provider,
                    model=self.model,
                    tokens=tokens,
                    error=terminal,
                    extra=None,
                    **timings,
                ),
                self.logger,
            )


def _unmarked(events: Sequence[ChatStreamEvent]) -> Sequence[ChatStreamEvent]:
    """``events`` without terminal marks; raises the error that one of them carries."""
    for event in events:
        if event.finish and event.error is not None:
            code, _, message = event.error.partition(":")
            if code not in set(ErrorCode):
                code, message = ErrorCode.INTERNAL, event.error
            raise ProviderError(code, message)
    plain = (replace(event, finish=False) if event.finish else event for event in events)
    return tuple(event for event in plain if event != _NOTHING)


def as_events(value: Any) -> Sequence[ChatStreamEvent]:
    """What a translator may return, as events: None, text, an event, or an iterable of these.

    Raises TypeError for anything else.
    """
    match value:
        case None | "":
            return ()
        case ChatStreamEvent():
            return (value,)
        case str():
            return (ChatStreamEvent(delta=value),)
        case Mapping():
            return (ChatStreamEvent(**value),)
        case Iterable():
            return tuple(event for item in value for event in as_events(item))
        case _:
            raise TypeError(f"a translator returns text or events, not {type(value).__name__}")
