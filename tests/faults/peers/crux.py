"""ChatCrux over two gateways of the same dialect."""

from __future__ import annotations

from crux_integrations import ChatCrux
from tests.faults.peers.protocol import Job, serve


def model(job: Job) -> ChatCrux:
    def gateway(url: str) -> dict[str, str]:
        base = url if job.dialect.startswith("openai") else url.removesuffix("/v1")
        return {"dialect": job.dialect, "base_url": base, "api_key": "k"}

    return ChatCrux(
        routes={
            "version": 1,
            "providers": {"one": gateway(job.one), "two": gateway(job.two)},
            "routes": {
                "default": {
                    "candidates": ["one:m-1", "two:m-1"],
                    "retry": {"attempts": 1},
                    "timeout": {"first_token": job.first_token},
                    "stream": {"idle": job.idle},
                }
            },
        }
    )


def whole(job: Job) -> str:
    return str(model(job).invoke("hi").text)


async def awhole(job: Job) -> str:
    return str((await model(job).ainvoke("hi")).text)


def stream(job: Job) -> None:
    for chunk in model(job).stream("hi"):
        job.saw(chunk.text)
        if job.enough:
            return


async def astream(job: Job) -> None:
    chunks = model(job).astream("hi")
    async for chunk in chunks:
        job.saw(chunk.text)
        if job.enough:
            await chunks.aclose()
            return


if __name__ == "__main__":
    serve(
        ("crux-integrations", "langchain-core"),
        whole=whole, awhole=awhole, stream=stream, astream=astream,
    )  # fmt: skip
