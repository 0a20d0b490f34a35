"""Whole answers as LangChain messages; :mod:`chunks` gives the same in pieces.

An answer of text alone is a message with text content. Any other is a list of LangChain v1 content
blocks in wire order, each with its place in ``index``; a first part that is text stands there as
plain text, since a stream cannot take back what it has shown. What only the same dialect
understands lies in a block's ``extras`` (``signature``, ``data``, ``dialect``, ``provider``,
``extra``), in ``non_standard`` blocks, and, where LangChain has no block for it, in
``additional_kwargs["crux"]`` (see :data:`NOTES`), so that :mod:`messages` gives it back unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call

from crux_providers.base.models import ChatResponse, ContentPart, ToolCall, Usage, compact_json

NOTES = "crux"
"""The key in ``additional_kwargs``: ``tool_calls`` (by id: ``arguments`` as the model wrote them
where they are no compact JSON, ``after``, ``signature``, ``dialect``, ``provider``, ``extra``),
``text`` and ``refusal`` (the extras of the first text and of the refusal)."""

REFUSAL = "refusal"
"""The key in ``additional_kwargs`` that holds the words of a refusal."""

_INPUT_DETAILS = {"cached": "cache_read", "cache_write": "cache_creation", "audio_input": "audio"}
_OUTPUT_DETAILS = {"reasoning": "reasoning", "audio_output": "audio"}
BLOCK_TYPES = {"image": "image", "audio": "audio", "pdf": "file"}
"""LangChain's names of files by the type of a part."""


# -- whole answers --------------------------------------------------------------------------------


def to_ai_message(response: ChatResponse) -> AIMessage:
    """The answer as an AIMessage, with usage, metadata and all that its dialect wants back."""
    meta = response.meta
    more = meta.extra
    metadata = response_metadata(
        model_name=meta.model_name,
        finish_reason=response.finish_reason,
        crux=more.get("crux"),
        logprobs=more.get("logprobs"),
        response_id=meta.response_id,
        request_id=meta.request_id,
    )
    usage = usage_metadata(meta.usage)
    parts = response.parts
    if not response.tool_calls and (not parts or _plain(parts)):
        return AIMessage(content=response.text, response_metadata=metadata, usage_metadata=usage)
    content, kwargs, valid, invalid = _laid_out(parts, response.tool_calls)
    if not parts and response.text:
        content = response.text
    return AIMessage(
        content=content,
        additional_kwargs=kwargs,
        response_metadata=metadata,
        usage_metadata=usage,
        tool_calls=valid,
        invalid_tool_calls=invalid,
    )


def _plain(parts: Sequence[ContentPart]) -> bool:
    return len(parts) == 1 and parts[0].type == "text" and extras_of(parts[0]) is None


def _laid_out(
    parts: Sequence[ContentPart], calls: Sequence[ToolCall]
) -> tuple[str | list[Any], dict[str, Any], list[Any], list[Any]]:
    """Content, additional_kwargs, valid and invalid calls of an answer."""
    content: list[Any] = []
    refusals: list[str] = []
    notes = Notes()
    number = 0
    waiting = list(calls)
    begun = False  # whether anything came before the first block, as a stream would have shown it
    for place, part in enumerate(parts):
        while waiting and waiting[0].after is not None and waiting[0].after <= place:
            waiting.pop(0)
            number += 1
            begun = True
        if part.type == "refusal":
            refusals.append(part.text or "")
            notes.refusal = extras_of(part) or notes.refusal
            begun = begun or not content
            continue
        if part.type == "text" and not content:
            content.append(part.text or "")
            notes.text = extras_of(part)
        else:
            if not content and begun:
                content.append("")
            content.append(block_of(part, number))
        number += 1
    kwargs: dict[str, Any] = {}
    if refusals:
        kwargs[REFUSAL] = "".join(refusals)
    notes.calls = calls
    if noted := notes.as_mapping():
        kwargs[NOTES] = noted
    valid = [tool_call(name=c.name, args=dict(c.arguments), id=c.id) for c in calls if c.valid]
    invalid = [
        invalid_tool_call(name=c.name, args=c.raw_arguments, id=c.id) for c in calls if not c.valid
    ]
    if not content:
        return "", kwargs, valid, invalid
    if len(content) == 1 and isinstance(content[0], str):
        return content[0], kwargs, valid, invalid
    return content, kwargs, valid, invalid


