"""How a provider's models are listed: by its SDK where that is installed, else by its endpoint.

A fetcher (``crux_providers/<p>/get_<p>_models.py``) calls :func:`fetch_listing` with what is its
provider's own: how the SDK lists, and how a listing goes on to its next page.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

from .errors import ErrorCode, ProviderError, WireFailure, classify_exception
from .get_models_base import _infer_updated_at_from_id, load_cached_models, refreshing
from .logging import configure_logging, get_logger, log_event
from .models import JSON, ModelInfo, ModelRegistrySnapshot
from .timeouts import CallScope
from .wire import WireRequest

if TYPE_CHECKING:
    from ..config.declaration import ProviderDeclaration
    from .interfaces import Codec, Transport
    from .timeouts import TimeoutConfig

SdkListing = Callable[["SdkSettings"], Iterable[JSON]]
"""The pages of an SDK's listing in the form of the listing endpoint; it imports the SDK first."""
EndpointListing = Callable[["ModelListing"], Iterable[JSON]]
"""The pages of the listing endpoint, over the provider's own transport."""
Dated = Literal["created", "changed"]
"""What the date of an entry in the listing says."""
NextPage = Callable[[Mapping[str, JSON]], Mapping[str, str] | None]
"""The query of the page after this one, or None where it was the last."""

MAX_PAGES = 200
"""No provider has as many; a listing that goes on is going in circles."""


@dataclass(frozen=True, slots=True)
class SdkSettings:
    """What an SDK's client is made with, or the ready ``client`` to use instead.

    ``headers`` are the user's own; ``timeout`` is in seconds (None: no limit).
    """

    client: Any
    api_key: str | None
    base_url: str
    headers: Mapping[str, str]
    timeout: float | None


class ModelListing:
    """The part of a provider that lists models; :class:`~.provider.BaseProvider` has it."""

    _declared: ProviderDeclaration
    _base_url: str
    _headers: dict[str, str]
    _timeouts: TimeoutConfig
    _client: Any
    _transport_choice: Any
    _proxy: str | None
    _verify: bool | str

    if TYPE_CHECKING:

        @property
        def transport(self) -> Transport:
            """The provider's transport."""

        def resolve_key(self) -> str | None:
            """The provider's key."""

        def _codec(self, dialect: str) -> tuple[Codec, Any]: ...

    def list_models(self, refresh: bool = False) -> ModelRegistrySnapshot:
        """The stored listing with observed capabilities over it.

        ``refresh`` fetches it from the provider first, with this provider's own key, address and
        transport, and raises ProviderError where that fails; the stored snapshot then stays as it
        was.
        """
        from .repositories.model_registry.repository import ModelRegistryRepository

        with _using(self):
            return ModelRegistryRepository().list_models(self._declared.name, refresh=refresh)

    async def alist_models(self, refresh: bool = False) -> ModelRegistrySnapshot:
        """The async twin of :meth:`list_models`; the work runs in a thread."""
        import asyncio

        return await asyncio.to_thread(self.list_models, refresh)

    def fetch_models(self) -> ModelRegistrySnapshot:
        """The listing as the provider gives it now, not stored; raises ProviderError."""
        from .repositories.model_registry.repository import ModelRegistryRepository

        with _using(self):
            return ModelRegistryRepository().fetch(self._declared.name)

    def fetch_json(self, path: str, body: Mapping[str, JSON] | None = None) -> Any:
        """The JSON at ``path`` (after the base URL), over this provider's transport.

        One request, GET unless there is a ``body``. Raises ProviderError, ``malformed`` where the
        answer is no JSON.
        """
        codec, _ = self._codec(self._declared.dialect)
        wire = WireRequest(path, body, method="GET" if body is None else "POST")
        try:
            answer = self.transport.send(wire, CallScope(self._timeouts, whole=True)).body
        except WireFailure as failure:
            raise codec.classify(failure).locate(self._declared.name, None) from failure
        if not isinstance(answer, str | bytes | bytearray):
            return answer
        try:
            return json.loads(answer)
        except (ValueError, RecursionError) as exc:
            message = f"{path.partition('?')[0]} answered no JSON: {exc}"
            raise ProviderError(
                ErrorCode.MALFORMED, message, provider=self._declared.name, cause=exc
            ) from exc

    def sdk_settings(self) -> SdkSettings | None:
        """What the SDK's client is made with; None where the SDK has no part in this provider.

        That is so for a transport of the user's own, through which all traffic goes, for a proxy
        or CA bundle of its own, which the SDKs take in forms that differ, and without a key.
        """
        timeout = self._timeouts.first_token if self._timeouts.explicit else self._timeouts.total
        key = None if self._client is not None else self.resolve_key()
        own = self._transport_choice not in ("http", "sdk")
        keyless = key is None and self._declared.key_required
        if self._client is None and (
            own or keyless or self._proxy is not None or self._verify is not True
        ):
            return None
        return SdkSettings(self._client, key, self._base_url, self._headers, timeout)

    @property
    def wants_sdk(self) -> bool:
        """Whether the SDK was asked for, by name or by a ready client: nothing else will do."""
        return self._client is not None or self._transport_choice == "sdk"

    def listed(self, pages: Iterable[JSON], dated: Dated = "created") -> list[ModelInfo]:
        """The models of ``pages``, each as the provider's dialect reads it.

        A date in the id stands over the day of creation, a day of change over both.
        """
        codec, _ = self._codec(self._declared.dialect)
        models = [model for page in pages for model in codec.models(page)]
        if dated == "changed":
            return models
        return [
            replace(model, updated_at=_infer_updated_at_from_id(model.id) or model.updated_at)
            for model in models
        ]

    def pages(
        self, first: Mapping[str, str] | None = None, next_page: NextPage | None = None
    ) -> Iterator[JSON]:
        """The pages of the listing endpoint, one request each; ``first`` is the first's query.

        Raises ProviderError where a request fails, ``malformed`` where the pages do not end.
        """
        first = first or {}
        query: Mapping[str, str] | None = first
        asked: list[Mapping[str, str]] = []
        while query is not None:
            if query in asked or len(asked) >= MAX_PAGES:
                raise ProviderError(
                    ErrorCode.MALFORMED,
                    f"the listing does not end: page {len(asked) + 1} asks for {dict(query)}",
                    provider=self._declared.name,
                )
            asked.append(query)
            path = self._declared.models_path or ""
            page = self.fetch_json(f"{path}?{urlencode(query)}" if query else path)
            yield page
            following = next_page(page) if next_page and isinstance(page, Mapping) else None
            query = None if following is None else {**first, **following}


