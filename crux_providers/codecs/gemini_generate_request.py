"""Requests to Gemini's generateContent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import JSON, ChatRequest, Message, Tool, ToolCall
from crux_providers.base.wire import WireRequest

from .gemini_generate_parts import (
    DEFAULTS,
    DIALECT,
    DUMMY_SIGNATURE,
    Options,
    camel,
    camel_body,
    merge,
    own,
    write_call,
    write_part,
    write_result,
)
from .repair import in_wire_order, repair
from .repair_rules import Rules

CONFIG_FIELDS = (
    ("maxOutputTokens", "max_tokens"),
    ("temperature", "temperature"),
    ("topP", "top_p"),
    ("seed", "seed"),
    ("responseLogprobs", "logprobs"),
    ("logprobs", "top_logprobs"),
)
BUDGETS: Mapping[str, int] = {
    # ai.google.dev/gemini-api/docs/openai, "Thinking" (read 2026-11-22); -1 lets the model decide.
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "on": -1,
}
LEVELS = frozenset({"minimal", "low", "medium", "high", "xhigh"})
_SYSTEM = ("system", "developer")
_MERGED = frozenset({"generationConfig", "toolConfig"})


def encode(request: ChatRequest, *, stream: bool, options: Options = DEFAULTS) -> WireRequest:
    """The ``generateContent`` (or ``streamGenerateContent``) call of ``request``.

    Raises ``bad_request`` without a model, since the path carries it, and ``unsupported`` for
    files by an URL that Gemini does not read.
    """
    model = model_of(request.model)
    messages, lost = repair(request.messages, rules(model, options))
    degraded = list(lost)
    body: dict[str, JSON] = {"contents": _contents(messages, options)}
    if system := _system(messages, options):
        body["systemInstruction"] = {"parts": system}
    if tools := _tools(request, options, degraded):
        body["tools"] = tools
    _choose(request, body, degraded)
    extra = camel_body(request.extra)
    config = _config(request, model, extra, options, degraded)
    if config:
        body["generationConfig"] = config
    for key, value in extra.items():
        mine = body.get(key)
        if key in _MERGED and isinstance(mine, dict) and isinstance(value, Mapping):
            merge(mine, _camel_config(value))
        else:
            body[key] = value
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    path = f"/v1beta/{quote(_resource(model), safe='/@-._~')}:{verb}"
    return WireRequest(path, body, stream=stream, framing="sse", degraded=tuple(degraded))


def model_of(model: str | None) -> str:
    """The model's id without ``models/`` before it; raises ``bad_request`` where there is none."""
    name = (model or "").removeprefix("models/")
    if not name:
        raise ProviderError(ErrorCode.BAD_REQUEST, "a Gemini request needs a model")
    return name


def _resource(model: str) -> str:
    return model if "/" in model else f"models/{model}"


def _camel_config(value: Mapping[str, JSON]) -> dict[str, JSON]:
    made = camel(value)
    for key in ("thinkingConfig", "functionCallingConfig"):
        if isinstance(made.get(key), Mapping):
            made[key] = camel(made[key])
    return made


# -- contents --------------------------------------------------------------------------------------


def rules(model: str, options: Options = DEFAULTS) -> Rules:
    """What ``model`` asks of a history; the base of it is :data:`RULES`."""
    signed = model.startswith(options.signed_models)
    return replace(
        RULES, provider=options.provider, unsigned_call=DUMMY_SIGNATURE if signed else None
    )


_NONE: frozenset[str] = frozenset()
RULES = Rules(
    dialect=DIALECT,
    unowned_items=False,
    carries={"system": _NONE, "developer": _NONE},
    object_arguments=True,
    system="top",
    tool_id=r"[\s\S]*",
    file_names=False,
    result_names=True,
    merges="calls",
)
"""A call follows a user's turn or results, results follow their calls, one for each
(github.com/google-gemini/gemini-cli/issues/11814, 2025-10-23; github.com/langchain-ai/langchain/
issues/27799); ids are optional, a result has to name its function. Only the first of a turn's
parallel calls bears a thought signature."""


def _system(messages: Sequence[Message], options: Options) -> list[JSON]:
    parts = [p for m in messages if m.role in _SYSTEM for p in m.parts]
    return [written for p in parts if (written := write_part(p, options)) is not None]


def _contents(messages: Sequence[Message], options: Options) -> list[JSON]:
    contents: list[JSON] = []
    results: list[JSON] | None = None  # the parts of the content that holds a turn's results
    for message in messages:
        if message.role in _SYSTEM:
            continue
        if message.role == "tool":
            if results is None:
                results = []
                contents.append({"role": "user", "parts": results})
            results.append(write_result(message, options))
            continue
        results = None
        contents.append(
            {
                "role": "model" if message.role == "assistant" else "user",
                "parts": _parts(message, options),
                **(message.extra or {}),
            }
        )
    return contents


