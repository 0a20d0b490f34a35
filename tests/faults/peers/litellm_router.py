"""LiteLLM's Router: a fallback from one deployment to the other."""

from __future__ import annotations

import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LITELLM_TELEMETRY"] = "False"

from litellm import Router  # it reads the environment as it is imported

from tests.faults.peers.protocol import Job, serve

MESSAGES = [{"role": "user", "content": "hi"}]


def router(job: Job) -> Any:
    def deployment(name: str, url: str) -> dict[str, Any]:
        params = {"model": "openai/m-1", "api_base": url, "api_key": "k"}
        return {"model_name": name, "litellm_params": params}

    return Router(
        model_list=[deployment("one", job.one), deployment("two", job.two)],
        fallbacks=[{"one": ["two"]}],
        num_retries=0,
        timeout=job.first_token,
        stream_timeout=min(job.first_token, job.idle),
        disable_cooldowns=True,
    )


def whole(job: Job) -> str:
    answer = router(job).completion(model="one", messages=MESSAGES)
    return str(answer.choices[0].message.content or "")


async def awhole(job: Job) -> str:
    answer = await router(job).acompletion(model="one", messages=MESSAGES)
    return str(answer.choices[0].message.content or "")


def stream(job: Job) -> None:
    for chunk in router(job).completion(model="one", messages=MESSAGES, stream=True):
        job.saw(chunk.choices[0].delta.content if chunk.choices else None)
        if job.enough:
            return


async def astream(job: Job) -> None:
    chunks = await router(job).acompletion(model="one", messages=MESSAGES, stream=True)
    async for chunk in chunks:
        job.saw(chunk.choices[0].delta.content if chunk.choices else None)
        if job.enough:
            if hasattr(chunks, "aclose"):
                await chunks.aclose()
            return


if __name__ == "__main__":
    serve(("litellm", "openai"), whole=whole, awhole=awhole, stream=stream, astream=astream)
