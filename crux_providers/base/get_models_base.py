"""What every model fetcher shares: normalize a listing, store it, read it back.

Nothing is made up: a limit is kept only where the provider states a number, and the few
capabilities guessed from an id are marked ``heuristic`` and never become observations.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any, Literal, Protocol

from .errors import ErrorCode, ProviderError, classify_exception
from .logging import get_logger, log_event
from .models import ModelInfo, ModelRegistrySnapshot
from .ports import resolve

CONTEXT_FIELDS = (
    "context_length",
    "context_window",
    "input_token_limit",
    "inputTokenLimit",
    "max_input_tokens",
    "max_context_length",
    "max_model_len",
)
"""Fields in which a listing states the context window, in tokens; the first that has one counts."""

OUTPUT_FIELDS = (
    "max_output_tokens",
    "output_token_limit",
    "outputTokenLimit",
    "max_completion_tokens",
)
"""Fields in which a listing states the longest answer, in tokens."""

_CAPABILITY_WORDS: Mapping[str, str] = {
    # a provider's word in a list of modalities, features or parameters: ours
    "image": "vision",
    "vision": "vision",
    "file": "pdf",
    "pdf": "pdf",
    "audio": "audio",
    "tools": "tools",
    "tool_use": "tools",
    "function_calling": "tools",
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "parallel_tools",
    "response_format": "json_output",
    "json_mode": "json_output",
    "structured_outputs": "json_schema",
    "json_schema": "json_schema",
    "reasoning": "reasoning",
    "thinking": "reasoning",
    "logprobs": "logprobs",
    "streaming": "streaming",
    "completion_streaming": "streaming",
    "embedding": "embeddings",
    "embeddings": "embeddings",
}

_WORD_LISTS = (
    "modalities",
    "input_modalities",
    "features",
    "supported_features",
    "supported_parameters",
    "capabilities",
)
"""Fields that hold such words; ``architecture`` may hold some of them one level down."""

_ID_HEURISTICS: tuple[tuple[re.Pattern[str], str], ...] = (
    # What an id says beyond doubt, for listings that say nothing of it themselves.
    (re.compile(r"^(o1|o3|o4)(-|$)"), "reasoning"),
    (re.compile(r"^gpt-4o(-|$)|omni"), "vision"),
    (re.compile(r"(^|[-/])text-embedding|(^|[-/])embed(ding)?(-|$)"), "embeddings"),
)

_DATE_IN_ID = re.compile(r"(?<!\d)(20\d\d)-?(\d\d)-?(\d\d)(?!\d)")
_LARGEST = 2**53


class RegistryStore(Protocol):
    """What ``base`` needs of the store behind the port ``store`` for model listings."""

    def load_registry(self, provider: str) -> ModelRegistrySnapshot:
        """The stored snapshot, or an empty one."""
        ...

    def save_registry(self, snapshot: ModelRegistrySnapshot) -> None:
        """Replace the stored snapshot."""
        ...


# -- normalizing --------------------------------------------------------------------------------


def normalize_items(items: Iterable[Any], provider: str = "") -> list[dict[str, Any]]:
    """A provider's listing as dicts with the fields of :class:`~.models.ModelInfo`.

    ``items`` are mappings, SDK objects, ModelInfo or bare ids; those without an id are left out,
    and of two with the same id the first stays. ``context_length`` comes from an explicit number
    only. ``updated_at`` (``YYYY-MM-DD``) is the item's own, else the date in the id, else the day
    of ``created``. ``capability_sources`` says ``api`` or ``heuristic`` for each capability.
    """
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        fields = _fields(item)
        names = (_text(fields.get(key)) for key in ("id", "name", "model"))
        model_id = next((name for name in names if name), None)
        if model_id is None:
            continue
        model_id = model_id.removeprefix("models/")  # Gemini's listing names them so
        if model_id not in found:
            found[model_id] = _normalized(model_id, fields, provider)
    return list(found.values())


def _normalized(model_id: str, fields: Mapping[str, Any], provider: str) -> dict[str, Any]:
    flags, sources = _capabilities(model_id, fields)
    names = (_text(fields.get(key)) for key in ("display_name", "displayName", "name"))
    return {
        "id": model_id,
        "name": next((name for name in names if name), model_id).removeprefix("models/"),
        "context_length": _number(fields, CONTEXT_FIELDS),
        "capabilities": flags,
        "updated_at": _updated_at(model_id, fields),
        "provider": provider or _text(fields.get("provider")),
        "family": _text(fields.get("family")),
        "max_output_tokens": _number(fields, OUTPUT_FIELDS),
        "capability_sources": sources,
        "extra": _mapping(fields.get("extra")),
    }


def _fields(item: Any) -> Mapping[str, Any]:
    match item:
        case str():
            return {"id": item}
        case Mapping():
            return item
        case ModelInfo():
            return asdict(item)
    for method in ("model_dump", "to_dict", "dict"):  # pydantic 2, OpenAI's SDK, pydantic 1
        dump = getattr(item, method, None)
        if callable(dump):
            dumped = dump()
            if isinstance(dumped, Mapping):
                return dumped
    return {k: v for k, v in getattr(item, "__dict__", {}).items() if not k.startswith("_")}


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _number(fields: Mapping[str, Any], names: Iterable[str]) -> int | None:
    for name in names:
        value = fields.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if 0 < value <= _LARGEST and value == int(value):
            return int(value)
    return None


def _capabilities(
    model_id: str, fields: Mapping[str, Any]
) -> tuple[dict[str, bool], dict[str, str]]:
    flags: dict[str, bool] = {}
    sources = _mapping(fields.get("capability_sources"))
    for holder in (fields.get("architecture"), fields):
        if not isinstance(holder, Mapping):
            continue
        for name in _WORD_LISTS:
            flags.update(_stated(holder.get(name)))
    for feature in flags:
        sources.setdefault(feature, "api")
    for pattern, feature in _ID_HEURISTICS:
        if feature not in flags and pattern.search(model_id):
            flags[feature], sources[feature] = True, "heuristic"
    return flags, {feature: source for feature, source in sources.items() if feature in flags}


def _stated(value: Any) -> dict[str, bool]:
    """Capabilities in a provider's list of words (true) or mapping of words to truth values."""
    match value:
        case Mapping():
            pairs = [(key, truth) for key, truth in value.items() if isinstance(truth, bool)]
            return {_CAPABILITY_WORDS.get(str(key), str(key)): truth for key, truth in pairs}
        case list() | tuple() | set() | frozenset():
            words = (word for word in value if isinstance(word, str))
            return {_CAPABILITY_WORDS[word]: True for word in words if word in _CAPABILITY_WORDS}
        case _:
            return {}


