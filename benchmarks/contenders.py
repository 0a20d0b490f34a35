"""What is compared: each contender makes the same call in its own way."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .mock_server import whole

PROMPT = "Say twenty words."


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to call: whole, awaited, and streamed (``stream(n)`` returns the chunks it saw)."""

    name: str
    invoke: Callable[[], object]
    ainvoke: Callable[[], Awaitable[object]]
    stream: Callable[[int], int]


def body(stream: bool, tokens: int = 20) -> dict[str, Any]:
    """The request every contender ends up sending."""
    return {
        "model": "bench-1",
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": tokens,
        "stream": stream,
    }


def raw_httpx(base: str) -> Contender:
    """httpx.Client and json, nothing more."""
    import httpx

    url = f"{base}/v1/chat/completions"
    client = httpx.Client()
    aclients: list[httpx.AsyncClient] = []

    def invoke() -> object:
        return client.post(url, json=body(False)).json()["choices"][0]["message"]["content"]

    async def ainvoke() -> object:
        if not aclients:
            aclients.append(httpx.AsyncClient(limits=httpx.Limits(max_connections=64)))
        response = await aclients[0].post(url, json=body(False))
        return response.json()["choices"][0]["message"]["content"]

    def stream(chunks: int) -> int:
        seen = 0
        with client.stream("POST", url, json=body(True, chunks)) as response:
            for line in response.iter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    choices = json.loads(line[6:])["choices"]
                    seen += bool(choices and choices[0]["delta"].get("content"))
        return seen

    return Contender("raw httpx", invoke, ainvoke, stream)


def _langchain(name: str, make: Callable[[int], Any]) -> Contender:
    model = make(20)

    def stream(chunks: int) -> int:
        return sum(bool(chunk.content) for chunk in make(chunks).stream(PROMPT))

    return Contender(name, lambda: model.invoke(PROMPT), lambda: model.ainvoke(PROMPT), stream)


def chat_openai(base: str) -> Contender | None:
    """LangChain's own ChatOpenAI, where it is installed."""
    try:
        from langchain_openai import ChatOpenAI
    except ImportError:
        return None
    return _langchain(
        "ChatOpenAI",
        lambda tokens: ChatOpenAI(
            model="bench-1",
            base_url=f"{base}/v1",
            api_key="x",
            max_tokens=tokens,
            stream_usage=True,
            max_retries=0,
        ),
    )


def chat_crux(base: str, *, fail_first: bool = False) -> Contender | None:
    """ChatCrux over a gateway; ``fail_first`` puts one that answers 429 before it."""
    from crux_integrations import ChatCrux, Router

    def gateway(path: str) -> dict[str, str]:
        return {"dialect": "openai_chat", "base_url": f"{base}{path}", "api_key": "x"}

    candidates = ["bench:bench-1"]
    if fail_first:
        candidates.insert(0, "failing:bench-1")
    router = Router(
        {
            "version": 1,
            "providers": {"bench": gateway("/v1"), "failing": gateway("/fail/v1")},
            "routes": {
                "default": {
                    "candidates": candidates,
                    "retry": {"attempts": 1},
                    "on": {"rate_limit": "next"},
                    "breaker": {"failures": 1000000, "window": "60s", "open": "1s"},
                }
            },
        }
    )
    return _langchain("ChatCrux", lambda tokens: ChatCrux(routes=router, max_tokens=tokens))


class _FromMemory:
    """A transport that gives the mock server's answer without a network."""

    owned = True

    def __init__(self) -> None:
        from crux_providers.base.wire import WireResponse

        self._answer = WireResponse(200, {"content-type": "application/json"}, whole())

    def send(self, request: Any, scope: Any) -> Any:
        """The answer."""
        return self._answer

    asend = stream = astream = send

    def close(self) -> None:
        """Nothing to close."""


def router_alone(candidates: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """A call through a router over so many candidates, and the same call of the provider, both
    answered from memory."""
    from crux_integrations import Router
    from crux_providers.base import ChatRequest, Message
    from crux_providers.openai.client import OpenAIProvider

    provider = OpenAIProvider(api_key="x", api="chat", transport=_FromMemory())
    names = [f"openai:bench-{number}" for number in range(candidates)]
    source = {"version": 1, "routes": {"default": {"candidates": names, "prefer": ["cost"]}}}
    router = Router(source, providers={"openai": provider})
    routed = ChatRequest(messages=[Message("user", PROMPT)], max_tokens=20)
    named = ChatRequest(model="bench-0", messages=[Message("user", PROMPT)], max_tokens=20)
    return lambda: router.generate(routed), lambda: provider.chat(named)


def nothing() -> Contender:
    """A BaseChatModel that answers at once: LangChain's own share."""
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGeneration, ChatResult

    class Nothing(BaseChatModel):
        """Answers with the same message."""

        @property
        def _llm_type(self) -> str:
            return "nothing"

        def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=AIMessage("word"))])

    model = Nothing()
    return Contender(
        "nothing", lambda: model.invoke(PROMPT), lambda: model.ainvoke(PROMPT), lambda n: n
    )
