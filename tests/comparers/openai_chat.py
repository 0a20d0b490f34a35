"""The OpenAI chat codec beside the official SDK, exchange by exchange.

The oracle is the SDK as it runs: its client over a transport that replays the recorded bytes, its
typed ``ChatCompletion`` for whole bodies, its stream and its ``ChatCompletionStreamState`` for
streams, its exception classes for error statuses.

What two request bodies that a provider reads the same are: ``openai_chat_requests``.
"""

from __future__ import annotations

import importlib
import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

import openai
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure
from crux_providers.base.events import ChatStreamEvent, ToolCallDelta, fold
from crux_providers.base.models import ChatResponse
from crux_providers.base.wire import WireEvent
from crux_providers.codecs import openai_chat as codec
from crux_providers.codecs.framing import SSEDecoder, render_sse
from tests.comparers.openai_chat_requests import compare_request
from tests.recordings import Interaction

SMALL = 4096
"""Bytes up to which a stream is split at every position."""

_COHERE = "Cohere's own API, no OpenAI dialect"
REASONS: Mapping[str, str] = {
    "_bodies/mistral/chat__mistral-transcription.json": "an audio transcription, no chat",
    **{
        f"_bodies/cohere/chat__cohere-{name}": _COHERE
        for name in (
            "embedding.json",
            "empty-tool-call.chunks.txt",
            "max-tokens.json",
            "null-args.json",
            "reasoning.chunks.txt",
            "reasoning.json",
        )
    },
}


def compare(interaction: Interaction) -> list[str]:
    """The differences between codec and SDK on one exchange, in words."""
    words: list[str] = []
    if interaction.request_body is not None:
        words += compare_request(interaction)
    if interaction.status >= 300:
        return words + _compare_error(interaction)
    if not interaction.stream:
        return words + _compare_whole(interaction)
    return words + _compare_stream(interaction) + _compare_splits(interaction.body)


# --- the SDK ------------------------------------------------------------------------------------

# openai 3 stands on httpx2, openai 2 on httpx: take whichever its own client class is made of.
_http = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
_answer: dict[str, Any] = {}


def _replay(_request: Any) -> Any:
    return _http.Response(_answer["status"], headers=_answer["headers"], content=_answer["body"])


_client = openai.OpenAI(
    api_key="none",
    base_url="http://recorded.invalid/v1",
    max_retries=0,
    http_client=openai.DefaultHttpxClient(transport=_http.MockTransport(_replay)),
)


def _play(interaction: Interaction) -> None:
    kind = "text/event-stream" if interaction.stream else "application/json"
    headers = {"content-type": kind}
    if "x-request-id" in interaction.headers:
        headers["x-request-id"] = interaction.headers["x-request-id"]
    _answer.update(status=interaction.status, headers=headers, body=interaction.body)


def _sdk_whole(interaction: Interaction) -> ChatCompletion:
    _play(interaction)
    return _client.post("/chat/completions", body={}, cast_to=ChatCompletion)


def _sdk_chunks(interaction: Interaction) -> Iterator[ChatCompletionChunk]:
    _play(interaction)
    return iter(
        _client.post(
            "/chat/completions",
            body={},
            cast_to=ChatCompletion,
            stream=True,
            stream_cls=openai.Stream[ChatCompletionChunk],
        )
    )


# --- answers ---


def decode_stream(body: bytes) -> list[ChatStreamEvent]:
    """The events of a stream's bytes."""
    frames, decoder = SSEDecoder(), codec.Decoder()
    wire = [*frames.feed(body), *frames.finish()]
    return [*(e for w in wire for e in decoder.feed(w)), *decoder.finish()]


def _compare_whole(interaction: Interaction) -> list[str]:
    try:
        ours = codec.decode(interaction.body)
    except ProviderError as exc:
        return [f"decode: {exc}"]
    theirs = _sdk_whole(interaction)
    return [
        *_differences(ours, theirs),
        *_laws(ours),
        *_lost(json.loads(interaction.body), codec.render_response(ours)),
    ]


