"""The parts of a content in Gemini's dialect, both ways, and the names its fields go by.

Google reads every field of a message in camelCase and in snake_case alike (the JSON mapping of
protocol buffers, protobuf.dev/programming-guides/json, read 2026-11-22); keys inside free-form
values (arguments, responses, schemas) are the user's and stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import JSON, ContentPart, Message, ToolCall, parse_arguments

from .reading import (
    as_mapping,
    as_text,
    json_text,
    malformed,
    need_mapping,
    need_text,
    opt_text,
    or_none,
    rest_of,
)
from .repair import INVALID_ARGUMENTS

DIALECT = "gemini_generate"

_SNAKE = re.compile(r"_([a-z0-9])")
_MEDIA_FIELDS = (("inlineData", "data"), ("fileData", "fileUri"))
_MAGIC = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "JVBERi": "application/pdf",
    "SUQz": "audio/mpeg",
    "T2dnUw": "audio/ogg",
    "ZkxhQ": "audio/flac",
}  # the first base64 characters of each format's magic number
FEATURES = {"image": "vision"}

RESPONSE_KEY = "responseKey"
"""In ``ContentPart.extra`` of a tool result: the key of the response object whose value the text
is, or None where the text is the whole object's JSON. Without it the key is ``output``."""

DUMMY_SIGNATURE = "skip_thought_signature_validator"
"""What Google's page on thought signatures (ai.google.dev/gemini-api/docs/thought-signatures, read
2026-11-22) gives for a call that no Gemini model made."""


@dataclass(frozen=True, slots=True)
class Options:
    """The dialect's knobs.

    - ``file_urls``: beginnings of the URLs that may stand in ``fileData``; others are refused.
    - ``tool_call_ids``: send the ids of calls and results.
    - ``level_models``: beginnings of models that take ``thinkingLevel`` for an effort; the others
      get a ``thinkingBudget``.
    - ``signed_models``: beginnings of models that refuse a call without a thought signature.
    - ``json_schema``: send schemas as JSON Schema; else as they stand in ``parameters`` and
      ``responseSchema``, for servers that know only those.
    - ``provider``: whose thought signatures may go back (None: anybody's).
    """

    file_urls: tuple[str, ...] = (
        "https://generativelanguage.googleapis.com/",
        "gs://",
        "https://www.youtube.com/",
        "https://youtube.com/",
        "https://youtu.be/",
    )
    tool_call_ids: bool = True
    level_models: tuple[str, ...] = ("gemini-3",)
    signed_models: tuple[str, ...] = ("gemini-3",)
    json_schema: bool = True
    provider: str | None = None


def camel(value: Mapping[str, JSON]) -> dict[str, JSON]:
    """``value`` with the names of its own fields in camelCase."""
    if not any("_" in key for key in value):
        return dict(value)
    return {_SNAKE.sub(lambda m: m[1].upper(), k) if "_" in k else k: v for k, v in value.items()}


_BODY_NAMES = {
    "generation_config": "generationConfig",
    "tool_config": "toolConfig",
    "safety_settings": "safetySettings",
    "system_instruction": "systemInstruction",
    "cached_content": "cachedContent",
}


def camel_body(value: Mapping[str, JSON]) -> dict[str, JSON]:
    """A body with its known fields in camelCase; unknown ones are somebody's own."""
    return {_BODY_NAMES.get(key, key): v for key, v in value.items()}


def merge(into: MutableMapping[str, JSON], more: Mapping[str, JSON]) -> None:
    """Put ``more`` into ``into``, object by object; values of ``more`` win."""
    for key, value in more.items():
        mine = into.get(key)
        if isinstance(mine, dict) and isinstance(value, Mapping):
            merge(mine, value)
        elif isinstance(value, Mapping):
            into[key] = dict(value)
        else:
            into[key] = value


def made_id(*parts: object) -> str:
    """A tool-call id out of what identifies the call, for a wire that has none."""
    from hashlib import sha256

    text = "\x00".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return f"call_{sha256(text).hexdigest()[:16]}"


DEFAULTS = Options()


def own(dialect: str | None) -> bool:
    """Whether fields of ``dialect`` may go to this wire."""
    return dialect is None or dialect == DIALECT


# -- the wire's to ours ----------------------------------------------------------------------------


def read_part(value: JSON, where: str) -> ContentPart:
    """The part of an answer or a request; what the vocabulary has no word for becomes ``raw``."""
    part = camel(need_mapping(value, where))
    if "text" in part:
        return _text_part(part, where)
    for field, key in _MEDIA_FIELDS:
        if isinstance(part.get(field), dict):
            made = _media_part(part, field, key, where)
            if made is not None:
                return made
    return ContentPart("raw", data=part, dialect=DIALECT)


