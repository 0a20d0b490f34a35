"""Recorded sessions of Ollama and Gemini through ``http`` and their SDKs: equal, or why not.

``python -m tests.native_parity [--provider P] [--markdown]`` sends every recorded request to a
local server that answers with the recorded body, through ``http`` and through the SDK, sync and
async, and compares what the codec makes of them, the errors too. A request that the SDK refuses
because it does not know a field counts as refused, and the fields are listed. Exit code 1 where
anything differs or nothing was examined.

Google's client asks for JSON arrays whose enums are numbers; the server writes what was recorded
that way, as the API does.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from crux_providers.base.errors import ProviderError, WireFailure
from crux_providers.base.interfaces import Transport
from crux_providers.base.timeouts import CallScope, TimeoutConfig
from crux_providers.base.wire import Endpoint, WireRequest
from crux_providers.codecs import gemini_generate, ollama_chat
from crux_providers.codecs.framing import framing_decoder
from crux_providers.transports.google_sdk import GoogleSdkTransport
from crux_providers.transports.http import HttpTransport
from crux_providers.transports.ollama_sdk import OllamaSdkTransport
from tests import recordings
from tests.recordings import Interaction
from tests.servers.scripted_server import Exchange, ScriptedServer

PIECE = 97
"""Bytes a recorded stream is cut into on the wire: no border of an event."""

REASONS = {
    "vertex/generate_multi_turn__otel-contrib.yaml#0": "recorded with numbers for its enums: http "
    "keeps the number beside its meaning, the SDK gives the name",
}
"""Exchanges that differ, and why that is right."""

HELLO = {"role": "user", "parts": [{"text": "hi"}]}
WAYS = ("sync", "async")
ENDPOINTS = ("ollama_chat", "generateContent", "streamGenerateContent")


def interactions(provider: str | None = None) -> Iterator[Interaction]:
    """Every recorded exchange whose dialect is Ollama's or Gemini's."""
    for endpoint in ENDPOINTS:
        yield from recordings.interactions(provider, endpoint)


@dataclass
class Counts:
    """Exchanges of one provider and dialect: those the SDK refused, and the equal ones per way."""

    exchanges: int = 0
    refused: int = 0
    equal: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WAYS, 0))


class Parity:
    """A local server that answers with one recorded exchange, and the transports that call it."""

    def __init__(self) -> None:
        self._server = ScriptedServer(self._answer)
        self._runner = asyncio.Runner()
        self._playing: Interaction
        here = Endpoint(self._server.url.removesuffix("/v1"), proxy="")
        self._http = HttpTransport(here)
        self._sdks = {"ollama": OllamaSdkTransport(here), "gemini": GoogleSdkTransport(here)}

    def close(self) -> None:
        """Stop the server and leave the transports."""
        for transport in (self._http, *self._sdks.values()):
            transport.close()
        self._runner.close()
        self._server.close()

    def _answer(self, exchange: Exchange) -> None:
        played = self._playing
        body = played.body
        if "enum-encoding" in exchange.target and played.status < 300:
            body = as_google_writes(body, stream=played.stream)
        kind = "application/json"
        if not played.stream or played.status >= 300:
            exchange.answer(body, played.status, kind)
            return
        kind = "text/event-stream" if b"data:" in body[:200] else kind
        exchange.head(played.status, {"content-type": kind, "transfer-encoding": "chunked"})
        for place in range(0, len(body), PIECE):
            exchange.chunk(body[place : place + PIECE])
        exchange.end_stream()

    def request(self, interaction: Interaction) -> WireRequest:
        """The recorded request as the codec makes it; a plain one where none was recorded."""
        codec = codec_of(interaction)
        body = interaction.request_body
        if not isinstance(body, dict):
            body = {"messages": []} if codec is ollama_chat else {"contents": [HELLO]}
        asked = replace(codec.parse_request(body), model="m")
        wire: WireRequest = codec.encode(asked, stream=interaction.stream)
        return wire

    def outcome(self, interaction: Interaction, transport: Transport, way: str) -> Any:
        """What the codec makes of the exchange: an answer, events, or an error's fields."""
        self._playing = interaction
        codec, request = codec_of(interaction), self.request(interaction)
        try:
            if way == "async":
                return self._runner.run(_acall(transport, request, codec))
            return _call(transport, request, codec)
        except WireFailure as failure:
            error = codec.classify(failure)
        except ProviderError as exc:
            if exc.code == "unsupported":
                raise
            error = exc
        return (error.code, error.message, error.status, error.retry_after, error.provider_code)

    def differences(self, interaction: Interaction) -> dict[str, str]:
        """By way, what differs from ``http``. Raises ``unsupported`` where the SDK refuses."""
        reference = self.outcome(interaction, self._http, "sync")
        sdk = self._sdks["ollama" if interaction.endpoint == "ollama_chat" else "gemini"]
        found: dict[str, str] = {}
        for way in WAYS:
            other = self.outcome(interaction, sdk, way)
            if other != reference and interaction.name not in REASONS:
                found[way] = f"{other!r:.600} != http {reference!r:.600}"
        return found


