"""Anthropic Messages: content blocks as parts and tool calls, and back. Both halves share it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import JSON, ContentPart, ToolCall

from .reading import as_text, json_text, need_mapping, need_text, or_none, rest_of
from .repair import INVALID_ARGUMENTS
from .repair_words import Notes

DIALECT = "anthropic_messages"

# The first characters of the base64 form of a file's magic bytes.
_MAGIC = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}


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


def write_block(part: ContentPart, notes: Notes) -> dict[str, JSON] | None:
    """One part as a block; None for what the dialect has no block for.

    ``notes`` takes a change of form. Raises ``unsupported`` for audio, ``bad_request`` for a file
    with neither data nor URL.
    """
    match part.type:
        case "text":
            block: dict[str, JSON] = {"type": "text", "text": part.text or ""}
        case "reasoning":
            block = _write_thinking(part)
        case "image":
            block = {"type": "image", "source": _image_source(part)}
        case "pdf":
            block = {"type": "document", "source": _document_source(part, notes)}
            if part.name is not None:
                block["title"] = part.name
        case "raw":
            mine = is_mine(part.dialect) and isinstance(part.data, Mapping)
            return dict(part.data) if mine else None
        case _:
            raise unsupported(f"the Messages API takes no {part.type}", part.type)
    if part.extra and is_mine(part.dialect):
        block.update(part.extra)
    return block


def _write_thinking(part: ContentPart) -> dict[str, JSON]:
    if part.data is not None:
        return {"type": "redacted_thinking", "data": part.data}
    block: dict[str, JSON] = {"type": "thinking", "thinking": part.text or ""}
    if part.signature is not None:
        block["signature"] = part.signature
    return block


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
    source = (part.extra or {}).get("source")
    if not isinstance(source, Mapping):
        raise ProviderError(ErrorCode.BAD_REQUEST, f"the {part.type} part has no data and no url")
    return dict(source)


def write_call(call: ToolCall, wire_id: str) -> dict[str, JSON]:
    """A call as its ``tool_use`` block; arguments that are no JSON object are wrapped."""
    arguments = dict(call.arguments) if call.valid else {INVALID_ARGUMENTS: call.raw_arguments}
    block = {"type": "tool_use", "id": wire_id, "name": call.name, "input": arguments}
    if call.extra and is_mine(call.dialect):
        block.update(call.extra)
    return block
