"""OpenAI's models: its SDK's ``models.list()`` where that is installed, else ``GET /models``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..base.get_models_base import run_fetcher
from ..base.listing import SdkSettings, fetch_listing, needs_sync, run_program
from ..base.models import JSON
from ..transports.listing_errors import listing_failures


def run() -> list[dict[str, Any]]:
    """Fetch, normalize and store the models; those stored before where that fails."""
    return run_fetcher("openai", lambda: fetch_listing("openai", sdk=sdk_listing))


def sdk_listing(settings: SdkSettings) -> Iterator[JSON]:
    """The listing by OpenAI's SDK, in one page; other providers of its dialect use it too."""
    import openai

    needs_sync(settings.client, openai.AsyncOpenAI)
    client = settings.client or openai.OpenAI(
        api_key=settings.api_key,
        base_url=settings.base_url,
        default_headers=dict(settings.headers),
        timeout=settings.timeout,
        max_retries=0,
    )
    try:
        with listing_failures():
            yield {"data": [model.to_dict(mode="json") for model in client.models.list()]}
    finally:
        if client is not settings.client:
            client.close()


if __name__ == "__main__":
    run_program("openai", run)
