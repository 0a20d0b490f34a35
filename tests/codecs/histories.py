"""Histories as each dialect would begin them, and the judges of what another dialect makes of them.

A judge is the list of documented rules a body breaks (:func:`broken_rules`) and the request types
of the provider's own SDK (:func:`judged`). Whatever only its maker may see bears :data:`SECRET`.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from hypothesis import strategies as st
from pydantic import TypeAdapter

from crux_providers.base.models import ChatRequest, ContentPart, Message, ToolCall
from crux_providers.codecs import (
    anthropic_messages_request,
    gemini_generate_request,
    ollama_chat_request,
    openai_chat_request,
    openai_responses_request,
)
from crux_providers.codecs.repair_rules import Rules
from tests.codecs.anthropic_messages_wire import broken_rules as anthropic_rules
from tests.codecs.anthropic_messages_wire import whole

CHAT, RESPONSES = "openai_chat", "openai_responses"
ANTHROPIC, GEMINI, OLLAMA = "anthropic_messages", "gemini_generate", "ollama_chat"
DIALECTS = (CHAT, RESPONSES, ANTHROPIC, GEMINI, OLLAMA)
SECRET = "U0VDUkVU"
MODEL = "gemini-3-pro"
"""A name that means something to Gemini alone: its calls have to be signed."""
PNG = "iVBORw0KGgo="


def options_of(dialect: str, **knobs: Any) -> Any:
    """The dialect's options; its knobs are defaults but those named."""
    return codec(dialect).Options(**knobs)


def codec(dialect: str) -> Any:
    """The dialect's module."""
    return importlib.import_module(f"crux_providers.codecs.{dialect}")


def rules_of(dialect: str, **knobs: Any) -> Rules:
    """The rules that ``encode`` repairs by."""
    options = options_of(dialect, **knobs)
    match dialect:
        case "openai_chat":
            return openai_chat_request.rules(options)
        case "openai_responses":
            return openai_responses_request.rules(options)
        case "anthropic_messages":
            return anthropic_messages_request.rules(MODEL, options)
        case "gemini_generate":
            return gemini_generate_request.rules(MODEL, options)
        case _:
            return ollama_chat_request.rules(options)


# -- histories ------------------------------------------------------------------------------------

words = st.sampled_from(
    ["so", " \tdef f():\n\treturn 'ä'  \n\n", "{}", "a\r\nb", "\u2028x", "```py\n  x\n```", "0"]
)
names = st.sampled_from(["look", "find_it", "f"])
ODD_IDS = ("functions.f:0", "functions.f/0", "call_1", "x" * 70, "é", "a b")
IDS = {
    CHAT: ("call_abc", "call_1", "toolu_x", *ODD_IDS),
    RESPONSES: ("call_abc", "call_2"),
    ANTHROPIC: ("toolu_01", "toolu_02"),
    GEMINI: ("", "fc_1", "call_0123456789abcdef"),
    OLLAMA: ("", "call_1", "call_0123456789abcdef"),
}
ARGUMENTS = ("{}", '{"a":  1}', '{"city": "Bern",\n "n": 1.50}', '{"q": "ä \\n"}')
BROKEN = ('{"a": 1', "SELECT 1", "[1]")


def _thought(dialect: str, number: int) -> list[ContentPart]:
    """A piece of reasoning, in each form the dialect has."""
    text = f"{SECRET} thought"
    match dialect:
        case "openai_chat":
            detail = {"type": "reasoning.text", "format": "f", "index": 0}
            signature = f"{SECRET}-sig"
            return [
                ContentPart("reasoning", text, signature=signature, dialect=CHAT, extra=detail),
                ContentPart("reasoning", text, dialect=CHAT),
            ][number % 2 :][:1]
        case "openai_responses":
            item = {"item": {"id": f"rs_{SECRET}_{number}"}, "type": "summary_text"}
            return [ContentPart("reasoning", text, data=SECRET, dialect=RESPONSES, extra=item)]
        case "anthropic_messages":
            return [
                ContentPart("reasoning", text, signature=SECRET, dialect=ANTHROPIC),
                ContentPart("reasoning", data=SECRET, dialect=ANTHROPIC),
            ][number % 2 :][:1]
        case "gemini_generate":
            return [ContentPart("reasoning", text, signature=SECRET, dialect=GEMINI)]
        case _:
            return [ContentPart("reasoning", text, dialect=OLLAMA)]


