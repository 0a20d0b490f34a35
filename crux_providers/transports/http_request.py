"""From a WireRequest and an endpoint to the HTTP request: URL, headers, body, and which pool."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import unquote_to_bytes

import httpx

from .. import __version__
from ..base.errors import WireFailure
from ..base.wire import Endpoint, WireRequest
from .http_call import Call
from .http_connections import PoolKey
from .http_content import ACCEPT_ENCODING, encode_json
from .http_environment import certificates, proxy_for

_PORTS = {"http": 80, "https": 443}
_ACCEPT = {"sse": b"text/event-stream, application/json", "ndjson": b"application/x-ndjson"}
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_UNSENDABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_MAX_URLS = 128


class RequestBuilder:
    """Builds the requests of one endpoint; what does not change from call to call is made once.

    Raises WireFailure(local) for a URL, a header or a body that cannot be sent, and not before
    there is something to send. No message holds a header's value.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._urls: dict[str, httpx.URL] = {}
        self._heads: dict[tuple[str, str, bool, str], bytes] = {}

    @cached_property
    def _base(self) -> httpx.URL:
        try:
            base = httpx.URL(self._endpoint.base_url)
        except (httpx.InvalidURL, ValueError) as exc:
            raise WireFailure("local", f"the base URL is none: {exc}", cause=exc) from exc
        if base.scheme not in _PORTS or not base.host:
            raise WireFailure("local", "the base URL needs http:// or https:// and a host")
        return base

    @cached_property
    def _headers(self) -> dict[bytes, bytes]:
        base = self._base
        headers = {b"user-agent": f"crux/{__version__}".encode()}
        if base.userinfo:
            userinfo = b":".join(unquote_to_bytes(part) for part in base.userinfo.split(b":", 1))
            headers[b"authorization"] = b"Basic " + base64.b64encode(userinfo)
        return headers | _encoded(self._endpoint.headers)

    def pool_key(self) -> PoolKey:
        """Which connections may serve this endpoint; reads the environment's proxies."""
        scheme, host = self._base.scheme, self._base.raw_host.decode("ascii")
        port = self._base.port or _PORTS[scheme]
        endpoint = self._endpoint
        proxy = proxy_for(scheme, host, port, endpoint.proxy)
        secure = scheme == "https" or (proxy is not None and proxy.startswith("https:"))
        return PoolKey(scheme, host, port, proxy, certificates(secure and endpoint.verify))

    def build(self, request: WireRequest, timeouts: Mapping[str, Any]) -> httpx.Request:
        """The request, with ``timeouts`` as its timeout extension."""
        headers, body = self._headers_of(request), self._body_of(request)
        if body or request.method not in ("GET", "HEAD"):
            headers[b"content-length"] = b"%d" % len(body)
        return httpx.Request(
            request.method,
            self._urls.get(request.path) or self._url(request.path),
            headers=list(headers.items()),
            stream=httpx.ByteStream(body),
            extensions={"timeout": timeouts},
        )

    def written(self, request: WireRequest) -> bytes:
        """The request as HTTP/1.1 writes it, head and body."""
        body = self._body_of(request)
        kind = (request.method, request.path, request.stream, request.framing)
        head = None if request.headers else self._heads.get(kind)
        if head is None:
            url = self._urls.get(request.path) or self._url(request.path)
            lines = [b"%s: %s\r\n" % header for header in self._headers_of(request).items()]
            start = b"%s %s HTTP/1.1\r\n" % (request.method.encode("ascii"), url.raw_path)
            head = b"".join((start, *lines))
            if not request.headers and len(self._heads) < _MAX_URLS:
                self._heads[kind] = head
        if body or request.method not in ("GET", "HEAD"):
            return b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body)
        return head + b"\r\n"

    def _headers_of(self, request: WireRequest) -> dict[bytes, bytes]:
        """All headers but the body's length."""
        headers = {
            b"host": self._base.netloc,
            b"accept": _ACCEPT[request.framing] if request.stream else b"application/json",
            # A packed stream comes in the packer's pieces, not the model's.
            b"accept-encoding": b"identity" if request.stream else ACCEPT_ENCODING.encode(),
            **self._headers,
        }
        if request.body is not None:
            headers[b"content-type"] = b"application/json"
        if request.headers:
            headers.update(_encoded(request.headers))
        return headers

    def _body_of(self, request: WireRequest) -> bytes:
        return b"" if request.body is None else encode_json(request.body)

    def _url(self, full_path: str) -> httpx.URL:
        base_path, _, base_query = self._base.raw_path.decode("ascii").partition("?")
        path, _, query = full_path.partition("?")
        joined = base_path.rstrip("/") + path
        if queries := "&".join(part for part in (base_query, query) if part):
            joined += f"?{queries}"
        try:
            url = httpx.URL(f"{self._base.scheme}://{self._base.netloc.decode('ascii')}{joined}")
        except (httpx.InvalidURL, ValueError) as exc:
            raise WireFailure("local", f"the path makes no URL: {exc}", cause=exc) from exc
        if len(self._urls) < _MAX_URLS:
            self._urls[full_path] = url
        return url


def _encoded(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    encoded: dict[bytes, bytes] = {}
    for name, value in headers.items():
        if _TOKEN.fullmatch(name) is None:
            raise WireFailure("local", f"the header name {name!r} cannot be sent")
        try:
            raw = value.strip(" \t").encode("latin-1")
        except UnicodeEncodeError:
            raw = b"\n"
        if _UNSENDABLE.search(raw):
            # Neither the value nor the exception that holds it is shown: it may be a key.
            raise WireFailure("local", f"the header {name!r} has a character that cannot be sent")
        if (lowered := name.lower().encode("ascii")) not in _FRAMING:  # that is the body's to say
            encoded[lowered] = raw
    return encoded


def own_timeouts(call: Call) -> dict[str, Call]:
    """The timeout extension that our own backend reads."""
    return {"connect": call, "read": call, "write": call}


def plain_timeouts(call: Call) -> dict[str, float | None]:
    """The timeout extension for a transport of the user's: the limits as they are now."""
    seconds = call.left()
    connect = call.left(connecting=True)
    return {"connect": connect, "pool": connect, "read": seconds, "write": seconds}
