"""What a routes file says, as frozen values. Pure; :mod:`config` reads and checks the file.

Times are seconds, prices US dollars per million tokens, budgets US dollars, shares parts of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from crux_providers.base.flow import DEFAULT_ACTIONS, Action
from crux_providers.base.pricing import Price
from crux_providers.base.retry import RetryConfig
from crux_providers.config import defaults

Preference: TypeAlias = Literal[
    "order", "cost", "latency", "reliability", "weighted", "effective_cost"
]
Unknown: TypeAlias = Literal["last", "allow", "reject"]

CAPABILITIES = (
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
)
"""The capability words; there are no others."""

PREFERENCES = ("order", "cost", "latency", "reliability", "weighted", "effective_cost")
UNKNOWN = ("last", "allow", "reject")
ACTIONS = ("retry", "next", "stop")
CONTENT_TRIGGERS = ("empty", "refusal", "invalid_json", "schema_mismatch", "length")
"""Rows of ``on`` that an answer falls under, not an error. ``stop`` takes the answer as it is;
``length`` has no row of its own unless a route gives it one."""
DIALECTS = (
    "openai_chat",
    "openai_responses",
    "anthropic_messages",
    "gemini_generate",
    "ollama_chat",
)
DEFAULT_ROUTE = "default"
DEFAULT_OUTPUT_TOKENS = 512
"""Output tokens of a call whose length nobody has stated or seen."""


@dataclass(frozen=True, slots=True)
class Retry:
    """``attempts`` counts all requests to one candidate; ``patience`` is the longest Retry-After
    worth waiting for."""

    attempts: int = 2
    initial: float = defaults.RETRY_INITIAL_S
    max: float = defaults.RETRY_MAX_S
    patience: float = 3.0

    def config(self) -> RetryConfig:
        """The same for the attempt flow."""
        return RetryConfig(self.attempts, self.initial, self.max, patience=self.patience)


@dataclass(frozen=True, slots=True)
class StreamPolicy:
    """``hold`` seconds of a stream are kept back before it commits (None: all of it); ``idle`` is
    the longest silence between events."""

    hold: float | None = 0.0
    idle: float = defaults.TIMEOUT_IDLE_S


@dataclass(frozen=True, slots=True)
class Timeouts:
    """``connect`` and ``first_token`` bound the start of an attempt, ``total`` the whole of it,
    ``route_total`` all attempts together. None: not said here."""

    connect: float | None = None
    first_token: float | None = None
    total: float | None = None
    route_total: float | None = None


@dataclass(frozen=True, slots=True)
class Breaker:
    """``failures`` within ``window`` seconds take a candidate out for ``open`` seconds."""

    failures: int = 5
    window: float = 60.0
    open: float = 30.0


@dataclass(frozen=True, slots=True)
class Hedge:
    """A second candidate is asked ``after`` that many seconds, or after the first one's own
    observed ``p95``; ``max_extra`` is the share of dollars it may add."""

    after: float | Literal["p95"] = "p95"
    max_extra: float = 0.05


@dataclass(frozen=True, slots=True)
class Budget:
    """US dollars: of one call, and of one UTC day of the route. None: no limit."""

    per_call: float | None = None
    per_day: float | None = None


@dataclass(frozen=True, slots=True)
class OnTable:
    """What each outcome does next: error codes and content triggers to retry, next or stop."""

    actions: Mapping[str, Action] = field(default_factory=lambda: DEFAULT_ACTIONS)

    @classmethod
    def over_defaults(cls, rows: Mapping[str, Action]) -> OnTable:
        """The default table with these rows over it."""
        return cls(MappingProxyType({**DEFAULT_ACTIONS, **rows})) if rows else cls()

    def action(self, trigger: str) -> Action:
        """The action of an error code or content trigger; ``stop`` where there is no row."""
        return self.actions.get(trigger, "stop")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One line of a route: a model, or another route standing as one block.

    ``params`` are request fields that hold where the call says nothing (other names go into the
    provider's body), ``tags`` words that a call may ask for. ``line`` is its line in the file.
    """

    provider: str = ""
    model: str = ""
    route: str | None = None
    weight: float = 1.0
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    line: int | None = field(default=None, compare=False)

    @property
    def ref(self) -> str:
        """``provider:model``, or ``route:name``."""
        return f"route:{self.route}" if self.route is not None else f"{self.provider}:{self.model}"


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """One route."""

    name: str = DEFAULT_ROUTE
    candidates: tuple[Candidate, ...] = ()
    prefer: tuple[Preference, ...] = ("order",)
    require: frozenset[str] = frozenset()
    unknown: Unknown = "last"
    on: OnTable = field(default_factory=OnTable)
    retry: Retry = field(default_factory=Retry)
    stream: StreamPolicy = field(default_factory=StreamPolicy)
    timeout: Timeouts = field(default_factory=Timeouts)
    breaker: Breaker = field(default_factory=Breaker)
    hedge: Hedge | None = None
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """A provider as the file declares it, over what its own folder declares.

    ``api_key`` is None where the file has none, ``""`` for none at all. ``foreign`` says that
    calls would leave the provider's own host (a ``base_url`` of the file's, or ``verify``
    weakened), so no key of the environment may go along. ``missing`` names the variables that are
    not set.
    """

    name: str
    dialect: str | None = None
    base_url: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    api: str | None = None
    transport: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float | Timeouts | None = None
    proxy: str | None = field(default=None, repr=False)
    verify: bool | str = True
    foreign: bool = False
    missing: tuple[str, ...] = ()
    line: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What the file declares of one model; what it does not name is unknown here."""

    context: int | None = None
    price: Price | None = None
    capabilities: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """How long an observed refusal counts."""

    expire: float = defaults.OBSERVED_EXPIRE_S


@dataclass(frozen=True, slots=True)
class Ledger:
    """How long attempts are kept; None: for ever."""

    keep: float | None = None


@dataclass(frozen=True, slots=True)
class RouteTest:
    """A row of ``tests:``: with these needs and this state the plan begins with ``expect``.

    ``needs`` are fields of ``Needs``; ``state`` what is observed, broken, spent or without a key;
    an empty ``expect`` means that no candidate is left.
    """

    name: str
    route: str = DEFAULT_ROUTE
    needs: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    expect: tuple[str, ...] = ()
    line: int | None = field(default=None, compare=False)
