"""Requests in the OpenAI Responses dialect: the knobs its providers differ in, and the body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import JSON, ChatRequest, ContentPart, Message, Tool, ToolCall
from crux_providers.base.wire import WireRequest

from . import repair_words as words
from .openai_chat_media import data_uri, unsupported
from .openai_responses_items import (
    DIALECT,
    ItemWriter,
    is_mine,
    own_extra,
    write_call,
)
from .reading import as_list, as_mapping
from .repair import in_wire_order, repair
from .repair_rules import Entry, Rules, Verdict

SCHEMA_NAME = "response"
"""Name of a JSON schema that the request left unnamed (the dialect wants one)."""

DOCUMENT_NAMES: Mapping[str, str] = {
    "application/pdf": "document.pdf",
    "text/plain": "document.txt",
}
"""Names of documents that have none (the dialect wants one beside the data)."""

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"
INSTRUCTIONS = {"place": "instructions"}
"""``extra`` of a text part that stood in the ``instructions`` of a parsed body."""

TOOL_MODES = ("auto", "none", "required")
EMPTY_SCHEMA: Mapping[str, JSON] = {"type": "object", "properties": {}}
REMOTE = ("previous_response_id", "conversation")
"""Fields that name what the provider keeps of the conversation before this request."""

AUDIO_FORMATS = {"audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wave": "wav"}


@dataclass(frozen=True, slots=True)
class Options:
    """What the dialect's providers differ in; a provider's declaration says which values hold.

    - ``path``: of the endpoint, after the base URL.
    - ``store``: sent as ``store`` where the request's ``extra`` says nothing; None leaves it to the
      provider (OpenAI and xAI then keep the answer for 30 days, DeepSeek and OpenRouter none).
    - ``encrypted_reasoning``: prefixes of the models (after any ``vendor/``) that are asked for
      their encrypted reasoning where ``store`` is false, since there nothing else can go back.
      Models that do not reason refuse to be asked
      (github.com/NousResearch/hermes-agent/pull/24234, 2026-05-12). An ``include`` of the
      request's ``extra`` is left as it is.
    - ``system_role``: the role of system and developer turns alike, or None to leave each. They
      stay in their place as input items; ``instructions`` puts leading system text into the field
      of that name, which not every server has
      (github.com/0xPlaygrounds/rig/issues/1344, 2026-02-03).
    - ``item_ids``: whether items of earlier answers go back with their ids.
    - ``linked_reasoning``: whether reasoning needs the item it led to. OpenAI refuses reasoning
      that nothing follows, or only a message that is no longer the original one (it has no id):
      such reasoning is left out (recorded: openai/responses_error_400_then_ok__pydantic-ai).
      DeepSeek takes it (recorded: deepseek/responses_reasoning__pydantic-ai).
    - ``reasoning_budget``: the field of ``reasoning`` that takes a number of tokens
      (``max_tokens`` at OpenRouter), or None. ``stop_field``, ``seed_field``: OpenAI has neither.
    - ``json_object``, ``json_schema``: whether the formats exist.
    - ``provider``: whose encrypted reasoning and items may go back (None: anybody's).
    """

    path: str = "/responses"
    store: bool | None = None
    encrypted_reasoning: tuple[str, ...] = ("o1", "o3", "o4", "gpt-5", "codex")
    system_role: str | None = None
    instructions: bool = False
    item_ids: bool = True
    linked_reasoning: bool = True
    reasoning_budget: str | None = None
    stop_field: str | None = None
    seed_field: str | None = None
    json_object: bool = True
    json_schema: bool = True
    provider: str | None = None


DEFAULTS = Options()


def encode(request: ChatRequest, *, stream: bool, options: Options = DEFAULTS) -> WireRequest:
    """The call of ``request``; ``request.extra`` goes into the body last, so its word wins.

    ``reasoning`` and ``text`` of ``extra`` are joined with what the request says there
    (``{"reasoning": {"summary": "auto"}}``), ``include`` with what it needs.

    Raises ``unsupported`` for what the endpoint cannot be told: stop sequences (it refuses them:
    github.com/openJiuwen-ai/agent-core/issues/768, 2026-08-19), audio by URL, another dialect's
    server tool, images of an assistant turn. A seed and a reasoning budget are wishes: they are
    left out, and ``degraded`` says so.
    """
    body: dict[str, Any] = {} if request.model is None else {"model": request.model}
    stored = request.extra.get("store", options.store)
    remote = any(request.extra.get(name) for name in REMOTE)
    asked = rules(options, stored=stored is not False, remote=remote)
    messages, told = repair(request.messages, asked)
    lost = list(told)
    writer = _Input(options)
    items = writer.write(messages)
    if writer.instructions is not None:
        body["instructions"] = writer.instructions
    if items or request.messages:
        body["input"] = items
    if options.store is not None:
        body["store"] = options.store
    for name, value in (
        ("max_output_tokens", request.max_tokens),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("parallel_tool_calls", request.parallel_tool_calls),
        ("top_logprobs", request.top_logprobs),
    ):
        if value is not None:
            body[name] = value
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request.tool_choice, request.tools)
    _limits(request, options, body, lost)
    if request.response_format is not None:
        body["text"] = {"format": _format(request, options)}
    if stream:
        body["stream"] = True
    for name, value in request.extra.items():
        joined = name in ("reasoning", "text")
        body[name] = _joined(body.get(name), value) if joined else value
    include = _include(request, options, stored)
    if include is not None:
        body["include"] = include
    degraded = tuple(dict.fromkeys(lost))
    return WireRequest(options.path, body, stream=stream, degraded=degraded)


def _joined(ours: JSON, theirs: JSON) -> JSON:
    """Two objects as one, the caller's word last; ``text.format`` likewise."""
    if not isinstance(ours, dict) or not isinstance(theirs, Mapping):
        return theirs
    inner = {"format": _joined(ours.get("format"), theirs["format"])} if "format" in theirs else {}
    return {**ours, **theirs, **inner}


def _include(request: ChatRequest, options: Options, stored: JSON) -> list[JSON] | None:
    wanted: list[JSON] = []
    if stored is False and "include" not in request.extra:
        name = (request.model or "").rsplit("/", 1)[-1]
        if request.reasoning_effort is not None or name.startswith(options.encrypted_reasoning):
            wanted.append(ENCRYPTED)
    if request.logprobs:
        wanted.append(LOGPROBS)
    given = as_list(request.extra.get("include"))
    missing = [word for word in wanted if word not in given]
    return [*given, *missing] if missing else None


def _limits(request: ChatRequest, options: Options, body: dict[str, Any], lost: list[str]) -> None:
    if request.stop is not None:
        if options.stop_field is None:
            raise ProviderError(
                ErrorCode.UNSUPPORTED, "the Responses endpoint takes no stop sequences"
            )
        body[options.stop_field] = list(request.stop)
    if request.seed is not None:
        if options.seed_field is None:
            lost.append("seed: the endpoint takes none")
        else:
            body[options.seed_field] = request.seed
    reasoning: dict[str, JSON] = {}
    if request.reasoning_effort is not None:
        reasoning["effort"] = request.reasoning_effort
    if request.reasoning_budget is not None:
        if options.reasoning_budget is None:
            lost.append("reasoning_budget: the endpoint takes no number of tokens")
        else:
            reasoning[options.reasoning_budget] = request.reasoning_budget
    if reasoning:
        body["reasoning"] = reasoning


def _format(request: ChatRequest, options: Options) -> dict[str, JSON]:
    if request.response_format == "json_object" and not options.json_object:
        raise unsupported("json_output", "the provider has no JSON output")
    if request.response_format != "json_schema":
        return {"type": request.response_format}
    if not options.json_schema:
        raise unsupported("json_schema", "the provider has no JSON schema output")
    name = request.schema_name or SCHEMA_NAME
    schema: dict[str, JSON] = {"type": "json_schema", "name": name, "schema": request.json_schema}
    if request.schema_strict is not None:
        schema["strict"] = request.schema_strict
    return schema


def _tool(tool: Tool) -> dict[str, JSON]:
    """The wire form of a tool; a ``strict`` that nobody stated is left to the provider."""
    if tool.raw is not None:
        if not is_mine(tool.dialect):
            raise unsupported("tools", f"the tool {tool.name!r} belongs to {tool.dialect}")
        return dict(tool.raw)
    wire: dict[str, JSON] = {"type": "function", "name": tool.name}
    if tool.description is not None:
        wire["description"] = tool.description
    wire["parameters"] = tool.parameters or EMPTY_SCHEMA
    if tool.strict is not None:
        wire["strict"] = tool.strict
    if tool.extra and is_mine(tool.dialect):
        wire.update(tool.extra)
    return wire


def _tool_choice(choice: str, tools: Sequence[Tool]) -> JSON:
    if choice in TOOL_MODES:
        return choice
    raw = next((t.raw for t in tools if t.raw is not None and t.name == choice), None)
    if raw is None:
        return {"type": "function", "name": choice}
    return {k: raw[k] for k in ("type", "name", "server_label") if k in raw}


# -- the conversation -----------------------------------------------------------------------------


def rules(options: Options = DEFAULTS, *, stored: bool = True, remote: bool = False) -> Rules:
    """What the endpoint, with ``options``, asks of a history; the base of it is :data:`RULES`.

    ``stored``: whether the provider keeps its answers; ``remote``: whether it keeps what came
    before this history, so that results may answer calls that are not in it.
    """
    return replace(
        RULES,
        provider=options.provider,
        thoughts=partial(_thought, stored),
        needs_follower=_has_id if options.linked_reasoning else None,
        results="free" if remote else "matched",
    )


def _thought(stored: bool, part: ContentPart, message: Message) -> Verdict:
    """Reasoning returns where the provider kept it, or where all of it is here."""
    extra = own_extra(part)
    if stored or part.data is not None or extra.get("type") not in (None, "summary_text"):
        return part, None
    whole = (own_extra(p).get("item") for p in message.parts if p.data is not None)
    return (part, None) if extra.get("item") in whole else (None, words.REASONING_UNKEPT)


def _has_id(part: ContentPart) -> bool:
    return "id" in as_mapping(own_extra(part).get("item"))


def _follows(entry: Entry) -> bool:
    """Whether an entry may be what reasoning led to; a message without an id is another one."""
    if isinstance(entry, ToolCall) or (entry.type == "raw" and not is_content(entry.data)):
        return True
    return _has_id(entry)


def _is_item(message: Message) -> bool:
    """Whether a tool turn is an item of this dialect, whose call is one too."""
    match message.content:
        case (ContentPart(type="raw", data=data) as part,):
            return is_mine(part.dialect) and not is_content(data)
    return False


_NONE: frozenset[str] = frozenset()
RULES = Rules(
    dialect=DIALECT,
    unowned_reasoning=False,
    follows=_follows,
    carries={"assistant": _NONE, "tool": frozenset({"image", "pdf"})},
    refusals="own",
    error_mark=False,
    results="matched",
    stands_alone=_is_item,
    tool_id=r"[\s\S]{1,64}",
)
"""The longest ``call_id`` taken has 64 characters, which are free
(github.com/orchidfiles/ungate/pull/41, 2026-08-16); calls and results need each other, in any
place; a result is text, images and files (API reference, 2026-11-22)."""


class _Input:
    """Writes the turns of a repaired history as items."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.instructions: str | None = None
        self._custom: set[str] = set()  # ids of calls whose results have a form of their own

    def write(self, messages: Sequence[Message]) -> list[JSON]:
        """The items of ``messages``, in order."""
        items: list[JSON] = []
        for message in messages:
            match message.role:
                case "assistant":
                    items += self._assistant(message)
                case "tool":
                    items.append(self._result(message))
                case "system" | "developer" if not items and self._instructs(message):
                    self.instructions = message.text
                case _:
                    items += self._turn(message)
        return items

    def _instructs(self, message: Message) -> bool:
        if self.instructions is not None:
            return False
        match message.parts:
            case (ContentPart(type="text", dialect=dialect, extra=extra),) if extra:
                return dialect == DIALECT and extra == INSTRUCTIONS
            case parts:
                plain = all(p.type == "text" for p in parts) and not message.extra
                return self.options.instructions and message.role == "system" and plain

    # -- user, system and developer turns ---------------------------------------------------------

    def _turn(self, message: Message) -> list[JSON]:
        role = message.role
        if role != "user":
            role = self.options.system_role or role
        extra = dict(message.extra or {})
        if isinstance(message.content, str):
            return [{"role": role, "content": message.content, **extra}]
        items: list[JSON] = []
        pieces: list[JSON] = []
        for part in message.parts:
            if part.type == "raw" and not is_content(part.data):
                if pieces:  # a whole item among the pieces of a message
                    items.append({"role": role, "content": pieces, **extra})
                    pieces = []
                items.append(part.data)
            else:
                pieces.append(self._piece(part))
        if pieces or not items:
            items.append({"role": role, "content": pieces, **extra})
        return items

    def _piece(self, part: ContentPart) -> JSON:
        """A piece of input content."""
        extra = own_extra(part)
        if extra == INSTRUCTIONS:
            extra = {}
        match part.type:
            case "image":
                url = part.url if part.url is not None else data_uri(part)
                return {"type": "input_image", "image_url": url, **extra}
            case "pdf" if part.url is not None and not part.url.startswith("data:"):
                return {"type": "input_file", "file_url": part.url, **extra}
            case "pdf":
                url = part.url if part.url is not None else data_uri(part)
                media_type = url.removeprefix("data:").partition(";")[0]
                name = part.name or DOCUMENT_NAMES.get(media_type, "document")
                return {"type": "input_file", "filename": name, "file_data": url, **extra}
            case "audio":
                return _audio(part, extra)
            case "raw":
                return part.data
            case _:
                return {"type": "input_text", "text": part.text or "", **extra}

    # -- tool results -----------------------------------------------------------------------------

    def _result(self, message: Message) -> JSON:
        if _is_item(message):
            return message.parts[0].data
        if message.tool_call_id is None:  # where results may answer calls that are not here
            raise ProviderError(ErrorCode.BAD_REQUEST, "a tool turn has no tool_call_id")
        custom = message.tool_call_id in self._custom
        output: JSON = message.content
        if not isinstance(output, str):
            output = [self._piece(part) for part in message.parts]
        return {
            "type": "custom_tool_call_output" if custom else "function_call_output",
            "call_id": message.tool_call_id,
            "output": output,
            **(message.extra or {}),
        }

    # -- assistant turns --------------------------------------------------------------------------

    def _assistant(self, message: Message) -> list[JSON]:
        writer = ItemWriter()
        plain = isinstance(message.content, str)
        for entry in in_wire_order(message.parts, message.tool_calls):
            if isinstance(entry, ToolCall):
                writer.item(self._call(entry))
            elif plain:
                writer.item({"role": "assistant", "content": entry.text})
            else:
                self._answered(entry, writer)
        items = writer.items
        if plain and not message.content and not items:
            items.append({"role": "assistant", "content": ""})
        said = [item for item in items if item.get("role") == "assistant"]
        if said:
            said[0].update(message.extra or {})
        if not self.options.item_ids:
            for item in items:
                item.pop("id", None)
        return list(items)

    def _answered(self, part: ContentPart, writer: ItemWriter) -> None:
        match part.type:
            case "reasoning":
                writer.reasoning(part)
            case "raw" if not is_content(part.data) and "item" not in own_extra(part):
                writer.item(dict(as_mapping(part.data)))
            case _:
                writer.content(part)

    def _call(self, call: ToolCall) -> dict[str, Any]:
        item = write_call(call, call.id)
        if item["type"] == "custom_tool_call":
            self._custom.add(call.id)
        return item


def is_content(data: JSON) -> bool:
    """Whether a raw part is a piece of a message's content rather than a whole item.

    Types of input and output content are the only ones that begin so (API reference, 2026-11-22).
    """
    kind = as_mapping(data).get("type")
    return isinstance(kind, str) and kind.startswith(("input_", "output_"))


def _audio(part: ContentPart, extra: dict[str, JSON]) -> dict[str, JSON]:
    if not isinstance(part.data, str):
        raise unsupported("audio", "the dialect takes audio as data, not by URL")
    kind = part.media_type or "audio/wav"
    form = AUDIO_FORMATS.get(kind, kind.removeprefix("audio/"))
    return {"type": "input_audio", "input_audio": {"data": part.data, "format": form}, **extra}
