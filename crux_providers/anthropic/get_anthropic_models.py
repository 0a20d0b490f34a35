"""Anthropic's models: its SDK's ``models.list()`` where installed, else ``GET /v1/models``.

The listing comes in pages of up to 1000; ``has_more`` and ``last_id`` lead to the next one
(docs.anthropic.com, "List Models", read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..base.errors import ErrorCode, ProviderError
from ..base.get_models_base import run_fetcher
from ..base.listing import SdkSettings, fetch_listing, needs_sync, run_program
from ..base.models import JSON
from ..transports.listing_errors import listing_failures

PAGE_SIZE = 1000


def run() -> list[dict[str, Any]]:
    """Fetch, normalize and store the models; those stored before where that fails."""
    return run_fetcher(
        "anthropic",
        lambda: fetch_listing(
            "anthropic",
            sdk=sdk_listing,
            endpoint=lambda provider: provider.pages({"limit": str(PAGE_SIZE)}, next_page),
        ),
    )


def next_page(page: Mapping[str, JSON]) -> dict[str, str] | None:
    """``after_id`` of the next page; raises ``malformed`` where there is more and no way to it."""
    if page.get("has_more") is not True:
        return None
    last = page.get("last_id")
    if not isinstance(last, str) or not last:
        raise ProviderError(ErrorCode.MALFORMED, "the listing has more, and names no last_id")
    return {"after_id": last}


def sdk_listing(settings: SdkSettings) -> Iterator[JSON]:
    """The listing by Anthropic's SDK, which follows the pages itself."""
    import anthropic

    needs_sync(settings.client, anthropic.AsyncAnthropic)
    client = settings.client or anthropic.Anthropic(
        api_key=settings.api_key,
        base_url=settings.base_url,
        default_headers=dict(settings.headers),
        timeout=settings.timeout,
        max_retries=0,
    )
    try:
        with listing_failures():
            found = client.models.list(limit=PAGE_SIZE)
            yield {"data": [model.to_dict(mode="json") for model in found]}
    finally:
        if client is not settings.client:
            client.close()


if __name__ == "__main__":
    run_program("anthropic", run)
