"""Recorded provider sessions through ``http`` and through the SDK transports: equal, or why not.

``python -m tests.sdk_parity [--sdk openai] [--provider P] [--markdown]`` sends every recorded chat,
responses and messages request to a local server that answers with the recorded bytes, and prints a
row per provider and dialect: exchanges, and how many were equal through each way of calling. Equal
means: the server got the same request (path, JSON, key), the transport gave the same status,
headers and events or body, and the codec made the same of them, the error too. Exit code 1 where
anything differs or nothing was examined.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from crux_providers.base.errors import ProviderError, WireFailure
from crux_providers.base.interfaces import Transport
from crux_providers.base.timeouts import CallScope, TimeoutConfig
from crux_providers.base.wire import Endpoint, WireEvent, WireRequest
from crux_providers.transports.http import HttpTransport
from tests import recordings
from tests.recordings import Interaction
from tests.servers.scripted_server import Exchange, ScriptedServer
from tests.transports.sdk_clients import ready_client

KEY = "sk-parity"
PIECE = 97
"""Bytes a recorded stream is cut into on the wire: no border of an event."""

LEFT_OUT = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection"})
"""Recorded headers that describe the bytes of another day."""


@dataclass(frozen=True)
class Dialect:
    """How the recorded sessions of an endpoint are sent again, and which SDK speaks it."""

    sdk: str
    codec: str
    path: str
    version: str
    transport: str
    client: str
    auth: Mapping[str, str]


DIALECTS: Mapping[str, Dialect] = {
    "chat": Dialect(
        "openai",
        "openai_chat",
        "/chat/completions",
        "/v1",
        "crux_providers.transports.openai_sdk:OpenAISdkTransport",
        "OpenAI",
        {"authorization": f"Bearer {KEY}"},
    ),
    "responses": Dialect(
        "openai",
        "openai_responses",
        "/responses",
        "/v1",
        "crux_providers.transports.openai_sdk:OpenAISdkTransport",
        "OpenAI",
        {"authorization": f"Bearer {KEY}"},
    ),
    "messages": Dialect(
        "anthropic",
        "anthropic_messages",
        "/v1/messages",
        "",
        "crux_providers.transports.anthropic_sdk:AnthropicSdkTransport",
        "Anthropic",
        {"x-api-key": KEY},
    ),
}

WAYS = ("sync", "async", "ready sync", "ready async")


@dataclass
class Outcome:
    """What came of one exchange: what was sent, what the transport gave, what the codec made."""

    sent: Any = None
    wire: Any = None
    result: Any = None


@dataclass
class Counts:
    """Exchanges of one provider and dialect, and the equal ones per way."""

    exchanges: int = 0
    equal: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WAYS, 0))


def installed(dialect: Dialect) -> bool:
    """Whether the SDK of this dialect is here."""
    return importlib.util.find_spec(dialect.sdk) is not None


def interactions(sdk: str | None = None, provider: str | None = None) -> Iterator[Interaction]:
    """Every recorded exchange whose SDK is installed."""
    for endpoint, dialect in DIALECTS.items():
        if sdk in (None, dialect.sdk) and installed(dialect):
            yield from recordings.interactions(provider, endpoint)


class Parity:
    """A local server that answers with one recorded exchange, and the transports that call it."""

    def __init__(self) -> None:
        self._server = ScriptedServer(self._answer)
        self._runner = asyncio.Runner()
        self._playing: Interaction
        self._transports: dict[tuple[str, str], Transport] = {}

    def close(self) -> None:
        """Stop the server and leave the transports."""
        for transport in self._transports.values():
            transport.close()
        self._runner.close()
        self._server.close()

    def _answer(self, exchange: Exchange) -> None:
        played = self._playing
        headers = {k: v for k, v in played.headers.items() if k not in LEFT_OUT}
        kind = headers.pop("content-type", "application/json")
        if not played.stream:
            exchange.answer(played.body, played.status, kind, headers)
            return
        exchange.head(
            played.status, {**headers, "content-type": kind, "transfer-encoding": "chunked"}
        )
        for place in range(0, len(played.body), PIECE):
            exchange.chunk(played.body[place : place + PIECE])
        exchange.end_stream()

    def _transport(self, endpoint: str, way: str) -> Transport:
        made = self._transports.get((endpoint, way))
        if made is None:
            made = self._transports[endpoint, way] = self._make(DIALECTS[endpoint], way)
        return made

    def _make(self, dialect: Dialect, way: str) -> Transport:
        url = self._server.url.removesuffix("/v1") + dialect.version
        here = Endpoint(url, dialect.auth, proxy="", api_key=KEY)
        if way == "http":
            return HttpTransport(here)
        module, _, name = dialect.transport.partition(":")
        kind = getattr(importlib.import_module(module), name)
        client = None
        if way.startswith("ready"):
            prefix = "Async" if way.endswith("async") else ""
            client = ready_client(dialect.sdk, prefix + dialect.client, url, KEY)
        made: Transport = kind(here, client=client)
        return made

    def outcome(self, interaction: Interaction, way: str) -> Outcome:
        """The exchange through ``http`` or one of :data:`WAYS`."""
        self._playing = interaction
        dialect = DIALECTS[interaction.endpoint]
        body = interaction.request_body
        request = WireRequest(
            dialect.path,
            body if isinstance(body, dict) else {"model": "m", "stream": interaction.stream},
            stream=interaction.stream,
        )
        transport, codec = self._transport(interaction.endpoint, way), _codec(dialect)
        before = len(self._server.exchanges)
        found = Outcome()
        try:
            if way.endswith("async"):
                self._runner.run(_acall(transport, request, codec, found))
            else:
                _call(transport, request, codec, found)
        except (WireFailure, ProviderError) as exc:
            found.result = _error(codec, exc, found)
        new = self._server.exchanges[before:]
        found.sent = [(e.method, e.target, json.loads(e.body), _keys(e.headers)) for e in new]
        return found

    def differences(self, interaction: Interaction) -> dict[str, list[str]]:
        """By way, what differs from ``http``; no entry where all is equal."""
        reference = self.outcome(interaction, "http")
        found: dict[str, list[str]] = {}
        for way in WAYS:
            other = self.outcome(interaction, way)
            words = [
                f"{name}: {getattr(other, name)!r:.300} != http {getattr(reference, name)!r:.300}"
                for name in ("sent", "wire", "result")
                if getattr(other, name) != getattr(reference, name)
            ]
            if words:
                found[way] = words
        return found


def _codec(dialect: Dialect) -> ModuleType:
    return importlib.import_module(f"crux_providers.codecs.{dialect.codec}")


def _keys(headers: Mapping[str, str]) -> list[str]:
    # Anthropic's SDK sends its key in the one header or the other, from version to version.
    sent = (headers.get("authorization", ""), headers.get("x-api-key", ""))
    return [value.removeprefix("Bearer ") for value in sent if value]


def _scope(streamed: bool) -> CallScope:
    return CallScope(TimeoutConfig(total=20.0), whole=not streamed)


def _call(transport: Transport, request: WireRequest, codec: Any, found: Outcome) -> None:
    if not request.stream:
        answer = transport.send(request, _scope(False))
        _whole(answer, codec, found)
        return
    stream = transport.stream(request, _scope(True))
    _streamed(stream, list(stream), codec, found)


async def _acall(transport: Transport, request: WireRequest, codec: Any, found: Outcome) -> None:
    if not request.stream:
        answer = await transport.asend(request, _scope(False))
        _whole(answer, codec, found)
        return
    stream = await transport.astream(request, _scope(True))
    _streamed(stream, [event async for event in stream], codec, found)


def _whole(answer: Any, codec: Any, found: Outcome) -> None:
    found.wire = (answer.status, dict(answer.headers), answer.body)
    found.result = codec.decode(answer.body)


def _streamed(stream: Any, events: list[WireEvent], codec: Any, found: Outcome) -> None:
    found.wire = (stream.status, dict(stream.headers), events)
    decoder = codec.Decoder()
    decoded: list[Any] = []
    for event in events:
        decoded.extend(decoder.feed(event))
        if decoder.ended:
            break
    found.result = [*decoded, *decoder.finish()]


def _error(codec: Any, exc: WireFailure | ProviderError, found: Outcome) -> Any:
    if isinstance(exc, WireFailure):
        body = exc.body if isinstance(exc.body, bytes) else json.dumps(exc.body)
        found.wire = (exc.kind, exc.status, dict(exc.headers), body)
        exc = codec.classify(exc)
    return (exc.code, exc.message, exc.status, exc.request_id, exc.retry_after, exc.provider_code)


@contextmanager
def parity() -> Iterator[Parity]:
    """A :class:`Parity` for a while."""
    made = Parity()
    try:
        yield made
    finally:
        made.close()


def run(
    chosen: Iterable[Interaction], report: Callable[[str], None]
) -> dict[tuple[str, str], Counts]:
    """Compare each exchange; differences go to ``report`` in words."""
    table: dict[tuple[str, str], Counts] = {}
    with parity() as side_by_side:
        for interaction in chosen:
            counts = table.setdefault((interaction.provider, interaction.endpoint), Counts())
            counts.exchanges += 1
            differing = side_by_side.differences(interaction)
            for way in WAYS:
                counts.equal[way] += way not in differing
            for way, words in differing.items():
                for line in words:
                    report(f"{interaction.name}, {way}: {line}")
    return table


def lines(table: Mapping[tuple[str, str], Counts], markdown: bool) -> Iterator[str]:
    """The table as lines of text."""
    head = ("provider", "dialect", "exchanges", *WAYS)
    rows = [
        (provider, endpoint, str(c.exchanges), *(str(c.equal[way]) for way in WAYS))
        for (provider, endpoint), c in sorted(table.items())
    ]
    if markdown:
        yield f"| {' | '.join(head)} |"
        yield f"|{'---|' * len(head)}"
        yield from (f"| {' | '.join(row)} |" for row in rows)
        return
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 only where something was examined and all was equal."""
    parser = argparse.ArgumentParser(prog="python -m tests.sdk_parity", description=__doc__)
    parser.add_argument("--sdk", choices=sorted({d.sdk for d in DIALECTS.values()}))
    parser.add_argument("--provider")
    parser.add_argument("--markdown", action="store_true")
    asked = parser.parse_args(arguments)
    if recordings.root() is None:
        print("no recordings: set CRUX_RECORDINGS or put them in ../shared/recordings")
        return 1
    differing: list[str] = []
    table = run(interactions(asked.sdk, asked.provider), differing.append)
    for line in (*lines(table, asked.markdown), *differing):
        print(line)
    return 0 if table and not differing else 1


if __name__ == "__main__":
    sys.exit(main())
