"""The vocabulary: requests, messages, responses and model listings, free of any provider.

Every value is a frozen dataclass; sequences may be given as lists and are kept as tuples, so a
value can be shared between threads and reused for another provider. Nothing here does I/O.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

JSON: TypeAlias = Any
"""Whatever ``json.loads`` returns."""

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
PartType: TypeAlias = Literal["text", "image", "pdf", "audio", "reasoning", "refusal", "raw"]
FinishReason: TypeAlias = Literal[
    "stop", "length", "tool_calls", "content_filter", "error", "other"
]

ROLES: frozenset[str] = frozenset({"system", "developer", "user", "assistant", "tool"})
PART_TYPES: frozenset[str] = frozenset(
    {"text", "image", "pdf", "audio", "reasoning", "refusal", "raw"}
)
FINISH_REASONS: frozenset[str] = frozenset(
    {"stop", "length", "tool_calls", "content_filter", "error", "other"}
)


@dataclass(frozen=True, slots=True)
class ContentPart:
    """One piece of a message or an answer.

    ``type`` decides which of the other fields speak:

    - ``text``, ``refusal``: ``text``.
    - ``image``, ``pdf``, ``audio``: ``data`` (base64 text; bytes are encoded) or ``url``, with
      ``media_type`` (``image/png``, ``application/pdf``, ``audio/wav``); ``name`` is the file name.
    - ``reasoning``: ``text`` (may be empty), ``signature`` (opaque proof the provider wants back),
      ``data`` (encrypted or redacted content) and ``dialect``, the codec that understands them.
    - ``raw``: ``data`` is a JSON value in the wire form of ``dialect``, kept for that dialect only.

    ``extra`` holds wire fields of the part that the vocabulary has no word for (cache markers,
    citations, image detail); they return to the same ``dialect`` unchanged. ``provider`` names who
    made the part, where that is known: what another provider of the same dialect made does not go
    back with its signatures, encrypted content and ids.
    """

    type: str
    text: str | None = None
    data: JSON = None
    url: str | None = None
    media_type: str | None = None
    signature: str | None = None
    dialect: str | None = None
    name: str | None = None
    extra: Mapping[str, JSON] | None = None
    provider: str | None = None

    def __post_init__(self) -> None:
        if self.type not in PART_TYPES:
            raise ValueError(f"content part type {self.type!r} is not one of {sorted(PART_TYPES)}")
        if isinstance(self.data, (bytes, bytearray, memoryview)):
            object.__setattr__(self, "data", base64.b64encode(bytes(self.data)).decode("ascii"))


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the caller must run.

    ``arguments`` is the parsed mapping, ``raw_arguments`` the text the model wrote (the wire's, or
    compact JSON of ``arguments``). Text that is no JSON object leaves ``arguments`` empty and
    ``valid`` false; nothing is repaired. ``after`` says how many parts of the message's content
    stand before the call (None: all of them). ``signature`` and ``extra`` belong to ``dialect``
    and, where it is named, to ``provider``.
    """

    id: str
    name: str
    arguments: Mapping[str, JSON] = field(default_factory=dict)
    raw_arguments: str | None = None
    after: int | None = None
    signature: str | None = None
    dialect: str | None = None
    extra: Mapping[str, JSON] | None = None
    provider: str | None = None

    def __post_init__(self) -> None:
        given: Any = self.arguments
        if isinstance(given, str):  # the wire form of the OpenAI dialects
            text = given
            object.__setattr__(self, "raw_arguments", text)
            object.__setattr__(self, "arguments", parse_arguments(text) or {})
        elif self.raw_arguments is None:
            object.__setattr__(self, "raw_arguments", compact_json(self.arguments))

    @property
    def valid(self) -> bool:
        """Whether ``raw_arguments`` is a JSON object (an empty text counts as ``{}``)."""
        return parse_arguments(self.raw_arguments or "") is not None

    @classmethod
    def from_text(cls, id: str, name: str, text: str, **more: Any) -> ToolCall:
        """A call whose arguments are still the model's text."""
        return cls(id, name, parse_arguments(text) or {}, raw_arguments=text, **more)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; ``parameters`` is a JSON Schema of its arguments.

    ``extra`` holds dialect fields beside it (``cache_control``). A provider's own server tool is
    ``Tool(name, raw={...wire form...}, dialect="...")`` and goes to that dialect only.
    """

    name: str
    description: str | None = None
    parameters: Mapping[str, JSON] = field(default_factory=dict)
    strict: bool | None = None
    extra: Mapping[str, JSON] | None = None
    raw: Mapping[str, JSON] | None = None
    dialect: str | None = None

    @classmethod
    def parse(cls, value: Tool | Mapping[str, JSON]) -> Tool:
        """Take a Tool, OpenAI's ``{"type": "function", "function": {...}}``, or its inside.

        Raises ValueError for anything else.
        """
        if isinstance(value, Tool):
            return value
        is_function = value.get("type", "function") == "function"
        inner = value.get("function", value) if is_function else None
        if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
            raise ValueError("a tool is a Tool or a mapping with the name of a function")
        known = {"type", "name", "description", "parameters", "strict"}
        return cls(
            inner["name"],
            inner.get("description"),
            inner.get("parameters") or {},
            inner.get("strict"),
            {k: v for k, v in inner.items() if k not in known} or None,
        )


def _all(kind: type, values: Iterable[Any] | None, name: str) -> tuple[Any, ...]:
    taken = tuple(values or ())
    for value in taken:
        if not isinstance(value, kind):
            raise TypeError(
                f"{name} is a list of {kind.__name__}; a {type(value).__name__} is none"
            )
    return taken


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. ``content`` is text or parts in order; an empty text says nothing.

    ``tool_calls`` belong to an assistant turn; a tool turn answers ``tool_call_id`` (``name`` is
    the tool's, ``is_error`` marks a failed run). ``extra`` holds wire fields beside the content;
    ``dialect`` says whose they are, where that is known (two turns that differ in it are equal).
    """

    role: str
    content: str | Sequence[ContentPart] = ""
    name: str | None = None
    tool_calls: Sequence[ToolCall] = ()
    tool_call_id: str | None = None
    is_error: bool = False
    extra: Mapping[str, JSON] | None = None
    dialect: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"message role {self.role!r} is not one of {sorted(ROLES)}")
        if not isinstance(self.content, str):
            object.__setattr__(self, "content", _all(ContentPart, self.content, "content"))
        object.__setattr__(self, "tool_calls", _all(ToolCall, self.tool_calls, "tool_calls"))

    @property
    def parts(self) -> tuple[ContentPart, ...]:
        """The content as parts; text becomes one text part, an empty text none."""
        if isinstance(self.content, str):
            return (ContentPart("text", self.content),) if self.content else ()
        return cast("tuple[ContentPart, ...]", self.content)

    @property
    def text(self) -> str:
        """The text parts joined with nothing between them."""
        if isinstance(self.content, str):
            return self.content
        return "".join(p.text or "" for p in self.content if p.type == "text")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call, for any provider.

    ``model`` is the provider's own id (the router fills it in where it is None). ``max_tokens``
    counts output tokens. ``response_format`` is ``text``, ``json_object`` or ``json_schema``;
    ``json_schema`` a bare JSON Schema (OpenAI's wrapper ``{name, schema, strict}`` is taken too;
    ``schema_name`` and ``schema_strict`` keep what it said). ``tool_choice`` is ``auto``,
    ``none``, ``required`` or a tool's name (OpenAI's mapping is taken too). ``reasoning_effort``
    is a word of the provider (``low``, ``medium``, ``high``), ``reasoning_budget`` a number of
    tokens. ``extra`` goes into the provider's body as it stands and is never dropped.
    """

    model: str | None = None
    messages: Sequence[Message] = ()
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: Sequence[str] | None = None
    seed: int | None = None
    response_format: str | None = None
    json_schema: Mapping[str, JSON] | None = None
    tools: Sequence[Tool] = ()
    tool_choice: str | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    reasoning_budget: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    schema_name: str | None = None
    schema_strict: bool | None = None
    extra: Mapping[str, JSON] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = object.__setattr__
        messages = self.messages
        if isinstance(messages, (str, Message, Mapping)):
            raise TypeError("messages is a list of Message")
        put(self, "messages", _all(Message, messages, "messages"))
        put(self, "tools", tuple(Tool.parse(t) for t in self.tools or ()))
        if isinstance(self.stop, str):
            put(self, "stop", (self.stop,))
        elif self.stop is not None:
            put(self, "stop", tuple(self.stop))
        self._take_response_format()
        choice: Any = self.tool_choice
        if isinstance(choice, Mapping):  # {"type": "function", "function": {"name": n}}
            inner = choice.get("function", choice)
            put(self, "tool_choice", inner.get("name") or choice.get("type"))

    def _take_response_format(self) -> None:
        put = object.__setattr__
        wrapper: Any = self.response_format
        if isinstance(wrapper, Mapping):
            put(self, "response_format", wrapper.get("type"))
            if self.json_schema is None and wrapper.get("json_schema") is not None:
                put(self, "json_schema", wrapper["json_schema"])
        schema = self.json_schema
        if isinstance(schema, Mapping) and isinstance(schema.get("schema"), Mapping):
            put(self, "json_schema", schema["schema"])
            if self.schema_name is None:
                put(self, "schema_name", schema.get("name"))
            if self.schema_strict is None:
                put(self, "schema_strict", schema.get("strict"))
        if self.json_schema is not None and self.response_format is None:
            put(self, "response_format", "json_schema")
        if self.response_format not in (None, "text", "json_object", "json_schema"):
            raise ValueError(
                f"response_format {self.response_format!r} is not text, json_object or json_schema"
            )
        if self.response_format == "json_schema" and self.json_schema is None:
            raise ValueError("response_format 'json_schema' needs json_schema")


@dataclass(frozen=True, slots=True)
class Usage(Mapping[str, Any]):
    """Token counts of one call: ints, or None where the provider gave none.

    ``prompt`` counts every input token, cached ones included. ``details`` splits them further:
    ``cached``, ``cache_write``, ``reasoning`` and what else the provider counts. Also a mapping
    with the keys ``prompt``, ``completion``, ``total`` and ``details``.
    """

    prompt: int | None = None
    completion: int | None = None
    total: int | None = None
    details: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.total is None and self.prompt is not None and self.completion is not None:
            object.__setattr__(self, "total", self.prompt + self.completion)

    def __getitem__(self, key: str) -> Any:
        if key in ("prompt", "completion", "total", "details"):
            return getattr(self, key)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(("prompt", "completion", "total", "details"))

    def __len__(self) -> int:
        return 4

    @property
    def tokens(self) -> dict[str, int | None]:
        """``{"prompt", "completion", "total"}``, the shape of ``token_usage``."""
        return {"prompt": self.prompt, "completion": self.completion, "total": self.total}


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """Who answered and with what ids.

    ``model_name`` is the model as the provider reports it, ``request_id`` and ``response_id`` the
    provider's where it gives them. ``extra`` carries ``token_usage`` (always, with the keys
    prompt, completion, total; values int or None), ``token_usage_details``, ``logprobs``,
    ``wire_fields`` (response fields the vocabulary has no word for, as sent), ``degraded`` and,
    from the router, ``crux``.
    """

    provider: str = ""
    model_name: str | None = None
    request_id: str | None = None
    response_id: str | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.extra.setdefault("token_usage", {"prompt": None, "completion": None, "total": None})

    @property
    def tokens(self) -> dict[str, int | None]:
        """The same mapping as ``extra["token_usage"]``."""
        return cast("dict[str, int | None]", self.extra["token_usage"])

    @property
    def usage(self) -> Usage:
        """The counts as a :class:`Usage`."""
        return Usage(**self.tokens, details=dict(self.extra.get("token_usage_details") or {}))


@dataclass(frozen=True, slots=True)
class ChatResponse:
    """One whole answer.

    ``text`` and ``reasoning`` are the joined parts of that type (reasoning None where there is
    none); ``parts`` keeps every part in wire order. ``structured`` is the parsed JSON of an answer
    to json_object or json_schema. ``finish_reason`` is one of stop, length, tool_calls,
    content_filter, error, other. ``refusal`` holds a refusal's words.
    """

    text: str = ""
    reasoning: str | None = None
    parts: Sequence[ContentPart] = ()
    tool_calls: Sequence[ToolCall] = ()
    structured: JSON = None
    finish_reason: str | None = None
    refusal: str | None = None
    meta: ProviderMetadata = field(default_factory=ProviderMetadata)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "tool_calls", tuple(self.tool_calls))

    @property
    def metadata(self) -> ProviderMetadata:
        """The same object as ``meta``."""
        return self.meta

    @property
    def usage(self) -> Usage:
        """The token counts of ``meta``."""
        return self.meta.usage

    @property
    def empty(self) -> bool:
        """Whether the answer says nothing: no text, call, refusal, or part but reasoning."""
        return not (
            self.text.strip()
            or self.tool_calls
            or self.refusal
            or any(p.type not in ("reasoning", "text") for p in self.parts)
        )

    def to_message(self) -> Message:
        """The answer as the assistant turn to send back."""
        content: str | Sequence[ContentPart] = self.parts
        match self.parts:
            case ():
                content = self.text
            case (ContentPart(type="text", extra=None, signature=None) as only,):
                content = only.text or ""
        return Message("assistant", content, tool_calls=self.tool_calls)

    @classmethod
    def build(
        cls,
        parts: Sequence[ContentPart],
        tool_calls: Sequence[ToolCall] = (),
        *,
        finish_reason: str | None = None,
        structured: JSON = None,
        meta: ProviderMetadata | None = None,
    ) -> ChatResponse:
        """An answer from its parts: text, reasoning and refusal are joined here, in one place."""

        def joined(kind: str) -> str | None:
            found = [p.text for p in parts if p.type == kind and p.text is not None]
            return "".join(found) if found else None

        return cls(
            text=joined("text") or "",
            reasoning=joined("reasoning"),
            parts=parts,
            tool_calls=tool_calls,
            structured=structured,
            finish_reason=finish_reason,
            refusal=joined("refusal"),
            meta=meta if meta is not None else ProviderMetadata(),
        )


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model of a provider's listing.

    ``context_length`` is in tokens and None where nobody states it. ``updated_at`` is a date
    ``YYYY-MM-DD``. ``capability_sources`` says ``api`` or ``heuristic`` for each capability.
    """

    id: str
    name: str | None = None
    context_length: int | None = None
    capabilities: dict[str, bool] = field(default_factory=dict)
    updated_at: str | None = None
    provider: str | None = None
    family: str | None = None
    max_output_tokens: int | None = None
    capability_sources: dict[str, str] = field(default_factory=dict)
    extra: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelRegistrySnapshot:
    """A provider's models as last stored, with where they came from.

    ``fetched_via`` and ``metadata["source"]`` name the origin (``api``, ``openai_sdk_enriched``);
    ``fetched_at`` is an ISO 8601 time in UTC.
    """

    provider: str = ""
    models: list[ModelInfo] = field(default_factory=list)
    fetched_via: str | None = None
    fetched_at: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def compact_json(value: JSON) -> str:
    """JSON text with no spaces, non-ASCII kept."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def parse_arguments(text: str) -> dict[str, JSON] | None:
    """The JSON object in ``text`` (an empty text is ``{}``), or None where it is no object."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def parse_structured(text: str, response_format: str | None) -> JSON:
    """The JSON of a structured answer, or None where none was asked for or the text is none."""
    if response_format not in ("json_object", "json_schema") or not text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def extract_system_and_user(messages: Sequence[Message]) -> tuple[str, str]:
    """System text and user text, each joined by newlines with whitespace-only lines dropped.

    For summaries and logs; adapters send every message as it stands instead.
    """

    def lines(*roles: str) -> str:
        texts = (m.text for m in messages if m.role in roles)
        return "\n".join(ln for text in texts for ln in text.splitlines() if ln.strip())

    return lines("system", "developer"), lines("user")
