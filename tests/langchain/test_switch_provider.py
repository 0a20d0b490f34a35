"""A tool loop that one provider's model began goes on at another's, and what was lost is said."""

from __future__ import annotations

import json
from functools import reduce
from operator import add
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from crux_integrations import ChatCrux, Router
from crux_providers.base.errors import WireFailure
from crux_providers.base.factory import ProviderFactory
from crux_providers.base.wire import WireEvent
from crux_providers.transports.scripted import ScriptedTransport
from tests.codecs.histories import ANTHROPIC, CHAT, RESPONSES, judged
from tests.langchain.test_over_the_router import OPENAI_TEXT, THINKING_AND_CALL, TOOL

BUSY = WireFailure("status", "slow down", status=429)
MODES = ("invoke", "stream", "ainvoke", "astream")

THINKING_WHOLE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-1",
    "content": [
        {"type": "thinking", "thinking": "look first", "signature": "c2ln"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"city": "Bern"}},
    ],
    "stop_reason": "tool_use", "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 20},
}  # fmt: skip
REASONED = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "m-1", "status": "completed",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
         "encrypted_content": "gAAAA"},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look",
         "arguments": '{"city": "Bern"}', "status": "completed"},
    ],
    "usage": {"input_tokens": 9, "output_tokens": 20, "total_tokens": 29},
}  # fmt: skip
REASONED_TEXT = {
    **REASONED,
    "id": "resp_2",
    "output": [
        {"type": "message", "id": "msg_2", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "grey", "annotations": []}]},
    ],
}  # fmt: skip


def _streamed(response: dict[str, Any]) -> list[WireEvent]:
    """A whole answer of the Responses endpoint, as the endpoint streams it."""
    from crux_providers.base.events import ChatStreamEvent, ToolCallDelta
    from crux_providers.codecs import openai_responses as codec

    answer, state = codec.decode(response), codec.RenderState()
    events = [ChatStreamEvent(part=p, block=n) for n, p in enumerate(answer.parts)]
    events += [
        ChatStreamEvent(
            tool_call=ToolCallDelta(
                n, c.id, c.name, c.raw_arguments or "", dialect=c.dialect, extra=c.extra
            )
        )
        for n, c in enumerate(answer.tool_calls)
    ]
    events.append(ChatStreamEvent(finish_reason=answer.finish_reason))
    events.append(ChatStreamEvent(finish=True))
    return [wire for event in events for wire in codec.render_event(event, state)]


CHAT_STREAM = [
    WireEvent({**{k: v for k, v in OPENAI_TEXT.items() if k not in ("choices", "usage")},
               "object": "chat.completion.chunk",
               "choices": [{"index": 0, "delta": {"role": "assistant", "content": "grey"},
                            "finish_reason": "stop"}]}),
    WireEvent("[DONE]"),
]  # fmt: skip


async def _ask(llm: Any, mode: str, history: list[Any]) -> Any:
    match mode:
        case "invoke":
            return llm.invoke(history)
        case "ainvoke":
            return await llm.ainvoke(history)
        case "stream":
            return reduce(add, list(llm.stream(history)))
        case _:
            return reduce(add, [chunk async for chunk in llm.astream(history)])


def _llm(**providers: tuple[str, str, list[Any]]) -> tuple[ChatCrux, dict[str, Any]]:
    """A route over providers ``name=(kind, api, script)``, and their transports."""
    transports = {name: ScriptedTransport(script) for name, (_, _, script) in providers.items()}
    made = {
        name: ProviderFactory.create(kind, api_key="k", transport=transports[name], api=api or None)
        for name, (kind, api, _) in providers.items()
    }
    routes = {
        "version": 1,
        "routes": {
            "default": {
                "candidates": [f"{name}:m-1" for name in providers],
                "retry": {"attempts": 1},
            }
        },
    }
    return ChatCrux(routes=Router(routes, providers=made)), transports


def _history(message: BaseMessage) -> list[BaseMessage]:
    assert isinstance(message, AIMessage)
    (call,) = message.tool_calls
    return [HumanMessage("weather?"), message, ToolMessage("grey\n", tool_call_id=call["id"])]


@pytest.mark.parametrize("mode", MODES)
async def test_from_anthropic_to_openai(mode: str) -> None:
    streams = "stream" in mode
    begun = THINKING_AND_CALL if streams else THINKING_WHOLE
    goes_on = CHAT_STREAM if streams else OPENAI_TEXT
    llm, wires = _llm(
        anthropic=("anthropic", "", [begun, BUSY]), openai=("openai", "chat", [goes_on])
    )
    bound = llm.bind_tools([TOOL])
    message = await _ask(bound, mode, [HumanMessage("weather?")])
    assert message.response_metadata["crux"]["degraded"] == []
    answer = await _ask(bound, mode, _history(message))
    assert answer.text == "grey"
    crux = answer.response_metadata["crux"]
    assert [(a["provider"], a["outcome"]) for a in crux["attempts"]] == [
        ("anthropic", "error"), ("openai", "success"),
    ]  # fmt: skip
    assert crux["degraded"] == ["reasoning of anthropic_messages was left out"]
    body = json.loads(json.dumps(wires["openai"].requests[0].body))
    assert judged(CHAT, body) == []
    assert "look first" not in json.dumps(body)
    back = json.loads(json.dumps(wires["anthropic"].requests[1].body))
    assert judged(ANTHROPIC, back) == []
    assert back["messages"][1]["content"] == THINKING_WHOLE["content"]


