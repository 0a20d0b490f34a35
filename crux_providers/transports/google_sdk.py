"""Gemini through google-generativeai's REST client (``transport="sdk"``, or a ready ``client=``).

That SDK is past its end of life: its types know nothing newer than early 2025. A request with a
field they do not have is one ``unsupported`` error that names it, before anything is sent. Its REST
client is called with a request made of the codec's JSON, its retries off.

With a client of ours an answer is the wire's own JSON, field for field (see :mod:`.google_json`),
its headers are known, and a refusal or a redirect costs one request. With a ready client (a
``GenerativeServiceClient``, or a ``GenerativeModel`` that carries no settings of its own) an answer
is what the SDK's types keep of it, without headers; whether a redirect is followed and a 401 asked
again is the client's affair.

The SDK blocks and its sockets are its own: every call runs in a thread, which is left behind where
a deadline or a cancel ends the wait, and ends by the time limit that the SDK was given.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from ..base.errors import ErrorCode, ProviderError, WireFailure, WireKind
from ..base.timeouts import CallScope
from ..base.wire import Endpoint, WireEvent, WireRequest
from .google_json import ObjectReader, lost, named, parsed, refused, unsupported, with_schemas
from .http_call import Call
from .http_connections import MAX_IDLE
from .http_environment import certificates, proxy_for
from .http_transport import refusal
from .sdk_errors import status_failure
from .sdk_items import AsyncThreadItems, SdkTransport, Seen, limits_of, need_sdk

GLM = "google.ai.generativelanguage_v1beta"
_PATH = re.compile(r"/v1beta/([^/:]+/[^/:]+):(?:stream)?[gG]enerateContent")

KINDS: dict[str, WireKind] = {
    "ConnectTimeout": "timeout",
    "ReadTimeout": "timeout",
    "Timeout": "timeout",
    "ProxyError": "connect",
    "SSLError": "connect",
    "ChunkedEncodingError": "cut",
    "ContentDecodingError": "cut",
    "ConnectionError": "cut",
    "TooManyRedirects": "local",
    "MissingSchema": "local",
    "InvalidSchema": "local",
    "InvalidURL": "local",
    "InvalidHeader": "local",
    "RequestException": "cut",
}
"""The exceptions of requests, on which the SDK's REST client stands, by class name."""

_UNREACHED = frozenset({"NewConnectionError", "NameResolutionError", "ConnectTimeoutError"})


@dataclass(slots=True)
class _Asked:
    """One call, for the hooks that run in its thread."""

    seen: Seen
    response: Any = None


_current: ContextVar[_Asked | None] = ContextVar("crux_google_call", default=None)


