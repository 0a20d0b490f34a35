"""What a row of ``on`` says is done, also for what nobody retries by default."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crux_integrations import Router
from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.flow import Wait, attempts
from crux_providers.base.models import ChatRequest, Message
from crux_providers.base.retry import RetryConfig
from tests.faults.wires import PRESENT
from tests.servers.scripted_server import ScriptedServer

WIRE = next(wire for wire in PRESENT if wire.dialect == "openai_chat")
HI = [Message("user", "hi")]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def whole(text: str, finish: str = "stop") -> bytes:
    answer = json.loads(json.dumps(WIRE.whole))
    answer["choices"][0]["message"]["content"] = text
    answer["choices"][0]["finish_reason"] = finish
    return json.dumps(answer).encode()


ROWS: dict[str, tuple[int, bytes]] = {
    "auth": (401, b"{}"),
    "conflict": (409, b"{}"),
    "bad_request": (400, b"{}"),
    "empty": (200, whole("")),
    "length": (200, whole("half", "length")),
    "invalid_json": (200, whole("{")),
    "schema_mismatch": (200, whole('{"a": "x"}')),
}


# A content trigger after the first content of a stream changes nothing any more.
CASES = [(row, False) for row in ROWS] + [(row, True) for row in ROWS if ROWS[row][0] >= 400]


@pytest.mark.parametrize(("row", "stream"), CASES)
def test_a_retry_that_was_asked_for(row: str, stream: bool) -> None:
    """Three requests to the first one, then the next: ``retry.attempts`` bounds any row."""
    status, body = ROWS[row]
    wants: dict[str, Any] = (
        {"response_format": "json_schema", "json_schema": SCHEMA}
        if row in ("invalid_json", "schema_mismatch")
        else {}
    )
    with (
        ScriptedServer(lambda exchange: exchange.answer(body, status=status)) as first,
        ScriptedServer(lambda exchange: exchange.answer(whole('{"a": 1}'))) as second,
    ):
        gateways = {
            name: {"dialect": "openai_chat", "base_url": server.url, "api_key": "k"}
            for name, server in (("first", first), ("second", second))
        }
        route = {
            # Names of this row alone: what another row's answers showed of them decides nothing.
            "candidates": [f"first:{row}", f"second:{row}"],
            "on": {row: "retry"},
            "retry": {"attempts": 3, "initial": "1ms", "max": "1ms"},
        }
        source = {"version": 1, "providers": gateways, "routes": {"default": route}}
        with Router(source) as router:
            request = ChatRequest(messages=HI, **wants)
            if stream:
                second.play(_streamed)
                crux = list(router.stream(request))[-1].meta["crux"]  # type: ignore[index]
            else:
                crux = router.generate(request).meta.extra["crux"]
        assert crux["provider"] == "second"
        assert [a["provider"] for a in crux["attempts"]] == ["first"] * 3 + ["second"]
        assert first.requests == 3


def _streamed(exchange: Any) -> None:
    exchange.begin_stream()
    for frame in (*WIRE.opening, WIRE.text("Hello"), *WIRE.ending):
        exchange.chunk(frame)
    exchange.end_stream()


@pytest.mark.parametrize(("code", "again"), [(ErrorCode.RATE_LIMIT, False), (ErrorCode.AUTH, True)])
def test_a_provider_may_call_a_passing_failure_final(code: ErrorCode, again: bool) -> None:
    """Its word takes a retry away from what is retried by default, never from what was asked."""
    flow = attempts(
        RetryConfig(max_attempts=2, initial=0.0, max=0.0), lambda: 0.0, {str(code): "retry"}
    )
    next(flow)
    final = ProviderError(code, "no", retryable=False)
    if again:
        assert isinstance(flow.send(final), Wait)
        return
    with pytest.raises(StopIteration) as end:
        flow.send(final)
    assert end.value.value.action == "next"