def _text(dialect: str, text: str, number: int) -> ContentPart:
    match dialect:
        case "openai_responses":
            extra = {"item": {"id": f"msg_{SECRET}_{number}", "status": "completed"}}
            return ContentPart("text", text, dialect=RESPONSES, extra=extra)
        case "gemini_generate" if number % 2:
            return ContentPart("text", text, signature=SECRET, dialect=GEMINI)
        case _:
            return ContentPart("text", text)


_RAW: dict[str, Any] = {
    RESPONSES: {"type": "web_search_call", "id": f"ws_{SECRET}", "status": "completed",
                "action": {"type": "search", "query": "q"}},
    GEMINI: {"executableCode": {"language": "PYTHON", "code": f"# {SECRET}"}},
}  # fmt: skip


@st.composite
def _assistant(draw: st.DrawFn, dialect: str, number: int) -> Message:
    parts: list[ContentPart] = []
    if draw(st.booleans()):
        parts += _thought(dialect, number)
    if dialect in _RAW and draw(st.integers(0, 4)) == 0:
        parts.append(ContentPart("raw", data=_RAW[dialect], dialect=dialect))
    parts += [_text(dialect, t, number) for t in draw(st.lists(words, max_size=2))]
    if dialect in (CHAT, RESPONSES) and draw(st.integers(0, 5)) == 0:
        item = {"item": {"id": f"msg_{SECRET}_{number}", "status": "completed"}}
        more = {"dialect": RESPONSES, "extra": item} if dialect == RESPONSES else {}
        parts.append(ContentPart("refusal", "I will not.", **more))
    if dialect == GEMINI and draw(st.integers(0, 5)) == 0:
        parts.append(ContentPart("image", data=PNG, media_type="image/png"))
    calls = []
    for _ in range(draw(st.integers(0, 3))):
        after = draw(st.none() | st.integers(0, len(parts)))
        broken = draw(st.integers(0, 9)) == 0
        calls.append(
            ToolCall.from_text(
                draw(st.sampled_from(IDS[dialect])),
                draw(names),
                draw(st.sampled_from(BROKEN if broken else ARGUMENTS)),
                after=None if after == len(parts) else after,
                signature=SECRET if dialect == GEMINI else None,
                dialect=dialect,
                extra={"id": f"fc_{SECRET}", "status": "completed"}
                if dialect == RESPONSES
                else None,
            )
        )
    calls.sort(key=lambda c: len(parts) if c.after is None else c.after)
    if not parts and not calls:
        return Message("assistant", draw(words))
    return Message("assistant", parts, tool_calls=calls)


def _result(draw: st.DrawFn, dialect: str, call_id: str, name: str | None) -> Message:
    content: Any = draw(words)
    if dialect in (ANTHROPIC, GEMINI, RESPONSES) and draw(st.integers(0, 3)) == 0:
        image = ContentPart("image", data=PNG, media_type="image/png")
        content = [ContentPart("text", content), image]
    failed = draw(st.booleans())
    return Message("tool", content, name, tool_call_id=call_id, is_error=failed)


@st.composite
def histories(draw: st.DrawFn, dialect: str, *, files: Sequence[str] = ("image",)) -> list[Message]:
    """A history begun on ``dialect``, whole or trimmed; ``files`` are what its user sends."""
    turns: list[Message] = []
    if draw(st.booleans()):
        turns.append(Message("system", draw(words)))
    for number in range(draw(st.integers(1, 3))):
        if number or draw(st.integers(0, 4)):  # now and then the beginning was trimmed away
            said = [ContentPart("text", draw(words))]
            for kind in draw(st.lists(st.sampled_from(files), max_size=1)):
                kinds = {"image": ("image/png", PNG), "pdf": ("application/pdf", "JVBERi0=")}
                said.append(ContentPart(kind, data=kinds[kind][1], media_type=kinds[kind][0]))
            turns.append(Message("user", said if len(said) > 1 else draw(words)))
        turn = draw(_assistant(dialect, number))
        turns.append(turn)
        told = [_result(draw, dialect, c.id, draw(st.none() | st.just(c.name)))
                for c in turn.tool_calls]  # fmt: skip
        if told and draw(st.integers(0, 5)) == 0:
            told.pop()  # cancelled before it ended
        if draw(st.integers(0, 3)) == 0:
            middle = Message(draw(st.sampled_from(["system", "developer"])), draw(words))
            told.insert(draw(st.integers(0, len(told))), middle)
        if draw(st.integers(0, 7)) == 0:
            told.append(_result(draw, dialect, "call_nobody_made", None))
        turns += told
    turns.append(Message("user", draw(words), draw(st.none() | st.just("ann"))))
    return turns


