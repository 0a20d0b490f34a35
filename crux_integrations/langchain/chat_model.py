"""``ChatCrux``: one LangChain chat model over the routes of ``routes.yaml``."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.base import LangSmithParams, LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import ChatRequest

from .answers import to_ai_message
from .chunks import ChunkStream
from .configuration import (
    Source,
    build_router,
    configured_routes,
    is_provider,
    shown_routes,
    split_model,
)
from .errors import langchain_error
from .messages import to_messages
from .tools import bindable, one_at_a_time, response_format, to_tool_choice, to_tools, tool_name

if TYPE_CHECKING:
    from crux_integrations.router.router import CallOptions, Router

_REQUEST_WORDS = (
    "temperature", "max_tokens", "top_p", "seed", "reasoning_effort", "reasoning_budget",
    "logprobs", "top_logprobs", "parallel_tool_calls",
)  # fmt: skip
"""Fields of the model that are fields of ChatRequest too, and may be given with each call."""

_ALIASES = {"max_completion_tokens": "max_tokens", "max_output_tokens": "max_tokens"}
_NOT_SENT = frozenset({"stream", "ls_structured_output_format", "structured_output_format"})
_OPTION_WORDS = ("timeout", "max_retries")
_NOT_SHOWN = frozenset({"api_key", "cache", "callbacks", "client", "metadata", "profile",
                        "rate_limiter", "shared"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Shared:
    """A router with what it was made from, so that LangChain's copies of a model share it."""

    source: Source
    route: str
    router: Router
    profile: ModelProfile | None

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return self


