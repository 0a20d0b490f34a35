"""A model that follows rules, behind the server half of any dialect's codec.

It calls a tool where one is asked for, answers in JSON where a schema is asked for, and says hello
otherwise: enough for LangChain's integration tests to run the whole way through router, provider
and codec with no network. It says nothing about how a real provider behaves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from crux_providers.base.events import ChatStreamEvent, ToolCallDelta
from crux_providers.base.models import (
    ChatRequest,
    ChatResponse,
    ContentPart,
    ProviderMetadata,
    Tool,
    ToolCall,
)
from crux_providers.base.wire import WireRequest

_QUOTED = re.compile("'([^']+)'")
_MODEL_IN_PATH = re.compile("/models/([^:/]+)")
_NUMBER = re.compile(r"\d+")


def rule_model(codec: Any) -> Any:
    """A script for ScriptedTransport that speaks ``codec``'s dialect."""

    def answer(wire: WireRequest) -> Any:
        request: ChatRequest = codec.parse_request(wire.body)
        if (named := _MODEL_IN_PATH.search(wire.path)) is not None:  # Gemini's
            request = replace(request, model=named[1])
        response = _answer(request)
        if not wire.stream:
            return codec.render_response(response)
        state = codec.RenderState(model=request.model or "")
        return [w for event in _events(response) for w in codec.render_event(event, state)]

    return answer


def _answer(request: ChatRequest) -> ChatResponse:
    asked = next((m.text for m in reversed(request.messages) if m.role == "user"), "")
    tool = _wanted_tool(request, asked)
    parts: tuple[ContentPart, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    if tool is not None:
        calls = (ToolCall("call_1", tool.name, _filled(tool.parameters, asked)),)
    elif request.response_format in ("json_schema", "json_object"):
        schema = request.json_schema or _schema_in(asked)
        parts = (ContentPart("text", json.dumps(_filled(schema, asked))),)
    else:
        parts = (ContentPart("text", "Hello! How can I help you today?"),)
    counts = {"prompt": 10 + len(asked), "completion": 8, "total": 18 + len(asked)}
    meta = ProviderMetadata(
        model_name=request.model, response_id="r_1", extra={"token_usage": counts}
    )
    return ChatResponse.build(
        parts, calls, finish_reason="tool_calls" if calls else "stop", meta=meta
    )


def _wanted_tool(request: ChatRequest, asked: str) -> Tool | None:
    if not request.tools or request.tool_choice == "none":
        return None
    by_name = {tool.name: tool for tool in request.tools}
    if request.tool_choice in by_name:
        return by_name[request.tool_choice]
    if request.tool_choice == "required":
        return request.tools[0]
    if request.messages[-1].role == "tool":
        return None
    named = [tool for tool in request.tools if tool.name in asked]
    if named:
        return named[0]
    place = "weather" in asked or "the tool" in asked
    return request.tools[0] if place else None


def _schema_in(asked: str) -> Mapping[str, Any]:
    keys = _QUOTED.findall(asked)
    return {"properties": {key: {"type": "string"} for key in keys}}


def _filled(schema: Mapping[str, Any], asked: str) -> dict[str, Any]:
    """A value for each property: the number or the quoted word of the question where there is."""
    number = _NUMBER.search(asked)
    quoted = _QUOTED.search(asked)
    found: dict[str, Any] = {}
    for name, wanted in (schema.get("properties") or {}).items():
        if "integer" in json.dumps(wanted):
            found[name] = int(number[0]) if number else 3
        else:
            found[name] = quoted[1] if quoted else "Pirate"
    return found


def _events(response: ChatResponse) -> list[ChatStreamEvent]:
    """The answer in pieces of a few characters, as a provider streams it."""
    meta = {"model_name": response.meta.model_name, "response_id": response.meta.response_id}
    events = [ChatStreamEvent(meta=meta)]
    for start in range(0, len(response.text), 6):
        events.append(ChatStreamEvent(response.text[start : start + 6]))
    for index, call in enumerate(response.tool_calls):
        events.append(ChatStreamEvent(tool_call=ToolCallDelta(index, call.id, call.name)))
        written = call.raw_arguments or ""
        for start in range(0, len(written), 6):
            piece = ToolCallDelta(index, arguments=written[start : start + 6])
            events.append(ChatStreamEvent(tool_call=piece))
    events.append(ChatStreamEvent(usage=response.usage))
    events.append(ChatStreamEvent(finish_reason=response.finish_reason))
    events.append(ChatStreamEvent(finish=True))
    return events
