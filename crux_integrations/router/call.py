"""One call through a route: its requests, its limits, and the record of its attempts.

Knows nothing of threads or tasks; the drivers in :mod:`router` ask it what to send and tell it
what came.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from crux_providers.base.cancellation import CancellationToken
from crux_providers.base.errors import (
    AllCandidatesFailed,
    ErrorCode,
    ProviderError,
    StreamInterrupted,
    short_message,
)
from crux_providers.base.events import ChatStreamEvent, StreamFolder
from crux_providers.base.models import ChatRequest, ChatResponse, Usage
from crux_providers.base.provider import CallOptions as ProviderOptions
from crux_providers.base.streaming_lifecycle import StreamLifecycle
from crux_providers.base.timeouts import TimeoutConfig

from .flow import RouteVerdict, Try, Unsatisfying, judge, trigger_of
from .plan import Plan
from .policy import Rejection
from .schema_check import mismatch
from .steps import RuntimeStep

REJECTED_SHOWN = 10
_REQUEST_FIELDS = frozenset(f.name for f in fields(ChatRequest)) - {"model", "messages", "extra"}

CostOf = Callable[[RuntimeStep, Usage], float | None]


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What one call may change.

    ``timeout`` bounds the whole call in seconds; ``max_retries`` counts retries of each candidate
    after its first request; ``model`` (``provider:model``) takes the route's place; ``token``
    cancels.
    """

    timeout: float | None = None
    max_retries: int | None = None
    model: str | None = None
    token: CancellationToken | None = None


@dataclass(slots=True)
class AttemptRecord:
    """One request to one candidate, as it stands in ``attempts`` and in the ledger.

    ``outcome`` is success, error, cancelled, interrupted, or a content trigger (empty, refusal,
    invalid_json, schema_mismatch, length); a hedge that lost is cancelled, its cost the estimate of
    the plan. Times are milliseconds; ``started_ms`` counts from the
    start of the call. ``usage`` is None where the provider gave none; ``cost_usd`` None where usage
    or price is unknown, and ``list_usd`` what the same tokens cost with nothing cached.
    ``accepted`` says that this is the answer the caller got, ``hedge_of`` is the route that asked
    it beside a slow one.
    """

    provider: str
    model: str
    outcome: str = "error"
    error_code: str | None = None
    status: int | None = None
    reason: str = ""
    started_ms: float = 0.0
    ttft_ms: float | None = None
    duration_ms: float = 0.0
    usage: Mapping[str, Any] | None = None
    cost_usd: float | None = None
    chosen: str = ""
    request_id: str | None = None
    response_id: str | None = None
    model_name: str | None = None
    started_at: float = 0.0
    retry_after: float | None = None
    accepted: bool = False
    list_usd: float | None = None
    hedge_of: str | None = None

    def as_mapping(self) -> dict[str, Any]:
        """The shape of DESIGN section 4, with ``chosen`` (why this candidate) and ids beside it."""
        return {name: getattr(self, name) for name in _SHOWN}


_LEDGER_ONLY = frozenset({"started_at", "retry_after", "accepted", "list_usd", "hedge_of"})
_SHOWN = tuple(f.name for f in fields(AttemptRecord) if f.name not in _LEDGER_ONLY)