# -- what fetchers call ---------------------------------------------------------------------------

_in_use: ContextVar[ModelListing | None] = ContextVar("crux_listing_provider", default=None)


@contextmanager
def _using(provider: ModelListing) -> Iterator[None]:
    mark = _in_use.set(provider)
    try:
        yield
    finally:
        _in_use.reset(mark)


@contextmanager
def provider_for(name: str) -> Iterator[ModelListing]:
    """The provider that is listing its models, else one made from environment and files."""
    current = _in_use.get()
    if current is not None and current._declared.name == name:
        yield current
        return
    from .factory import ProviderFactory

    with ProviderFactory.create(name) as made:
        yield made


def lists_plainly(name: str) -> bool:
    """Whether ``name`` is a provider with a listing endpoint, so that it needs no fetcher."""
    current = _in_use.get()
    if current is not None and current._declared.name == name:
        return current._declared.models_path is not None
    from ..config.declaration import declarations

    declared = declarations().get(name)
    return declared is not None and declared.models_path is not None


def fetch_listing(
    name: str,
    *,
    sdk: SdkListing | None = None,
    sdk_by_default: bool = True,
    endpoint: EndpointListing | None = None,
    dated: Dated = "created",
) -> tuple[list[ModelInfo], str]:
    """The models of provider ``name`` and their source, ``<name>_sdk_enriched`` or ``api``.

    ``sdk`` lists with the official SDK and is used where that is installed, or where
    ``sdk_by_default`` is false, only for a provider whose transport is the SDK; else ``endpoint``
    does, which without more to say is one page. ``dated`` says what the listing's dates are. Raises
    ProviderError.
    """
    with provider_for(name) as provider:
        settings = None
        if sdk is not None and (sdk_by_default or provider.wants_sdk):
            settings = provider.sdk_settings()
        if sdk is not None and settings is not None:
            try:
                return provider.listed(sdk(settings), dated), f"{name}_sdk_enriched"
            except ModuleNotFoundError as exc:
                if provider.wants_sdk:
                    raise not_installed(name, exc) from exc
            except WireFailure as failure:
                codec, _ = provider._codec(provider._declared.dialect)
                raise codec.classify(failure).locate(name, None) from failure
        pages = endpoint(provider) if endpoint else provider.pages()
        return provider.listed(pages, dated), "api"


def not_installed(name: str, exc: ImportError | None = None) -> ProviderError:
    """The error of a provider whose package is missing, with the words that install it."""
    return ProviderError(
        ErrorCode.UNSUPPORTED,
        f"{name} needs its package: pip install 'crux-integrations[{name}]'",
        provider=name,
        cause=exc,
    )


def needs_sync(client: Any, *asynchronous: type) -> None:
    """Raise ``unsupported`` where ``client`` is one of an SDK's asynchronous clients."""
    if isinstance(client, asynchronous):
        raise ProviderError(
            ErrorCode.UNSUPPORTED,
            f"models are listed with a sync client, not {type(client).__name__}",
        )


# -- fetchers as programs -------------------------------------------------------------------------


def run_program(name: str, run: Callable[[], list[dict[str, Any]]]) -> None:
    """A fetcher as a program: prints ``[name] loaded <N> models`` and exits.

    A failure is one JSON line on stderr and exit code 1; the count is then that of the stored
    listing, which stays.
    """
    configure_logging()
    code = 0
    try:
        with refreshing():
            models = run()
    except Exception as exc:  # noqa: BLE001  # a program's last word on whatever went wrong
        error, code = classify_exception(exc).locate(name, None), 1
        log_event(
            get_logger(), logging.ERROR, "models.fetch.error",
            provider=name, operation="fetch_models", stage="start",
            failure_class=type(error.cause or exc).__name__, error_code=str(error.code),
            fallback_used=True, error=error.message,
        )  # fmt: skip
        models = load_cached_models(name)
    sys.stdout.write(f"[{name}] loaded {len(models)} models\n")
    sys.exit(code)
