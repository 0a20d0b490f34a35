"""Bodies: a request's JSON as bytes, and what a response's content-encoding hides."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..base.errors import WireFailure
from ..base.models import JSON

ACCEPT_ENCODING = "gzip, deflate"
"""What a whole answer may be packed in. A stream asks for ``identity``, since packers hold back."""


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain
)
_ESCAPING = json.JSONEncoder(
    ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=_plain
)


def encode_json(body: Mapping[str, JSON]) -> bytes:
    """``body`` as compact UTF-8 JSON.

    A lone surrogate, which has no UTF-8, is sent as the ``\\uXXXX`` escape that JSON has for it;
    two that make a pair are read as their character.
    NaN, infinities and what is not JSON raise WireFailure(local).
    """
    try:
        try:
            return _ENCODER.encode(body).encode()
        except UnicodeEncodeError:
            return _ESCAPING.encode(body).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise WireFailure("local", f"the request is not JSON: {exc}", cause=exc) from exc


class ContentDecoder(Protocol):
    """Takes a packed body in pieces."""

    def decode(self, data: bytes) -> bytes:
        """What ``data`` unpacks to so far; raises WireFailure(cut) where it is damaged."""
        ...

    def finish(self) -> None:
        """The body has ended; raises WireFailure(cut) where it is incomplete."""
        ...


class _Unpacking:
    """Around one decompressor object: damage and a missing end are a cut."""

    def __init__(self, name: str, decompress: Callable[[bytes], bytes], errors: Any) -> None:
        self._name = name
        self._decompress = decompress
        self._errors = errors
        self._empty = True

    def decode(self, data: bytes) -> bytes:
        self._empty = False
        if self._at_end():
            return b""  # bytes after the end say nothing
        try:
            return self._decompress(data)
        except self._errors as exc:
            raise WireFailure("cut", f"the {self._name} body is damaged: {exc}", cause=exc) from exc

    def finish(self) -> None:
        if not self._empty and not self._at_end():
            raise WireFailure("cut", f"the {self._name} body ends too early")

    def _at_end(self) -> bool:
        return False


class _Zlib(_Unpacking):
    def __init__(self, name: str, wbits: int) -> None:
        self._object = zlib.decompressobj(wbits)
        super().__init__(name, self._object.decompress, zlib.error)

    def _at_end(self) -> bool:
        return self._object.eof


class _Deflate:
    """RFC 9110 says zlib, some servers send it raw: the first two bytes tell."""

    def __init__(self) -> None:
        self._head = b""
        self._inner: _Zlib | None = None

    def decode(self, data: bytes) -> bytes:
        if self._inner is None:
            data = self._head + data
            self._head = data
            if len(data) < 2:
                return b""
            is_zlib = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._inner = _Zlib("deflate", zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        return self._inner.decode(data)

    def finish(self) -> None:
        if self._inner is not None:
            self._inner.finish()
        elif self._head:
            raise WireFailure("cut", "the deflate body ends too early")


class _Brotli(_Unpacking):
    def __init__(self) -> None:
        import brotli  # type: ignore[import-not-found, import-untyped, unused-ignore]  # optional

        self._object = brotli.Decompressor()
        super().__init__("br", self._object.process, brotli.error)

    def _at_end(self) -> bool:
        return bool(self._object.is_finished())


class _Zstd(_Unpacking):
    def __init__(self) -> None:
        import zstandard  # type: ignore[import-not-found, unused-ignore]  # optional

        self._object = zstandard.ZstdDecompressor().decompressobj()
        super().__init__("zstd", self._object.decompress, zstandard.ZstdError)

    def _at_end(self) -> bool:
        return bool(self._object.eof)


class _Chain:
    """Several encodings, undone from the last to the first."""

    def __init__(self, decoders: list[ContentDecoder]) -> None:
        self._decoders = decoders

    def decode(self, data: bytes) -> bytes:
        for decoder in self._decoders:
            data = decoder.decode(data)
        return data

    def finish(self) -> None:
        for decoder in self._decoders:
            decoder.finish()


_DECODERS: Mapping[str, Callable[[], ContentDecoder]] = {
    "gzip": lambda: _Zlib("gzip", 16 + zlib.MAX_WBITS),
    "x-gzip": lambda: _Zlib("gzip", 16 + zlib.MAX_WBITS),
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}


def content_decoder(headers: Mapping[str, str]) -> ContentDecoder | None:
    """What unpacks a body with these (lower-case) headers; None where it is not packed.

    Raises WireFailure(local) for an encoding that nothing installed here can undo.
    """
    encoding = headers.get("content-encoding")
    if not encoding:
        return None
    names = [name for part in encoding.lower().split(",") if (name := part.strip())]
    decoders: list[ContentDecoder] = []
    for name in reversed(names):
        if name == "identity":
            continue
        try:
            decoders.append(_DECODERS[name]())
        except (KeyError, ImportError) as exc:
            raise WireFailure(
                "local",
                f"the server packed its answer as {name}, which nothing here unpacks",
                cause=exc,
            ) from exc
    return decoders[0] if len(decoders) == 1 else _Chain(decoders) if decoders else None
