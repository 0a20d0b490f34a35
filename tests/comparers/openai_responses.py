"""Recorded Responses exchanges: the codec beside OpenAI's SDK.

The SDK reads each answer over a transport that replays the recorded bytes, so that its own framing,
typed objects, stream accumulator and exceptions are what the codec is held to.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import openai
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent

from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure
from crux_providers.base.events import ChatStreamEvent, ToolCallDelta, fold
from crux_providers.base.models import ChatResponse, ContentPart, ToolCall
from crux_providers.base.wire import WireEvent
from crux_providers.codecs import openai_responses as codec
from crux_providers.codecs.framing import SSEDecoder, render_sse
from tests.comparers.openai_responses_requests import compare_request, compare_round
from tests.recordings import Interaction

# What the providers of the recordings take; see Options.
OPTIONS = {"deepseek": codec.Options(linked_reasoning=False)}

EVERY_POSITION = 4096
RANDOM_SPLITS = 20

REASONS = {
    "openai/responses_error_400_then_ok__pydantic-ai.yaml#1": (
        "the provider refused this body for reasoning whose message had lost its id: encode leaves "
        "such reasoning out"
    ),
    "_bodies/openai/responses__openai-shell-container.1.chunks.txt": (
        "the fixture's deltas were shortened by hand and contradict the text they finish with: "
        "nothing was lost on the way, so what was streamed stands"
    ),
}

CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
ERROR_CODES: dict[type[Exception], set[ErrorCode]] = {
    openai.AuthenticationError: {ErrorCode.AUTH},
    openai.PermissionDeniedError: {ErrorCode.PERMISSION},
    openai.NotFoundError: {ErrorCode.NOT_FOUND},
    openai.ConflictError: {ErrorCode.CONFLICT},
    openai.RateLimitError: {ErrorCode.RATE_LIMIT, ErrorCode.QUOTA},
    openai.BadRequestError: {
        ErrorCode.BAD_REQUEST,
        ErrorCode.CONTEXT_LENGTH,
        ErrorCode.CONTENT_FILTER,
        ErrorCode.NOT_FOUND,
        ErrorCode.UNSUPPORTED,
    },
    openai.InternalServerError: {
        ErrorCode.SERVER_ERROR,
        ErrorCode.OVERLOADED,
        ErrorCode.TRANSIENT,
    },
}


def compare(interaction: Interaction) -> list[str]:
    """The differences between the codec's reading and the SDK's, in words."""
    options = OPTIONS.get(interaction.provider, codec.Options())
    words = compare_request(interaction.request_body, options)
    if interaction.status >= 300:
        return words + _compare_error(interaction)
    if not interaction.stream:
        return words + _compare_whole(interaction)
    return words + _compare_stream(interaction) + _compare_splits(interaction.body)


# --- answers -----------------------------------------------------------------------------------


def _compare_whole(interaction: Interaction) -> list[str]:
    try:
        ours = codec.decode(interaction.body)
    except ProviderError as exc:
        return [f"decode: {exc}"]
    theirs = replay(interaction).post("/responses", body={}, cast_to=Response)
    words = _differences(ours, theirs)
    if codec.decode(codec.render_response(ours)) != ours:
        words.append("rendered and decoded again, the answer is another")
    for deltas in (False, True):
        streamed = fold(through_wire(unfold(ours, deltas=deltas)))
        if streamed != ours:
            words.append(f"streamed by us, the answer is another: {streamed} != {ours}")
    return words + compare_round(ours)


def _compare_stream(interaction: Interaction) -> list[str]:
    try:
        ours = fold(decode_stream(interaction.body))
    except ProviderError as exc:
        return [f"decode: {exc}"]
    words = _differences(ours, _accumulated(interaction))
    if codec.decode(codec.render_response(ours)) != ours:
        words.append("rendered whole and decoded, the answer is another")
    again = fold(through_wire(decode_stream(interaction.body)))
    if again != ours:
        words.append(f"rendered event by event, the answer is another: {again} != {ours}")
    return words + compare_round(ours)


def _accumulated(interaction: Interaction) -> Any:
    """The response that the SDK's accumulator ends with.

    It refuses a stream whose ids change on the way; there the SDK's last typed event speaks.
    """
    stream = replay(interaction).post(
        "/responses",
        body={},
        cast_to=Response,
        stream=True,
        stream_cls=openai.Stream[ResponseStreamEvent],
    )
    state: Any = ResponseStreamState(input_tools=openai.omit, text_format=openai.omit)
    strict = True
    last: Any = None
    for event in stream:
        last = event
        if strict:
            try:
                state.handle_event(event)
            except (AssertionError, AttributeError, IndexError, RuntimeError):
                strict = False
    return state._completed_response if strict else last.response


def _differences(ours: ChatResponse, theirs: Any) -> list[str]:
    expected = _typed(theirs)
    found = _normalized(ours)
    return [
        f"{key}: {found[key]!r}, the SDK says {expected[key]!r}"
        for key in expected
        if found[key] != expected[key]
    ]


def _typed(response: Any) -> dict[str, Any]:
    """What the SDK's typed response says, in the terms of the vocabulary."""
    parts: list[Any] = []
    calls: list[Any] = []
    logprobs: list[Any] = []
    for item in response.output:
        wire = item.to_dict()
        match item.type:
            case "message" if item.role == "assistant":
                for piece in item.content:
                    said = piece.text if piece.type == "output_text" else piece.refusal
                    cited = [a.to_dict() for a in getattr(piece, "annotations", None) or ()]
                    kind = "text" if piece.type == "output_text" else "refusal"
                    if said or cited:  # an empty text says nothing
                        parts.append((kind, said, cited, item.id, getattr(item, "phase", None)))
                    logprobs += [p.to_dict() for p in getattr(piece, "logprobs", None) or ()]
            case "reasoning":
                texts = [s.text for s in item.summary or ()]
                texts += [c.text for c in item.content or ()]
                parts.append(("reasoning", texts, item.encrypted_content, item.id))
            case "function_call" | "custom_tool_call":
                text = getattr(item, CALLS[item.type])
                calls.append((item.call_id, item.name, text, item.id, len(parts)))
            case _:
                parts.append(("raw", wire))
    usage = response.usage
    status = response.status or "completed"
    waiting = any(
        p[0] == "raw" and (p[1]["type"] == "apply_patch_call" or p[1].get("execution") == "client")
        for p in parts
    )
    finish = {"completed": "tool_calls" if calls or waiting else "stop"}.get(status, "other")
    return {
        "id": response.id,
        "model": getattr(response, "model", None),
        "parts": parts,
        "calls": calls,
        "text": "".join(p[1] for p in parts if p[0] == "text"),
        "logprobs": logprobs,
        "finish": finish,
        "prompt": getattr(usage, "input_tokens", None),
        "completion": getattr(usage, "output_tokens", None),
        "total": getattr(usage, "total_tokens", None),
        "cached": _count(usage, "input_tokens_details", "cached_tokens"),
        "cache_write": _count(usage, "input_tokens_details", "cache_write_tokens"),
        "reasoning": _count(usage, "output_tokens_details", "reasoning_tokens"),
        "service_tier": getattr(response, "service_tier", None),
        "created_at": response.created_at,
    }