def _updated_at(model_id: str, fields: Mapping[str, Any]) -> str | None:
    stated = fields.get("updated_at")
    return (
        _iso_day(stated)
        or _epoch_day(stated)
        or _infer_updated_at_from_id(model_id)
        or _epoch_day(fields.get("created"))
        or _iso_day(fields.get("created_at"))
    )


def _iso_day(value: Any) -> str | None:
    if isinstance(value, datetime):
        return _day(value)
    try:
        return _day(datetime.fromisoformat(value.strip())) if isinstance(value, str) else None
    except ValueError:
        return None


def _day(at: datetime) -> str:
    return (at.astimezone(UTC) if at.tzinfo is not None else at).date().isoformat()


def _epoch_day(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        return None
    try:
        return datetime.fromtimestamp(value, UTC).date().isoformat()
    except (OverflowError, ValueError, OSError):
        return None


def _infer_updated_at_from_id(model_id: str) -> str | None:
    """The date in a model's id (``gpt-4o-2024-08-06``, ``claude-3-5-haiku-20241022``), or None."""
    for year, month, day in _DATE_IN_ID.findall(model_id):
        try:
            return date(int(year), int(month), int(day)).isoformat()
        except ValueError:
            continue
    return None


# -- storing ------------------------------------------------------------------------------------


def save_provider_models(
    provider: str,
    items: Iterable[Any],
    fetched_via: str = "api",
    metadata: Mapping[str, Any] | None = None,
) -> ModelRegistrySnapshot:
    """Normalize ``items`` and make them the provider's stored snapshot; returns it.

    ``metadata["source"]`` names the origin (``fetched_via`` unless said). An empty listing is
    never stored: what was stored before stays and is returned. Where ``CRUX_DB=off`` the snapshot
    is returned and not kept. Raises what the store raises when it cannot be written.
    """
    models = [ModelInfo(**fields) for fields in normalize_items(items, provider)]
    store: RegistryStore = resolve("store")()
    if not models:
        log_event(
            get_logger(), logging.WARNING, "registry.empty",
            provider=provider, operation="save_provider_models", stage="normalize",
            error="the listing has no model; the stored one stays",
        )  # fmt: skip
        return store.load_registry(provider)
    snapshot = ModelRegistrySnapshot(
        provider,
        models,
        fetched_via,
        datetime.now(UTC).isoformat(),
        {"source": fetched_via, **(metadata or {})},
    )
    store.save_registry(snapshot)
    return snapshot


def load_snapshot(provider: str) -> ModelRegistrySnapshot:
    """The provider's stored snapshot, without observations; empty where nothing was stored."""
    store: RegistryStore = resolve("store")()
    return store.load_registry(provider)


def load_cached_models(provider: str) -> list[dict[str, Any]]:
    """The stored listing as dicts, as :func:`normalize_items` makes them; ``[]`` for none."""
    return [asdict(model) for model in load_snapshot(provider).models]


# -- fetching -----------------------------------------------------------------------------------

_mode: ContextVar[Literal["run", "refresh", "look"]] = ContextVar("crux_fetching", default="run")


@contextmanager
def refreshing(*, store: bool = True) -> Iterator[None]:
    """Inside it :func:`run_fetcher` raises a failure rather than answering from the store.

    With ``store`` false it keeps nothing either: the models are only looked at.
    """
    mark = _mode.set("refresh" if store else "look")
    try:
        yield
    finally:
        _mode.reset(mark)


def run_fetcher(
    provider: str, fetch: Callable[[], tuple[Iterable[Any], str]]
) -> list[dict[str, Any]]:
    """The ``run()`` of a fetcher: fetch, normalize, store, return the models as dicts.

    ``fetch()`` returns the provider's items and their source (``openai_sdk_enriched``), and
    raises where it cannot. Then the stored models are returned, with one warning in the log; in a
    refresh (:func:`refreshing`) the failure is raised as ProviderError instead.
    """
    try:
        items, source = fetch()
        models = normalize_items(items, provider)
    except Exception as exc:  # noqa: BLE001  # every failure has the same two answers
        _failed(provider, "models.fetch.error", exc)
        return load_cached_models(provider)
    if _mode.get() == "look":
        return models
    try:
        save_provider_models(provider, models, "api", {"source": source})
    except Exception as exc:  # noqa: BLE001  # fetched and not kept: still worth having
        _failed(provider, "models.store.error", exc)
    return models or load_cached_models(provider)


def _failed(provider: str, event: str, exc: Exception) -> None:
    """Raise ``exc`` as a ProviderError in a refresh, else log it."""
    error = classify_exception(exc).locate(provider, None)
    if _mode.get() != "run":
        raise error from exc
    log_event(
        get_logger(), logging.WARNING, event,
        provider=provider, operation="fetch_models", stage="start",
        failure_class=type(exc).__name__, error_code=str(error.code), fallback_used=True,
        error=error.message,
    )  # fmt: skip


def no_fetcher(provider: str) -> ProviderError:
    """The error of a provider whose models nobody knows how to list."""
    return ProviderError(ErrorCode.NOT_FOUND, f"{provider} has no model fetcher", provider=provider)
