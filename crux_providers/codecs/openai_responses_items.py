"""Items of the OpenAI Responses dialect as parts and tool calls, and back. Both halves share it.

One piece of wire content is one part: a message item with two texts is two parts, a reasoning item
with three summaries three. The fields of the item around a piece (its id, status, phase) stand in
the part's ``extra["item"]``; pieces whose ``item`` is the same go back into one item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from crux_providers.base.models import JSON, ContentPart, ToolCall

from .openai_chat_tables import made_id
from .reading import (
    as_list,
    as_mapping,
    as_text,
    json_text,
    need_list,
    need_mapping,
    need_text,
    opt_list,
    opt_text,
    or_none,
    rest_of,
)

DIALECT = "openai_responses"

CALL_FIELDS: Mapping[str, str] = {"function_call": "arguments", "custom_tool_call": "input"}
"""Items that are calls the caller must run by name, with the field of the model's text."""

CALLER_ITEMS = frozenset(
    {"apply_patch_call", "computer_call", "local_shell_call", "mcp_approval_request"}
)
"""Raw items that wait for the caller as well, though no tool of the request has their name."""

Place: TypeAlias = tuple[str, int]
"""Where in its item a piece stands: ``("content", 0)``, ``("summary", 1)``, ``("item", 0)``."""


class Piece(NamedTuple):
    """A part or a call with its place in the item, and the token entries of a text."""

    place: Place
    value: ContentPart | ToolCall
    logprobs: list[JSON]


def is_mine(dialect: str | None) -> bool:
    """Whether fields marked with ``dialect`` may go to this dialect's wire."""
    return dialect is None or dialect == DIALECT


def own_extra(part: ContentPart) -> dict[str, JSON]:
    """The part's wire fields where they are this dialect's (or nobody said whose)."""
    return dict(part.extra) if part.extra and is_mine(part.dialect) else {}


# --- from the wire -----------------------------------------------------------------------------


def read_item(item: dict[str, JSON], where: str) -> list[Piece]:
    """The pieces of one output item; raises ``malformed`` for one that is not what it says.

    An empty text says nothing and is no piece. A type without a word in the vocabulary (server
    tools, compaction, what comes next year) is one ``raw`` part, whole.
    """
    kind = need_text(item.get("type"), f"the type of {where}")
    if kind == "message" and item.get("role", "assistant") == "assistant":
        return list(_message(item, where))
    if kind == "reasoning":
        return _reasoning(item, where)
    if kind in CALL_FIELDS:
        return [Piece(("item", 0), read_call(item, where), [])]
    return [Piece(("item", 0), ContentPart("raw", data=item, dialect=DIALECT), [])]


def _message(item: dict[str, JSON], where: str) -> Iterator[Piece]:
    fields = rest_of(item, ("type", "role", "content"))
    for index, entry in enumerate(need_list(item.get("content"), f"the content of {where}")):
        content = need_mapping(entry, f"a piece of {where}")
        part = read_content(content, fields, where)
        if says_something(part):
            yield Piece(("content", index), part, as_list(content.get("logprobs")))


def says_something(part: ContentPart) -> bool:
    """Whether a piece of a message is more than an empty text."""
    return part.type == "raw" or bool(part.text or (part.extra or {}).get("annotations"))


def read_content(
    content: dict[str, JSON], fields: Mapping[str, JSON] | None, where: str
) -> ContentPart:
    """One piece of an assistant's message; ``fields`` are its item's (None: it has none)."""
    around: dict[str, JSON] = {} if fields is None else {"item": fields}
    match content.get("type"):
        case "output_text":
            text = need_text(content.get("text"), f"a text of {where}")
            rest = rest_of(content, ("type", "text", "logprobs"))
            if rest.get("annotations") == []:
                del rest["annotations"]  # says nothing; it is always written
            return _said("text", text, around | rest)
        case "refusal":
            text = need_text(content.get("refusal"), f"a refusal of {where}")
            return _said("refusal", text, around | rest_of(content, ("type", "refusal")))
        case _:
            return ContentPart("raw", data=content, dialect=DIALECT, extra=or_none(around))


def _said(kind: str, text: str, extra: dict[str, JSON]) -> ContentPart:
    return ContentPart(kind, text, dialect=DIALECT if extra else None, extra=or_none(extra))


def _reasoning(item: dict[str, JSON], where: str) -> list[Piece]:
    fields = rest_of(item, ("type", "summary", "content", "encrypted_content"))
    encrypted = opt_text(item.get("encrypted_content"), f"encrypted_content of {where}")
    pieces: list[Piece] = []
    for name in ("summary", "content"):
        for index, entry in enumerate(opt_list(item.get(name), f"{name} of {where}") or ()):
            said = need_mapping(entry, f"a piece of {where}")
            part = read_thought(said, fields, where, data=None if pieces else encrypted)
            pieces.append(Piece((name, index), part, []))
    if not pieces:
        hidden = ContentPart("reasoning", data=encrypted, dialect=DIALECT, extra={"item": fields})
        pieces.append(Piece(("item", 0), hidden, []))
    return pieces


