"""Failures: one except for the library's tree, one for LangChain's, nothing lost between them."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from langchain_core import exceptions as lc
from langchain_core.messages import AIMessage

import crux_integrations
from crux_integrations.langchain import errors
from crux_integrations.langchain.chat_model import ChatCrux
from crux_integrations.langchain.errors import langchain_error
from crux_providers.base.cancellation import CancelledError
from crux_providers.base.errors import (
    AllCandidatesFailed,
    ErrorCode,
    ProviderError,
    StreamInterrupted,
)
from crux_providers.base.events import ChatStreamEvent, fold
from tests.langchain.scripted_router import ScriptedRouter, text

KINDS = {
    "auth": lc.ModelAuthenticationError,
    "permission": lc.ModelPermissionDeniedError,
    "bad_request": lc.ModelInvalidRequestError,
    "unsupported": lc.ModelInvalidRequestError,
    "content_filter": lc.ModelInvalidRequestError,
    "context_length": lc.ContextOverflowError,
    "not_found": lc.ModelNotFoundError,
    "quota": lc.ModelRateLimitError,
    "rate_limit": lc.ModelRateLimitError,
    "overloaded": lc.ModelAPIError,
    "server_error": lc.ModelAPIError,
    "malformed": lc.ModelAPIError,
    "transient": lc.ModelConnectionError,
    "timeout": lc.ModelTimeoutError,
    "conflict": lc.ModelError,
    "cancelled": lc.ModelError,
    "internal": lc.ModelError,
}


def failure(code: str) -> ProviderError:
    return ProviderError(
        code, "it failed", provider="lab", model="m", status=429, request_id="q", retry_after=2.0,
        feature="tools", provider_code="x",
    )  # fmt: skip


def broken_off(code: str = "transient") -> StreamInterrupted:
    events = [ChatStreamEvent("half an ans")]
    return StreamInterrupted(failure(code), partial=fold(events), attempts=[{"model": "m"}])


def all_failed(code: str) -> AllCandidatesFailed:
    return AllCandidatesFailed(
        "all failed:\n  lab:m: rate_limit (HTTP 429): slow down",
        code=code, cause=failure(code), attempts=[{"model": "m"}], rejected=[{"rule": "key"}],
        retry_after=2.0,
    )  # fmt: skip


def test_every_code_has_its_place() -> None:
    assert set(KINDS) == {str(code) for code in ErrorCode}


@pytest.mark.parametrize("code", list(ErrorCode))
@pytest.mark.parametrize("make", [failure, broken_off, all_failed])
def test_an_error_is_both_trees_at_once(code: str, make: Any) -> None:
    error = make(code)
    made = langchain_error(error)
    assert isinstance(made, type(error))
    assert isinstance(made, KINDS[code])
    assert str(made) == str(error)
    assert made.is_retryable == made.retryable == error.retryable
    left = {k: v for k, v in made.__dict__.items() if k not in ("is_retryable", "partial")}
    assert left == {k: v for k, v in error.__dict__.items() if k != "partial"}
    assert langchain_error(made) is made
    copy = pickle.loads(pickle.dumps(made))
    assert type(copy) is type(made)
    assert str(copy) == str(made)
    assert copy.code is made.code


def test_cancelling_is_no_reason_to_retry() -> None:
    made = langchain_error(CancelledError("user left"))
    assert (made.code, made.is_retryable) == (ErrorCode.CANCELLED, False)


def test_what_came_before_the_break_is_an_ai_message() -> None:
    made = langchain_error(broken_off())
    assert isinstance(made, errors.ChatCruxInterrupted)
    assert isinstance(made.partial, AIMessage)
    assert made.partial.content == "half an ans"
    assert made.attempts == [{"model": "m"}]
    assert pickle.loads(pickle.dumps(made)).partial == made.partial


def test_the_exported_names_catch_routers_and_models_errors_alike() -> None:
    assert crux_integrations.AllCandidatesFailed is AllCandidatesFailed
    assert crux_integrations.StreamInterrupted is StreamInterrupted


@pytest.mark.parametrize("code", ["auth", "rate_limit"])
async def test_a_model_raises_them_from_every_verb(code: str) -> None:
    llm = ChatCrux(routes=ScriptedRouter(all_failed(code)))
    for call in (lambda: llm.invoke("x"), lambda: list(llm.stream("x")), lambda: llm.batch(["x"])):
        with pytest.raises(AllCandidatesFailed, match="slow down") as caught:
            call()
        assert isinstance(caught.value, KINDS[code])
        assert caught.value.attempts == [{"model": "m"}]
        assert isinstance(caught.value.__cause__, AllCandidatesFailed)
    with pytest.raises(KINDS[code]):
        await llm.ainvoke("x")
    with pytest.raises(AllCandidatesFailed):
        [chunk async for chunk in llm.astream("x")]


async def test_a_stream_that_breaks_gives_what_it_had_and_then_fails() -> None:
    events = [ChatStreamEvent("half "), ChatStreamEvent("an ans"), broken_off()]
    llm = ChatCrux(routes=ScriptedRouter(events))
    seen: list[Any] = []
    with pytest.raises(StreamInterrupted) as caught:
        seen.extend(chunk.content for chunk in llm.stream("x"))
    assert seen == ["half ", "an ans"]
    assert caught.value.partial.content == "half an ans"
    assert isinstance(caught.value, lc.ModelConnectionError)
    with pytest.raises(StreamInterrupted):
        [chunk async for chunk in llm.astream("x")]
    with pytest.raises(StreamInterrupted):
        llm.invoke("x", stream=True)


def test_a_stream_without_its_end_is_no_success() -> None:
    class Cut(ScriptedRouter):
        def _events(self, answer: Any) -> Any:
            yield from text("half")

    with pytest.raises(ProviderError, match="without its last event"):
        list(ChatCrux(routes=Cut()).stream("x"))


def test_python_interrupts_pass_through() -> None:
    class Interrupted(ScriptedRouter):
        def generate(self, *args: Any, **kwargs: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ChatCrux(routes=Interrupted()).invoke("x")
