"""What a route does after each outcome: the plan's steps in turn, each with its own retries. Pure.

The drivers in :mod:`router` (sync and async, whole and streamed) carry out the steps this yields;
every decision about what comes next is made here or in :mod:`crux_providers.base.flow`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Protocol, TypeAlias

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.flow import Action, Attempt, Verdict, Wait, attempts
from crux_providers.base.models import ChatRequest, ChatResponse
from crux_providers.base.retry import RetryConfig


class Unsatisfying(ProviderError):
    """An answer that came, but is not good enough: ``trigger`` is the row of the ``on`` table.

    ``response`` is the answer itself. Not a provider's error; it never leaves the router unless
    nothing better came.
    """

    def __init__(self, trigger: str, message: str, response: ChatResponse) -> None:
        super().__init__(ErrorCode.MALFORMED, message, retryable=False)
        self.trigger = trigger
        self.response = response


def trigger_of(error: ProviderError) -> str:
    """The row of the ``on`` table that an outcome falls under."""
    return error.trigger if isinstance(error, Unsatisfying) else str(error.code)


class FlowStep(Protocol):
    """What the flow needs to know of a plan's step."""

    @property
    def retry(self) -> RetryConfig:
        """How often this candidate is tried."""
        ...

    @property
    def actions(self) -> Mapping[str, Action]:
        """The ``on`` table that holds for it."""
        ...


@dataclass(frozen=True, slots=True)
class Try:
    """Call the candidate of ``steps[index]``; ``number`` counts its requests from 1.

    ``after`` is the failure that led here, None for the very first request.
    """

    index: int
    number: int
    after: ProviderError | None


@dataclass(frozen=True, slots=True)
class RouteVerdict:
    """How the route ended: ``done``, or ``error`` with ``stop`` or ``exhausted``."""

    action: Literal["done", "stop", "exhausted"]
    error: ProviderError | None = None


class Aside(Enum):
    """The outcome of a :class:`Try` that was not made: the candidate may not be called now."""

    ASIDE = 0


ASIDE = Aside.ASIDE
RouteOutcome: TypeAlias = ProviderError | Aside | None
RouteFlow = Generator[Try | Wait, RouteOutcome, RouteVerdict]


def route_flow(
    steps: Sequence[FlowStep], random: Callable[[], float], made: Mapping[int, int]
) -> RouteFlow:
    """The requests of one call, candidate after candidate, until one is good or none is left.

    ``made`` is read as the flow goes on: how many requests a candidate had outside of its turn.
    """
    last: ProviderError | None = None
    for index, step in enumerate(steps):
        before = made.get(index, 0)
        if before >= step.retry.max_attempts:
            continue
        flow = attempts(step.retry, random, step.actions, trigger_of, before)
        action: Attempt | Wait = next(flow)
        verdict: Verdict | None = None
        while verdict is None:
            if isinstance(action, Attempt):
                outcome = yield Try(index, action.number, last)
                if isinstance(outcome, Aside):
                    break
                last = outcome if outcome is not None else last
            else:
                outcome = yield action
            try:
                action = flow.send(None if isinstance(outcome, Aside) else outcome)
            except StopIteration as end:
                verdict = end.value
        if verdict is None:
            continue
        if verdict.action == "done":
            return RouteVerdict("done")
        if verdict.action == "stop":
            return RouteVerdict("stop", verdict.error)
    return RouteVerdict("exhausted", last)


def judge(
    request: ChatRequest, response: ChatResponse, check_schema: Callable[[Any, Any], str | None]
) -> Unsatisfying | None:
    """The content trigger an answer falls under, or None where it is good.

    ``empty`` (but an empty answer right after a tool result is none), ``refusal``, ``invalid_json``
    and ``schema_mismatch`` (where the request asked for JSON), ``length``. ``check_schema(value,
    schema)`` gives the first mismatch in words.
    """
    if response.empty:
        after_tool = bool(request.messages) and request.messages[-1].role == "tool"
        if after_tool:
            return None
        return Unsatisfying("empty", "the answer is empty", response)
    if response.refusal:
        return Unsatisfying("refusal", f"the model refused: {response.refusal}", response)
    if response.finish_reason == "length":
        cut = Unsatisfying("length", "the answer was cut at max_tokens", response)
    else:
        cut = None
    wants_json = request.response_format in ("json_object", "json_schema")
    if wants_json and not response.tool_calls:
        if response.structured is None:
            return Unsatisfying("invalid_json", "the answer is no JSON", response)
        if request.json_schema is not None:
            wrong = check_schema(response.structured, request.json_schema)
            if wrong is not None:
                return Unsatisfying("schema_mismatch", wrong, response)
    return cut
