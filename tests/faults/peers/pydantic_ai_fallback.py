"""pydantic-ai's FallbackModel over two OpenAIChatModel, asked directly."""

from __future__ import annotations

from typing import Any

from openai import AsyncOpenAI
from pydantic_ai import direct
from pydantic_ai.messages import (
    ModelRequest,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
)
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.faults.peers.protocol import Job, serve

MESSAGES = [ModelRequest.user_text_prompt("hi")]


def model(job: Job) -> Any:
    def chat(url: str) -> Any:
        limit = min(job.first_token, job.idle)
        client = AsyncOpenAI(base_url=url, api_key="k", max_retries=0, timeout=limit)
        return OpenAIChatModel("m-1", provider=OpenAIProvider(openai_client=client))

    return FallbackModel(chat(job.one), chat(job.two))


def text_of(event: Any) -> str | None:
    match event:
        case PartStartEvent(part=TextPart(content=text)):
            return str(text)
        case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
            return str(text)
        case _:
            return None


def whole(job: Job) -> str:
    return direct.model_request_sync(model(job), MESSAGES).text or ""


async def awhole(job: Job) -> str:
    return (await direct.model_request(model(job), MESSAGES)).text or ""


def stream(job: Job) -> None:
    with direct.model_request_stream_sync(model(job), MESSAGES) as events:
        for event in events:
            job.saw(text_of(event))
            if job.enough:
                return


async def astream(job: Job) -> None:
    async with direct.model_request_stream(model(job), MESSAGES) as events:
        async for event in events:
            job.saw(text_of(event))
            if job.enough:
                return


if __name__ == "__main__":
    serve(
        ("pydantic-ai-slim", "openai"),
        whole=whole, awhole=awhole, stream=stream, astream=astream,
    )  # fmt: skip