@dataclass(slots=True)
class RouteCall:
    """The state of one call; made by the router for each request.

    ``stepped`` are candidates of the plan that might not be called when their turn came, ``spent``
    dollars by route as far as a budget asks, ``winner`` the attempt whose answer the caller gets.
    ``retry_after`` is in how many seconds a candidate that is to be left alone may be called again.
    """

    request: ChatRequest
    route: str
    plan: Plan
    stream: bool
    cost_of: CostOf
    token: CancellationToken
    timeout: float | None = None
    route_total: float | None = None
    seed: int = 0
    model: str | None = None
    attempts: list[AttemptRecord] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    wall_started: float = field(default_factory=time.time)
    answer_text: str | None = None
    stepped: list[Rejection] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)
    winner: AttemptRecord | None = None
    retry_after: float | None = None
    last_unsatisfying: Unsatisfying | None = None

    # -- what to send ---------------------------------------------------------------------------

    def remaining(self) -> float | None:
        """Seconds left of the whole call, or None without a limit."""
        limits = [t for t in (self.timeout, self.route_total) if t is not None]
        return min(limits) - (time.monotonic() - self.started) if limits else None

    def out_of_time(self) -> ProviderError | None:
        """The error of a call whose whole time is over."""
        left = self.remaining()
        if left is None or left > 0:
            return None
        return ProviderError(ErrorCode.TIMEOUT, "the time of the whole call is over (route_total)")

    def can_wait(self, seconds: float) -> bool:
        """Whether a wait of ``seconds`` still leaves time for a request."""
        left = self.remaining()
        return left is None or left > seconds

    def request_for(self, target: RuntimeStep) -> ChatRequest:
        """The request as this candidate gets it: its params stand where the caller said nothing."""
        request = self.request
        own: dict[str, Any] = {"model": target.model}
        extra: dict[str, Any] = {}
        for name, value in target.step.params.items():
            if name not in _REQUEST_FIELDS:
                extra[name] = value
            elif getattr(request, name) in (None, (), ""):
                own[name] = value
        if extra:
            own["extra"] = {**extra, **request.extra}
        return replace(request, **own)

    def options_for(
        self, target: RuntimeStep, provider: TimeoutConfig, token: CancellationToken
    ) -> ProviderOptions:
        """Limits of one attempt: the route's over the provider's, within what is left."""
        limits = target.timeouts(provider)
        left = self.remaining()
        if left is not None:
            left = max(left, 0.001)
            total = left if limits.total is None else min(limits.total, left)
            limits = replace(limits, total=total)
        return ProviderOptions(timeouts=limits, token=token, max_retries=0)

    # -- what came ------------------------------------------------------------------------------

    def open(self, target: RuntimeStep, attempt: Try, hedge: str = "") -> AttemptRecord:
        """Begin the record of an attempt; ``hedge`` says why it goes beside another one."""
        chosen = "; ".join(target.step.reasons)
        if hedge:
            chosen = hedge
        elif attempt.number > 1:
            chosen = (
                f"retry {attempt.number - 1} after {trigger_of(attempt.after)}"
                if (attempt.after is not None)
                else f"retry {attempt.number - 1}"
            )
        elif attempt.after is not None and self.attempts:
            before = self.attempts[-1]
            chosen = f"after {before.provider}:{before.model} {trigger_of(attempt.after)}" + (
                f"; {chosen}" if chosen else ""
            )
        record = AttemptRecord(
            target.provider,
            target.model,
            chosen=chosen,
            started_ms=(time.monotonic() - self.started) * 1000,
            started_at=time.time(),
        )
        self.attempts.append(record)
        return record

    def judge(self, response: ChatResponse) -> Unsatisfying | None:
        """The content trigger the answer falls under."""
        found = judge(self.request, response, mismatch)
        if found is not None:
            self.last_unsatisfying = found
        return found

    def close(
        self,
        record: AttemptRecord,
        target: RuntimeStep,
        outcome: ProviderError | None,
        *,
        response: ChatResponse | None = None,
        life: StreamLifecycle | None = None,
        interrupted: bool = False,
        noted: Unsatisfying | None = None,
    ) -> None:
        """Complete the record with how the attempt ended."""
        record.duration_ms = (time.monotonic() - self.started) * 1000 - record.started_ms
        usage: Usage | None = None
        cost: float | None = None
        if response is not None:
            usage = response.usage if response.usage.total is not None else None
            cost = response.meta.extra.get("cost_usd")
            record.request_id = response.meta.request_id
            record.response_id = response.meta.response_id
            record.model_name = response.meta.model_name
            record.status = response.meta.status
        if life is not None:
            usage, cost = life.usage, life.cost_usd
            record.ttft_ms = life.time_to_first_token_ms
            record.request_id = life.ctx.request_id
            record.response_id = life.ctx.response_id
            record.model_name = life.model_name
        if usage is not None:
            details = {"details": dict(usage.details)} if usage.details else {}
            record.usage = {**usage.tokens, **details}
            if cost is None:
                cost = self.cost_of(target, usage)
            plain = replace(usage, details={}) if usage.details else usage
            record.list_usd = self.cost_of(target, plain)
        record.cost_usd = cost  # the provider's own word, else tokens at list price
        match outcome:
            case None:
                record.accepted = True
                self.winner = record
                record.outcome = noted.trigger if noted is not None else "success"
                record.reason = short_message(noted.message) if noted is not None else record.chosen
            case Unsatisfying():
                record.outcome = outcome.trigger
                record.reason = short_message(outcome.message)
            case _:
                cancelled = outcome.code is ErrorCode.CANCELLED
                record.outcome = (
                    "cancelled" if cancelled else "interrupted" if interrupted else "error"
                )
                record.error_code = str(outcome.code)
                record.status = outcome.status or record.status
                record.retry_after = outcome.retry_after
                record.reason = short_message(outcome.message)
                record.request_id = outcome.request_id or record.request_id

    # -- how it ended ---------------------------------------------------------------------------

    def crux(self) -> dict[str, Any]:
        """The mapping of ``meta.extra["crux"]``; provider and model are those that answered, else
        the last attempt's."""
        last = self.winner or (self.attempts[-1] if self.attempts else None)
        rejected = self.rejected()
        costs = [a.cost_usd for a in self.attempts if a.cost_usd is not None]
        unknown = any(a.cost_usd is None and a.outcome == "success" for a in self.attempts)
        return {
            "route": self.route,
            "provider": last.provider if last else None,
            "model": last.model if last else None,
            "cost_usd": sum(costs) if costs and not unknown else None,
            "attempts": [a.as_mapping() for a in self.attempts],
            "rejected": [r.as_json() for r in rejected[:REJECTED_SHOWN]],
            "rejected_count": len(rejected),
            "degraded": list(self.degraded),
        }

    def rejected(self) -> Sequence[Rejection]:
        """Who was not called, and why: by the plan, or when its turn came."""
        return (*self.plan.rejected, *self.stepped) if self.stepped else self.plan.rejected

    def finish(self, response: ChatResponse) -> ChatResponse:
        """The answer with the ``crux`` mapping on it."""
        self.degraded.extend(response.meta.extra.get("degraded", ()))
        self.answer_text = response.text
        extra = {**response.meta.extra, "crux": self.crux()}
        return replace(response, meta=replace(response.meta, extra=extra))

    def failure(self, verdict: RouteVerdict) -> ProviderError:
        """The error of a call that got no answer."""
        error = verdict.error
        if verdict.action == "stop" and error is not None and not isinstance(error, Unsatisfying):
            error.__dict__["attempts"] = [a.as_mapping() for a in self.attempts]
            return error
        return self.all_failed(error)

    def all_failed(self, error: ProviderError | None) -> AllCandidatesFailed:
        """Every candidate failed or was rejected: a line for each."""
        lines = [f"all candidates of route {self.route!r} failed:"]
        lines += [
            f"  {a.provider}:{a.model}: {a.error_code or a.outcome}"
            + (f" (HTTP {a.status})" if a.status else "")
            + f": {a.reason}"
            for a in self.attempts
        ]
        rejected = self.rejected()
        lines += [f"  {r.provider}:{r.model}: not tried ({r.rule}): {r.evidence}" for r in rejected]
        if not self.attempts and not rejected:
            lines.append("  the route has no candidates")
        code = error.code if error is not None else self._code_of_rejections()
        return AllCandidatesFailed(
            "\n".join(lines),
            code=code,
            cause=error,
            attempts=[a.as_mapping() for a in self.attempts],
            rejected=[r.as_json() for r in rejected],
            retry_after=error.retry_after if error is not None else self.retry_after,
            status=error.status if error is not None else None,
        )

    def _code_of_rejections(self) -> ErrorCode:
        rules = {r.rule for r in self.rejected()}
        table: Sequence[tuple[str, ErrorCode]] = (
            ("breaker", ErrorCode.OVERLOADED),
            ("admission", ErrorCode.RATE_LIMIT),
            ("budget", ErrorCode.QUOTA),
            ("context", ErrorCode.CONTEXT_LENGTH),
            ("capability", ErrorCode.UNSUPPORTED),
            ("key", ErrorCode.AUTH),
        )
        return next((code for rule, code in table if rule in rules), ErrorCode.NOT_FOUND)

    def interrupted(
        self, error: ProviderError, folder: StreamFolder, provider: str
    ) -> StreamInterrupted:
        """A stream of ``provider`` that broke after content, with what came of it."""
        partial = folder.response(provider=provider, extra={"crux": self.crux()})
        self.answer_text = partial.text
        return StreamInterrupted(
            error, partial=partial, attempts=[a.as_mapping() for a in self.attempts]
        )

    def last_event(self, terminal: ChatStreamEvent, life: StreamLifecycle) -> ChatStreamEvent:
        """The terminal event with ids and the ``crux`` mapping on it."""
        meta = {
            **(terminal.meta or {}),
            "model_name": life.model_name,
            "response_id": life.ctx.response_id,
            "request_id": life.ctx.request_id,
            "provider": life.provider,
            "crux": self.crux(),
        }
        return replace(terminal, meta=meta)
