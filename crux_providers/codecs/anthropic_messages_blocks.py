"""Anthropic Messages: content blocks as parts and tool calls, and back. Both halves share it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import JSON, ContentPart, ToolCall

from .reading import as_text, json_text, need_mapping, need_text, or_none, rest_of

DIALECT = "anthropic_messages"

INVALID_ARGUMENTS = "INVALID_JSON"
"""The key under which arguments that are no JSON object travel, as the documentation proposes:
platform.claude.com/docs/en/agents-and-tools/tool-use/fine-grained-tool-streaming (2026-11)."""

# The first characters of the base64 form of a file's magic bytes.
_MAGIC = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}


class Notes:
    """What a request lost on its way to the wire, each line once, in order."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}

    def add(self, line: str) -> None:
        """Note a loss in words."""
        self._lines[line] = None

    def lines(self) -> tuple[str, ...]:
        """Every line, in the order first noted."""
        return tuple(self._lines)


def unsupported(what: str, feature: str | None = None) -> ProviderError:
    """The error for a request this dialect cannot express."""
    return ProviderError(ErrorCode.UNSUPPORTED, what, feature=feature)


def is_mine(dialect: str | None) -> bool:
    """Whether fields marked with ``dialect`` may go to this dialect's wire."""
    return dialect is None or dialect == DIALECT


# --- from the wire -----------------------------------------------------------------------------


def read_content(
    blocks: Iterable[JSON], where: str
) -> tuple[tuple[ContentPart, ...], tuple[ToolCall, ...]]:
    """An assistant's blocks as parts and calls, with where among the parts each call stands."""
    parts: list[ContentPart] = []
    begun: list[tuple[int, dict[str, JSON]]] = []
    for block in blocks:
        block = need_mapping(block, f"a block of {where}")
        if block.get("type") == "tool_use":
            begun.append((len(parts), block))
        elif (part := read_block(block, where)) is not None:
            parts.append(part)
    total = len(parts)
    calls = tuple(_read_call(b, None if at >= total else at) for at, b in begun)
    return tuple(parts), calls


def read_parts(blocks: Iterable[JSON], where: str) -> tuple[ContentPart, ...]:
    """Blocks that hold no calls (a user's, a system prompt's, a tool result's) as parts."""
    found = (read_block(need_mapping(b, f"a block of {where}"), where) for b in blocks)
    return tuple(p for p in found if p is not None)


def read_block(block: dict[str, JSON], where: str) -> ContentPart | None:
    """One block as a part; an empty text block says nothing and is None.

    A type the vocabulary has no word for (server tools and their results, MCP, uploads,
    compaction, what comes next year) is a ``raw`` part, whole.
    """
    match need_text(block.get("type"), f"the type of a block of {where}"):
        case "text":
            text = need_text(block.get("text"), "a text block's text")
            extra = _own_extra(rest_of(block, ("type", "text")))
            if not text and extra is None:
                return None
            return ContentPart("text", text, dialect=DIALECT if extra else None, extra=extra)
        case "thinking":
            return ContentPart(
                "reasoning",
                need_text(block.get("thinking"), "a thinking block's thinking"),
                signature=as_text(block.get("signature")),
                dialect=DIALECT,
                extra=or_none(rest_of(block, ("type", "thinking", "signature"))),
            )
        case "redacted_thinking":
            return ContentPart(
                "reasoning",
                data=need_text(block.get("data"), "a redacted_thinking block's data"),
                dialect=DIALECT,
                extra=or_none(rest_of(block, ("type", "data"))),
            )
        case "image":
            return _read_file("image", block, ("type",))
        case "document":
            return _read_file("pdf", block, ("type", "title"))
        case _:
            return ContentPart("raw", data=block, dialect=DIALECT)


def _own_extra(extra: dict[str, JSON]) -> dict[str, JSON] | None:
    # A stream begins cited text with `citations: []`, a whole answer says null: both say nothing.
    if "citations" in extra and not extra["citations"]:
        del extra["citations"]
    return extra or None


