"""OpenAI Responses, laws of requests, held for whatever the dialect can express."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseInputItemParam, ToolParam
from pydantic import TypeAdapter

from crux_providers.base.models import ChatRequest, ContentPart, Message, Tool, ToolCall
from crux_providers.codecs.openai_responses import DIALECT, encode, parse_request

_words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
_base64 = st.binary(max_size=9).map(lambda b: base64.b64encode(b).decode())


def _marked(part: ContentPart, extra: dict[str, Any] | None) -> ContentPart:
    fields = {f: getattr(part, f) for f in ("text", "data", "url", "media_type", "name")}
    return ContentPart(part.type, **fields, dialect=DIALECT if extra else None, extra=extra)


def _part(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[ContentPart]:
    return st.builds(ContentPart, st.just(kind), **fields)


_cached = st.none() | st.just({"prompt_cache_breakpoint": {"mode": "explicit"}})
_user_part = st.one_of(
    st.builds(_marked, _part("text", text=_words), _cached),
    st.builds(
        _marked,
        st.one_of(
            _part("image", data=_base64, media_type=st.just("image/png")),
            _part("image", url=st.just("https://x.test/a.png")),
        ),
        st.none() | st.just({"detail": "low"}),
    ),
    _part("pdf", url=st.just("https://x.test/a.pdf")),
    _part("pdf", data=_base64, media_type=st.just("application/pdf"), name=st.none() | _words),
    _part("pdf", data=_base64, media_type=st.just("text/plain"), name=st.none() | _words),
)
_heard = _part("audio", data=_base64, media_type=st.sampled_from(["audio/wav", "audio/mpeg"]))
_unknown = _part(
    "raw", data=st.just({"type": "input_file", "file_id": "file-1"}), dialect=st.just(DIALECT)
)
_content = _words | st.lists(_user_part | _heard | _unknown, min_size=1, max_size=3)
_user = st.builds(Message, st.sampled_from(["user", "system", "developer"]), _content)


def _said(number: int, texts: list[str], phase: str | None) -> list[ContentPart]:
    item = {"id": f"msg_{number}", "status": "completed"} | ({"phase": phase} if phase else {})
    extra = {"item": item} | ({"annotations": [{"type": "file_citation"}]} if phase else {})
    return [ContentPart("text", t, dialect=DIALECT, extra=extra) for t in texts]


def _thought(number: int, texts: list[str], data: str | None) -> list[ContentPart]:
    extra: dict[str, Any] = {"item": {"id": f"rs_{number}"}}
    if not texts:
        return [ContentPart("reasoning", data=data, dialect=DIALECT, extra=extra)]
    extra["type"] = "summary_text"
    return [
        ContentPart("reasoning", t, data=None if n else data, dialect=DIALECT, extra=extra)
        for n, t in enumerate(texts)
    ]


_numbers = st.integers(0, 99)
_search = st.builds(
    lambda n, more: [
        ContentPart("raw", data={"type": "web_search_call", "id": f"ws_{n}", "action": more},
                    dialect=DIALECT)
    ],
    _numbers,
    _json,
)  # fmt: skip
_groups = st.one_of(
    st.builds(
        _said, _numbers, st.lists(_words, min_size=1, max_size=2),
        st.sampled_from([None, "commentary"]),
    ),
    st.builds(_thought, _numbers, st.lists(_words, max_size=2), st.none() | _words),
    _search,
)  # fmt: skip


@st.composite
def _turns(draw: st.DrawFn) -> list[Message]:
    """An assistant's turn with the results of its calls, and what the user says next."""
    if draw(st.booleans()):
        content: Any = draw(_words)
        total = 1
    else:
        groups = draw(st.lists(_groups, max_size=4, unique_by=lambda g: json.dumps(_id(g))))
        content = [part for group in groups for part in group]
        while content and content[-1].type == "reasoning":
            content.pop()
        total = len(content)
    calls, results = [], []
    for number in range(draw(st.integers(0, 2))):
        call_id = f"call_{draw(_numbers)}_{number}"
        ends = [n for n in range(total) if n == 0 or _boundary(content, n)]
        after = draw(st.none() | st.sampled_from(ends)) if ends else None
        extra = draw(st.none() | st.just({"id": f"fc_{number}", "status": "completed"}))
        text = draw(st.sampled_from(["{}", '{"a": 1}', '{"a":"é"}']))
        call = ToolCall.from_text(
            call_id, draw(_words), text, after=after, dialect=DIALECT, extra=extra
        )
        calls.append(call)
        output = draw(_words | st.lists(_user_part, min_size=1, max_size=2))
        results.append(Message("tool", output, tool_call_id=call_id))
    calls.sort(key=lambda c: total if c.after is None else c.after)
    if not content and not calls:
        content = "x"
    turn = Message("assistant", content or "", tool_calls=calls)
    return [turn, *results, draw(_user)]


