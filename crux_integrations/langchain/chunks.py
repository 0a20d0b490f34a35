"""Streams as LangChain chunks, whose sum is the message of the whole answer.

Chunks of text alone are the many, so they are made without pydantic's validation; see
:func:`quick_chunk`. LangChain joins what several chunks say under one key, so model name, finish
reason, usage and ``crux`` stand on the last one alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

from crux_providers.base.events import ChatStreamEvent, ToolCallDelta
from crux_providers.base.models import ContentPart, ToolCall, Usage

from .answers import (
    NOTES,
    REFUSAL,
    Notes,
    block_of,
    extras_of,
    response_metadata,
    usage_metadata,
)

_new_message = AIMessageChunk.__new__
_new_generation = ChatGenerationChunk.__new__
_put = object.__setattr__


def quick_chunk(
    content: str | list[Any], metadata: Mapping[str, Any] | None = None
) -> ChatGenerationChunk:
    """A chunk of content alone, equal to the validated one at about a third of its cost.

    Writes what pydantic would have written; a test holds both equal, attribute by attribute.
    """
    message = _new_message(AIMessageChunk)
    _put(
        message,
        "__dict__",
        {
            "content": content,
            "additional_kwargs": {},
            "response_metadata": dict(metadata) if metadata else {},
            "type": "AIMessageChunk",
            "name": None,
            "id": None,
            "tool_calls": [],
            "invalid_tool_calls": [],
            "usage_metadata": None,
            "tool_call_chunks": [],
            "chunk_position": None,
        },
    )
    _put(
        message,
        "__pydantic_fields_set__",
        {"content", "response_metadata"} if metadata else {"content"},
    )
    _put(message, "__pydantic_extra__", {})
    _put(message, "__pydantic_private__", None)
    generation = _new_generation(ChatGenerationChunk)
    text = content if isinstance(content, str) else message.text
    _put(
        generation,
        "__dict__",
        {"text": text, "generation_info": None, "type": "ChatGenerationChunk", "message": message},
    )
    _put(generation, "__pydantic_fields_set__", {"message", "text"})
    _put(generation, "__pydantic_extra__", None)
    _put(generation, "__pydantic_private__", None)
    return generation


_TOLD: Mapping[str, Mapping[str, str]] = {"text": {"text": ""}, "reasoning": {}}
"""Parts that come in pieces, with what a block of the type has to have. Their extras are said at
the end, since a decoder may complete a part more than once and LangChain would join the two."""


@dataclass(slots=True)
class _OpenPart:
    """A part begun in the stream; mirrors how base.events.StreamFolder tells parts apart."""

    type: str
    block: int | None
    number: int
    as_text: bool = False
    done: bool = False
    extras: dict[str, Any] | None = None


@dataclass(slots=True)
class _OpenCall:
    number: int
    after: int
    id: str | None = None
    name: str | None = None
    pieces: list[str] = field(default_factory=list)
    signature: str | None = None
    dialect: str | None = None
    provider: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


class ChunkStream:
    """Turns the events of one stream into chunks; their sum is :func:`to_ai_message` of the whole.

    ``feed`` gives the chunks of an event (mostly one, none for what carries no content). The event
    with ``finish=True`` gives the last chunk, the only one with usage, model name, finish reason
    and ``crux``; ``finished`` is true after it. With ``blocks`` chunks are in LangChain's output
    v1 and say so: otherwise it would number some blocks anew, with places that are taken.
    """

    __slots__ = (
        "_blocks", "_calls", "_finish", "_last", "_listed", "_logprobs", "_meta", "_notes",
        "_number", "_parts", "_usage", "_version", "finished",
    )  # fmt: skip

    def __init__(self, *, blocks: bool = False) -> None:
        self._parts: list[_OpenPart] = []
        self._calls: dict[int, _OpenCall] = {}
        self._last: _OpenPart | None = None
        self._number = 0
        self._blocks = blocks
        self._listed = blocks
        self._version = {"output_version": "v1"} if blocks else None
        self._notes = Notes()
        self._usage: Usage | None = None
        self._finish: str | None = None
        self._meta: dict[str, Any] = {}
        self._logprobs: list[Any] = []
        self.finished = False

    def feed(self, event: ChatStreamEvent) -> Sequence[ChatGenerationChunk]:
        """The chunks of ``event``."""
        delta = event.delta
        if event.usage is not None:
            self._usage = event.usage
        if event.finish_reason is not None:
            self._finish = event.finish_reason
        if event.meta is not None:
            self._take_meta(event.meta)
        if (
            event.reasoning is None
            and event.tool_call is None
            and event.part is None
            and event.refusal is None
            and not event.finish
        ):
            return (self._chunk(self._content("text", delta, event.block)),) if delta else ()
        return self._mixed(event)

    def _mixed(self, event: ChatStreamEvent) -> list[ChatGenerationChunk]:
        chunks = []
        if event.delta:
            chunks.append(self._chunk(self._content("text", event.delta, event.block)))
        if event.reasoning:
            chunks.append(self._chunk(self._content("reasoning", event.reasoning, event.block)))
            if event.provider is not None:
                told = self._find("reasoning", event.block)
                told.extras = told.extras or {"provider": event.provider}
        if event.refusal:
            self._find("refusal", event.block)
            chunks.append(self._beside({REFUSAL: event.refusal}))
        if event.part is not None:
            chunks.extend(self._part(event.part, event.block))
        if event.tool_call is not None:
            chunks.append(self._call(event.tool_call))
        if event.finish:
            chunks.append(self._end())
        return chunks

    def _chunk(self, content: str | list[Any]) -> ChatGenerationChunk:
        return quick_chunk(content, self._version)

    # -- parts ------------------------------------------------------------------------------------

    def _find(self, kind: str, block: int | None) -> _OpenPart:
        """The open part that text of ``kind`` belongs to; begins one where there is none."""
        last = self._last
        if (
            last is not None
            and last.type == kind
            and last.block == block
            and (not last.done or block is not None)
        ):
            return last
        if block is not None:
            for part in self._parts:
                if part.block == block and part.type == kind:
                    return part
        return self._begin(kind, block)

    def _begin(self, kind: str, block: int | None) -> _OpenPart:
        first_text = (
            kind == "text" and not self._blocks and all(p.type == "refusal" for p in self._parts)
        )
        part = _OpenPart(kind, block, self._number, as_text=first_text)
        if kind != "refusal":
            self._number += 1
            self._listed = self._listed or not first_text
        self._parts.append(part)
        self._last = part
        return part

    def _content(self, kind: str, text: str, block: int | None) -> str | list[Any]:
        part = self._find(kind, block)
        if kind == "text":
            if part.as_text and not self._listed:
                return text
            if part.as_text:  # its place is taken: the rest of it stands as a block of its own
                part.type = "shown"
                part = self._begin(kind, block)
            return [{"type": "text", "text": text, "index": part.number}]
        return [{"type": "reasoning", "reasoning": text, "index": part.number}]

    def _part(self, part: ContentPart, block: int | None) -> list[ChatGenerationChunk]:
        opened = None
        if block is not None:
            for known in self._parts:
                if known.block == block and known.type == part.type:
                    opened = known
                    break
        if opened is not None:
            self._complete(opened, part)
            return []
        begun = self._begin(part.type, block)
        begun.done = True
        if part.type == "refusal":
            self._notes.refusal = extras_of(part) or self._notes.refusal
            return [self._beside({REFUSAL: part.text})] if part.text else []
        if begun.as_text:
            self._notes.text = extras_of(part)
            return [self._chunk(part.text)] if part.text else []
        content = block_of(part, begun.number)
        if part.type in _TOLD:
            begun.extras = content.pop("extras", None)
        return [self._chunk([content])]

    def _complete(self, opened: _OpenPart, part: ContentPart) -> None:
        opened.done = True
        extras = extras_of(part)
        if part.type == "refusal":
            self._notes.refusal = extras or self._notes.refusal
        elif opened.as_text:
            self._notes.text = extras
        elif part.type in _TOLD:
            opened.extras = extras

    def _completions(self) -> list[Any]:
        """The extras of the told blocks, each under its block's place."""
        return [
            {"type": p.type, **_TOLD[p.type], "extras": p.extras, "index": p.number}
            for p in self._parts
            if p.extras
        ]

    # -- calls ------------------------------------------------------------------------------------

    def _call(self, piece: ToolCallDelta) -> ChatGenerationChunk:
        call = self._calls.get(piece.index)
        if call is None:
            call = self._calls[piece.index] = _OpenCall(self._number, len(self._parts))
            self._number += 1
        id_ = piece.id if call.id is None and piece.id else None
        name = piece.name if call.name is None and piece.name else None
        call.id = call.id or id_
        call.name = call.name or name
        if piece.arguments:
            call.pieces.append(piece.arguments)
        call.signature = piece.signature or call.signature
        call.dialect = piece.dialect or call.dialect
        call.provider = piece.provider or call.provider
        if piece.extra:
            call.extra.update(piece.extra)
        chunk = tool_call_chunk(name=name, args=piece.arguments, id=id_, index=call.number)
        message = AIMessageChunk(
            content=[dict(chunk)] if self._blocks else self._nothing(),
            tool_call_chunks=[chunk],
            response_metadata=self._version or {},
        )
        return ChatGenerationChunk(message=message)

    def _whole_calls(self) -> list[ToolCall]:
        total = len(self._parts)
        return [
            ToolCall.from_text(
                c.id or "",
                c.name or "",
                "".join(c.pieces),
                after=None if c.after >= total else c.after,
                signature=c.signature,
                dialect=c.dialect,
                extra=c.extra or None,
                provider=c.provider,
            )
            for _, c in sorted(self._calls.items())
        ]

    # -- the rest ---------------------------------------------------------------------------------

    def _nothing(self) -> str | list[Any]:
        return [] if self._listed else ""

    def _beside(self, kwargs: dict[str, Any]) -> ChatGenerationChunk:
        message = AIMessageChunk(
            content=self._nothing(),
            additional_kwargs=kwargs,
            response_metadata=self._version or {},
        )
        return ChatGenerationChunk(message=message)

    def _take_meta(self, meta: Mapping[str, Any]) -> None:
        for key, value in meta.items():
            if key == "logprobs":
                self._logprobs.extend(value or ())
            elif value is not None:
                self._meta[key] = value

    def _end(self) -> ChatGenerationChunk:
        self.finished = True
        if self._calls:
            self._notes.calls = self._whole_calls()
        noted = self._notes.as_mapping()
        meta = self._meta
        message = AIMessageChunk(
            content=self._completions() or self._nothing(),
            additional_kwargs={NOTES: noted} if noted else {},
            response_metadata={
                **(self._version or {}),
                **response_metadata(
                    model_name=meta.get("model_name"),
                    finish_reason=self._finish,
                    crux=meta.get("crux"),
                    logprobs=self._logprobs,
                    response_id=meta.get("response_id"),
                    request_id=meta.get("request_id"),
                ),
            },
            usage_metadata=usage_metadata(self._usage),
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message)
