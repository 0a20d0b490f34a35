"""One call being carried out: the flow's steps turned into attempts, records and answers.

Knows nothing of threads or tasks; the drivers in :mod:`router` and :mod:`racing` wait, this decides
and takes note.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from crux_providers.base.cancellation import CancellationToken, CancelledError
from crux_providers.base.errors import HARMLESS, ErrorCode, ProviderError, WireFailure
from crux_providers.base.events import ChatStreamEvent
from crux_providers.base.flow import Wait
from crux_providers.base.models import ChatRequest, ChatResponse
from crux_providers.base.provider import BaseProvider
from crux_providers.base.provider import CallOptions as ProviderOptions

from .call import AttemptRecord, RouteCall
from .config import RoutesConfig
from .flow import ASIDE, Aside, RouteOutcome, RouteVerdict, Try, Unsatisfying, route_flow
from .plan import Plan
from .policy import Rejection
from .providers import ProviderPool
from .recent import Seen
from .routes import Retry
from .runtime import Runtime
from .sink import Sink
from .state import Ask, Key, Mode, Outcome, Ticket
from .steps import RuntimeStep, Steps

_MAY_COST = frozenset(
    {ErrorCode.TIMEOUT, ErrorCode.TRANSIENT, ErrorCode.CANCELLED, ErrorCode.MALFORMED}
)
"""Failures after which the provider may have worked, and bill for it."""
REST_MIN_S = 0.05
"""The shortest wait for a candidate; how often a call looks whether somebody's probe is back."""
_BLAMELESS = frozenset({"refusal", "length", "schema_mismatch", "invalid_json"})
"""Answers that are not good enough, and yet show that the candidate is there."""


class Lane:
    """One attempt under way: what it sends, its record, its place in the state."""

    __slots__ = (
        "alive", "controller", "ended", "forget", "head", "hedge_of", "index", "number", "record",
        "sink", "target", "ticket", "token",
    )  # fmt: skip

    def __init__(
        self,
        target: RuntimeStep,
        attempt: Try,
        record: AttemptRecord,
        ticket: Ticket,
        token: CancellationToken,
    ) -> None:
        self.target = target
        self.index = attempt.index
        self.number = attempt.number
        self.record = record
        self.ticket = ticket
        self.token = token
        self.forget: Callable[[], None] | None = None
        self.hedge_of: str | None = None  # the route whose hedge it is
        self.alive = False
        self.sink: Sink | None = None
        self.controller: Any = None
        self.head: list[ChatStreamEvent] = []  # what was read of it before its turn came
        self.ended = False

    @property
    def key(self) -> tuple[str, str]:
        """Provider and model."""
        return self.target.provider, self.target.model

    @property
    def timed(self) -> bool:
        """Whether its events cannot simply be read in turn: some were, or the clock counts, too."""
        hold = self.target.hold
        return bool(self.head) or (hold is not None and hold > 0)

    def opened(self) -> tuple[Sink, Any]:
        """Sink and stream of an attempt that was begun."""
        if self.sink is None:
            raise RuntimeError("the stream was not begun")
        return self.sink, self.controller

    def own_token(self) -> None:
        """Give the attempt a switch of its own, which the call's turns as well."""
        outer, own = self.token, CancellationToken()
        self.forget = outer.on_cancel(lambda: own.cancel(outer.reason or "cancelled"))
        self.token = own


