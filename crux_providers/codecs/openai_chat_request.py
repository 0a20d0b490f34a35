"""Requests in the OpenAI chat dialect: the knobs its providers differ in, and the body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from crux_providers.base.models import JSON, ChatRequest, ContentPart, Message, Tool, ToolCall
from crux_providers.base.wire import WireRequest

from . import repair_words as words
from .openai_chat_media import (
    own_extra,
    render_audio,
    render_document,
    render_image,
    unsupported,
)
from .openai_chat_tables import DIALECT
from .reading import as_list, as_mapping
from .repair import repair
from .repair_rules import Rules, Verdict

SCHEMA_NAME = "response"
"""Name of a JSON schema that the request left unnamed (the dialect wants one)."""

TOOL_MODES = ("auto", "none", "required")
OUTER_TOOL_FIELDS = ("cache_control",)
"""Fields of ``Tool.extra`` that stand beside ``function`` rather than in it (OpenRouter)."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the dialect's providers differ in; a provider's declaration says which values hold.

    - ``path``: of the endpoint, after the base URL.
    - ``max_tokens_field``: ``max_tokens`` or ``max_completion_tokens``.
      ``max_completion_tokens_models`` are prefixes of model names (after any ``vendor/``) that want
      the latter whatever the field is: OpenAI's ``("o1", "o3", "o4", "gpt-5")`` refuse the former.
    - ``system_role``: the role of system and developer turns alike, or None to leave each.
    - ``reasoning_field``: where earlier reasoning goes back: the name of a text field
      (``reasoning_content``, ``reasoning``), ``reasoning_details`` (OpenRouter: details as they
      came), ``thinking`` (Mistral: items of the content), ``extra_content`` (Gemini: the
      signature alone), or None where the provider wants none of it.
    - ``reasoning_request``: ``reasoning_effort``, ``reasoning`` (OpenRouter's object, which also
      takes a budget) or None.
    - ``include_usage``: ask for the usage of a stream.
    - ``json_object``, ``json_schema``: whether the formats exist; ``schema_as_object`` sends a
      schema as plain ``json_object`` where only that exists, and says so.
    - ``seed_field``: ``seed``, ``random_seed`` (Mistral) or None. ``logprobs``: whether they exist.
    - ``pdf_part``: ``file``, ``document_url`` (Mistral) or None; ``pdf_url``: may it be an URL.
    - ``refusal_field``: whether an assistant turn may have ``refusal`` (else it goes as its text).
    - ``assistant_images``: whether an assistant turn may have ``images`` (OpenRouter).
    - ``text_lists``: whether text may come as a list of parts (else it is joined).
    - ``tool_id``: pattern of a valid tool-call id; ``tool_id_length``: of one made in its stead.
    - ``alternate``: consecutive turns of a user or an assistant are sent as one.
    - ``provider``: whose signatures, ids and encrypted reasoning may go back (None: anybody's).
    """

    path: str = "/chat/completions"
    max_tokens_field: str = "max_tokens"
    max_completion_tokens_models: tuple[str, ...] = ()
    system_role: str | None = None
    reasoning_field: str | None = None
    reasoning_request: str | None = "reasoning_effort"
    include_usage: bool = True
    json_object: bool = True
    json_schema: bool = True
    schema_as_object: bool = False
    seed_field: str | None = "seed"
    logprobs: bool = True
    pdf_part: str | None = "file"
    pdf_url: bool = False
    refusal_field: bool = True
    assistant_images: bool = False
    text_lists: bool = True
    tool_id: str = r"[\s\S]{1,40}"
    tool_id_length: int = 24
    alternate: bool = False
    provider: str | None = None


DEFAULTS = Options()


def encode(request: ChatRequest, *, stream: bool, options: Options = DEFAULTS) -> WireRequest:
    """The call of ``request``; raises ``unsupported`` where the provider cannot be told.

    ``request.extra`` goes into the body last, so the caller's word wins.
    """
    messages, told = repair(request.messages, rules(options))
    lost = list(told)
    body: dict[str, JSON] = {} if request.model is None else {"model": request.model}
    body["messages"] = _Messages(options).write(messages)
    if request.max_tokens is not None:
        body[_max_tokens_field(request.model, options)] = request.max_tokens
    for name in ("temperature", "top_p", "parallel_tool_calls", "logprobs", "top_logprobs"):
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    if not options.logprobs and (request.logprobs or request.top_logprobs):
        raise unsupported("logprobs", "the provider gives no logprobs")
    if request.stop is not None:
        body["stop"] = list(request.stop)
    if request.seed is not None:
        if options.seed_field is None:
            lost.append("seed: the provider takes none")
        else:
            body[options.seed_field] = request.seed
    if request.response_format is not None:
        body["response_format"] = _response_format(request, options, lost)
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice in TOOL_MODES:
        body["tool_choice"] = request.tool_choice
    elif request.tool_choice is not None:
        body["tool_choice"] = {"type": "function", "function": {"name": request.tool_choice}}
    _reasoning_request(request, options, body, lost)
    if stream:
        body["stream"] = True
        if options.include_usage:
            body["stream_options"] = {"include_usage": True}
    for name, value in request.extra.items():
        if name == "stream_options" and isinstance(value, Mapping):
            if stream:
                body[name] = {**as_mapping(body.get(name)), **value}
        else:
            body[name] = value
    degraded = tuple(dict.fromkeys(lost))
    return WireRequest(options.path, body, stream=stream, degraded=degraded)


def _max_tokens_field(model: str | None, options: Options) -> str:
    name = (model or "").rsplit("/", 1)[-1]
    if name.startswith(options.max_completion_tokens_models):
        return "max_completion_tokens"
    return options.max_tokens_field


def _response_format(request: ChatRequest, options: Options, lost: list[str]) -> JSON:
    if request.response_format != "json_schema":
        if request.response_format == "json_object" and not options.json_object:
            raise unsupported("json_output", "the provider has no JSON output")
        return {"type": request.response_format}
    if options.json_schema:
        schema: dict[str, JSON] = {"name": request.schema_name or SCHEMA_NAME}
        schema["schema"] = request.json_schema
        if request.schema_strict is not None:
            schema["strict"] = request.schema_strict
        return {"type": "json_schema", "json_schema": schema}
    if options.schema_as_object and options.json_object:
        lost.append("json_schema: sent as json_object, the provider does not enforce the schema")
        return {"type": "json_object"}
    raise unsupported("json_schema", "the provider has no JSON schema output")


def _reasoning_request(
    request: ChatRequest, options: Options, body: dict[str, JSON], lost: list[str]
) -> None:
    effort, budget = request.reasoning_effort, request.reasoning_budget
    if options.reasoning_request == "reasoning":
        wanted = {"effort": effort, "max_tokens": budget}
        if asked := {k: v for k, v in wanted.items() if v is not None}:
            body["reasoning"] = asked
        return
    if effort is not None:
        if options.reasoning_request is None:
            lost.append("reasoning_effort: the provider has no such setting")
        else:
            body[options.reasoning_request] = effort
    if budget is not None:
        lost.append("reasoning_budget: the provider takes no number of tokens")


def _tool(tool: Tool) -> JSON:
    if tool.raw is not None:
        if tool.dialect not in (None, DIALECT):
            raise unsupported("tools", f"the tool {tool.name!r} belongs to {tool.dialect}")
        return dict(tool.raw)
    function: dict[str, JSON] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    entry: dict[str, JSON] = {"type": "function", "function": function}
    if tool.dialect in (None, DIALECT):
        for name, value in (tool.extra or {}).items():
            (entry if name in OUTER_TOOL_FIELDS else function)[name] = value
    return entry


# -- the conversation -----------------------------------------------------------------------------


@lru_cache(maxsize=64)  # a provider's options never change
def rules(options: Options = DEFAULTS) -> Rules:
    """What the dialect, with ``options``, asks of a history; the base of them is :data:`RULES`."""
    images = frozenset({"image"}) if options.assistant_images else frozenset()
    return replace(
        RULES,
        provider=options.provider,
        thoughts=partial(_thought, options.reasoning_field),
        calls=partial(_signed_call, options.reasoning_field == "extra_content"),
        carries={**RULES.carries, "assistant": images},
        refusals="kept" if options.refusal_field else "text",
        tool_id=options.tool_id,
        made_id=("", options.tool_id_length),
        merges="always" if options.alternate else "never",
    )


def _is_function_result(message: Message) -> bool:
    """Whether a turn is a result from before there were tools, which has no id."""
    return as_mapping(message.extra).get("role") == "function"


def _thought(field: str | None, part: ContentPart, message: Message) -> Verdict:
    """What of the dialect's own reasoning goes back where ``field`` is the place of it."""
    extra = own_extra(part)
    kind = str(extra.get("type"))
    match field:
        case "reasoning_details" if kind.startswith("reasoning."):
            return part, None
        case "extra_content" if isinstance(extra.get("extra_content"), Mapping):
            return part, None
        case "thinking" if part.text or kind == "thinking":
            return part, None
        case None | "thinking" | "extra_content":
            return None, words.REASONING_UNWANTED
        case _ if part.signature is None and part.data is None:
            return part, None
        case _:
            bare = replace(part, signature=None, data=None) if part.text else None
            return bare, words.REASONING_SIGNATURE


def _signed_call(signed: bool, call: ToolCall) -> tuple[ToolCall, str | None]:
    """A call without the signature of Gemini's own endpoint, where ``signed`` is not the place."""
    if signed or "extra_content" not in (call.extra or {}):
        return call, None
    extra = {k: v for k, v in (call.extra or {}).items() if k != "extra_content"}
    return replace(call, extra=extra or None), words.CALL_SIGNATURE


RULES = Rules(
    dialect=DIALECT,
    named=frozenset({"system", "developer", "user", "assistant"}),
    carries={"system": frozenset(), "developer": frozenset(), "tool": frozenset()},
    lone_text=True,
    error_mark=False,
    unique_ids="turn",
    stands_alone=_is_function_result,
)
"""A file is a user's to send ("Image URLs are only allowed for messages with role 'user'":
github.com/openai/openai-node/issues/1030, 2024-09-03), results follow their calls at once."""


class _Messages:
    """Writes the turns of a repaired history."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def write(self, messages: Sequence[Message]) -> list[JSON]:
        return [self._turn(message) for message in messages]

    def _turn(self, message: Message) -> dict[str, JSON]:
        turn: dict[str, JSON] = {"role": message.role}
        match message.role:
            case "assistant":
                self._assistant(message, turn)
            case "tool":
                if message.tool_call_id is not None and not _is_function_result(message):
                    turn["tool_call_id"] = message.tool_call_id
                turn["content"] = self._content(message)
            case "system" | "developer":
                turn["role"] = self.options.system_role or message.role
                turn["content"] = self._content(message)
            case _:
                turn["content"] = self._content(message)
        if message.name is not None:
            turn["name"] = message.name
        turn.update(message.extra or {})
        return turn

    def _content(self, message: Message) -> JSON:
        if isinstance(message.content, str):
            return message.content
        return self._listed([self._item(part) for part in message.parts])

    def _listed(self, items: list[JSON]) -> JSON:
        if not self.options.text_lists and all(i.get("type") == "text" for i in items):
            return "".join(i["text"] for i in items)
        return items

    def _item(self, part: ContentPart) -> dict[str, JSON]:
        match part.type:
            case "image":
                return render_image(part)
            case "pdf":
                form = self.options.pdf_part
                return render_document(part, form, urls=self.options.pdf_url)
            case "audio":
                return render_audio(part)
            case "raw":
                return dict(as_mapping(part.data))
            case _:
                return {"type": "text", "text": part.text or "", **own_extra(part)}

    def _assistant(self, message: Message, turn: dict[str, JSON]) -> None:
        parts = message.parts
        items: list[JSON] = []
        refusals: list[str] = []
        texts: list[str] = []  # of reasoning
        for part in parts:
            match part.type:
                case "reasoning":
                    self._reasoning(part, turn, items, texts)
                case "refusal":
                    refusals.append(part.text or "")
                case "image":
                    turn.setdefault("images", []).append(render_image(part))
                case "audio":
                    turn["audio"] = {"id": own_extra(part).get("id")}
                case _:
                    items.append(self._item(part))
        if isinstance(message.content, str):
            content: JSON = message.content
        elif len(parts) > 1 and len(items) == 1 and items[0].keys() == {"type", "text"}:
            content = items[0]["text"]
        else:
            content = self._listed(items)
        calls = message.tool_calls
        said_elsewhere = bool(calls or refusals or len(turn) > 1 or as_mapping(message.extra))
        turn["content"] = content or (None if said_elsewhere else "")
        if refusals:
            turn["refusal"] = "".join(refusals)
        if texts:
            name = str(self.options.reasoning_field)
            turn["reasoning" if name == "reasoning_details" else name] = "".join(texts)
        for call in calls:
            self._call(call, turn)

    def _reasoning(
        self, part: ContentPart, turn: dict[str, JSON], items: list[JSON], texts: list[str]
    ) -> None:
        match self.options.reasoning_field:
            case "reasoning_details":
                if str(own_extra(part).get("type")).startswith("reasoning."):
                    turn.setdefault("reasoning_details", []).append(reasoning_detail(part))
                texts.append(part.text or "")
            case "extra_content":
                turn["extra_content"] = own_extra(part)["extra_content"]
            case "thinking":
                items.append(thinking_item(part))
            case _:
                texts.append(part.text or "")

    def _call(self, call: ToolCall, turn: dict[str, JSON]) -> None:
        extra = dict(call.extra or {})
        entry = render_call(call, extra)
        if extra.get("type") == "function_call":
            turn["function_call"] = entry["function"]
            return
        turn.setdefault("tool_calls", []).append(entry)


def render_call(call: ToolCall, extra: Mapping[str, JSON]) -> dict[str, JSON]:
    """The entry of ``tool_calls``; an empty text of arguments is ``{}``."""
    rest = {k: v for k, v in extra.items() if k != "function"}
    arguments = call.raw_arguments or "{}"
    if rest.get("type") == "custom":
        custom = {"name": call.name, "input": call.raw_arguments or ""}
        return {"id": call.id, "type": "custom", "custom": custom, **rest}
    function = {"name": call.name, "arguments": arguments, **as_mapping(extra.get("function"))}
    return {"id": call.id, "type": "function", "function": function, **rest}


def reasoning_detail(part: ContentPart) -> dict[str, JSON]:
    """The entry of ``reasoning_details`` that a part was read from, field for field."""
    detail = own_extra(part)
    if part.text is not None:
        detail["summary" if detail.get("type") == "reasoning.summary" else "text"] = part.text
    if part.signature is not None:
        detail["signature"] = part.signature
    if part.data is not None:
        detail["data"] = part.data
    return detail


def thinking_item(part: ContentPart) -> dict[str, JSON]:
    """The ``thinking`` item of a content list (Mistral) that says a reasoning part."""
    extra = own_extra(part) if own_extra(part).get("type") == "thinking" else {}
    pieces: list[JSON] = [] if part.text is None else [{"type": "text", "text": part.text}]
    pieces += as_list(extra.pop("thinking", None))
    item: dict[str, JSON] = {"type": "thinking", "thinking": pieces, **extra}
    if part.signature is not None:
        item["signature"] = part.signature
    return item