def _id(group: list[ContentPart]) -> Any:
    part = group[0]
    return part.data["id"] if part.type == "raw" else (part.extra or {})["item"]["id"]


def _boundary(content: Any, at: int) -> bool:
    """Whether another item begins at part ``at``."""
    item = [(p.extra or {}).get("item") for p in content[at - 1 : at + 1]]
    return item[0] is None or item[0] != item[1]


def _told_apart(turns: list[list[Message]]) -> bool:
    """Whether every call has an id of its own, as the provider gives them."""
    ids = [call.id for turn in turns for message in turn for call in message.tool_calls]
    return len(set(ids)) == len(ids)


_schema = st.fixed_dictionaries(
    {"type": st.just("object"), "properties": st.dictionaries(_words, st.just({"type": "string"}))}
)
_tools = st.lists(
    st.one_of(
        st.builds(
            Tool, _words, st.none() | _words, _schema, st.none() | st.booleans(),
        ),
        st.just(Tool("web_search", raw={"type": "web_search"}, dialect=DIALECT)),
        st.just(Tool("sql", raw={"type": "custom", "name": "sql"}, dialect=DIALECT)),
    ),
    max_size=3,
)  # fmt: skip
_format: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.sampled_from(["text", "json_object"]).map(lambda kind: {"response_format": kind}),
    st.builds(
        lambda schema, name, strict: {
            "response_format": "json_schema", "json_schema": schema, "schema_name": name,
            "schema_strict": strict,
        },
        _schema, _words, st.none() | st.booleans(),
    ),
)  # fmt: skip
_extra = st.fixed_dictionaries(
    {},
    optional={
        "previous_response_id": st.just("resp_0"),
        "store": st.just(True),
        "metadata": st.just({"k": "v"}),
        "reasoning": st.just({"summary": "auto"}),
        "text": st.just({"verbosity": "low"}),
        "include": st.just(["reasoning.encrypted_content"]),
        "of_next_year": _json.filter(lambda v: v is not None),
    },
)
_optional = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.integers(1, 10**6),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "parallel_tool_calls": st.booleans(),
        "reasoning_effort": st.sampled_from(["low", "high"]),
        "logprobs": st.just(True),
        "top_logprobs": st.integers(0, 20),
        "tool_choice": st.sampled_from(["auto", "none", "required"]),
    },
)
requests = st.builds(
    lambda model, first, turns, tools, wanted, optional, extra: ChatRequest(
        model, [*first, *(m for turn in turns for m in turn)], tools=tools, extra=extra,
        **wanted, **optional,
    ),
    st.none() | st.just("gpt-5"),
    st.lists(_user, min_size=1, max_size=2),
    st.lists(_turns(), max_size=2).filter(_told_apart),
    _tools, _format, _optional, _extra,
)  # fmt: skip


@given(requests, st.booleans())
def test_encoded_and_parsed_again_a_request_is_the_same(request: ChatRequest, stream: bool) -> None:
    wire = encode(request, stream=stream)
    assert wire.degraded == ()
    assert (wire.body or {}).get("stream", False) is stream
    assert parse_request(json.dumps(wire.body)) == request


@given(requests)
def test_every_message_and_every_byte_is_there(request: ChatRequest) -> None:
    body = json.dumps(encode(request, stream=False).body, ensure_ascii=False)
    for message in request.messages:
        for part in message.parts:
            for value in (part.text, part.url, part.data if part.type != "raw" else None):
                assert value is None or json.dumps(value, ensure_ascii=False)[1:-1] in body
        for call in message.tool_calls:
            assert json.dumps(call.raw_arguments, ensure_ascii=False) in body


_items = TypeAdapter(ResponseInputItemParam)
_tool_types = TypeAdapter(ToolParam)


@given(requests)
def test_the_sdk_knows_every_item_and_tool(request: ChatRequest) -> None:
    body = encode(request, stream=False).body or {}
    for item in body["input"]:
        kinds = [p["type"] for p in item.get("content") or () if isinstance(p, dict)]
        untyped = item.get("role") == "assistant" and "id" not in item
        if "input_audio" in kinds or untyped or item.get("type") == "web_search_call":
            continue  # the API takes the first two; the third's action is any JSON here
        _items.validate_python(_with_defaults(item))
    for tool in body.get("tools", ()):
        _tool_types.validate_python({"strict": None, **tool} if "parameters" in tool else tool)


def _with_defaults(item: dict[str, Any]) -> dict[str, Any]:
    """Fields the SDK's types require and the API does not."""
    content = item.get("content")
    if not isinstance(content, list):
        return item
    return {
        **item,
        "content": [
            {"detail": "auto", **p} if p.get("type") == "input_image" else p for p in content
        ],
    }
