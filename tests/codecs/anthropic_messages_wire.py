"""Anthropic Messages as the API writes and takes it: bodies, streams, and the judges of a request.

Two judges besides our own eyes: the request types of Anthropic's SDK, and the rules its
documentation states, written down in :func:`broken_rules`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from anthropic.types.beta.message_create_params import MessageCreateParamsNonStreaming
from pydantic import TypeAdapter

from crux_providers.base.events import ChatStreamEvent
from crux_providers.base.models import (
    ChatRequest,
    Message,
    compact_json,
)
from crux_providers.base.wire import WireEvent
from crux_providers.codecs.anthropic_messages import (
    Decoder,
    Options,
    encode,
)

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 8).decode()
PYTHON = "def f():\n\tif True:\n        return '  ä '  \n\n"


def body_of(request: ChatRequest, **options: Any) -> dict[str, Any]:
    """The body of the encoded request, as its bytes say it, after both judges passed it."""
    wire = encode(request, stream=False, options=Options(**options))
    body: dict[str, Any] = json.loads(json.dumps(wire.body))
    whole(_sdk_type().validate_python(body))
    assert broken_rules(body) == []
    return body


def messages_of(*messages: Message, **options: Any) -> list[dict[str, Any]]:
    """The messages of the body, judged likewise."""
    found: list[dict[str, Any]] = body_of(ChatRequest("claude-x", messages), **options)["messages"]
    return found


def degraded(*messages: Message, **request: Any) -> tuple[str, ...]:
    """What the wire request says was lost."""
    return encode(ChatRequest("claude-x", messages, **request), stream=False).degraded


@cache
def _sdk_type() -> TypeAdapter[Any]:
    return TypeAdapter(MessageCreateParamsNonStreaming)


def whole(value: Any) -> Any:
    """Run through the lazily checked parts of what pydantic returned."""
    if isinstance(value, dict):
        return {k: whole(v) for k, v in value.items()}
    if hasattr(value, "__iter__") and not isinstance(value, (str, bytes)):
        return [whole(v) for v in value]
    return value


def broken_rules(body: dict[str, Any]) -> list[str]:
    """The documented rules of the API that ``body`` breaks."""
    broken = []
    seen: set[str] = set()
    open_calls: set[str] = set()
    for message in body["messages"]:
        content = message["content"]
        if not content:
            broken.append("empty content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        results = [b["type"] == "tool_result" for b in blocks]
        if any(late and not early for early, late in pairwise(results)):
            broken.append("a tool_result after other blocks")
        for block in blocks:
            match block["type"]:
                case "text" if not block["text"]:
                    broken.append("an empty text block")
                case "tool_use":
                    if not re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"]):
                        broken.append(f"tool_use id {block['id']!r}")
                    if block["id"] in seen:
                        broken.append(f"tool_use id {block['id']!r} twice")
                    seen.add(block["id"])
                    open_calls.add(block["id"])
                case "tool_result":
                    if block["tool_use_id"] not in open_calls:
                        broken.append(f"a result for {block['tool_use_id']!r}, which is not open")
                    open_calls.discard(block["tool_use_id"])
        if message["role"] == "user" and open_calls:
            broken.append(f"calls without results: {sorted(open_calls)}")
    return broken


def message(*content: Any, **fields: Any) -> dict[str, Any]:
    """A whole answer."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 5},
        **fields,
    }


def text(words: str, **fields: Any) -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": words, **fields}


def call(name: str = "f", **fields: Any) -> dict[str, Any]:
    """A tool_use block."""
    return {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": {}, **fields}


SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"q": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"url": "u"}]}
CITED = {"type": "web_search_result_location", "url": "u", "cited_text": "y"}


def streamed(body: dict[str, Any], pieces: int = 2) -> list[WireEvent]:
    """``body`` as the API streams it: blocks begin empty and grow by deltas."""
    events: list[dict[str, Any]] = []
    first = {**body["usage"], "output_tokens": 1}
    begun = {**body, "content": [], "stop_reason": None, "stop_sequence": None, "usage": first}
    moved = {k: begun.pop(k) for k in ("stop_details", "container") if k in begun}
    events.append({"type": "message_start", "message": begun})
    events.append({"type": "ping"})
    for index, block in enumerate(body["content"]):
        deltas: list[dict[str, Any]] = []
        begins = dict(block)
        match block["type"]:
            case "text":
                begins["text"] = ""
                if "citations" in block:
                    begins["citations"] = []
                for piece in cut(block["text"], pieces):
                    deltas.append({"type": "text_delta", "text": piece})
                for citation in block.get("citations") or ():
                    deltas.append({"type": "citations_delta", "citation": citation})
            case "thinking":
                begins.update(thinking="", signature="")
                for piece in cut(block["thinking"], pieces):
                    deltas.append({"type": "thinking_delta", "thinking": piece})
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
            case "tool_use" | "server_tool_use":
                begins["input"] = {}
                for piece in cut(compact_json(block["input"]), pieces):
                    deltas.append({"type": "input_json_delta", "partial_json": piece})
        events.append({"type": "content_block_start", "index": index, "content_block": begins})
        events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ends = {k: body[k] for k in ("stop_reason", "stop_sequence") if k in body}
    events.append({"type": "message_delta", "delta": {**ends, **moved}, "usage": body["usage"]})
    events.append({"type": "message_stop"})
    return [WireEvent(json.dumps(e), e["type"]) for e in events]


def cut(words: str, pieces: int) -> Iterator[str]:
    """``words`` in at most so many pieces."""
    size = -(-len(words) // pieces) or 1
    return (words[n : n + size] for n in range(0, len(words), size))


def feed(events: list[WireEvent]) -> list[ChatStreamEvent]:
    """The events of a stream that comes to its proper end."""
    decoder = Decoder()
    found = [e for event in events for e in decoder.feed(event)]
    assert decoder.complete
    assert decoder.ended
    return found + decoder.finish()