class GoogleSdkTransport(SdkTransport):
    """Calls ``endpoint`` through Google's ``GenerativeServiceClient`` over REST."""

    def __init__(self, endpoint: Endpoint, *, client: Any = None) -> None:
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._made: Any = None
        self._types = need_sdk(GLM, "gemini")
        self._foreign = None if client is None else _service_of(client)

    def __repr__(self) -> str:
        return f"GoogleSdkTransport({self._endpoint!r})"

    def close(self) -> None:
        """Close the client's connections; a client of the user's stays the user's to close."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None:
            made.transport.close()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`."""
        self.close()

    # -- what the SDK is asked --------------------------------------------------------------------

    def _async_exchange(self, scope: CallScope) -> AsyncThreadItems:
        return AsyncThreadItems(scope, self._translate)

    def _whole(self, request: WireRequest, exchange: Any) -> Callable[[], Any]:
        message = self._message(request)

        def ask() -> Any:
            asked = _Asked(exchange.seen)
            typed = self._call("generate_content", message, request, exchange.call, asked)
            if asked.response is None:
                return self._plain(typed)
            raw = parsed(asked.response.content)
            return asked.response.content if raw is None else named(raw, self._plain(typed))

        return ask

    def _items(self, request: WireRequest, exchange: Any) -> Callable[[], Iterator[Any]]:
        message = self._message(request)

        def start() -> Iterator[Any]:
            asked = _Asked(exchange.seen)
            items = self._call("stream_generate_content", message, request, exchange.call, asked)
            return (
                self._objects(asked.response) if asked.response is not None else self._typed(items)
            )

        return start

    def _call(
        self, method: str, message: Any, request: WireRequest, call: Call, asked: _Asked
    ) -> Any:
        connect, read = limits_of(call)
        client = self._foreign
        metadata: list[tuple[str, str]] = list(request.headers.items())
        timeout: Any = read
        if client is None:
            client = self._client()
            metadata += self._endpoint.headers.items()
            # requests takes two limits, the SDK hands on one; a decorator, as it takes, has both.
            timeout = functools.partial(_limited, limits=(connect, read))
        mark = _current.set(asked)
        try:
            return getattr(client, method)(
                request=message, retry=None, timeout=timeout, metadata=metadata
            )
        finally:
            _current.reset(mark)

    def _message(self, request: WireRequest) -> Any:
        """The SDK's own message of a request; raises ``unsupported`` for what it cannot hold."""
        found = _PATH.fullmatch(unquote(request.path.partition("?")[0]))
        if found is None:
            raise unsupported(f"has no call for {request.path!r}")
        kind = self._types.GenerateContentRequest
        body = with_schemas(dict(request.body or {}))
        try:
            message = kind.from_json(json.dumps(body), ignore_unknown_fields=False)
        except (ValueError, TypeError) as exc:
            raise WireFailure("local", f"the request is no JSON: {exc}", cause=exc) from exc
        except Exception as exc:
            if type(exc).__name__ != "ParseError":
                raise
            raise refused(exc) from exc
        if (path := next(lost(body, _json_of(kind, message)), None)) is not None:
            raise unsupported(f"cannot hold what {path} says")
        message.model = found.group(1)
        return message

    def _plain(self, typed: Any) -> Any:
        return _json_of(self._types.GenerateContentResponse, typed)

    def _typed(self, items: Any) -> Iterator[Any]:
        try:
            for item in items:
                yield self._plain(item)
        finally:
            if callable(cancel := getattr(items, "cancel", None)):
                cancel()

    def _objects(self, response: Any) -> Iterator[Any]:
        """The objects of a streamed array, each as the wire has it."""
        reader = ObjectReader()
        kind = self._types.GenerateContentResponse
        with contextlib.closing(response):
            for chunk in response.iter_content(None):
                for text in reader.feed(chunk):
                    raw = parsed(text)
                    if raw is None:
                        yield WireEvent(text)
                        continue
                    typed = kind.from_json(text.decode(), ignore_unknown_fields=True)
                    yield named(raw, self._plain(typed))
            if reader.inside:
                raise WireFailure("cut", "the answer ends inside an object")

    def _translate(self, exc: BaseException, seen: Seen) -> Exception | None:
        return translate(exc)

    # -- the client -------------------------------------------------------------------------------

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = _rest_client(self._types, self._endpoint)
            return self._made


def _json_of(kind: Any, message: Any) -> Any:
    """A message in the API's own JSON: names as on the wire, nothing that was not set."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(kind.pb(message))


def _limited(target: Any, limits: tuple[float | None, float | None]) -> Any:
    return functools.partial(target, timeout=limits)


def _rest_client(types: Any, endpoint: Endpoint) -> Any:
    """A client whose every answer passes :func:`_look`."""
    from google.ai.generativelanguage_v1beta.services.generative_service.transports import rest
    from google.auth.credentials import AnonymousCredentials

    address = urlsplit(endpoint.base_url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise WireFailure("local", "the base URL needs http:// or https:// and a host")
    # Anonymous: the key travels with the endpoint's headers, and nothing is asked of Google's own.
    transport = rest.GenerativeServiceRestTransport(
        host=endpoint.base_url.rstrip("/"),
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
    )
    # The one thing of the SDK's inside that is relied on (a test holds it): the session that its
    # requests go through. It has no public way to see a redirect or an answer's headers.
    session = transport._session
    session.trust_env = False  # no keys out of a .netrc; proxies are looked up as elsewhere
    port = address.port or (443 if address.scheme == "https" else 80)
    proxy = proxy_for(address.scheme, address.hostname, port, endpoint.proxy)
    session.proxies = {address.scheme: proxy} if proxy else {}
    verify, file, folder = certificates(endpoint.verify)
    session.verify = (file or folder or True) if verify is True else verify
    session.hooks["response"].append(_look)
    adapter: Any = type(session.get_adapter(endpoint.base_url))
    session.mount(f"{address.scheme}://", adapter(pool_maxsize=MAX_IDLE))
    return types.GenerativeServiceClient(transport=transport)


def _look(response: Any, **_: Any) -> None:
    """requests' response hook: note the head of the answer, raise where it is a refusal."""
    asked = _current.get()
    if asked is None:
        return
    asked.seen.status = response.status_code
    asked.seen.headers = {name.lower(): value for name, value in response.headers.items()}
    if not response.headers:  # Python's HTTP reads a connection that breaks off here as their end
        response.close()
        raise WireFailure("cut", "the headers break off", cause=EOFError("in the headers"))
    if 200 <= response.status_code < 300:
        asked.response = response
        return
    body = b""
    with contextlib.closing(response), contextlib.suppress(OSError):
        body = response.content  # where it breaks off the status says more
    raise refusal(response.status_code, asked.seen.headers, body)