class ChatCrux(BaseChatModel):
    """A chat model that ``routes.yaml`` answers for: which provider, and what to do when it fails.

    >>> ChatCrux()                                     # routes.yaml here, or $CRUX_ROUTES
    >>> ChatCrux(route="fast", routes="routes.yaml")   # a path, a mapping or a Router
    >>> ChatCrux(model="anthropic:claude-haiku-4-5")   # one model, no YAML

    What is given here beats the YAML: ``temperature``, ``max_tokens``, ``top_p``, ``stop``,
    ``seed``, ``reasoning_effort``, ``reasoning_budget`` (tokens), ``logprobs``; ``timeout`` is
    seconds for the whole call, ``max_retries`` attempts minus one for each candidate;
    ``model_kwargs`` goes into the provider's body as it stands. Each of them may be given with a
    call, too, and ``model="provider:model"`` or ``route=...`` with a call takes the route's place.

    ``api_key``, ``base_url`` and ``client`` (a ready SDK client) belong to the form with one model;
    with routes an ``api_key`` is not used, which a warning says.

    Making one reads the YAML and does nothing else. Messages carry ``usage_metadata`` and, in
    ``response_metadata``, ``model_name``, ``finish_reason`` and ``crux``: route, provider, model,
    cost_usd, attempts, rejected, degraded. Failures are
    :class:`~crux_providers.base.errors.ProviderError` and LangChain's ``ModelError`` at once; when
    every candidate fails, AllCandidatesFailed; a stream that breaks after its first content raises
    StreamInterrupted with ``partial``, an AIMessage.
    """

    model_config = ConfigDict(extra="forbid")

    route: str = "default"
    routes: Any = None
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    stop: list[str] | str | None = None
    seed: int | None = None
    reasoning_effort: str | None = None
    reasoning_budget: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    parallel_tool_calls: bool | None = None
    timeout: float | None = None
    max_retries: int | None = None
    # None, not False: LangChain reads a False that was set as "never stream", and its copies of a
    # model (configurable_fields) set every field.
    streaming: bool | None = None
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    api_key: SecretStr | None = Field(default=None, repr=False)
    base_url: str | None = None
    client: Any = Field(default=None, exclude=True, repr=False)
    shared: Any = Field(default=None, exclude=True, repr=False)

    # -- configuration ----------------------------------------------------------------------------

    @model_validator(mode="after")
    def _bind_router(self) -> Self:
        held: _Shared | None = self.shared
        if held is None:
            self._held()
        elif held.source != self._source() or held.route != self.route:
            # A copy that LangChain made of another model, with its router and its profile.
            inherited = self.profile is not None and self.profile == held.profile
            self.shared = None
            held = self._held()
            if inherited:
                self.profile = held.profile
        return self

    def _source(self) -> Source:
        key = self.api_key.get_secret_value() if self.api_key is not None else None
        return Source(self.routes, self.model, key, self.base_url, self.client)

    def _held(self) -> _Shared:
        held: _Shared | None = self.shared
        if held is None:
            source = self._source()
            router = build_router(source)
            profile = _profile(router.profile(self.route))
            held = self.shared = _Shared(source, self.route, router, profile)
        return held

    def _resolve_model_profile(self) -> ModelProfile | None:
        return self._held().profile

    @property
    def router(self) -> Router:
        """The router that answers; close it with ``close()`` or ``await aclose()``."""
        return self._held().router

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles as configuration: never keys, connections or what was learned.

        An ``api_key`` stays behind, the copy takes its key from the environment. Raises TypeError
        where a ready client was given.
        """
        return _restore, (type(self), self._configuration())

    def _configuration(self) -> dict[str, Any]:
        if self.client is not None:
            raise TypeError(
                "ChatCrux with a ready client cannot be pickled: the client holds connections and "
                "credentials; give the model by name and let each process make its own"
            )
        held = self._held()
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        for name in ("shared", "api_key", "client"):
            kept.pop(name, None)
        if kept.get("profile") == held.profile:
            kept.pop("profile", None)
        if self.routes is not None:
            kept["routes"] = configured_routes(self.routes)
        return kept

    @property
    def _llm_type(self) -> str:
        return "crux"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        held = self._held()
        found: dict[str, Any] = {"route": self.route, "digest": held.router.digest(self.route)}
        if self.model is not None:
            found["model"] = self.model
        for name in (*_REQUEST_WORDS, *_OPTION_WORDS, "stop", "base_url"):
            value = getattr(self, name)
            if value is not None:
                found[name] = value
        if self.model_kwargs:
            found["model_kwargs"] = self.model_kwargs
        return found

    def _get_invocation_params(
        self, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        # As LangChain's, without its search for overrides of a method this class does not override.
        # Also the key of LangChain's caches, which so changes when the routes file does.
        return {**self._identifying_params, "_type": self._llm_type, "stop": stop, **kwargs}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        own = split_model(self.model) if self.model is not None else ("crux", self.route)
        asked = kwargs.get("model")
        provider, name = split_model(asked) if isinstance(asked, str) else own
        found = LangSmithParams(
            ls_provider=provider or own[0] or "crux", ls_model_name=name, ls_model_type="chat"
        )
        stop = stop or self._stops()
        if stop:
            found["ls_stop"] = stop
        temperature = kwargs.get("temperature", self.temperature)
        if isinstance(temperature, (int, float)):
            found["ls_temperature"] = temperature
        max_tokens = kwargs.get("max_tokens", self.max_tokens)
        if isinstance(max_tokens, int):
            found["ls_max_tokens"] = max_tokens
        return found

    def _stops(self) -> list[str] | None:
        return [self.stop] if isinstance(self.stop, str) else self.stop

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """What was set, as LangChain's traces show it: no key, no connection."""
        for name in sorted(self.model_fields_set - _NOT_SHOWN):
            value = getattr(self, name)
            if name == "routes" and value is not None:
                value = shown_routes(value)
            if value is not None:
                yield name, value

    # -- one call ---------------------------------------------------------------------------------

    def _call(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> tuple[ChatRequest, str, CallOptions | None]:
        """Request, route and options of one call; what the call says beats what the model says."""
        given: dict[str, Any] = {**self.model_kwargs, **kwargs} if self.model_kwargs else {**kwargs}
        words: dict[str, Any] = {name: getattr(self, name) for name in _REQUEST_WORDS}
        route, options = self.route, None
        if given or self.timeout is not None or self.max_retries is not None or self.model:
            route = given.pop("route", None) or route
            options = self._options(given)
        if given:
            self._take(given, words)
        request = ChatRequest(
            messages=to_messages(messages), stop=stop or self._stops() or None, extra=given, **words
        )
        return request, route, options

    def _take(self, given: dict[str, Any], words: dict[str, Any]) -> None:
        """Move what ChatRequest has a field for from ``given`` to ``words``; the rest is extra."""
        for name in _NOT_SENT & given.keys():
            del given[name]
        for alias, name in _ALIASES.items():
            if alias in given:
                given.setdefault(name, given.pop(alias))
        for name in _REQUEST_WORDS:
            if name in given:
                value = given.pop(name)
                words[name] = value if value is not None else words[name]
        tools = given.pop("tools", None)
        if tools:
            words["tools"] = to_tools(tools)
        choice = given.pop("tool_choice", None)
        if choice is not None:
            words["tool_choice"] = to_tool_choice(choice)
            one = one_at_a_time(choice)
            words["parallel_tool_calls"] = words["parallel_tool_calls"] if one is None else one
        wanted = given.pop("response_format", None)
        if wanted is not None:
            words["response_format"] = response_format(wanted)

    def _options(self, given: dict[str, Any]) -> CallOptions | None:
        timeout = given.pop("timeout", None)
        max_retries = given.pop("max_retries", None)
        timeout = self.timeout if timeout is None else timeout
        max_retries = self.max_retries if max_retries is None else max_retries
        model = self._override(given.pop("model", None))
        if timeout is None and max_retries is None and model is None:
            return None
        from crux_integrations.router.router import CallOptions

        return CallOptions(timeout=timeout, max_retries=max_retries, model=model)

    def _override(self, asked: str | None) -> str | None:
        """The model that takes the route's place; a bare name is of the model's own provider."""
        if asked is None:
            return self.model if self.routes is not None else None
        provider = split_model(asked)[0]
        own = split_model(self.model)[0] if self.model is not None else None
        if provider is not None and (own is None or is_provider(self.router, provider)):
            return asked
        if own is None:
            raise ValueError(f"model {asked!r} has no provider: write provider:model")
        return f"{own}:{asked}"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request, route, options = self._call(messages, stop, kwargs)
        try:
            response = self.router.generate(request, route, options=options)
        except ProviderError as error:
            raise langchain_error(error) from error
        return _result(to_ai_message(response))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request, route, options = self._call(messages, stop, kwargs)
        try:
            response = await self.router.agenerate(request, route, options=options)
        except ProviderError as error:
            raise langchain_error(error) from error
        return _result(to_ai_message(response))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        request, route, options = self._call(messages, stop, kwargs)
        stream = ChunkStream(blocks=self.output_version == "v1")
        events = self.router.stream(request, route, options=options)
        try:
            for event in events:
                for chunk in stream.feed(event):
                    if run_manager is not None:
                        run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
            if not stream.finished:
                raise _unfinished()
        except ProviderError as error:
            raise langchain_error(error) from error
        finally:
            close = getattr(events, "close", None)
            if close is not None:
                close()

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        request, route, options = self._call(messages, stop, kwargs)
        stream = ChunkStream(blocks=self.output_version == "v1")
        events = self.router.astream(request, route, options=options)
        try:
            async for event in events:
                for chunk in stream.feed(event):
                    if run_manager is not None:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
            if not stream.finished:
                raise _unfinished()
        except ProviderError as error:
            raise langchain_error(error) from error
        finally:
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()

    # -- tools and schemas ------------------------------------------------------------------------

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | Runnable[Any, Any]],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools: LangChain tools, classes, callables, or any provider's form.

        ``tool_choice`` is ``auto``, ``none``, ``any`` (or ``required``, True), a tool's name, or a
        provider's mapping; ``strict`` asks for arguments that fit the schema. ``response_format``
        may stand among ``kwargs``. Raises ValueError for a tool or a name nobody knows.
        """
        made = [bindable(tool, strict=strict) for tool in tools]
        choice = to_tool_choice(tool_choice, [tool_name(tool) for tool in made])
        one = one_at_a_time(tool_choice)
        parallel = one if parallel_tool_calls is None else parallel_tool_calls
        if choice is not None:
            kwargs["tool_choice"] = choice
        if parallel is not None:
            kwargs["parallel_tool_calls"] = parallel
        if kwargs.get("response_format") is not None:
            kwargs["response_format"] = response_format(kwargs["response_format"])
        return self.bind(tools=made, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: Literal["json_schema", "function_calling", "json_mode"] = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        tools: list[Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """A runnable whose answers have the form of ``schema``.

        ``schema`` is a pydantic class (answers are its instances), a TypedDict class, a JSON Schema
        or OpenAI's function form (answers are dicts). ``method``: ``json_schema`` asks the provider
        to hold the answer to it, ``function_calling`` makes it a tool that must be called,
        ``json_mode`` asks for any JSON. ``strict`` asks for strict decoding; ``tools`` may be
        called before the answer; ``include_raw`` gives ``{"raw", "parsed", "parsing_error"}``. An
        answer that was cut short, or a refusal, raises OutputParserException.
        """
        if kwargs:
            raise ValueError(f"with_structured_output takes no {', '.join(sorted(kwargs))}")
        from .structured import structured  # LangChain's parsers take 10 ms to import

        return structured(
            self, schema, method=method, include_raw=include_raw, strict=strict, tools=tools
        )


# LangChain looks at the signature of what it calls with every call; found here it costs half.
for _method in (ChatCrux._generate, ChatCrux._agenerate, ChatCrux._stream, ChatCrux._astream):
    vars(_method)["__signature__"] = inspect.signature(_method)


def _restore(kind: type[ChatCrux], configuration: dict[str, Any]) -> ChatCrux:
    return kind(**configuration)


def _result(message: AIMessage) -> ChatResult:
    reason = message.response_metadata.get("finish_reason")
    info = None if reason is None else {"finish_reason": reason}
    return ChatResult(generations=[ChatGeneration(message=message, generation_info=info)])


def _unfinished() -> ProviderError:
    return ProviderError(ErrorCode.INTERNAL, "the stream ended without its last event")


def _profile(known: Mapping[str, Any]) -> ModelProfile | None:
    """What a route can serve, in the words this version of LangChain has for it."""
    found = {k: v for k, v in known.items() if k in ModelProfile.__annotations__}
    return ModelProfile(**found) if found else None  # type: ignore[typeddict-item]  # keys are the type's own
