"""How old the figures are that a routes file's candidates are planned by."""

from __future__ import annotations

from datetime import date

from crux_providers import catalog
from crux_providers.config import defaults

from .config import RoutesConfig, catalog_lookup


def figure_report(config: RoutesConfig, today: date) -> list[str]:
    """A line for each candidate with figures of the catalogue's older than they should be.

    What the file declares itself is the file's business.
    """
    lookup = catalog_lookup(config)
    lines = []
    for provider, model in _candidates(config):
        entry = lookup(provider, model)
        if entry is None:
            continue
        own = config.models.get(f"{provider}:{model}")
        old = catalog.stale_figures(entry, today)
        if own is not None and own.price is not None:
            old.pop("price", None)
        if own is not None and own.context is not None:
            old.pop("context", None)
        if old:
            source = min(old.values(), key=lambda one: one.date)
            lines.append(
                f"{provider}:{model}: {', '.join(old)} of {source.date} ({source.name} "
                f"{source.version}): older than {defaults.CATALOG_STALE_DAYS} days"
            )
    return lines


def _candidates(config: RoutesConfig) -> list[tuple[str, str]]:
    return sorted(
        {
            (c.provider, c.model)
            for route in config.routes.values()
            for c in route.candidates
            if c.route is None
        }
    )
