"""The agent of ``crux demo``: LangChain's own ``create_agent`` over ``ChatCrux`` with one tool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.tools import tool

from .chat_model import ChatCrux


@tool
def get_weather(city: str) -> str:
    """Get the current weather in a city."""
    return "18 degrees Celsius, light rain"


def ask(question: str, show: Callable[[str], None]) -> AIMessage:
    """Ask without tools, stream what comes to ``show``, and return the answer's message."""
    whole: AIMessageChunk | None = None
    for chunk in ChatCrux(temperature=0).stream(question):
        show(chunk.text)
        whole = chunk if whole is None else whole + chunk
    assert whole is not None  # a stream without an end raises
    return whole


def run_agent(question: str, show: Callable[[str], None]) -> list[Any]:
    """Ask, stream what comes to ``show``, and return the answers' messages."""
    from langchain.agents import create_agent

    agent = create_agent(ChatCrux(), [get_weather])
    answers: list[AIMessage] = []
    events: Any = agent.stream(
        {"messages": [{"role": "user", "content": question}]}, stream_mode=["messages", "updates"]
    )
    for mode, data in events:
        if mode == "messages":
            chunk = data[0]
            if isinstance(chunk, AIMessageChunk) and chunk.text:
                show(chunk.text)
            continue
        for update in data.values():
            for message in update.get("messages", ()):
                if isinstance(message, AIMessage):
                    answers.append(message)
                    for call in message.tool_calls:
                        show(f"→ {call['name']}({call['args']})\n")
                elif isinstance(message, ToolMessage):
                    show(f"← {message.content}\n\n")
    return answers
