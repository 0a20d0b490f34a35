"""The Anthropic Messages dialect: ``POST /v1/messages``, whole and streamed, both sides of it.

Spoken by Anthropic, by Amazon Bedrock and Google Vertex AI through Anthropic's SDK, and by
compatible gateways. Reference: platform.claude.com/docs/en/api/messages (read 2026-11).

How it maps, where that is not plain:

- System and developer messages at the beginning are ``system``. Later ones stay in place on the
  models of :attr:`Options.inline_system` and move to the top elsewhere, which is said.
- Consecutive tool turns become one user message of ``tool_result`` blocks; what the user says next
  follows in the same message. A tool turn's ``extra`` are fields of its ``tool_result``.
- ``thinking`` and ``redacted_thinking`` are ``reasoning`` parts of this dialect and go back as
  they came; other dialects' reasoning is left out. ``ToolCall.after`` keeps the order.
- Blocks without a word in the vocabulary (server tools and their results, MCP, uploads) are
  ``raw`` parts, never tool calls. Citations, cache markers and other fields of a block are its
  part's ``extra``.
- A document's text source is a ``pdf`` part of media type ``text/plain``; a file id or content
  source stays in ``extra``. ``title`` is the part's ``name``.
- ``reasoning_budget`` is ``thinking``, ``reasoning_effort`` is ``output_config.effort``,
  ``json_schema`` is ``output_config.format``; ``top_k``, ``metadata``, ``container`` and the like
  go through ``extra``, beta names through ``extra["betas"]``.
- ``refusal`` finishes as ``content_filter``; the words of ``stop_details`` are the ``refusal``.
  ``pause_turn`` is ``other``, with the word itself in ``wire_fields["stop_reason"]``.
"""

from .anthropic_messages_answer import decode, models
from .anthropic_messages_blocks import DIALECT
from .anthropic_messages_errors import classify, render_error
from .anthropic_messages_render import RenderState, render_event
from .anthropic_messages_request import Options, encode
from .anthropic_messages_server import parse_request, render_response
from .anthropic_messages_stream import Decoder

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
