"""Answers of Ollama's chat dialect: objects in, normalized events out; and its failures."""

from __future__ import annotations

import re
from typing import Any

from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure, classify_wire
from crux_providers.base.events import ChatStreamEvent, StreamFolder, ToolCallDelta
from crux_providers.base.models import JSON, ChatResponse, ModelInfo, Usage
from crux_providers.base.wire import WireEvent

from .ollama_chat_request import DIALECT, parse_calls
from .reading import (
    as_count,
    as_list,
    as_mapping,
    as_text,
    malformed,
    need_mapping,
    opt_text,
    parse_event,
    parse_json,
    rest_of,
)

_KNOWN = frozenset(
    {"model", "message", "done", "done_reason", "prompt_eval_count", "eval_count", "logprobs",
     "error"}
)  # fmt: skip
_MESSAGE_KNOWN = frozenset({"role", "content", "thinking", "tool_calls"})
_FINISH = {"stop": "stop", "length": "length"}

PATTERNS: tuple[tuple[re.Pattern[str], ErrorCode, str | None], ...] = (
    # Ollama has no error codes; server/images.go and server/routes.go of its repository say these
    # (read 2026-11-22): `"gemma:2b" does not support tools`, with or without the registry's name.
    (re.compile(r"^\S+ does not support tools$"), ErrorCode.UNSUPPORTED, "tools"),
    (re.compile(r"^\S+ does not support thinking$"), ErrorCode.UNSUPPORTED, "reasoning"),
    (re.compile(r"^\S+ does not support (vision|images?)\b"), ErrorCode.UNSUPPORTED, "vision"),
    (re.compile(r"^server busy, please try again"), ErrorCode.OVERLOADED, None),
    (re.compile(r"^model \S+ not found"), ErrorCode.NOT_FOUND, None),
)


class _Answer:
    """What the objects of one answer, streamed or whole, have said so far."""

    __slots__ = ("calls", "complete", "first", "wire")

    def __init__(self) -> None:
        self.calls = 0
        self.complete = False
        self.first = True
        self.wire: dict[str, JSON] = {}

    def read(self, chunk: JSON) -> list[ChatStreamEvent]:
        if type(chunk) is not dict:
            raise malformed(f"an answer is {type(chunk).__name__}, not an object")
        if (error := chunk.get("error")) is not None:
            raise in_band(error)
        events: list[ChatStreamEvent] = []
        if self.first:
            self.first = False
            events.append(ChatStreamEvent(meta={"model_name": as_text(chunk.get("model"))}))
        done = chunk.get("done") is True
        if "message" in chunk or not done:
            message = need_mapping(chunk.get("message"), "message")
            if thinking := opt_text(message.get("thinking"), "message.thinking"):
                events.append(ChatStreamEvent(reasoning=thinking))
            if text := opt_text(message.get("content"), "message.content"):
                events.append(ChatStreamEvent(delta=text))
            if message.get("tool_calls"):
                events.extend(self._calls(message["tool_calls"], chunk))
            if len(message) > 2 and (rest := rest_of(message, _MESSAGE_KNOWN)):
                self.wire.setdefault("message", {}).update(rest)
        if logprobs := as_list(chunk.get("logprobs")):
            events.append(ChatStreamEvent(meta={"logprobs": logprobs}))
        if done:
            events.extend(self._end(chunk))
        return events

    def _calls(self, value: JSON, chunk: dict[str, JSON]) -> list[ChatStreamEvent]:
        salt = f"{as_text(chunk.get('created_at'))}/{self.calls}"
        events = []
        for call in parse_calls(value, salt):
            piece = ToolCallDelta(
                self.calls,
                call.id,
                call.name,
                call.raw_arguments or "",
                dialect=DIALECT,
                extra=call.extra,
            )
            events.append(ChatStreamEvent(tool_call=piece))
            self.calls += 1
        return events

    def _end(self, chunk: dict[str, JSON]) -> list[ChatStreamEvent]:
        self.complete = True
        self.wire.update(rest_of(chunk, _KNOWN))
        reason = as_text(chunk.get("done_reason")) or "stop"
        finish = _FINISH.get(reason, "other")
        if self.calls and finish == "stop":
            finish = "tool_calls"
        if reason not in _FINISH:
            self.wire["done_reason"] = reason
        events = []
        prompt, completion = (
            as_count(chunk.get("prompt_eval_count")),
            as_count(chunk.get("eval_count")),
        )
        if prompt is not None or completion is not None:
            events.append(ChatStreamEvent(usage=Usage(prompt, completion)))
        meta = {"wire_fields": self.wire} if self.wire else None
        events.append(ChatStreamEvent(finish_reason=finish, meta=meta))
        return events


