"""What a request needs: capabilities, and its size in tokens. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from crux_providers.base.models import ChatRequest, Message

from .routes import CAPABILITIES

CHARS_PER_TOKEN = 4.0
"""Characters of a token where nobody has measured; text in most languages has 3 to 5."""
MESSAGE_TOKENS = 4
"""Tokens a turn costs besides its text."""
PART_TOKENS: Mapping[str, int] = MappingProxyType({"image": 1000, "pdf": 3000, "audio": 1000})
"""Rough size of a part that is no text; a provider's own count differs with its size."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a request needs: capabilities, and its size in tokens.

    ``input_tokens`` is an estimate, made from ``input_chars`` characters of text (None: the input
    is not text alone, or nobody counted), ``output_tokens`` what the caller allows (None: not
    said). ``tags`` are words that a candidate must carry.
    """

    streaming: bool = False
    json_output: bool = False
    json_schema: bool = False
    structured_streaming: bool = False
    tools: bool = False
    parallel_tools: bool = False
    tool_choice: bool = False
    vision: bool = False
    pdf: bool = False
    audio: bool = False
    reasoning: bool = False
    logprobs: bool = False
    input_tokens: int = 0
    output_tokens: int | None = None
    tags: frozenset[str] = frozenset()
    input_chars: int | None = None

    def words(self) -> tuple[str, ...]:
        """The capabilities needed, in the vocabulary's order."""
        return tuple(word for word in CAPABILITIES if getattr(self, word))

    def as_json(self) -> dict[str, Any]:
        """What is needed, without what is not."""
        return {
            "capabilities": list(self.words()),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            **({"tags": sorted(self.tags)} if self.tags else {}),
        }


def needs_of(
    request: ChatRequest, *, stream: bool, chars_per_token: float = CHARS_PER_TOKEN
) -> Needs:
    """What ``request`` needs; its size is estimated from characters, quickly."""
    tools = bool(request.tools) and request.tool_choice != "none"
    form = request.response_format
    structured = form in ("json_object", "json_schema")
    chars, flat, kinds = _size(request.messages)
    for tool in request.tools:
        # The length of the schema's repr is that of its JSON to within a few percent, and far
        # cheaper to get.
        chars += len(tool.name) + len(tool.description or "") + len(repr(tool.parameters))
    if request.json_schema is not None:
        chars += len(repr(request.json_schema))
    return Needs(
        streaming=stream,
        json_output=form == "json_object",
        json_schema=form == "json_schema",
        structured_streaming=stream and structured,
        tools=tools,
        parallel_tools=tools and bool(request.parallel_tool_calls),
        tool_choice=tools and request.tool_choice not in (None, "auto"),
        vision="image" in kinds,
        pdf="pdf" in kinds,
        audio="audio" in kinds,
        reasoning=request.reasoning_effort is not None or request.reasoning_budget is not None,
        logprobs=bool(request.logprobs or request.top_logprobs),
        input_tokens=int(chars / chars_per_token) + flat,
        output_tokens=request.max_tokens,
        input_chars=None if kinds else chars,
    )


def _size(messages: Sequence[Message]) -> tuple[int, int, set[str]]:
    """Characters of text, tokens beside it, and the kinds of part that are no text."""
    chars = 0
    flat = MESSAGE_TOKENS * len(messages)
    kinds: set[str] = set()
    for message in messages:
        content = message.content
        if isinstance(content, str):
            chars += len(content)
        else:
            for part in content:
                if part.type in PART_TOKENS:
                    kinds.add(part.type)
                    flat += PART_TOKENS[part.type]
                chars += len(part.text or "")
        for call in message.tool_calls:
            chars += len(call.name) + len(call.raw_arguments or "")
    return chars, flat, kinds
