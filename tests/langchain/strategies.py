"""Streams of events as hypothesis strategies: parts and calls in any order, cut in any pieces."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from crux_providers.base.events import ChatStreamEvent, ToolCallDelta
from crux_providers.base.models import ContentPart, Usage

words = st.text(max_size=12)
said = st.text(min_size=1, max_size=12)
dialects = st.sampled_from(["openai_chat", "anthropic_messages", "gemini_generate"])
extras = st.dictionaries(
    st.sampled_from(["a", "citations", "n"]), st.integers(), min_size=1, max_size=2
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(said, json_values, max_size=3)


def _cut(draw: Any, text: str) -> list[str]:
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@st.composite
def marks(draw: Any, kind: str) -> ContentPart | None:
    """What completes a part of text or reasoning: its signature, data, extra; None for nothing."""
    if draw(st.booleans()):
        return None
    return ContentPart(
        kind,
        signature=draw(st.none() | said),
        dialect=draw(dialects),
        extra=draw(st.none() | extras),
    )


@st.composite
def part_events(draw: Any, block: int | None) -> list[ChatStreamEvent]:
    """The events of one part."""
    kind = draw(
        st.sampled_from(["text", "text", "reasoning", "refusal", "image", "raw", "redacted"])
    )
    match kind:
        case "text" | "reasoning":
            field = "delta" if kind == "text" else "reasoning"
            pieces = [p for p in _cut(draw, draw(said)) if p]
            events = [ChatStreamEvent(**{field: piece}, block=block) for piece in pieces]
            done = draw(marks(kind)) if block is not None else None
            if done is not None:
                events.append(ChatStreamEvent(part=done, block=block))
                if draw(st.booleans()):  # some decoders show a part once more when more is known
                    more = ContentPart(kind, signature=draw(said), dialect=done.dialect)
                    events.append(ChatStreamEvent(part=more, block=block))
            return events
        case "refusal":
            return [ChatStreamEvent(refusal=p, block=block) for p in _cut(draw, draw(said)) if p]
        case "image":
            data = ContentPart(
                "image", data="aGk=", media_type="image/png", extra=draw(st.none() | extras),
                dialect=draw(st.none() | dialects),
            )  # fmt: skip
            return [ChatStreamEvent(part=data, block=block)]
        case "raw":
            item = ContentPart("raw", data=draw(arguments), dialect=draw(dialects))
            return [ChatStreamEvent(part=item, block=block)]
        case _:
            hidden = ContentPart("reasoning", data=draw(said), dialect=draw(dialects))
            return [ChatStreamEvent(part=hidden, block=block)]


@st.composite
def call_events(draw: Any, index: int) -> list[ChatStreamEvent]:
    """The events of one tool call."""
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    written = draw(
        st.one_of(
            arguments.map(lambda a: json.dumps(a, separators=separators)),
            st.sampled_from(["", "{}", "[1]", "null", "not json"]),
        )
    )
    first = ToolCallDelta(
        index, f"call_{index}", draw(said),
        signature=draw(st.none() | said), dialect=draw(st.none() | dialects),
        extra=draw(st.none() | extras),
    )  # fmt: skip
    pieces = [p for p in _cut(draw, written) if p]
    return [
        ChatStreamEvent(tool_call=first),
        *(ChatStreamEvent(tool_call=ToolCallDelta(index, arguments=p)) for p in pieces),
    ]


@st.composite
def streams(draw: Any) -> list[ChatStreamEvent]:
    """The events of a whole answer, without the terminal one."""
    events: list[ChatStreamEvent] = []
    calls = 0
    numbered = draw(st.booleans())  # some dialects number their blocks, others do not
    for position in range(draw(st.integers(0, 5))):
        if draw(st.integers(0, 3)) == 0:
            events += draw(call_events(calls))
            calls += 1
        else:
            events += draw(part_events(position if numbered else None))
    counts = Usage(draw(st.integers(0, 9)), draw(st.integers(5, 9)), details={"reasoning": 2})
    events.insert(draw(st.integers(0, len(events))), ChatStreamEvent(usage=counts))
    named = ChatStreamEvent(meta={"model_name": "m-1", "response_id": "r-1"})
    events.insert(draw(st.integers(0, len(events))), named)
    events.append(ChatStreamEvent(finish_reason="tool_calls" if calls else "stop"))
    return events
