"""Every provider's answers carry the counts that its wire states, whole and streamed."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from crux_providers.base import ChatRequest, ChatResponse, Message, ProviderError, ProviderFactory
from crux_providers.base.provider import BaseProvider
from tests import recordings
from tests.recordings import Interaction
from tests.streaming.adapters import finalize_records

ROOT = Path(__file__).resolve().parents[2]
CASSETTES = ROOT / "cassettes"
NOTHING = {"prompt": None, "completion": None, "total": None}

CHAT = ("openai_chat/text.yaml", "openai_chat/text_stream.yaml")
OWN: dict[str, tuple[str, str]] = {
    "anthropic": ("anthropic_messages/text.yaml", "anthropic_messages/text_stream.yaml"),
    "deepseek": CHAT,
    "gemini": ("gemini_generate/text.yaml", "gemini_generate/text_stream.yaml"),
    "litellm": CHAT,
    "local": CHAT,
    "ollama": ("emulated/ollama_chat/text.yaml", "emulated/ollama_chat/text_stream.yaml"),
    "openai": CHAT,
    "openrouter": CHAT,
    "xai": CHAT,
}
"""provider → a whole answer and a streamed one of its dialect, among the project's cassettes."""

RECORDED = {
    "anthropic": ("messages",),
    "deepseek": ("chat",),
    "gemini": ("generateContent", "streamGenerateContent"),
    "ollama": ("ollama_chat",),
    "openai": ("chat", "responses"),
    "openrouter": ("chat",),
    "xai": ("chat", "responses"),
}


# -- what the wire states, read without the codecs ------------------------------------------------


def payloads(interaction: Interaction) -> Iterator[Any]:
    """The JSON values of the body, in order: one, or those of each event."""
    if not interaction.stream:
        value = json.loads(interaction.body)
        yield from value if isinstance(value, list) else [value]  # Gemini without alt=sse
        return
    for line in interaction.body.decode("utf-8").split("\n"):
        text = line.removeprefix("data:").strip()
        if text.startswith("{"):
            yield (value := json.loads(text))
            if value.get("type") == "message_stop":
                return  # what a file holds after it is another answer


def stated(interaction: Interaction) -> dict[str, int | None]:
    """prompt, completion and total as the provider's documentation counts them."""
    found: dict[str, Any] = {}
    for value in payloads(interaction):
        for holder in (value, value.get("response"), value.get("message")):
            usage = holder.get("usage") if isinstance(holder, dict) else None
            if isinstance(usage, dict):
                found |= {k: v for k, v in usage.items() if v is not None}
        found |= value.get("usageMetadata") or {}
        if value.get("done"):
            found |= {k: value[k] for k in ("prompt_eval_count", "eval_count") if k in value}
    rule = next((rule for key, rule in RULES if key in found), None)
    return dict(NOTHING) if rule is None else rule(found)


def plus(*counts: int | None) -> int | None:
    return sum(c or 0 for c in counts) if any(c is not None for c in counts) else None


def chat(u: dict[str, Any]) -> dict[str, int | None]:
    return {
        "prompt": u.get("prompt_tokens"),
        "completion": u.get("completion_tokens"),
        "total": u.get("total_tokens"),
    }


def messages(u: dict[str, Any]) -> dict[str, int | None]:
    written, read = u.get("cache_creation_input_tokens"), u.get("cache_read_input_tokens")
    prompt = plus(u["input_tokens"], written, read)
    return {
        "prompt": prompt,
        "completion": u["output_tokens"],
        "total": u.get("total_tokens", plus(prompt, u["output_tokens"])),
    }


def generate(u: dict[str, Any]) -> dict[str, int | None]:
    return {
        "prompt": plus(u.get("promptTokenCount"), u.get("toolUsePromptTokenCount")),
        "completion": plus(u.get("candidatesTokenCount"), u.get("thoughtsTokenCount")),
        "total": u.get("totalTokenCount"),
    }


def ollama(u: dict[str, Any]) -> dict[str, int | None]:
    prompt, completion = u.get("prompt_eval_count"), u.get("eval_count")
    return {"prompt": prompt, "completion": completion, "total": plus(prompt, completion)}


Rule = Callable[[dict[str, Any]], dict[str, int | None]]
RULES: tuple[tuple[str, Rule], ...] = (
    ("prompt_tokens", chat),
    ("input_tokens", messages),  # of the Responses endpoint, too: it has no cache counts beside it
    ("promptTokenCount", generate),
    ("prompt_eval_count", ollama),
    ("eval_count", ollama),
)


# -- a provider over a recorded exchange -----------------------------------------------------------


def playing(name: str, interaction: Interaction) -> BaseProvider:
    """The provider whose next calls are answered with the recorded bytes."""
    kept = ("content-type", "x-request-id", "request-id")
    headers = {k: v for k, v in interaction.headers.items() if k in kept}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(interaction.status, headers=headers, content=interaction.body)

    more = {"api": interaction.endpoint} if interaction.endpoint in ("chat", "responses") else {}
    return ProviderFactory.create(
        name, api_key="k", base_url="http://127.0.0.1:9/v1",
        transport=httpx.MockTransport(answer), **more,
    )  # fmt: skip


