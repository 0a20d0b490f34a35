"""Gateways that only a routes file knows: their address, and what they may echo."""

from __future__ import annotations

import json
import traceback

import pytest

from crux_integrations import AllCandidatesFailed, Router
from crux_providers.base.errors import ProviderError
from crux_providers.base.models import ChatRequest, Message
from tests.faults.wires import PRESENT, Wire
from tests.servers.scripted_server import ScriptedServer

REQUEST = ChatRequest(messages=[Message("user", "hi")])
VERSIONS = {"anthropic_messages": "/v1", "gemini_generate": "/v1beta", "ollama_chat": "/api"}
KEY = "sk-" + "0123456789abcdefghij"


def gateway(dialect: str, url: str) -> Router:
    lab = {"dialect": dialect, "base_url": url, "api_key": KEY}
    routes = {"default": {"candidates": ["lab:m"]}}
    return Router({"version": 1, "providers": {"lab": lab}, "routes": routes})


@pytest.mark.parametrize("wire", PRESENT, ids=lambda wire: wire.dialect)
def test_an_address_may_end_in_the_version(wire: Wire) -> None:
    version = VERSIONS.get(wire.dialect, "/v1")
    with ScriptedServer(lambda e: e.answer(json.dumps(wire.whole).encode())) as server:
        root = server.url.removesuffix("/v1")
        written = {f"{root}{version}", f"{root}{version}/"}
        if wire.dialect in VERSIONS:
            written.add(root)
        for url in sorted(written):
            with gateway(wire.dialect, url) as router:
                assert router.generate(REQUEST).text
        paths = {exchange.target for exchange in server.exchanges}
    assert len(paths) == 1
    assert paths.pop().count(version) == 1


@pytest.mark.parametrize("status", [400, 401])
def test_a_key_that_a_server_echoes_is_in_no_traceback(status: int) -> None:
    """Neither where the call stops at the error itself nor where it is the cause."""
    body = json.dumps({"error": {"message": f"no good: Bearer {KEY}, {KEY}"}}).encode()
    with (
        ScriptedServer(lambda e: e.answer(body, status=status)) as server,
        gateway("openai_chat", server.url) as router,
        pytest.raises((ProviderError, AllCandidatesFailed)) as caught,
    ):
        router.generate(REQUEST)
    shown = "".join(traceback.format_exception(caught.value))
    assert "no good: Bearer [key]" in shown
    assert KEY not in shown
    assert KEY not in repr(caught.value)
