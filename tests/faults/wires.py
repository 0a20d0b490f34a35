"""Each dialect's wire, written by hand from its provider's documentation: the bytes of good and
broken answers, so that the fault table does not ask a codec about itself."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


def sse(data: Any, name: str | None = None) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {text}\n\n".encode()


def line(data: Any) -> bytes:
    return (data if isinstance(data, str) else json.dumps(data)).encode() + b"\n"


@dataclass(frozen=True)
class Wire:
    """``opening``: frames that carry no content (role, start); ``texts``: a frame for each piece
    of text; ``ending``: the proper end. ``error``: an error event. ``malformed``: a broken frame
    where content would be. ``whole``/``whole_empty``: bodies of whole answers."""

    dialect: str
    opening: Sequence[bytes]
    ending: Sequence[bytes]
    error: bytes
    malformed: bytes
    ping: bytes
    whole: Any
    whole_empty: Any
    status_error: Any
    content_type: str = "text/event-stream"
    skips_malformed: bool = False

    @property
    def ending_empty(self) -> Sequence[bytes]:
        """The proper end of an answer with no content (Responses repeats the whole in it)."""
        if self.dialect == "openai_responses":
            return [_rev("response.completed", response=_responses("completed", ""))]
        return self.ending

    @property
    def present(self) -> bool:
        return importlib.util.find_spec(f"crux_providers.codecs.{self.dialect}") is not None

    def text(self, piece: str) -> bytes:
        return _TEXT[self.dialect](piece)


def _openai(delta: Any, finish: str | None = None) -> Any:
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m-1",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def _gemini(parts: Any, finish: str | None = None) -> Any:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
        "modelVersion": "m-1",
    }


def _ollama(content: str, done: bool = False) -> Any:
    body: dict[str, Any] = {
        "model": "m-1",
        "created_at": "2026-01-01T00:00:00Z",
        "message": {"role": "assistant", "content": content},
        "done": done,
    }
    if done:
        body |= {"done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}
    return body


def _responses(status: str, text: str) -> Any:
    content = [{"type": "output_text", "text": text, "annotations": []}] if text else []
    item = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": content,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m-1",
        "status": status,
        "error": None,
        "incomplete_details": None,
        "output": [item] if text else [],
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
    }


def _rev(kind: str, **fields: Any) -> bytes:
    return sse({"type": kind, "sequence_number": 1, **fields}, kind)


_TEXT: dict[str, Any] = {
    "openai_chat": lambda t: sse(_openai({"content": t})),
    "anthropic_messages": lambda t: sse(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": t}},
        "content_block_delta",
    ),
    "openai_responses": lambda t: _rev(
        "response.output_text.delta", item_id="msg_1", output_index=0, content_index=0, delta=t
    ),
    "gemini_generate": lambda t: sse(_gemini([{"text": t}])),
    "ollama_chat": lambda t: line(_ollama(t)),
}

ANTHROPIC_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m-1",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 1},
}


def _anthropic_whole(content: Any) -> Any:
    usage = {"input_tokens": 3, "output_tokens": 2}
    return {**ANTHROPIC_MESSAGE, "content": content, "stop_reason": "end_turn", "usage": usage}


WIRES = [
    Wire(
        "openai_chat",
        opening=[sse(_openai({"role": "assistant", "content": ""}))],
        ending=[
            sse(_openai({}, "stop")),
            sse(
                {
                    **_openai({}),
                    "choices": [],
                    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
                }
            ),
            sse("[DONE]"),
        ],
        error=sse({"error": {"message": "boom", "type": "server_error", "code": None}}),
        malformed=sse('{"id": "c1", "choices": [{"delta": {"content": "x'),
        ping=b": ping\n\n",
        whole={
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": "m-1",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": "Hello there"},
                }
            ],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        },
        whole_empty={
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": "m-1",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": ""},
                }
            ],
            "usage": {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3},
        },
        status_error={"error": {"message": "no", "type": "x", "param": None, "code": None}},
    ),
    Wire(
        "anthropic_messages",
        opening=[
            sse({"type": "message_start", "message": ANTHROPIC_MESSAGE}, "message_start"),
            sse(
                {
                    "type": "content_block_start",
                    "index": 0,
                    "content_block": {"type": "text", "text": ""},
                },
                "content_block_start",
            ),
        ],
        ending=[
            sse({"type": "content_block_stop", "index": 0}, "content_block_stop"),
            sse(
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                    "usage": {"output_tokens": 2},
                },
                "message_delta",
            ),
            sse({"type": "message_stop"}, "message_stop"),
        ],
        error=sse(
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
            "error",
        ),
        malformed=sse('{"type": "content_block_delta", "index": 0, "del', "content_block_delta"),
        ping=sse({"type": "ping"}, "ping"),
        whole=_anthropic_whole([{"type": "text", "text": "Hello there"}]),
        whole_empty=_anthropic_whole([]),
        status_error={"type": "error", "error": {"type": "api_error", "message": "no"}},
    ),
    Wire(
        "openai_responses",
        opening=[
            _rev("response.created", response=_responses("in_progress", "")),
            _rev(
                "response.output_item.added",
                output_index=0,
                item={
                    "id": "msg_1",
                    "type": "message",
                    "role": "assistant",
                    "status": "in_progress",
                    "content": [],
                },
            ),
            _rev(
                "response.content_part.added",
                item_id="msg_1",
                output_index=0,
                content_index=0,
                part={"type": "output_text", "text": "", "annotations": []},
            ),
        ],
        ending=[_rev("response.completed", response=_responses("completed", "Hello there"))],
        error=_rev("error", code="server_error", message="boom", param=None),
        malformed=sse('{"type": "response.output_text.delta", "del', "response.output_text.delta"),
        ping=b": ping\n\n",
        whole=_responses("completed", "Hello there"),
        whole_empty=_responses("completed", ""),
        status_error={"error": {"message": "no", "type": "x", "param": None, "code": None}},
        skips_malformed=True,
    ),
    Wire(
        "gemini_generate",
        opening=[sse({"usageMetadata": {"promptTokenCount": 3}, "modelVersion": "m-1"})],
        ending=[sse(_gemini([{"text": ""}], "STOP"))],
        error=sse({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}),
        malformed=sse('{"candidates": [{"content": {"parts": [{"te'),
        ping=b": ping\n\n",
        whole=_gemini([{"text": "Hello there"}], "STOP"),
        whole_empty=_gemini([], "STOP"),
        status_error={"error": {"code": 500, "message": "no", "status": "INTERNAL"}},
    ),
    Wire(
        "ollama_chat",
        opening=[line(_ollama(""))],
        ending=[line(_ollama("", done=True))],
        error=line({"error": "boom"}),
        malformed=line('{"model": "m-1", "message": {"role": "assist'),
        ping=b"\n",
        whole={**_ollama("Hello there", done=True)},
        whole_empty={**_ollama("", done=True)},
        status_error={"error": "no"},
        content_type="application/x-ndjson",
    ),
]

CALL = {"city": "Oslo"}


def _anthropic_tool(at: int) -> list[bytes]:
    block = {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}
    piece = {"type": "input_json_delta", "partial_json": '{"city": '}
    return [
        sse(
            {"type": "content_block_start", "index": at, "content_block": block},
            "content_block_start",
        ),
        sse({"type": "content_block_delta", "index": at, "delta": piece}, "content_block_delta"),
    ]


ITEM = {"id": "fc_1", "type": "function_call", "call_id": "t1", "name": "weather", "arguments": ""}
TOOL_FRAMES: dict[str, list[bytes]] = {
    "openai_chat": [
        sse(
            _openai(
                {
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "t1",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city": '},
                        }
                    ]
                }
            )
        )
    ],
    "openai_responses": [
        _rev("response.output_item.added", output_index=1, item=ITEM),
        _rev(
            "response.function_call_arguments.delta",
            item_id="fc_1",
            output_index=1,
            delta='{"city": ',
        ),
    ],
    "anthropic_messages": _anthropic_tool(1),
    "gemini_generate": [sse(_gemini([{"functionCall": {"name": "weather", "args": CALL}}]))],
    "ollama_chat": [
        line(
            {
                **_ollama(""),
                "message": {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"function": {"name": "weather", "arguments": CALL}}],
                },
            }
        )
    ],
}
"""The beginning of a call to ``weather``: in most dialects its arguments are not complete."""

PRESENT = [w for w in WIRES if w.present]