REQUEST = ChatRequest(model="m", messages=[Message("user", "x")])


def whole(provider: BaseProvider, *, use_async: bool) -> ChatResponse:
    return asyncio.run(provider.achat(REQUEST)) if use_async else provider.chat(REQUEST)


def streamed(provider: BaseProvider, *, use_async: bool) -> tuple[list[Any], Any]:
    if not use_async:
        controller = provider.stream_chat(REQUEST)
        return list(controller), controller

    async def drain() -> tuple[list[Any], Any]:
        controller = provider.astream_chat(REQUEST)
        return [event async for event in controller], controller

    return asyncio.run(drain())


def assert_counts(response: ChatResponse, expected: dict[str, int | None]) -> None:
    usage = response.meta.extra["token_usage"]
    assert usage == expected
    assert set(usage) == {"prompt", "completion", "total"}
    assert response.metadata is response.meta
    assert response.metadata.tokens is usage
    details = response.meta.extra.get("token_usage_details", {})
    assert all(isinstance(n, int) and not isinstance(n, bool) for n in details.values())


BOTH = pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])
EACH = pytest.mark.parametrize("name", sorted(OWN))


COUNTS = re.compile(
    rb'"(promptTokenCount|candidatesTokenCount|totalTokenCount|prompt_eval_count|eval_count)"'
    rb"(: ?)0\b"
)


def cassette(file: str) -> Interaction:
    """The first exchange of a cassette; an emulator's zeros become counts worth reading."""
    interaction = recordings.read_session(CASSETTES, file)[0]
    numbers = itertools.count(7)
    body = COUNTS.sub(lambda m: b'"%b"%b%d' % (m[1], m[2], next(numbers)), interaction.body)
    return dataclasses.replace(interaction, body=body)


@EACH
@BOTH
@pytest.mark.contract(29, 30, 114, 115, 116, 117, 120, "S56")
def test_a_whole_answer_carries_its_counts(name: str, use_async: bool) -> None:
    interaction = cassette(OWN[name][0])
    expected = stated(interaction)
    assert expected["prompt"]
    assert_counts(whole(playing(name, interaction), use_async=use_async), expected)


@EACH
@BOTH
@pytest.mark.contract(31, 54, 78, 101, 118, "S58")
def test_a_stream_carries_its_counts_to_the_finalize_record(
    name: str, use_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="crux_providers")
    interaction = cassette(OWN[name][1])
    expected = stated(interaction)
    assert expected["prompt"]
    events, controller = streamed(playing(name, interaction), use_async=use_async)
    assert controller.error is None
    said = [event.usage for event in events if event.usage is not None]
    assert said[-1].tokens == expected
    (record,) = finalize_records(caplog)
    assert record["tokens"] == expected
    assert record.get("response_id") == controller.ctx.response_id
    assert record["provider"] == name


@EACH
@pytest.mark.contract(114, 115, 116)
def test_counts_nobody_gave_are_null_and_there(name: str) -> None:
    interaction = cassette(OWN[name][0])
    value = json.loads(interaction.body)
    for key in ("usage", "usageMetadata", "prompt_eval_count", "eval_count"):
        value.pop(key, None)
    silent = dataclasses.replace(interaction, body=json.dumps(value).encode())
    assert_counts(whole(playing(name, silent), use_async=False), NOTHING)


@pytest.mark.contract(117, 118, "S41", "S55", "S56")
@pytest.mark.parametrize("name", sorted(RECORDED))
def test_every_recorded_answer_of_a_provider(name: str) -> None:
    recordings.require()
    seen: Counter[str] = Counter()
    for endpoint in RECORDED[name]:
        for interaction in recordings.interactions(name, endpoint):
            if interaction.status >= 300:
                continue
            provider = playing(name, interaction)
            try:
                if interaction.stream:
                    events, controller = streamed(provider, use_async=False)
                    if controller.error is not None:
                        continue  # an error in mid-stream; the recordings' own tests know why
                    usage = next((e.usage for e in reversed(events) if e.usage), None)
                    found = usage.tokens if usage is not None else NOTHING
                else:
                    response = whole(provider, use_async=False)
                    found = response.meta.extra["token_usage"]
                    assert_counts(response, found)
            except ProviderError:
                continue  # likewise
            expected = stated(interaction)
            # Where the wire gives no total it is the sum.
            expected["total"] = (
                plus(expected["prompt"], expected["completion"])
                if expected["total"] is None
                and None not in (expected["prompt"], expected["completion"])
                else expected["total"]
            )
            assert found == expected, interaction.name
            seen["stream" if interaction.stream else "whole"] += expected["prompt"] is not None
    assert seen["whole"] + seen["stream"] > 0
