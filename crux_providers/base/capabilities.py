"""What models were seen to do: the words, the write policy, and what a plan reads.

Only a confirmed success makes a capability true, and only a provider's own refusal that names it
makes it false; a rate limit, a 5xx, a timeout or a filter proves nothing, and nothing is inferred
from a model's name. A success stands until a refusal comes; a refusal expires, so that a model
that gained a capability is tried again.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from ..config import defaults
from .errors import ErrorCode, ProviderError, WireFailure, short_message
from .models import ChatRequest, ChatResponse
from .ports import resolve

Mode = Literal["whole", "stream"]
MODES: tuple[Mode, ...] = ("whole", "stream")

FEATURES: frozenset[str] = frozenset(
    {
        "streaming",
        "json_output",
        "json_schema",
        "structured_streaming",
        "tools",
        "parallel_tools",
        "tool_choice",
        "vision",
        "pdf",
        "audio",
        "reasoning",
        "logprobs",
    }
)
"""The closed set of capability words."""

REFUSAL_CODES: frozenset[ErrorCode] = frozenset({ErrorCode.UNSUPPORTED, ErrorCode.BAD_REQUEST})
"""Codes under which a provider refuses a feature; any other code proves nothing."""

_PART_FEATURES: Mapping[str, str] = {"image": "vision", "pdf": "pdf", "audio": "audio"}
_ANSWERED = frozenset({"stop", "tool_calls", "length", None})

Flags = Mapping[str, Mapping[str, bool]]
"""model → feature → whether it has it."""


class Observation(NamedTuple):
    """One thing seen about one model; ``at`` is seconds since 1970, ``source`` who saw it."""

    provider: str
    model: str
    feature: str
    value: bool
    mode: str
    at: float
    reason: str | None = None
    source: str = "chat"


class Fact(NamedTuple):
    """The latest thing seen of one feature in one mode, and how often it was seen."""

    value: bool
    at: float
    mode: str
    reason: str | None = None
    source: str = "chat"
    successes: int = 0
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What was seen of one model: ``facts`` by (feature, mode).

    Mode ``any`` holds rows that say no mode (written by hand or by an older version).
    """

    facts: Mapping[tuple[str, str], Fact] = field(default_factory=dict)

    def fact(
        self, feature: str, mode: str, now: float, expire: float = defaults.OBSERVED_EXPIRE_S
    ) -> Fact | None:
        """What is known of ``feature`` for a call in ``mode`` at time ``now``; None is unknown.

        A refusal counts for ``expire`` seconds and in its own mode only; a success in the other
        mode counts where this mode's was never seen.
        """
        known: Fact | None
        for key in (mode, "any"):
            known = self.facts.get((feature, key))
            if known is not None and (known.value or now - known.at < expire):
                return known
        for other in MODES:
            known = self.facts.get((feature, other))
            if known is not None and known.value:
                return known
        return None

    def flags(self, now: float, expire: float = defaults.OBSERVED_EXPIRE_S) -> dict[str, bool]:
        """feature → true where any mode is, false where all there is is an unexpired refusal."""
        flags: dict[str, bool] = {}
        for (feature, _), fact in self.facts.items():
            if fact.value:
                flags[feature] = True
            elif now - fact.at < expire:
                flags.setdefault(feature, False)
        return flags


NO_FACTS = ModelFacts()


class ObservationStore(Protocol):
    """What ``base`` needs of the store behind the port ``store``."""

    def observe(self, observation: Observation) -> None:
        """Take one observation; never waits, never raises."""
        ...

    def observed(self, provider: str) -> Mapping[str, ModelFacts]:
        """model → facts of one provider, as stored now with what this process saw."""
        ...


def merge_capabilities(base: Flags, observed: Flags) -> dict[str, dict[str, bool]]:
    """``base`` with ``observed`` laid over it; both are model → {feature: bool}; pure.

    What was observed wins in both directions; what was not leaves the base as it is.
    """
    merged = {model: dict(flags) for model, flags in base.items()}
    for model, flags in observed.items():
        merged.setdefault(model, {}).update(flags)
    return merged


def load_observed(provider: str) -> dict[str, dict[str, bool]]:
    """model → {feature: bool} as observed: true where any mode is, false by unexpired refusals."""
    store: ObservationStore = resolve("store")()
    now = time.time()
    found = {model: facts.flags(now) for model, facts in store.observed(provider).items()}
    return {model: flags for model, flags in found.items() if flags}


def record_observation(
    provider: str,
    model_id: str,
    feature: str,
    value: bool,
    *,
    mode: str = "whole",
    reason: str | None = None,
    source: str = "chat",
) -> None:
    """Hand one observation to the background writer; returns at once and never raises for I/O.

    Raises ValueError for a feature or mode that is no word of the vocabulary.
    """
    if feature not in FEATURES:
        raise ValueError(f"capability {feature!r} is not one of {sorted(FEATURES)}")
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is not one of {list(MODES)}")
    note = short_message(reason) if reason else None
    seen = Observation(provider, model_id, feature, bool(value), mode, time.time(), note, source)
    resolve("store")().observe(seen)


