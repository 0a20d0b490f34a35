"""Probing on purpose: what is asked, what it proves, and that plans follow at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from crux_integrations import Router
from crux_integrations.cli.probe import probe as command
from crux_providers.base import ChatRequest, Message, ProviderError, ProviderFactory, Tool
from crux_providers.base.capabilities import FEATURES, load_observed, requested_features
from crux_providers.utils.probe import PROBES, probe
from tests.servers.scripted_server import Exchange, ScriptedServer

USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}


def refusal(param: str) -> bytes:
    error = {
        "message": f"Unsupported parameter: '{param}' is not supported with this model.",
        "type": "invalid_request_error", "param": param, "code": "unsupported_parameter",
    }  # fmt: skip
    return json.dumps({"error": error}).encode()


def text_model(x: Exchange) -> None:
    """A model with JSON and streams, no tools, and no word about anything else."""
    body = json.loads(x.body)
    if "tools" in body:
        x.answer(refusal("tools"), 400)
    elif "logprobs" in body:
        x.answer(b"{}", 503)
    else:
        text = '{"colour": "red"}' if "response_format" in body else "red"
        if body.get("stream"):
            x.begin_stream()
            for delta, finish in (({"content": text}, None), ({}, "stop")):
                choice = {"index": 0, "delta": delta, "finish_reason": finish}
                chunk = json.dumps({"id": "x", "model": "m", "choices": [choice]})
                x.chunk(f"data: {chunk}\n\n".encode())
            x.chunk(b"data: [DONE]\n\n")
            x.end_stream()
        else:
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            whole = {"id": "x", "model": "m", "choices": [choice], "usage": USAGE}
            x.answer(json.dumps(whole).encode())


def test_every_capability_has_a_probe_that_asks_for_it() -> None:
    assert set(PROBES) == FEATURES
    for feature, make in PROBES.items():
        mode = "stream" if feature in ("streaming", "structured_streaming") else "whole"
        assert feature in requested_features(make(), mode)
        assert (make().max_tokens or 0) <= 1200


def test_findings_follow_the_policy(crux_db: Path) -> None:
    with ScriptedServer(text_model) as server:
        provider = ProviderFactory.create("openai", api_key="k", base_url=server.url, api="chat")
        found = {f.feature: f.value for f in probe(provider, "gpt-4o-mini")}
    assert found == {
        "streaming": True, "json_output": True, "json_schema": True, "structured_streaming": True,
        "tools": False, "tool_choice": None, "parallel_tools": None, "vision": True, "pdf": True,
        "audio": True, "reasoning": None, "logprobs": None,
    }  # fmt: skip
    observed = load_observed("openai")["gpt-4o-mini"]
    assert observed["tools"] is False
    assert observed["json_schema"] is True
    assert "logprobs" not in observed, "a 503 proves nothing"
    assert "reasoning" not in observed, "an answer that shows none proves none"


def test_a_plan_follows_from_the_next_call_on(crux_db: Path) -> None:
    with ScriptedServer(text_model) as server:
        gateway = {"dialect": "openai_chat", "base_url": server.url, "api_key": "k"}
        router = Router(
            {
                "version": 1,
                "providers": {"one": gateway, "two": gateway},
                "routes": {"default": {"candidates": ["one:m", "two:m"]}},
            }
        )
        tools = ChatRequest(messages=[Message("user", "hi")], tools=[Tool("add")])
        assert [s.candidate for s in router.explain(tools).steps] == ["one:m", "two:m"]
        with pytest.raises(ProviderError):
            router.generate(tools)
        (first, second) = router.explain(tools).rejected
        assert (first.rule, second.rule) == ("capability", "capability")
        assert "tools: refused (whole)" in first.evidence
        assert first.since is not None
        # Only what needs it, and only in the mode that was refused.
        assert not router.explain(ChatRequest(messages=[Message("user", "hi")])).rejected
        assert not router.explain(tools, stream=True).rejected


@pytest.mark.parametrize(("status", "code"), [(401, "auth"), (404, "not_found")])
def test_a_hopeless_failure_ends_it_at_once(status: int, code: str) -> None:
    body = {"error": {"message": "no", "type": "x", "code": None}}
    with ScriptedServer(lambda x: x.answer(json.dumps(body).encode(), status)) as server:
        provider = ProviderFactory.create("openai", api_key="k", base_url=server.url, api="chat")
        with pytest.raises(ProviderError) as caught:
            list(probe(provider, "gpt-4o-mini"))
        assert str(caught.value.code) == code
        assert server.requests == 1


def test_the_command(crux_db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*words: str) -> Any:
        return CliRunner().invoke(command, words, standalone_mode=False)

    with ScriptedServer(text_model) as server:
        monkeypatch.setenv("DEEPSEEK_API_KEY", "k-of-deepseek")
        monkeypatch.setenv("DEEPSEEK_BASE_URL", server.url)
        asked = ["deepseek:deepseek-chat", "--capability", "tools", "--capability", "json_output"]
        result = run(*asked)
        assert result.return_value == 0
        first, second, cost = [line.split()[:2] for line in result.output.splitlines()]
        assert [first, second] == [["json_output", "yes"], ["tools", "no"]]
        assert cost[0] == "cost:"
        found = json.loads(run(*asked, "--json").output)
        assert [f["value"] for f in found["findings"]] == [True, False]
        monkeypatch.delenv("DEEPSEEK_API_KEY")
        assert run(*asked).return_value == 1
    assert "provider:model" in str(run("gpt-5").exception)
    assert "no capability: magic" in str(run("openai:x", "--capability", "magic").exception)