def extras_of(part: ContentPart) -> dict[str, Any] | None:
    """What of ``part`` only its dialect understands, under the names of ContentPart."""
    found: dict[str, Any] = {}
    if part.signature is not None:
        found["signature"] = part.signature
    if part.data is not None and part.type == "reasoning":
        found["data"] = part.data
    if part.dialect is not None:
        found["dialect"] = part.dialect
    if part.provider is not None:
        found["provider"] = part.provider
    if part.name is not None:
        found["filename"] = part.name
    if part.extra is not None:
        found["extra"] = dict(part.extra)
    return found or None


def block_of(part: ContentPart, index: int) -> dict[str, Any]:
    """``part`` as a v1 content block at place ``index``; the whole of it, extras included."""
    block: dict[str, Any]
    match part.type:
        case "text":
            block = {"type": "text", "text": part.text or ""}
        case "reasoning":
            block = {"type": "reasoning"}
            if part.text is not None:
                block["reasoning"] = part.text
        case "raw":
            value: dict[str, Any] = {"dialect": part.dialect, "data": part.data}
            if part.provider is not None:
                value["provider"] = part.provider
            if part.extra is not None:
                value["extra"] = dict(part.extra)
            return {"type": "non_standard", "value": value, "index": index}
        case _:
            block = {"type": BLOCK_TYPES[part.type]}
            if part.data is not None:
                block["base64"] = part.data
            if part.url is not None:
                block["url"] = part.url
            if part.media_type is not None:
                block["mime_type"] = part.media_type
    extras = extras_of(part)
    if extras:
        block["extras"] = extras
    block["index"] = index
    return block


@dataclass(slots=True)
class Notes:
    """What goes under :data:`NOTES`, gathered while an answer is read."""

    text: dict[str, Any] | None = None
    refusal: dict[str, Any] | None = None
    calls: Sequence[ToolCall] = ()

    def as_mapping(self) -> dict[str, Any]:
        """What was gathered, without what is empty."""
        noted: dict[str, Any] = {}
        if self.text:
            noted["text"] = self.text
        if self.refusal:
            noted["refusal"] = self.refusal
        mixed = any(not c.valid for c in self.calls) and len(self.calls) > 1
        calls = {c.id: _call_notes(c) for c in self.calls if c.id}
        if not mixed:  # the order of valid and invalid calls among each other is worth keeping
            calls = {id_: note for id_, note in calls.items() if note}
        if calls:
            noted["tool_calls"] = calls
        return noted


def _call_notes(call: ToolCall) -> dict[str, Any]:
    note: dict[str, Any] = {}
    if call.valid and call.raw_arguments != compact_json(call.arguments):
        note["arguments"] = call.raw_arguments
    if call.after is not None:
        note["after"] = call.after
    if call.signature is not None:
        note["signature"] = call.signature
    if call.dialect is not None:
        note["dialect"] = call.dialect
    if call.provider is not None:
        note["provider"] = call.provider
    if call.extra is not None:
        note["extra"] = dict(call.extra)
    return note


def usage_metadata(usage: Usage | None) -> UsageMetadata | None:
    """LangChain's counts, or None where the provider gave none.

    Details LangChain has no word for stand in ``response_metadata["crux"]["attempts"]`` alone.
    """
    if usage is None or (usage.prompt is None and usage.completion is None and not usage.total):
        return None
    prompt, completion = usage.prompt or 0, usage.completion or 0
    counts = UsageMetadata(
        input_tokens=prompt,
        output_tokens=completion,
        total_tokens=usage.total if usage.total is not None else prompt + completion,
    )
    if usage.details:
        inputs = {w: usage.details[n] for n, w in _INPUT_DETAILS.items() if n in usage.details}
        outputs = {w: usage.details[n] for n, w in _OUTPUT_DETAILS.items() if n in usage.details}
        if inputs:
            counts["input_token_details"] = inputs  # type: ignore[typeddict-item]  # names from the table above
        if outputs:
            counts["output_token_details"] = outputs  # type: ignore[typeddict-item]  # names from the table above
    return counts


def response_metadata(
    *,
    model_name: str | None,
    finish_reason: str | None,
    crux: Mapping[str, Any] | None,
    logprobs: Sequence[Any] | None,
    response_id: str | None,
    request_id: str | None,
) -> dict[str, Any]:
    """``response_metadata`` of a message: only what is known stands in it."""
    found: dict[str, Any] = {}
    if model_name is not None:
        found["model_name"] = model_name
    if finish_reason is not None:
        found["finish_reason"] = finish_reason
    if crux is not None:
        found["crux"] = crux
    if logprobs:
        found["logprobs"] = {"content": list(logprobs)}
    if response_id is not None:
        found["id"] = response_id
    if request_id is not None:
        found["request_id"] = request_id
    return found
