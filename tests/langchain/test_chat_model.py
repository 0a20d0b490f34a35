"""ChatCrux as LangChain uses it: arguments, calls, copies, caches, callbacks."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.load import dumpd, dumps
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import ConfigurableField

from crux_integrations import ChatCrux, Router
from crux_providers.base.errors import ProviderError
from crux_providers.base.events import ChatStreamEvent
from crux_providers.base.models import ChatRequest, Tool, Usage
from tests.langchain.scripted_router import CRUX, ScriptedRouter, calls, text

SECRET = "sk-" + "live-0123456789abcdef0123"
LAB = {
    "version": 1,
    "providers": {
        "lab": {
            "dialect": "openai_chat",
            "base_url": "http://127.0.0.1:9/v1",
            "api_key": "${LAB_KEY:-none}",
            "headers": {"x-title": "tests", "x-team-token": "${TEAM:-none}"},
        }
    },
    "routes": {"default": {"candidates": ["lab:m-1"]}, "fast": {"candidates": ["lab:m-2"]}},
}


def asked(router: ScriptedRouter) -> ChatRequest:
    return router.asked[-1][0]


# -- what a call becomes --------------------------------------------------------------------------


def test_a_message_says_what_happened() -> None:
    message = ChatCrux(routes=ScriptedRouter(text("hel", "lo"))).invoke("hi")
    assert message.content == "hello"
    assert message.usage_metadata == {
        "input_tokens": 3,
        "output_tokens": 5,
        "total_tokens": 8,
        "input_token_details": {"cache_read": 1},
        "output_token_details": {"reasoning": 2},
    }
    assert message.response_metadata == {
        "model_name": "m-1",
        "finish_reason": "stop",
        "crux": CRUX,
        "id": "r-1",
    }
    assert "model_provider" not in message.response_metadata  # the content has no native shape


def test_no_usage_is_none_not_zero() -> None:
    router = ScriptedRouter([ChatStreamEvent("a")])
    assert ChatCrux(routes=router).invoke("x").usage_metadata is None
    known = ScriptedRouter([ChatStreamEvent("a"), ChatStreamEvent(usage=Usage(None, 4))])
    assert ChatCrux(routes=known).invoke("x").usage_metadata == {
        "input_tokens": 0,
        "output_tokens": 4,
        "total_tokens": 4,
    }


ARGUMENTS: dict[str, Any] = {
    "temperature": 0.0,
    "max_tokens": 7,
    "top_p": 0.5,
    "seed": 0,
    "reasoning_effort": "low",
    "reasoning_budget": 10,
    "logprobs": False,
    "top_logprobs": 2,
    "parallel_tool_calls": False,
}


@pytest.mark.parametrize(("name", "value"), ARGUMENTS.items())
def test_arguments_reach_the_request_and_a_calls_own_beat_them(name: str, value: Any) -> None:
    router = ScriptedRouter()
    llm = ChatCrux(routes=router, **{name: value})
    llm.invoke("x")
    assert getattr(asked(router), name) == value
    other = "high" if name == "reasoning_effort" else True if isinstance(value, bool) else 1
    llm.invoke("x", **{name: other})
    assert getattr(asked(router), name) == other
    llm.invoke("x", **{name: None})
    assert getattr(asked(router), name) == value
    llm.bind(**{name: other}).invoke("x")
    assert getattr(asked(router), name) == other


def test_nothing_is_said_that_nobody_said() -> None:
    router = ScriptedRouter()
    ChatCrux(routes=router).invoke("x")
    request, route, options = router.asked[0]
    assert request == ChatRequest(messages=request.messages)
    assert (route, options) == ("default", None)


@pytest.mark.parametrize("given", ["END", ["END"]])
def test_stop(given: Any) -> None:
    router = ScriptedRouter()
    llm = ChatCrux(routes=router, stop=given)
    llm.invoke("x")
    assert asked(router).stop == ("END",)
    llm.invoke("x", stop=["a", "b"])
    assert asked(router).stop == ("a", "b")
    ChatCrux(routes=router, stop=[]).invoke("x")
    assert asked(router).stop is None


def test_other_words_go_into_the_body() -> None:
    router = ScriptedRouter()
    llm = ChatCrux(routes=router, model_kwargs={"user": "ann", "top_p": 0.1, "k": 1})
    llm.invoke("x", k=2, presence_penalty=0.5)
    assert asked(router).extra == {"user": "ann", "k": 2, "presence_penalty": 0.5}
    assert asked(router).top_p == 0.1
    llm.invoke("x", max_completion_tokens=5)
    assert asked(router).max_tokens == 5


def test_options_of_a_call() -> None:
    router = ScriptedRouter()
    llm = ChatCrux(routes=router, timeout=9, max_retries=0)
    llm.invoke("x")
    options = router.asked[-1][2]
    assert (options.timeout, options.max_retries, options.model) == (9, 0, None)
    llm.invoke("x", timeout=1, max_retries=2, model="other:m-9", route="fast")
    _, route, options = router.asked[-1]
    assert (options.timeout, options.max_retries, options.model) == (1, 2, "other:m-9")
    assert route == "fast"
    assert asked(router).extra == {}


def test_a_model_beside_routes_takes_the_routes_place() -> None:
    router = ScriptedRouter()
    llm = ChatCrux(routes=router, model="lab:m-7")
    llm.invoke("x")
    assert router.asked[-1][2].model == "lab:m-7"
    for given, wanted in (
        ("m-8", "lab:m-8"),  # a bare name is of the model's own provider
        ("other:m-8", "other:m-8"),
        ("llama:3b", "lab:llama:3b"),  # `llama` is no provider
    ):
        llm.invoke("x", model=given)
        assert router.asked[-1][2].model == wanted
    with pytest.raises(ValueError, match="write provider:model"):
        ChatCrux(routes=router).invoke("x", model="m-8")


def test_tools_and_formats_of_a_call() -> None:
    router = ScriptedRouter(calls(("c1", "add", {"a": 1})))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    llm = ChatCrux(routes=router).bind_tools(
        [{"name": "add", "parameters": schema}], tool_choice="any", parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    )  # fmt: skip
    message = llm.invoke("x")
    request = asked(router)
    assert request.tools == (Tool("add", None, schema),)
    assert (request.tool_choice, request.parallel_tool_calls) == ("required", False)
    assert (request.response_format, request.schema_name) == ("json_schema", "n")
    assert message.tool_calls == [
        {"name": "add", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
    ]
    llm.invoke("x", tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert (asked(router).tool_choice, asked(router).parallel_tool_calls) == ("auto", False)
    with pytest.raises(ValueError, match="none of the tools"):
        ChatCrux(routes=router).bind_tools([{"name": "add"}], tool_choice="sub")


# -- configuration --------------------------------------------------------------------------------


def test_forms_of_the_constructor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps(LAB))
    assert ChatCrux(routes=LAB).router.config.routes.keys() == {"default", "fast"}
    assert ChatCrux(route="fast", routes=str(path)).router.config.routes.keys() == {
        "default", "fast",
    }  # fmt: skip
    assert ChatCrux(routes=path).router.config.providers.keys() == {"lab"}
    router = Router(LAB)
    assert ChatCrux(routes=router).router is router
    one = ChatCrux(model="anthropic:claude-haiku-4-5")
    (candidate,) = one.router.config.routes["default"].candidates
    assert (candidate.provider, candidate.model) == ("anthropic", "claude-haiku-4-5")
    monkeypatch.setenv("CRUX_ROUTES", str(path))
    assert ChatCrux().router.config.providers.keys() == {"lab"}
    monkeypatch.delenv("CRUX_ROUTES")
    monkeypatch.chdir(tmp_path)
    path.rename(tmp_path / "routes.yaml")
    assert ChatCrux().router.config.providers.keys() == {"lab"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": "haiku"}, "provider:model"),
        ({"temprature": 0}, "temprature"),
        ({"base_url": "http://x"}, "without routes"),
        ({"routes": LAB, "client": object()}, "without routes"),
        ({"routes": 7}, "a path, a mapping or a Router"),
        ({"routes": {"version": 1, "routs": {}}}, "routs"),
        ({"model": "opneai:gpt-5"}, "opneai"),
    ],
)
def test_wrong_arguments_are_refused_at_once(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ChatCrux(**given)


def test_a_key_that_belongs_to_no_provider_is_not_used() -> None:
    with pytest.warns(UserWarning, match="api_key was not used"):
        llm = ChatCrux(routes=LAB, api_key=SECRET)
    assert SECRET not in str(llm.router.config)


def test_a_missing_routes_file_is_said() -> None:
    with pytest.raises(OSError, match=r"nowhere\.yaml"):
        ChatCrux(routes="nowhere.yaml")


def test_a_key_of_ones_own_is_hidden() -> None:
    llm = ChatCrux(model="openai:gpt-5-mini", api_key=SECRET, base_url="http://127.0.0.1:9/v1")
    assert llm.api_key is not None
    for shown in (repr(llm), str(llm), dumps(llm), str(llm._identifying_params), str(llm.shared)):
        assert SECRET not in shown


def test_pickles_as_configuration() -> None:
    llm = ChatCrux(model="openai:gpt-5-mini", temperature=0.3, api_key=SECRET, stop=["x"])
    data = pickle.dumps(llm)
    assert SECRET.encode() not in data
    again = pickle.loads(data)
    assert (again.model, again.temperature, again.stop) == ("openai:gpt-5-mini", 0.3, ["x"])
    assert again.api_key is None
    assert again._identifying_params == llm._identifying_params
    assert again.router is not llm.router


def test_routes_pickle_with_references_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_KEY", SECRET)
    for routes in (LAB, Router(LAB)):
        llm = ChatCrux(routes=routes, route="fast")
        data = pickle.dumps(llm)
        assert SECRET.encode() not in data
        assert b"${LAB_KEY:-none}" in data
        again = pickle.loads(data)
        assert again.route == "fast"
        assert again.router.digest("fast") == llm.router.digest("fast")
        assert SECRET not in dumps(llm)


def test_a_key_written_into_a_mapping_stays_behind() -> None:
    lab = {**LAB["providers"]["lab"], "api_key": SECRET}  # type: ignore[index,call-overload]
    lab["headers"] = {"authorization": SECRET, "x-title": "tests"}
    llm = ChatCrux(routes={**LAB, "providers": {"lab": lab}})
    assert SECRET.encode() not in pickle.dumps(llm)
    assert SECRET not in dumps(llm)
    assert SECRET not in repr(llm)
    kept = pickle.loads(pickle.dumps(llm)).routes["providers"]["lab"]
    assert "api_key" not in kept
    assert kept["headers"] == {"x-title": "tests"}


def test_what_langchain_writes_down_says_what_it_is() -> None:
    llm = ChatCrux(model="openai:gpt-5-mini", max_tokens=9, api_key=SECRET)
    written = dumpd(llm)
    assert written["id"] == ["crux_integrations", "langchain", "chat_model", "ChatCrux"]
    assert written["repr"] == "ChatCrux(max_tokens=9, model='openai:gpt-5-mini')"
    assert "ScriptedRouter" in repr(ChatCrux(routes=ScriptedRouter()))


@pytest.mark.parametrize("make", [dict, Router], ids=["mapping", "router"])
def test_copies_share_the_router(make: Any) -> None:
    llm = ChatCrux(routes=make(LAB))
    assert llm.model_copy(update={"temperature": 1}).router is llm.router
    assert copy.copy(llm).router is llm.router
    assert copy.deepcopy(llm).router is llm.router


def test_configurable_fields_share_the_router_and_still_stream() -> None:
    router = ScriptedRouter(text("a", "b"))
    llm = ChatCrux(routes=router).configurable_fields(
        temperature=ConfigurableField(id="t"), route=ConfigurableField(id="route")
    )
    seen = list(llm.with_config(configurable={"t": 0.7, "route": "fast"}).stream("x"))
    assert [c.content for c in seen] == ["a", "b", ""]
    request, route, _ = router.asked[-1]
    assert (request.temperature, route) == (0.7, "fast")


def test_configurable_models_get_a_router_and_a_profile_of_their_own() -> None:
    first = ChatCrux(model="anthropic:claude-haiku-4-5")
    made: Any = first.configurable_fields(model=ConfigurableField(id="m"))
    other, _ = made._prepare({"configurable": {"m": "openai:gpt-5-mini"}})
    assert other.router is not first.router
    assert other.profile != first.profile
    assert other.profile == ChatCrux(model="openai:gpt-5-mini").profile
    mine: ModelProfile = {"max_input_tokens": 5}
    assert ChatCrux(routes=LAB, profile=mine).profile == mine


def test_the_profile_has_langchains_words_alone(recwarn: pytest.WarningsRecorder) -> None:
    llm = ChatCrux(routes=ScriptedRouter())
    assert llm.profile == {"tool_calling": True, "max_input_tokens": 1000, "name": "default"}
    assert not [w for w in recwarn if "profile" in str(w.message)]


def test_identifying_params_change_with_the_route_and_hold_no_secret() -> None:
    router = ScriptedRouter()
    llm = ChatCrux(routes=router, temperature=0.0)
    before = llm._identifying_params
    assert before == {"route": "default", "digest": "d1-default", "temperature": 0.0}
    router.written = "d2"
    assert llm._identifying_params != before


def test_tracing_params() -> None:
    llm = ChatCrux(routes=ScriptedRouter(), temperature=0, max_tokens=9, stop="END")
    assert llm._get_ls_params() == {
        "ls_provider": "crux",
        "ls_model_name": "default",
        "ls_model_type": "chat",
        "ls_temperature": 0,
        "ls_max_tokens": 9,
        "ls_stop": ["END"],
    }
    asked_for = llm._get_ls_params(model="openai:gpt-5")
    assert (asked_for["ls_provider"], asked_for["ls_model_name"]) == ("openai", "gpt-5")
    one = ChatCrux(model="openai:gpt-5-mini")._get_ls_params()
    assert (one["ls_provider"], one["ls_model_name"]) == ("openai", "gpt-5-mini")


# -- LangChain's machinery ------------------------------------------------------------------------


def test_caching_follows_the_route() -> None:
    router = ScriptedRouter()
    llm = ChatCrux(routes=router, cache=InMemoryCache())
    llm.invoke("x")
    llm.invoke("x")
    assert len(router.asked) == 1
    llm.invoke("x", temperature=1)
    assert len(router.asked) == 2
    router.written = "d2"  # the routes file changed
    llm.invoke("x")
    assert len(router.asked) == 3


async def test_the_rate_limiter_is_asked_once_a_call() -> None:
    class Counting(BaseRateLimiter):
        count = 0

        def acquire(self, *, blocking: bool = True) -> bool:
            self.count += 1
            return True

        async def aacquire(self, *, blocking: bool = True) -> bool:
            return self.acquire()

    limiter = Counting()
    llm = ChatCrux(routes=ScriptedRouter(), rate_limiter=limiter)
    llm.invoke("x")
    list(llm.stream("x"))
    await llm.ainvoke("x")
    [c async for c in llm.astream("x")]
    assert limiter.count == 4


def test_disable_streaming() -> None:
    router = ScriptedRouter(text("a", "b"))
    assert len(list(ChatCrux(routes=router, disable_streaming=True).stream("x"))) == 1
    by_tools = ChatCrux(routes=router, disable_streaming="tool_calling")
    assert len(list(by_tools.stream("x"))) == 3
    assert len(list(by_tools.bind_tools([{"name": "f"}]).stream("x"))) == 1
    assert len(list(ChatCrux(routes=router, streaming=False).stream("x"))) == 1


def test_streaming_true_streams_what_is_invoked() -> None:
    router = ScriptedRouter(text("a", "b"))
    message = ChatCrux(routes=router, streaming=True).invoke("x")
    assert router.open_streams == 1
    assert isinstance(message, AIMessage)
    assert message.content == "ab"
    assert message.response_metadata["crux"] == CRUX


async def test_batches() -> None:
    llm = ChatCrux(routes=ScriptedRouter(text("a")))
    assert [m.content for m in llm.batch(["x", "y", "z"])] == ["a"] * 3
    assert [m.content for m in await llm.abatch(["x", "y"])] == ["a"] * 2


class Seen(BaseCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[Any] = []
        self.ends: list[Any] = []
        self.errors: list[BaseException] = []

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.tokens.append(token)

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.ends.append(response.generations[0][0])

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self.errors.append(error)


async def test_callbacks() -> None:
    for call in ("stream", "astream"):
        seen, usage = Seen(), UsageMetadataCallbackHandler()
        llm = ChatCrux(routes=ScriptedRouter(text("a", "b")))
        config: Any = {"callbacks": [seen, usage]}
        if call == "stream":
            list(llm.stream("x", config))
        else:
            [c async for c in llm.astream("x", config)]
        assert seen.tokens == ["a", "b", ""]
        assert seen.ends[0].message.content == "ab"
        assert usage.usage_metadata["m-1"]["total_tokens"] == 8
    seen = Seen()
    failing = ChatCrux(routes=ScriptedRouter(ProviderError("auth", "no")))
    with pytest.raises(ProviderError):
        failing.invoke("x", {"callbacks": [seen]})
    assert len(seen.errors) == 1


async def test_events() -> None:
    llm = ChatCrux(routes=ScriptedRouter(text("a", "b")))
    events = [e async for e in llm.astream_events("x", version="v2")]
    streamed = [e["data"]["chunk"].content for e in events if e["event"] == "on_chat_model_stream"]
    assert streamed == ["a", "b", ""]
    assert events[-1]["event"] == "on_chat_model_end"
    stream = llm.stream_events("x", version="v3")
    assert "".join(stream.text) == "ab"
    assert stream.output.response_metadata["crux"] == CRUX
    astream = await llm.astream_events("x", version="v3")
    assert (await astream.output).text == "ab"


async def test_leaving_a_stream_early_closes_it() -> None:
    router = ScriptedRouter(text("a", "b", "c"))
    llm = ChatCrux(routes=router)
    for _ in llm.stream("x"):
        break
    assert (router.open_streams, router.closed_streams) == (1, 1)
    async for _ in llm.astream("x"):
        break
    for _ in range(5):  # asyncio finishes an abandoned generator in the loop's next turns
        await asyncio.sleep(0)
    assert (router.open_streams, router.closed_streams) == (2, 2)


async def test_a_sync_call_inside_a_running_loop() -> None:
    llm = ChatCrux(routes=ScriptedRouter(text("a")))
    assert llm.invoke("x").content == "a"
    assert [c.content for c in llm.stream("x")] == ["a", ""]


def test_three_loops_in_a_row() -> None:
    llm = ChatCrux(routes=ScriptedRouter(text("a")))
    assert [asyncio.run(llm.ainvoke("x")).content for _ in range(3)] == ["a"] * 3


def test_the_callers_messages_stay_as_they_were() -> None:
    block = {"type": "image", "source_type": "base64", "data": "aGk=", "mime_type": "image/png"}
    message = HumanMessage([{"type": "text", "text": "x"}, block])
    before = message.model_copy(deep=True)
    ChatCrux(routes=ScriptedRouter()).invoke([message])
    assert message == before


def test_a_ready_client_serves_its_model() -> None:
    from openai import OpenAI

    client = OpenAI(api_key="k", base_url="http://127.0.0.1:9/v1", max_retries=0)
    llm = ChatCrux(model="openai:gpt-5-mini", client=client, max_retries=0)
    assert llm.router._pool.ready("openai")
    with pytest.raises(TypeError, match="ready client"):
        pickle.dumps(llm)