def _compare_stream(interaction: Interaction) -> list[str]:
    chunks: list[ChatCompletionChunk] = []
    try:
        for chunk in _sdk_chunks(interaction):
            chunks.append(chunk)
        failure = None
    except openai.APIError as exc:
        failure = exc
    try:
        events = decode_stream(interaction.body)
    except ProviderError as exc:
        if failure is None:
            return [f"decode: {exc}"]
        return _same({"message of the in-band error": (exc.message, failure.message)})
    if failure is not None:
        return [f"the SDK raises {failure!r}, the codec nothing"]
    ours = fold(events)
    state = codec.RenderState()
    again = fold(
        decode_stream(
            b"".join(
                render_sse(w)
                for event in [*events, ChatStreamEvent(finish=True)]
                for w in codec.render_event(event, state)
            )
        )
    )
    words = _differences(ours, _accumulated(chunks))
    if _without_shapes(again) != _without_shapes(ours):
        words.append(f"rendered event by event, the answer is another: {again} != {ours}")
    return [*words, *_laws(ours)]


def _without_shapes(response: ChatResponse) -> Any:
    return response.parts, response.tool_calls, response.finish_reason, response.meta


def _accumulated(chunks: list[ChatCompletionChunk]) -> Any:
    """What the SDK's own accumulator makes of the chunks.

    It takes no tool call without an index (Mistral, Gemini, Ollama) and no list as content
    (Mistral); its chunks are completed by their position before, and lists joined after it.
    """
    state = ChatCompletionStreamState()
    texts: list[str] = []
    thoughts: list[str] = []
    calls = 0
    for chunk in chunks:
        chunk = chunk.model_copy(deep=True)
        for choice in chunk.choices:
            delta = choice.delta
            delta.role = None
            if isinstance(delta.content, list):
                for item in delta.content:
                    thoughts += [t["text"] for t in item.get("thinking", ())]
                    texts += [item["text"]] if item["type"] == "text" else []
                delta.content = None
            elif delta.content and choice.index == 0:
                texts.append(delta.content)
            for call in delta.tool_calls or ():
                if call.index is None:
                    call.index = calls
                calls = max(calls, call.index + 1)
        state.handle_chunk(chunk)
    answer = state.current_completion_snapshot
    message = answer.choices[0].message
    message.content = "".join(texts)
    if thoughts:
        message.reasoning_content = "".join(thoughts)
    answer.model = next((c.model for c in chunks if c.model), None)
    answer.id = next((c.id for c in chunks if c.id), None)
    prints = [c.system_fingerprint for c in chunks if c.system_fingerprint is not None]
    answer.system_fingerprint = prints[-1] if prints else None  # the SDK takes the last chunk's
    return answer


def _same(pairs: Mapping[str, tuple[Any, Any]]) -> list[str]:
    return [f"{what}: {a!r} != SDK {b!r}" for what, (a, b) in pairs.items() if a != b]


def _differences(ours: ChatResponse, theirs: Any) -> list[str]:
    choice = theirs.choices[0]
    message = choice.message
    calls = _sdk_calls(message)
    mine = [(c.id, c.name, c.raw_arguments) for c in ours.tool_calls]
    if len(mine) == len(calls):  # an empty id on the wire is one that we make up
        both = zip(calls, mine, strict=True)
        calls = [(given or made, *rest) for (given, *rest), (made, *_) in both]
        if any(not mine_id for mine_id, *_ in mine):
            return ["a tool call has no id"]
    usage = theirs.usage
    fields = ours.meta.extra.get("wire_fields", {})
    return _same(
        {
            "id": (ours.meta.response_id, getattr(theirs, "id", None) or None),
            "model": (ours.meta.model_name, theirs.model),
            "text": (ours.text, _sdk_text(message)),
            "refusal": (ours.refusal, getattr(message, "refusal", None)),
            "reasoning": (ours.reasoning or "", _sdk_reasoning(message)),
            "tool calls": ([tuple(c) for c in mine], [tuple(c) for c in calls]),
            "finish_reason": (ours.finish_reason, _sdk_finish(choice, calls)),
            "prompt tokens": (ours.usage.prompt, usage and usage.prompt_tokens),
            "completion tokens": (ours.usage.completion, usage and usage.completion_tokens),
            "total tokens": (ours.usage.total, usage and usage.total_tokens),
            "cached": (ours.usage.details.get("cached", 0), _sdk_cached(usage)),
            "reasoning tokens": (
                ours.usage.details.get("reasoning", 0),
                _count(usage, "completion_tokens_details", "reasoning_tokens"),
            ),
            "logprobs": (ours.meta.extra.get("logprobs"), _sdk_logprobs(choice)),
            "further choices": (
                [(c["index"], c["message"].get("content"), c["finish_reason"])
                 for c in fields.get("choices", ())],
                [(c.index, c.message.content, c.finish_reason) for c in theirs.choices[1:]],
            ),
            "system_fingerprint": (
                fields.get("system_fingerprint"),
                getattr(theirs, "system_fingerprint", None),
            ),
        }
    )  # fmt: skip


