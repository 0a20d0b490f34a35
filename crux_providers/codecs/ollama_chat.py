"""Ollama's own chat dialect: ``/api/chat``, whole as one JSON object, streamed as one a line.

``wire_fields`` of an answer: the fields of its (last) object by their own names (``created_at``,
``total_duration`` …), and ``message`` with the message's unknown ones. Sources: Ollama's API
reference (docs/api.md of its repository, read 2026-11-22) and recorded sessions.
"""

from __future__ import annotations

from .ollama_chat_answer import Decoder, classify, decode, models
from .ollama_chat_render import RenderState, render_error, render_event, render_response
from .ollama_chat_request import DIALECT, Options, encode, parse_request

__all__ = [
    "DIALECT",
    "Decoder",
    "Options",
    "RenderState",
    "classify",
    "decode",
    "encode",
    "models",
    "parse_request",
    "render_error",
    "render_event",
    "render_response",
]
