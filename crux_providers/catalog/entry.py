"""What the catalogue says of one model: prices, limits, capabilities, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

DAY_S = 86400


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens; None is unknown, which is never zero.

    ``cached`` is an input token read from the provider's cache, ``cache_write`` one written to it.
    ``above`` lists dearer tiers as ``(tokens, price)`` in rising order: a call with more input
    tokens than that costs that price altogether, as providers bill it.
    """

    input: float | None = None
    output: float | None = None
    cached: float | None = None
    cache_write: float | None = None
    above: tuple[tuple[int, Price], ...] = ()

    def at(self, input_tokens: int) -> Price:
        """The price of a call with this many input tokens."""
        found = self
        for start, price in self.above:
            if input_tokens > start:
                found = price
        return found


class PriceRow(NamedTuple):
    """A price and when it holds.

    ``since`` is a Unix time (None: always), ``hours`` a daily window in seconds of the UTC day,
    start included and end not; one that ends before it starts runs over midnight.
    """

    price: Price
    since: float | None = None
    hours: tuple[int, int] | None = None

    def active(self, now: float) -> bool:
        """Whether it holds at ``now`` (Unix time)."""
        if self.since is not None and now < self.since:
            return False
        if self.hours is None:
            return True
        start, end = self.hours
        second = now % DAY_S
        return start <= second < end if start <= end else second >= start or second < end


class Source(NamedTuple):
    """Where figures come from.

    ``date`` (``YYYY-MM-DD``) is the newest date that the source's own release names, so the figures
    are at least that fresh; ``retrieved`` is the day they were written into the catalogue.
    """

    name: str
    version: str
    license: str
    date: str
    retrieved: str
    urls: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version}".rstrip() + f", {self.date}"


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One model. ``context`` is the whole window, ``max_input`` and ``max_output`` its parts, in
    tokens; None where nobody states it. ``capabilities`` has only what the source states.

    ``sources`` names the source of each kind of figure: ``price``, ``context``, ``max_input``,
    ``max_output``, ``capabilities``.
    """

    provider: str
    id: str
    context: int | None = None
    max_input: int | None = None
    max_output: int | None = None
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    prices: tuple[PriceRow, ...] = ()
    deprecated: bool = False
    sources: Mapping[str, Source] = field(default_factory=dict)

    def price_at(self, now: float) -> Price | None:
        """The list price at ``now`` (Unix time), or None where it is unknown."""
        rows = self.prices
        if len(rows) == 1:
            return rows[0].price
        for row in reversed(rows):  # the later row is the more particular one
            if row.active(now):
                return row.price
        return rows[0].price if rows else None
