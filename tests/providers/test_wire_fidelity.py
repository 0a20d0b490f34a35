"""A conversation reaches the wire whole, in order and byte for byte, on every dialect."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from crux_providers.base import ChatRequest, ContentPart, Message, Tool, ToolCall
from crux_providers.base.provider import BaseProvider, GatewayProvider
from crux_providers.config.declaration import ProviderDeclaration
from tests.faults.wires import PRESENT, Wire
from tests.servers.scripted_server import ScriptedServer

CODE = "def f(x):\n    if x:\n\n        return 'ä → \\n'\n\n\n    # done  \n"
SYSTEM = "You are terse.\n\n    Keep   spaces.\n"
RESULT = '  {"weird":   1}\n\n\ttabbed \u2028 end'
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\nnot really").decode()
ARGUMENTS = {"city": "Zürich", "days": [1, 2, 3], "note": "  two  spaces "}

CONVERSATION = [
    Message("system", SYSTEM),
    Message(
        "user",
        [ContentPart("text", CODE), ContentPart("image", data=PIXEL, media_type="image/png")],
    ),
    Message(
        "assistant",
        "Let me look.",
        tool_calls=[ToolCall("call_1", "weather", ARGUMENTS), ToolCall("call_2", "weather", {})],
    ),
    Message("tool", RESULT, tool_call_id="call_1", name="weather"),
    Message("tool", "none", tool_call_id="call_2", name="weather"),
    Message("assistant", CODE),
    Message("user", "and now?"),
]
REQUEST = ChatRequest(
    model="m-1",
    messages=CONVERSATION,
    tools=[
        Tool("weather", "Weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
    ],
    extra={"x_custom": {"kept": [True, None]}},
)
WIRES = pytest.mark.parametrize("wire", PRESENT, ids=lambda w: w.dialect)


def gateway(wire: Wire, url: str) -> BaseProvider:
    openai = wire.dialect.startswith("openai")
    return GatewayProvider(
        declaration=ProviderDeclaration(
            name="gw",
            client="",
            dialect=wire.dialect,
            base_url="",
            key_required=False,
            auth="none",
        ),
        base_url=url if openai else url.removesuffix("/v1"),
    )


def strings(value: Any) -> list[str]:
    """Every string in a JSON value, in order."""
    match value:
        case str():
            return [value]
        case dict():
            return [s for v in value.values() for s in strings(v)]
        case list():
            return [s for v in value for s in strings(v)]
        case _:
            return []


def sent(wire: Wire, request: ChatRequest) -> Any:
    with ScriptedServer() as server:
        server.play(lambda x: x.answer(json.dumps(wire.whole).encode()))
        with gateway(wire, server.url) as provider:
            provider.chat(request)
        assert server.requests == 1
        return json.loads(server.exchanges[0].body)


@WIRES
def test_every_turn_reaches_the_wire_unchanged(wire: Wire) -> None:
    body = sent(wire, REQUEST)
    found = strings(body)
    text = json.dumps(body, ensure_ascii=False)
    for whole in (SYSTEM, "Let me look.", "and now?"):
        assert found.count(whole) == 1, whole
    assert found.count(CODE) == 2
    assert any(s == PIXEL or s.endswith("base64," + PIXEL) for s in found)
    assert (
        RESULT in found
        or any(RESULT in strings(json.loads(s)) for s in found if s.startswith("{"))
        or RESULT in strings(body)
    )
    assert "Zürich" in text
    assert body["x_custom"] == {"kept": [True, None]}
    order = [
        text.index(json.dumps(s, ensure_ascii=False)[1:-1])
        for s in ("Let me look.", "none", "and now?")
    ]
    assert order == sorted(order)


@WIRES
def test_tool_arguments_reach_the_wire_as_they_are(wire: Wire) -> None:
    body = sent(wire, REQUEST)

    def arguments(value: Any) -> list[Any]:
        match value:
            case {"arguments": str(text)}:
                return [json.loads(text)]
            case {"arguments": dict(args)} | {"args": dict(args)}:
                return [args]
            case {"type": "tool_use", "input": dict(args)}:
                return [args]
            case dict():
                return [a for v in value.values() for a in arguments(v)]
            case list():
                return [a for v in value for a in arguments(v)]
            case _:
                return []

    assert arguments(body) == [ARGUMENTS, {}]


@WIRES
def test_the_request_survives_the_wire_and_back(wire: Wire) -> None:
    from crux_providers.base.ports import resolve

    again = resolve("codec", wire.dialect).parse_request(sent(wire, REQUEST))
    texts = [(m.role, m.text) for m in again.messages if m.text]
    wanted = [(m.role, m.text) for m in CONVERSATION if m.text]
    assert texts == wanted
    assert [dict(c.arguments) for m in again.messages for c in m.tool_calls] == [ARGUMENTS, {}]