class Decoder:
    """One stream's lines; ``done: true`` is the proper end, and nothing follows it."""

    __slots__ = ("_answer", "complete", "ended", "skipped")

    def __init__(self) -> None:
        self._answer = _Answer()
        self.complete = False
        self.ended = False
        self.skipped = 0

    def feed(self, event: WireEvent) -> list[ChatStreamEvent]:
        """The events of one line; raises the error it holds, ``malformed`` for damage."""
        if self.ended:
            return []
        data = event.data
        if isinstance(data, (str, bytes)) and not data.strip():
            return []
        try:
            events = self._answer.read(parse_event(data))
        except RecursionError as exc:
            raise malformed("nested too deep", exc) from exc
        self.complete = self.ended = self._answer.complete
        return events

    def finish(self) -> list[ChatStreamEvent]:
        """Nothing is held back; raises ``transient`` where ``done: true`` never came."""
        if not self.complete:
            raise ProviderError(ErrorCode.TRANSIENT, "stream ended without done: true")
        return []


def decode(payload: Any) -> ChatResponse:
    """A whole answer: JSON already parsed, text or bytes. Raises ProviderError."""
    answer, folder = _Answer(), StreamFolder()
    try:
        body = need_mapping(parse_json(payload), "the answer")
        if "error" not in body:
            need_mapping(body.get("message"), "message")
        for event in answer.read(body):
            folder.add(event)
        if not answer.complete:
            raise malformed("an answer without done: true")
        return folder.response()
    except RecursionError as exc:
        raise malformed("nested too deep", exc) from exc


# -- failures --------------------------------------------------------------------------------------


def in_band(error: JSON) -> ProviderError:
    """The error in a line of a stream, or in a whole answer."""
    return classify(WireFailure("in_band", body={"error": error}))


def classify(failure: WireFailure) -> ProviderError:
    """A failed call by its status, and by its words where they name a feature."""
    words: str | None = None
    if failure.kind in ("status", "in_band"):
        try:
            body = parse_json(failure.body)
        except ProviderError:
            body = None
        error = as_mapping(body).get("error")
        words = as_text(error) or as_text(as_mapping(error).get("message"))
        if words is None and failure.body:
            words = str(failure.body)[:300]
    for pattern, code, feature in PATTERNS:
        if words is not None and pattern.search(words):
            return classify_wire(failure, message=words, code=code, feature=feature)
    return classify_wire(failure, message=words)


def models(payload: Any) -> list[ModelInfo]:
    """The models of ``/api/tags`` (or one of ``/api/show``, which knows capabilities)."""
    body = need_mapping(parse_json(payload), "the listing")
    return [_model(as_mapping(item)) for item in as_list(body.get("models")) if as_mapping(item)]


_CAPABILITIES = {"tools": "tools", "vision": "vision", "thinking": "reasoning", "audio": "audio"}


def _model(item: dict[str, JSON]) -> ModelInfo:
    name = as_text(item.get("model")) or as_text(item.get("name")) or ""
    details = as_mapping(item.get("details"))
    listed = item.get("capabilities")
    said = {w: w in listed for w in _CAPABILITIES} if isinstance(listed, list) else {}
    capabilities = {_CAPABILITIES[word]: has for word, has in said.items()}
    changed = as_text(item.get("modified_at"))
    return ModelInfo(
        id=name,
        name=as_text(item.get("name")) or name,
        context_length=as_count(details.get("context_length")),
        capabilities=capabilities,
        updated_at=changed[:10] if changed else None,
        family=as_text(details.get("family")),
        capability_sources=dict.fromkeys(capabilities, "api"),
        extra=rest_of(item, ("name", "model", "modified_at", "capabilities")),
    )
