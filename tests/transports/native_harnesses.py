"""Harnesses of the SDKs that speak dialects of their own: Ollama's and Google's."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from typing import Any

import httpx

from crux_providers.base.interfaces import Transport
from crux_providers.base.wire import Endpoint, WireRequest
from crux_providers.transports.google_sdk import GoogleSdkTransport
from crux_providers.transports.litellm_sdk import LiteLLMTransport
from crux_providers.transports.ollama_sdk import OllamaSdkTransport
from tests.transports.conformance import Harness, json_array, ndjson, sse

OLLAMA_BODY = {
    "model": "m",
    "messages": [{"role": "user", "content": "Grüße, 世界 🙂"}],
    "options": {"seed": 7},
}


def _ollama_line(text: str) -> bytes:
    data = {"model": "m", "message": {"role": "assistant", "content": text}, "done": False}
    return ndjson(json.dumps(data).encode())


def _ollama(url: str, kind: str = "") -> Transport:
    """Ollama's transport on connections of ours, or with a ready client of that kind."""
    if not kind:
        return OllamaSdkTransport(Endpoint(url, proxy=""))
    import ollama

    # No certificates are needed, nor the time that reading them takes.
    limits = httpx.Limits(max_keepalive_connections=100)
    client = getattr(ollama, kind)(host=url, follow_redirects=False, verify=False, limits=limits)
    return OllamaSdkTransport(Endpoint(url), client=client)


_OLLAMA: dict[str, Any] = {
    "whole": WireRequest("/api/chat", {**OLLAMA_BODY, "stream": False}, framing="ndjson"),
    "streamed": WireRequest(
        "/api/chat", {**OLLAMA_BODY, "stream": True}, stream=True, framing="ndjson"
    ),
    "answer": {
        "model": "m",
        "message": {"role": "assistant", "content": "hello"},
        "done": True,
        "newer than the SDK": [1],
    },
    "events": (_ollama_line("one"), _ollama_line("two"), _ollama_line("three")),
    "end": b'{"done": true}\n',
    "ping": b" ",
    "frame": ndjson,
    "target": "/v1/api/chat",
    "raw": False,
}

GEMINI_BODY = {
    "contents": [{"role": "user", "parts": [{"text": "Grüße, 世界 🙂"}]}],
    "generationConfig": {"temperature": 0.7, "maxOutputTokens": 50},
}


def _gemini_event(text: str, first: bool = False) -> bytes:
    data = {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}]}
    return json_array(json.dumps(data).encode(), first)


ENCODING = "?%24alt=json%3Benum-encoding%3Dint"
"""What Google's REST client asks for beside the path: JSON whose enums are numbers."""


class GoogleHarness(Harness):
    """Gemini's requests hold the model in the path, and nothing that their types do not know."""

    def padded(self, size: int) -> WireRequest:
        """The whole request, made large."""
        contents = [{"role": "user", "parts": [{"text": "ü" * size}]}]
        return replace(self.whole, body={**GEMINI_BODY, "contents": contents})


GOOGLE = GoogleHarness(
    "google-generativeai SDK",
    lambda url: GoogleSdkTransport(Endpoint(url.removesuffix("/v1"), proxy="")),
    whole=WireRequest("/v1beta/models/m:generateContent", GEMINI_BODY),
    streamed=WireRequest(
        "/v1beta/models/m:streamGenerateContent?alt=sse", GEMINI_BODY, stream=True
    ),
    answer={
        "candidates": [{"content": {"role": "model", "parts": [{"text": "hello"}]}, "index": 0}],
        "newerThanTheSDK": [1],
    },
    events=(_gemini_event("one", True), _gemini_event("two"), _gemini_event("three")),
    end=b"]",
    ping=b"\n",
    frame=json_array,
    target=f"/v1beta/models/m:generateContent{ENCODING}",
    streamed_target=f"/v1beta/models/m:streamGenerateContent{ENCODING}",
    owns_sockets=False,
    closes_at_once=False,
    checks_packing=False,
    per_loop=False,
    slow=True,
)

_READY: dict[str, Any] = {
    "owns_sockets": False,
    "closes_at_once": False,
    "checks_packing": False,
    "slow": True,
}


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}
    return sse(json.dumps({**data, "choices": [choice]}).encode())


LITELLM_BODY = {"model": "openai/m", "messages": [{"role": "user", "content": "Grüße, 世界 🙂"}]}


class LiteLLMHarness(Harness):
    """LiteLLM writes requests and answers anew: their meaning is compared, not their fields."""

    def padded(self, size: int) -> WireRequest:
        """The whole request, made large."""
        messages = [{"role": "user", "content": "ü" * size}]
        return replace(self.whole, body={**LITELLM_BODY, "messages": messages})

    def told(self, data: Any) -> Any:
        """The texts of the events, or the text of an answer."""
        if isinstance(data, dict):
            return data["choices"][0]["message"]["content"]
        texts = (c["delta"].get("content") for d in data for c in d.get("choices", ()))
        return [text for text in texts if text]

    def sent(self, request: WireRequest) -> Any:
        """The body as the server gets it: the prefix of the model names the vendor."""
        return {**dict(request.body or {}), "model": "m"}


LITELLM = LiteLLMHarness(
    "litellm SDK",
    lambda url: LiteLLMTransport(Endpoint(url, api_key="k")),
    whole=WireRequest("/chat/completions", LITELLM_BODY),
    streamed=WireRequest("/chat/completions", {**LITELLM_BODY, "stream": True}, stream=True),
    answer={
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hello"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    },
    events=tuple(_chunk({"content": word}) for word in ("one", "two", "three")),
    end=_chunk({}, "stop") + b"data: [DONE]\n\n",
    owns_sockets=False,
    closes_at_once=False,
    checks_packing=False,
    per_loop=False,
    raw=False,
    slow=True,
    rewrites=True,
    broken_error="cut",
)


def _harnesses() -> list[Harness]:
    found: list[Harness] = []
    if _installed("ollama"):
        found += [
            Harness("ollama SDK", _ollama, slow=True, **_OLLAMA),
            Harness(
                "ollama SDK, ready Client",
                lambda url: _ollama(url, "Client"),
                client="sync",
                **_OLLAMA,
                **_READY,
            ),
            Harness(
                "ollama SDK, ready AsyncClient",
                lambda url: _ollama(url, "AsyncClient"),
                client="async",
                **_OLLAMA,
                **_READY,
            ),
        ]
    if _installed("google") and _installed("google.generativeai"):
        found.append(GOOGLE)
    if _installed("litellm"):
        found.append(LITELLM)
    return found


HARNESSES = _harnesses()
