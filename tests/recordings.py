"""Real provider sessions, read where they lie: a folder beside the checkout, never part of it.

``CRUX_RECORDINGS`` names the folder; otherwise ``../shared/recordings`` is looked for beside the
checkout. Where there is none, :func:`require` skips the test that asks.

>>> for session in sessions(provider="groq", endpoint="chat"):
...     for interaction in session.interactions:
...         decode(interaction.body)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times as fast

# The end of an URL's path, and what the index calls that endpoint.
ENDPOINTS = (
    ("/chat/completions", "chat"),
    ("/messages", "messages"),
    ("/count_tokens", "count_tokens"),
    ("/responses", "responses"),
    (":generateContent", "generateContent"),
    (":streamGenerateContent", "streamGenerateContent"),
    ("/api/chat", "ollama_chat"),
    ("/api/generate", "ollama_generate"),
    ("/completions", "completions"),
    ("/embeddings", "embeddings"),
    ("/models", "models"),
)
SURFACES = {
    "chat": "chat",
    "messages": "messages",
    "responses": "responses",
    "generate": "generateContent",
}


@dataclass(frozen=True)
class Interaction:
    """One HTTP exchange.

    ``endpoint`` is read off ``path`` (the index's word for it, or ``other``). ``stream`` says that
    the answer is framed (SSE or NDJSON). ``headers`` are the response's, names in lower case.
    ``bare`` marks a response body with no request and no end marker around it; its ``status`` is
    200, or for an error body the one it names (else 400).
    """

    file: str
    number: int
    provider: str
    endpoint: str
    method: str
    url: str
    path: str
    request_text: str | None = field(repr=False)
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    stream: bool
    bare: bool = False

    @property
    def name(self) -> str:
        """``file#number``, the key of the reasons a comparer lists."""
        return f"{self.file}#{self.number}"

    @property
    def request_body(self) -> Any:
        """The request's JSON, or None where it had none."""
        if not self.request_text:
            return None
        try:
            return json.loads(self.request_text)
        except ValueError:
            return None


@dataclass(frozen=True)
class Session:
    """One recorded file: its row in the index and its exchanges in order."""

    file: str
    provider: str
    endpoint: str
    scenario: str
    interactions: tuple[Interaction, ...] = field(repr=False)


def root() -> Path | None:
    """The recordings' folder, or None where there is none."""
    named = os.environ.get("CRUX_RECORDINGS")
    checkout = Path(__file__).resolve().parents[1]
    folder = Path(named) if named else checkout.parent / "shared" / "recordings"
    return folder if (folder / "INDEX.tsv").is_file() else None


def require() -> Path:
    """The recordings' folder; skips the running test, with the reason, where there is none."""
    folder = root()
    if folder is None:
        pytest.skip("no recordings: set CRUX_RECORDINGS or put them in ../shared/recordings")
    return folder


def index(folder: Path, name: str = "INDEX.tsv") -> list[dict[str, str]]:
    """The rows of an index file as mappings."""
    lines = (folder / name).read_text(encoding="utf-8").splitlines()
    head = lines[0].split("\t")
    return [dict(zip(head, line.split("\t"), strict=True)) for line in lines[1:] if line]


def sessions(provider: str | None = None, endpoint: str | None = None) -> Iterator[Session]:
    """The recorded sessions of a provider and an endpoint (None: all), in the index's order.

    An endpoint also finds files the index puts elsewhere whose exchanges include one with it.
    """
    folder = root()
    if folder is None:
        return
    for row in index(folder):
        if provider is not None and row["provider"] != provider:
            continue
        session = _session(folder, row["file"])
        if (
            endpoint is None
            or row["endpoint"] == endpoint
            or any(i.endpoint == endpoint for i in session.interactions)
        ):
            yield Session(
                row["file"], row["provider"], row["endpoint"], row["scenario"], session.interactions
            )


def interactions(provider: str | None = None, endpoint: str | None = None) -> list[Interaction]:
    """Every exchange with ``endpoint``, bare bodies included."""
    found = [i for s in sessions(provider, endpoint) for i in s.interactions]
    found += bodies()
    return [
        i
        for i in found
        if (endpoint is None or i.endpoint == endpoint)
        and (provider is None or i.provider == provider)
    ]


def bodies(provider: str | None = None, endpoint: str | None = None) -> Iterator[Interaction]:
    """The bare response bodies of ``_bodies`` as exchanges; chunks are framed as SSE."""
    folder = root()
    if folder is None:
        return
    for row in index(folder / "_bodies"):
        surface = SURFACES.get(row["surface"], row["surface"])
        if provider not in (None, row["provider"]):
            continue
        data = (folder / row["file"]).read_bytes()
        stream = row["kind(json|chunks: one JSON event a line)"] == "chunks"
        if stream:
            lines = [line for line in data.splitlines() if line.strip()]
            data = b"".join(b"data: " + line + b"\n\n" for line in lines)
            if surface == "generateContent":
                surface = "streamGenerateContent"
        if endpoint not in (None, surface):
            continue
        yield Interaction(
            file=row["file"],
            number=0,
            provider=row["provider"],
            endpoint=surface,
            method="POST",
            url="",
            path="",
            request_text=None,
            status=200 if stream else _status_in(data),
            headers={"content-type": "text/event-stream" if stream else "application/json"},
            body=data,
            stream=stream,
            bare=True,
        )


def _status_in(data: bytes) -> int:
    value = json.loads(data)
    error = value.get("error") if isinstance(value, dict) else None
    if not error:
        return 200
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 400


def read_session(folder: Path, file: str) -> tuple[Interaction, ...]:
    """The exchanges of one file below ``folder``, a recording or a cassette of this project."""
    return _session(folder, file).interactions


@cache
def _session(folder: Path, file: str) -> Session:
    with (folder / file).open(encoding="utf-8", newline="") as source:
        recorded = yaml.load(source, LOADER)  # a safe loader, by either name
    provider = file.split("/")[0]
    exchanges = tuple(
        _interaction(file, provider, number, item)
        for number, item in enumerate(recorded["interactions"])
    )
    return Session(file, provider, "", "", exchanges)


def _interaction(file: str, provider: str, number: int, item: Mapping[str, Any]) -> Interaction:
    request, response = item["request"], item["response"]
    url: str = request["uri"]
    path = url.split("://", 1)[-1].partition("?")[0]
    path = path[path.find("/") :]
    headers = {k.lower(): ", ".join(v) for k, v in response["headers"].items()}
    body: str = response["body"]["string"]
    kind = headers.get("content-type", "")
    framed = "event-stream" in kind or "ndjson" in kind or body.startswith(("data:", "event:"))
    endpoint = next((word for end, word in ENDPOINTS if path.endswith(end)), "other")
    return Interaction(
        file=file,
        number=number,
        provider=provider,
        endpoint=endpoint,
        method=request["method"],
        url=url,
        path=path,
        request_text=request["body"],
        status=response["status"]["code"],
        headers=headers,
        body=body.encode("utf-8"),
        stream=framed and response["status"]["code"] < 300,
    )
