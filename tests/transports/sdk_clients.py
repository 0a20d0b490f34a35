"""Clients of the providers' SDKs as users make them, and calls in every way there is."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from crux_providers.base.events import fold
from crux_providers.base.models import ChatRequest

WAYS = ("whole", "streamed", "async whole", "async streamed")


def chat(made: Any, request: ChatRequest, way: str) -> Any:
    """One call of a provider: whole, or folded from its stream; sync or async."""
    if way.endswith("streamed"):
        return fold(events_of(made, request, way))
    return asyncio.run(made.achat(request)) if way == "async whole" else made.chat(request)


def events_of(made: Any, request: ChatRequest, way: str) -> list[Any]:
    """The events of one stream, sync or async."""

    async def collect() -> list[Any]:
        return [event async for event in made.astream_chat(request)]

    return asyncio.run(collect()) if way.startswith("async") else list(made.stream_chat(request))


def ready_client(module: str, name: str, url: str, key: str = "ready", **more: Any) -> Any:
    """A client of an SDK for ``url``; retries are on, as they are by default."""
    sdk = importlib.import_module(module)
    return getattr(sdk, name)(api_key=key, base_url=url, http_client=plain_http(sdk, name), **more)


def plain_http(sdk: Any, name: str) -> Any:
    """The SDK's own HTTP client without certificates, which take time and are not needed here."""
    kind = sdk.DefaultAsyncHttpxClient if name.startswith("Async") else sdk.DefaultHttpxClient
    return kind(verify=False)
