"""Unpacking bodies: however the bytes are split, and whatever is wrong with them."""

from __future__ import annotations

import gzip
import importlib.util
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_providers.base.errors import WireFailure
from crux_providers.transports.http_content import content_decoder


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def brotli_pack(data: bytes) -> bytes:
    import brotli

    packed: bytes = brotli.compress(data)
    return packed


def zstd_pack(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(data)


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "two at once": ("deflate, GZIP", lambda data: gzip.compress(zlib.compress(data))),
    "identity": ("identity", bytes),
}
if importlib.util.find_spec("brotli"):
    PACKERS["brotli"] = ("br", brotli_pack)
if importlib.util.find_spec("zstandard"):
    PACKERS["zstd"] = ("zstd", zstd_pack)


def unpack(encoding: str, pieces: list[bytes]) -> bytes:
    decoder = content_decoder({"content-encoding": encoding})
    if decoder is None:
        return b"".join(pieces)
    data = b"".join([decoder.decode(piece) for piece in pieces])
    decoder.finish()
    return data


@pytest.mark.parametrize("name", PACKERS)
@given(data=st.binary(max_size=2000), size=st.integers(1, 40))
def test_split_anywhere(name: str, data: bytes, size: int) -> None:
    encoding, pack = PACKERS[name]
    packed = pack(data)
    pieces = [packed[place : place + size] for place in range(0, len(packed), size)]
    assert unpack(encoding, pieces) == data


@pytest.mark.parametrize("name", [name for name in PACKERS if name != "identity"])
def test_every_truncation_is_a_cut(name: str) -> None:
    encoding, pack = PACKERS[name]
    packed = pack(b"some text, some text, some text")
    for length in range(1, len(packed)):
        with pytest.raises(WireFailure) as caught:
            unpack(encoding, [packed[:length]])
        assert caught.value.kind == "cut", length


@given(data=st.binary(min_size=1, max_size=200), name=st.sampled_from(sorted(PACKERS)))
def test_rubbish_is_a_cut_or_nothing(data: bytes, name: str) -> None:
    kinds = {"cut"}
    try:
        unpack(PACKERS[name][0], [data])
    except WireFailure as failure:
        kinds.add(failure.kind)
    assert kinds == {"cut"}


@pytest.mark.parametrize("name", PACKERS)
def test_an_empty_body_is_empty(name: str) -> None:
    assert unpack(PACKERS[name][0], []) == b""


def test_bytes_after_the_end_say_nothing() -> None:
    packed = gzip.compress(b"text")
    assert unpack("gzip", [packed, b"\0\0\0"]) == b"text"


@pytest.mark.parametrize(
    "headers", [{}, {"content-encoding": ""}, {"content-encoding": "identity"}]
)
def test_not_packed(headers: dict[str, str]) -> None:
    assert content_decoder(headers) is None


@pytest.mark.parametrize("encoding", ["rot13", "gzip, rot13"])
def test_unknown(encoding: str) -> None:
    with pytest.raises(WireFailure) as caught:
        content_decoder({"content-encoding": encoding})
    assert caught.value.kind == "local"
