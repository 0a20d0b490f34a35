"""Gemini's models: ``GET /v1beta/models``, page by page.

The SDK lists only where it is the provider's transport: google-generativeai 0.8.6 knows no
``thinking`` and drops it, so that its listing says less than the endpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..base.errors import ErrorCode, ProviderError
from ..base.get_models_base import run_fetcher
from ..base.listing import SdkSettings, fetch_listing, run_program
from ..base.models import JSON
from ..transports.listing_errors import listing_failures

PAGE_SIZE = 1000


def run() -> list[dict[str, Any]]:
    """Fetch, normalize and store the models; those stored before where that fails."""
    return run_fetcher(
        "gemini",
        lambda: fetch_listing(
            "gemini",
            sdk=sdk_listing,
            sdk_by_default=False,
            endpoint=lambda provider: provider.pages({"pageSize": str(PAGE_SIZE)}, next_page),
        ),
    )


def next_page(page: Mapping[str, JSON]) -> dict[str, str] | None:
    """``pageToken`` of the next page."""
    token = page.get("nextPageToken")
    return {"pageToken": token} if isinstance(token, str) and token else None


def sdk_listing(settings: SdkSettings) -> Iterator[JSON]:
    """The listing by Google's SDK over REST, as the endpoint's JSON without what it drops."""
    from google.ai import generativelanguage
    from google.api_core import client_options
    from google.protobuf.json_format import MessageToDict

    client = settings.client
    if client is None:
        options = client_options.ClientOptions(
            api_key=settings.api_key, api_endpoint=settings.base_url
        )
        client = generativelanguage.ModelServiceClient(transport="rest", client_options=options)
    if not hasattr(client, "list_models"):
        raise ProviderError(
            ErrorCode.UNSUPPORTED,
            f"models are listed with a ModelServiceClient, not {type(client).__name__}",
        )
    request = generativelanguage.ListModelsRequest(page_size=PAGE_SIZE)
    metadata = tuple(settings.headers.items())
    with listing_failures():
        found = client.list_models(request, timeout=settings.timeout, retry=None, metadata=metadata)
        yield {"models": [MessageToDict(type(model).pb(model)) for model in found]}


if __name__ == "__main__":
    run_program("gemini", run)
