"""What a call's outcome proves about a model, handed to the observation store at once.

The policy is :func:`crux_providers.base.capabilities.observations`; this is where the provider
driver calls it. A call never waits for the store and never fails because of it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .capabilities import (
    Answer,
    Mode,
    observations,
    proved_features,
    record_all,
    requested_features,
)
from .errors import ProviderError
from .models import ChatRequest, ChatResponse
from .quotations import said, without_echo

if TYPE_CHECKING:
    from .streaming_lifecycle import StreamLifecycle


def observe_success(
    provider: str, model: str, request: ChatRequest, response: ChatResponse
) -> None:
    """A whole answer came: what the request asked for and the answer shows is proved."""
    asked = requested_features(request, "whole")
    if asked:
        proved = proved_features(asked, Answer.of(response), "whole")
        record_all(observations(provider, model, mode="whole", outcome=proved, at=time.time()))


def observe_error(
    provider: str,
    model: str,
    request: ChatRequest,
    error: ProviderError,
    *,
    mode: Mode,
    emitted: bool = False,
) -> None:
    """A call failed: only a refusal that names a feature proves anything.

    What the provider's words quote of the request is not kept.
    """
    found = observations(provider, model, mode=mode, outcome=error, at=time.time(), emitted=emitted)
    record_all(
        seen._replace(reason=without_echo(seen.reason, said(request))) if seen.reason else seen
        for seen in found
    )


def observe_first(provider: str, model: str) -> None:
    """The first token of a stream came, which proves ``streaming`` however it ends."""
    record_all(
        observations(provider, model, mode="stream", outcome=(), at=time.time(), emitted=True)
    )


def observe_end(provider: str, model: str, request: ChatRequest, life: StreamLifecycle) -> None:
    """A stream ended, well or in an error."""
    if life.error is not None:
        observe_error(provider, model, request, life.error, mode="stream", emitted=life.emitted)
        return
    asked = requested_features(request, "stream")
    if asked == {"streaming"}:
        return  # its first token proved it
    answer = Answer(
        tool_calls=life.tool_calls,
        structured=life.structured is not None,
        reasoning=life.reasoned or bool(life.usage and life.usage.details.get("reasoning")),
        logprobs=life.logprobs,
        finish_reason=life.finish_reason,
        empty=not life.emitted,
    )
    proved = proved_features(asked, answer, "stream")
    record_all(observations(provider, model, mode="stream", outcome=proved, at=time.time()))
