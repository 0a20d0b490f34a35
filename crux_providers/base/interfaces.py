"""The protocols: what a provider can do, what a codec is, what a transport is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .errors import ProviderError, WireFailure
from .events import ChatStreamEvent
from .models import JSON, ChatRequest, ChatResponse, ModelInfo, ModelRegistrySnapshot
from .timeouts import CallScope
from .wire import WireEvent, WireRequest, WireResponse

if TYPE_CHECKING:
    from .streaming_adapter import AsyncStreamController, StreamController


@runtime_checkable
class LLMProvider(Protocol):
    """The core: a name and one call. ``chat`` raises :class:`ProviderError`, never returns it."""

    @property
    def provider_name(self) -> str:
        """The canonical name, e.g. ``openai``."""
        ...

    def chat(self, request: ChatRequest) -> ChatResponse:
        """Answer ``request`` whole."""
        ...


@runtime_checkable
class SupportsStreaming(Protocol):
    """Providers whose answers can be streamed."""

    def stream_chat(self, request: ChatRequest) -> StreamController:
        """A controller over the events of the answer; nothing is sent before it is iterated."""
        ...

    def astream_chat(self, request: ChatRequest) -> AsyncStreamController:
        """The async twin, returned without awaiting."""
        ...


@runtime_checkable
class SupportsJSONOutput(Protocol):
    """Providers that know whether they can answer in JSON."""

    def supports_json_output(self) -> bool:
        """Whether ``response_format`` json_object works."""
        ...


@runtime_checkable
class SupportsResponsesAPI(Protocol):
    """Providers with two OpenAI dialects."""

    def uses_responses_api(self, model: str) -> bool:
        """Whether ``api="auto"`` sends this model to the Responses endpoint."""
        ...


@runtime_checkable
class ModelListingProvider(Protocol):
    """Providers that list their models."""

    def list_models(self, refresh: bool = False) -> ModelRegistrySnapshot:
        """The stored listing; ``refresh`` fetches it first and raises where that fails."""
        ...


@runtime_checkable
class HasDefaultModel(Protocol):
    """Providers that propose a model."""

    def default_model(self) -> str | None:
        """A model to use where the caller names none, or None."""
        ...


class Decoder(Protocol):
    """One stream's decoder. Feed it every wire event in order, then call ``finish`` once.

    ``complete`` turns true with the dialect's proper end, ``ended`` when nothing more can follow.
    ``skipped`` counts malformed events that could not carry content and were passed over.
    """

    complete: bool
    ended: bool
    skipped: int

    def feed(self, event: WireEvent) -> Sequence[ChatStreamEvent]:
        """The events in one wire event; raises ProviderError for an error or malformed content."""
        ...

    def finish(self) -> Sequence[ChatStreamEvent]:
        """What was held back; raises ``transient`` where the proper end never came."""
        ...


class Codec(Protocol):
    """A dialect as pure functions over JSON; implemented by each module of ``codecs``."""

    def encode(self, request: ChatRequest, *, stream: bool, options: Any = ...) -> WireRequest:
        """The dialect's HTTP call; raises ``unsupported`` where it cannot express the request."""
        ...

    def decode(self, payload: JSON) -> ChatResponse:
        """A whole answer; raises ProviderError for an in-band error or a malformed payload."""
        ...

    def classify(self, failure: WireFailure) -> ProviderError:
        """A failed call in the taxonomy, by the provider's own code fields."""
        ...

    def models(self, payload: JSON) -> list[ModelInfo]:
        """The models of a listing payload."""
        ...

    @property
    def Decoder(self) -> type[Decoder]:  # a class attribute of the module
        """The stream decoder class; takes no arguments."""
        ...


class WireStream(Protocol):
    """An open stream; iterate for events, close to end it early (the socket is closed).

    ``owned`` says that reads obey the scope's deadlines and end at once on cancel. Where it is
    false the streaming adapter waits in another thread and abandons the read.
    """

    status: int
    headers: Mapping[str, str]
    owned: bool

    def __iter__(self) -> Iterator[WireEvent]: ...
    def __next__(self) -> WireEvent: ...
    def close(self) -> None:
        """End the stream; its socket is closed unless it was read to its end."""
        ...


class AsyncWireStream(Protocol):
    """The async twin of :class:`WireStream`."""

    status: int
    headers: Mapping[str, str]
    owned: bool

    def __aiter__(self) -> AsyncIterator[WireEvent]: ...
    async def __anext__(self) -> WireEvent: ...
    async def aclose(self) -> None:
        """End the stream; its socket is closed unless it was read to its end."""
        ...


class Transport(Protocol):
    """How bytes travel. Raises only :class:`WireFailure` (and lets cancellation pass).

    One call is one HTTP request; nothing is retried here. Deadlines and cancellation come with
    the scope. ``close``/``aclose`` release pools and may be called twice.
    """

    def send(self, request: WireRequest, scope: CallScope) -> WireResponse:
        """A whole answer with a 2xx status."""
        ...

    async def asend(self, request: WireRequest, scope: CallScope) -> WireResponse:
        """The async twin of :meth:`send`."""
        ...

    def stream(self, request: WireRequest, scope: CallScope) -> WireStream:
        """An open stream, its headers read."""
        ...

    async def astream(self, request: WireRequest, scope: CallScope) -> AsyncWireStream:
        """The async twin of :meth:`stream`."""
        ...

    def close(self) -> None:
        """Release sync connections."""
        ...

    async def aclose(self) -> None:
        """Release the connections of the running loop."""
        ...