@pytest.mark.parametrize("mode", MODES)
async def test_from_openai_to_another_provider_of_its_dialect(mode: str) -> None:
    """Encrypted reasoning goes back to the one who made it, and to nobody else."""
    begun: Any = _streamed(REASONED) if "stream" in mode else REASONED
    goes_on: Any = _streamed(REASONED_TEXT) if "stream" in mode else REASONED_TEXT
    llm, wires = _llm(
        openai=("openai", "responses", [begun, BUSY]), xai=("xai", "responses", [goes_on])
    )
    bound = llm.bind_tools([TOOL])
    message = await _ask(bound, mode, [HumanMessage("weather?")])
    answer = await _ask(bound, mode, _history(message))
    assert answer.text == "grey"
    degraded = answer.response_metadata["crux"]["degraded"]
    assert degraded == [
        "reasoning of openai was left out", "openai's fields of a tool call were left out",
    ]  # fmt: skip
    body = json.loads(json.dumps(wires["xai"].requests[0].body))
    assert judged(RESPONSES, body) == []
    assert body["input"][1:] == [
        {"type": "function_call", "call_id": "call_1", "name": "look",
         "arguments": '{"city": "Bern"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "grey\n"},
    ]  # fmt: skip
    back = json.loads(json.dumps(wires["openai"].requests[1].body))
    assert back["input"][1:3] == REASONED["output"]


DEEPSEEK = {
    **OPENAI_TEXT, "id": "c0",
    "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": "I look.", "reasoning_content": "look first",
        "tool_calls": [{"id": "call_1", "type": "function",
                        "function": {"name": "look", "arguments": '{"city": "Bern"}'}}]}}],
}  # fmt: skip


def _chunks(whole: dict[str, Any]) -> list[WireEvent]:
    """A whole chat answer in pieces, a field at a time."""
    head = {**{k: v for k, v in whole.items() if k not in ("choices", "usage")},
            "object": "chat.completion.chunk"}  # fmt: skip
    message = dict(whole["choices"][0]["message"])
    calls = [{"index": n, **c} for n, c in enumerate(message.pop("tool_calls"))]
    names = ("reasoning_content", "content")
    deltas: list[dict[str, Any]] = [{"role": "assistant"}]
    deltas += [{n: p} for n in names for p in (message[n][:4], message[n][4:])]
    deltas.append({"tool_calls": calls})
    choices = [{"index": 0, "delta": d, "finish_reason": None} for d in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
    return [*(WireEvent({**head, "choices": [c]}) for c in choices), WireEvent("[DONE]")]


@pytest.mark.parametrize("mode", MODES)
async def test_thoughts_told_as_plain_text_stay_at_home_too(mode: str) -> None:
    """Gemini takes thoughts of no known origin; those of DeepSeek are known to be another's."""
    begun: Any = _chunks(DEEPSEEK) if "stream" in mode else DEEPSEEK
    llm, wires = _llm(
        deepseek=("deepseek", "", [begun, BUSY]), gemini=("gemini", "", [BUSY]),
        openrouter=("openrouter", "chat", [CHAT_STREAM if "stream" in mode else OPENAI_TEXT]),
    )  # fmt: skip
    bound = llm.bind_tools([TOOL])
    message = await _ask(bound, mode, [HumanMessage("weather?")])
    answer = await _ask(bound, mode, _history(message))
    assert answer.text == "grey"
    assert answer.response_metadata["crux"]["degraded"] == ["reasoning of deepseek was left out"]
    for other in ("gemini", "openrouter"):
        assert "look first" not in json.dumps(wires[other].requests[0].body)
    turn = wires["deepseek"].requests[1].body["messages"][1]
    assert (turn["reasoning_content"], turn["content"]) == ("look first", "I look.")


async def test_a_saved_history_that_names_no_provider_goes_as_it_did() -> None:
    llm, wires = _llm(openai=("openai", "responses", [REASONED, REASONED_TEXT]))
    bound = llm.bind_tools([TOOL])
    message = bound.invoke([HumanMessage("weather?")])
    saved = json.loads(json.dumps(message.model_dump()))
    for block in saved["content"]:
        block.get("extras", {}).pop("provider", None)
    for note in saved["additional_kwargs"]["crux"]["tool_calls"].values():
        note.pop("provider")
    assert "provider" not in json.dumps([saved["content"], saved["additional_kwargs"]])
    answer = bound.invoke(_history(AIMessage(**saved)))
    assert answer.response_metadata["crux"]["degraded"] == []
    assert wires["openai"].requests[1].body["input"][1:3] == REASONED["output"]
