"""Images, documents and audio in the wire form of the OpenAI chat dialect, both ways."""

from __future__ import annotations

import re
from collections.abc import Mapping

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import JSON, ContentPart

from .openai_chat_tables import DIALECT
from .reading import as_mapping, need_mapping, need_text, or_none, rest_of

_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,", re.ASCII)
_MAGIC = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
    ("JVBERi", "application/pdf"),
)
"""How base64 of each file type begins, for data whose media type nobody said."""

_AUDIO_FORMATS = {"audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wave": "wav"}
_AUDIO_TYPES = {"mp3": "audio/mpeg"}


def unsupported(feature: str, message: str) -> ProviderError:
    """The refusal, before any request, of what the dialect cannot say."""
    return ProviderError(ErrorCode.UNSUPPORTED, message, feature=feature)


def data_uri(part: ContentPart) -> str:
    """The part's data as a data URI; raises ``bad_request`` where its media type is unknown."""
    data = part.data
    if not isinstance(data, str):
        raise ProviderError(ErrorCode.BAD_REQUEST, f"{part.type} part has neither data nor url")
    kind = part.media_type or next((t for start, t in _MAGIC if data.startswith(start)), None)
    if kind is None:
        raise ProviderError(ErrorCode.BAD_REQUEST, f"{part.type} part needs a media_type")
    return f"data:{kind};base64,{data}"


def split_data_uri(url: str) -> tuple[str, str] | None:
    """Media type and base64 text of a data URI, or None for any other URL.

    Only the plain form is taken apart, so that putting it together gives the same bytes.
    """
    found = _DATA_URI.match(url)
    return (found[1], url[found.end() :]) if found else None


def own_extra(part: ContentPart) -> dict[str, JSON]:
    """The part's wire fields where they are this dialect's (or nobody said whose)."""
    return dict(part.extra) if part.extra and part.dialect in (None, DIALECT) else {}


def _located(kind: str, url: str, **more: JSON) -> ContentPart:
    """A media part by its URL, which may be a data URI."""
    split = split_data_uri(url)
    if split is None:
        return ContentPart(kind, url=url, **more)
    return ContentPart(kind, data=split[1], media_type=split[0], **more)


def _whose(extra: Mapping[str, JSON]) -> dict[str, JSON]:
    return {"extra": or_none(dict(extra)), "dialect": DIALECT if extra else None}


def image_part(item: Mapping[str, JSON]) -> ContentPart:
    """The image of an ``image_url`` item; ``detail`` and unknown fields stand in ``extra``."""
    inner = item.get("image_url")
    if isinstance(inner, str):  # Mistral takes both forms
        inner = {"url": inner}
    inner = need_mapping(inner, "image_url")
    extra = rest_of(item, ("type", "image_url"))
    if more := rest_of(inner, ("url", "detail")):
        extra["image_url"] = more
    if "detail" in inner:
        extra["detail"] = inner["detail"]
    return _located("image", need_text(inner.get("url"), "url of an image"), **_whose(extra))


def render_image(part: ContentPart) -> dict[str, JSON]:
    """The ``image_url`` item of an image part."""
    extra = own_extra(part)
    inner: dict[str, JSON] = {"url": part.url if part.url is not None else data_uri(part)}
    if "detail" in extra:
        inner["detail"] = extra.pop("detail")
    inner.update(as_mapping(extra.pop("image_url", None)))
    return {"type": "image_url", "image_url": inner, **extra}


def document_part(item: Mapping[str, JSON]) -> ContentPart | None:
    """The PDF of a ``file`` or ``document_url`` item, or None where it is not plainly one."""
    url: JSON
    name: JSON
    if item.get("type") == "document_url":  # Mistral
        url = need_text(item.get("document_url"), "document_url")
        extra = rest_of(item, ("type", "document_url", "document_name"))
        name = item.get("document_name")
    else:
        inner = need_mapping(item.get("file"), "file")
        url, name = inner.get("file_data"), inner.get("filename")
        extra = rest_of(item, ("type", "file"))
        if more := rest_of(inner, ("file_data", "filename")):
            extra["file"] = more
    if not isinstance(url, str) or not isinstance(name, (str, type(None))):
        return None  # an uploaded file: only the provider knows what it is
    if url.startswith("data:") and not url.startswith("data:application/pdf;base64,"):
        return None
    return _located("pdf", url, name=name, **_whose(extra))


def render_document(part: ContentPart, form: str | None, *, urls: bool) -> dict[str, JSON]:
    """The item of a PDF part as the provider takes it; raises ``unsupported`` where it does not."""
    if form is None:
        raise unsupported("pdf", "the provider takes no documents in this dialect")
    extra = own_extra(part)
    url = part.url if part.url is not None else data_uri(part)
    if form == "document_url":
        item: dict[str, JSON] = {"type": "document_url", "document_url": url}
        return {**item, **({"document_name": part.name} if part.name else {}), **extra}
    if part.url is not None and not urls and not part.url.startswith("data:"):
        raise unsupported("pdf", "the provider takes documents as data, not by URL")
    file: dict[str, JSON] = {"file_data": url, **as_mapping(extra.pop("file", None))}
    file.setdefault("filename", part.name or "document.pdf")
    return {"type": "file", "file": file, **extra}


def audio_part(item: Mapping[str, JSON]) -> ContentPart | None:
    """The audio of an ``input_audio`` item, or None for a form of another provider (Mistral's)."""
    inner = item.get("input_audio")
    if not isinstance(inner, dict) or not isinstance(inner.get("data"), str):
        return None
    kind = inner.get("format")
    if not isinstance(kind, str):
        return None
    extra = rest_of(item, ("type", "input_audio"))
    if more := rest_of(inner, ("data", "format")):
        extra["input_audio"] = more
    media_type = _AUDIO_TYPES.get(kind, f"audio/{kind}")
    return ContentPart("audio", data=inner["data"], media_type=media_type, **_whose(extra))


def render_audio(part: ContentPart) -> dict[str, JSON]:
    """The ``input_audio`` item of an audio part; raises ``unsupported`` for audio by URL."""
    if not isinstance(part.data, str):
        raise unsupported("audio", "the dialect takes audio as data, not by URL")
    kind = part.media_type or "audio/wav"
    extra = own_extra(part)
    form = _AUDIO_FORMATS.get(kind, kind.removeprefix("audio/"))
    inner = {"data": part.data, "format": form, **as_mapping(extra.pop("input_audio", None))}
    return {"type": "input_audio", "input_audio": inner, **extra}
