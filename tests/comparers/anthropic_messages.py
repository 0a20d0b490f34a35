"""Recorded Messages exchanges: the codec beside Anthropic's SDK.

The SDK reads each answer over a transport that replays the recorded bytes, so that its own
framing, typed objects, stream accumulator and exceptions are what the codec is held to. Its beta
types are used, since they know every block the API has.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import anthropic
import httpx2  # the SDK's own HTTP library
from anthropic.lib.streaming._beta_messages import accumulate_event
from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent

from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure
from crux_providers.base.events import ChatStreamEvent, ToolCallDelta, fold
from crux_providers.base.models import ChatResponse
from crux_providers.base.wire import WireEvent
from crux_providers.codecs import anthropic_messages as codec
from crux_providers.codecs.framing import SSEDecoder, render_sse
from tests.recordings import Interaction

# What the models in the recordings take; see Options.
OPTIONS = codec.Options(inline_system=("claude-opus-4-8",))

EVERY_POSITION = 4096
RANDOM_SPLITS = 20

REASONS = {
    "_bodies/anthropic/messages__spliced-message-start.chunks.txt": (
        "a stream cut inside a tool call and begun again by a proxy: two answers in one are "
        "refused as malformed, where the SDK adds the second's blocks to the first's"
    ),
}

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

ERROR_CODES: dict[type[Exception], set[ErrorCode]] = {
    anthropic.AuthenticationError: {ErrorCode.AUTH},
    anthropic.PermissionDeniedError: {ErrorCode.PERMISSION},
    anthropic.NotFoundError: {ErrorCode.NOT_FOUND},
    anthropic.ConflictError: {ErrorCode.CONFLICT},
    anthropic.RateLimitError: {ErrorCode.RATE_LIMIT},
    anthropic.BadRequestError: {
        ErrorCode.BAD_REQUEST,
        ErrorCode.CONTEXT_LENGTH,
        ErrorCode.CONTENT_FILTER,
        ErrorCode.QUOTA,
        ErrorCode.UNSUPPORTED,
    },
    anthropic.InternalServerError: {
        ErrorCode.SERVER_ERROR,
        ErrorCode.OVERLOADED,
        ErrorCode.TRANSIENT,
    },
}


def compare(interaction: Interaction) -> list[str]:
    """The differences between the codec's reading and the SDK's, in words."""
    words = _compare_request(interaction.request_body)
    if interaction.status >= 300:
        return words + _compare_error(interaction)
    if not interaction.stream:
        return words + _compare_whole(interaction)
    streams = list(_messages(interaction.body))
    for body in streams:
        words += _compare_stream(interaction, body)
    return words + _compare_splits(interaction.body)


# --- answers -----------------------------------------------------------------------------------


def _compare_whole(interaction: Interaction) -> list[str]:
    try:
        ours = codec.decode(interaction.body)
    except ProviderError as exc:
        return [f"decode: {exc}"]
    theirs = _replay(interaction, interaction.body).post(
        "/v1/messages", body={}, cast_to=BetaMessage
    )
    words = _differences(ours, theirs)
    if codec.decode(codec.render_response(ours)) != ours:
        words.append("rendered and decoded again, the answer is another")
    for blocks in (False, True):
        streamed = fold(through_wire(unfold(ours, deltas=blocks)))
        if streamed != ours:
            words.append(f"streamed by us, the answer is another: {streamed} != {ours}")
    return words


def _compare_stream(interaction: Interaction, body: bytes) -> list[str]:
    try:
        ours = fold(decode_stream(body))
    except ProviderError as exc:
        return [f"decode: {exc}"]
    theirs: Any = None
    buffers: dict[int, bytes] = {}
    stream = _replay(interaction, body).post(
        "/v1/messages",
        body={},
        cast_to=BetaMessage,
        stream=True,
        stream_cls=anthropic.Stream[BetaRawMessageStreamEvent],
    )
    for event in stream:
        theirs = accumulate_event(
            event=event,
            current_snapshot=theirs,
            json_bufs=buffers,
            request_headers=stream.response.headers,
        )
    words = _differences(ours, theirs)
    if codec.decode(codec.render_response(ours)) != _with_compact_arguments(ours):
        words.append("rendered whole and decoded, the answer is another")
    again = fold(through_wire(decode_stream(body)))
    if again != ours:
        words.append(f"rendered event by event, the answer is another: {again} != {ours}")
    return words


def _with_compact_arguments(response: ChatResponse) -> ChatResponse:
    # A whole body holds arguments as an object, so their text is its compact form.
    calls = [replace(c, raw_arguments=None) for c in response.tool_calls]
    return replace(response, tool_calls=calls)


def _differences(ours: ChatResponse, theirs: Any) -> list[str]:
    expected = _typed(theirs)
    found = _normalized(ours)
    return [
        f"{key}: {found[key]!r}, the SDK says {expected[key]!r}"
        for key in expected
        if found[key] != expected[key]
    ]


def _typed(message: Any) -> dict[str, Any]:
    """What the SDK's typed message says, in the terms of the vocabulary."""
    parts: list[Any] = []
    calls: list[Any] = []
    for block in message.content:
        match block.type:
            case "text":
                cited = [c.to_dict() for c in block.citations or ()]
                if block.text or cited:
                    parts.append(("text", block.text, cited))
            case "thinking":
                signature = getattr(block, "signature", None) or None
                parts.append(("reasoning", block.thinking, signature))
            case "redacted_thinking":
                parts.append(("redacted", block.data))
            case "tool_use":
                calls.append((block.id, block.name, block.input, len(parts)))
            case _:
                parts.append(("raw", block.to_dict()))
    usage = message.usage
    details: dict[str, int | None] = {
        "cached": usage.cache_read_input_tokens,
        "cache_write": usage.cache_creation_input_tokens,
        "reasoning": getattr(usage.output_tokens_details, "thinking_tokens", None),
        "ephemeral_5m_input_tokens": getattr(
            usage.cache_creation, "ephemeral_5m_input_tokens", None
        ),
        "ephemeral_1h_input_tokens": getattr(
            usage.cache_creation, "ephemeral_1h_input_tokens", None
        ),
        "web_search_requests": getattr(usage.server_tool_use, "web_search_requests", None),
        "web_fetch_requests": getattr(usage.server_tool_use, "web_fetch_requests", None),
    }
    counted = (
        usage.input_tokens,
        usage.cache_read_input_tokens,
        usage.cache_creation_input_tokens,
    )
    return {
        "id": message.id,
        "model": message.model,
        "parts": parts,
        "calls": calls,
        "text": "".join(p[1] for p in parts if p[0] == "text"),
        "finish": FINISH[message.stop_reason],
        "prompt": sum(c or 0 for c in counted),
        "completion": usage.output_tokens,
        "details": {k: v for k, v in details.items() if v},
        "stop_sequence": message.stop_sequence,
        "container": getattr(message.container, "id", None),
    }