def _text_part(part: dict[str, JSON], where: str) -> ContentPart:
    text = need_text(part["text"], f"{where}.text")
    signature = opt_text(part.get("thoughtSignature"), f"{where}.thoughtSignature")
    extra = or_none(rest_of(part, ("text", "thought", "thoughtSignature")))
    thought = part.get("thought") is True
    mine = thought or signature is not None or extra is not None
    return ContentPart(
        "reasoning" if thought else "text",
        text,
        signature=signature,
        dialect=DIALECT if mine else None,
        extra=extra,
    )


def _media_part(part: dict[str, JSON], field: str, key: str, where: str) -> ContentPart | None:
    blob = camel(part[field])
    media_type, content = as_text(blob.get("mimeType")), blob.get(key)
    kind = _kind(media_type)
    if kind is None or not isinstance(content, str):
        return None
    signature = opt_text(part.get("thoughtSignature"), f"{where}.thoughtSignature")
    extra = rest_of(part, (field, "thoughtSignature"))
    if inner := rest_of(blob, (key, "mimeType")):
        extra[field] = inner
    inline = field == "inlineData"
    return ContentPart(
        kind,
        data=content if inline else None,
        url=None if inline else content,
        media_type=media_type,
        signature=signature,
        dialect=DIALECT if extra or signature is not None or not inline else None,
        extra=or_none(extra),
    )


def _kind(media_type: str | None) -> str | None:
    if media_type == "application/pdf":
        return "pdf"
    kind = (media_type or "").partition("/")[0]
    return kind if kind in ("image", "audio") else None


def read_call(part: dict[str, JSON], call: dict[str, JSON], id: str, arguments: str) -> ToolCall:
    """A function call whose text of arguments is known; ``part`` and ``call`` in camelCase."""
    return ToolCall.from_text(
        id,
        need_text(call.get("name"), "functionCall.name"),
        arguments,
        signature=opt_text(part.get("thoughtSignature"), "thoughtSignature"),
        dialect=DIALECT,
        extra=call_extra(part, call),
    )


def call_extra(part: dict[str, JSON], call: dict[str, JSON]) -> dict[str, JSON] | None:
    """The fields of a call's part that the vocabulary has no word for."""
    extra = rest_of(part, ("functionCall", "thoughtSignature"))
    if inner := rest_of(call, ("id", "name", "args", "partialArgs", "willContinue")):
        extra["functionCall"] = inner
    return or_none(extra)


def call_arguments(call: dict[str, JSON]) -> str:
    """The text of a whole call's arguments."""
    given = call.get("args")
    return json_text(need_mapping({} if given is None else given, "functionCall.args"))


def read_result(value: JSON, id: str | None, where: str) -> Message:
    """The tool turn in a ``functionResponse``."""
    given = camel(need_mapping(value, where))
    response = need_mapping(given.get("response", {}), f"{where}.response")
    text, key, failed = _said(response)
    marked = {RESPONSE_KEY: key} if key not in ("output", "error") else None
    plain = given.get("parts") is None
    content: Any = text
    if marked is not None or not plain:
        content = [ContentPart("text", text, dialect=DIALECT if marked else None, extra=marked)]
        for place, item in enumerate(given.get("parts") or ()):
            content.append(read_part(item, f"{where}.parts[{place}]"))
    return Message(
        "tool",
        content,
        name=as_text(given.get("name")),
        tool_call_id=id,
        is_error=failed,
        extra=or_none(rest_of(given, ("id", "name", "response", "parts"))),
    )


def _said(response: dict[str, JSON]) -> tuple[str, str | None, bool]:
    """The text of a response object, the key it stood under, and whether it is a failure's."""
    if len(response) == 1:
        ((key, value),) = response.items()
        if isinstance(value, str):
            return value, key, key == "error"
    return json_text(response), None, False


# -- ours to the wire ------------------------------------------------------------------------------


def write_part(part: ContentPart, options: Options) -> dict[str, JSON] | None:
    """The wire form of a part, or None where it belongs to another dialect."""
    made: dict[str, JSON]
    match part.type:
        case "text" | "refusal":
            made = {"text": part.text or ""}
        case "reasoning":
            made = {"text": part.text or "", "thought": True}
        case "raw":
            return dict(as_mapping(part.data)) if part.dialect == DIALECT else None
        case _:
            made = _media(part, options)
    if own(part.dialect):
        if part.signature is not None:
            made["thoughtSignature"] = part.signature
        if part.extra:
            merge(made, rest_of(part.extra, (RESPONSE_KEY,)))
    return made


