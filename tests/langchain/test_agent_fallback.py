"""LangChain's own agent over ChatCrux: a tool loop whose candidates fail between its turns."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool

from crux_integrations import ChatCrux
from tests.servers.scripted_server import Exchange, ScriptedServer


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"{city}: rain"


OPENAI_CALL = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m-1",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_abc",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Bern"}'},
                    }
                ],
            },
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
}
ANTHROPIC_ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-1",
    "content": [{"type": "text", "text": "It rains in Bern."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 20, "output_tokens": 6},
}


def overloaded(x: Exchange) -> None:
    x.answer(b"{}", 503)


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
def test_the_first_candidate_fails_between_two_turns(mode: str) -> None:
    with ScriptedServer() as first, ScriptedServer() as second:
        first.play_in_turn(lambda x: x.answer(json.dumps(OPENAI_CALL).encode()), overloaded)
        second.play(lambda x: x.answer(json.dumps(ANTHROPIC_ANSWER).encode()))
        model = ChatCrux(
            routes={
                "version": 1,
                "providers": {
                    "one": {"dialect": "openai_chat", "base_url": first.url, "api_key": "k"},
                    "two": {
                        "dialect": "anthropic_messages",
                        "api_key": "k",
                        "base_url": second.url.removesuffix("/v1"),
                    },
                },
                "routes": {
                    "default": {"candidates": ["one:m-1", "two:claude-1"], "retry": {"attempts": 1}}
                },
            }
        )
        agent = create_agent(model, [weather])
        question: Any = {"messages": [{"role": "user", "content": "Weather in Bern?"}]}
        state = agent.invoke(question) if mode == "invoke" else asyncio.run(agent.ainvoke(question))
        answers = [m for m in state["messages"] if isinstance(m, AIMessage)]
        assert answers[-1].text == "It rains in Bern."
        attempts = [
            [(a["provider"], a["error_code"]) for a in m.response_metadata["crux"]["attempts"]]
            for m in answers
        ]
        assert attempts == [[("one", None)], [("one", "transient"), ("two", None)]]
        body = json.loads(second.exchanges[0].body)
        turns = [(m["role"], m["content"]) for m in body["messages"]]
        assert [role for role, _ in turns] == ["user", "assistant", "user"]
        call = next(b for b in turns[1][1] if b["type"] == "tool_use")
        result = next(b for b in turns[2][1] if b["type"] == "tool_result")
        assert call["input"] == {"city": "Bern"}
        assert result["tool_use_id"] == call["id"]
        assert "Bern: rain" in json.dumps(result)
