"""The router: a plan, then the drivers that carry it out, sync and async, whole and streamed."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from crux_providers.base.abandon import asleep, sleep
from crux_providers.base.cancellation import CancellationToken
from crux_providers.base.errors import ProviderError
from crux_providers.base.events import ChatStreamEvent
from crux_providers.base.flow import Wait
from crux_providers.base.models import ChatRequest, ChatResponse
from crux_providers.base.provider import BaseProvider

from .call import CallOptions, RouteCall
from .config import RoutesConfig
from .flow import Aside, RouteOutcome, RouteVerdict, Try
from .plan import Plan
from .providers import ProviderPool
from .racing import ahead, arace, atimed, head, race, timed
from .run import Lane, Run
from .runtime import Runtime
from .steps import Steps

__all__ = ["CallOptions", "Router"]

_NO_OPTIONS = CallOptions()


class Router:
    """Routes declared in ``routes.yaml``, ready to answer.

    ``source`` is a path, a mapping, YAML text, a RoutesConfig loaded before, or None:
    ``$CRUX_ROUTES``, ``routes.yaml`` in the working directory, else the packaged default.
    ``providers`` may hold ready provider objects by name (a client of one's own, a scripted
    transport). Making a router reads the file and does nothing else: no key, network or database
    is touched before a call.
    """

    def __init__(
        self,
        source: str | Path | Mapping[str, Any] | RoutesConfig | None = None,
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

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: a router is a live thing, so a copied model goes on using the same one."""
        return self

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
            step = run.advance(None)
            while not isinstance(step, RouteVerdict):
                step = run.advance(_whole(run, step))
            return run.answer(step)
        finally:
            run.save()

    async def agenerate(
        self, request: ChatRequest, route: str = "default", *, options: CallOptions | None = None
    ) -> ChatResponse:
        """The async twin of :meth:`generate`."""
        run = self._begin(request, route, stream=False, options=options)
        try:
            step = run.advance(None)
            while not isinstance(step, RouteVerdict):
                step = run.advance(await _awhole(run, step))
            return run.answer(step)
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
            step = run.advance(None)
            while not isinstance(step, RouteVerdict):
                step = run.advance((yield from _stream(run, step)))
            yield from run.last_words(step)
        finally:
            run.save()

    async def astream(
        self, request: ChatRequest, route: str = "default", *, options: CallOptions | None = None
    ) -> AsyncIterator[ChatStreamEvent]:
        """The async twin of :meth:`stream`."""
        run = self._begin(request, route, stream=True, options=options)
        try:
            step = run.advance(None)
            while not isinstance(step, RouteVerdict):
                lane, outcome = await _abegin(run, step)
                if lane is not None:
                    sink, controller = lane.opened()
                    source = atimed(lane) if lane.timed else controller
                    try:
                        if not lane.ended:
                            async for event in source:
                                if sink.committed and event is not None:
                                    ready = sink.take(event)
                                else:
                                    ready = run.feed(lane, event) if event else sink.release()
                                for one in ready:
                                    yield one
                    except BaseException:
                        run.leave(lane)
                        raise
                    finally:
                        if source is not controller:
                            await source.aclose()
                        await controller.aclose()
                    outcome = None if lane.ended else run.end_stream(lane)
                    if outcome is None:
                        for one in run.closing(lane):
                            yield one
                step = run.advance(outcome)
            for one in run.last_words(step):
                yield one
        finally:
            run.save()

    # -- life -------------------------------------------------------------------------------------

    def _begin(
        self, request: ChatRequest, route: str, *, stream: bool, options: CallOptions | None
    ) -> Run:
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

        def replan() -> tuple[Plan, Steps]:
            return runtime.steps(
                request, route, stream=stream, seed=seed, options=options, in_force=in_force
            )[:2]

        return Run(call, steps, runtime, self._pool, in_force.config, self._random.random, replan)

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


# -- one attempt ----------------------------------------------------------------------------------


def _wait(run: Run, step: Wait) -> RouteOutcome:
    late = run.no_time(step)
    if late is None:
        sleep(step.seconds, run.call.token)
    return late