def _read_file(kind: str, block: dict[str, JSON], known: Sequence[str]) -> ContentPart:
    extra = rest_of(block, known)
    source = _read_source(kind, block.get("source"))
    if source is not None:
        del extra["source"]
    data, media_type, url = source or (None, None, None)
    return ContentPart(
        kind,
        data=data,
        url=url,
        media_type=media_type,
        name=as_text(block.get("title")) if kind == "pdf" else None,
        dialect=DIALECT if extra else None,
        extra=or_none(extra),
    )


def _read_source(kind: str, source: JSON) -> tuple[str | None, str | None, str | None] | None:
    """``(data, media type, URL)``, or None for what stays in ``extra`` (a file id, blocks)."""
    match source:
        case {"type": "base64", "media_type": str(media_type), "data": str(data)}:
            found, fields = (data, media_type, None), 3
        case {"type": "text", "media_type": str(media_type), "data": str(text)} if kind == "pdf":
            data = base64.b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii")
            found, fields = (data, media_type, None), 3
        case {"type": "url", "url": str(url)}:
            return (None, None, url) if len(source) == 2 else None
        case _:
            return None
    return found if len(source) == fields else None


def _read_call(block: dict[str, JSON], after: int | None) -> ToolCall:
    arguments = block.get("input")
    arguments = {} if arguments is None else need_mapping(arguments, "a tool_use block's input")
    extra = or_none(rest_of(block, ("type", "id", "name", "input")))
    return ToolCall(
        need_text(block.get("id"), "a tool_use block's id"),
        need_text(block.get("name"), "a tool_use block's name"),
        arguments,
        raw_arguments=json_text(arguments),
        after=after,
        dialect=DIALECT if extra else None,
        extra=extra,
    )


# --- to the wire -------------------------------------------------------------------------------


def write_block(
    part: ContentPart, notes: Notes, *, unsigned_thinking: bool = False
) -> dict[str, JSON] | None:
    """One part as a block; None where it is left out, which ``notes`` then says.

    Raises ``unsupported`` for audio, ``bad_request`` for a file with neither data nor URL.
    """
    match part.type:
        case "text":
            block = _write_text(part, notes)
        case "reasoning":
            block = _write_thinking(part, notes, unsigned_thinking)
        case "image":
            block = {"type": "image", "source": _image_source(part)}
        case "pdf":
            block = {"type": "document", "source": _document_source(part, notes)}
            if part.name is not None:
                block["title"] = part.name
        case "raw":
            return _write_raw(part, notes)
        case "refusal":
            return _write_refusal(part, notes)
        case _:
            raise unsupported("the Messages API takes no audio", "audio")
    if block is not None and part.extra:
        if is_mine(part.dialect):
            block.update(part.extra)
        else:
            notes.add(f"{part.dialect}'s fields of a {part.type} part were left out")
    return block


def _write_text(part: ContentPart, notes: Notes) -> dict[str, JSON] | None:
    if not part.text:
        # The API answers 400 "text content blocks must be non-empty".
        notes.add("an empty text was left out, since the API refuses it")
        return None
    return {"type": "text", "text": part.text}


def says_nothing(blocks: Sequence[Mapping[str, JSON]]) -> bool:
    """Whether blocks are white space and nothing else, which the API refuses as a whole message.

    "text content blocks must contain non-whitespace text"; beside other blocks it takes them
    (recording anthropic/messages_parallel_tools_stream__llm-anthropic).
    """
    return all(b.get("type") == "text" and b["text"].isspace() for b in blocks)


def _write_thinking(
    part: ContentPart, notes: Notes, unsigned_thinking: bool
) -> dict[str, JSON] | None:
    if part.dialect != DIALECT:
        notes.add(f"reasoning of {part.dialect or 'no known dialect'} was left out")
        return None
    if part.data is not None:
        return {"type": "redacted_thinking", "data": part.data}
    block: dict[str, JSON] = {"type": "thinking", "thinking": part.text or ""}
    if part.signature is not None:
        block["signature"] = part.signature
    elif not unsigned_thinking:
        notes.add("reasoning without a signature was left out, since the API refuses it")
        return None
    return block


