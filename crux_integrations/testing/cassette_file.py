"""The cassette format: vcrpy's version 1 in plain YAML, with a header that says what answered.

::

    version: 1
    answered_by: {kind: …, name: …, version: …, date: …}
    interactions:
    - request: {method: …, uri: …, headers: {…}, body: …}
      response: {status: {code: …, message: …}, headers: {…}, body: {string: …}}

JSON bodies stand indented, one field a line: their values and key order are the wire's, their
whitespace is not. Framed bodies (server-sent events, NDJSON) are the wire's byte for byte. vcrpy
itself reads such a file, and this module reads any version 1 file of vcrpy's.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import yaml

from .matching import RequestKey

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times as fast


class CassetteFormatError(ValueError):
    """A file that is no cassette; the message names it and says what is wrong."""


@dataclass(frozen=True)
class Interaction:
    """One request and what answered it.

    ``headers`` are the response's, names in lower case; ``body`` is decoded (no content-encoding
    is left). ``event_ms`` are the milliseconds that passed before each event of a framed body,
    where the recorder saw them.
    """

    method: str
    uri: str
    request_headers: Mapping[str, str] = field(repr=False)
    request_body: bytes | None = field(repr=False)
    status: int
    reason: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    event_ms: Sequence[float] = ()

    @cached_property
    def key(self) -> RequestKey:
        """What a request is matched with."""
        return RequestKey.of(self.method, self.uri, self.request_body)

    @property
    def content_type(self) -> str:
        """The response's media type, without parameters."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower()


@dataclass(frozen=True)
class Cassette:
    """A recorded session: interactions in the order they happened, and who answered."""

    interactions: Sequence[Interaction]
    answered_by: Mapping[str, str] = field(default_factory=dict)
    path: Path | None = None


def read_cassette(path: str | os.PathLike[str]) -> Cassette:
    """The cassette at ``path``; raises FileNotFoundError or :class:`CassetteFormatError`."""
    file = Path(path)
    try:
        document = yaml.load(file.read_text("utf-8"), _LOADER)
        interactions = [_interaction(item) for item in document["interactions"]]
        answered_by = document.get("answered_by") or {}
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise CassetteFormatError(f"{file}: not YAML: {exc}") from exc
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise CassetteFormatError(f"{file}: not a version 1 cassette: {exc!r}") from exc
    return Cassette(interactions, {str(k): str(v) for k, v in answered_by.items()}, file)


def write_cassette(path: str | os.PathLike[str], cassette: Cassette) -> None:
    """Write ``cassette`` at ``path``, whole or not at all; makes the folder where it is missing."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    text = render_cassette(cassette)
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as temporary:
            temporary.write(text)
        Path(name).chmod(0o644)  # mkstemp makes it private; a cassette is a file like any other
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def render_cassette(cassette: Cassette) -> str:
    """The text of the file."""
    document: dict[str, Any] = {"version": 1}
    if cassette.answered_by:
        document["answered_by"] = dict(cassette.answered_by)
    document["interactions"] = [_document(item) for item in cassette.interactions]
    text = _dump(document, "|")
    # A literal block cannot hold every text; where it could not, quotes can.
    return text if yaml.load(text, _LOADER) == document else _dump(document, '"')


def _dump(document: Mapping[str, Any], style: str) -> str:
    text: str = yaml.dump(
        document, Dumper=_dumper(style), sort_keys=False, allow_unicode=True, width=2**20
    )
    return text


def _dumper(style: str) -> type[yaml.SafeDumper]:
    """A dumper that writes text of several lines in ``style``."""

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        # Unquoted, carriage returns and Unicode's own line ends would come back as others.
        odd = any(c in value for c in "\r\x85\u2028\u2029")
        chosen = '"' if odd else style if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, chosen)

    Dumper.add_representer(str, text)
    return Dumper


def _document(item: Interaction) -> dict[str, Any]:
    response: dict[str, Any] = {
        "status": {"code": item.status, "message": item.reason},
        "headers": {name: [value] for name, value in item.headers.items()},
        "body": {"string": _readable(item.body)},
    }
    if item.event_ms:
        response["event_ms"] = [round(ms, 1) for ms in item.event_ms]
    return {
        "request": {
            "method": item.method,
            "uri": item.uri,
            "headers": {name: [value] for name, value in item.request_headers.items()},
            "body": None if item.request_body is None else _readable(item.request_body),
        },
        "response": response,
    }


def _readable(body: bytes) -> str | bytes:
    """JSON indented, other text as it is, bytes that are no text as bytes."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body
    try:
        value = json.loads(text)
        pretty = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        pretty.encode()  # a lone surrogate stands as an escape or not at all
    except (ValueError, RecursionError):
        return text
    repeated = text.count('":') != pretty.count('":')  # a key given twice would be lost
    return text if repeated or not isinstance(value, dict | list) else pretty


def _interaction(item: Mapping[str, Any]) -> Interaction:
    request, response = item["request"], item["response"]
    headers = _headers(response["headers"])
    body = _bytes(response["body"].get("string")) or b""
    status = int(response["status"]["code"])
    if "content-encoding" in headers:
        body = _decoded(status, headers, body)
        headers = {k: v for k, v in headers.items() if k != "content-encoding"}
    return Interaction(
        method=str(request["method"]).upper(),
        uri=str(request["uri"]),
        request_headers=_headers(request.get("headers")),
        request_body=_bytes(request.get("body")),
        status=status,
        reason=str(response["status"].get("message") or ""),
        headers={k: v for k, v in headers.items() if k not in _HOP_BY_HOP},
        body=body,
        event_ms=tuple(float(ms) for ms in response.get("event_ms", ())),
    )


_HOP_BY_HOP = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})


def _headers(value: Mapping[str, Any] | None) -> dict[str, str]:
    return {
        str(name).lower(): str(v[0] if isinstance(v, list) else v)
        for name, v in (value or {}).items()
        if v != []
    }


def _bytes(value: Any) -> bytes | None:
    match value:
        case None | bytes():
            return value
        case str():
            return value.encode()
        case _:
            return json.dumps(value).encode()


def _decoded(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    try:
        return decode_body(status, headers, body)
    except httpx.DecodingError:
        return body  # recorders that store decoded bodies often leave the header standing


def decode_body(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """``body`` without its content-encoding; raises httpx.DecodingError where it is another."""
    encoding = {k: v for k, v in headers.items() if k.lower() == "content-encoding"}
    return httpx.Response(status, headers=encoding, content=body).content