def _normalized(response: ChatResponse) -> dict[str, Any]:
    parts: list[Any] = []
    for part in response.parts:
        match part.type:
            case "text":
                parts.append(("text", part.text, list((part.extra or {}).get("citations", ()))))
            case "reasoning" if part.data is not None:
                parts.append(("redacted", part.data))
            case "reasoning":
                parts.append(("reasoning", part.text, part.signature))
            case kind:
                parts.append((kind, part.data))
    total = len(parts)
    fields = response.meta.extra.get("wire_fields", {})
    return {
        "id": response.meta.response_id,
        "model": response.meta.model_name,
        "parts": parts,
        "calls": [
            (c.id, c.name, dict(c.arguments), total if c.after is None else c.after)
            for c in response.tool_calls
        ],
        "text": response.text,
        "finish": response.finish_reason,
        "prompt": response.usage.prompt,
        "completion": response.usage.completion,
        "details": dict(response.usage.details),
        "stop_sequence": fields.get("stop_sequence"),
        "container": (fields.get("container") or {}).get("id"),
    }


# --- streams -----------------------------------------------------------------------------------


def decode_stream(body: bytes) -> Iterator[ChatStreamEvent]:
    """The events of a recorded stream."""
    frames, decoder = SSEDecoder(), codec.Decoder()
    for event in [*frames.feed(body), *frames.finish()]:
        yield from decoder.feed(event)
    yield from decoder.finish()


def through_wire(events: Iterator[ChatStreamEvent]) -> Iterator[ChatStreamEvent]:
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
        known = part.extra is None or set(part.extra) == {"citations"}
        if deltas and known and part.text and part.type in ("text", "reasoning"):
            word = "delta" if part.type == "text" else "reasoning"
            for piece in (part.text[:5], part.text[5:]):
                yield ChatStreamEvent(**{word: piece or None}, block=position)
            if part.signature is not None or part.extra is not None or part.dialect:
                yield ChatStreamEvent(part=part, block=position)
        else:
            yield ChatStreamEvent(part=part)
    yield ChatStreamEvent(usage=response.usage)
    yield ChatStreamEvent(
        finish_reason=response.finish_reason, meta={"wire_fields": meta.extra.get("wire_fields")}
    )


