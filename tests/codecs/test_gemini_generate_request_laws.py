"""Gemini, laws of requests, held for whatever the dialect can express."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from crux_providers.base.models import ChatRequest, ContentPart, Message, Tool, ToolCall
from crux_providers.codecs.gemini_generate import DIALECT, Options, encode, parse_request

_words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
_any = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | _any,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
_object = st.dictionaries(_words, _json, max_size=3)
_base64 = st.binary(min_size=1, max_size=9).map(lambda b: base64.b64encode(b).decode())
_signature = st.none() | _base64
_media = st.sampled_from(
    [("image", "image/png"), ("image", "image/heic"), ("pdf", "application/pdf"),
     ("audio", "audio/wav")]
)  # fmt: skip
_FILE = "https://generativelanguage.googleapis.com/v1beta/files/abc"


def _text(text: str, signature: str | None) -> ContentPart:
    dialect = None if signature is None else DIALECT
    return ContentPart("text", text, signature=signature, dialect=dialect)


_parts = st.one_of(
    st.builds(_text, _any, _signature),
    st.builds(lambda m, d: ContentPart(m[0], data=d, media_type=m[1]), _media, _base64),
    st.builds(lambda m: ContentPart(m[0], url=_FILE, media_type=m[1], dialect=DIALECT), _media),
)
_thoughts = st.builds(
    lambda text, signature: ContentPart("reasoning", text, signature=signature, dialect=DIALECT),
    _any,
    _signature,
)
_raws = st.builds(
    lambda kind, inner: ContentPart("raw", data={kind: inner}, dialect=DIALECT),
    st.sampled_from(["executableCode", "codeExecutionResult", "partOfNextYear"]),
    _object,
)


def _content(parts: list[ContentPart]) -> Any:
    match parts:
        case [] | [ContentPart(type="text", text="", signature=None)]:
            return ""
        case [ContentPart(type="text", signature=None) as only]:
            return only.text
    return tuple(parts)


_users = st.builds(
    lambda parts: Message("user", _content(parts)), st.lists(_parts | _raws, max_size=3)
)


@st.composite
def _turns(draw: Any, number: int) -> list[Message]:
    """A model's turn with its calls, and the results of all of them."""
    parts = draw(st.lists(_parts | _thoughts | _raws, max_size=3))
    calls, results = [], []
    for position in range(draw(st.integers(0, 3))):
        after = draw(st.none() | st.integers(0, len(parts)))
        call = ToolCall(
            f"id_{number}_{position}", draw(_words), draw(_object),
            after=None if after == len(parts) else after,
            signature=draw(_signature), dialect=DIALECT,
        )  # fmt: skip
        calls.append(call)
        results.append(
            Message("tool", draw(_any), name=call.name, tool_call_id=call.id,
                    is_error=draw(st.booleans()))
        )  # fmt: skip
    calls.sort(key=lambda c: len(parts) if c.after is None else c.after)
    if not calls and not parts:
        return [Message("assistant", "")]
    return [Message("assistant", _content(parts), tool_calls=calls), *results]


@st.composite
def _messages(draw: Any) -> list[Message]:
    found: list[Message] = []
    if draw(st.booleans()):
        found.append(Message("system", draw(_words)))
    for number in range(draw(st.integers(0, 3))):
        found.append(draw(_users))
        found += draw(_turns(number))
    return found


_tools = st.lists(st.builds(Tool, _words, st.none() | _any, _object), max_size=3) | st.builds(
    lambda name, inner: [Tool(name, raw={name: inner}, dialect=DIALECT)],
    st.sampled_from(["googleSearch", "codeExecution", "toolOfNextYear"]),
    _object,
)
_configs = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.integers(1, 10**6),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "seed": st.integers(0, 2**31),
        "stop": st.lists(_words, min_size=1, max_size=3),
        "logprobs": st.booleans(),
        "top_logprobs": st.integers(0, 20),
        "tool_choice": st.sampled_from(["auto", "none", "required", "one_tool"]),
        "extra": st.sampled_from(
            [{}, {"safetySettings": [{"category": "c"}]}, {"x_mine": {"a_b": 1}},
             {"generationConfig": {"topK": 3, "responseModalities": ["TEXT"]}}]
        ),
    },
)  # fmt: skip
_formats = st.one_of(
    st.just({}),
    st.sampled_from([{"response_format": "text"}, {"response_format": "json_object"}]),
    st.builds(
        lambda schema: {"response_format": "json_schema", "json_schema": schema},
        _object.filter(lambda o: "schema" not in o),
    ),
)
_thinking = st.one_of(
    st.just({}),
    st.builds(lambda n: {"reasoning_budget": n}, st.integers(-1, 30000)),
    st.builds(
        lambda level: {"reasoning_effort": level},
        st.sampled_from(["minimal", "low", "medium", "high"]),
    ),
)


@given(_messages(), _tools, _configs, _formats, _thinking)
def test_a_request_sent_and_read_again_is_the_same(
    messages: Any, tools: Any, config: Any, format: Any, thinking: Any
) -> None:
    request = ChatRequest(
        model="gemini-3-m", messages=messages, tools=tools, **config, **format, **thinking
    )
    wire = encode(request, stream=False)
    assert wire.degraded == ()
    body = json.loads(json.dumps(wire.body))
    assert replace(parse_request(body), model=request.model) == request


@given(_messages(), _tools)
def test_what_is_sent_is_what_the_sdk_would_send(messages: Any, tools: Any) -> None:
    """The SDK's types know every field, and read back the texts as they were."""
    request = ChatRequest(model="m", messages=messages, tools=tools)
    body: Any = encode(request, stream=False).body
    contents = [
        types.Content.model_validate(c)
        for c in body["contents"]
        if "NextYear" not in json.dumps(c) and "ode" not in json.dumps(c)
    ]
    sent = [p.text for c in contents for p in c.parts or () if p.text]
    assert all(isinstance(text, str) for text in sent)
    roles = [c["role"] for c in body["contents"]]
    assert set(roles) <= {"user", "model"}
    for before, after in zip(body["contents"], body["contents"][1:], strict=False):
        answered = sum("functionResponse" in p for p in after["parts"])
        called = sum("functionCall" in p for p in before["parts"])
        assert answered in (0, called)


@given(_messages(), st.booleans())
def test_snake_case_reads_as_camel_case(messages: Any, ids: bool) -> None:
    request = ChatRequest(model="m", messages=messages)
    body: Any = encode(request, stream=False, options=Options(tool_call_ids=ids)).body

    def snake(value: Any, depth: int) -> Any:
        match value:
            case dict():
                free = ("args", "response", "executableCode", "codeExecutionResult",
                        "partOfNextYear")  # fmt: skip
                return {
                    "".join("_" + c.lower() if c.isupper() else c for c in k): (
                        v if k in free else snake(v, depth + 1)
                    )
                    for k, v in value.items()
                }
            case list():
                return [snake(v, depth) for v in value]
            case _:
                return value

    assert parse_request(snake(body, 0)) == parse_request(body)