def _media(part: ContentPart, options: Options) -> dict[str, JSON]:
    data, media_type = part.data, part.media_type
    if data is None and part.url is not None and part.url.startswith("data:"):
        head, _, data = part.url[5:].partition(";base64,")
        media_type = head.partition(";")[0] or media_type
    if isinstance(data, str) and data:
        return {"inlineData": {"mimeType": media_type or _sniffed(part, data), "data": data}}
    if part.url is not None and (part.dialect == DIALECT or part.url.startswith(options.file_urls)):
        blob: dict[str, JSON] = {"fileUri": part.url}
        if media_type is not None:
            blob["mimeType"] = media_type
        return {"fileData": blob}
    feature = FEATURES.get(part.type, part.type)
    words = f"{part.type} by this URL: Gemini takes files of Google's own storage, or the data"
    raise ProviderError(ErrorCode.UNSUPPORTED, words, feature=feature)


def _sniffed(part: ContentPart, data: str) -> str:
    found = next((m for head, m in _MAGIC.items() if data.startswith(head)), None)
    if data.startswith("UklGR"):  # RIFF, the container of both
        found = "image/webp" if part.type == "image" else "audio/wav"
    if found is None and part.type == "pdf":
        found = "application/pdf"
    if found is None:
        raise ProviderError(ErrorCode.BAD_REQUEST, f"{part.type} data needs its media_type")
    return found


def write_call(call: ToolCall, options: Options) -> dict[str, JSON]:
    """The part of a call; arguments that are no JSON object are wrapped in one."""
    arguments = dict(call.arguments) if call.valid else {INVALID_ARGUMENTS: call.raw_arguments}
    function: dict[str, JSON] = {"name": call.name, "args": arguments}
    if call.id and options.tool_call_ids:
        function["id"] = call.id
    made: dict[str, JSON] = {"functionCall": function}
    if own(call.dialect):
        if call.signature is not None:
            made["thoughtSignature"] = call.signature
        if call.extra:
            merge(made, call.extra)
    return made


def write_result(message: Message, options: Options) -> dict[str, JSON]:
    """The ``functionResponse`` part of a tool turn."""
    texts = [p for p in message.parts if p.type in ("text", "refusal")]
    text = "".join(p.text or "" for p in texts)
    name = message.name or message.tool_call_id or "tool"
    made: dict[str, JSON] = {"name": name, "response": _response(message, texts, text)}
    if message.tool_call_id and options.tool_call_ids:
        made["id"] = message.tool_call_id
    others = [p for p in message.parts if p.type not in ("text", "refusal")]
    written = [w for p in others if (w := write_part(p, options)) is not None]
    if written:
        made["parts"] = written
    made.update(message.extra or {})
    return {"functionResponse": made}


def _response(message: Message, texts: list[ContentPart], text: str) -> JSON:
    match texts:
        case [ContentPart(dialect="gemini_generate", extra=Mapping() as extra)] if (
            RESPONSE_KEY in extra
        ):
            key = extra[RESPONSE_KEY]
            if key is not None:
                return {key: text}
            whole = parse_arguments(text) if text else None
            if whole is not None:
                return whole
    # "output" and "error" are the keys the reference of FunctionResponse.response names.
    return {"error" if message.is_error else "output": text}


_PATH = re.compile(r"\.([^.\[\]]+)|\[(\d{1,6})\]|\[(?:'([^']*)'|\"([^\"]*)\")\]")


def put_at(root: dict[str, JSON], path: str, value: JSON) -> None:
    """Put a piece of streamed arguments at its JSONPath; text that goes on is appended.

    Vertex streams arguments so where ``streamFunctionCallArguments`` is set.
    """
    steps: list[str | int] = []
    at = 1 if path.startswith("$") else 0
    while at < len(path):
        found = _PATH.match(path, at)
        if found is None:
            raise malformed(f"a path of arguments: {path[:80]!r}")
        name, position, single, double = found.groups()
        quoted = single if single is not None else double
        step = int(position) if position is not None else name if name is not None else quoted
        steps.append(step)
        at = found.end()
    if not steps:
        raise malformed("an empty path of arguments")
    here: Any = root
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        fresh: JSON = value if following is None else [] if type(following) is int else {}
        if isinstance(step, int):
            if not isinstance(here, list) or step > len(here):
                raise malformed(f"a path of arguments: {path[:80]!r}")
            if step == len(here):
                here.append(fresh)
                here = here[step]
                continue
        elif not isinstance(here, dict):
            raise malformed(f"a path of arguments: {path[:80]!r}")
        elif step not in here:
            here[step] = fresh
            here = here[step]
            continue
        if following is None:
            before = here[step]
            both = isinstance(before, str) and isinstance(value, str)
            here[step] = before + value if both else value
        here = here[step]