def record_all(observations: Iterable[Observation]) -> None:
    """Hand over what :func:`observations` made; returns at once."""
    store: ObservationStore | None = None
    for seen in observations:
        store = store if store is not None else resolve("store")()
        store.observe(seen)


# -- the write policy ---------------------------------------------------------------------------


def requested_features(request: ChatRequest, mode: str) -> frozenset[str]:
    """The capability words a request asks for; pure."""
    asked: set[str] = set()
    structured = request.response_format in ("json_object", "json_schema")
    if mode == "stream":
        asked.add("streaming")
        if structured:
            asked.add("structured_streaming")
    if structured:
        asked.add("json_schema" if request.response_format == "json_schema" else "json_output")
    if request.tools and request.tool_choice != "none":
        asked.add("tools")
        if request.parallel_tool_calls:
            asked.add("parallel_tools")
        if request.tool_choice not in (None, "auto"):
            asked.add("tool_choice")
    if request.reasoning_effort is not None or request.reasoning_budget is not None:
        asked.add("reasoning")
    if request.logprobs or request.top_logprobs:
        asked.add("logprobs")
    for message in request.messages:
        if not isinstance(message.content, str):
            asked.update(
                _PART_FEATURES[part.type] for part in message.content if part.type in _PART_FEATURES
            )
    return frozenset(asked)


class Answer(NamedTuple):
    """What of an answer can prove something; made of a whole one or of a stream that ended well.

    ``structured`` says that JSON was asked for and the text parsed (and fits the schema, where
    somebody checked); ``tool_calls`` counts the calls; ``reasoning`` and ``logprobs`` say whether
    any came; ``empty`` that the answer says nothing at all.
    """

    tool_calls: int = 0
    structured: bool = False
    reasoning: bool = False
    logprobs: bool = False
    finish_reason: str | None = None
    empty: bool = False

    @classmethod
    def of(cls, response: ChatResponse, *, fits_schema: bool = True) -> Answer:
        """What ``response`` can prove; ``fits_schema`` false where a check found otherwise."""
        details: Mapping[str, Any] = response.meta.extra.get("token_usage_details") or {}
        return cls(
            tool_calls=len(response.tool_calls),
            structured=response.structured is not None and fits_schema,
            reasoning=bool(response.reasoning or details.get("reasoning")),
            logprobs=bool(response.meta.extra.get("logprobs")),
            finish_reason=response.finish_reason,
            empty=response.empty,
        )


def proved_features(asked: Collection[str], answer: Answer, mode: str) -> frozenset[str]:
    """Which of the features ``asked`` the answer proves; pure.

    ``json_output`` is proved by a structured answer that came whole, ``structured_streaming`` by
    one that was streamed, input parts by an answer to them. ``streaming`` is not proved here but
    by the first token. An answer that is empty, filtered or ended in an error proves nothing.
    """
    if answer.empty or answer.finish_reason not in _ANSWERED:
        return frozenset()
    proved: set[str] = {feature for feature in _PART_FEATURES.values() if feature in asked}
    evidence = {
        "tools": answer.tool_calls > 0,
        "tool_choice": answer.tool_calls > 0,
        "parallel_tools": answer.tool_calls > 1,
        "json_output": answer.structured and mode == "whole",
        "json_schema": answer.structured,
        "structured_streaming": answer.structured,
        "reasoning": answer.reasoning,
        "logprobs": answer.logprobs,
    }
    proved.update(f for f, seen in evidence.items() if seen and f in asked)
    if "json_schema" in proved and mode == "whole":
        proved.add("json_output")  # a schema's answer is a structured answer
    return frozenset(proved)


def observations(
    provider: str,
    model: str,
    *,
    mode: Mode,
    outcome: Collection[str] | ProviderError,
    at: float,
    emitted: bool = False,
    source: str = "chat",
) -> list[Observation]:
    """What one call's outcome proves; pure, and the only place that decides it.

    ``outcome`` is the features a success proved (:func:`proved_features`) or the error it ended
    in. ``emitted`` says that a stream brought content, which proves ``streaming`` however it
    ended. ``at`` is the time in seconds since 1970.
    """
    seen: dict[str, Observation] = {}

    def add(feature: str, value: bool, reason: str | None = None) -> None:
        seen[feature] = Observation(provider, model, feature, value, mode, at, reason, source)

    if emitted and mode == "stream":
        add("streaming", True)
    if isinstance(outcome, ProviderError):
        if (feature := refused_feature(outcome)) is not None and feature not in seen:
            add(feature, False, short_message(outcome.message))
            if (feature, mode) == ("json_output", "stream"):  # no JSON at all in this mode
                add("structured_streaming", False, short_message(outcome.message))
    else:
        for feature in sorted(outcome):
            if feature in FEATURES:
                add(feature, True)
    return list(seen.values())


def refused_feature(error: ProviderError) -> str | None:
    """The capability that the provider itself refused in ``error``, or None.

    An error raised on this side, before anything was sent, is no refusal of the provider's.
    """
    if error.feature not in FEATURES or error.code not in REFUSAL_CODES:
        return None
    cause = error.cause
    answered = error.status is not None or (
        isinstance(cause, WireFailure) and cause.kind in ("status", "in_band")
    )
    return error.feature if answered else None
