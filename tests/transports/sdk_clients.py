"""Clients of the providers' SDKs as users make them."""

from __future__ import annotations

import importlib
from typing import Any


def ready_client(module: str, name: str, url: str, key: str = "ready", **more: Any) -> Any:
    """A client of an SDK for ``url``; retries are on, as they are by default."""
    sdk = importlib.import_module(module)
    return getattr(sdk, name)(api_key=key, base_url=url, http_client=plain_http(sdk, name), **more)


def plain_http(sdk: Any, name: str) -> Any:
    """The SDK's own HTTP client without certificates, which take time and are not needed here."""
    kind = sdk.DefaultAsyncHttpxClient if name.startswith("Async") else sdk.DefaultHttpxClient
    return kind(verify=False)