def _count(usage: Any, group: str, name: str) -> int:
    return getattr(getattr(usage, group, None), name, None) or 0


def _normalized(response: ChatResponse) -> dict[str, Any]:
    parts: list[Any] = []
    at: list[int] = []
    for part in response.parts:
        at.append(len(parts))
        extra = part.extra or {}
        item = extra.get("item") or {}
        match part.type:
            case "text" | "refusal":
                cited = list(extra.get("annotations") or ())
                parts.append((part.type, part.text, cited, item.get("id"), item.get("phase")))
            case "reasoning":
                said = [] if part.text is None else [part.text]
                last = parts[-1] if parts else None
                if part.data is None and last and last[0] == "reasoning" and last[3] == item["id"]:
                    last[1].extend(said)
                    at[-1] -= 1
                else:
                    parts.append(("reasoning", said, part.data, item.get("id")))
            case kind:
                parts.append((kind, part.data))
    at.append(len(parts))
    extra = response.meta.extra
    fields = extra.get("wire_fields", {})
    return {
        "id": response.meta.response_id,
        "model": response.meta.model_name,
        "parts": parts,
        "calls": [
            (c.id, c.name, c.raw_arguments, (c.extra or {}).get("id"), at[_place(c)])
            for c in response.tool_calls
        ],
        "text": response.text,
        "logprobs": extra.get("logprobs", []),
        "finish": response.finish_reason,
        "prompt": response.usage.prompt,
        "completion": response.usage.completion,
        "total": response.usage.total,
        "cached": response.usage.details.get("cached", 0),
        "cache_write": response.usage.details.get("cache_write", 0),
        "reasoning": response.usage.details.get("reasoning", 0),
        "service_tier": fields.get("service_tier"),
        "created_at": fields.get("created_at"),
    }


def _place(call: ToolCall) -> int:
    return -1 if call.after is None else call.after


# --- streams -----------------------------------------------------------------------------------


def decode_stream(body: bytes) -> Iterator[ChatStreamEvent]:
    """The events of a recorded stream."""
    frames, decoder = SSEDecoder(), codec.Decoder()
    for event in [*frames.feed(body), *frames.finish()]:
        yield from decoder.feed(event)
    yield from decoder.finish()


def through_wire(events: Iterable[ChatStreamEvent]) -> Iterator[ChatStreamEvent]:
    """Events rendered as bytes of this dialect and decoded again."""
    state = codec.RenderState()
    body = b"".join(
        render_sse(wire)
        for event in [*events, ChatStreamEvent(finish=True)]
        for wire in codec.render_event(event, state)
    )
    return decode_stream(body)


