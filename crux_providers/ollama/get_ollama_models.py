"""Ollama's models: ``/api/tags``, and ``/api/show`` for what a tag does not say.

The listing of tags has names, dates and sizes; what a model can do (``capabilities``) and its
context length (``model_info``, under the architecture's name) stand in ``/api/show``
(github.com/ollama/ollama, docs/api.md, read 2026-11-28). The user's own machine answers both from
files, so one more request for a model costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..base.errors import ErrorCode, ProviderError
from ..base.get_models_base import run_fetcher
from ..base.listing import ModelListing, SdkSettings, fetch_listing, needs_sync, run_program
from ..base.models import JSON
from ..transports.listing_errors import listing_failures

Show = Callable[[str], Any]


def run() -> list[dict[str, Any]]:
    """Fetch, normalize and store the models; those stored before where that fails."""
    return run_fetcher(
        "ollama",
        lambda: fetch_listing(
            "ollama", sdk=sdk_listing, endpoint=endpoint_listing, dated="changed"
        ),
    )


def endpoint_listing(provider: ModelListing) -> Iterator[JSON]:
    """The tags, each with what ``/api/show`` says of it, over the provider's own transport."""

    def show(name: str) -> Any:
        try:
            return provider.fetch_json("/api/show", {"model": name})
        except ProviderError as error:
            if error.status is None and error.code is not ErrorCode.MALFORMED:
                raise
            return None  # gone meanwhile, or damaged: the tag alone stays

    return (described(page, show) for page in provider.pages())


def sdk_listing(settings: SdkSettings) -> Iterator[JSON]:
    """The same by Ollama's SDK."""
    import ollama

    needs_sync(settings.client, ollama.AsyncClient)
    client = settings.client or ollama.Client(
        host=settings.base_url, headers=dict(settings.headers), timeout=settings.timeout
    )

    def show(name: str) -> Any:
        try:
            found = client.show(name)
        except (ollama.ResponseError, ValueError):  # the SDK checks what it reads
            return None
        return {"capabilities": found.capabilities, "model_info": found.modelinfo}

    with listing_failures():
        yield described(client.list().model_dump(mode="json", exclude_none=True), show)


def described(page: JSON, show: Show) -> JSON:
    """A page of tags with capabilities and context length added where ``show`` has them."""
    tags = page.get("models") if isinstance(page, dict) else None
    if not isinstance(page, dict) or not isinstance(tags, list):
        return page
    return {**page, "models": [_tag(tag, show) if isinstance(tag, dict) else tag for tag in tags]}


def _tag(tag: dict[str, JSON], show: Show) -> dict[str, JSON]:
    name = tag.get("model") or tag.get("name")
    given = tag.get("details")
    details = dict(given) if isinstance(given, dict) else {}
    if not isinstance(name, str) or ("capabilities" in tag and "context_length" in details):
        return tag
    shown = show(name)
    if not isinstance(shown, Mapping):
        return tag
    if (length := _context_length(shown.get("model_info"))) is not None:
        details.setdefault("context_length", length)
    said = {"capabilities": shown["capabilities"]} if shown.get("capabilities") else {}
    return {**said, **tag, "details": details}


def _context_length(info: Any) -> int | None:
    """``<architecture>.context_length`` of a model's metadata."""
    if not isinstance(info, Mapping):
        return None
    length = info.get(f"{info.get('general.architecture')}.context_length")
    return length if isinstance(length, int) and not isinstance(length, bool) else None


if __name__ == "__main__":
    run_program("ollama", run)