def _parts(message: Message, options: Options) -> list[JSON]:
    parts: list[JSON] = []
    for entry in in_wire_order(message.parts, message.tool_calls):
        if isinstance(entry, ToolCall):
            parts.append(write_call(entry, options))
        elif (written := write_part(entry, options)) is not None:
            parts.append(written)
    # A content without parts is refused; an empty text says the same.
    return parts or [{"text": ""}]


# -- tools -----------------------------------------------------------------------------------------


def _tools(request: ChatRequest, options: Options, degraded: list[str]) -> list[JSON]:
    made: list[JSON] = []
    functions: list[JSON] | None = None  # one entry holds them all: several are refused
    for tool in request.tools:
        if tool.raw is not None:
            if own(tool.dialect):
                made.append(dict(tool.raw))
            else:
                degraded.append(f"tool {tool.name!r} belongs to {tool.dialect} and was left out")
            continue
        if functions is None:
            functions = []
            made.append({"functionDeclarations": functions})
        functions.append(_declaration(tool, options, degraded))
    return made


def _declaration(tool: Tool, options: Options, degraded: list[str]) -> JSON:
    made: dict[str, JSON] = {"name": tool.name}
    if tool.description is not None:
        made["description"] = tool.description
    more = dict(tool.extra or {}) if own(tool.dialect) else {}
    if tool.parameters and "parameters" not in more:
        made["parametersJsonSchema" if options.json_schema else "parameters"] = dict(
            tool.parameters
        )
    if tool.strict:
        degraded.append(f"tool {tool.name!r}: strict was left out")
    return made | more


def _choose(request: ChatRequest, body: dict[str, JSON], degraded: list[str]) -> None:
    if request.parallel_tool_calls is False:
        degraded.append("parallel_tool_calls: Gemini cannot be held to one call at a time")
    chosen: dict[str, JSON]
    match request.tool_choice:
        case None:
            return
        case "auto" | "none" as word:
            chosen = {"mode": word.upper()}
        case "required" | "any":
            chosen = {"mode": "ANY"}
        case name:
            chosen = {"mode": "ANY", "allowedFunctionNames": [name]}
    body["toolConfig"] = {"functionCallingConfig": chosen}


# -- generationConfig ------------------------------------------------------------------------------


def _config(
    request: ChatRequest,
    model: str,
    extra: Mapping[str, JSON],
    options: Options,
    degraded: list[str],
) -> dict[str, JSON]:
    config: dict[str, JSON] = {
        wire: value for wire, ours in CONFIG_FIELDS if (value := getattr(request, ours)) is not None
    }
    if request.stop is not None:
        config["stopSequences"] = list(request.stop)
    match request.response_format:
        case "text":
            config["responseMimeType"] = "text/plain"
        case "json_object":
            config["responseMimeType"] = "application/json"
        case "json_schema":
            config["responseMimeType"] = "application/json"
            theirs = extra.get("generationConfig")
            given = camel(theirs) if isinstance(theirs, Mapping) else {}
            if "responseSchema" not in given:  # it and responseJsonSchema exclude each other
                field = "responseJsonSchema" if options.json_schema else "responseSchema"
                config[field] = dict(request.json_schema or {})
    if thinking := _thinking(request, model, options, degraded):
        config["thinkingConfig"] = thinking
    return config


def _thinking(
    request: ChatRequest, model: str, options: Options, degraded: list[str]
) -> dict[str, JSON]:
    effort, budget = request.reasoning_effort, request.reasoning_budget
    if budget is not None:
        if effort is not None:
            degraded.append("reasoning_effort: reasoning_budget was sent instead of it")
        return {"thinkingBudget": budget} | ({"includeThoughts": True} if budget else {})
    if effort is None:
        return {}
    if model.startswith(options.level_models):
        return _level(effort, degraded)
    if effort not in BUDGETS:
        words = f"Gemini has no reasoning effort {effort!r}"
        raise ProviderError(ErrorCode.UNSUPPORTED, words, feature="reasoning")
    tokens = BUDGETS[effort]
    return {"thinkingBudget": tokens} | ({"includeThoughts": True} if tokens else {})


def _level(effort: str, degraded: list[str]) -> dict[str, JSON]:
    match effort:
        case "on":
            return {"includeThoughts": True}
        case "none":
            degraded.append("reasoning_effort: these models always think; sent as minimal")
            return {"thinkingLevel": "minimal"}
        case level:
            return {"thinkingLevel": level, "includeThoughts": True}
