"""Gemini's dialect: ``generateContent`` and ``streamGenerateContent``, of Vertex AI too.

``wire_fields`` of an answer: the body's fields by their own names (``createTime``,
``promptFeedback``), ``usageMetadata`` with the counts the vocabulary has no word for, ``candidate``
with the fields of the answer's candidate (``groundingMetadata``, ``citationMetadata``,
``safetyRatings``, ``finishMessage``, an unusual ``finishReason`` …), and ``candidates``, the
others where several were asked for. Sources: the references of both APIs (ai.google.dev/api and
cloud.google.com/vertex-ai/generative-ai/docs, read 2026-11-22) and recorded sessions.
"""

from __future__ import annotations

from .gemini_generate_answer import Decoder, decode, models
from .gemini_generate_errors import classify
from .gemini_generate_parse import parse_request
from .gemini_generate_parts import DIALECT, Options
from .gemini_generate_render import RenderState, render_error, render_event, render_response
from .gemini_generate_request import encode

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
