"""The attempt flow: what happens after each outcome, as a generator with no I/O.

A driver asks for the next step, carries it out, and sends back the outcome; so sync and async
callers share every decision::

    flow = attempts(retry, actions, random)
    step = next(flow)
    while True:
        match step:
            case Attempt(): outcome = ...   # None for success, else a ProviderError
            case Wait(seconds): sleep(seconds); outcome = None   # its error: no time to wait
        step = flow.send(outcome)           # StopIteration.value is the Verdict
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Literal

from .errors import RETRYABLE, ErrorCode, ProviderError
from .retry import RetryConfig

Action = Literal["retry", "next", "stop"]

DEFAULT_ACTIONS: Mapping[str, Action] = {
    **{str(code): "retry" for code in RETRYABLE},
    **dict.fromkeys(
        (
            *(
                str(c)
                for c in (
                    ErrorCode.AUTH,
                    ErrorCode.PERMISSION,
                    ErrorCode.QUOTA,
                    ErrorCode.NOT_FOUND,
                    ErrorCode.CONFLICT,
                    ErrorCode.CONTEXT_LENGTH,
                    ErrorCode.UNSUPPORTED,
                )
            ),
            "empty",
            "refusal",
            "invalid_json",
            "schema_mismatch",
        ),
        "next",
    ),
    **{
        str(c): "stop"
        for c in (
            ErrorCode.BAD_REQUEST,
            ErrorCode.CONTENT_FILTER,
            ErrorCode.CANCELLED,
            ErrorCode.INTERNAL,
        )
    },
}
"""What each outcome does next where a route says nothing."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Send the request; ``number`` counts from 1."""

    number: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait ``seconds`` before the next attempt; ``error`` is what made it necessary."""

    seconds: float
    error: ProviderError


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a candidate's attempts ended: success, or ``error`` with ``next`` or ``stop``."""

    action: Literal["done", "next", "stop"]
    error: ProviderError | None = None


Outcome = ProviderError | None
AttemptFlow = Generator[Attempt | Wait, Outcome, Verdict]


def attempts(
    retry: RetryConfig,
    random: Callable[[], float],
    actions: Mapping[str, Action] = DEFAULT_ACTIONS,
    trigger: Callable[[ProviderError], str] = lambda error: str(error.code),
    made: int = 0,
) -> AttemptFlow:
    """The attempts at one candidate, until one succeeds or its failures say what is next.

    ``trigger`` names the row of ``actions`` that an outcome falls under (an error's code, or a
    content trigger such as ``empty``). A ``retry`` row becomes ``next`` when retries are used up,
    the provider says of a failure that is else worth a retry that this one is not, its Retry-After
    is beyond the patience, or the driver sends a Wait's error back since there is no time for it.
    ``made`` requests were made before.
    """
    number = made
    while True:
        number += 1
        outcome = yield Attempt(number)
        if outcome is None:
            return Verdict("done")
        action = actions.get(trigger(outcome), "stop")
        if action != "retry":
            return Verdict(action, outcome)
        delay = pause(retry, number, outcome, random(), trigger(outcome))
        if delay is None or (yield Wait(delay, outcome)) is not None:
            return Verdict("next", outcome)


def pause(
    retry: RetryConfig, number: int, error: ProviderError, random: float, trigger: str
) -> float | None:
    """Seconds to wait before trying again after the failure of request ``number``, or None.

    For a ``trigger`` that is retried by default the error itself may say that it is final; any
    other is only asked about where somebody wrote ``retry``, and that holds.
    """
    final = not error.retryable and DEFAULT_ACTIONS.get(trigger) == "retry"
    return None if final else retry.delay(number, error.retry_after, random)
