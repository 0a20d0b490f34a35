"""The OpenAI Responses dialect: ``POST /responses``, whole and streamed, both sides of it.

Spoken by OpenAI, Azure OpenAI, OpenRouter, DeepSeek, xAI, LM Studio and others. Reference:
platform.openai.com/docs/api-reference/responses (read 2026-11).

How it maps, where that is not plain:

- One piece of content is one part. ``extra["item"]`` of a part holds the fields of the item around
  it (id, status, phase); a call's item fields are in ``ToolCall.extra``. Both go back as they came.
- A reasoning item is a reasoning part for each summary and each text of it; the first carries the
  encrypted content as ``data``. An item without a text is one part without a text. Other dialects'
  reasoning is left out, as is reasoning that nothing follows, which OpenAI refuses.
- ``ToolCall.id`` is ``call_id``. A custom tool's call has its input as ``raw_arguments`` and
  ``extra["type"] == "custom_tool_call"``; its result is written accordingly.
- All other items (web and file search, code, shell, computer, MCP, images, compaction) are ``raw``
  parts, never tool calls. Where such a part waits for the caller the answer still finishes as
  ``tool_calls``; its result is a ``raw`` part too.
- System and developer turns stay where they are, as input items. ``instructions`` of a parsed body
  becomes a leading system turn and goes back to its field.
- Commentary is text. A refusal is an answer and finishes as ``stop``.
- ``store`` is not sent unless ``extra`` or :attr:`Options.store` says it. Where it is false,
  encrypted reasoning is asked for.
- ``previous_response_id``, ``background``, ``reasoning.summary``, ``text.verbosity`` and the like
  go through ``extra``. A background response that is not over finishes as ``other``, with its
  ``status`` in ``wire_fields``.
- A malformed event does not end a stream whose final event repeats what it said.
"""

from .openai_chat_models import models
from .openai_chat_render import render_error
from .openai_responses_answer import decode
from .openai_responses_errors import classify
from .openai_responses_items import DIALECT
from .openai_responses_parse import parse_request
from .openai_responses_render import (
    RenderState,
    render_event,
    render_response,
    render_stream,
)
from .openai_responses_request import Options, encode
from .openai_responses_stream import Decoder

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
    "render_stream",
]
