"""LangChain content blocks as parts: v1 and v0 blocks, and the providers' own forms.

A block is read by its ``type`` through one table. What only one dialect understands is marked with
that dialect: by the block's own ``extras`` where ``ChatCrux`` made it, else by the fields that are
known to be one provider's, else by the provider that made the message (``origin``). A field nobody
knows, in a block of the user's own, has no dialect and goes to every provider as it stands.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crux_providers.base.errors import ProviderError
from crux_providers.base.models import ContentPart
from crux_providers.codecs.anthropic_messages_blocks import read_block as read_anthropic_block
from crux_providers.codecs.openai_responses_items import read_item as read_responses_item

ANTHROPIC = "anthropic_messages"
CHAT = "openai_chat"
RESPONSES = "openai_responses"
GEMINI = "gemini_generate"
OLLAMA = "ollama_chat"

ORIGINS: Mapping[str, str] = {
    "anthropic": ANTHROPIC,
    "openai": CHAT,
    "azure": CHAT,
    "deepseek": CHAT,
    "groq": CHAT,
    "mistralai": CHAT,
    "openrouter": CHAT,
    "xai": CHAT,
    "google_genai": GEMINI,
    "google_vertexai": GEMINI,
    "ollama": OLLAMA,
}
"""The dialect of a message by ``response_metadata["model_provider"]``."""

_OWNERS: Mapping[str, str] = {
    "cache_control": ANTHROPIC,
    "citations": ANTHROPIC,
    "context": ANTHROPIC,
    "detail": CHAT,
    "item": RESPONSES,
}
"""Fields that one dialect alone has; its extras go to nobody else."""

_RESPONSES_ITEMS = frozenset(
    {
        "apply_patch_call", "apply_patch_call_output", "code_interpreter_call", "compaction",
        "computer_call", "computer_call_output", "custom_tool_call_output", "file_search_call",
        "image_generation_call", "local_shell_call", "local_shell_call_output",
        "mcp_approval_request", "mcp_approval_response", "mcp_call", "mcp_list_tools",
        "shell_call", "shell_call_output", "tool_search_call", "tool_search_output",
        "web_search_call",
    }
)  # fmt: skip
_ANTHROPIC_BLOCKS = frozenset(
    {"compaction", "container_upload", "mcp_tool_use", "search_result", "server_tool_use",
     "tool_reference"}
)  # fmt: skip
_GEMINI_PARTS = frozenset(
    {"executableCode", "executable_code", "codeExecutionResult", "code_execution_result",
     "fileData", "file_data", "inlineData", "inline_data"}
)  # fmt: skip

CALL_BLOCKS = frozenset(
    {"tool_call", "tool_call_chunk", "invalid_tool_call", "tool_use", "input_json_delta",
     "function_call", "custom_tool_call"}
)  # fmt: skip
"""Blocks that stand for a call of the message's ``tool_calls``; only their place is read here."""

Block = Mapping[str, Any]


def parts_of(block: Any, origin: str | None = None) -> Sequence[ContentPart]:
    """One content block as parts: mostly one, none for a block that says nothing.

    ``origin`` is the dialect of the model that wrote the message, None for a user's. Raises
    ValueError for a block whose type no provider is known for.
    """
    if isinstance(block, str):
        return (ContentPart("text", block),) if block else ()
    kind = block.get("type")
    if kind == "reasoning" and ("summary" in block or "encrypted_content" in block):
        return _responses(block)
    if kind == "non_standard":
        return _non_standard(block, origin)
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is not None:
        part = read(block, origin)
        return () if part is None else (part,)
    owner = _owner_of_raw(block, kind, origin)
    if owner is None:
        raise ValueError(
            f"a content block of type {kind!r} is not understood; a provider's own block can be "
            "sent as {'type': 'non_standard', 'value': {'dialect': ..., 'data': {...}}}"
        )
    return (ContentPart("raw", data=_bare(block), dialect=owner),)


