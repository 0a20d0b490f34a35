"""Request bodies of the OpenAI chat dialect: when two are the same to a provider.

Two request bodies are the same to a provider (:func:`canonical`) when they are equal as JSON after:

1. a field that is null is left out, as is ``stream: false``; ``stream_options.include_usage`` is
   ours to ask for;
2. ``max_completion_tokens`` reads ``max_tokens`` (OpenAI calls the latter its deprecated name);
3. ``stop: "x"`` reads ``stop: ["x"]``;
4. a content that is one plain text part reads that text; null and "" are one thing in an
   assistant turn;
5. ``image_url: "u"`` reads ``image_url: {"url": "u"}``;
6. a tool and a tool call without ``type`` are functions; a tool call's ``index`` is its position;
   a tool's empty ``parameters`` are none, as is an empty list of tools; arguments "" read "{}".

Nothing else is forgiven.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crux_providers.codecs import openai_chat as codec
from crux_providers.codecs.openai_chat import Options
from tests.recordings import Interaction

OPTIONS: Mapping[str, Options] = {
    "openrouter": Options(
        reasoning_field="reasoning_details", reasoning_request="reasoning", pdf_url=True
    ),
    "deepseek": Options(reasoning_field="reasoning_content"),
    "mistral": Options(
        reasoning_field="thinking",
        seed_field="random_seed",
        pdf_part="document_url",
        tool_id="[a-zA-Z0-9]{9}",
        tool_id_length=9,
    ),
    "ollama": Options(reasoning_field="reasoning"),
    "gemini": Options(reasoning_field="extra_content"),
    "zai": Options(reasoning_field="reasoning_content"),
}
"""The knobs each provider was recorded with; the others take the defaults."""


def compare_request(interaction: Interaction) -> list[str]:
    """The differences between a recorded body and what parsing and encoding makes of it."""
    body = interaction.request_body
    stream = bool(body.get("stream"))
    request = codec.parse_request(body)
    if len(request.messages) != len(body["messages"]) or "messages" in request.extra:
        return ["request: messages were not read"]
    if body.get("tools") and not request.tools:
        return ["request: tools were not read"]
    wire = codec.encode(
        request, stream=stream, options=OPTIONS.get(interaction.provider, Options())
    )
    words = [f"request degraded: {line}" for line in wire.degraded]
    return words + differences(canonical(body), canonical(wire.body), "request")


def canonical(body: Mapping[str, Any]) -> Any:
    """A request body in the one form of all those that a provider reads the same."""
    out = {k: v for k, v in body.items() if v is not None and (k, v) != ("stream", False)}
    options = out.pop("stream_options", None) or {}
    if rest := {k: v for k, v in options.items() if k != "include_usage"}:
        out["stream_options"] = rest
    if "max_completion_tokens" in out:
        out["max_tokens"] = out.pop("max_completion_tokens")
    if isinstance(out.get("stop"), str):
        out["stop"] = [out["stop"]]
    if not out.get("tools"):
        out.pop("tools", None)
    else:
        out["tools"] = [_canonical_tool(tool) for tool in out["tools"]]
    out["messages"] = [_canonical_message(m) for m in out["messages"]]
    return out


def _canonical_tool(tool: Mapping[str, Any]) -> Any:
    function = {k: v for k, v in tool.get("function", {}).items() if v not in (None, {})}
    return {"type": "function", **tool, "function": function}


def _canonical_message(message: Mapping[str, Any]) -> Any:
    out = {k: v for k, v in message.items() if v is not None}
    content = out.get("content")
    if isinstance(content, list):
        content = out["content"] = [_canonical_item(item) for item in content]
        if len(content) == 1 and content[0].keys() == {"type", "text"}:
            content = out["content"] = content[0]["text"]
    if out["role"] == "assistant" and not content:
        out.pop("content", None)
    if "tool_calls" in out:
        out["tool_calls"] = [
            _canonical_call(position, call) for position, call in enumerate(out["tool_calls"])
        ]
    return out


def _canonical_item(item: Mapping[str, Any]) -> Any:
    if isinstance(item.get("image_url"), str):
        return {**item, "image_url": {"url": item["image_url"]}}
    return dict(item)


def _canonical_call(position: int, call: Mapping[str, Any]) -> Any:
    out = {"type": "function", **call}
    if out.get("index") == position:
        del out["index"]
    if out["type"] == "function":
        out["function"] = {**out["function"], "arguments": out["function"]["arguments"] or "{}"}
    return out


def differences(a: Any, b: Any, path: str) -> list[str]:
    """Where two JSON values differ, by path."""
    if isinstance(a, dict) and isinstance(b, dict):
        words = []
        for key in [*a, *(k for k in b if k not in a)]:
            words += differences(a.get(key, "(absent)"), b.get(key, "(absent)"), f"{path}.{key}")
        return words
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return [w for i, (x, y) in pairs for w in differences(x, y, f"{path}[{i}]")]
    return [] if a == b else [f"{path}: {a!r:.200} != {b!r:.200}"]
