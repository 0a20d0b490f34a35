"""A plan's step with the rules that hold for it worked out, ready to be carried out."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import overload

from crux_providers.base.errors import ProviderError
from crux_providers.base.flow import Action, pause
from crux_providers.base.retry import RetryConfig
from crux_providers.base.timeouts import TimeoutConfig

from .compiled import Compiled
from .flow import trigger_of
from .plan import Step
from .routes import Hedge, RouteConfig


@dataclass(frozen=True, slots=True)
class RuntimeStep:
    """A plan's step with the rules that hold for it worked out."""

    step: Step
    retry: RetryConfig
    actions: Mapping[str, Action]
    limits: TimeoutConfig
    hold: float | None
    hedge: Hedge | None = None

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.step.compiled.provider

    @property
    def model(self) -> str:
        """The provider's own name of the model."""
        return self.step.compiled.model

    def action(self, error: ProviderError) -> Action:
        """What its ``on`` table says of the error."""
        return self.actions.get(trigger_of(error), "stop")

    def retries(self, number: int, error: ProviderError) -> bool:
        """Whether it is tried again after the failure of its request ``number``."""
        if self.action(error) != "retry":
            return False
        return pause(self.retry, number, error, 0.0, trigger_of(error)) is not None

    def timeouts(self, provider: TimeoutConfig) -> TimeoutConfig:
        """The limits of an attempt: the route's, and the provider's where the route says none."""
        own = self.limits
        return TimeoutConfig(
            connect=provider.connect if own.connect is None else own.connect,
            first_token=provider.first_token if own.first_token is None else own.first_token,
            idle=own.idle,
            total=provider.total if own.total is None else own.total,
            explicit=own.explicit or provider.explicit,
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one chain of routes, worked out once."""

    retry: RetryConfig
    actions: Mapping[str, Action]
    limits: TimeoutConfig
    hold: float | None
    hedge: Hedge | None

    @classmethod
    def of(cls, routes: tuple[RouteConfig, ...]) -> Rules:
        """The rules of a candidate that stands in these routes, outermost first."""
        own = routes[-1]
        totals = [r.timeout.total for r in routes if r.timeout.total is not None]
        return cls(
            own.retry.config(),
            own.on.actions,
            TimeoutConfig(
                connect=own.timeout.connect,
                first_token=own.timeout.first_token,
                idle=own.stream.idle,
                total=min(totals) if totals else None,
                explicit=own.timeout.first_token is not None,
            ),
            own.stream.hold,
            own.hedge,
        )


class Steps(Sequence[RuntimeStep]):
    """A plan's steps with their rules, each worked out when it is its turn: most never come to it.

    ``rules`` gives those of a candidate; ``max_retries`` of the call stands over its own.
    """

    __slots__ = ("_known", "_max_retries", "_rules", "_steps")

    def __init__(
        self,
        steps: Sequence[Step],
        rules: Callable[[Compiled], Rules],
        max_retries: int | None = None,
    ) -> None:
        self._steps = steps
        self._rules = rules
        self._max_retries = max_retries
        self._known: dict[int, RuntimeStep] = {}

    def __len__(self) -> int:
        return len(self._steps)

    def without(self, keys: Container[tuple[str, str]]) -> Steps:
        """The steps whose ``(provider, model)`` is not among ``keys``."""
        kept = [s for s in self._steps if (s.provider, s.model) not in keys]
        return Steps(kept, self._rules, self._max_retries)

    @overload
    def __getitem__(self, place: int) -> RuntimeStep: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[RuntimeStep]: ...

    def __getitem__(self, place: int | slice) -> RuntimeStep | Sequence[RuntimeStep]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        found = self._known.get(place)
        if found is None:
            step = self._steps[place]
            rules = self._rules(step.compiled)
            retry = rules.retry
            if self._max_retries is not None:
                retry = replace(retry, max_attempts=1 + self._max_retries)
            found = self._known[place] = RuntimeStep(
                step, retry, rules.actions, rules.limits, rules.hold, rules.hedge
            )
        return found
