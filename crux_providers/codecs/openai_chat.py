"""The OpenAI chat completions dialect, as OpenAI and the many that follow it speak it.

Spoken by OpenAI, Azure OpenAI, OpenRouter, DeepSeek, xAI, Groq, Mistral, Together, Cerebras,
Hugging Face, Z.AI, Moonshot, Perplexity, Ollama's ``/v1`` and Gemini's OpenAI endpoint. What they
differ in is a value of :class:`Options`; no name of a provider decides anything here.

``wire_fields`` of an answer: the fields of the response by their own names (``created``,
``system_fingerprint``, ``citations``, ``annotations`` …), ``usage`` with what are no token counts
(costs, times), ``choice`` and ``message`` with the unknown fields of those, ``choices`` with the
choices after the first. Shapes are those of recorded sessions; what stands on a document or a
thread instead says so beside it.
"""

from __future__ import annotations

from .openai_chat_errors import CODES, PATTERNS, classify
from .openai_chat_models import models
from .openai_chat_parse import parse_request
from .openai_chat_render import (
    RenderState,
    render_error,
    render_event,
    render_response,
)
from .openai_chat_request import Options, encode
from .openai_chat_stream import Decoder, decode
from .openai_chat_tables import DIALECT, FINISH_REASONS

__all__ = [
    "CODES",
    "DIALECT",
    "FINISH_REASONS",
    "PATTERNS",
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
