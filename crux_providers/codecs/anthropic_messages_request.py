"""Anthropic Messages: a request as the API's HTTP call.

Reference: platform.claude.com/docs/en/api/messages and the pages named below (read 2026-11).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crux_providers.base.models import JSON, ChatRequest, ContentPart, Message, Tool, ToolCall
from crux_providers.base.wire import WireRequest
from crux_providers.config import defaults

from .anthropic_messages_blocks import (
    Notes,
    in_wire_order,
    is_mine,
    says_nothing,
    unsupported,
    write_block,
    write_call,
)
from .anthropic_messages_schema import output_schema


@dataclass(frozen=True, slots=True)
class Options:
    """What differs between the servers and models of this dialect.

    - ``default_max_tokens``: the API requires ``max_tokens``; sent where the request names none.
    - ``version``: the ``anthropic-version`` header.
    - ``path``: of the endpoint, under a base URL without a version.
    - ``inline_system``: prefixes of the models that take a system message in mid-conversation
      (build-with-claude/mid-conversation-system-messages); elsewhere it moves to the top.
    - ``adaptive_thinking``: prefixes of the models that refuse a thinking budget and think by
      themselves (build-with-claude/adaptive-thinking).
    - ``no_sampling``: prefixes of the models that refuse ``temperature`` and ``top_p``.
    - ``unsigned_thinking``: whether thinking without a signature goes back; Anthropic refuses it,
      compatible servers may sign nothing and want it.
    - ``json_schema``: whether ``output_config.format`` exists.
    """

    default_max_tokens: int = defaults.ANTHROPIC_MAX_TOKENS
    version: str = defaults.ANTHROPIC_VERSION
    path: str = "/v1/messages"
    inline_system: tuple[str, ...] = ()
    adaptive_thinking: tuple[str, ...] = ()
    no_sampling: tuple[str, ...] = ()
    unsigned_thinking: bool = False
    json_schema: bool = True


DEFAULTS = Options()

TOOL_CHOICES = {"auto": "auto", "none": "none", "required": "any", "any": "any"}
"""The words of ``tool_choice`` as wire types; any other word is a tool's name."""

EFFORTS = {"minimal": "low"}
"""Words of other dialects for an effort, as the nearest word of this one."""


def encode(request: ChatRequest, *, stream: bool, options: Options = DEFAULTS) -> WireRequest:
    """The HTTP call for ``request``.

    ``extra["betas"]``, a list of names (or one text with commas), becomes the ``anthropic-beta``
    header, as in the official SDK; everything else of ``extra`` goes into the body, where it wins.

    Raises ``unsupported`` for logprobs, for ``json_object`` (the API only knows schemas), for
    audio, for another dialect's server tool and for a schema with free keys.
    """
    if request.logprobs or request.top_logprobs:
        raise unsupported("the Messages API gives no log probabilities", "logprobs")
    if request.response_format == "json_object":
        raise unsupported(
            "the Messages API has no JSON mode without a schema: ask for json_schema", "json_output"
        )
    notes = Notes()
    extra = dict(request.extra)
    headers = {"anthropic-version": options.version}
    betas = extra.pop("betas", None)
    if betas:
        names = [betas] if isinstance(betas, str) else betas
        headers["anthropic-beta"] = ",".join(str(name) for name in names)

    body: dict[str, JSON] = {}
    if request.model is not None:
        body["model"] = request.model
    body["max_tokens"] = _max_tokens(request, options)
    system, messages = _Conversation(request, options, notes).build()
    if system:
        body["system"] = system
    body["messages"] = messages
    _sampling(request, options, body, notes)
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    if request.tools:
        body["tools"] = [_tool(t, notes) for t in request.tools]
    choice = _tool_choice(request)
    if choice is not None:
        body["tool_choice"] = choice
    _thinking(request, options, body, notes)
    config = _output_config(request, options, notes)
    if config:
        own = extra.get("output_config")
        if isinstance(own, Mapping):
            extra["output_config"] = {**config, **own}
        body["output_config"] = config
    if stream:
        body["stream"] = True
    body.update(extra)
    return WireRequest(
        path=options.path,
        body=body,
        headers=headers,
        stream=stream,
        framing="sse",
        degraded=notes.lines(),
    )


def _is_one_of(model: str | None, prefixes: tuple[str, ...]) -> bool:
    return model is not None and model.startswith(tuple(prefixes))


def _max_tokens(request: ChatRequest, options: Options) -> int:
    if request.max_tokens is not None:
        return request.max_tokens
    # The budget counts against max_tokens and has to be smaller.
    return options.default_max_tokens + (request.reasoning_budget or 0)


