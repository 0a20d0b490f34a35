"""Recorded provider sessions through ``http`` and through each SDK: equal, refused by name, or not.

``python -m tests.sdk_parity [--sdk NAME] [--provider P] [--markdown | --json]`` sends every
recorded request to a local server that answers with the recorded bytes, through ``http`` and
through every SDK that speaks its dialect and is installed here, each way it can be called: sync and
async, on a client of ours and, where ``ready`` stands, on one it is given. A row per SDK, provider
and dialect counts the exchanges that were equal every way, those the SDK's transport refuses
because the SDK cannot say them, and those that differ; refusals and differences are listed beneath.

Equal means, of OpenAI's and Anthropic's SDK: the server got the same request, the transport gave
the same status, headers and events or body, and the codec made the same of them, the error too. Of
Ollama's: request and result. Of Google's, which writes requests its own way: the result. Of
LiteLLM's, which writes answers anew: text, calls, finish and tokens, or an error's code and status.
Exit code 1 where anything differs or nothing was examined.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from crux_providers.base.errors import ProviderError, WireFailure
from crux_providers.base.interfaces import Transport
from crux_providers.base.timeouts import CallScope, TimeoutConfig
from crux_providers.base.wire import WireEvent, WireRequest
from crux_providers.transports.http import HttpTransport
from tests import recordings
from tests.recordings import Interaction
from tests.sdk_subjects import SUBJECTS, Subject, refusal_words
from tests.servers.scripted_server import Exchange, ScriptedServer
from tests.text_table import table

PIECE = 97
"""Bytes a recorded stream is cut into on the wire: no border of an event."""

LEFT_OUT = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection"})
"""Recorded headers that describe the bytes of another day."""

Pair = tuple[Subject, Interaction]


@dataclass
class Outcome:
    """What came of one exchange: what was sent, what the transport gave, what the codec made."""

    sent: Any = None
    wire: Any = None
    result: Any = None


@dataclass
class Counts:
    """Exchanges of one SDK, provider and dialect. ``known``: it differs, for a listed reason."""

    exchanges: int = 0
    equal: int = 0
    refused: int = 0
    known: int = 0
    differing: int = 0


@dataclass
class Report:
    """What a run found: counts, refusals by SDK and words, differences in words."""

    table: dict[tuple[str, str, str], Counts] = field(default_factory=dict)
    refusals: dict[str, collections.Counter[str]] = field(default_factory=dict)
    differing: list[str] = field(default_factory=list)


def interactions(sdk: str | None = None, provider: str | None = None) -> Iterator[Pair]:
    """Every recorded exchange with every installed SDK that speaks its dialect."""
    for subject in SUBJECTS:
        if sdk in (None, subject.sdk) and subject.installed:
            for endpoint in subject.codecs:
                for interaction in recordings.interactions(provider, endpoint):
                    yield subject, interaction


class Parity:
    """A local server that answers with one recorded exchange, and the transports that call it."""

    def __init__(self) -> None:
        self._server = ScriptedServer(self._answer)
        self._runner = asyncio.Runner()
        self._playing: Pair
        self._transports: dict[tuple[str, str], Transport] = {}

    def close(self) -> None:
        """Stop the server and leave the transports."""
        for transport in self._transports.values():
            transport.close()
        self._runner.close()
        self._server.close()

    def _answer(self, exchange: Exchange) -> None:
        subject, played = self._playing
        body = subject.answer(played, exchange.target)
        headers = {k: v for k, v in played.headers.items() if k not in LEFT_OUT}
        kind = headers.pop("content-type", "application/json")
        if not played.stream:
            exchange.answer(body, played.status, kind, headers)
            return
        if body is not played.body:
            kind = "application/json"
        exchange.head(
            played.status, {**headers, "content-type": kind, "transfer-encoding": "chunked"}
        )
        for place in range(0, len(body), PIECE):
            exchange.chunk(body[place : place + PIECE])
        exchange.end_stream()

    def _transport(self, subject: Subject, way: str) -> Transport:
        made = self._transports.get((subject.sdk, way))
        if made is None:
            here = subject.here(self._server.url)
            made = HttpTransport(here) if way == "http" else subject.made(here, way)
            self._transports[subject.sdk, way] = made
        return made

    def outcome(self, subject: Subject, interaction: Interaction, way: str) -> Outcome:
        """The exchange through ``http`` or a way of the SDK's.

        Raises ProviderError ``unsupported`` where the transport refuses the request.
        """
        self._playing = (subject, interaction)
        request = subject.request(interaction)
        if way != "http":
            request = subject.asked(request)
        transport, codec = self._transport(subject, way), subject.codec(interaction)
        before = len(self._server.exchanges)
        found = Outcome()
        try:
            if way.endswith("async"):
                self._runner.run(_acall(transport, request, codec, found))
            else:
                _call(transport, request, codec, found)
        except (WireFailure, ProviderError) as exc:
            if isinstance(exc, ProviderError) and exc.code == "unsupported":
                raise
            found.result = _error(codec, exc, found)
        new = self._server.exchanges[before:]
        found.sent = [
            (e.method, e.target, subject.body_sent(json.loads(e.body)), _keys(e.headers))
            for e in new
        ]
        found.result = subject.meaning(found.result)
        return found

    def differences(self, subject: Subject, interaction: Interaction) -> dict[str, list[str]]:
        """By way, what differs from ``http``; no entry where all is equal."""
        reference = self.outcome(subject, interaction, "http")
        found: dict[str, list[str]] = {}
        for way in subject.ways:
            other = self.outcome(subject, interaction, way)
            words = [
                f"{name}: {getattr(other, name)!r:.300} != http {getattr(reference, name)!r:.300}"
                for name in subject.compared
                if getattr(other, name) != getattr(reference, name)
            ]
            if words:
                found[way] = words
        return found


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


def run(chosen: Iterable[Pair]) -> Report:
    """Compare each exchange."""
    report = Report()
    with parity() as side_by_side:
        for subject, interaction in chosen:
            key = (subject.sdk, interaction.provider, interaction.endpoint)
            counts = report.table.setdefault(key, Counts())
            counts.exchanges += 1
            try:
                found = side_by_side.differences(subject, interaction)
            except ProviderError as refusal:
                counts.refused += 1
                words = report.refusals.setdefault(subject.sdk, collections.Counter())
                words[refusal_words(refusal.message)] += 1
                continue
            if not found:
                counts.equal += 1
            elif interaction.name in subject.known:
                counts.known += 1
            else:
                counts.differing += 1
                report.differing += [
                    f"{subject.sdk}, {interaction.name}, {way}: {words}"
                    for way, lines in found.items()
                    for words in lines
                ]
    return report


def lines(report: Report, markdown: bool) -> Iterator[str]:
    """The table as lines of text, then the ways, the refusals and what is not here."""
    head = ("SDK", "provider", "dialect", *Counts.__dataclass_fields__)
    rows = [
        (*key, *map(str, asdict(counts).values())) for key, counts in sorted(report.table.items())
    ]
    yield from table(head, rows, markdown)
    yield ""
    for subject in SUBJECTS:
        if not subject.installed:
            yield f"{subject.sdk}: not installed here: {subject.install}"
        elif any(key[0] == subject.sdk for key in report.table):
            yield f"{subject.sdk}: {', '.join(subject.ways)}; {', '.join(subject.compared)} equal"
            for name, why in subject.known.items():
                yield f"{subject.sdk}: known: {name}: {why}"
    for sdk, refusals in report.refusals.items():
        for words, times in refusals.most_common():
            yield f"{sdk}: {times} refused: {words}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 only where something was examined and nothing differed."""
    parser = argparse.ArgumentParser(prog="python -m tests.sdk_parity", description=__doc__)
    parser.add_argument("--sdk", choices=[subject.sdk for subject in SUBJECTS])
    parser.add_argument("--provider")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--markdown", action="store_true")
    shape.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    if recordings.root() is None:
        print("no recordings: set CRUX_RECORDINGS or put them in ../shared/recordings")
        return 1
    report = run(interactions(asked.sdk, asked.provider))
    if asked.json:
        rows = [
            {"sdk": sdk, "provider": provider, "dialect": dialect, **asdict(counts)}
            for (sdk, provider, dialect), counts in sorted(report.table.items())
        ]
        told = {"table": rows, "refusals": report.refusals, "differing": report.differing}
        print(json.dumps(told, indent=1))
    else:
        for line in (*lines(report, asked.markdown), *report.differing):
            print(line)
    return 0 if report.table and not report.differing else 1


if __name__ == "__main__":
    sys.exit(main())
