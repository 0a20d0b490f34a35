"""OpenAI's models: its SDK's ``models.list()`` where that is installed, else ``GET /models``."""

from __future__ import annotations

import os
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
    """The listing by OpenAI's SDK, in one page."""
    return _listing(settings, settings.client or _client(settings, dict(settings.headers)))


def listing_elsewhere(settings: SdkSettings) -> Iterator[JSON]:
    """The same of another provider, which gets nothing that the environment holds for OpenAI.

    The SDK would send it ``OPENAI_ORG_ID``, ``OPENAI_PROJECT_ID`` and every header of
    ``OPENAI_CUSTOM_HEADERS`` (openai 3.54.0).
    """
    import openai

    own = os.environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines()
    names = ("OpenAI-Organization", "OpenAI-Project", *(line.partition(":")[0] for line in own))
    withheld = {name.strip(): openai.Omit() for name in names}
    headers = {**withheld, **settings.headers}
    return _listing(settings, settings.client or _client(settings, headers))


def _client(settings: SdkSettings, headers: Any) -> Any:
    import openai

    return openai.OpenAI(
        api_key=settings.api_key,
        base_url=settings.base_url,
        default_headers=headers,
        timeout=settings.timeout,
        max_retries=0,
    )


def _listing(settings: SdkSettings, client: Any) -> Iterator[JSON]:
    import openai

    needs_sync(client, openai.AsyncOpenAI)
    try:
        with listing_failures():
            yield {"data": [model.to_dict(mode="json") for model in client.models.list()]}
    finally:
        if client is not settings.client:
            client.close()


if __name__ == "__main__":
    run_program("openai", run)
