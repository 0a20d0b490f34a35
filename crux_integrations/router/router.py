"""The router: a plan, then the drivers that carry it out, sync and async, whole and streamed."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from crux_providers.base.abandon import asleep, sleep
from crux_providers.base.cancellation import CancellationToken, CancelledError
from crux_providers.base.errors import ProviderError
from crux_providers.base.events import ChatStreamEvent, StreamFolder
from crux_providers.base.flow import Wait
from crux_providers.base.models import ChatRequest, ChatResponse
from crux_providers.base.provider import BaseProvider

from .call import AttemptRecord, RouteCall
from .config import RoutesConfig
from .flow import RouteFlow, RouteVerdict, Try, route_flow
from .holding import Holder
from .plan import Plan
from .providers import ProviderPool
from .runtime import Runtime, RuntimeStep


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


_NO_OPTIONS = CallOptions()


class Router:
    """Routes declared in ``routes.yaml``, ready to answer.

    ``source`` is a path, a mapping, YAML text loaded before, or None: ``$CRUX_ROUTES``,
    ``routes.yaml`` in the working directory, else the packaged default. ``providers`` may hold
    ready provider objects by name (a client of one's own, a scripted transport). Making a router
    reads the file and does nothing else: no key, network or database is touched before a call.
    """

    def __init__(
        self,
        source: str | Path | Mapping[str, Any] | None = None,
        *,
        providers: Mapping[str, BaseProvider] | None = None,
        seed: int | None = None,
    ) -> None:
        self._runtime = Runtime(source)
        self._pool = ProviderPool(providers)
        self._runtime.has_provider = self._pool.ready
        self._random = random.Random(seed)

    @classmethod
    def from_file(cls, path: str | Path, **more: Any) -> Self:
        """The router of one routes file."""
        return cls(Path(path), **more)

    # -- what it is -------------------------------------------------------------------------------

    @property
    def config(self) -> RoutesConfig:
        """The RoutesConfig in force; a changed file that is valid takes over for new requests."""
        return self._runtime.config

    def digest(self, route: str = "default") -> str:
        """A short digest of the route's declaration; holds no secret."""
        return self._runtime.digest(route)

    def profile(self, route: str = "default") -> dict[str, Any]:
        """What the route can serve, in LangChain's profile words."""
        return self._runtime.profile(route)

    def explain(
        self, request: ChatRequest, route: str = "default", *, stream: bool = False
    ) -> Plan:
        """The plan a call would follow now; nothing is sent."""
        return self._runtime.plan(request, route, stream=stream, seed=0)

    # -- whole answers ----------------------------------------------------------------------------

    def generate(
        self, request: ChatRequest, route: str = "default", *, options: CallOptions | None = None
    ) -> ChatResponse:
        """One whole answer; ``meta.extra["crux"]`` says what happened and what it cost.

        Raises AllCandidatesFailed, or the ProviderError that a route's ``on`` table stops at.
        """
        run = self._begin(request, route, stream=False, options=options)
        try:
            step = next(run.flow)
            while True:
                outcome: ProviderError | None = None
                if isinstance(step, Wait):
                    run.check_wait(step)
                    sleep(step.seconds, run.call.token)
                else:
                    target, record = run.open(step)
                    try:
                        provider = self._pool.get(target.provider, run.config)
                        response = provider.chat(
                            run.call.request_for(target),
                            options=run.call.options_for(target, provider.timeouts),
                        )
                        outcome = run.take(record, target, response)
                    except ProviderError as error:
                        outcome = run.fail(record, target, error)
                    except BaseException:
                        run.leave(record, target)
                        raise
                step = run.flow.send(outcome)
        except StopIteration as end:
            return run.answer(end.value)
        finally:
            run.save()

    async def agenerate(
        self, request: ChatRequest, route: str = "default", *, options: CallOptions | None = None
    ) -> ChatResponse:
        """The async twin of :meth:`generate`."""
        run = self._begin(request, route, stream=False, options=options)
        try:
            step = next(run.flow)
            while True:
                outcome: ProviderError | None = None
                if isinstance(step, Wait):
                    run.check_wait(step)
                    await asleep(step.seconds, run.call.token)
                else:
                    target, record = run.open(step)
                    try:
                        provider = self._pool.get(target.provider, run.config)
                        response = await provider.achat(
                            run.call.request_for(target),
                            options=run.call.options_for(target, provider.timeouts),
                        )
                        outcome = run.take(record, target, response)
                    except ProviderError as error:
                        outcome = run.fail(record, target, error)
                    except BaseException:
                        run.leave(record, target)
                        raise
                try:
                    step = run.flow.send(outcome)
                except StopIteration as end:
                    return run.answer(end.value)
        finally:
            run.save()

    # -- streams ----------------------------------------------------------------------------------

    def stream(
        self, request: ChatRequest, route: str = "default", *, options: CallOptions | None = None
    ) -> Iterator[ChatStreamEvent]:
        """Events up to one with ``finish=True``, whose ``meta["crux"]`` says what happened.

        Until the first content every failure falls over to the next candidate unseen; after it a
        failure raises StreamInterrupted. Raises as :meth:`generate` does where no answer came.
        """
        run = self._begin(request, route, stream=True, options=options)
        try:
            step = next(run.flow)
            while True:
                outcome: ProviderError | None = None
                if isinstance(step, Wait):
                    run.check_wait(step)
                    sleep(step.seconds, run.call.token)
                else:
                    target, record = run.open(step)
                    sink = run.sink(target, record)
                    try:
                        provider = self._pool.get(target.provider, run.config)
                        controller = provider.stream_chat(
                            run.call.request_for(target),
                            options=run.call.options_for(target, provider.timeouts),
                        )
                    except ProviderError as error:
                        outcome = run.fail(record, target, error)
                    else:
                        try:
                            for event in controller:
                                for ready in sink.take(event, controller.error):
                                    yield ready
                        except BaseException:
                            sink.left(controller.metrics)
                            raise
                        finally:
                            controller.close()
                        outcome = sink.end(controller.metrics)
                        if outcome is None:
                            for ready in sink.closing():
                                yield ready
                step = run.flow.send(outcome)
        except StopIteration as end:
            yield from run.last_words(end.value)
        finally:
            run.save()

    async def astream(
        self, request: ChatRequest, route: str = "default", *, options: CallOptions | None = None
    ) -> AsyncIterator[ChatStreamEvent]:
        """The async twin of :meth:`stream`."""
        run = self._begin(request, route, stream=True, options=options)
        try:
            step = next(run.flow)
            while True:
                outcome: ProviderError | None = None
                if isinstance(step, Wait):
                    run.check_wait(step)
                    await asleep(step.seconds, run.call.token)
                else:
                    target, record = run.open(step)
                    sink = run.sink(target, record)
                    try:
                        provider = self._pool.get(target.provider, run.config)
                        controller = provider.astream_chat(
                            run.call.request_for(target),
                            options=run.call.options_for(target, provider.timeouts),
                        )
                    except ProviderError as error:
                        outcome = run.fail(record, target, error)
                    else:
                        try:
                            async for event in controller:
                                for ready in sink.take(event, controller.error):
                                    yield ready
                        except BaseException:
                            sink.left(controller.metrics)
                            raise
                        finally:
                            await controller.aclose()
                        outcome = sink.end(controller.metrics)
                        if outcome is None:
                            for ready in sink.closing():
                                yield ready
                try:
                    step = run.flow.send(outcome)
                except StopIteration as end:
                    for event in run.last_words(end.value):
                        yield event
                    return
        finally:
            run.save()

    # -- life -------------------------------------------------------------------------------------

    def _begin(
        self, request: ChatRequest, route: str, *, stream: bool, options: CallOptions | None
    ) -> _Run:
        options = options or _NO_OPTIONS
        runtime = self._runtime
        seed = self._random.getrandbits(32)
        plan, steps, in_force = runtime.steps(
            request, route, stream=stream, seed=seed, options=options
        )
        call = RouteCall(
            request=request,
            route=route,
            plan=plan,
            stream=stream,
            cost_of=runtime.cost_of,
            token=options.token or CancellationToken(),
            timeout=options.timeout,
            route_total=runtime.route_total(in_force, route),
            seed=seed,
            model=options.model,
        )
        flow = route_flow(steps, self._random.random)
        return _Run(call, steps, flow, runtime, in_force.config)

    def close(self) -> None:
        """Release every provider's connections; the router may be used again."""
        self._pool.close()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`."""
        await self._pool.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


@dataclass(slots=True)
class _Run:
    """One call being carried out: the flow's steps turned into records and answers."""

    call: RouteCall
    steps: list[RuntimeStep]
    flow: RouteFlow
    runtime: Runtime
    config: RoutesConfig
    answered: ChatResponse | None = None
    sinks: list[_Sink] = field(default_factory=list)

    def open(self, attempt: Try) -> tuple[RuntimeStep, AttemptRecord]:
        late = self.call.out_of_time()
        if late is not None:
            raise self.call.all_failed(late)
        target = self.steps[attempt.index]
        return target, self.call.open(target, attempt)

    def check_wait(self, wait: Wait) -> None:
        if not self.call.can_wait(wait.seconds):
            raise self.call.all_failed(wait.error)

    def take(
        self, record: AttemptRecord, target: RuntimeStep, response: ChatResponse
    ) -> ProviderError | None:
        found = self.call.judge(response)
        accepted = found is None or target.actions.get(found.trigger, "stop") == "stop"
        noted = found if accepted else None
        self.call.close(record, target, None if accepted else found, response=response, noted=noted)
        self.runtime.record(target, None if accepted else found)
        if accepted:
            self.answered = response
            return None
        return found

    def fail(
        self, record: AttemptRecord, target: RuntimeStep, error: ProviderError
    ) -> ProviderError:
        self.call.close(record, target, error)
        self.runtime.record(target, error)
        if isinstance(error, CancelledError):
            raise error
        return error

    def leave(self, record: AttemptRecord, target: RuntimeStep) -> None:
        self.call.close(record, target, CancelledError("the caller left"))

    def sink(self, target: RuntimeStep, record: AttemptRecord) -> _Sink:
        return _Sink(self, target, record)

    def answer(self, verdict: RouteVerdict) -> ChatResponse:
        if verdict.action == "done" and self.answered is not None:
            return self.call.finish(self.answered)
        last = self.call.last_unsatisfying
        if last is not None and all(a.outcome == "empty" for a in self.call.attempts):
            return self.call.finish(last.response)  # every candidate was empty: the last, flagged
        raise self.call.failure(verdict)

    def last_words(self, verdict: RouteVerdict) -> Iterator[ChatStreamEvent]:
        """What a stream ends with when the flow is over: nothing more, or the failure."""
        if verdict.action == "done":
            return
        if self.call.attempts and all(a.outcome == "empty" for a in self.call.attempts):
            life = self.sinks[-1].life
            yield self.call.last_event(ChatStreamEvent(finish=True), life)
            return
        raise self.call.failure(verdict)

    def save(self) -> None:
        self.runtime.save(self.call, self.config)


class _Sink:
    """Where one streamed attempt's events go: held back until committed, then straight through."""

    __slots__ = (
        "_committed",
        "_error",
        "_folder",
        "_holder",
        "_record",
        "_run",
        "_target",
        "life",
        "terminal",
    )

    def __init__(self, run: _Run, target: RuntimeStep, record: AttemptRecord) -> None:
        self._run = run
        self._target = target
        self._record = record
        self._holder = Holder(target.hold)
        self._folder = StreamFolder()
        self._committed = False
        self._error: ProviderError | None = None
        self.terminal = ChatStreamEvent(finish=True)
        self.life: Any = None

    def take(
        self, event: ChatStreamEvent, error: ProviderError | None
    ) -> tuple[ChatStreamEvent, ...] | list[ChatStreamEvent]:
        """The events to hand out now."""
        if event.finish:
            self.terminal = event
            self._error = error
            return ()
        self._folder.add(event)
        if self._committed:
            return (event,)
        ready = self._holder.take(event)
        if ready:
            self._committed = True
        return ready

    def end(self, life: Any) -> ProviderError | None:
        """The outcome of the attempt; raises StreamInterrupted where content was handed out."""
        run, record, target = self._run, self._record, self._target
        self.life = life
        run.sinks.append(self)
        error = self._error
        run.call.degraded.extend(self._folder.meta.get("degraded", ()))
        if error is None:
            response = self._folder.response(
                provider=target.provider, response_format=run.call.request.response_format
            )
            run.call.answer_text = response.text
            found = run.call.judge(response)
            too_late = self._committed or found is None
            accepted = too_late or target.actions.get(found.trigger, "stop") == "stop"  # type: ignore[union-attr]  # None is too_late
            run.call.close(
                record,
                target,
                None if accepted else found,
                life=life,
                noted=found if accepted else None,
            )
            run.runtime.record(target, None if accepted else found)
            return None if accepted else found
        run.call.close(record, target, error, life=life, interrupted=self._committed)
        run.runtime.record(target, error)
        if isinstance(error, CancelledError):
            raise error
        if self._committed:
            raise run.call.interrupted(error, self._folder)
        return error

    def left(self, life: Any) -> None:
        """The consumer went away: noted, and counted against nobody."""
        self._run.call.close(
            self._record, self._target, CancelledError("the caller left"), life=life
        )

    def closing(self) -> list[ChatStreamEvent]:
        """The end of a good stream: what was still held back, then the terminal event."""
        return [*self._holder.rest(), self._run.call.last_event(self.terminal, self.life)]


__all__ = ["CallOptions", "Router"]
