"""Anthropic Messages, laws of requests, held for whatever the dialect can express."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crux_providers.base.models import ChatRequest, ContentPart, Message, Tool, ToolCall
from crux_providers.codecs.anthropic_messages import DIALECT, encode, parse_request
from tests.codecs.anthropic_messages_wire import (
    body_of,
    broken_rules,
)

_words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda t: not t.isspace()
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
_cached = st.just({"cache_control": {"type": "ephemeral"}})
_arguments = st.dictionaries(_words, _json, max_size=3)
_base64 = st.binary(max_size=9).map(lambda b: base64.b64encode(b).decode())


def _marked(part: ContentPart, extra: dict[str, Any] | None) -> ContentPart:
    fields = {f: getattr(part, f) for f in ("text", "data", "url", "media_type", "name")}
    return ContentPart(part.type, **fields, dialect=DIALECT if extra else None, extra=extra)


_user_part = st.builds(
    _marked,
    st.one_of(
        st.builds(ContentPart, st.just("text"), _words),
        st.builds(ContentPart, st.just("image"), data=_base64, media_type=st.just("image/png")),
        st.builds(ContentPart, st.just("image"), url=st.just("https://x.test/a.png")),
        st.builds(
            ContentPart,
            st.just("pdf"),
            data=_base64,
            media_type=st.just("application/pdf"),
            name=st.none() | _words,
        ),
        st.builds(
            ContentPart,
            st.just("pdf"),
            data=_words.map(lambda t: t.encode()),
            media_type=st.just("text/plain"),
        ),
        st.builds(ContentPart, st.just("pdf"), url=st.just("https://x.test/a.pdf")),
    ),
    st.none() | _cached,
)
_assistant_part = st.one_of(
    st.builds(_marked, st.builds(ContentPart, st.just("text"), _words), st.none() | _cached),
    st.builds(
        ContentPart,
        st.just("reasoning"),
        st.text(max_size=5),
        signature=_words,
        dialect=st.just(DIALECT),
    ),
    st.builds(ContentPart, st.just("reasoning"), data=_words, dialect=st.just(DIALECT)),
    st.builds(
        ContentPart,
        st.just("raw"),
        data=st.builds(
            lambda more: {
                "type": "server_tool_use",
                "id": "srvtoolu_1",
                "name": "web_search",
                "input": more,
            },
            _arguments,
        ),
        dialect=st.just(DIALECT),
    ),
)


@st.composite
def _turns(draw: st.DrawFn) -> list[Message]:
    """Turns in an order the API takes, each in the one form the codec reads it as."""
    turns: list[Message] = []
    if draw(st.booleans()):
        content = draw(_words | st.lists(_assistant_text, min_size=1, max_size=2))
        turns.append(Message("system", content))
    count = 0
    for _ in range(draw(st.integers(1, 3))):
        turns.append(Message("user", draw(_words | st.lists(_user_part, min_size=1, max_size=3))))
        if draw(st.booleans()):
            turns.append(Message("assistant", draw(_words)))
            continue
        parts = draw(st.lists(_assistant_part, max_size=3))
        places = sorted(draw(st.lists(st.integers(0, len(parts)), min_size=1, max_size=3)))
        calls = []
        for place in places:
            count += 1
            extra = draw(st.none() | _cached)
            calls.append(
                ToolCall(
                    f"toolu_{count}",
                    draw(_words),
                    draw(_arguments),
                    after=None if place == len(parts) else place,
                    dialect=DIALECT if extra else None,
                    extra=extra,
                )
            )
        turns.append(Message("assistant", parts, tool_calls=calls))
        for call in calls:
            content = draw(st.just("") | _words | st.lists(_user_part, min_size=1, max_size=2))
            turns.append(
                Message(
                    "tool",
                    content,
                    name=call.name,
                    tool_call_id=call.id,
                    is_error=draw(st.booleans()),
                    extra=draw(st.none() | _cached),
                )
            )
        if draw(st.booleans()):
            turns.append(Message("user", draw(st.lists(_user_part, min_size=1, max_size=2))))
        turns.append(Message("assistant", "so"))
    return turns


_assistant_text = st.builds(
    _marked, st.builds(ContentPart, st.just("text"), _words), st.none() | _cached
)
_tools = st.lists(
    st.one_of(
        st.builds(
            lambda n, d, s: Tool(n, d, {"type": "object", "properties": {}}, s),
            _words,
            st.none() | st.text(max_size=5),
            st.none() | st.booleans(),
        ),
        st.just(
            Tool(
                "bash", raw={"type": "bash_20250124", "name": "bash"}, dialect=DIALECT
            )
        ),
    ),
    max_size=2,
)  # fmt: skip
_extra = st.fixed_dictionaries(
    {},
    optional={
        "top_k": st.integers(1, 99),
        "metadata": st.just({"user_id": "u"}),
        "service_tier": st.just("auto"),
        "later": _json,
    },
)


@st.composite
def requests(draw: st.DrawFn) -> ChatRequest:
    """Requests this dialect can express."""
    choice = draw(st.sampled_from([None, "auto", "required", "f"]))
    return ChatRequest(
        draw(st.none() | _words),
        draw(_turns()),
        max_tokens=draw(st.integers(1, 99999)),
        temperature=draw(st.none() | st.floats(0, 1)),
        top_p=draw(st.none() | st.floats(0, 1)),
        stop=draw(st.none() | st.lists(_words, min_size=1, max_size=2)),
        tools=draw(_tools),
        tool_choice=choice,
        parallel_tool_calls=draw(st.none() | st.booleans()) if choice else None,
        reasoning_effort=draw(st.sampled_from([None, "low", "xhigh"])),
        json_schema=draw(
            st.sampled_from(
                [None, {"type": "object", "properties": {}, "additionalProperties": False}]
            )
        ),
        extra=draw(_extra),
    )


@given(requests())
def test_a_request_comes_back_from_the_wire(request: ChatRequest) -> None:
    wire = encode(request, stream=False)
    assert wire.degraded == ()
    body = json.dumps(wire.body)
    assert parse_request(body) == request
    assert broken_rules(json.loads(body)) == []


@given(requests())
def test_every_body_is_of_the_sdks_request_type(request: ChatRequest) -> None:
    body_of(ChatRequest("m", request.messages, tools=request.tools, max_tokens=1))
