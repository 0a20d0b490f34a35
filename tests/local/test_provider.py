"""The model inside this process, for real: what it answers, enforces, reports and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from crux_integrations.router.router import Router
from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import ChatRequest, ContentPart, Message, Tool, ToolCall
from crux_providers.local.client import LocalProvider
from crux_providers.transports.llamacpp import LlamaCppTransport
from tests.local.calls import chat

pytestmark = pytest.mark.integration

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "rank": {"type": "integer"}},
    "required": ["city", "rank"],
    "additionalProperties": False,
}


def test_a_real_answer(provider: LocalProvider, gguf: Path) -> None:
    answer = provider.chat(chat())
    assert "Paris" in answer.text
    assert answer.finish_reason in ("stop", "length")
    assert answer.meta.model_name == gguf.stem
    usage = answer.meta.extra["token_usage"]
    assert usage["prompt"] > 20
    assert 1 < usage["completion"] <= 8
    assert usage["total"] == usage["prompt"] + usage["completion"]
    assert str(gguf) not in repr(answer)


async def test_whole_streamed_sync_and_async_say_the_same(provider: LocalProvider) -> None:
    whole = provider.chat(chat()).text
    assert (await provider.achat(chat())).text == whole
    events = list(provider.stream_chat(chat()))
    assert "".join(event.delta or "" for event in events) == whole
    assert len([event for event in events if event.delta]) > 3
    usage = next(event.usage for event in events if event.usage)
    assert (usage.prompt or 0) + (usage.completion or 0) == usage.total
    events = [event async for event in provider.astream_chat(chat())]
    assert "".join(event.delta or "" for event in events) == whole
    assert events[-1].finish
    assert events[-1].error is None


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_schema_is_enforced(provider: LocalProvider, streamed: bool) -> None:
    request = chat(
        "Write a poem.", response_format="json_schema", json_schema=SCHEMA, max_tokens=40
    )
    if streamed:
        text = "".join(event.delta or "" for event in provider.stream_chat(request))
    else:
        answer = provider.chat(request)
        text = answer.text
        assert answer.structured == json.loads(text)
    jsonschema.validate(json.loads(text), SCHEMA)


def test_a_json_object_begins_as_one(provider: LocalProvider) -> None:
    answer = provider.chat(chat(response_format="json_object", max_tokens=16))
    assert answer.text.lstrip().startswith("{")


def test_stop_seed_and_logprobs(provider: LocalProvider) -> None:
    assert "Paris" not in provider.chat(chat(stop=["Paris"], max_tokens=20)).text
    wild = [
        provider.chat(chat("Tell a story.", temperature=1.5, seed=seed, max_tokens=12)).text
        for seed in (1, 2, 1)
    ]
    assert wild[0] == wild[2] != wild[1]
    answer = provider.chat(chat(logprobs=True, top_logprobs=2, max_tokens=3))
    logprobs = answer.meta.extra["logprobs"]
    assert len(logprobs) == 3
    assert all(len(entry["top_logprobs"]) == 2 for entry in logprobs)


def test_a_prompt_that_is_too_long(provider: LocalProvider) -> None:
    with pytest.raises(ProviderError, match="8192") as caught:
        provider.chat(chat("word " * 9000))
    assert caught.value.code is ErrorCode.CONTEXT_LENGTH
    (event,) = provider.stream_chat(chat("word " * 9000))
    assert str(event.error).startswith("context_length")


def test_a_history_with_tools_of_other_candidates_is_read(provider: LocalProvider) -> None:
    history = [
        Message("system", "Be short."),
        Message("user", "Weather in Paris?"),
        Message("assistant", tool_calls=[ToolCall("call_1", "weather", {"city": "Paris"})]),
        Message("tool", "18 degrees", tool_call_id="call_1", name="weather"),
    ]
    assert provider.chat(ChatRequest(messages=history, max_tokens=4)).text


REFUSED = {
    "tools": chat(tools=[Tool("f", "does f", {"type": "object"})]),
    "vision": ChatRequest(
        messages=[Message("user", [ContentPart("image", data="AAAA", media_type="image/png")])]
    ),
    "pdf": ChatRequest(
        messages=[Message("user", [ContentPart("pdf", data="AA", media_type="application/pdf")])]
    ),
    "audio": ChatRequest(
        messages=[Message("user", [ContentPart("audio", data="AAAA", media_type="audio/wav")])]
    ),
}


@pytest.mark.parametrize("feature", REFUSED)
def test_what_it_cannot_do_is_refused_before_anything_runs(feature: str) -> None:
    def locate(name: str) -> Path:
        raise AssertionError("a model was looked for")

    provider = LocalProvider(transport=LlamaCppTransport(locate))
    with pytest.raises(ProviderError) as caught:
        provider.chat(REFUSED[feature])
    assert (caught.value.code, caught.value.feature) == (ErrorCode.UNSUPPORTED, feature)
    last = list(provider.stream_chat(REFUSED[feature]))[-1]
    assert str(last.error).startswith("unsupported")


def test_tools_that_may_not_be_called_are_left_out(provider: LocalProvider) -> None:
    request = chat(tools=[Tool("f", "does f", {"type": "object"})], tool_choice="none")
    assert "Paris" in provider.chat(request).text


def test_bad_requests_are_bad_requests(provider: LocalProvider) -> None:
    schema = {"type": "nonsense"}
    for request in (
        chat(response_format="json_schema", json_schema=schema),
        chat(extra={"n": 2}),
        chat(extra={"temperature": "hot"}),
    ):
        with pytest.raises(ProviderError) as caught:
            provider.chat(request)
        assert caught.value.code is ErrorCode.BAD_REQUEST
        assert caught.value.message


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF and nothing more")
    provider = LocalProvider(transport=LlamaCppTransport(lambda name: bad))
    for _ in range(2):  # and again: the failure is not kept
        with pytest.raises(ProviderError, match=r"bad\.gguf could not be loaded") as caught:
            provider.chat(chat())
        assert caught.value.code is ErrorCode.UNSUPPORTED
        assert str(tmp_path) not in caught.value.message


def test_a_file_of_the_users_own_through_a_route(
    gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its path, and in place of the small model by the variable."""
    routes = {
        "version": 1,
        "routes": {
            "default": {"candidates": [{"model": f"local:{gguf}"}]},
            "small": {"candidates": ["local:smollm2-135m"]},
        },
    }
    with Router(routes) as router:
        request = chat(model=None)
        assert "Paris" in router.generate(request).text
        plan = router.explain(request, "small")
        assert [r.rule for r in plan.rejected] == ["key"]
        assert "crux local pull smollm2-135m" in plan.as_text()
    monkeypatch.setenv("CRUX_LOCAL_GGUF", str(gguf))
    with Router(routes) as router:
        answer = router.generate(chat(model=None), "small")
        assert "Paris" in answer.text
        assert answer.meta.extra["crux"]["attempts"][0]["model_name"] == gguf.stem


@pytest.mark.slow
def test_a_process_with_a_call_in_flight_ends_quietly(gguf: Path) -> None:
    """Threads inside native code when the interpreter goes: no abort, no hang, no word."""
    code = """
import sys, threading
from tests.local.calls import endless
from tests.transports.conformance import scope
from crux_providers.transports.llamacpp import LlamaCppTransport
from pathlib import Path
transport = LlamaCppTransport(lambda name: Path(sys.argv[1]))
streams = [transport.stream(endless(), scope(total=60)) for _ in range(3)]
next(streams[0])
threading.Thread(target=lambda: next(streams[1]), daemon=True).start()
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, str(gguf)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_its_port_answers_nobody(model: LlamaCppTransport) -> None:
    """llama.cpp's server opens one and cannot be told not to."""
    import urllib.error
    import urllib.request

    from crux_providers.transports import llamacpp_engine
    from tests.local.calls import wire
    from tests.transports.conformance import scope

    model.send(wire(False), scope(total=60))
    (address,) = {engine.server.listening_address for engine in llamacpp_engine._alive}
    assert address.startswith("http://127.0.0.1:")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{address}/v1/models")
