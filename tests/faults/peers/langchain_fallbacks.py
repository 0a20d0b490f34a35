"""LangChain's ``with_fallbacks`` over two ChatOpenAI."""

from __future__ import annotations

from typing import Any

from langchain_openai import ChatOpenAI

from tests.faults.peers.protocol import Job, serve


def model(job: Job) -> Any:
    def chat(url: str) -> ChatOpenAI:
        return ChatOpenAI(
            model="m-1",
            base_url=url,
            api_key="k",
            max_retries=0,
            timeout=min(job.first_token, job.idle),
            stream_chunk_timeout=job.idle,
        )

    return chat(job.one).with_fallbacks([chat(job.two)])


def whole(job: Job) -> str:
    return str(model(job).invoke("hi").text)


async def awhole(job: Job) -> str:
    return str((await model(job).ainvoke("hi")).text)


def stream(job: Job) -> None:
    for chunk in model(job).stream("hi"):
        job.saw(str(chunk.text))
        if job.enough:
            return


async def astream(job: Job) -> None:
    chunks = model(job).astream("hi")
    async for chunk in chunks:
        job.saw(str(chunk.text))
        if job.enough:
            await chunks.aclose()
            return


if __name__ == "__main__":
    serve(
        ("langchain-core", "langchain-openai", "openai"),
        whole=whole, awhole=awhole, stream=stream, astream=astream,
    )  # fmt: skip
