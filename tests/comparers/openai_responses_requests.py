"""Recorded requests of the Responses dialect, read and written again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crux_providers.base.errors import ProviderError
from crux_providers.base.models import ChatRequest, ChatResponse, Message
from crux_providers.codecs import openai_responses as codec


def compare_request(body: Any, options: codec.Options) -> list[str]:
    """What a recorded body loses when it is parsed and encoded again, in words."""
    if body is None:
        return []
    try:
        request = codec.parse_request(body)
        stream = body.get("stream") is True
        again = codec.encode(request, stream=stream, options=options).body or {}
    except ProviderError as exc:
        return [f"decode: the request: {exc}"]
    words = []
    expected, found = canonical(body), canonical(again)
    for key in {*expected, *found}:
        if expected.get(key) != found.get(key):
            words.append(f"request {key}: {found.get(key)!r}, recorded {expected.get(key)!r}")
    if codec.parse_request(again) != request:
        words.append("parsed, encoded and parsed again, the request is another")
    return words


def canonical(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body with each choice of form made one way; what is left is what the provider reads."""
    made = {k: v for k, v in body.items() if not (k == "stream" and v is False)}
    given = made.get("input")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if given is not None:
        items = [_canonical_item(item) for item in given]
        after = [*(i["type"] for i in items[1:]), None]
        # An empty text before a call says nothing.
        made["input"] = [
            item
            for item, next_type in zip(items, after, strict=True)
            if not (_says_nothing(item) and next_type in ("function_call", "custom_tool_call"))
        ]
    if "tools" in made:
        made["tools"] = [{k: v for k, v in t.items() if v is not None} for t in made["tools"]]
    for name in ("include", "tools"):
        if name in made and not made[name]:
            del made[name]
    return made


def _says_nothing(item: Mapping[str, Any]) -> bool:
    return item.get("role") == "assistant" and all(
        piece == {"type": "output_text", "text": ""} for piece in item["content"]
    )


def _canonical_item(item: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(item)
    if "role" in made:
        made.setdefault("type", "message")
    kind = "output_text" if made.get("role") == "assistant" else "input_text"
    if made["type"] == "message" and isinstance(made["content"], str):
        made["content"] = [{"type": kind, "text": made["content"]}]
    if made["type"] == "reasoning":
        made = {k: v for k, v in made.items() if v or k == "summary"}
    return made


def compare_round(ours: ChatResponse) -> list[str]:
    """An answer sent back as history is the items it came as."""
    results = [Message("tool", "r", tool_call_id=call.id) for call in ours.tool_calls]
    request = ChatRequest("m", [ours.to_message(), *results, Message("user", "go on")])
    wire = codec.encode(request, stream=False)
    back = list((wire.body or {})["input"][: -1 - len(results)])
    given = list(codec.render_response(ours)["output"])
    while given and given[-1]["type"] == "reasoning":
        given.pop()
    for item in given:
        for piece in item.get("content") or () if item["type"] == "message" else ():
            piece.pop("logprobs", None)
    if back != (given or [{"role": "assistant", "content": ""}]):
        return [f"sent back, the items are {back!r}, not {given!r}"]
    return []
