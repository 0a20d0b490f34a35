"""The provider driver: declaration + codec + transport, sync and async, whole and streamed.

A provider's ``client.py`` subclasses :class:`BaseProvider` with its declaration and its quirks;
all calling, classifying and streaming is here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, ClassVar, Self, cast

from ..config.declaration import ProviderDeclaration
from ..config.errors import ConfigError
from .abandon import asleep, sleep
from .cancellation import CancellationToken
from .errors import (
    ErrorCode,
    ProviderError,
    WireFailure,
    classify_exception,
    passes_through,
    request_id_of,
)
from .events import usage_fields
from .flow import Attempt
from .interfaces import Codec, Transport
from .listing import ModelListing
from .logging import LogContext
from .models import ChatRequest, ChatResponse, parse_structured
from .observing import observe_end, observe_error, observe_first, observe_success
from .ports import load, resolve
from .provider_call import CallOptions as CallOptions
from .provider_call import PreparedCall, aevents_of, events_of, unclassified
from .provider_settings import kept_headers, make_endpoint, resolve_base_url, resolve_key
from .retry import RetryConfig
from .streaming_adapter import (
    AsyncBaseStreamingAdapter,
    AsyncStreamController,
    BaseStreamingAdapter,
    StreamController,
)
from .streaming_lifecycle import StreamLifecycle
from .timeouts import CallScope, TimeoutConfig, get_timeout_config
from .wire import Endpoint, WireRequest, WireResponse

_NO_OPTIONS = CallOptions()


class BaseProvider(ModelListing):
    """One provider, ready to answer.

    Arguments, all by keyword and the same for every provider: ``api_key`` (else the declared
    environment variables, ``.env``, ``config.yaml``; ``""`` sends none), ``base_url`` (else the
    provider's variable, else its default), ``timeout`` (seconds for the start phase, or a mapping
    connect/first_token/total), ``idle_timeout`` (seconds between chunks), ``headers`` added to
    every call, ``max_retries`` after the first request, ``transport`` (``"http"``, ``"sdk"``, an
    httpx transport, or an object with the Transport methods), ``client`` (a ready SDK client),
    ``api`` (which of the provider's dialects), ``proxy``, ``verify``.
    """

    declaration: ClassVar[ProviderDeclaration]

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float | Mapping[str, float | None] | TimeoutConfig | None = None,
        idle_timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        max_retries: int = 0,
        transport: Any = "http",
        client: Any = None,
        api: str | None = None,
        proxy: str | None = None,
        verify: bool | str = True,
        declaration: ProviderDeclaration | None = None,
    ) -> None:
        declared = declaration if declaration is not None else type(self).declaration
        self._declared = declared
        self._timeouts = get_timeout_config().override(timeout, idle_timeout)
        if max_retries < 0:
            raise ValueError(f"max_retries counts the retries after the first: {max_retries} < 0")
        self._max_retries = max_retries
        self._api_key = api_key
        self._base_url = resolve_base_url(declared, base_url)
        self._headers = dict(headers or {})
        self._proxy = proxy
        self._verify = verify
        self._client = client
        if isinstance(transport, str) and transport not in ("http", "sdk"):
            raise ValueError(f"transport is 'http', 'sdk' or an httpx transport, not {transport!r}")
        self._transport_choice = "sdk" if client is not None else transport
        self._transport: Transport | None = None
        if api is not None and api != "auto" and api not in declared.dialects:
            raise ValueError(
                f"{declared.name} has no api={api!r}; it takes {['auto', *declared.dialects]}"
            )
        self._api = api
        self._codecs: dict[str, tuple[Codec, Any]] = {}

    # -- what it is ---------------------------------------------------------------------------

    @property
    def provider_name(self) -> str:
        """The canonical name, e.g. ``openai``."""
        return self._declared.name

    @property
    def timeouts(self) -> TimeoutConfig:
        """The limits of a call that names none itself."""
        return self._timeouts

    @property
    def base_url(self) -> str:
        """Where calls go, without the dialect's version path."""
        return self._base_url

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._base_url!r})"

    def default_model(self) -> str | None:
        """The declared default model, or None."""
        return self._declared.default_model

    def streaming_supported(self) -> bool:
        """The one gate for streaming; where it is false a stream is one ``unsupported`` event."""
        return self._declared.streaming

    def dialect_for(self, model: str) -> str:
        """The codec a call for ``model`` uses."""
        if self._api in (None, "auto"):
            return self._declared.dialect
        return self._declared.dialects[self._api or ""]

    def prepare(self, request: ChatRequest) -> ChatRequest:
        """A provider's quirk on the normalized request; most have none."""
        return request

    def adjust(self, wire: WireRequest, request: ChatRequest) -> WireRequest:
        """A provider's quirk on the encoded call; most have none."""
        return wire

    def reported_cost(self, usage: Mapping[str, Any]) -> float | None:
        """US dollars an answer cost by the provider's own word, or None where it says none.

        ``usage`` has the fields of the provider's usage that are no token counts.
        """
        return None

    # -- settings -----------------------------------------------------------------------------

    def resolve_key(self) -> str | None:
        """The key that calls are sent with; raises ``auth`` naming the variable it misses."""
        return resolve_key(self._declared, self._api_key, required=self._client is None)

    def _endpoint(self) -> Endpoint:
        return make_endpoint(
            self._declared,
            self._base_url,
            self.resolve_key(),
            self._headers,
            self._proxy,
            self._verify,
        )

    @property
    def transport(self) -> Transport:
        """The transport, made at first use."""
        if self._transport is None:
            self._transport = self._make_transport()
        return self._transport

    def _make_transport(self) -> Transport:
        choice = self._transport_choice
        if choice in ("http", "sdk"):
            path = self._declared.transports.get(choice)
            if path is None and choice == "sdk":
                raise ProviderError(
                    ErrorCode.UNSUPPORTED,
                    f"{self.provider_name} has no SDK transport",
                    provider=self.provider_name,
                )
            if path is not None:
                kind = self._transport_class(choice, path)
                made: Transport = kind(self._endpoint(), client=self._client)
                return made
            choice = None
        elif hasattr(choice, "astream") and hasattr(choice, "send"):
            if self._declared.key_required:
                self.resolve_key()
            return cast(Transport, choice)
        http = resolve("transport", "http").HttpTransport
        endpoint = self._endpoint()
        if not endpoint.base_url:
            endpoint = replace(endpoint, base_url=self._declared.server_url)
        return cast(Transport, http(endpoint, httpx_transport=choice))

    def _transport_class(self, choice: str, path: str) -> Any:
        try:
            return load(path)
        except ModuleNotFoundError as exc:
            if exc.name != path.partition(":")[0]:
                raise
            raise ProviderError(
                ErrorCode.UNSUPPORTED,
                f"{self.provider_name} has no {choice} transport in this version of crux",
                provider=self.provider_name,
            ) from exc

    def _codec(self, dialect: str) -> tuple[Codec, Any]:
        found = self._codecs.get(dialect)
        if found is None:
            module = resolve("codec", dialect)
            declared = self._declared.options.get(dialect, {})
            options = module.Options(**{"provider": self.provider_name, **declared})
            found = self._codecs[dialect] = (cast(Codec, module), options)
        return found

    def _model_of(self, request: ChatRequest) -> str:
        """The request's model, else the default one; raises ``bad_request`` where there is none."""
        if request.model:
            return request.model
        try:
            model = self.default_model()
        except ConfigError as exc:  # a provider may look its default up in config.yaml
            raise ProviderError(
                ErrorCode.BAD_REQUEST, str(exc), provider=self.provider_name, cause=exc
            ) from exc
        if not model:
            raise ProviderError(
                ErrorCode.BAD_REQUEST,
                f"{self.provider_name} has no default model: name one",
                provider=self.provider_name,
            )
        return model

    def _call(self, request: ChatRequest, *, stream: bool, options: CallOptions) -> PreparedCall:
        model = self._model_of(request)
        try:
            named = request if request.model == model else replace(request, model=model)
            request = self.prepare(named)
            codec, codec_options = self._codec(self.dialect_for(model))
            wire = codec.encode(request, stream=stream, options=codec_options)
            wire = self.adjust(wire, request)
        except ProviderError as error:
            raise error.locate(self.provider_name, model) from error.cause
        except Exception as exc:  # a value of a type that nobody expects
            raise unclassified(self.provider_name, model, exc) from exc
        retries = self._max_retries if options.max_retries is None else options.max_retries
        return PreparedCall(
            self.provider_name,
            request,
            model,
            codec,
            wire,
            options.timeouts or self._timeouts,
            options.token or CancellationToken(),
            RetryConfig(max_attempts=1 + retries),
        )

    # -- whole answers ------------------------------------------------------------------------

    def chat(self, request: ChatRequest, *, options: CallOptions = _NO_OPTIONS) -> ChatResponse:
        """Answer ``request`` whole; raises :class:`ProviderError`, one HTTP call per attempt."""
        call = self._call(request, stream=False, options=options)
        transport, flow = self.transport, call.flow()
        step = next(flow)
        while True:
            if not isinstance(step, Attempt):
                sleep(step.seconds, call.token)
                step = flow.send(None)
                continue
            try:
                scope = CallScope(call.timeouts, call.token, whole=True)
                return self._decode(call, transport.send(call.wire, scope))
            except Exception as exc:  # noqa: BLE001  # classified; the flow decides
                error = self._classify(call, exc)
                try:
                    step = flow.send(error)
                except StopIteration:
                    raise error from error.cause

    async def achat(
        self, request: ChatRequest, *, options: CallOptions = _NO_OPTIONS
    ) -> ChatResponse:
        """The async twin of :meth:`chat`."""
        call = self._call(request, stream=False, options=options)
        transport, flow = self.transport, call.flow()
        step = next(flow)
        while True:
            if not isinstance(step, Attempt):
                await asleep(step.seconds, call.token)
                step = flow.send(None)
                continue
            try:
                scope = CallScope(call.timeouts, call.token, whole=True)
                return self._decode(call, await transport.asend(call.wire, scope))
            except Exception as exc:  # noqa: BLE001  # classified; the flow decides
                error = self._classify(call, exc)
                try:
                    step = flow.send(error)
                except StopIteration:
                    raise error from error.cause

    def _decode(self, call: PreparedCall, answer: WireResponse) -> ChatResponse:
        response = call.signed(call.codec.decode(answer.body))
        meta = response.meta
        extra = meta.extra
        if call.wire.degraded:
            extra["degraded"] = list(call.wire.degraded)
        if (cost := self.reported_cost(usage_fields(extra))) is not None:
            extra["cost_usd"] = cost
        response = replace(
            response,
            structured=parse_structured(response.text, call.request.response_format)
            if response.structured is None
            else response.structured,
            meta=replace(
                meta,
                provider=self.provider_name,
                request_id=request_id_of(answer.headers) or meta.request_id,
                status=answer.status,
                headers=kept_headers(answer.headers),
                extra=extra,
            ),
        )
        observe_success(self.provider_name, call.model, call.request, response)
        return response

    def _classify(self, call: PreparedCall, exc: Exception) -> ProviderError:
        if isinstance(exc, WireFailure):
            error = call.codec.classify(exc)
        elif isinstance(exc, ProviderError | OSError):
            error = classify_exception(exc)
        elif passes_through(exc):
            raise exc
        else:
            error = unclassified(self.provider_name, call.model, exc)
        error.locate(self.provider_name, call.model)
        observe_error(self.provider_name, call.model, call.request, error, mode="whole")
        return error

    # -- streams ------------------------------------------------------------------------------

    def stream_chat(
        self, request: ChatRequest, *, options: CallOptions = _NO_OPTIONS
    ) -> StreamController:
        """A controller over the events; failures, also before the start, are its terminal event."""
        holder: list[BaseStreamingAdapter] = []
        prepared = self._prepare_stream(request, options)

        def start() -> Any:
            call, transport, scope = prepared(), self.transport, holder[0].scope
            scope.restart()
            try:
                stream = transport.stream(call.wire, scope)
            except WireFailure as failure:
                raise call.codec.classify(failure) from failure
            ids = {"request_id": request_id_of(stream.headers)}
            return events_of(call, stream), ids

        adapter = BaseStreamingAdapter(starter=start, **self._adapter(request, options))
        holder.append(adapter)
        return StreamController(adapter)

    def astream_chat(
        self, request: ChatRequest, *, options: CallOptions = _NO_OPTIONS
    ) -> AsyncStreamController:
        """The async twin of :meth:`stream_chat`, returned without awaiting."""
        holder: list[AsyncBaseStreamingAdapter] = []
        prepared = self._prepare_stream(request, options)

        async def start() -> Any:
            call, transport, scope = prepared(), self.transport, holder[0].scope
            scope.restart()
            try:
                stream = await transport.astream(call.wire, scope)
            except WireFailure as failure:
                raise call.codec.classify(failure) from failure
            ids = {"request_id": request_id_of(stream.headers)}
            return aevents_of(call, stream), ids

        adapter = AsyncBaseStreamingAdapter(starter=start, **self._adapter(request, options))
        holder.append(adapter)
        return AsyncStreamController(adapter)

    def _prepare_stream(
        self, request: ChatRequest, options: CallOptions
    ) -> Callable[[], PreparedCall]:
        made: list[PreparedCall] = []

        def prepared() -> PreparedCall:
            if not self.streaming_supported():
                raise ProviderError(
                    ErrorCode.UNSUPPORTED,
                    f"{self.provider_name} does not stream",
                    feature="streaming",
                )
            if not made:
                made.append(self._call(request, stream=True, options=options))
            return made[0]

        return prepared

    def _adapter(self, request: ChatRequest, options: CallOptions) -> dict[str, Any]:
        try:
            model = self._model_of(request)
        except ProviderError:
            model = ""  # the start of the stream says so, as its terminal event
        retries = self._max_retries if options.max_retries is None else options.max_retries
        retry = RetryConfig(max_attempts=1 + retries)
        name = self.provider_name

        def ended(life: StreamLifecycle) -> None:
            life.cost_usd = self.reported_cost(life.usage_fields)
            observe_end(name, model, request, life)

        return {
            "ctx": LogContext(provider=name, model=model),
            "provider_name": name,
            "model": model,
            "retry_config_factory": lambda phase: retry,
            "cancellation_token": options.token,
            "timeouts": options.timeouts or self._timeouts,
            "response_format": request.response_format,
            "owned": getattr(self.transport_kind, "owned", True),
            "on_first": lambda life: observe_first(name, model),
            "on_end": ended,
        }

    @property
    def transport_kind(self) -> Any:
        """The transport where it was made or given already, else None (the default one)."""
        if self._transport is not None:
            return self._transport
        choice = self._transport_choice
        if choice in ("http", "sdk"):
            path = self._declared.transports.get(choice)
            try:
                return self._transport_class(choice, path) if path is not None else None
            except ProviderError:
                return None  # the start of the stream says so, as its terminal event
        return choice

    # -- life ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Release connections; may be called twice, and the provider used again."""
        if self._transport is not None:
            self._transport.close()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`."""
        if self._transport is not None:
            await self._transport.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()


class StructuredOutput:
    """Mixin for providers that can answer in JSON."""

    _declared: ProviderDeclaration

    def supports_json_output(self) -> bool:
        """Whether ``response_format`` json_object works."""
        return self._declared.json_output


class BaseOpenAIStyleProvider(StructuredOutput, BaseProvider):
    """A provider of the OpenAI chat dialect: all of it is in the declaration."""


class GatewayProvider(BaseOpenAIStyleProvider):
    """A provider declared in YAML: any dialect at any address, with no code of its own."""

    def __init__(self, *, declaration: ProviderDeclaration, **arguments: Any) -> None:
        super().__init__(declaration=declaration, **arguments)
