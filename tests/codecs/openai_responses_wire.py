"""Bodies and streams of the Responses dialect, written by hand for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from crux_providers.base.events import ChatStreamEvent
from crux_providers.base.wire import WireEvent
from crux_providers.codecs.openai_responses import Decoder

REFUSAL = {"type": "refusal", "refusal": "I would rather not."}


def text(said: str, **more: Any) -> dict[str, Any]:
    """A piece of an answer's message."""
    return {"type": "output_text", "text": said, "annotations": [], **more}


def message(*pieces: Any, id: str = "msg_1", **more: Any) -> dict[str, Any]:
    """A message item."""
    item = {"id": id, "type": "message", "status": "completed", "role": "assistant", **more}
    return {**item, "content": [text(p) if isinstance(p, str) else p for p in pieces]}


def reasoning(*summaries: str, id: str = "rs_1", **more: Any) -> dict[str, Any]:
    """A reasoning item with its summaries."""
    said = [{"type": "summary_text", "text": s} for s in summaries]
    return {"id": id, "type": "reasoning", "summary": said, **more}


def call(
    name: str = "f", arguments: str = "{}", *, call_id: str = "call_1", **more: Any
) -> dict[str, Any]:
    """A function call item."""
    item = {"id": "fc_1", "type": "function_call", "status": "completed", **more}
    return {**item, "call_id": call_id, "name": name, "arguments": arguments}


def response(*output: Any, **more: Any) -> dict[str, Any]:
    """A whole response around its items."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1770000000,
        "status": "completed",
        "model": "gpt-5-mini-2025-08-07",
        "output": list(output),
        "usage": {
            "input_tokens": 11,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 3},
            "total_tokens": 18,
        },
        **more,
    }


def streamed(body: dict[str, Any], pieces: int = 2) -> list[dict[str, Any]]:
    """The events that a provider sends for ``body``, each text in ``pieces`` deltas."""
    begun = {**body, "status": "in_progress", "output": [], "usage": None}
    events = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(body["output"]):
        events += _item(index, item, pieces)
    end = "incomplete" if body.get("status") == "incomplete" else "completed"
    events.append({"type": f"response.{end}", "response": body})
    return [{**event, "sequence_number": n} for n, event in enumerate(events)]


def _item(index: int, item: dict[str, Any], pieces: int) -> Iterator[dict[str, Any]]:
    at = {"output_index": index}
    begun = {**item, "status": "in_progress"}
    match item.get("type"):
        case "message":
            yield _added(index, {**begun, "content": []})
            for place, piece in enumerate(item["content"]):
                yield from _piece(index, item, "content", place, piece, pieces)
        case "reasoning":
            yield _added(index, {**begun, "summary": []})
            for name in ("summary", "content"):
                for place, piece in enumerate(item.get(name) or ()):
                    yield from _piece(index, item, name, place, piece, pieces)
        case "function_call" | "custom_tool_call" as kind:
            custom = kind == "custom_tool_call"
            name = "input" if custom else "arguments"
            event = "custom_tool_call_input" if custom else "function_call_arguments"
            yield _added(index, {**begun, name: ""})
            for piece in cut(item[name], pieces):
                yield {"type": f"response.{event}.delta", "delta": piece, **at}
            yield {"type": f"response.{event}.done", name: item[name], **at}
        case _:
            yield _added(index, begun)
    yield {"type": "response.output_item.done", "item": item, **at}


def _added(index: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


_EVENTS = {
    "output_text": ("output_text", "text"),
    "refusal": ("refusal", "refusal"),
    "reasoning_text": ("reasoning_text", "text"),
    "summary_text": ("reasoning_summary_text", "text"),
}


def _piece(
    index: int, item: dict[str, Any], name: str, place: int, piece: Any, pieces: int
) -> Iterator[dict[str, Any]]:
    at = {"output_index": index, "item_id": item.get("id"), f"{name}_index": place}
    part = "reasoning_summary_part" if name == "summary" else "content_part"
    if piece["type"] not in _EVENTS:
        yield {"type": f"response.{part}.added", "part": piece, **at}
        yield {"type": f"response.{part}.done", "part": piece, **at}
        return
    event, field = _EVENTS[piece["type"]]
    yield {"type": f"response.{part}.added", "part": {**piece, field: ""}, **at}
    for said in cut(piece[field], pieces):
        yield {"type": f"response.{event}.delta", "delta": said, **at}
    yield {"type": f"response.{event}.done", field: piece[field], **at}
    yield {"type": f"response.{part}.done", "part": piece, **at}


def cut(said: str, pieces: int) -> list[str]:
    """A text in ``pieces`` pieces or fewer, none of them empty."""
    size = max(1, -(-len(said) // pieces))
    return [said[n : n + size] for n in range(0, len(said), size)]


def wire(events: Iterable[Any]) -> list[WireEvent]:
    """Events as the framing hands them over; a string is a line as it stands."""
    return [WireEvent(e if isinstance(e, str) else json.dumps(e)) for e in events]


def feed(events: Iterable[Any], decoder: Decoder | None = None) -> list[ChatStreamEvent]:
    """What a decoder makes of the events of a whole stream."""
    decoder = decoder or Decoder()
    found = [event for one in wire(events) for event in decoder.feed(one)]
    return [*found, *decoder.finish()]