def read_thought(
    piece: dict[str, JSON], fields: Mapping[str, JSON], where: str, *, data: JSON = None
) -> ContentPart:
    """One summary or text of a reasoning item, whose ``fields`` are around it."""
    text = need_text(piece.get("text"), f"a text of {where}")
    kind = need_text(piece.get("type"), f"a type in {where}")
    extra = {"item": fields, "type": kind, **rest_of(piece, ("type", "text"))}
    return ContentPart("reasoning", text, data=data, dialect=DIALECT, extra=extra)


def read_call(item: dict[str, JSON], where: str) -> ToolCall:
    """A ``function_call`` or ``custom_tool_call``; ``extra`` keeps its item id and status."""
    kind = item["type"]
    field = CALL_FIELDS[kind]
    text = item.get(field)
    if isinstance(text, dict):
        text = json_text(text)
    name = need_text(item.get("name"), f"the name of {where}")
    id = as_text(item.get("call_id")) or as_text(item.get("id")) or made_id(name, where)
    return ToolCall.from_text(
        id,
        name,
        opt_text(text, f"{field} of {where}") or "",
        dialect=DIALECT,
        extra=or_none(call_extra(item)),
    )


def call_extra(item: Mapping[str, JSON]) -> dict[str, JSON]:
    """The fields of a call's item that :class:`ToolCall` has no word for."""
    if item.get("type") == "function_call":
        return rest_of(item, ("type", "call_id", "name", "arguments"))
    return rest_of(item, ("call_id", "name", "input"))


def awaits_caller(part: ContentPart, parts: Iterable[ContentPart]) -> bool:
    """Whether a raw part is a call the caller has to run.

    A shell runs at the caller's where no output of it follows; a tool search says who executes it.
    """
    if part.type != "raw" or not isinstance(part.data, dict):
        return False
    match part.data.get("type"):
        case "tool_search_call":
            return part.data.get("execution") == "client"
        case "shell_call":
            done = ("shell_call_output", part.data.get("call_id"))
            others = (p.data for p in parts if p.type == "raw" and isinstance(p.data, dict))
            return all((d.get("type"), d.get("call_id")) != done for d in others)
        case kind:
            return isinstance(kind, str) and kind in CALLER_ITEMS


# --- to the wire -------------------------------------------------------------------------------


class ItemWriter:
    """Writes parts and calls as items, gathering the pieces of one item; ``items`` holds them."""

    __slots__ = ("_open", "items")

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self._open: tuple[str, Mapping[str, JSON] | None] | None = None  # kind and fields

    def content(self, part: ContentPart) -> None:
        """A text, a refusal or an unknown piece of a message."""
        extra = own_extra(part)
        fields = extra.pop("item", None)
        if self._open != ("message", fields):
            self._begin("message", {"role": "assistant", **(fields or {}), "content": []}, fields)
        piece = content_piece(part, extra)
        if part.type == "text" and fields is not None:
            piece.setdefault("annotations", [])
        self.items[-1]["content"].append(piece)

    def reasoning(self, part: ContentPart) -> None:
        """A piece of reasoning of this dialect; encrypted content begins another item."""
        extra = own_extra(part)
        fields = extra.pop("item", None)
        if self._open != ("reasoning", fields) or part.data is not None:
            self._begin("reasoning", {**(fields or {}), "summary": []}, fields)
        item = self.items[-1]
        if part.data is not None:
            item["encrypted_content"] = part.data
        if part.text is not None:
            name, piece = reasoning_piece(part, extra)
            item.setdefault(name, []).append(piece)

    def item(self, item: dict[str, Any]) -> None:
        """A whole item: a call, a raw one."""
        self.items.append(item)
        self._open = None

    def _begin(self, kind: str, item: dict[str, Any], fields: Mapping[str, JSON] | None) -> None:
        self.items.append({"type": kind, **item})
        self._open = (kind, fields)


def content_piece(part: ContentPart, extra: Mapping[str, JSON]) -> dict[str, Any]:
    """The piece of a message's ``content`` that a part is."""
    match part.type:
        case "text":
            return {"type": "output_text", "text": part.text or "", **extra}
        case "refusal":
            return {"type": "refusal", "refusal": part.text or "", **extra}
        case _:
            return dict(as_mapping(part.data))


def reasoning_piece(part: ContentPart, extra: Mapping[str, JSON]) -> tuple[str, dict[str, JSON]]:
    """The field of a reasoning item and the piece in it; another dialect's text is a summary."""
    kind = extra.get("type", "summary_text")
    name = "summary" if kind == "summary_text" else "content"
    return name, {**extra, "type": kind, "text": part.text or ""}


def write_call(call: ToolCall, call_id: str, *, empty: str = "{}") -> dict[str, Any]:
    """The item of a call; ``empty`` stands for arguments without a text."""
    extra = dict(call.extra) if call.extra and is_mine(call.dialect) else {}
    wire = {"call_id": call_id, "name": call.name}
    if extra.get("type") == "custom_tool_call":
        return {**wire, "input": call.raw_arguments or "", **extra}
    return {"type": "function_call", **wire, "arguments": call.raw_arguments or empty, **extra}
