"""What every stream goes through, without reading anything: counts, ids, one terminal event.

The drivers in :mod:`streaming_adapter` (sync and async) feed it; all rules of the streaming
contract that are not about waiting live here, once.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import metrics, tracing
from .cancellation import CancelledError
from .errors import ErrorCode, ProviderError, classify_exception, passes_through
from .events import ChatStreamEvent, usage_fields
from .logging import LogContext, log_event
from .models import Usage, parse_structured

Translator = Callable[[Any], Any]
Hook = Callable[["StreamLifecycle"], None]

_TERMINAL_OK = ChatStreamEvent(finish=True)


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

    def begin(self) -> None:
        """Start the clock and the start-phase span."""
        self._started_at = time.perf_counter()
        self._span = tracing.start_span("providers.stream.start", self._labels())

    def _labels(self) -> dict[str, Any]:
        return {"provider": self.provider, "model": self.model}

    def take_ids(self, ids: Mapping[str, Any]) -> None:
        """Put ids on the context where it has none yet."""
        if self.ctx.request_id is None and ids.get("request_id"):
            self.ctx.request_id = str(ids["request_id"])
        if self.ctx.response_id is None and ids.get("response_id"):
            self.ctx.response_id = str(ids["response_id"])

    def translate(self, native: Any) -> Sequence[ChatStreamEvent]:
        """The events in a native chunk; a translator that fails skips it, counted, logged once."""
        translator = self._translator
        if translator is None:
            return (native,) if isinstance(native, ChatStreamEvent) else as_events(native)
        try:
            return as_events(translator(native))
        except ProviderError:
            raise  # not a fault of the translator: the chunk says the call failed
        except Exception as exc:  # noqa: BLE001  # isolation: a bad chunk ends nothing
            self.skipped += 1
            if not self._skip_logged:
                self._skip_logged = True
                log_event(
                    self.logger,
                    logging.WARNING,
                    "stream.translator.skipped",
                    **self._labels(),
                    operation="stream",
                    stage="mid_stream",
                    failure_class=type(exc).__name__,
                    error=str(exc)[:200],
                )
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
            if self.on_first is not None:
                self.on_first(self)
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
        """An exception as this stream's error: after content a timeout is ``transient``."""
        if passes_through(exc):
            self.closed_early()
            raise exc
        error = classify_exception(exc, started=self.emitted).locate(self.provider, self.model)
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
            self.logger.error("stream.unclassified", exc_info=exc, extra=self._labels())
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
            if self.on_end is not None:
                self.on_end(self)
        if self.error is not None:
            return ChatStreamEvent(finish=True, error=self.error.terminal())
        if self.structured is not None:
            return replace(_TERMINAL_OK, structured=self.structured)
        return _TERMINAL_OK

    def closed_early(self) -> None:
        """The consumer left before the end: finalize runs, nobody sees the terminal event."""
        if not self.ended:
            self.end(CancelledError("closed by the consumer").locate(self.provider, self.model))

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
        if os.environ.get("PROVIDERS_METRICS_EXPORT", "").lower() in ("1", "true"):
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


def as_events(value: Any) -> Sequence[ChatStreamEvent]:
    """What a translator may return, as events: None, text, an event, or an iterable of these."""
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
