"""Anthropic Messages: a request as the API's HTTP call.

Reference: platform.claude.com/docs/en/api/messages and the pages named below (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from crux_providers.base.models import JSON, ChatRequest, ContentPart, Message, Tool, ToolCall
from crux_providers.base.wire import WireRequest
from crux_providers.config import defaults

from . import repair_words as words
from .anthropic_messages_blocks import DIALECT, is_mine, unsupported, write_block, write_call
from .anthropic_messages_schema import output_schema
from .repair import in_wire_order, repair
from .repair_rules import Rules, Verdict
from .repair_words import Notes


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
    - ``provider``: whose signatures and encrypted thinking may go back (None: anybody's).
    """

    default_max_tokens: int = defaults.ANTHROPIC_MAX_TOKENS
    version: str = defaults.ANTHROPIC_VERSION
    path: str = "/v1/messages"
    inline_system: tuple[str, ...] = ()
    adaptive_thinking: tuple[str, ...] = ()
    no_sampling: tuple[str, ...] = ()
    unsigned_thinking: bool = False
    json_schema: bool = True
    provider: str | None = None


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
    history, lost = repair(request.messages, rules(request.model, options))
    notes.extend(lost)
    system, messages = _Conversation(notes).build(history)
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
    _thinking(request, options, history, body, notes)
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


def _thinking(
    request: ChatRequest,
    options: Options,
    history: Sequence[Message],
    body: dict[str, JSON],
    notes: Notes,
) -> None:
    if request.reasoning_budget is not None:
        if _is_one_of(request.model, options.adaptive_thinking):
            body["thinking"] = {"type": "adaptive"}
            notes.add("the reasoning budget was left out: the model decides how much it thinks")
        elif _began_unthinking(history):
            body["thinking"] = {"type": "disabled"}
            notes.add("the reasoning budget was left out: the tool loop was begun without thinking")
        else:
            body["thinking"] = {"type": "enabled", "budget_tokens": request.reasoning_budget}
    elif request.reasoning_effort == "none":
        body["thinking"] = {"type": "disabled"}


def _began_unthinking(history: Sequence[Message]) -> bool:
    """Whether the history ends in results of a turn that has no thinking before its calls.

    The API refuses such a history while thinking is enabled, and says to disable it
    (github.com/pydantic/pydantic-ai/issues/2075, 2025-06-25).
    """
    if not history or history[-1].role != "tool":
        return False
    caller = next((m for m in reversed(history) if m.role == "assistant"), None)
    if caller is None:
        return False
    first = next(iter(in_wire_order(caller.parts, caller.tool_calls)))
    return isinstance(first, ToolCall) or first.type != "reasoning"


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


# -- the conversation -----------------------------------------------------------------------------


def rules(model: str | None, options: Options = DEFAULTS) -> Rules:
    """What the API, with ``options``, asks of a history; the base of them is :data:`RULES`."""
    return replace(
        RULES,
        provider=options.provider,
        thoughts=partial(_thought, options.unsigned_thinking),
        system="inline" if _is_one_of(model, options.inline_system) else "top",
    )


def _thought(unsigned: bool, part: ContentPart, message: Message) -> Verdict:
    if unsigned or part.data is not None or part.signature is not None:
        return part, None
    return None, words.REASONING_UNSIGNED


_NONE: frozenset[str] = frozenset()
RULES = Rules(
    dialect=DIALECT,
    unowned_reasoning=False,
    carries={
        "system": _NONE,
        "developer": _NONE,
        "assistant": _NONE,
        "tool": frozenset({"image", "pdf"}),
    },
    refusals="beside",
    object_arguments=True,
    empty_texts=False,
    empty_turns=False,
    system="top",
    results="together",
    tool_id="[a-zA-Z0-9_-]+",
    made_id=("toolu_", 24),
)
"""Ids match ``^[a-zA-Z0-9_-]+$`` and are unique in a conversation; results stand first in
the next message, also behind two assistant messages in a row (recorded: anthropic/
messages_tools__pydantic-ai); "text
content blocks must be non-empty"; "'image' blocks are not permitted within assistant turns"
(github.com/SEMOSS/Semoss/issues/2323, 2026-04-09). An assistant may begin a conversation
(github.com/anthropics/anthropic-sdk-typescript/issues/622, 2024-12-06)."""


class _Conversation:
    """The messages of a repaired history on their way to the wire, in order."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._system: list[str | list[dict[str, JSON]]] = []
        self._wire: list[dict[str, JSON]] = []
        self._results = False  # whether the last message holds tool results and nothing else

    def build(self, messages: Sequence[Message]) -> tuple[JSON, list[dict[str, JSON]]]:
        """``(system, messages)`` as the body has them."""
        for message in messages:
            match message.role:
                case "system" | "developer":
                    self._add_system(message)
                case "tool":
                    self._add_result(message)
                case _:
                    self._add(message)
        match self._system:
            case []:
                return None, self._wire
            case [only]:
                return only, self._wire
            case several:
                return [block for item in several for block in _as_blocks(item)], self._wire

    def _add_system(self, message: Message) -> None:
        if any(p.type != "text" for p in message.parts):
            raise unsupported("a system message is text and nothing else")
        content = self._content(message)
        if self._wire:
            self._append_system(content, message)
            return
        if message.extra:  # a cache marker, say
            content = _as_blocks(content)
            content[-1] = {**content[-1], **message.extra}
        self._system.append(content)

    def _append_system(self, content: str | list[dict[str, JSON]], message: Message) -> None:
        last = self._wire[-1]
        if last["role"] == "system" and not message.extra:
            last["content"] = _as_blocks(last["content"]) + _as_blocks(content)
        else:
            self._wire.append({"role": "system", "content": content, **(message.extra or {})})
        self._results = False

    def _add(self, message: Message) -> None:
        content: str | list[dict[str, JSON]]
        if message.tool_calls:
            content = []
            for item in in_wire_order(message.parts, message.tool_calls):
                if isinstance(item, ToolCall):
                    content.append(write_call(item, item.id))
                elif (block := write_block(item, self._notes)) is not None:
                    content.append(block)
        else:
            content = self._content(message)
        if self._results and message.role == "user" and not message.extra:
            # One turn: the results first, then what the user says.
            self._wire[-1]["content"] += _as_blocks(content)
        else:
            self._wire.append({"role": message.role, "content": content, **(message.extra or {})})
        self._results = False

    def _add_result(self, message: Message) -> None:
        block: dict[str, JSON] = {"type": "tool_result", "tool_use_id": message.tool_call_id or ""}
        if content := self._content(message):
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
        if isinstance(message.content, str):
            return message.content
        blocks = (write_block(part, self._notes) for part in message.parts)
        return [block for block in blocks if block is not None]


def _as_blocks(content: str | list[dict[str, JSON]]) -> list[dict[str, JSON]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content