def _sdk_calls(message: Any) -> list[tuple[str, str, str]]:
    given = getattr(message, "tool_calls", None) or ()
    calls = [(c.id, c.function.name, c.function.arguments or "") for c in given]
    if (old := getattr(message, "function_call", None)) is not None:
        calls.append(("", old.name, old.arguments))
    return calls


def _sdk_text(message: Any) -> str:
    content = getattr(message, "content", None)
    if isinstance(content, list):
        return "".join(i["text"] for i in content if i["type"] == "text")
    return content or ""


def _sdk_reasoning(message: Any) -> str:
    for name in ("reasoning_content", "reasoning"):
        if text := getattr(message, name, None):
            return str(text)
    content = getattr(message, "content", None)
    if isinstance(content, list):
        return "".join(t["text"] for i in content for t in i.get("thinking", ()))
    return ""


def _sdk_finish(choice: Any, calls: list[Any]) -> str:
    reason = choice.finish_reason
    if reason is None:  # the first vision models said it elsewhere
        reason = {"max_tokens": "length"}[choice.finish_details["type"]]
    return "tool_calls" if calls and reason in ("stop", "function_call", "tool_calls") else reason


def _sdk_cached(usage: Any) -> int:
    nested = _count(usage, "prompt_tokens_details", "cached_tokens")
    names = ("prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens")
    return nested or max(getattr(usage, name, 0) or 0 for name in names)


def _count(usage: Any, parent: str, name: str) -> int:
    details = getattr(usage, parent, None)
    if isinstance(details, Mapping):
        return details.get(name) or 0
    return getattr(details, name, 0) or 0


def _sdk_logprobs(choice: Any) -> Any:
    logprobs = getattr(choice, "logprobs", None)
    content = None if logprobs is None else logprobs.content
    return [e.model_dump(exclude_unset=True) for e in content] if content else None


# --- laws ---


def unfold(response: ChatResponse) -> Iterator[ChatStreamEvent]:
    """A whole answer as the events that spell it."""
    meta = response.meta
    ids = {"response_id": meta.response_id, "model_name": meta.model_name}
    yield ChatStreamEvent(meta={**ids, "request_id": meta.request_id})
    calls = list(enumerate(response.tool_calls))
    for position, part in enumerate([*response.parts, None]):
        while calls and (part is None or calls[0][1].after == position):
            index, call = calls.pop(0)
            text = call.raw_arguments or ""
            own = {"dialect": call.dialect, "extra": call.extra}
            head = ToolCallDelta(index, call.id, call.name, text[:3], **own)
            yield ChatStreamEvent(tool_call=head)
            yield ChatStreamEvent(tool_call=ToolCallDelta(index, arguments=text[3:]))
        match part:
            case None:
                break
            case _ if part.text is None or part.extra or part.data or part.url or part.signature:
                yield ChatStreamEvent(part=part)
            case _:
                word = "delta" if part.type == "text" else part.type
                for piece in (part.text[:5], part.text[5:]):
                    yield ChatStreamEvent(**{word: piece or None})
    if logprobs := meta.extra.get("logprobs"):
        yield ChatStreamEvent(meta={"logprobs": logprobs[:2]})
        yield ChatStreamEvent(meta={"logprobs": logprobs[2:]})
    yield ChatStreamEvent(usage=response.usage)
    fields = {"wire_fields": meta.extra.get("wire_fields")}
    yield ChatStreamEvent(finish_reason=response.finish_reason, meta=fields)
    yield ChatStreamEvent(finish=True)


