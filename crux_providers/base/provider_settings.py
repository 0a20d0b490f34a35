"""Where a provider's calls go and with what key: arguments, environment, declared defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..config.declaration import ProviderDeclaration
from .errors import ErrorCode, ProviderError
from .wire import Endpoint

_KEPT = ("retry-after", "ratelimit", "rate-limit", "processing-ms", "request-id")


def resolve_base_url(declared: ProviderDeclaration, given: str | None) -> str:
    """The base URL: ``given``, else the provider's environment variable, else its default.

    Read when the provider is made. One that already ends in the version that the dialect's paths
    carry themselves (``/v1`` for Anthropic) loses it; a bare host gets ``http://``.
    """
    url = given or os.environ.get(declared.base_url_variable) or declared.base_url
    if url and "://" not in url:
        url = f"http://{url}"
    url = url.rstrip("/")
    version = declared.version_path
    if version and not declared.base_url.rstrip("/").endswith(version):
        url = url.removesuffix(version)
    return url


def resolve_key(
    declared: ProviderDeclaration, given: str | None, *, required: bool = True
) -> str | None:
    """The key to send: ``given`` (``""``: none), else environment, ``.env``, ``config.yaml``.

    Raises ProviderError ``auth``, naming the variable, where one is required and there is none.
    """
    if given is not None:
        return given or None
    if declared.env_key is None:
        return None
    from ..config.files import ConfigError
    from .repositories.keys import KeysRepository

    try:
        key = KeysRepository().get_api_key(declared.name)
    except ConfigError as exc:
        raise ProviderError(ErrorCode.AUTH, str(exc), provider=declared.name, cause=exc) from exc
    if key is None and required and declared.key_required:
        raise ProviderError(
            ErrorCode.AUTH,
            f"no API key for {declared.name}: set {declared.env_key}, or pass api_key=",
            provider=declared.name,
        )
    return key


def make_endpoint(
    declared: ProviderDeclaration,
    base_url: str,
    key: str | None,
    headers: Mapping[str, str],
    proxy: str | None,
    verify: bool | str,
) -> Endpoint:
    """The endpoint with the provider's own headers, its key where it wants it, then the user's."""
    own = dict(declared.headers)
    if key:
        match declared.auth:
            case "bearer":
                own["authorization"] = f"Bearer {key}"
            case "x-api-key" | "x-goog-api-key" as name:
                own[name] = key
            case "none":
                pass
    own.update({name.lower(): value for name, value in headers.items()})
    return Endpoint(base_url, own, proxy, verify, api_key=key)


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The response headers worth keeping: rate limits, ids, Retry-After, processing time."""
    return {k: v for k, v in headers.items() if any(part in k for part in _KEPT)}
