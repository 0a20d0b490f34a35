"""Recorded generateContent exchanges: the codec beside Google's SDK (google-genai).

The SDK reads each answer over a transport that replays the recorded bytes, so that its own
framing, typed objects and exceptions are what the codec is held to. Requests are compared as its
types read them: camelCase and snake_case are one to Google.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import httpx
from google import genai
from google.genai import errors, types

from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure
from crux_providers.base.events import ChatStreamEvent, StreamFolder, ToolCallDelta, fold
from crux_providers.base.models import ChatResponse
from crux_providers.base.wire import WireEvent
from crux_providers.codecs import gemini_generate as codec
from crux_providers.codecs.framing import SSEDecoder, render_sse
from tests.recordings import Interaction

EVERY_POSITION = 4096
RANDOM_SPLITS = 20

REASONS = {
    "vertex/generate_error_400__otel-contrib_2.yaml": (
        "a role that is none, which Google refuses with 400 just as the codec refuses it"
    ),
}

FINISH = {"STOP": "stop", "MAX_TOKENS": "length", "UNEXPECTED_TOOL_CALL": "error"}

ERROR_CODES: dict[str, set[ErrorCode]] = {
    "INVALID_ARGUMENT": {ErrorCode.BAD_REQUEST, ErrorCode.CONTEXT_LENGTH, ErrorCode.UNSUPPORTED},
    "NOT_FOUND": {ErrorCode.NOT_FOUND},
    "RESOURCE_EXHAUSTED": {ErrorCode.RATE_LIMIT, ErrorCode.QUOTA},
}


def compare(interaction: Interaction) -> list[str]:
    """The differences between the codec's reading and the SDK's, in words."""
    words = _compare_request(interaction)
    if interaction.status >= 300:
        return words + _compare_error(interaction)
    try:
        if interaction.stream:
            ours = fold(events_of(interaction.body))
            theirs = list(_streamed(interaction.body))
            words += _splits(interaction.body)
            if again_of(events_of(interaction.body)) != ours:
                words.append("rendered event by event, the answer is another")
        else:
            ours = codec.decode(interaction.body)
            parsed = json.loads(interaction.body)
            chunks = parsed if isinstance(parsed, list) else [parsed]
            theirs = [_whole(json.dumps(_worded(chunk)).encode()) for chunk in chunks]
            feed = b"".join(render_sse(WireEvent(json.dumps(chunk))) for chunk in chunks)
            if fold(events_of(feed)) != ours:
                words.append("read as a stream, the answer is another")
    except ProviderError as exc:
        return [*words, f"decode: {exc}"]
    return words + _differences(ours, theirs) + _laws(ours)


# --- answers -----------------------------------------------------------------------------------


def events_of(body: bytes, cuts: list[int] | None = None) -> list[ChatStreamEvent]:
    """The events of a stream whose bytes arrive cut at ``cuts``."""
    framing, decoder = SSEDecoder(), codec.Decoder()
    edges = [0, *(cuts or []), len(body)]
    events: list[ChatStreamEvent] = []
    for start, end in pairwise(edges):
        for wire in framing.feed(body[start:end]):
            events.extend(decoder.feed(wire))
    for wire in framing.finish():
        events.extend(decoder.feed(wire))
    return [*events, *decoder.finish()]


def again_of(events: list[ChatStreamEvent]) -> ChatResponse:
    """The answer that a client of ours reads when we stream ``events`` to it."""
    state, folder = codec.RenderState(), StreamFolder()
    body = b"".join(
        render_sse(wire)
        for event in [*events, ChatStreamEvent(finish=True)]
        for wire in codec.render_event(event, state)
    )
    for event in events_of(body):
        folder.add(event)
    return folder.response()


def unfold(response: ChatResponse, *, deltas: bool = True) -> list[ChatStreamEvent]:
    """The events that spell a whole answer; with ``deltas`` its texts come in pieces."""
    extra = response.meta.extra
    names = {"response_id": response.meta.response_id, "model_name": response.meta.model_name}
    events = [ChatStreamEvent(meta=names)]
    calls = list(enumerate(response.tool_calls))
    for place, part in enumerate([*response.parts, None]):
        while calls and (
            part is None or (calls[0][1].after is not None and calls[0][1].after <= place)
        ):
            index, call = calls.pop(0)
            text = call.raw_arguments or ""
            begun = ToolCallDelta(
                index,
                call.id,
                call.name,
                text[:3],
                signature=call.signature,
                dialect=call.dialect,
                extra=call.extra,
            )
            events.append(ChatStreamEvent(tool_call=begun))
            events.append(ChatStreamEvent(tool_call=ToolCallDelta(index, arguments=text[3:])))
        if part is None:
            break
        plain = part.signature is None and part.extra is None
        told = deltas and part.type in ("text", "reasoning") and part.text
        if told and part.text and plain:
            for piece in (part.text[:5], part.text[5:]):
                block = place if response.tool_calls else None
                events.append(_said(part.type, piece, block))
        elif told and part.text:
            events.append(_said(part.type, part.text, place))
            events.append(ChatStreamEvent(part=part, block=place))
        else:
            events.append(ChatStreamEvent(part=part))
    meta: dict[str, Any] = {k: extra[k] for k in ("logprobs", "wire_fields") if k in extra}
    events.append(
        ChatStreamEvent(usage=response.usage, finish_reason=response.finish_reason, meta=meta)
    )
    return events


def _said(kind: str, text: str, block: int | None) -> ChatStreamEvent:
    if kind == "text":
        return ChatStreamEvent(text, block=block)
    return ChatStreamEvent(reasoning=text, block=block)


def _laws(ours: ChatResponse) -> list[str]:
    words = []
    compact = replace(ours, tool_calls=[replace(c, raw_arguments=None) for c in ours.tool_calls])
    if codec.decode(codec.render_response(ours)) != compact:
        words.append("rendered and decoded again, the answer is another")
    for deltas in (True, False):
        if (again := again_of(unfold(ours, deltas=deltas))) != ours:
            words.append(f"streamed by us, the answer is another: {again} != {ours}")
    return words


def _splits(body: bytes) -> list[str]:
    whole = events_of(body)
    dice = random.Random(len(body))
    if len(body) <= EVERY_POSITION:
        cuts = [[i] for i in range(1, len(body))]
    else:
        cuts = [sorted(dice.sample(range(1, len(body)), 10)) for _ in range(RANDOM_SPLITS)]
    return [f"split at {c}: other events" for c in cuts if events_of(body, c) != whole]


def _differences(ours: ChatResponse, theirs: list[types.GenerateContentResponse]) -> list[str]:
    expected, found = _typed(theirs), _normalized(ours)
    return [
        f"{key}: {found[key]!r}, the SDK says {expected[key]!r}"
        for key in expected
        if found[key] != expected[key]
    ]


def _typed(chunks: list[types.GenerateContentResponse]) -> dict[str, Any]:
    """What the SDK's typed chunks say together, in the terms of the vocabulary."""
    parts: list[Any] = []
    calls: list[Any] = []
    finish, usage, grounding = None, None, None
    for chunk in chunks:
        usage = chunk.usage_metadata or usage
        candidate = (chunk.candidates or [types.Candidate()])[0]
        finish = candidate.finish_reason.value if candidate.finish_reason else finish
        if candidate.grounding_metadata is not None:
            grounding = candidate.grounding_metadata
        for part in (candidate.content.parts if candidate.content else None) or ():
            _typed_part(part, parts, calls)
    assert usage is not None
    details = {
        "cached": usage.cached_content_token_count,
        "reasoning": usage.thoughts_token_count,
        "toolUsePromptTokenCount": usage.tool_use_prompt_token_count,
    }
    to_run = calls and finish in ("STOP", "UNEXPECTED_TOOL_CALL")
    return {
        "id": chunks[0].response_id,
        "model": chunks[0].model_version,
        "parts": parts,
        "calls": [tuple(c.values()) for c in calls],
        "text": "".join(p[1] for p in parts if p[0] == "text"),
        "finish": "tool_calls" if to_run else FINISH[finish or ""],
        "prompt": (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
        "completion": (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
        "total": usage.total_token_count,
        "details": {k: v for k, v in details.items() if v},
        "grounding": grounding,
    }


def _typed_part(part: types.Part, parts: list[Any], calls: list[Any]) -> None:
    signature = part.thought_signature
    if part.function_call is not None:
        call = part.function_call
        if call.name is None:  # a call that goes on
            for piece in call.partial_args or ():
                _put(calls[-1]["args"], piece)
            return
        args = dict(call.args or {})
        calls.append(
            {"name": call.name, "args": args, "signature": signature, "id": call.id,
             "after": len(parts)}
        )  # fmt: skip
    elif part.text is not None:
        kind = "reasoning" if part.thought else "text"
        if signature is None and not part.text:
            return
        follows = parts and not (calls and calls[-1]["after"] == len(parts))
        if signature is None and follows and parts[-1][0] == kind and parts[-1][2] is None:
            parts[-1] = (kind, parts[-1][1] + part.text, None)
        else:
            parts.append((kind, part.text, signature))
    elif part.inline_data is not None:
        parts.append((part.inline_data.mime_type, part.inline_data.data, signature))
    else:
        parts.append(("raw", part, signature))


def _put(args: dict[str, Any], piece: types.PartialArg) -> None:
    """A piece of streamed arguments, by the plain paths of the recordings: ``$.a.b[0].c``."""
    steps: list[Any] = []
    for name in (piece.json_path or "").removeprefix("$.").split("."):
        word, *positions = name.replace("]", "").split("[")
        steps += [word, *map(int, positions)]
    here: Any = args
    for step, following in pairwise(steps):
        fresh: Any = [] if isinstance(following, int) else {}
        if isinstance(step, int):
            if step == len(here):
                here.append(fresh)
        else:
            here.setdefault(step, fresh)
        here = here[step]
    last = steps[-1]
    given = (piece.string_value, piece.number_value, piece.bool_value)
    value: Any = next(v for v in given if v is not None)
    if isinstance(last, int) and last == len(here):
        here.append(value)
    elif not isinstance(last, int) and last not in here:
        here[last] = value
    else:
        here[last] += value


def _normalized(response: ChatResponse) -> dict[str, Any]:
    parts: list[Any] = []
    for part in response.parts:
        signature = _bytes(part.signature)
        match part.type:
            case "text" | "reasoning":
                parts.append((part.type, part.text, signature))
            case "raw":
                typed = types.Part.model_validate(part.data)
                parts.append(("raw", typed, typed.thought_signature))
            case _:
                parts.append((part.media_type, _bytes(part.data), signature))
    wire = response.meta.extra.get("wire_fields", {})
    grounding = wire.get("candidate", {}).get("groundingMetadata")
    usage = response.usage
    return {
        "id": response.meta.response_id,
        "model": response.meta.model_name,
        "parts": parts,
        "calls": [
            (
                c.name,
                dict(c.arguments),
                _bytes(c.signature),
                None if _made(c.id) else c.id,
                len(parts) if c.after is None else c.after,
            )
            for c in response.tool_calls
        ],
        "text": response.text,
        "finish": response.finish_reason,
        "prompt": usage.prompt,
        "completion": usage.completion,
        "total": usage.total,
        "details": dict(usage.details),
        "grounding": (
            None if grounding is None else types.GroundingMetadata.model_validate(grounding)
        ),
    }


def _made(id: str) -> bool:
    return id.startswith("call_") and len(id) == 21


def _bytes(text: str | None) -> bytes | None:
    if text is None:
        return None
    padded = text.replace("-", "+").replace("_", "/")
    return base64.b64decode(padded + "=" * (-len(padded) % 4))


# --- the SDK -----------------------------------------------------------------------------------


@cache
def _client() -> tuple[genai.Client, dict[str, Any]]:
    played: dict[str, Any] = {}

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(played["status"], headers=played["headers"], content=played["body"])

    http = httpx.Client(transport=httpx.MockTransport(answer))
    options = types.HttpOptions(base_url="http://replayed", httpx_client=http)
    return genai.Client(api_key="none", vertexai=False, http_options=options), played


# What protobuf clients send and get in place of words, which the SDK's types do not read.
_NUMBERS: dict[str, dict[int, str]] = {
    "finishReason": {1: "STOP"},
    "modality": {1: "TEXT"},
    "trafficType": {1: "ON_DEMAND"},
    "type": {1: "STRING", 6: "OBJECT"},
}


def _worded(value: Any) -> Any:
    match value:
        case dict():
            return {
                k: _NUMBERS[k][v] if k in _NUMBERS and type(v) is int else _worded(v)
                for k, v in value.items()
            }
        case list():
            return [_worded(v) for v in value]
        case _:
            return value


def _whole(body: bytes, status: int = 200) -> types.GenerateContentResponse:
    client, played = _client()
    played.update(status=status, headers={"content-type": "application/json"}, body=body)
    return client.models.generate_content(model="m", contents="x")


def _streamed(body: bytes) -> Iterator[types.GenerateContentResponse]:
    client, played = _client()
    played.update(status=200, headers={"content-type": "text/event-stream"}, body=body)
    return client.models.generate_content_stream(model="m", contents="x")


# --- errors ------------------------------------------------------------------------------------


def _compare_error(interaction: Interaction) -> list[str]:
    ours = codec.classify(
        WireFailure(
            "status", status=interaction.status, headers=interaction.headers, body=interaction.body
        )
    )
    try:
        _whole(interaction.body, interaction.status)
    except errors.APIError as exc:
        theirs = exc
    else:
        return ["the SDK raises nothing"]
    words = []
    if ours.code not in ERROR_CODES[theirs.status or ""]:
        words.append(f"code {ours.code}, the SDK says {theirs.status}")
    pairs: dict[str, tuple[Any, Any]] = {
        "status": (ours.status, theirs.code),
        "message": (ours.message, theirs.message),
        "provider_code": (ours.provider_code, theirs.status),
        "retry_after": (ours.retry_after, _delay(theirs.details)),
    }
    return words + [f"{n}: {a!r}, the SDK says {b!r}" for n, (a, b) in pairs.items() if a != b]


def _delay(details: Any) -> float | None:
    for detail in details.get("error", {}).get("details", ()):
        if "retryDelay" in detail:
            return float(detail["retryDelay"].removesuffix("s"))
    return None


# --- requests ----------------------------------------------------------------------------------


def _compare_request(interaction: Interaction) -> list[str]:
    body = interaction.request_body
    if not isinstance(body, dict):
        return []
    model = interaction.path.rpartition("/")[2].partition(":")[0]
    try:
        request = replace(codec.parse_request(body), model=model)
        stream = interaction.endpoint.startswith("stream")
        wire = codec.encode(request, stream=stream)
    except ProviderError as exc:
        return [f"request: {exc}"]
    words = [f"request: {line}" for line in wire.degraded]
    if not wire.path.startswith(f"/v1beta/models/{model}:{interaction.endpoint}"):
        words.append(f"path: {wire.path}")
    ours, theirs = canonical(json.loads(json.dumps(wire.body))), canonical(body)
    _forget_made_ids(ours, theirs)
    for key in sorted({*ours, *theirs}):
        if ours.get(key) != theirs.get(key):
            words.append(f"request {key}: {ours.get(key)!r} != {theirs.get(key)!r}")
    return words


_TYPES: dict[str, Any] = {
    "generationConfig": types.GenerationConfig,
    "toolConfig": types.ToolConfig,
}


def canonical(body: dict[str, Any]) -> dict[str, Any]:
    """A body as the SDK's types read it, without what says nothing to Google."""
    names = {"".join(w if i == 0 else w.capitalize() for i, w in enumerate(k.split("_"))): v
             for k, v in _worded(body).items()}  # fmt: skip
    made: dict[str, Any] = {}
    for key, value in names.items():
        if key == "contents":
            made[key] = _contents(value)
        elif key == "systemInstruction":
            # Its role is passed over.
            made[key] = types.Content.model_validate(value).parts
        elif key == "tools":
            made[key] = _tools(value)
        elif key in _TYPES:
            made[key] = _dump(_TYPES[key].model_validate(value))
        else:
            made[key] = value
    return {k: v for k, v in made.items() if v not in ({}, [], None)}


def _dump(model: Any) -> Any:
    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: c for k, v in value.items() if (c := clean(v)) not in (None, {}, False)}
        return value

    return clean(model.model_dump(exclude_none=True))


def _contents(contents: list[Any]) -> list[Any]:
    made: list[Any] = []
    for item in contents:
        content = types.Content.model_validate(item)
        role, parts = content.role or "user", content.parts or []
        results = bool(parts) and all(p.function_response is not None for p in parts)
        if results and made and all(p.function_response is not None for p in made[-1][1]):
            made[-1][1].extend(parts)  # the results of one turn, each in a content of its own
        else:
            made.append((role, list(parts)))
    return made


def _tools(tools: list[Any]) -> list[Any]:
    functions, others = [], []
    for item in tools:
        tool = types.Tool.model_validate(item)
        functions += tool.function_declarations or []
        rest = tool.model_dump(exclude_none=True, exclude={"function_declarations"})
        if rest:
            others.append(rest)
    return [*functions, *others]


def _forget_made_ids(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Ids we made for calls that had none: they tie calls to results, which order does too."""
    for (_, mine), (_, recorded) in zip(
        ours.get("contents", ()), theirs.get("contents", ()), strict=False
    ):
        for a, b in zip(mine, recorded, strict=False):
            for field in ("function_call", "function_response"):
                own, original = getattr(a, field), getattr(b, field)
                if own is not None and original is not None and original.id is None:
                    own.id = None
