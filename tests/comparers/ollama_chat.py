"""Recorded ``/api/chat`` exchanges: the codec beside Ollama's SDK and its typed objects."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

from ollama import ChatResponse as TheirResponse

from crux_providers.base.errors import ProviderError, WireFailure
from crux_providers.base.events import ChatStreamEvent, StreamFolder, ToolCallDelta, fold
from crux_providers.base.models import ChatResponse
from crux_providers.base.wire import WireEvent
from crux_providers.codecs import ollama_chat as codec
from crux_providers.codecs.framing import NDJSONDecoder, render_ndjson
from tests.recordings import Interaction

REASONS: dict[str, str] = {}
EVERY_POSITION = 4096
RANDOM_SPLITS = 20


def compare(interaction: Interaction) -> list[str]:
    """The differences between the codec's reading and the SDK's, in words."""
    words = _compare_request(interaction.request_body)
    if interaction.status >= 300:
        failure = WireFailure("status", status=interaction.status, body=interaction.body)
        error = codec.classify(failure)
        said = json.loads(interaction.body)["error"]
        return words + ([] if error.message == said else [f"error: {error.message} != {said}"])
    lines = [json.loads(ln) for ln in interaction.body.splitlines() if ln.strip()]
    theirs = [TheirResponse.model_validate(ln) for ln in lines]
    try:
        streamed = fold(events_of(interaction.body))
        if len(lines) == 1:
            whole = codec.decode(interaction.body)
            words += [] if whole == streamed else ["whole and streamed readings differ"]
            words += _laws(whole)
    except ProviderError as exc:
        return [*words, f"decode: {exc}"]
    return words + _differences(streamed, theirs) + _splits(interaction.body)


def events_of(body: bytes, cuts: list[int] | None = None) -> list[ChatStreamEvent]:
    framing, decoder = NDJSONDecoder(), codec.Decoder()
    edges = [0, *(cuts or []), len(body)]
    events: list[ChatStreamEvent] = []
    for start, end in itertools.pairwise(edges):
        for wire in framing.feed(body[start:end]):
            events.extend(decoder.feed(wire))
    for wire in framing.finish():
        events.extend(decoder.feed(wire))
    events.extend(decoder.finish())
    return events


def _splits(body: bytes) -> list[str]:
    whole = events_of(body)
    dice = random.Random(len(body))
    if len(body) <= EVERY_POSITION:
        cuts = [[i] for i in range(1, len(body))]
    else:
        cuts = [sorted(dice.sample(range(1, len(body)), 10)) for _ in range(RANDOM_SPLITS)]
    return [f"split at {c}: other events" for c in cuts if events_of(body, c) != whole]


def _differences(ours: ChatResponse, theirs: list[TheirResponse]) -> list[str]:
    last = theirs[-1]
    calls = [c for t in theirs for c in (t.message.tool_calls or [])]
    pairs: dict[str, tuple[Any, Any]] = {
        "text": (ours.text, "".join(t.message.content or "" for t in theirs)),
        "reasoning": (ours.reasoning or "", "".join(t.message.thinking or "" for t in theirs)),
        "calls": (
            [(c.name, dict(c.arguments)) for c in ours.tool_calls],
            [(c.function.name, dict(c.function.arguments)) for c in calls],
        ),
        "model": (ours.meta.model_name, last.model),
        "prompt": (ours.usage.prompt, last.prompt_eval_count),
        "completion": (ours.usage.completion, last.eval_count),
        "finish": (
            ours.finish_reason,
            "tool_calls" if calls else {None: "stop"}.get(last.done_reason, last.done_reason),
        ),
    }
    return [f"{name}: {a!r}, the SDK says {b!r}" for name, (a, b) in pairs.items() if a != b]


def unfold(response: ChatResponse) -> list[ChatStreamEvent]:
    """The events that spell a whole answer."""
    extra = response.meta.extra
    events = [ChatStreamEvent(meta={"model_name": response.meta.model_name})]
    for part in response.parts:
        kind = "delta" if part.type == "text" else part.type
        events.append(ChatStreamEvent(**{kind: part.text}))
    for i, call in enumerate(response.tool_calls):
        piece = ToolCallDelta(
            i, call.id, call.name, call.raw_arguments or "", dialect=call.dialect, extra=call.extra
        )
        events.append(ChatStreamEvent(tool_call=piece))
    meta = {k: extra[k] for k in ("logprobs", "wire_fields") if k in extra}
    usage = response.usage if response.usage.prompt is not None else None
    events.append(ChatStreamEvent(usage=usage, finish_reason=response.finish_reason, meta=meta))
    return [*events, ChatStreamEvent(finish=True)]


def through_wire(events: list[ChatStreamEvent]) -> ChatResponse:
    """The answer that a client of ours reads when we stream ``events`` to it."""
    state, folder = codec.RenderState(), StreamFolder()
    body = b"".join(
        render_ndjson(WireEvent(*wire)) for e in events for wire in codec.render_event(e, state)
    )
    for event in events_of(body):
        folder.add(event)
    return folder.response()


def _laws(ours: ChatResponse) -> list[str]:
    words = []
    if codec.decode(codec.render_response(ours)) != ours:
        words.append("rendered and decoded again, the answer is another")
    if (again := through_wire(unfold(ours))) != ours:
        words.append(f"streamed by us, the answer is another: {again} != {ours}")
    return words


def _compare_request(body: Any) -> list[str]:
    if not isinstance(body, dict):
        return []
    request = codec.parse_request(body)
    wire = codec.encode(request, stream=body.get("stream", True))
    sent = json.loads(json.dumps(wire.body))
    for mine, recorded in zip(sent["messages"], body["messages"], strict=True):
        for call, original in zip(
            mine.get("tool_calls") or [], recorded.get("tool_calls") or [], strict=True
        ):
            if "id" not in original:  # one was made for it, which the server passes over
                call.pop("id", None)
    ours, theirs = canonical(sent), canonical(body)
    return [] if ours == theirs else [f"request: {ours} != {theirs}"]


def canonical(body: dict[str, Any]) -> dict[str, Any]:
    """A body as the server reads it: what is empty or null is the same as absent."""

    def clean(value: Any) -> Any:
        match value:
            case dict():
                return {k: c for k, v in value.items() if (c := clean(v)) not in (None, "", {}, [])}
            case list():
                return [clean(v) for v in value]
            case _:
                return value

    made: dict[str, Any] = clean(body)
    return {"stream": True, **made}