def _service_of(client: Any) -> Any:
    """The service client in what a user passed as ``client=``."""
    if hasattr(client, "model_name") and hasattr(client, "generate_content_async"):
        return _service_of_model(client)
    method = getattr(client, "generate_content", None)
    if method is None or not hasattr(client, "stream_generate_content"):
        raise _wrong(f"not a {type(client).__name__}")
    if inspect.iscoroutinefunction(method):
        raise _wrong("whose calls block; async calls use it in threads")
    return client


def _wrong(why: str) -> ProviderError:
    return ProviderError(
        ErrorCode.BAD_REQUEST,
        f"client= takes a GenerativeServiceClient or a google.generativeai.GenerativeModel, {why}",
    )


_MODEL_SETTINGS = (
    "_system_instruction", "_generation_config", "_safety_settings", "_tools", "_tool_config",
    "_cached_content",
)  # fmt: skip


def _service_of_model(model: Any) -> Any:
    # A request says all of itself, so a model that would add to it cannot be obeyed silently.
    if found := [name[1:] for name in _MODEL_SETTINGS if getattr(model, name, None)]:
        raise ProviderError(
            ErrorCode.BAD_REQUEST,
            f"this GenerativeModel has settings of its own ({', '.join(found)}): "
            "put them into the request, and pass a model without them",
        )
    if getattr(model, "_client", None) is not None:
        return model._client
    from google.generativeai.client import get_default_generative_client

    return get_default_generative_client()


def translate(exc: BaseException) -> Exception | None:
    """An exception of the SDK's, or of requests beneath it, as what a transport raises."""
    name, home = type(exc).__name__, type(exc).__module__.partition(".")[0]
    if home == "requests":
        return _network_failure(exc)
    if home == "google":
        if name == "ParseError":
            return ProviderError(ErrorCode.MALFORMED, f"the answer is none: {exc}", cause=exc)
        return status_failure(exc) or _grpc_failure(exc)
    if isinstance(exc, UnicodeEncodeError):
        # Neither the value nor the exception that holds it is shown: it may be a key.
        return WireFailure("local", "a header has a character that cannot be sent")
    if isinstance(exc, ValueError) and str(exc).startswith("Unfinished stream"):
        return WireFailure("cut", "the answer ends inside an object", cause=exc)
    if isinstance(exc, ValueError) and str(exc).startswith("Can only parse array"):
        return ProviderError(ErrorCode.MALFORMED, str(exc)[:200], cause=exc)
    return None


def _network_failure(exc: BaseException) -> WireFailure:
    name = next(c.__name__ for c in type(exc).__mro__ if c.__name__ in KINDS)
    kind, phase = KINDS[name], None
    beneath = _urllib3_names(exc)
    if name == "ConnectionError" and beneath & _UNREACHED:
        kind = "connect"
    elif "ReadTimeoutError" in beneath:
        kind = "timeout"
    if kind == "timeout":
        phase = "connect" if name == "ConnectTimeout" else "total"
    message = f"{name}: the request could not be written as HTTP"
    if name == "InvalidHeader":  # its words repeat the value, which may be a key
        return WireFailure(kind, message)
    return WireFailure(kind, f"{name}: {exc}", cause=exc, phase=phase)


def _urllib3_names(exc: BaseException) -> set[str]:
    """The classes of what requests wraps: in its arguments, and in their reasons."""
    names: set[str] = set()
    waiting: list[Any] = list(exc.args)
    while waiting:
        item = waiting.pop()
        if isinstance(item, BaseException) and type(item).__name__ not in names:
            names.add(type(item).__name__)
            waiting += [*item.args, getattr(item, "reason", None)]
    return names


def _grpc_failure(exc: BaseException) -> Exception | None:
    """A ready client over gRPC: it has a status that stands for HTTP's, and words."""
    code = getattr(exc, "code", None)
    if not isinstance(code, int):
        return None
    if code == 504:
        return WireFailure("timeout", f"{type(exc).__name__}: {exc}", cause=exc, phase="total")
    status = getattr(getattr(exc, "grpc_status_code", None), "name", None)
    message = getattr(exc, "message", str(exc))
    body: Mapping[str, Any] = {"error": {"code": int(code), "message": message, "status": status}}
    return WireFailure("status", f"HTTP {int(code)}", status=int(code), body=body, cause=exc)