def _write_raw(part: ContentPart, notes: Notes) -> dict[str, JSON] | None:
    if not is_mine(part.dialect) or not isinstance(part.data, Mapping):
        notes.add(f"an item of {part.dialect or 'no known dialect'} was left out")
        return None
    return dict(part.data)


def _write_refusal(part: ContentPart, notes: Notes) -> dict[str, JSON] | None:
    if part.dialect == DIALECT or not part.text:
        return None  # this dialect's own words stood in stop_details, never in the content
    notes.add("a refusal was sent as text")
    return {"type": "text", "text": part.text}


def _image_source(part: ContentPart) -> dict[str, JSON]:
    data, media_type, url = _file_of(part)
    if url is not None:
        return {"type": "url", "url": url}
    if data is None:
        return _own_source(part)
    if media_type is None:
        media_type = next((m for head, m in _MAGIC.items() if data.startswith(head)), None)
    if media_type is None:
        raise ProviderError(ErrorCode.BAD_REQUEST, "an image with data needs its media_type")
    return {"type": "base64", "media_type": media_type, "data": data}


def _document_source(part: ContentPart, notes: Notes) -> dict[str, JSON]:
    data, media_type, url = _file_of(part)
    if url is not None:
        return {"type": "url", "url": url}
    if data is None:
        return _own_source(part)
    if media_type is None or not media_type.startswith("text/"):
        return {"type": "base64", "media_type": media_type or "application/pdf", "data": data}
    if media_type != "text/plain":
        notes.add(f"a document of type {media_type} was sent as text/plain")
    try:
        text = base64.b64decode(data, validate=True).decode("utf-8", "surrogatepass")
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise ProviderError(
            ErrorCode.BAD_REQUEST, "a text document's data is not the base64 form of UTF-8"
        ) from exc
    return {"type": "text", "media_type": "text/plain", "data": text}


def _file_of(part: ContentPart) -> tuple[str | None, str | None, str | None]:
    """``(data, media type, URL)``; a ``data:`` URL is taken apart, since the API fetches others."""
    data = part.data if isinstance(part.data, str) else None
    if data is not None or part.url is None or not part.url.startswith("data:"):
        return data, part.media_type, None if data is not None else part.url
    head, comma, data = part.url[5:].partition(",")
    if not comma or not head.endswith(";base64"):
        raise ProviderError(ErrorCode.BAD_REQUEST, f"{part.type}: a data URL has to be base64")
    return data, head.removesuffix(";base64").partition(";")[0] or part.media_type, None


def _own_source(part: ContentPart) -> dict[str, JSON]:
    extra = part.extra or {}
    if not is_mine(part.dialect) and extra:
        feature = "vision" if part.type == "image" else "pdf"
        raise unsupported(f"this {part.type} part only has a meaning for {part.dialect}", feature)
    source = extra.get("source")
    if not isinstance(source, Mapping):
        raise ProviderError(ErrorCode.BAD_REQUEST, f"the {part.type} part has no data and no url")
    return dict(source)


def write_call(call: ToolCall, wire_id: str, notes: Notes) -> dict[str, JSON]:
    """A call as its ``tool_use`` block; arguments that are no JSON object are wrapped."""
    arguments: JSON = dict(call.arguments)
    if not call.valid:
        arguments = {INVALID_ARGUMENTS: call.raw_arguments}
        notes.add("a call's arguments that are no JSON object were wrapped in one")
    block = {"type": "tool_use", "id": wire_id, "name": call.name, "input": arguments}
    if not is_mine(call.dialect):
        if call.signature is not None or call.extra:
            notes.add(f"{call.dialect}'s fields of a tool call were left out")
    elif call.extra:
        block.update(call.extra)
    return block


def in_wire_order(
    parts: Sequence[ContentPart], calls: Sequence[ToolCall]
) -> Iterable[ContentPart | ToolCall]:
    """Parts and calls as they stood: each call after as many parts as it says."""
    waiting = sorted(calls, key=lambda c: len(parts) if c.after is None else c.after)
    begun = 0
    for position, part in enumerate(parts):
        while begun < len(waiting):
            after = waiting[begun].after
            if after is None or after > position:
                break
            yield waiting[begun]
            begun += 1
        yield part
    yield from waiting[begun:]