# -- judges ---------------------------------------------------------------------------------------


def encoded(dialect: str, messages: Sequence[Message], **knobs: Any) -> tuple[Any, tuple[str, ...]]:
    """The body as its bytes say it, and what was lost."""
    request = ChatRequest(MODEL, messages, max_tokens=9)
    wire = codec(dialect).encode(request, stream=False, options=options_of(dialect, **knobs))
    return json.loads(json.dumps(wire.body)), wire.degraded


def judged(dialect: str, body: Any) -> list[str]:
    """The rules a body breaks; raises where it is not of the SDK's types."""
    _sdk_check(dialect, body)
    return broken_rules(dialect, body)


def _sdk_check(dialect: str, body: Any) -> None:
    # The conversation is what is judged here; tools and streams are the parameters' tests.
    body = {k: v for k, v in body.items() if k not in ("tools", "stream", "stream_options")}
    if dialect == GEMINI:
        from google.genai import types

        for content in body["contents"]:
            types.Content.model_validate(content)
        if "systemInstruction" in body:
            types.Content.model_validate(body["systemInstruction"])
    elif dialect == OLLAMA:
        from ollama._types import ChatRequest as OllamaRequest

        OllamaRequest.model_validate(body)
    else:
        if dialect == RESPONSES:
            body = {**body, "input": [_with_id(item) for item in body["input"]]}
        whole(_adapter(dialect).validate_python(body))


def _with_id(item: Any) -> Any:
    """A message with the fields that the SDK's types want and the API does without."""
    if not isinstance(item.get("content"), list) or "role" not in item:
        return item
    if item["role"] != "assistant":
        images = [{"detail": "auto", **p} if p["type"] == "input_image" else p
                  for p in item["content"]]  # fmt: skip
        return {**item, "content": images}
    pieces = [{"annotations": [], **piece} for piece in item["content"]]
    return {"id": "msg_0", "status": "completed", **item, "content": pieces}


@cache
def _adapter(dialect: str) -> TypeAdapter[Any]:
    if dialect == CHAT:
        from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

        return TypeAdapter(CompletionCreateParamsNonStreaming)
    if dialect == RESPONSES:
        from openai.types.responses.response_create_params import (
            ResponseCreateParamsNonStreaming,
        )

        return TypeAdapter(ResponseCreateParamsNonStreaming)
    from anthropic.types.beta.message_create_params import MessageCreateParamsNonStreaming

    return TypeAdapter(MessageCreateParamsNonStreaming)


def broken_rules(dialect: str, body: Any) -> list[str]:
    """The documented rules of the dialect that ``body`` breaks."""
    judges = {CHAT: _chat, RESPONSES: _responses, ANTHROPIC: _anthropic, GEMINI: _gemini}
    return judges.get(dialect, _ollama)(body)


def _chat(body: Any) -> list[str]:
    """platform.openai.com/docs/api-reference/chat (2026-11) and the errors the API answers."""
    broken, waiting = [], []
    for turn in body["messages"]:
        role, content = turn["role"], turn.get("content")
        if role != "tool" and waiting:
            broken.append(f"calls without results at once: {waiting}")
            waiting = []
        kinds = {i["type"] for i in content} if isinstance(content, list) else set()
        if role != "user" and kinds - {"text"}:
            broken.append(f"{kinds} in a turn of {role}")
        if role == "assistant":
            waiting = [c["id"] for c in turn.get("tool_calls", ())]
            if any(not 0 < len(i) <= 40 for i in waiting) or len(set(waiting)) < len(waiting):
                broken.append(f"ids {waiting}")
            if content is None and not (waiting or turn.get("refusal") or turn.get("audio")):
                broken.append("an assistant turn that says nothing")
        elif role == "tool" and turn["tool_call_id"] not in waiting:
            broken.append(f"a result of {turn['tool_call_id']!r}, which does not wait")
        elif role == "tool":
            waiting.remove(turn["tool_call_id"])
    return broken + [f"calls at the end: {waiting}" for _ in waiting[:1]]


