"""The catalogue: list prices, limits and capabilities that somebody states, read from files.

``data/<provider>.json`` is written by ``python -m crux_providers.catalog.generate``; only the file
of a provider that is asked about is read, once. What is not there is unknown, never zero.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from functools import cache
from pathlib import Path
from typing import Any

from ..config import defaults
from .entry import DAY_S, CatalogEntry, Price, PriceRow, Source

__all__ = [
    "CatalogEntry",
    "Price",
    "PriceRow",
    "Source",
    "lookup",
    "model_names",
    "providers",
    "sources",
    "stale",
    "stale_figures",
]

_DATA = Path(__file__).parent / "data"
_INDEX = "index.json"
_COMPACT_DATE = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=[-:]|$)")


def lookup(provider: str, model: str, *, base_url: str | None = None) -> CatalogEntry | None:
    """What is known of ``model`` at ``provider``, or None.

    Names match as the source's rules say: exactly, else by prefix, pattern or dated snapshot. With
    ``base_url`` (a gateway that a user declared) the entry counts only where that address is the
    one the figures are about, so that a lab server named like a vendor is not billed like one.
    """
    book = _book(provider)
    if book is None or (base_url is not None and not book.serves(base_url)):
        return None
    return book.find(model)


@cache
def providers() -> tuple[str, ...]:
    """The providers the catalogue knows, sorted."""
    return tuple(sorted(p.stem for p in _DATA.glob("*.json") if p.name != _INDEX))


def model_names(provider: str) -> tuple[str, ...]:
    """Every model name listed for ``provider``, sorted; none where nothing is known of it."""
    book = _book(provider)
    return tuple(sorted(book.exact)) if book is not None else ()


def closed(provider: str) -> bool:
    """Whether the provider serves its own models only, so that an unlisted name is suspect."""
    return provider in _closed()


def stale(source: Source, today: date, days: int = defaults.CATALOG_STALE_DAYS) -> bool:
    """Whether figures of ``source`` are older than ``days`` on ``today``."""
    return (today - date.fromisoformat(source.date)).days > days


def sources() -> dict[str, tuple[Source, ...]]:
    """provider → the sources of its figures, of every provider; reads every file."""
    return {name: tuple(book.sources.values()) for name in providers() if (book := _book(name))}


def stale_figures(entry: CatalogEntry, today: date) -> dict[str, Source]:
    """The figures of ``entry`` that are there and older than they should be, each with its source.

    Keyed as ``entry.sources``; an entry without such a figure has nothing that could be old.
    """
    there = {
        "price": bool(entry.prices),
        "context": entry.context is not None,
        "max_input": entry.max_input is not None,
        "max_output": entry.max_output is not None,
        "capabilities": bool(entry.capabilities),
    }
    return {
        figure: source
        for figure, source in entry.sources.items()
        if there.get(figure) and stale(source, today)
    }


class _Book:
    """One provider's file."""

    __slots__ = (
        "_api",
        "_cache",
        "_delegate",
        "_models",
        "_rules",
        "exact",
        "provider",
        "sources",
    )

    def __init__(self, provider: str, data: Mapping[str, Any]) -> None:
        self.provider = provider
        self.exact: dict[str, int] = data["names"]
        self._api: str | None = data.get("api")
        self._delegate: Mapping[str, str] | None = data.get("delegate")
        self._models: list[dict[str, Any]] = data["models"]
        self._rules: list[tuple[int, Any]] = data["rules"]
        self.sources = {
            name: Source(**{**fields, "urls": tuple(fields.get("urls", ()))})
            for name, fields in data["sources"].items()
        }
        self._cache: dict[str, CatalogEntry | None] = {}

    def serves(self, base_url: str) -> bool:
        return self._api is not None and re.match(self._api, base_url) is not None

    def find(self, model: str) -> CatalogEntry | None:
        if model not in self._cache:
            if len(self._cache) > 4096:  # names come from callers; files do not grow, this could
                self._cache.clear()
            self._cache[model] = self._find(model)
        return self._cache[model]

    def _find(self, model: str) -> CatalogEntry | None:
        if self._delegate is not None:
            vendor, _, rest = model.partition("/")
            return lookup(self._delegate.get(vendor, vendor), rest) if rest else None
        name = model.lower()
        index = self._index(name)
        if index is None:
            dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", name)
            index = self._index(dashed) if dashed != name else None
        return None if index is None else self._entry(index)

    def _index(self, name: str) -> int | None:
        if (index := self.exact.get(name)) is not None:
            return index
        return next((index for index, rule in self._rules if _matches(rule, name)), None)

    def _entry(self, index: int) -> CatalogEntry:
        data = self._models[index]
        limits, prices = self.sources.get("limits"), self.sources.get("prices")
        named = {
            "price": prices,
            "context": prices,
            "max_input": limits,
            "max_output": limits,
            "capabilities": limits,
        }
        return CatalogEntry(
            provider=self.provider,
            id=data["id"],
            context=data.get("context"),
            max_input=data.get("max_input"),
            max_output=data.get("max_output"),
            capabilities=data.get("capabilities", {}),
            prices=tuple(_row(row) for row in data.get("prices", ())),
            deprecated=data.get("deprecated", False),
            sources={figure: source for figure, source in named.items() if source is not None},
        )


@cache
def _closed() -> frozenset[str]:
    return frozenset(json.loads((_DATA / _INDEX).read_bytes())["closed"])


@cache
def _book(provider: str) -> _Book | None:
    if provider not in providers():
        return None
    return _Book(provider, json.loads((_DATA / f"{provider}.json").read_bytes()))


def _matches(rule: Mapping[str, Any], name: str) -> bool:
    match rule:
        case {"prefix": str(text)}:
            return name.startswith(text)
        case {"suffix": str(text)}:
            return name.endswith(text)
        case {"contains": str(text)}:
            return text in name
        case {"equals": str(text)}:
            return name == text
        case {"regex": str(pattern)}:
            return re.search(pattern, name) is not None
        case {"all": [*rules]}:
            return all(_matches(r, name) for r in rules)
        case {"any": [*rules]}:
            return any(_matches(r, name) for r in rules)
        case _:
            raise ValueError(f"catalogue rule {rule!r} is of no known kind")


def _row(data: Mapping[str, Any]) -> PriceRow:
    since = data.get("since")
    hours = data.get("hours")
    return PriceRow(
        price=_price(data),
        since=None
        if since is None
        else datetime.combine(date.fromisoformat(since), time(), UTC).timestamp(),
        hours=None if hours is None else (_second(hours[0]), _second(hours[1])),
    )


def _price(data: Mapping[str, Any]) -> Price:
    return Price(
        data.get("input"),
        data.get("output"),
        data.get("cached"),
        data.get("cache_write"),
        tuple((start, _price(tier)) for start, tier in data.get("above", ())),
    )


def _second(clock: str) -> int:
    t = time.fromisoformat(clock)
    return (t.hour * 3600 + t.minute * 60 + t.second) % DAY_S