def _sampling(request: ChatRequest, options: Options, body: dict[str, JSON], notes: Notes) -> None:
    refused = _is_one_of(request.model, options.no_sampling)
    # "`temperature` may only be set to 1 when thinking is enabled", "`top_p` must be greater than
    # or equal to 0.95" (extended thinking, "Feature compatibility").
    thinks = request.reasoning_budget is not None
    for name, value, fits in (
        ("temperature", request.temperature, request.temperature == 1),
        ("top_p", request.top_p, request.top_p is not None and request.top_p >= 0.95),
    ):
        if value is None:
            continue
        if refused:
            notes.add(f"{name} was left out, since the model takes none")
        elif thinks and not fits:
            notes.add(f"{name} was left out, since thinking does not go with {value}")
        else:
            body[name] = value
    if request.seed is not None:
        notes.add("seed was left out, since the API has none")


def _thinking(request: ChatRequest, options: Options, body: dict[str, JSON], notes: Notes) -> None:
    if request.reasoning_budget is not None:
        if _is_one_of(request.model, options.adaptive_thinking):
            body["thinking"] = {"type": "adaptive"}
            notes.add("the reasoning budget was left out: the model decides how much it thinks")
        else:
            body["thinking"] = {"type": "enabled", "budget_tokens": request.reasoning_budget}
    elif request.reasoning_effort == "none":
        body["thinking"] = {"type": "disabled"}


def _output_config(request: ChatRequest, options: Options, notes: Notes) -> dict[str, JSON]:
    config: dict[str, JSON] = {}
    effort = request.reasoning_effort
    if effort is not None and effort != "none":
        config["effort"] = EFFORTS.get(effort, effort)
        if effort in EFFORTS:
            notes.add(f"reasoning effort {effort} was sent as {EFFORTS[effort]}")
    if request.response_format == "json_schema" and request.json_schema is not None:
        if not options.json_schema:
            raise unsupported("this server has no structured output", "json_schema")
        schema = output_schema(request.json_schema, notes)
        config["format"] = {"type": "json_schema", "schema": schema}
    return config


def _tool(tool: Tool, notes: Notes) -> dict[str, JSON]:
    if tool.raw is not None:
        if not is_mine(tool.dialect):
            raise unsupported(f"{tool.name} is a server tool of {tool.dialect}", "tools")
        return dict(tool.raw)
    wire: dict[str, JSON] = {"name": tool.name}
    if tool.description is not None:
        wire["description"] = tool.description
    schema = dict(tool.parameters)
    schema.setdefault("type", "object")  # required; the OpenAI dialects do without
    wire["input_schema"] = schema
    if tool.strict is not None:
        wire["strict"] = tool.strict
    if tool.extra:
        if is_mine(tool.dialect):
            wire.update(tool.extra)
        else:
            notes.add(f"{tool.dialect}'s fields of a tool were left out")
    return wire


def _tool_choice(request: ChatRequest) -> dict[str, JSON] | None:
    word = request.tool_choice
    parallel = request.parallel_tool_calls
    if word is None:
        if parallel is None or not request.tools:
            return None
        word = "auto"
    named = word not in TOOL_CHOICES or (
        word == "any" and any(t.name == word for t in request.tools)
    )
    choice: dict[str, JSON] = (
        {"type": "tool", "name": word} if named else {"type": TOOL_CHOICES[word]}
    )
    if parallel is not None and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = not parallel
    return choice