def _responses(body: Any) -> list[str]:
    """platform.openai.com/docs/api-reference/responses (2026-11) and the errors the API answers."""
    broken: list[str] = []
    calls: list[str] = []
    items = body["input"]
    for item, after in zip(items, [*items[1:], None], strict=True):
        kind = item.get("type", "message")
        if kind in ("function_call", "custom_tool_call"):
            if not 0 < len(item["call_id"]) <= 64 or item["call_id"] in calls:
                broken.append(f"call_id {item['call_id']!r}")
            calls.append(item["call_id"])
        elif kind.endswith("_call_output"):
            if item["call_id"] not in calls:
                broken.append(f"No tool call found for {item['call_id']!r}")
            else:
                calls[calls.index(item["call_id"])] = "answered"
        elif kind == "reasoning" and after is None:
            broken.append("reasoning without its following item")
        if kind == "message" and item["role"] == "assistant" and isinstance(item["content"], list):
            kinds = {p["type"] for p in item["content"]}
            if kinds - {"output_text", "refusal"}:
                broken.append(f"{kinds} of an assistant")
    return broken + [f"No tool output found for {c}" for c in calls if c != "answered"]


def _anthropic(body: Any) -> list[str]:
    """platform.claude.com/docs/en/api/messages (2026-11); more in anthropic_messages_wire."""
    broken = anthropic_rules(body)
    for turn in body["messages"]:
        blocks = turn["content"] if isinstance(turn["content"], list) else []
        kinds = {b["type"] for b in blocks}
        if turn["role"] == "assistant" and kinds & {"image", "document", "tool_result"}:
            broken.append(f"{kinds} within an assistant's turn")
        if turn["role"] not in ("user", "assistant"):
            broken.append(f"role {turn['role']}")
        if any(b["type"] == "thinking" and not b.get("signature") for b in blocks):
            broken.append("thinking without a signature")
        if all(b["type"] == "text" and not b["text"].strip() for b in blocks) and blocks:
            broken.append("text content blocks must contain non-whitespace text")
    return broken


def _gemini(body: Any) -> list[str]:
    """ai.google.dev/api/caching#Content (2026-11) and the errors the API answers."""
    broken: list[str] = []
    before: Any = None
    for content in body["contents"]:
        parts = content["parts"]
        calls = [p["functionCall"] for p in parts if "functionCall" in p]
        told = [p["functionResponse"] for p in parts if "functionResponse" in p]
        asked = [p["functionCall"] for p in (before or {"parts": []})["parts"]
                 if "functionCall" in p]  # fmt: skip
        if not parts or any(p == {} for p in parts):
            broken.append("a content without parts")
        if content["role"] not in ("user", "model"):
            broken.append(f"role {content['role']}")
        if calls and (before is None or before["role"] != "user"):
            broken.append("a function call turn comes after a user turn or a function response")
        if calls and "thoughtSignature" not in next(p for p in parts if "functionCall" in p):
            broken.append("the first function call lacks a thought_signature")
        if sorted(c["name"] for c in asked) != sorted(t["name"] for t in told):
            broken.append(f"calls of {asked}, responses {told}")
        if told and len(told) < len(parts):
            broken.append("more than responses in a function response turn")
        before = content
    last = before["parts"] if before else ()
    return broken + ["calls at the end" for p in last if "functionCall" in p][:1]


def _ollama(body: Any) -> list[str]:
    """docs/api.md of Ollama's repository (2026-11)."""
    broken = []
    for turn in body["messages"]:
        if turn["role"] not in ("system", "user", "assistant", "tool"):
            broken.append(f"role {turn['role']}")
        for call in turn.get("tool_calls", ()):
            if not isinstance(call["function"]["arguments"], dict):
                broken.append("arguments that are no object")
    return broken


def is_valid_id(dialect: str, given: str) -> bool:
    """Whether ``given`` may stand as it is."""
    return re.fullmatch(rules_of(dialect).tool_id, given) is not None