def _owner_of_raw(block: Block, kind: Any, origin: str | None) -> str | None:
    if kind in _RESPONSES_ITEMS and origin != ANTHROPIC:
        return RESPONSES
    if kind in _ANTHROPIC_BLOCKS or (isinstance(kind, str) and kind.endswith("_tool_result")):
        return ANTHROPIC
    if kind is None and len(block) == 1 and next(iter(block)) in _GEMINI_PARTS:
        return GEMINI
    return origin if isinstance(kind, str) else None


# -- the parts of an extras mapping ---------------------------------------------------------------


def _bare(block: Block) -> dict[str, Any]:
    """The block without LangChain's own bookkeeping."""
    return {k: v for k, v in block.items() if k not in ("index", "partial_json")}


def _rest(block: Block, *known: str) -> dict[str, Any]:
    """Fields of a provider's own beside the ``known`` ones; LangChain's are left out."""
    own = ("type", "id", "index", "extras", *known)
    return {k: v for k, v in block.items() if k not in own}


def _marked(
    kind: str, block: Block, origin: str | None, rest: dict[str, Any], **fields: Any
) -> ContentPart:
    """A part with what ``extras`` says of it, in the words of ChatCrux or of other packages."""
    extras: Mapping[str, Any] = block.get("extras") or {}
    signature = extras.get("signature")
    dialect = extras.get("dialect")
    provider = extras.get("provider")
    extra = dict(extras.get("extra") or {})
    if (
        dialect is None and provider is None and "extra" not in extras
    ):  # not a block that ChatCrux made
        known = ("signature", "filename", "data")
        extra = {**{k: v for k, v in extras.items() if k not in known}, **rest}
        if extra or signature is not None or kind == "reasoning":
            dialect = next((_OWNERS[k] for k in extra if k in _OWNERS), origin)
    else:
        extra.update(rest)
    if kind == "reasoning" and fields.get("data") is None:
        fields["data"] = extras.get("data")
    if "name" not in fields and extras.get("filename") is not None:
        fields["name"] = extras["filename"]
    return ContentPart(
        kind, signature=signature, dialect=dialect, extra=extra or None, provider=provider, **fields
    )


_V1_ANNOTATIONS = ("citation", "non_standard_annotation")


# -- text and reasoning ---------------------------------------------------------------------------


def _text(block: Block, origin: str | None) -> ContentPart | None:
    text = block.get("text") or ""
    rest = _rest(block, "text")
    cited = rest.pop("annotations", None) or ()
    if cited and all(a.get("type") not in _V1_ANNOTATIONS for a in cited):
        rest["annotations"] = list(cited)  # else LangChain's own reading of them, on no wire
    id_ = block.get("id")
    if isinstance(id_, str) and id_.startswith("msg_"):  # ChatOpenAI's id of a Responses item
        phase = {"phase": rest.pop("phase")} if "phase" in rest else {}
        rest["item"] = {"id": id_, **phase}
    part = _marked("text", block, origin, rest, text=text)
    if part.extra and part.dialect == ANTHROPIC and not part.extra.get("citations", True):
        part = ContentPart("text", text)
    return part if text or part.signature or part.extra else None


def _output_text(block: Block, origin: str | None) -> ContentPart | None:
    return _text(block, RESPONSES)


def _responses(block: Block) -> Sequence[ContentPart]:
    """A reasoning item of the Responses API, whose summaries are a part each."""
    try:
        pieces = read_responses_item(_bare(block), "a message")
    except ProviderError as error:  # the caller's block, not a provider's answer
        raise ValueError(error.message) from error
    return [piece.value for piece in pieces if isinstance(piece.value, ContentPart)]


def _reasoning(block: Block, origin: str | None) -> ContentPart | None:
    return _marked("reasoning", block, origin, {}, text=block.get("reasoning"))


def _thinking(block: Block, origin: str | None) -> ContentPart | None:
    if origin in (None, ANTHROPIC):
        return _anthropic(block, origin)
    return ContentPart(
        "reasoning", block.get("thinking") or "", signature=block.get("signature"), dialect=origin
    )


def _refusal(block: Block, origin: str | None) -> ContentPart | None:
    return ContentPart("refusal", block.get("refusal") or "")