class _Conversation:
    """The messages on their way to the wire, in order."""

    def __init__(self, request: ChatRequest, options: Options, notes: Notes) -> None:
        self._messages = request.messages
        self._inline = _is_one_of(request.model, options.inline_system)
        self._unsigned = options.unsigned_thinking
        self._notes = notes
        self._ids = _CallIds(notes)
        self._system: list[str | list[dict[str, JSON]]] = []
        self._wire: list[dict[str, JSON]] = []
        self._results = False  # whether the last message holds tool results and nothing else

    def build(self) -> tuple[JSON, list[dict[str, JSON]]]:
        """``(system, messages)`` as the body has them."""
        for position, message in enumerate(self._messages):
            if message.name is not None and message.role != "tool":
                self._notes.add("the name of a message was left out")
            match message.role:
                case "system" | "developer":
                    self._add_system(message, position)
                case "tool":
                    self._add_result(message)
                case "assistant":
                    self._add_assistant(message)
                case _:
                    self._add_user(message)
        match self._system:
            case []:
                return None, self._wire
            case [only]:
                return only, self._wire
            case several:
                return [block for item in several for block in _as_blocks(item)], self._wire

    def _add_system(self, message: Message, position: int) -> None:
        if any(p.type != "text" for p in message.parts):
            raise unsupported("a system message is text and nothing else")
        content = self._content(message)
        if self._wire:
            if self._inline and self._fits_here(position):
                self._append_system(content, message)
                return
            self._notes.add("a system message in mid-conversation was moved to the top")
        if not content:
            return
        if message.extra and not self._wire:  # a cache marker, say
            content = _as_blocks(content)
            content[-1] = {**content[-1], **message.extra}
        self._system.append(content)

    def _fits_here(self, position: int) -> bool:
        # It has to follow a user turn and to be the last or precede an assistant turn
        # (build-with-claude/mid-conversation-system-messages, read 2026-11).
        rest = self._messages[position + 1 :]
        after = next((m.role for m in rest if m.role not in ("system", "developer")), "assistant")
        return self._wire[-1]["role"] in ("user", "system") and after == "assistant"

    def _append_system(self, content: str | list[dict[str, JSON]], message: Message) -> None:
        last = self._wire[-1]
        if last["role"] == "system" and not message.extra:
            last["content"] = _as_blocks(last["content"]) + _as_blocks(content)
        elif content or message.extra:
            self._wire.append({"role": "system", "content": content, **(message.extra or {})})
        self._results = False

    def _add_user(self, message: Message) -> None:
        content = self._content(message)
        if not content:
            self._notes.add("an empty user message was left out")
            return
        if self._results and not message.extra:
            # One turn: the results first, then what the user says.
            self._wire[-1]["content"] += _as_blocks(content)
        else:
            self._wire.append({"role": "user", "content": content, **(message.extra or {})})
        self._results = False

    def _add_assistant(self, message: Message) -> None:
        content: str | list[dict[str, JSON]]
        if message.tool_calls:
            content = []
            for item in in_wire_order(message.parts, message.tool_calls):
                block = (
                    write_call(item, self._ids.begin(item.id), self._notes)
                    if isinstance(item, ToolCall)
                    else self._block(item)
                )
                if block is not None:
                    content.append(block)
        else:
            content = self._content(message)
        if not content:
            self._notes.add("an empty assistant message was left out")
            return
        self._wire.append({"role": "assistant", "content": content, **(message.extra or {})})
        self._results = False

    def _add_result(self, message: Message) -> None:
        block: dict[str, JSON] = {
            "type": "tool_result",
            "tool_use_id": self._ids.answer(message.tool_call_id or ""),
        }
        text = message.content
        content = text if isinstance(text, str) else self._blocks(message.parts)
        if content:
            block["content"] = content
        if message.is_error:
            block["is_error"] = True
        if message.extra:
            block.update(message.extra)
        if self._results:
            self._wire[-1]["content"].append(block)
        else:
            self._wire.append({"role": "user", "content": [block]})
        self._results = True

    def _content(self, message: Message) -> str | list[dict[str, JSON]]:
        blocks = self._blocks(message.parts)
        if says_nothing(blocks):
            return ""
        return message.content if isinstance(message.content, str) else blocks

    def _blocks(self, parts: Sequence[ContentPart]) -> list[dict[str, JSON]]:
        blocks = (self._block(p) for p in parts)
        return [b for b in blocks if b is not None]

    def _block(self, part: ContentPart) -> dict[str, JSON] | None:
        return write_block(part, self._notes, unsigned_thinking=self._unsigned)


def _as_blocks(content: str | list[dict[str, JSON]]) -> list[dict[str, JSON]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content


class _CallIds:
    """Wire ids of tool calls: as they are where the API takes them, else made from them.

    The API wants ``^[a-zA-Z0-9_-]+$`` and every id once in a conversation; dialects without ids
    of their own may number each turn's calls anew. A result answers the oldest open call.
    """

    _VALID = re.compile(r"[a-zA-Z0-9_-]+")

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._seen: dict[str, int] = {}
        self._open: dict[str, list[str]] = {}
        self._last: dict[str, str] = {}

    def begin(self, call_id: str) -> str:
        """The wire id of a call that begins."""
        count = self._seen[call_id] = self._seen.get(call_id, 0) + 1
        wire_id = self._wire_id(call_id, count)
        self._open.setdefault(call_id, []).append(wire_id)
        self._last[call_id] = wire_id
        return wire_id

    def answer(self, call_id: str) -> str:
        """The wire id of the call a result belongs to."""
        waiting = self._open.get(call_id)
        if waiting:
            return waiting.pop(0)
        return self._last.get(call_id) or self._wire_id(call_id, 1)

    def _wire_id(self, call_id: str, count: int) -> str:
        if count == 1 and self._VALID.fullmatch(call_id):
            return call_id
        self._notes.add("tool-call ids the API refuses were replaced")
        known_as = f"{call_id}\0{count}".encode("utf-8", "surrogatepass")
        return "toolu_" + hashlib.sha256(known_as).hexdigest()[:24]
