"""What people build on a chat model: agents, fallbacks, chains."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from langchain_core.tools import tool
from pydantic import BaseModel

from crux_integrations import AllCandidatesFailed, ChatCrux
from crux_providers.base.events import ChatStreamEvent
from crux_providers.base.models import ContentPart
from tests.langchain.scripted_router import ScriptedRouter, calls, text


class Weather(BaseModel):
    """The weather."""

    sky: str


@tool
def look_outside(city: str) -> str:
    """Look at the sky of a city."""
    return f"{city}: grey"


QUESTION: Any = {"messages": [{"role": "user", "content": "weather?"}]}


async def test_an_agents_tool_loop() -> None:
    thought = ContentPart("reasoning", signature="sig", dialect="anthropic_messages")
    first = [
        ChatStreamEvent(reasoning="look first", block=0),
        ChatStreamEvent(part=thought, block=0),
        *calls(("c1", "look_outside", {"city": "Bern"}), ("c2", "look_outside", {"city": "Thun"})),
    ]
    for mode in ("invoke", "ainvoke", "stream", "astream"):
        router = ScriptedRouter(first, text("Grey ", "everywhere."))
        agent = create_agent(ChatCrux(routes=router), [look_outside])
        match mode:
            case "invoke":
                messages = agent.invoke(QUESTION)["messages"]
            case "ainvoke":
                messages = (await agent.ainvoke(QUESTION))["messages"]
            case "stream":
                *_, last = agent.stream(QUESTION, stream_mode="values")
                messages = last["messages"]
            case _:
                chunks = [c async for c, _ in agent.astream(QUESTION, stream_mode="messages")]
                said = [c.text for c in chunks if isinstance(c, AIMessageChunk) and c.text]
                assert said == ["Grey ", "everywhere."]
                messages = []
        if messages:
            assert [type(m) for m in messages[1:]] == [
                AIMessage,
                ToolMessage,
                ToolMessage,
                AIMessage,
            ]
            assert messages[-1].text == "Grey everywhere."
        sent = router.asked[1][0].messages
        assert [m.role for m in sent] == ["user", "assistant", "tool", "tool"]
        assert sent[1].parts[0].signature == "sig"
        assert [(c.id, dict(c.arguments)) for c in sent[1].tool_calls] == [
            ("c1", {"city": "Bern"}), ("c2", {"city": "Thun"}),
        ]  # fmt: skip
        assert [(m.tool_call_id, m.text) for m in sent[2:]] == [
            ("c1", "Bern: grey"), ("c2", "Thun: grey"),
        ]  # fmt: skip
        assert router.asked[0][0].tools[0].name == "look_outside"


@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy, lambda schema: schema])
def test_an_agent_with_a_form_for_its_answer(strategy: Any) -> None:
    by_tool = strategy is ToolStrategy
    last = calls(("c9", "Weather", {"sky": "grey"})) if by_tool else text('{"sky": "grey"}')
    router = ScriptedRouter(
        calls(("c1", "look_outside", {"city": "Bern"})), last,
        profile={"structured_output": True, "tool_calling": True},
    )  # fmt: skip
    agent = create_agent(ChatCrux(routes=router), [look_outside], response_format=strategy(Weather))
    assert agent.invoke(QUESTION)["structured_response"] == Weather(sky="grey")
    request = router.asked[0][0]
    if by_tool:
        assert request.tool_choice == "required"
    else:
        assert (request.response_format, request.schema_name) == ("json_schema", "Weather")
    assert request.extra == {}


def failing() -> ScriptedRouter:
    return ScriptedRouter(AllCandidatesFailed("all failed", code="rate_limit"))


def test_fallbacks_keep_tools_and_schemas() -> None:
    second = ScriptedRouter(text('{"sky": "grey"}'))
    both: Any = ChatCrux(routes=failing()).with_fallbacks([ChatCrux(routes=second)])
    assert both.invoke("x").text == '{"sky": "grey"}'
    bound = both.bind_tools([look_outside], tool_choice="any")
    assert isinstance(bound, RunnableWithFallbacks)
    assert len(bound.fallbacks) == 1
    bound.invoke("x")
    assert second.asked[-1][0].tools[0].name == "look_outside"
    formed = both.with_structured_output(Weather)
    assert isinstance(formed, RunnableWithFallbacks)
    assert formed.invoke("x") == Weather(sky="grey")
    assert second.asked[-1][0].response_format == "json_schema"


async def test_fallbacks_of_a_stream() -> None:
    second = ChatCrux(routes=ScriptedRouter(text("a", "b")))
    both = ChatCrux(routes=failing()).with_fallbacks([second])
    assert [c.content for c in both.stream("x")] == ["a", "b", ""]
    assert [c.content async for c in both.astream("x")] == ["a", "b", ""]


async def test_a_chain_streams_through() -> None:
    prompt = ChatPromptTemplate.from_messages([("system", "be {how}"), ("human", "{question}")])
    router = ScriptedRouter(text("a", "b"))
    chain = prompt | ChatCrux(routes=router) | StrOutputParser()
    given = {"how": "brief", "question": "why?"}
    assert [p for p in chain.stream(given) if p] == ["a", "b"]
    assert [(m.role, m.text) for m in router.asked[0][0].messages] == [
        ("system", "be brief"), ("user", "why?"),
    ]  # fmt: skip
    events = [e async for e in chain.astream_events(given, version="v2")]
    assert events[-1]["data"]["output"] == "ab"


def test_retry_middle_layers_see_what_is_worth_retrying() -> None:
    router = ScriptedRouter(AllCandidatesFailed("busy", code="rate_limit"), text("ok"))
    llm = ChatCrux(routes=router).with_retry(
        retry_if_exception_type=(AllCandidatesFailed,), wait_exponential_jitter=False
    )
    assert llm.invoke("x").content == "ok"