def _non_standard(block: Block, origin: str | None) -> Sequence[ContentPart]:
    value = block.get("value")
    if not isinstance(value, Mapping):
        raise ValueError("a non_standard block needs a mapping as its value")
    if set(value) >= {"dialect", "data"} and "type" not in value:
        known = {k: value.get(k) for k in ("data", "dialect", "extra", "provider")}
        return (ContentPart("raw", **known),)
    return parts_of(value, origin)


def _plain_text(block: Block, origin: str | None) -> ContentPart | None:
    text = block.get("text")
    if text is None and block.get("base64") is not None:
        text = base64.b64decode(block["base64"]).decode("utf-8")
    if text is None:
        raise ValueError("a text-plain block needs its text or base64; no URL is fetched")
    rest = _rest(block, "text", "base64", "mime_type", "title", "context", "source_type", "url")
    if block.get("title") is None and block.get("context") is None:
        return _marked("text", block, origin, rest, text=text)
    if block.get("context") is not None:
        rest["context"] = block["context"]
    return _marked(
        "pdf", block, origin, rest, data=text.encode(), media_type="text/plain",
        name=block.get("title"),
    )  # fmt: skip


# -- files ----------------------------------------------------------------------------------------

_KINDS_BY_MEDIA = (("image/", "image"), ("audio/", "audio"))


def _data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 text of a ``data:`` URL."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return head[5:].removesuffix(";base64").partition(";")[0], data


def _where(url: str) -> dict[str, Any]:
    taken = _data_url(url)
    return {"url": url} if taken is None else {"media_type": taken[0] or None, "data": taken[1]}


def _media(kind: str, block: Block, origin: str | None) -> ContentPart:
    """A v1 or v0 block: ``base64``, ``url`` or ``file_id``; v0 says which by ``source_type``."""
    rest = _rest(
        block, "base64", "url", "file_id", "mime_type", "source_type", "data", "filename",
        "metadata", "name",
    )  # fmt: skip
    fields: dict[str, Any] = {}
    name = block.get("filename") or (block.get("metadata") or {}).get("filename")
    if name is not None:
        fields["name"] = name
    source_type = block.get("source_type")
    data = block.get("base64", block.get("data"))
    file_id = block.get("file_id") or (block.get("id") if source_type == "id" else None)
    if data is not None:
        fields["data"] = data
    elif block.get("url") is not None:
        fields.update(_where(block["url"]))
    elif file_id is not None:
        return _uploaded(kind, file_id, name)
    if block.get("mime_type") is not None:
        fields["media_type"] = block["mime_type"]
    part = _marked(kind, block, origin, rest, **fields)
    if part.data is None and part.url is None and part.extra is None:
        raise ValueError(f"a block of type {block.get('type')!r} has neither data, url nor file_id")
    return part


def _uploaded(kind: str, file_id: str, name: str | None = None) -> ContentPart:
    """A file that lies with a provider already; the form of its id says with which."""
    if file_id.startswith("file_"):
        source = {"type": "file", "file_id": file_id}
        return ContentPart(kind, dialect=ANTHROPIC, name=name, extra={"source": source})
    if file_id.startswith(("https://", "gs://", "files/")):
        return ContentPart(kind, url=file_id, dialect=GEMINI, name=name)
    if kind == "image":
        item = {"type": "input_image", "file_id": file_id}
        return ContentPart("raw", data=item, dialect=RESPONSES)
    return ContentPart("raw", data={"type": "file", "file": {"file_id": file_id}}, dialect=CHAT)


def _kind_by_media(media_type: str | None) -> str:
    kinds = (kind for head, kind in _KINDS_BY_MEDIA if (media_type or "").startswith(head))
    return next(kinds, "pdf")


def _image(block: Block, origin: str | None) -> ContentPart | None:
    if isinstance(block.get("source"), Mapping):
        return _anthropic(block, origin)
    return _media("image", block, origin)


