"""The events of a stream, and how they fold into a whole answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from .models import (
    JSON,
    ChatResponse,
    ContentPart,
    ProviderMetadata,
    ToolCall,
    Usage,
    parse_structured,
)


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call: ``arguments`` is text to append; id and name come once.

    ``index`` numbers the answer's tool calls from 0 in the order they begin.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    signature: str | None = None
    dialect: str | None = None
    extra: Mapping[str, JSON] | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ChatStreamEvent:
    """One event of a stream; exactly one with ``finish=True`` ends it.

    ``delta``, ``reasoning`` and ``refusal`` are text to append; ``tool_call`` a piece of a call.
    ``part`` is a whole part that has no deltas (image, raw item, redacted reasoning), or, when its
    ``block`` was already begun by deltas, what completes that part (signature, data, extra).
    ``block`` tells parts of one type apart: another number begins another part. ``usage`` replaces
    what came before it. ``meta`` may hold response_id, model_name, request_id, logprobs (a list
    to extend) and wire_fields. On the terminal event ``error`` is None or ``"<code>:<message>"``.
    """

    delta: str | None = None
    reasoning: str | None = None
    tool_call: ToolCallDelta | None = None
    usage: Usage | None = None
    structured: JSON = None
    finish_reason: str | None = None
    finish: bool = False
    error: str | None = None
    refusal: str | None = None
    part: ContentPart | None = None
    block: int | None = None
    meta: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        named = ((f.name, getattr(self, f.name)) for f in fields(self))
        said = (f"{name}={v!r}" for name, v in named if v is not None and v is not False)
        return f"ChatStreamEvent({', '.join(said)})"

    @property
    def commits(self) -> bool:
        """Whether the event carries content (a role chunk, ping or usage does not)."""
        return bool(
            self.delta
            or self.reasoning
            or self.tool_call is not None
            or self.refusal
            or (
                self.part is not None
                # A reasoning item that hides its words says nothing yet, and may still fall over.
                and (self.part.type not in ("text", "reasoning") or bool(self.part.text))
            )
        )


@dataclass(slots=True)
class _OpenPart:
    type: str
    block: int | None
    pieces: list[str] = field(default_factory=list)
    done: ContentPart | None = None

    def build(self) -> ContentPart:
        text = "".join(self.pieces)
        if self.done is None:
            return ContentPart(self.type, text)
        return replace(self.done, text=text) if self.pieces else self.done


@dataclass(slots=True)
class _OpenCall:
    after: int
    id: str | None = None
    name: str | None = None
    pieces: list[str] = field(default_factory=list)
    signature: str | None = None
    dialect: str | None = None
    extra: dict[str, JSON] = field(default_factory=dict)


class StreamFolder:
    """Folds events into the answer they spell; cheap to feed, built only when asked.

    >>> folder = StreamFolder()
    >>> for event in events: folder.add(event)
    >>> folder.response()
    """

    __slots__ = (
        "_calls",
        "_finish",
        "_logprobs",
        "_meta",
        "_parts",
        "_structured",
        "_usage",
        "_wire",
    )

    def __init__(self) -> None:
        self._parts: list[_OpenPart] = []
        self._calls: dict[int, _OpenCall] = {}
        self._usage: Usage | None = None
        self._finish: str | None = None
        self._structured: JSON = None
        self._meta: dict[str, Any] = {}
        self._logprobs: list[Any] = []
        self._wire: dict[str, Any] = {}

    def add(self, event: ChatStreamEvent) -> None:
        """Take one event; the terminal event adds nothing but what it carries."""
        if event.delta:
            self._text("text", event.delta, event.block)
        if event.reasoning:
            self._text("reasoning", event.reasoning, event.block)
        if event.refusal:
            self._text("refusal", event.refusal, event.block)
        if event.part is not None:
            self._part(event.part, event.block)
        if event.tool_call is not None:
            self._call(event.tool_call)
        if event.usage is not None:
            self._usage = event.usage
        if event.finish_reason is not None:
            self._finish = event.finish_reason
        if event.structured is not None:
            self._structured = event.structured
        if event.meta:
            self._take_meta(event.meta)

    def _text(self, kind: str, text: str, block: int | None) -> None:
        last = self._parts[-1] if self._parts else None
        if (
            last is not None
            and last.type == kind
            and last.block == block
            and (last.done is None or block is not None)
        ):
            last.pieces.append(text)
            return
        if block is not None:
            for part in self._parts:
                if part.block == block and part.type == kind:
                    part.pieces.append(text)
                    return
        self._parts.append(_OpenPart(kind, block, [text]))

    def _part(self, part: ContentPart, block: int | None) -> None:
        if block is not None:
            for opened in self._parts:
                if opened.block == block and opened.type == part.type:
                    opened.done = part
                    return
        self._parts.append(_OpenPart(part.type, block, [], part))

    def _call(self, piece: ToolCallDelta) -> None:
        call = self._calls.get(piece.index)
        if call is None:
            call = self._calls[piece.index] = _OpenCall(after=len(self._parts))
        call.id = call.id or piece.id
        call.name = call.name or piece.name
        if piece.arguments:
            call.pieces.append(piece.arguments)
        call.signature = piece.signature or call.signature
        call.dialect = piece.dialect or call.dialect
        if piece.extra:
            call.extra.update(piece.extra)

    def _take_meta(self, meta: Mapping[str, Any]) -> None:
        for key, value in meta.items():
            if value is None:
                continue
            if key == "logprobs":
                self._logprobs.extend(value)
            elif key == "wire_fields":
                self._wire.update(value)
            else:
                self._meta[key] = value

    @property
    def usage(self) -> Usage | None:
        """The latest usage seen."""
        return self._usage

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the events said of the call besides the answer (ids, degraded, headers)."""
        return self._meta

    def parts(self) -> tuple[ContentPart, ...]:
        """The parts so far, in wire order."""
        return tuple(p.build() for p in self._parts)

    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls so far, in the order they began; unfinished arguments stay as text."""
        total = len(self._parts)
        return tuple(
            ToolCall.from_text(
                c.id or "",
                c.name or "",
                "".join(c.pieces),
                after=None if c.after >= total else c.after,
                signature=c.signature,
                dialect=c.dialect,
                extra=c.extra or None,
            )
            for _, c in sorted(self._calls.items())
        )

    def response(
        self,
        *,
        provider: str = "",
        response_format: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> ChatResponse:
        """The answer the events spell; ``response_format`` lets it parse ``structured``."""
        parts, calls = self.parts(), self.tool_calls()
        text = "".join(p.text or "" for p in parts if p.type == "text")
        structured = self._structured
        if structured is None:
            structured = parse_structured(text, response_format)
        more: dict[str, Any] = dict(extra or {})
        usage = self._usage or Usage()
        more["token_usage"] = usage.tokens
        if usage.details:
            more["token_usage_details"] = dict(usage.details)
        if self._logprobs:
            more["logprobs"] = list(self._logprobs)
        if self._wire:
            more["wire_fields"] = dict(self._wire)
        meta = ProviderMetadata(
            provider=provider,
            model_name=self._meta.get("model_name"),
            request_id=self._meta.get("request_id"),
            response_id=self._meta.get("response_id"),
            extra=more,
        )
        return ChatResponse.build(
            parts, calls, finish_reason=self._finish, structured=structured, meta=meta
        )


def fold(events: Iterable[ChatStreamEvent], *, response_format: str | None = None) -> ChatResponse:
    """The answer that ``events`` spell."""
    folder = StreamFolder()
    for event in events:
        folder.add(event)
    return folder.response(response_format=response_format)


def usage_fields(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a provider's ``usage`` says besides counts (costs, times), as codecs keep it in meta."""
    fields = meta.get("wire_fields")
    usage = fields.get("usage") if isinstance(fields, Mapping) else None
    return usage if isinstance(usage, Mapping) else {}
