"""DeepSeek: a turn with tool calls needs its reasoning beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..base.models import ChatRequest
from ..base.provider import BaseOpenAIStyleProvider
from ..base.wire import WireRequest
from .declaration import DECLARATION, PLAIN_MODELS


class DeepSeekProvider(BaseOpenAIStyleProvider):
    """The DeepSeek provider; see :class:`crux_providers.base.provider.BaseProvider`."""

    declaration = DECLARATION

    def adjust(self, wire: WireRequest, request: ChatRequest) -> WireRequest:
        """Give turns with tool calls that have no reasoning an empty one.

        In thinking mode a turn with calls and no ``reasoning_content`` is a 400
        (api-docs.deepseek.com/guides/thinking_mode, read 2026-11-28), and a turn that another
        provider answered has none. An empty one is taken (recorded: deepseek/
        chat_reasoning_tools__pydantic-ai.yaml, the second request).
        """
        body = wire.body or {}
        messages = body.get("messages")
        if not isinstance(messages, list) or not _thinks(request.model or "", body):
            return wire
        return replace(wire, body={**body, "messages": [_with_reasoning(m) for m in messages]})


def _thinks(model: str, body: Mapping[str, Any]) -> bool:
    thinking = body.get("thinking")
    switch = thinking.get("type") if isinstance(thinking, Mapping) else None
    return switch == "enabled" or (switch is None and model not in PLAIN_MODELS)


def _with_reasoning(message: Any) -> Any:
    if not isinstance(message, dict) or not message.get("tool_calls"):
        return message
    return {"reasoning_content": "", **message}