async def _await(run: Run, step: Wait) -> RouteOutcome:
    late = run.no_time(step)
    if late is None:
        await asleep(step.seconds, run.call.token)
    return late


def _whole(run: Run, step: Try | Wait) -> RouteOutcome:
    """Carry a step of a call for a whole answer out."""
    if isinstance(step, Wait):
        return _wait(run, step)
    lane = run.open(step)
    if isinstance(lane, Aside):
        return lane

    def ask(lane: Lane) -> ChatResponse:
        provider, request, options = run.prepared(lane)
        return provider.chat(request, options=options)

    after = run.hedge_after(lane)
    if after is not None:
        return race(run, lane, after, ask, run.take)[1]
    try:
        return run.take(lane, ask(lane))
    except ProviderError as error:
        return run.fail(lane, error)
    except BaseException:
        run.leave(lane)
        raise


async def _awhole(run: Run, step: Try | Wait) -> RouteOutcome:
    """The async twin of :func:`_whole`."""
    if isinstance(step, Wait):
        return await _await(run, step)
    lane = run.open(step)
    if isinstance(lane, Aside):
        return lane

    async def ask(lane: Lane) -> ChatResponse:
        provider, request, options = run.prepared(lane)
        return await provider.achat(request, options=options)

    after = run.hedge_after(lane)
    if after is not None:
        return (await arace(run, lane, after, ask, run.take))[1]
    try:
        return run.take(lane, await ask(lane))
    except ProviderError as error:
        return run.fail(lane, error)
    except BaseException:
        run.leave(lane)
        raise


Begun = tuple[Lane | None, RouteOutcome]
"""An attempt whose stream is to be read, or the outcome of a step without one."""


def _begin(run: Run, step: Try | Wait) -> Begun:
    """Carry a step of a streamed call out as far as the reading of its stream."""
    if isinstance(step, Wait):
        return None, _wait(run, step)
    lane = run.open(step)
    if isinstance(lane, Aside):
        return None, lane

    def start(lane: Lane) -> Any:
        provider, request, options = run.prepared(lane)
        return run.begin_stream(lane, provider.stream_chat(request, options=options))

    after = run.hedge_after(lane)
    if after is not None:
        return race(run, lane, after, lambda lane: head(start(lane)), run.take_head)
    try:
        start(lane)
    except ProviderError as error:
        return None, run.fail(lane, error)
    except BaseException:
        run.leave(lane)
        raise
    return lane, None


async def _abegin(run: Run, step: Try | Wait) -> Begun:
    """The async twin of :func:`_begin`."""
    if isinstance(step, Wait):
        return None, await _await(run, step)
    lane = run.open(step)
    if isinstance(lane, Aside):
        return None, lane

    def start(lane: Lane) -> Any:
        provider, request, options = run.prepared(lane)
        return run.begin_stream(lane, provider.astream_chat(request, options=options))

    async def first(lane: Lane) -> list[ChatStreamEvent]:
        return await ahead(start(lane))

    after = run.hedge_after(lane)
    if after is not None:
        return await arace(run, lane, after, first, run.take_head)
    try:
        start(lane)
    except ProviderError as error:
        return None, run.fail(lane, error)
    except BaseException:
        run.leave(lane)
        raise
    return lane, None


def _stream(run: Run, step: Try | Wait) -> Generator[ChatStreamEvent, None, RouteOutcome]:
    """Carry a step of a streamed call out; gives its events and returns its outcome."""
    lane, outcome = _begin(run, step)
    if lane is None:
        return outcome
    sink, controller = lane.opened()
    source = timed(lane) if lane.timed else controller
    try:
        if not lane.ended:
            for event in source:
                if sink.committed and event is not None:
                    ready = sink.take(event)
                else:
                    ready = run.feed(lane, event) if event else sink.release()
                for one in ready:
                    yield one
    except BaseException:
        run.leave(lane)
        raise
    finally:
        source.close()
        controller.close()
    outcome = None if lane.ended else run.end_stream(lane)
    if outcome is None:
        for one in run.closing(lane):
            yield one
    return outcome
