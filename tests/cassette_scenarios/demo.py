"""What `make demo` plays: the first candidate refuses, the second calls a tool and answers."""

from __future__ import annotations

from . import ONE_CITY, Call, Scenario
from .anthropic_messages import _loop
from .openai_chat import PATH as CHAT
from .openai_chat import STREAM, TOOLS
from .openai_chat import ask as chat
from .openai_responses import PATH as RESPONSES
from .openai_responses import TOOLS as RESPONSES_TOOLS
from .openai_responses import ask as respond


def refused(call: Call) -> None:
    """OpenAI's 429, on both of its endpoints; longer than the shipped route's patience."""
    question = "error 429, wait long"
    call(CHAT, chat(question, "gpt-5-mini", tools=TOOLS, **STREAM))
    call(RESPONSES, respond(question, "gpt-5-mini", tools=RESPONSES_TOOLS, stream=True))


def answered(call: Call) -> None:
    """A tool loop of two turns, streamed and whole."""
    _loop(call, ONE_CITY, "claude-haiku-4-5", stream=True)
    _loop(call, ONE_CITY, "claude-haiku-4-5")


SCENARIOS = [
    Scenario("demo/openai", "aimock", refused),
    Scenario("demo/anthropic", "llamacpp_tools", answered),
]
