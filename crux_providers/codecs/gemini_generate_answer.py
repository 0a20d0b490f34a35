"""Answers of Gemini's dialect: chunks in, normalized events out; and the listing of models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.events import ChatStreamEvent, StreamFolder, ToolCallDelta
from crux_providers.base.models import JSON, ChatResponse, ModelInfo, Usage
from crux_providers.base.wire import WireEvent

from .gemini_generate_errors import blocked, in_band
from .gemini_generate_parts import (
    DIALECT,
    call_arguments,
    call_extra,
    camel,
    made_id,
    put_at,
    read_part,
)
from .reading import (
    as_count,
    as_list,
    as_mapping,
    as_text,
    json_text,
    malformed,
    need_list,
    need_mapping,
    need_text,
    opt_list,
    opt_text,
    parse_event,
    parse_json,
    rest_of,
)

FINISH: Mapping[str, str] = {
    # Candidate.FinishReason of both APIs' references (read 2026-11-22). UNEXPECTED_TOOL_CALL ends
    # answers with whole calls too (recorded: vertex/generate_malformed_call__pydantic-ai).
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MALFORMED_FUNCTION_CALL": "error",
    "MALFORMED_RESPONSE": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
}
FINISH_NUMBERS: Mapping[int, str] = {
    # What protobuf clients ask for with $alt=json;enum-encoding=int (recorded:
    # vertex/generate_multi_turn__otel-contrib). The two APIs number FinishReason alike up to 5;
    # of the rest only those stand here that mean the same class in both.
    1: "STOP",
    2: "MAX_TOKENS",
    3: "SAFETY",
    4: "RECITATION",
    5: "OTHER",
    7: "PROHIBITED_CONTENT",
    8: "PROHIBITED_CONTENT",
}
PLAIN_FINISH = frozenset({"STOP", "MAX_TOKENS"})
_CALLS_END = frozenset({"STOP", "UNEXPECTED_TOOL_CALL"})

_BODY = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId"})
_CANDIDATE = frozenset({"content", "finishReason", "index", "logprobsResult"})
_USAGE = frozenset(
    {"promptTokenCount", "candidatesTokenCount", "totalTokenCount", "thoughtsTokenCount",
     "cachedContentTokenCount", "toolUsePromptTokenCount"}
)  # fmt: skip


class _PartialCall:
    """A call whose arguments come in pieces."""

    __slots__ = ("arguments", "index")

    def __init__(self, index: int, arguments: dict[str, JSON]) -> None:
        self.index = index
        self.arguments = arguments


class _Answer:
    """What the chunks of one answer, streamed or whole, have said so far."""

    __slots__ = (
        "begun",
        "block",
        "blocks",
        "calls",
        "candidate",
        "counted",
        "finish",
        "id",
        "kind",
        "open",
        "others",
        "usage",
        "wire",
    )

    def __init__(self) -> None:
        self.begun = False
        self.blocks = 0  # numbers given to parts that deltas alone would not keep apart
        self.block = 0
        self.kind: str | None = None  # of the text that ``block`` numbers, while it goes on
        self.calls = 0
        self.candidate: dict[str, JSON] = {}
        self.counted = False
        self.finish: str | None = None
        self.id: str | None = None
        self.open: _PartialCall | None = None
        self.others: list[JSON] = []
        self.usage: JSON = None
        self.wire: dict[str, JSON] = {}

    def read(self, chunk: JSON) -> list[ChatStreamEvent]:
        if type(chunk) is not dict:
            if type(chunk) is list:  # a stream without alt=sse is one JSON array
                return [event for item in chunk for event in self.read(item)]
            raise malformed(f"an answer is {type(chunk).__name__}, not an object")
        if "error" in chunk:
            raise in_band(chunk)
        events: list[ChatStreamEvent] = []
        if not self.begun:
            self._begin(chunk, events)
        candidates = chunk.get("candidates")
        if candidates:
            for place, candidate in enumerate(need_list(candidates, "candidates")):
                if type(candidate) is not dict:
                    raise malformed(f"a candidate is {type(candidate).__name__}, not an object")
                if candidate.get("index", place):
                    self.others.append(candidate)
                    continue
                content = candidate.get("content")
                if content is not None:
                    self._content(content, events)
                if len(candidate) > 1 and not candidate.keys() <= {"content", "index"}:
                    self._end_of_candidate(candidate, events)
        elif as_mapping(chunk.get("promptFeedback")).get("blockReason"):
            raise blocked(chunk["promptFeedback"])
        usage = chunk.get("usageMetadata")
        if usage is not None:
            self._count(usage, events)
        if not chunk.keys() <= _BODY:
            self.wire.update(rest_of(chunk, _BODY))
        return events

    def _begin(self, chunk: dict[str, JSON], events: list[ChatStreamEvent]) -> None:
        self.begun = True
        self.id = as_text(chunk.get("responseId"))
        meta = {"response_id": self.id, "model_name": as_text(chunk.get("modelVersion"))}
        events.append(ChatStreamEvent(meta=meta))

    def _content(self, content: JSON, events: list[ChatStreamEvent]) -> None:
        for part in opt_list(need_mapping(content, "content").get("parts"), "parts") or ():
            if type(part) is dict and len(part) == 1 and type(text := part.get("text")) is str:
                if text:
                    events.append(
                        ChatStreamEvent(text, block=self._running("text"))
                        if self.calls
                        else ChatStreamEvent(text)
                    )
            else:
                self._part(part, events)

    def _running(self, kind: str) -> int | None:
        """The block of a text without a signature: a number only after a call, since a text
        before the call would go on otherwise."""
        if not self.calls:
            return None
        if self.kind != kind:
            self.kind = kind
            self.block = self._next_block()
        return self.block

    def _next_block(self) -> int:
        self.blocks += 1
        return self.blocks - 1

    def _part(self, value: JSON, events: list[ChatStreamEvent]) -> None:
        given = camel(need_mapping(value, "a part"))
        if given.get("functionCall") is not None:
            self._call(given, events)
            return
        part = read_part(given, "a part")
        text = part.text or ""
        if part.signature is None and part.extra is None and part.type in ("text", "reasoning"):
            if text:
                running = self._running(part.type)
                events.append(
                    ChatStreamEvent(text, block=running)
                    if part.type == "text"
                    else ChatStreamEvent(reasoning=text, block=running)
                )
            return
        self.kind = None
        block = self._next_block()
        if text and part.type == "text":
            events.append(ChatStreamEvent(text, block=block))
        elif text:
            events.append(ChatStreamEvent(reasoning=text, block=block))
        events.append(ChatStreamEvent(part=part, block=block))

    def _call(self, part: dict[str, JSON], events: list[ChatStreamEvent]) -> None:
        call = camel(need_mapping(part["functionCall"], "functionCall"))
        more = call.get("willContinue") is True
        name = opt_text(call.get("name"), "functionCall.name")
        if not name:
            if self.open is None:
                raise malformed("a function call without a name")
            self._piece(self.open, call)
            if not more:
                self._close(events)
            return
        self._close(events)
        self.kind = None
        streamed = more or "partialArgs" in call
        text = "" if streamed else call_arguments(call)
        id = as_text(call.get("id")) or made_id(self.id, self.calls, name, text)
        piece = ToolCallDelta(
            self.calls,
            id,
            name,
            text,
            signature=opt_text(part.get("thoughtSignature"), "thoughtSignature"),
            dialect=DIALECT,
            extra=call_extra(part, call),
        )
        events.append(ChatStreamEvent(tool_call=piece))
        if streamed:
            first = call.get("args")
            begun = dict(need_mapping({} if first is None else first, "functionCall.args"))
            self.open = _PartialCall(self.calls, begun)
            self._piece(self.open, call)
        self.calls += 1
        if streamed and not more:
            self._close(events)

    def _piece(self, opened: _PartialCall, call: dict[str, JSON]) -> None:
        for item in opt_list(call.get("partialArgs"), "partialArgs") or ():
            given = camel(need_mapping(item, "partialArgs"))
            path = need_text(given.get("jsonPath"), "partialArgs.jsonPath")
            for field in ("stringValue", "numberValue", "boolValue"):
                if field in given:
                    put_at(opened.arguments, path, given[field])
                    break
            else:
                put_at(opened.arguments, path, None)

    def _close(self, events: list[ChatStreamEvent]) -> None:
        if self.open is not None:
            text = json_text(self.open.arguments)
            piece = ToolCallDelta(self.open.index, arguments=text)
            events.append(ChatStreamEvent(tool_call=piece))
            self.open = None

    def _end_of_candidate(self, candidate: dict[str, JSON], events: list[ChatStreamEvent]) -> None:
        self.candidate.update(rest_of(candidate, _CANDIDATE))
        reason = candidate.get("finishReason")
        if type(reason) is int and reason > 0:
            self.finish = FINISH_NUMBERS.get(reason, "OTHER")
            self.candidate["finishReason"] = reason
        elif isinstance(reason, str) and reason:
            self.finish = reason
        result = candidate.get("logprobsResult")
        if isinstance(result, dict):
            entries, rest = read_logprobs(result)
            if entries:
                events.append(ChatStreamEvent(meta={"logprobs": entries}))
            if rest:
                self.candidate["logprobsResult"] = rest

    def _count(self, usage: JSON, events: list[ChatStreamEvent]) -> None:
        if isinstance(usage, dict):
            self.usage = usage
            if not self.counted and "promptTokenCount" in usage:
                # The first count says what the prompt costs, even if the stream is cut.
                self.counted = True
                events.append(ChatStreamEvent(usage=read_usage(usage)))

    def end(self) -> list[ChatStreamEvent]:
        """The events that only the end of the answer allows."""
        events: list[ChatStreamEvent] = []
        self._close(events)
        if isinstance(self.usage, dict):
            usage = read_usage(self.usage)
            if usage != Usage():
                events.append(ChatStreamEvent(usage=usage))
            if rest := rest_of(self.usage, _USAGE):
                self.wire["usageMetadata"] = rest
        reason = self.finish or ""
        finish = FINISH.get(reason, "other")
        if self.calls and reason in _CALLS_END:
            finish = "tool_calls"
        if reason not in PLAIN_FINISH:
            self.candidate.setdefault("finishReason", reason)
        if self.candidate:
            self.wire["candidate"] = self.candidate
        if self.others:
            self.wire["candidates"] = self.others
        meta = {"wire_fields": self.wire} if self.wire else None
        events.append(ChatStreamEvent(finish_reason=finish, meta=meta))
        return events


def read_usage(usage: Mapping[str, JSON]) -> Usage:
    """``usageMetadata`` as counts: what tools brought into the prompt is prompt, thoughts are
    completion."""
    prompt = as_count(usage.get("promptTokenCount"))
    tools = as_count(usage.get("toolUsePromptTokenCount"))
    said = as_count(usage.get("candidatesTokenCount"))
    thoughts = as_count(usage.get("thoughtsTokenCount"))
    total = as_count(usage.get("totalTokenCount"))
    completion: int | None = None
    if said is not None or thoughts is not None:
        completion = (said or 0) + (thoughts or 0)
    elif total is not None:
        completion = 0  # a zero is left out on this wire
    details = {
        "cached": as_count(usage.get("cachedContentTokenCount")),
        "reasoning": thoughts,
        "toolUsePromptTokenCount": tools,
    }
    return Usage(
        None if prompt is None and tools is None else (prompt or 0) + (tools or 0),
        completion,
        total,
        {name: count for name, count in details.items() if count},
    )


def read_logprobs(result: dict[str, JSON]) -> tuple[list[JSON], dict[str, JSON]]:
    """The entries of the chosen tokens, each with its alternatives, and the fields beside them."""
    chosen = [c for c in as_list(result.get("chosenCandidates")) if isinstance(c, dict)]
    tops = as_list(result.get("topCandidates"))
    entries: list[JSON] = []
    for place, entry in enumerate(chosen):
        top = as_list(as_mapping(tops[place]).get("candidates")) if place < len(tops) else []
        entries.append({**entry, "topCandidates": top} if top else entry)
    return entries, rest_of(result, ("chosenCandidates", "topCandidates"))


class Decoder:
    """One stream's chunks. A ``finishReason`` is the proper end; since chunks may still follow it
    (counts, grounding), the end itself is told by :meth:`finish`."""

    __slots__ = ("_answer", "complete", "ended", "skipped")

    def __init__(self) -> None:
        self._answer = _Answer()
        self.complete = False
        self.ended = False
        self.skipped = 0

    def feed(self, event: WireEvent) -> list[ChatStreamEvent]:
        """The events of one chunk; raises the error it holds, ``malformed`` for damage."""
        if self.ended:
            return []
        data = event.data
        if isinstance(data, (str, bytes)) and not data.strip():
            return []
        try:
            events = self._answer.read(parse_event(data))
        except RecursionError as exc:
            raise malformed("nested too deep", exc) from exc
        self.complete = self._answer.finish is not None
        return events

    def finish(self) -> list[ChatStreamEvent]:
        """The counts and the finish reason; raises ``transient`` where no reason ever came."""
        if not self.complete:
            raise ProviderError(ErrorCode.TRANSIENT, "stream ended without finishReason")
        if self.ended:
            return []
        self.ended = True
        return self._answer.end()


def decode(payload: Any) -> ChatResponse:
    """A whole answer (or the array of a stream's chunks): JSON, text or bytes.

    Raises ProviderError: ``content_filter`` for a blocked prompt, the error an answer holds, and
    ``malformed``.
    """
    answer, folder = _Answer(), StreamFolder()
    try:
        for event in answer.read(parse_json(payload)):
            folder.add(event)
        if answer.finish is None:
            raise malformed("an answer without a finished candidate")
        for event in answer.end():
            folder.add(event)
        return folder.response()
    except RecursionError as exc:
        raise malformed("nested too deep", exc) from exc


# -- models ----------------------------------------------------------------------------------------


def models(payload: Any) -> list[ModelInfo]:
    """The models of a ``models.list`` page (or the one of ``models.get``)."""
    body = need_mapping(parse_json(payload), "the listing")
    listed = body.get("models", body.get("publisherModels"))
    if listed is None:
        listed = [body] if "name" in body else []
    return [_model(as_mapping(item)) for item in as_list(listed) if as_mapping(item).get("name")]


def _model(item: dict[str, JSON]) -> ModelInfo:
    full = as_text(item.get("name")) or ""
    methods = as_list(item.get("supportedGenerationMethods"))
    said: dict[str, bool] = {}
    if methods:
        # streamGenerateContent is never listed; it comes with generateContent.
        said["streaming"] = "generateContent" in methods
    if isinstance(item.get("thinking"), bool):
        said["reasoning"] = item["thinking"]
    return ModelInfo(
        id=full.rpartition("models/")[2] or full,
        name=as_text(item.get("displayName")) or full,
        context_length=as_count(item.get("inputTokenLimit")),
        capabilities=said,
        family=as_text(item.get("baseModelId")),
        max_output_tokens=as_count(item.get("outputTokenLimit")),
        capability_sources=dict.fromkeys(said, "api"),
        extra=rest_of(
            item, ("name", "displayName", "inputTokenLimit", "outputTokenLimit", "thinking")
        ),
    )