def _image_url(block: Block, origin: str | None) -> ContentPart | None:
    inner = block.get("image_url")
    url = inner.get("url") if isinstance(inner, Mapping) else inner
    rest = _rest(block, "image_url", "file_id")
    if isinstance(inner, Mapping):
        rest.update({k: v for k, v in inner.items() if k != "url"})
    if url is None and block.get("file_id") is not None:
        return _uploaded("image", block["file_id"])
    if not isinstance(url, str):
        raise ValueError(f"a block of type {block.get('type')!r} needs the url of its image")
    return _marked("image", block, origin, rest, **_where(url))


def _audio(block: Block, origin: str | None) -> ContentPart | None:
    inner = block.get("input_audio")
    if isinstance(inner, Mapping):
        form = inner.get("format") or "wav"
        media_type = "audio/mpeg" if form == "mp3" else f"audio/{form}"
        return _marked(
            "audio", block, origin, _rest(block, "input_audio"),
            data=inner.get("data"), media_type=media_type,
        )  # fmt: skip
    return _media("audio", block, origin)


def _file(block: Block, origin: str | None) -> ContentPart | None:
    if isinstance(block.get("source"), Mapping):  # an Anthropic document
        return _anthropic(block, origin)
    inner = block.get("file") if isinstance(block.get("file"), Mapping) else None
    if inner is None and block.get("type") != "input_file":
        if block.get("source_type") == "text":  # v0: the text stands in `url`
            return _plain_text({**block, "text": block.get("url")}, origin)
        return _media(_kind_by_media(block.get("mime_type")), block, origin)
    inner = inner if inner is not None else block
    rest = _rest(block, "file", "file_data", "file_url", "file_id", "filename")
    name = inner.get("filename")
    if isinstance(inner.get("file_data"), str):
        where = _where(inner["file_data"])
        if "url" in where:  # bare base64
            where = {"data": inner["file_data"], "media_type": "application/pdf"}
        kind = _kind_by_media(where.get("media_type"))
        return _marked(kind, block, origin, rest, name=name, **where)
    if isinstance(inner.get("file_url"), str):
        return _marked("pdf", block, origin, rest, name=name, **_where(inner["file_url"]))
    if isinstance(inner.get("file_id"), str):
        return _uploaded("pdf", inner["file_id"], name)
    raise ValueError("a file block has neither file_data, file_url nor file_id")


def _gemini_media(block: Block, origin: str | None) -> ContentPart | None:
    """``media`` and ``video`` blocks: what only Gemini takes is one of its own parts."""
    media_type = block.get("mime_type")
    if block.get("type") == "media" and not (media_type or "").startswith("video/"):
        where = {"data": block["data"]} if "data" in block else {"url": block.get("file_uri")}
        rest = _rest(block, "mime_type", "data", "file_uri")
        kind = _kind_by_media(media_type)
        return _marked(kind, block, origin, rest, media_type=media_type, **where)
    data = block.get("base64", block.get("data"))
    uri = block.get("file_uri") or block.get("url") or block.get("file_id")
    wire: dict[str, Any]
    if data is not None:
        wire = {"inlineData": {"mimeType": media_type or "video/mp4", "data": data}}
    elif uri is not None:
        wire = {"fileData": {"mimeType": media_type, "fileUri": uri}}
        if media_type is None:
            del wire["fileData"]["mimeType"]
    else:
        raise ValueError(f"a block of type {block.get('type')!r} has neither data nor a URL")
    return ContentPart("raw", data=wire, dialect=GEMINI)


def _anthropic(block: Block, origin: str | None) -> ContentPart | None:
    try:
        return read_anthropic_block(_bare(block), "a message")
    except ProviderError as error:  # the caller's block, not a provider's answer
        raise ValueError(error.message) from error


_READERS: Mapping[str, Callable[[Block, str | None], ContentPart | None]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _output_text,
    "reasoning": _reasoning,
    "thinking": _thinking,
    "redacted_thinking": _anthropic,
    "refusal": _refusal,
    "text-plain": _plain_text,
    "image": _image,
    "image_url": _image_url,
    "input_image": _image_url,
    "audio": _audio,
    "input_audio": _audio,
    "file": _file,
    "input_file": _file,
    "document": _file,
    "media": _gemini_media,
    "video": _gemini_media,
}
