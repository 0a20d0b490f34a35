"""Calls of the model inside the process, as its codec writes them."""

from __future__ import annotations

from typing import Any

from crux_providers.base.models import ChatRequest, Message
from crux_providers.base.wire import WireRequest
from crux_providers.codecs import openai_chat

QUESTION = "In one sentence: what is the capital of France?"
"""The model knows it."""

LONG = 400
"""Tokens of an answer that is left long before its end."""


def chat(text: str = QUESTION, **more: Any) -> ChatRequest:
    """A short question with a short answer."""
    fields: dict[str, Any] = {"model": "smollm2-135m", "max_tokens": 8, "temperature": 0} | more
    return ChatRequest(messages=[Message("user", text)], **fields)


def wire(streamed: bool, text: str = QUESTION, **more: Any) -> WireRequest:
    """The same as a transport gets it."""
    return openai_chat.encode(chat(text, **more), stream=streamed)


def endless(streamed: bool = True) -> WireRequest:
    """A call that writes until it is stopped."""
    return wire(
        streamed, "Count from one to a thousand.", max_tokens=LONG, extra={"ignore_eos": True}
    )