def codec_of(interaction: Interaction) -> Any:
    """The codec that speaks the exchange's dialect."""
    return ollama_chat if interaction.endpoint == "ollama_chat" else gemini_generate


def _scope(streamed: bool) -> CallScope:
    return CallScope(TimeoutConfig(total=20.0), whole=not streamed)


def _call(transport: Transport, request: WireRequest, codec: Any) -> Any:
    if not request.stream:
        return codec.decode(transport.send(request, _scope(False)).body)
    return _decoded(list(transport.stream(request, _scope(True))), codec)


async def _acall(transport: Transport, request: WireRequest, codec: Any) -> Any:
    if not request.stream:
        return codec.decode((await transport.asend(request, _scope(False))).body)
    stream = await transport.astream(request, _scope(True))
    return _decoded([event async for event in stream], codec)


def _decoded(events: Sequence[Any], codec: Any) -> Any:
    decoder = codec.Decoder()
    made: list[Any] = []
    for event in events:
        made.extend(decoder.feed(event))
        if decoder.ended:
            break
    return [*made, *decoder.finish()]


def as_google_writes(body: bytes, *, stream: bool) -> bytes:
    """A recorded answer with numbers for its enums; a stream as a JSON array."""
    if not stream:
        return json.dumps(_numbered(json.loads(body))).encode()
    frames = framing_decoder("sse")
    if body.lstrip().startswith(b"["):
        objects = json.loads(body)
    else:
        objects = [json.loads(e.data) for e in (*frames.feed(body), *frames.finish())]
    return b"[" + b",\r\n".join(json.dumps(_numbered(o)).encode() for o in objects) + b"]"


def _numbered(answer: Any) -> Any:
    from google.ai.generativelanguage_v1beta import GenerateContentResponse
    from google.protobuf.json_format import MessageToDict

    message = GenerateContentResponse.from_json(json.dumps(answer), ignore_unknown_fields=True)
    return _overlaid(
        answer,
        MessageToDict(GenerateContentResponse.pb(message), use_integers_for_enums=True),
    )


def _overlaid(raw: Any, typed: Any) -> Any:
    if isinstance(raw, dict):
        known: Mapping[str, Any] = typed if isinstance(typed, dict) else {}
        return {key: _overlaid(value, known.get(key)) for key, value in raw.items()}
    if isinstance(raw, list):
        same = isinstance(typed, list) and len(typed) == len(raw)
        return [_overlaid(item, typed[i] if same else None) for i, item in enumerate(raw)]
    is_enum = isinstance(raw, str) and isinstance(typed, int) and not isinstance(typed, bool)
    return typed if is_enum else raw


@contextmanager
def parity() -> Iterator[Parity]:
    """A :class:`Parity` for a while."""
    made = Parity()
    try:
        yield made
    finally:
        made.close()


@dataclass
class Report:
    """What a run found: counts by provider and endpoint, refusals by words, differences."""

    table: dict[tuple[str, str], Counts] = field(default_factory=dict)
    refusals: collections.Counter[str] = field(default_factory=collections.Counter)
    differing: list[str] = field(default_factory=list)


def run(chosen: Iterator[Interaction]) -> Report:
    """Compare each exchange."""
    report = Report()
    with parity() as side_by_side:
        for interaction in chosen:
            key = (interaction.provider, interaction.endpoint)
            counts = report.table.setdefault(key, Counts())
            counts.exchanges += 1
            try:
                found = side_by_side.differences(interaction)
            except ProviderError as refusal:
                counts.refused += 1
                report.refusals[refusal.message.partition(": use transport")[0]] += 1
                continue
            for way in WAYS:
                counts.equal[way] += way not in found
            report.differing += [f"{interaction.name}, {way}: {w}" for way, w in found.items()]
    return report


def lines(report: Report, markdown: bool) -> Iterator[str]:
    """The table as lines of text."""
    head = ("provider", "endpoint", "exchanges", "refused", *WAYS)
    rows = [
        (*key, str(c.exchanges), str(c.refused), *(str(c.equal[way]) for way in WAYS))
        for key, c in sorted(report.table.items())
    ]
    if markdown:
        yield f"| {' | '.join(head)} |"
        yield f"|{'---|' * len(head)}"
        yield from (f"| {' | '.join(row)} |" for row in rows)
    else:
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        for row in (head, *rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            yield "  ".join(cells).rstrip()
    for words, times in report.refusals.most_common():
        yield f"{times} x {words}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 only where something was examined and nothing differed."""
    parser = argparse.ArgumentParser(prog="python -m tests.native_parity", description=__doc__)
    parser.add_argument("--provider")
    parser.add_argument("--markdown", action="store_true")
    asked = parser.parse_args(arguments)
    if recordings.root() is None:
        print("no recordings: set CRUX_RECORDINGS or put them in ../shared/recordings")
        return 1
    report = run(interactions(asked.provider))
    for line in (*lines(report, asked.markdown), *report.differing):
        print(line)
    return 0 if report.table and not report.differing else 1


if __name__ == "__main__":
    sys.exit(main())