def unfold(response: ChatResponse, *, deltas: bool = False) -> Iterator[ChatStreamEvent]:
    """A whole answer as the events that spell it; with ``deltas`` its texts come in pieces."""
    meta = response.meta
    yield ChatStreamEvent(meta={"response_id": meta.response_id, "model_name": meta.model_name})
    calls = list(enumerate(response.tool_calls))
    words = {"text": "delta", "reasoning": "reasoning", "refusal": "refusal"}
    for position, part in enumerate([*response.parts, None]):
        while calls and (
            part is None or (calls[0][1].after is not None and calls[0][1].after <= position)
        ):
            index, call = calls.pop(0)
            text = call.raw_arguments or ""
            begun = ToolCallDelta(index, call.id, call.name, dialect=call.dialect, extra=call.extra)
            yield ChatStreamEvent(tool_call=begun)
            for piece in (text[:3], text[3:]):
                yield ChatStreamEvent(tool_call=ToolCallDelta(index, arguments=piece))
        if part is None:
            break
        if deltas and part.text and part.type in words:
            first = _begins(part)
            for piece in (part.text[:5], part.text[5:]):
                said: dict[str, Any] = {words[part.type]: piece or None}
                yield ChatStreamEvent(**said, part=first, block=position)
                first = None
            yield ChatStreamEvent(part=replace(part, text=""), block=position)
        else:
            yield ChatStreamEvent(part=part)
    extra = meta.extra
    yield ChatStreamEvent(usage=response.usage)
    yield ChatStreamEvent(
        finish_reason=response.finish_reason,
        meta={"wire_fields": extra.get("wire_fields"), "logprobs": extra.get("logprobs")},
    )


def _begins(part: ContentPart) -> ContentPart:
    """What is known of a part with its first delta."""
    extra = part.extra or {}
    kept = {"item": {k: v for k, v in extra["item"].items() if k == "id"}}
    if "type" in extra:
        kept["type"] = extra["type"]
    return ContentPart(part.type, "", dialect=part.dialect, extra=kept)


def _compare_splits(body: bytes) -> list[str]:
    """Whether the codec sees the same events however the bytes arrive."""
    frames = SSEDecoder()
    whole = [*frames.feed(body), *frames.finish()]
    for cuts in _cuts(len(body)):
        frames = SSEDecoder()
        events: list[WireEvent] = []
        begin = 0
        for end in (*cuts, len(body)):
            events += frames.feed(body[begin:end])
            begin = end
        events += frames.finish()
        if events != whole:
            return [f"split at {cuts}, the events are others"]
    return []


def _cuts(size: int) -> Iterator[Sequence[int]]:
    if size <= EVERY_POSITION:
        yield from ((n,) for n in range(size + 1))
        return
    chance = random.Random(size)
    for _ in range(RANDOM_SPLITS):
        yield sorted(chance.randrange(size) for _ in range(chance.randrange(1, 200)))


# --- the SDK -----------------------------------------------------------------------------------


@cache
def _client() -> tuple[openai.OpenAI, dict[str, Any]]:
    import httpx2  # the SDK's own HTTP library

    played: dict[str, Any] = {}

    def answer(_: Any) -> Any:
        return httpx2.Response(played["status"], headers=played["headers"], content=played["body"])

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    client = openai.OpenAI(
        api_key="none", base_url="http://replayed", max_retries=0, http_client=http
    )
    return client, played


def replay(interaction: Interaction) -> openai.OpenAI:
    """The SDK's client, whose next call is answered by what was recorded."""
    client, played = _client()
    kept = ("content-type", "x-request-id", "retry-after")
    headers = {k: v for k, v in interaction.headers.items() if k in kept}
    played.update(status=interaction.status, headers=headers, body=interaction.body)
    return client


# --- errors ------------------------------------------------------------------------------------


def _compare_error(interaction: Interaction) -> list[str]:
    failure = WireFailure(
        "status", status=interaction.status, headers=interaction.headers, body=interaction.body
    )
    ours = codec.classify(failure)
    try:
        replay(interaction).post("/responses", body={}, cast_to=Response)
    except openai.APIStatusError as exc:
        theirs = exc
    else:
        return ["the SDK raises nothing"]
    allowed = next((c for k, c in ERROR_CODES.items() if isinstance(theirs, k)), set())
    words = []
    if ours.code not in allowed:
        words.append(f"code {ours.code}, the SDK raises {type(theirs).__name__}")
    said = json.loads(interaction.body)["error"]
    for name, mine, other in (
        ("status", ours.status, theirs.status_code),
        ("message", ours.message, said["message"]),
        ("provider_code", ours.provider_code, theirs.code or theirs.type),
        ("request_id", ours.request_id, theirs.request_id),
    ):
        if mine != other:
            words.append(f"{name}: {mine!r}, the SDK says {other!r}")
    status, body = codec.render_error(ours)
    again = codec.classify(WireFailure("status", status=status, body=body))
    if again.code is not ours.code:
        words.append(f"rendered, the error {ours.code} reads {again.code}")
    return words