def _laws(ours: ChatResponse) -> list[str]:
    words = []
    again = codec.decode(codec.render_response(ours))
    if again != ours:
        words.append(f"rendered and decoded again, the answer is another: {again} != {ours}")
    state = codec.RenderState()
    wire = [w for event in unfold(ours) for w in codec.render_event(event, state)]
    streamed = fold(decode_stream(b"".join(render_sse(w) for w in wire)))
    if streamed != ours:
        words.append(f"streamed by us, the answer is another: {streamed} != {ours}")
    return words


_SAID_ELSEWHERE = (
    "object", "reasoning", "prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens",
)  # fmt: skip


def _lost(wire: Any, rendered: Any, path: str = "") -> list[str]:
    """What a recorded body says that our own rendering of it does not."""
    if isinstance(wire, dict) and isinstance(rendered, dict):
        return [
            words
            for key, value in wire.items()
            if not _forgiven(path, key, value)
            for words in _lost(value, rendered.get(key), f"{path}.{key}")
        ]
    if isinstance(wire, list) and isinstance(rendered, list) and len(wire) == len(rendered):
        return [
            words
            for i, (a, b) in enumerate(zip(wire, rendered, strict=True))
            for words in _lost(a, b, f"{path}[{i}]")
        ]
    return [] if wire == rendered else [f"lost: {path[1:]} {wire!r} is rendered {rendered!r}"]


def _forgiven(path: str, key: str, value: Any) -> bool:
    return (
        value is None
        or value in ([], "", {})
        or key in _SAID_ELSEWHERE
        or (key == "index" and path.endswith("]") and ".tool_calls[" in path)
        or (value == 0 and ".usage" in path)
        or (key.endswith("_tokens_details") and not any(value.values()))
        or (path.startswith(".choices[0].message.reasoning_details") and key == "text")
    )


def _compare_splits(body: bytes) -> list[str]:
    frames = SSEDecoder()
    whole = [*frames.feed(body), *frames.finish()]
    if len(body) <= SMALL:
        cuts: Any = ([n] for n in range(1, len(body)))
    else:
        dice = random.Random(len(body))
        cuts = (sorted(dice.sample(range(1, len(body)), dice.randint(1, 40))) for _ in range(8))
    for cut in cuts:
        if pieces(body, cut) != whole:
            return [f"split at {cut}, the events are others"]
    return []


def pieces(body: bytes, cuts: list[int]) -> list[WireEvent]:
    """The wire events of a body that arrives in pieces."""
    frames = SSEDecoder()
    events: list[WireEvent] = []
    for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        events += frames.feed(body[begin:end])
    return events + frames.finish()


# --- errors ---

_BY_CLASS: Mapping[type[openai.APIStatusError], frozenset[str]] = {
    openai.AuthenticationError: frozenset({"auth"}),
    openai.PermissionDeniedError: frozenset({"permission", "content_filter"}),
    openai.NotFoundError: frozenset({"not_found", "unsupported"}),
    openai.RateLimitError: frozenset({"rate_limit", "quota", "overloaded"}),
    openai.ConflictError: frozenset({"conflict"}),
    openai.UnprocessableEntityError: frozenset({"bad_request", "unsupported"}),
    openai.BadRequestError: frozenset(
        {"bad_request", "context_length", "unsupported", "content_filter", "malformed"}
    ),
    openai.InternalServerError: frozenset({"server_error", "transient", "overloaded"}),
}


def _compare_error(interaction: Interaction) -> list[str]:
    failure = WireFailure(
        "status", status=interaction.status, headers=interaction.headers, body=interaction.body
    )
    ours = codec.classify(failure)
    try:
        _sdk_whole(interaction)
    except openai.APIStatusError as exc:
        theirs = exc
    else:
        return ["the SDK raises nothing"]
    body = theirs.body if isinstance(theirs.body, dict) else {}
    words = _same(
        {
            "status": (ours.status, theirs.status_code),
            "request id": (ours.request_id, theirs.request_id),
            "message": (ours.message, body.get("message")),
            "code": (ours.provider_code, theirs.code or theirs.type),
        }
    )
    if ours.code not in _BY_CLASS[type(theirs)]:
        words.append(f"{ours.code} for the SDK's {type(theirs).__name__}")
    status, rendered = codec.render_error(ours)
    again = codec.classify(WireFailure("status", status=status, body=rendered))
    if again.code != ours.code and ours.code is not ErrorCode.BAD_REQUEST:
        words.append(f"rendered, the error reads {again.code}")
    return words