class Run:
    """A call on its way through the plan's steps."""

    __slots__ = (
        "_flow", "_made", "_patience", "_random", "_replan", "_resting", "answered", "call",
        "config", "hedged", "last_life", "pool", "runtime", "steps",
    )  # fmt: skip

    def __init__(
        self,
        call: RouteCall,
        steps: Sequence[RuntimeStep],
        runtime: Runtime,
        pool: ProviderPool,
        config: RoutesConfig,
        random: Callable[[], float],
        replan: Callable[[], tuple[Plan, Steps]],
    ) -> None:
        self.call = call
        self.steps = steps
        self.runtime = runtime
        self.pool = pool
        self.config = config
        self._made: dict[int, int] = {}
        self._flow = route_flow(steps, random, self._made)
        self._random = random
        self._replan = replan
        self._resting: RouteVerdict | None = None  # what the call ends with if a wait is in vain
        self._patience: float | None = None
        self.answered: ChatResponse | None = None
        self.hedged = False
        self.last_life: Any = None

    def advance(self, outcome: RouteOutcome) -> Try | Wait | RouteVerdict:
        """What comes next after the outcome of the last step (None for the first).

        Where nobody is left but candidates that are to be left alone for a moment, the call waits
        for the first of them, as long as it would wait for a Retry-After.
        """
        if self._resting is not None:
            rested, self._resting = self._resting, None
            if outcome is not None:
                return rested
            self._begin_again()
            outcome = None
        try:
            return self._flow.send(outcome)
        except StopIteration as end:
            verdict: RouteVerdict = end.value
        if verdict.action == "exhausted" and (seconds := self._rest()) is not None:
            self._resting = verdict
            return Wait(seconds, verdict.error or self.call.all_failed(None))
        return verdict

    def _rest(self) -> float | None:
        """Seconds until a candidate that was not tried may be called; None: not worth waiting."""
        call, now = self.call, time.time()
        tried = self._tried()
        held = {
            (out.provider, out.model)
            for out in (*call.plan.rejected, *call.stepped)
            if out.rule in ("breaker", "admission")
        } - tried
        if not held:
            return None
        soonest = min(self._opens(key, now) for key in held) - now
        call.retry_after = max(soonest, 0.0)
        if self._patience is None:
            route = self.config.routes.get(call.route)
            self._patience = (route.retry if route is not None else Retry()).patience
        seconds = max(soonest, REST_MIN_S)
        if seconds > self._patience:
            return None
        self._patience -= seconds
        return seconds

    def _opens(self, key: Key, now: float) -> float:
        """When a candidate may be called again, by what is known now (Unix time)."""
        state = self.runtime.state
        breaker, limit = state.breakers(now).get(key), state.admission(now).get(key)
        until = now if breaker is None or breaker.share else breaker.until
        if breaker is not None and breaker.probing:
            until = now + REST_MIN_S  # its probe may come back at any moment
        return until if limit is None else max(until, limit.until)

    def _tried(self) -> set[Key]:
        return {(a.provider, a.model) for a in self.call.attempts}

    def _begin_again(self) -> None:
        """Plan anew, for those that were not tried."""
        tried = self._tried()
        plan, steps = self._replan()
        self.call.plan = plan
        self.call.stepped.clear()
        self.steps = steps.without(tried)
        self._made = {}
        self._flow = route_flow(self.steps, self._random, self._made)

    # -- beginning an attempt ---------------------------------------------------------------------

    def open(self, attempt: Try) -> Lane | Aside:
        """Begin an attempt, or step aside where the candidate may not be called now."""
        late = self.call.out_of_time()
        if late is not None:
            raise self.call.all_failed(late)
        target = self.steps[attempt.index]
        ticket = self._enter(target)
        if isinstance(ticket, Rejection):
            self.call.stepped.append(ticket)
            return ASIDE
        return Lane(target, attempt, self.call.open(target, attempt), ticket, self.call.token)

    def _enter(self, target: RuntimeStep) -> Ticket | Rejection:
        step = target.step
        entered = self.runtime.state.enter(
            Ask(
                (target.provider, target.model),
                step.policy.breaker,
                self.call.plan.needs.input_tokens,
                step.est_cost_usd,
                step.compiled.budgets,
                self.call.spent,
            ),
            time.time(),
        )
        if isinstance(entered, Ticket):
            self._count(target, step.est_cost_usd or 0.0)
        return entered

    def _count(self, target: RuntimeStep, usd: float) -> None:
        """What the call costs its budgets: an estimate while an attempt runs, then the truth."""
        spent = self.call.spent
        for route in target.step.compiled.budgets:
            spent[route.name] = spent.get(route.name, 0.0) + usd

    def prepared(self, lane: Lane) -> tuple[BaseProvider, ChatRequest, ProviderOptions]:
        """Whom to ask, what, and within which limits; raises ProviderError."""
        target = lane.target
        provider = self.pool.get(target.provider, self.config)
        options = self.call.options_for(target, provider.timeouts, lane.token)
        return provider, self.call.request_for(target), options

    def no_time(self, wait: Wait) -> ProviderError | None:
        """The error to go on with at once where the call has no time for the wait."""
        return None if self.call.can_wait(wait.seconds) else wait.error

    # -- hedging ----------------------------------------------------------------------------------

    @property
    def mode(self) -> Mode:
        """How this call's answers come."""
        return "stream" if self.call.stream else "whole"

    def hedge_after(self, lane: Lane) -> float | None:
        """Seconds after which another candidate is to be asked too; None: never."""
        hedge = lane.target.hedge
        if hedge is None or self.hedged or lane.index + 1 >= len(self.steps):
            return None
        if hedge.after == "p95":
            return self.runtime.p95(lane.key, self.mode)
        return hedge.after

    def hedge(self, slow: Lane, after: float) -> Lane | None:
        """A second attempt beside a slow one: at the next candidate that may be called, where
        budgets and the route's share allow it."""
        hedge = slow.target.hedge
        left = self.call.remaining()
        self.hedged = True
        if hedge is None or (left is not None and left <= 0) or self.call.token.cancelled:
            return None
        state, route = self.runtime.state, slow.target.step.policy.name
        for index in range(slow.index + 1, len(self.steps)):
            target = self.steps[index]
            if (target.provider, target.model) == slow.key:
                continue
            usd = target.step.est_cost_usd
            if not state.may_hedge(route, hedge, usd, time.time()):
                return None
            ticket = self._enter(target)
            if isinstance(ticket, Rejection):
                state.unhedged(route, usd, time.time())
                continue
            why = f"hedge: {slow.record.provider}:{slow.record.model} took over {after:.3g} s"
            attempt = Try(index, 1, None)
            record = self.call.open(target, attempt, why)
            lane = Lane(target, attempt, record, ticket, self.call.token)
            lane.hedge_of = record.hedge_of = route
            lane.own_token()
            self._made[index] = self._made.get(index, 0) + 1
            return lane
        return None

    # -- how an attempt ended ---------------------------------------------------------------------

    def take(self, lane: Lane, response: ChatResponse) -> ProviderError | None:
        """A whole answer came: the outcome, None where it is good."""
        found = self.call.judge(response)
        accepted = found is None or lane.target.action(found) == "stop"
        error = None if accepted else found
        self.call.close(
            lane.record, lane.target, error, response=response, noted=found if accepted else None
        )
        if response.meta.headers:
            self.runtime.state.headers(lane.ticket, response.meta.headers, time.time())
        if accepted:
            self.answered = response
            self._took(lane, lane.record.duration_ms)
        self._settle(lane, error)
        return error

    def fail(self, lane: Lane, error: ProviderError) -> ProviderError:
        """An attempt failed; raises where the caller cancelled the call."""
        self.call.close(lane.record, lane.target, error)
        self._settle(lane, error)
        if isinstance(error, CancelledError):
            raise error
        return error

    def leave(self, lane: Lane) -> None:
        """The caller went away: noted, and counted against nobody."""
        gone = CancelledError("the caller left")
        self.call.close(lane.record, lane.target, gone, life=self._life(lane))
        self._settle(lane, gone)

    def lose(self, lane: Lane, winner: Lane) -> None:
        """A hedged attempt that another one was faster than: ended, and counted against nobody."""
        first = f"{winner.record.provider}:{winner.record.model}"
        lane.token.cancel(f"hedge lost: {first} was first")
        lost = CancelledError(lane.token.reason or "hedge lost")
        self.call.close(lane.record, lane.target, lost, life=self._life(lane))
        if lane.record.cost_usd is None:
            lane.record.cost_usd = lane.target.step.est_cost_usd
        self._settle(lane, lost)

    @staticmethod
    def _life(lane: Lane) -> Any:
        return None if lane.controller is None else lane.controller.metrics

    def _took(self, lane: Lane, milliseconds: float | None) -> None:
        if lane.target.hedge is not None and milliseconds is not None:
            self.runtime.state.took(lane.key, self.mode, milliseconds / 1000)

    def _settle(self, lane: Lane, error: ProviderError | None) -> None:
        """Give back what the attempt took from the state, and say what its end proves."""
        if lane.forget is not None:
            lane.forget()
        target, now = lane.target, time.time()
        usd = self._usd(lane, error)
        self._count(target, usd - (target.step.est_cost_usd or 0.0))
        state = self.runtime.state
        if lane.hedge_of is not None:
            state.hedged(lane.hedge_of, target.step.est_cost_usd, usd, now)
        if error is None or (isinstance(error, Unsatisfying) and error.trigger in _BLAMELESS):
            outcome = Outcome(answered=True, usd=usd)
        elif error.code is ErrorCode.CANCELLED:
            outcome = Outcome(usd=usd)
        else:
            if isinstance(error.cause, WireFailure) and error.cause.headers:
                state.headers(lane.ticket, error.cause.headers, now)
            waited = (
                error.retry_after is not None
                and target.retries(lane.number, error)
                and self.call.can_wait(error.retry_after)
            )
            outcome = Outcome(error=error, waited=waited, usd=usd)
        state.settle(lane.ticket, outcome, now)
        record = lane.record
        if record.accepted or record.error_code not in HARMLESS:
            took = record.ttft_ms if self.mode == "stream" else record.duration_ms
            seconds = None if took is None or not record.accepted else took / 1000
            self.runtime.recent.saw(lane.key, Seen(now, self.mode, record.accepted, seconds))

    def _usd(self, lane: Lane, error: ProviderError | None) -> float:
        """What budgets count the attempt as: its cost, or the estimate where it may have cost."""
        if lane.record.cost_usd is not None:
            return lane.record.cost_usd
        if error is not None and not isinstance(error, Unsatisfying):
            never_sent = isinstance(error.cause, WireFailure) and error.cause.kind in (
                "connect",
                "local",
            )
            if error.code not in _MAY_COST or error.status is not None or never_sent:
                return 0.0
        return lane.target.step.est_cost_usd or 0.0

    # -- streams ----------------------------------------------------------------------------------

    def begin_stream(self, lane: Lane, controller: Any) -> Any:
        """Take the stream of an attempt that is about to be read; gives it back."""
        lane.controller, lane.sink = controller, Sink(lane.target.hold)
        return controller

    def take_head(self, lane: Lane, events: list[ChatStreamEvent]) -> ProviderError | None:
        """A stream came to its first content, which makes it good, or to its end without any."""
        if events and not events[-1].finish:
            lane.head = events
            return None
        for event in events:
            self.feed(lane, event)
        lane.ended = True
        return self.end_stream(lane)

    def feed(self, lane: Lane, event: ChatStreamEvent) -> Sequence[ChatStreamEvent]:
        """What the caller gets of an event now."""
        sink, _ = lane.opened()
        if event.finish or sink.committed:
            return sink.take(event)
        meta = event.meta
        if meta is not None and "headers" in meta:
            self.runtime.state.headers(lane.ticket, meta["headers"], time.time())
        ready = sink.take(event)
        if not lane.alive and event.commits:
            lane.alive = True
            self.runtime.state.alive(lane.ticket, time.time())
        return ready

    def end_stream(self, lane: Lane) -> ProviderError | None:
        """The outcome of a stream read to its end; raises StreamInterrupted where content was
        handed out, CancelledError where the caller cancelled."""
        call, record, target = self.call, lane.record, lane.target
        sink, controller = lane.opened()
        error: ProviderError | None = controller.error
        self.last_life = life = controller.metrics
        call.degraded.extend(sink.folder.meta.get("degraded", ()))
        if error is None:
            response = sink.folder.response(
                provider=target.provider, response_format=call.request.response_format
            )
            call.answer_text = response.text
            found = call.judge(response)
            accepted = found is None or sink.committed or target.action(found) == "stop"
            bad = None if accepted else found
            noted = found if accepted else None
            call.close(record, target, bad, response=response, life=life, noted=noted)
            if accepted:
                self._took(lane, record.ttft_ms)
            self._settle(lane, bad)
            return bad
        call.close(record, target, error, life=life, interrupted=sink.committed)
        self._settle(lane, error)
        if isinstance(error, CancelledError):
            raise error
        if sink.committed:
            raise call.interrupted(error, sink.folder, target.provider)
        return error

    def closing(self, lane: Lane) -> list[ChatStreamEvent]:
        """The end of a good stream: what was still held back, then the terminal event."""
        sink, controller = lane.opened()
        return [*sink.rest(), self.call.last_event(sink.terminal, controller.metrics)]

    # -- how the call ended -----------------------------------------------------------------------

    def answer(self, verdict: RouteVerdict) -> ChatResponse:
        """The answer of a call that is over; raises where there is none."""
        if verdict.action == "done" and self.answered is not None:
            return self.call.finish(self.answered)
        last = self.call.last_unsatisfying
        if last is not None and self._all_empty():
            return self.call.finish(last.response)  # every candidate was empty: the last, flagged
        raise self.call.failure(verdict)

    def last_words(self, verdict: RouteVerdict) -> Iterator[ChatStreamEvent]:
        """What a stream ends with when the flow is over: nothing more, or the failure."""
        if verdict.action == "done":
            return
        if self.last_life is not None and self._all_empty():
            yield self.call.last_event(ChatStreamEvent(finish=True), self.last_life)
            return
        raise self.call.failure(verdict)

    def _all_empty(self) -> bool:
        attempts = self.call.attempts
        return bool(attempts) and all(a.outcome == "empty" for a in attempts)

    def save(self) -> None:
        """Hand the call to the ledger, and what it cost to the route's account."""
        first = self.steps[0] if self.steps else None
        if first is not None and first.hedge is not None and self.call.attempts:
            costs = [a.cost_usd for a in self.call.attempts if a.hedge_of is None]
            known = [usd for usd in costs if usd is not None]
            route = first.step.policy.name
            self.runtime.state.called(route, sum(known) if known else None, time.time())
        self.runtime.save(self.call, self.config)


__all__ = ["Lane", "Run"]
