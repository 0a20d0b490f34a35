"""Reading answers of the OpenAI chat dialect, whole or in chunks, by one and the same rules.

A whole answer is read as a stream of one chunk whose ``message`` is its only delta, so the two
cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from crux_providers.base.events import ChatStreamEvent
from crux_providers.base.models import JSON

from .openai_chat_errors import in_band
from .openai_chat_message import MessageReader, merged
from .openai_chat_tables import FINISH_REASONS, finish_reason, read_usage
from .reading import as_count, as_list, as_mapping, as_text, dig, malformed, need_list

MESSAGE_FIELDS = ("annotations",)
"""Fields of a message that stand in ``wire_fields`` by their own name; others under ``message``."""

_TOP = frozenset({"id", "object", "model", "choices", "usage", "request_id", "obfuscation"})
_CHOICE = frozenset({"index", "delta", "message", "finish_reason", "logprobs", "usage", "error"})
_PLAIN = frozenset({"role", "content"})


class Answer:
    """What of an answer has been read; :meth:`chunk` and :meth:`close` give its events."""

    __slots__ = (
        "_choice", "_choice_keys", "_finish", "_identified", "_keys", "_message", "_others",
        "_request_id", "_top", "_unknown", "_unknown_choice", "_usage", "closed", "complete",
        "model", "response_id", "whole",
    )  # fmt: skip

    def __init__(self, *, whole: bool) -> None:
        self.whole = whole
        self.complete = False
        self.closed = False
        self.response_id: str | None = None
        self.model: str | None = None
        self._request_id: str | None = None
        self._identified = False
        self._keys: tuple[str, ...] = ()
        self._unknown: tuple[str, ...] = ()
        self._choice_keys: tuple[str, ...] = ()
        self._unknown_choice: tuple[str, ...] = ()
        self._top: dict[str, JSON] = {}
        self._choice: dict[str, JSON] = {}
        self._others: dict[int, dict[str, JSON]] = {}
        self._usage: JSON = None
        self._finish: str | None = None
        self._message = MessageReader(whole=whole)

    def chunk(self, chunk: dict[str, JSON]) -> list[ChatStreamEvent]:
        """The events of one chunk, or of a whole answer; raises the error it holds."""
        events: list[ChatStreamEvent] = []
        keys = tuple(chunk)
        if keys != self._keys:  # a stream's chunks mostly look alike: work this out once
            self._keys = keys
            self._unknown = tuple(k for k in keys if k not in _TOP)
            self._identified = False
        if chunk.get("error") or chunk.get("object") == "error":
            raise in_band(chunk)
        if not self._identified:
            self._identify(chunk, events)
        for key in self._unknown:
            if chunk[key] is not None:
                self._top[key] = chunk[key]
        choices = chunk.get("choices")
        if type(choices) is not list:
            choices = self._no_choices(chunk)
        for position, choice in enumerate(choices):
            if type(choice) is not dict:
                raise malformed(f"choices[{position}] is {type(choice).__name__}, not an object")
            index = position if self.whole else choice.get("index")
            if index == 0 or type(index) is not int:
                self._take_choice(choice, events)
            else:
                self._take_other(index, choice)
        usage = chunk.get("usage")
        if usage is None and "x_groq" in chunk:
            usage = dig(chunk, "x_groq", "usage")
        if usage is not None and usage != self._usage:
            self._take_usage(usage, events)
        return events

    def _no_choices(self, chunk: Mapping[str, JSON]) -> list[JSON]:
        # A last chunk may carry nothing but the usage; a missing field anywhere else is damage.
        if (
            not self.whole
            and "choices" not in chunk
            and (isinstance(chunk.get("usage"), dict) or "x_groq" in chunk)
        ):
            return []
        return need_list(chunk.get("choices"), "choices")

    def _identify(self, chunk: Mapping[str, JSON], events: list[ChatStreamEvent]) -> None:
        meta: dict[str, Any] = {}
        if self.response_id is None and (found := as_text(chunk.get("id"))):
            meta["response_id"] = self.response_id = self._message.seed = found
        if self.model is None and (found := as_text(chunk.get("model"))):
            meta["model_name"] = self.model = found
        if self._request_id is None:
            # Z.AI; Groq (its id of the call is also the x-request-id header)
            found = as_text(chunk.get("request_id")) or as_text(dig(chunk, "x_groq", "id"))
            if found:
                meta["request_id"] = self._request_id = found
        self._identified = self.response_id is not None and self.model is not None
        if self._message.seed is None:
            self._message.seed = chunk.get("created") or None
        if meta:
            events.append(ChatStreamEvent(meta=meta))

    def _take_usage(self, raw: JSON, events: list[ChatStreamEvent]) -> None:
        if not isinstance(raw, dict):
            return
        self._usage = raw
        usage, rest = read_usage(raw)
        if rest:
            self._top["usage"] = rest
        if usage.details or any(v is not None for v in usage.tokens.values()):
            events.append(ChatStreamEvent(usage=usage))

    def _take_choice(self, choice: dict[str, JSON], events: list[ChatStreamEvent]) -> None:
        keys = tuple(choice)
        if keys != self._choice_keys:
            self._choice_keys = keys
            self._unknown_choice = tuple(k for k in keys if k not in _CHOICE)
        if choice.get("error"):
            raise in_band(choice)
        for key in self._unknown_choice:
            if choice[key] is not None:
                self._choice[key] = choice[key]
        finish = choice.get("finish_reason")
        if finish is None and "finish_details" in choice:  # OpenAI's first vision models
            finish = dig(choice, "finish_details", "type")
        delta = choice.get("message" if self.whole else "delta")
        if type(delta) is dict:
            content = delta.get("content")
            rich = type(content) is not str and content is not None
            if not rich:
                for key in delta:
                    if key not in _PLAIN and delta[key]:
                        rich = True
                        break
            if rich:
                self._message.take(delta, events)
            elif content:
                if self._message.open is not None:
                    self._message.settle(events)
                events.append(ChatStreamEvent(content))
        elif delta is not None or not (
            # Azure: a blocked answer, and verdicts that come after the text
            finish or any(k.startswith("content_filter") for k in choice)
        ):
            raise malformed(f"choice without {'message' if self.whole else 'delta'}")
        logprobs = choice.get("logprobs")
        if logprobs:
            self._take_logprobs(logprobs, events)
        if finish:
            self._finish = as_text(finish) or "other"
            self.complete = True
        if "usage" in choice and choice["usage"] != self._usage:  # Moonshot
            self._take_usage(choice["usage"], events)

    def _take_logprobs(self, logprobs: JSON, events: list[ChatStreamEvent]) -> None:
        given = as_mapping(logprobs)
        if content := as_list(given.get("content")):
            events.append(ChatStreamEvent(meta={"logprobs": content}))
        rest = {k: v for k, v in given.items() if k != "content" and v}
        if rest:
            self._choice["logprobs"] = merged(self._choice.get("logprobs"), rest)

    def _take_other(self, index: int, choice: dict[str, JSON]) -> None:
        """A further choice (``n`` above 1), kept in the form of a whole answer."""
        if self.whole:
            self._others[index] = choice
            return
        kept = self._others.setdefault(index, {"index": index, "message": {}})
        for key, value in choice.items():
            if key == "delta":
                kept["message"] = merged(kept["message"], as_mapping(value))
            elif key == "logprobs" and value is not None:
                kept[key] = merged(kept.get(key), as_mapping(value))
            elif value is not None:
                kept[key] = value
            else:
                kept.setdefault(key, None)

    def close(self) -> list[ChatStreamEvent]:
        """What can be said only now: completed parts, collected fields, the finish reason."""
        if self.closed:
            return []
        self.closed = True
        events = self._message.close()
        reason = finish_reason(self._finish, calls=bool(self._message.calls))
        fields = dict(self._wire_fields())
        meta = {"wire_fields": fields} if fields else None
        events.append(ChatStreamEvent(finish_reason=reason, meta=meta))
        return events

    def _wire_fields(self) -> Iterator[tuple[str, JSON]]:
        for name, value in self._top.items():
            if name != "created" or as_count(value):  # our own rendering of a time unknown is 0
                yield name, value
        message = self._message.fields
        for name in MESSAGE_FIELDS:
            if name in message:
                yield name, message.pop(name)
        if message:
            yield "message", message
        if self._finish is not None and FINISH_REASONS.get(self._finish) != self._finish:
            self._choice["finish_reason"] = self._finish
        if self._choice:
            yield "choice", self._choice
        if self._others:
            yield "choices", [choice for _, choice in sorted(self._others.items())]
