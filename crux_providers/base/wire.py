"""What crosses the seam between codecs and transports: plain frozen values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from .models import JSON

Framing = Literal["sse", "ndjson"]


@dataclass(frozen=True, slots=True)
class WireRequest:
    """One HTTP call as a dialect wants it, relative to the provider's base URL.

    ``path`` starts with ``/`` and may carry a query (``?alt=sse``). ``headers`` are the dialect's
    own (``anthropic-version``), never keys. ``degraded`` lists in words what of the request the
    dialect could not carry (empty: nothing was lost).
    """

    path: str
    body: Mapping[str, JSON] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    stream: bool = False
    framing: Framing = "sse"
    degraded: tuple[str, ...] = ()


class WireEvent(NamedTuple):
    """One event of a stream: ``name`` is the SSE event field where there was one.

    ``data`` is text as framed, bytes where it was no UTF-8, or JSON already parsed by an SDK.
    """

    data: Any
    name: str | None = None


@dataclass(frozen=True, slots=True)
class WireResponse:
    """A whole answer with a 2xx status: ``body`` is bytes, or JSON already parsed by an SDK."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider's calls go.

    ``headers`` carry authentication and are never shown. ``proxy``: None reads the environment's
    proxy variables, an URL uses that one, "" uses none. ``verify`` is True, False or the path of a
    CA bundle.
    """

    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy: str | None = field(default=None, repr=False)
    verify: bool | str = True
    api_key: str | None = field(default=None, repr=False)
