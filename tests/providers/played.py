"""Providers whose calls are answered in this process by a function, and what they sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx

from crux_providers.base import ChatRequest, ProviderFactory
from crux_providers.base.provider import BaseProvider
from crux_providers.config.declaration import declarations
from tests.faults.wires import PRESENT, Wire

NAMES = tuple(declarations())
WIRES = {wire.dialect: wire for wire in PRESENT}

Answer = Callable[[httpx.Request], httpx.Response]


def wire_of(name: str) -> Wire:
    """The wire of the provider's default dialect."""
    return WIRES[declarations()[name].dialect]


def is_stream(request: httpx.Request) -> bool:
    """Whether the call asks for a stream."""
    return "streamGenerateContent" in request.url.path or json.loads(request.content).get(
        "stream", False
    )


def good(wire: Wire, text: str = "Hello there", **headers: str) -> Answer:
    """The dialect's answer with this text, whole or streamed as asked."""

    def answer(request: httpx.Request) -> httpx.Response:
        if is_stream(request):
            frames = b"".join((*wire.opening, wire.text(text), *wire.ending))
            return httpx.Response(
                200, content=frames, headers={"content-type": wire.content_type, **headers}
            )
        body = json.dumps(wire.whole).replace('"Hello there"', json.dumps(text))
        return httpx.Response(
            200, content=body, headers={"content-type": "application/json", **headers}
        )

    return answer


def refused(wire: Wire, status: int, **headers: str) -> Answer:
    """The dialect's error with this status."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: httpx.Response(status, json=wire.status_error, headers=headers)


class Played:
    """A provider over a function, and the requests that reached it."""

    def __init__(self, name: str, answer: Answer, **arguments: Any) -> None:
        self.requests: list[httpx.Request] = []

        def play(request: httpx.Request) -> httpx.Response:
            request.read()
            self.requests.append(request)
            return answer(request)

        base_url = "http://127.0.0.1:9/v1" if wire_of(name).dialect.startswith("openai") else None
        given = {
            "base_url": base_url or "http://127.0.0.1:9",
            "api_key": "k",
            "transport": httpx.MockTransport(play),
            **arguments,
        }
        self.provider: BaseProvider = ProviderFactory.create(name, **given)

    @property
    def bodies(self) -> list[Any]:
        """What was sent, as JSON."""
        return [json.loads(request.content) for request in self.requests]

    def call(self, how: str, request: ChatRequest) -> Any:
        """Call it ``whole`` or ``stream``, with ``a`` before it for async.

        The response, or of a stream the events; raises what a stream ends in.
        """
        match how:
            case "whole":
                return self.provider.chat(request)
            case "awhole":
                return asyncio.run(self.provider.achat(request))
            case "stream":
                controller = self.provider.stream_chat(request)
                events = list(controller)
                error = controller.error
            case _:
                events, error = asyncio.run(self._astream(request))
        if error is not None:
            raise error
        return events

    async def _astream(self, request: ChatRequest) -> Any:
        controller = self.provider.astream_chat(request)
        return [event async for event in controller], controller.error


HOWS = ("whole", "awhole", "stream", "astream")