def _messages(body: bytes) -> Iterator[bytes]:
    """Each message of a body; one fixture holds several streams, one after the other."""
    frames = SSEDecoder()
    events = [*frames.feed(body), *frames.finish()]
    stops = [n for n, e in enumerate(events) if '"message_stop"' in e.data]
    if len(stops) <= 1:
        yield body
        return
    begin = 0
    for stop in stops:
        yield b"".join(render_sse(WireEvent(e.data, e.name)) for e in events[begin : stop + 1])
        begin = stop + 1


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
def _client() -> tuple[anthropic.Anthropic, dict[str, Any]]:
    played: dict[str, Any] = {}

    def answer(_: Any) -> Any:
        return httpx2.Response(played["status"], headers=played["headers"], content=played["body"])

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    client = anthropic.Anthropic(
        api_key="none", base_url="http://replayed", max_retries=0, http_client=http
    )
    return client, played


def _replay(interaction: Interaction, body: bytes) -> anthropic.Anthropic:
    """The SDK's client, whose next call is answered by what was recorded."""
    client, played = _client()
    kept = ("content-type", "request-id", "retry-after")
    headers = {k: v for k, v in interaction.headers.items() if k in kept}
    if interaction.stream and interaction.bare:
        # Bodies without a server around them have no event names, and the SDK wants them.
        frames = SSEDecoder()
        events = [*frames.feed(body), *frames.finish()]
        body = b"".join(render_sse(WireEvent(e.data, _name(e.data))) for e in events)
    played.update(status=interaction.status, headers=headers, body=body)
    return client


def _name(data: str) -> str:
    return str(json.loads(data)["type"])


# --- errors ------------------------------------------------------------------------------------


def _compare_error(interaction: Interaction) -> list[str]:
    failure = WireFailure(
        "status", status=interaction.status, headers=interaction.headers, body=interaction.body
    )
    ours = codec.classify(failure)
    try:
        _replay(interaction, interaction.body).post("/v1/messages", body={}, cast_to=BetaMessage)
    except anthropic.APIStatusError as exc:
        theirs = exc
    else:
        return ["the SDK raises nothing"]
    allowed = next((c for k, c in ERROR_CODES.items() if isinstance(theirs, k)), set())
    words = []
    if ours.code not in allowed:
        words.append(f"code {ours.code}, the SDK raises {type(theirs).__name__}")
    for name, mine, other in (
        ("status", ours.status, theirs.status_code),
        ("message", ours.message, theirs.api_message),
        ("provider_code", ours.provider_code, theirs.type),
    ):
        if mine != other:
            words.append(f"{name} {mine!r}, the SDK says {other!r}")
    if theirs.request_id is not None and ours.request_id != theirs.request_id:
        words.append(f"request_id {ours.request_id!r}, the SDK says {theirs.request_id!r}")
    status, body = codec.render_error(ours)
    again = codec.classify(WireFailure("status", status=status, body=body))
    if (again.code, again.feature) != (ours.code, ours.feature):
        words.append(f"rendered and classified again: {again.code}, not {ours.code}")
    return words


# --- requests ----------------------------------------------------------------------------------


def _compare_request(body: Any) -> list[str]:
    if body is None:
        return []
    request = codec.parse_request(body)
    wire = codec.encode(request, stream=bool(body.get("stream")), options=OPTIONS)
    words = [f"degraded: {line}" for line in wire.degraded]
    ours, theirs = canonical(dict(wire.body or {})), canonical(body)
    for key in sorted({*ours, *theirs}):
        if ours.get(key) != theirs.get(key):
            words.append(f"request {key}: {ours.get(key)!r}, recorded {theirs.get(key)!r}")
    if codec.parse_request(wire.body) != request:
        words.append("parsed again, the request is another")
    return words


def canonical(body: dict[str, Any]) -> dict[str, Any]:
    """A body as the API reads it (platform.claude.com/docs/en/api/messages).

    A text is one text block, consecutive turns of a role are one, ``stream`` and ``is_error`` are
    false and a result is empty where nothing says otherwise.
    """
    read = {k: v for k, v in body.items() if not (k == "stream" and v is False)}
    if "system" in read:
        read["system"] = _blocks(read["system"])
    turns: list[dict[str, Any]] = []
    for message in read["messages"]:
        turn = {**message, "content": [_block(b) for b in _blocks(message["content"])]}
        if turns and turns[-1]["role"] == turn["role"]:
            turns[-1]["content"] = turns[-1]["content"] + turn["content"]
        else:
            turns.append(turn)
    read["messages"] = turns
    return read


def _blocks(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)


def _block(block: dict[str, Any]) -> dict[str, Any]:
    if block.get("type") != "tool_result":
        return block
    read = {k: v for k, v in block.items() if not (k == "is_error" and v is False)}
    return {**read, "content": _blocks(read.get("content") or [])}
