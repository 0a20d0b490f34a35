"""Ask a model on purpose what it can do: one small request for each capability.

The requests go through the provider like any other, so what comes of them is observed by the same
policy as real traffic: an answer that shows the capability proves it, a refusal of the provider's
own that names it disproves it, everything else proves nothing. Each asks for a few words only.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from ..base.capabilities import Answer, proved_features, refused_feature, requested_features
from ..base.errors import ErrorCode, ProviderError
from ..base.events import StreamFolder
from ..base.models import ChatRequest, ChatResponse, ContentPart, Message, Tool, Usage
from ..base.pricing import cost_usd
from ..base.provider import BaseProvider
from ..catalog import lookup

MAX_TOKENS = 64
"""Output tokens of a probe; a model that thinks first gets :data:`THINKING_TOKENS`."""
THINKING_TOKENS = 1200


@dataclass(frozen=True, slots=True)
class Finding:
    """What one probe found: ``value`` None where it proved nothing. ``reason`` is the evidence in
    words, ``usage`` and ``cost_usd`` (list price, US dollars) are None where nobody said."""

    feature: str
    value: bool | None
    reason: str
    usage: Usage | None = None
    cost_usd: float | None = None


_ADD = Tool(
    "add",
    "Adds two integers.",
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
)
_COLOUR = {
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
    "additionalProperties": False,
}


def _ask(text: str, *parts: ContentPart) -> tuple[Message, ...]:
    content = text if not parts else (*parts, ContentPart("text", text))
    return (Message("user", content),)


def _png() -> ContentPart:
    """A red square of 32 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress((b"\x00" + b"\xff\x00\x00" * 32) * 32))
    data = b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b"")
    return ContentPart("image", data=data, media_type="image/png")


def _pdf() -> ContentPart:
    """One page that says ``red``."""
    text = b"BT /F1 24 Tf 72 700 Td (red) Tj ET"
    fonts = b"/Resources << /Font << /F1 5 0 R >> >>"
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R %b >>" % fonts,
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(bodies, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"xref\n0 6\n0000000000 65535 f \n" + table
    out += b"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % out.index(b"xref\n0 6")
    return ContentPart("pdf", data=out, media_type="application/pdf", name="red.pdf")


def _wav() -> ContentPart:
    """A quarter of a second of silence."""
    samples = b"\x00\x00" * 4000
    head = b"RIFF" + struct.pack("<I", 36 + len(samples)) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    data = head + b"data" + struct.pack("<I", len(samples)) + samples
    return ContentPart("audio", data=data, media_type="audio/wav")


def _small(messages: tuple[Message, ...], **fields: object) -> ChatRequest:
    made = ChatRequest(messages=messages, max_tokens=MAX_TOKENS)
    return replace(made, **fields)  # type: ignore[arg-type]  # fields of ChatRequest


_JSON = "Answer with a JSON object that has the key colour and the value red."

PROBES: Mapping[str, Callable[[], ChatRequest]] = MappingProxyType(
    {
        "streaming": lambda: _small(_ask("Say: red.")),
        "json_output": lambda: _small(_ask(_JSON), response_format="json_object"),
        "json_schema": lambda: _small(_ask(_JSON), json_schema=_COLOUR),
        "structured_streaming": lambda: _small(_ask(_JSON), json_schema=_COLOUR),
        "tools": lambda: _small(_ask("Use the tool: what is 17 and 25?"), tools=(_ADD,)),
        "tool_choice": lambda: _small(_ask("What is 17 and 25?"), tools=(_ADD,), tool_choice="add"),
        "parallel_tools": lambda: _small(
            _ask("Use the tool twice, in one turn: 17 and 25, and 4 and 9."),
            tools=(_ADD,),
            parallel_tool_calls=True,
        ),
        "vision": lambda: _small(_ask("Which colour is it? One word.", _png())),
        "pdf": lambda: _small(_ask("Which colour does it name? One word.", _pdf())),
        "audio": lambda: _small(_ask("Is it silent? One word.", _wav())),
        "reasoning": lambda: _small(
            _ask("What is 17 times 23?"), reasoning_effort="low", max_tokens=THINKING_TOKENS
        ),
        "logprobs": lambda: _small(_ask("Say: red."), logprobs=True),
    }
)
"""capability → the request that asks for it. ``streaming`` and ``structured_streaming`` are sent as
streams, all others whole."""

_STREAMED = frozenset({"streaming", "structured_streaming"})


def probe(
    provider: BaseProvider, model: str, features: Collection[str] = tuple(PROBES)
) -> Iterator[Finding]:
    """Ask ``model`` for each of ``features`` in turn, and say what came of it.

    Raises ValueError for a word that is no capability, and the ProviderError of a failure that
    every further probe would meet too (no key, a key that is refused, no such model).
    """
    if unknown := set(features) - set(PROBES):
        raise ValueError(f"no capability: {', '.join(sorted(unknown))}; there is {list(PROBES)}")
    for feature in PROBES:
        if feature in features:
            yield _find(provider, model, feature)


_HOPELESS = frozenset({ErrorCode.AUTH, ErrorCode.PERMISSION, ErrorCode.NOT_FOUND, ErrorCode.QUOTA})


def _find(provider: BaseProvider, model: str, feature: str) -> Finding:
    request = replace(PROBES[feature](), model=model)
    streamed = feature in _STREAMED
    try:
        response = _streamed(provider, request) if streamed else provider.chat(request)
    except ProviderError as error:
        if error.code in _HOPELESS and error.feature is None:
            raise
        refused = refused_feature(error) == feature
        return Finding(feature, False if refused else None, f"{error.code}: {error.message}")
    mode = "stream" if streamed else "whole"
    proved = proved_features(requested_features(request, mode), Answer.of(response), mode)
    shown = feature in proved or (feature == "streaming" and not response.empty)
    usage = response.usage if response.usage.total is not None else None
    entry = lookup(provider.provider_name, model)
    cost = None if entry is None else cost_usd(usage, entry.price_at(time.time()))
    words = "the answer shows it" if shown else "it answered without showing it"
    return Finding(feature, True if shown else None, words, usage, cost)


def _streamed(provider: BaseProvider, request: ChatRequest) -> ChatResponse:
    folder = StreamFolder()
    with provider.stream_chat(request) as events:
        for event in events:
            folder.add(event)
        if events.error is not None:
            raise events.error
    return folder.response(provider=provider.provider_name, response_format=request.response_format)
