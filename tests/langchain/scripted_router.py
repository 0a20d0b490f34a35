"""A router whose answers are written down: what ChatCrux asks of one, without any provider."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from crux_providers.base.errors import ProviderError
from crux_providers.base.events import ChatStreamEvent, StreamFolder, ToolCallDelta
from crux_providers.base.models import ChatRequest, ChatResponse, Usage

Answer = Sequence[ChatStreamEvent] | ProviderError
"""The events of one answer, perhaps with an error as the last item, or an error at once."""

CRUX = {
    "route": "default",
    "provider": "lab",
    "model": "m-1",
    "cost_usd": 0.001,
    "attempts": [{"provider": "lab", "model": "m-1", "outcome": "success"}],
    "rejected": [],
    "rejected_count": 0,
    "degraded": [],
}


def text(*pieces: str, finish: str = "stop", usage: Usage | None = None) -> list[ChatStreamEvent]:
    """The events of an answer of text."""
    return [
        *(ChatStreamEvent(piece) for piece in pieces),
        ChatStreamEvent(usage=usage or Usage(3, 5, 8, {"cached": 1, "reasoning": 2})),
        ChatStreamEvent(finish_reason=finish),
    ]


def calls(*wanted: tuple[str, str, dict[str, Any]]) -> list[ChatStreamEvent]:
    """The events of an answer that calls tools: (id, name, arguments) each, in two pieces."""
    events = []
    for index, (id_, name, arguments) in enumerate(wanted):
        written = json.dumps(arguments, separators=(",", ":"))
        cut = len(written) // 2
        events += [
            ChatStreamEvent(tool_call=ToolCallDelta(index, id_, name)),
            ChatStreamEvent(tool_call=ToolCallDelta(index, arguments=written[:cut])),
            ChatStreamEvent(tool_call=ToolCallDelta(index, arguments=written[cut:])),
        ]
    return [
        *events,
        ChatStreamEvent(usage=Usage(3, 5)),
        ChatStreamEvent(finish_reason="tool_calls"),
    ]


class ScriptedRouter:
    """Gives the answers in order (the last one for ever) and keeps what it was asked."""

    def __init__(self, *answers: Any, profile: dict[str, Any] | None = None) -> None:
        self.answers = list(answers) or [text("hello")]
        self.asked: list[tuple[ChatRequest, str, Any]] = []
        self.open_streams = 0
        self.closed_streams = 0
        self.known = profile or {"tool_calling": True, "max_input_tokens": 1000}
        self.written = "d1"
        self.config = SimpleNamespace(
            providers={"lab": None, "other": None},
            source=SimpleNamespace(node=lambda: SimpleNamespace(data=lambda: {"version": 1})),
        )

    def digest(self, route: str = "default") -> str:
        return f"{self.written}-{route}"

    def profile(self, route: str = "default") -> dict[str, Any]:
        return {**self.known, "name": route, "not_a_profile_key": True}

    def _next(self, request: ChatRequest, route: str, options: Any) -> Any:
        self.asked.append((request, route, options))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def _whole(self, answer: Any, request: ChatRequest) -> ChatResponse:
        if isinstance(answer, ProviderError):
            raise answer
        folder = StreamFolder()
        for event in answer:
            if isinstance(event, ProviderError):
                raise event
            folder.add(event)
        folder.add(ChatStreamEvent(meta={"model_name": "m-1", "response_id": "r-1"}))
        return folder.response(
            provider="lab", response_format=request.response_format, extra={"crux": CRUX}
        )

    def generate(
        self, request: ChatRequest, route: str = "default", *, options: Any = None
    ) -> ChatResponse:
        return self._whole(self._next(request, route, options), request)

    async def agenerate(
        self, request: ChatRequest, route: str = "default", *, options: Any = None
    ) -> ChatResponse:
        return self._whole(self._next(request, route, options), request)

    def _events(self, answer: Any) -> Iterator[ChatStreamEvent]:
        if isinstance(answer, ProviderError):
            raise answer
        for event in answer:
            if isinstance(event, ProviderError):
                raise event
            yield event
        yield ChatStreamEvent(
            finish=True,
            meta={"crux": CRUX, "model_name": "m-1", "response_id": "r-1", "provider": "lab"},
        )

    def stream(
        self, request: ChatRequest, route: str = "default", *, options: Any = None
    ) -> Iterator[ChatStreamEvent]:
        answer = self._next(request, route, options)
        self.open_streams += 1
        try:
            yield from self._events(answer)
        finally:
            self.closed_streams += 1

    async def astream(
        self, request: ChatRequest, route: str = "default", *, options: Any = None
    ) -> AsyncIterator[ChatStreamEvent]:
        answer = self._next(request, route, options)
        self.open_streams += 1
        try:
            for event in self._events(answer):
                yield event
        finally:
            self.closed_streams += 1
