"""What calls leave in the ledger, sync and async, whole and streamed; and what they never leave."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_integrations.router.call import RouteCall
from crux_integrations.router.router import CallOptions, Router
from crux_providers.base import ChatRequest, Message, ProviderError, StreamInterrupted
from crux_providers.base.errors import WireFailure
from crux_providers.base.models import Tool
from crux_providers.base.quotations import ECHO, QUOTED, without_echo
from crux_providers.base.wire import WireEvent
from crux_providers.deepseek.client import DeepSeekProvider
from crux_providers.openai.client import OpenAIProvider
from crux_providers.persistence import ledger
from crux_providers.persistence.rows import Attempt, Call
from crux_providers.persistence.store import Store, get_store
from crux_providers.transports.scripted import ScriptedTransport

PROMPT = "My account number is 8812-4471 and the vault opens at dawn"
ANSWER = "The heron crosses the moonlit estuary without a sound"
KEY = "".join(["s", "k-proj-", "abcdefghijklmnopq", "rstuvwxyz0123456789"])
REQUEST = ChatRequest(messages=[Message("system", "Be brief."), Message("user", PROMPT)])
ROUTES: dict[str, Any] = {
    "version": 1,
    "models": {"openai:m1": {"price": {"input": 1, "output": 2, "cached": 0.1}, "context": 9999}},
    "routes": {
        "default": {
            "candidates": ["deepseek:m0", "openai:m1", "gemini:m2"],
            "retry": {"attempts": 1},
        }
    },
}
USAGE = {
    "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 40},
}  # fmt: skip


def whole(text: str | None = ANSWER, **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": text, **message}
    return {
        "id": "resp-1", "object": "chat.completion", "created": 1, "model": "m1-2026",
        "choices": [{"index": 0, "message": said, "finish_reason": "stop"}], "usage": USAGE,
    }  # fmt: skip


def streamed(text: str = ANSWER, *, cut: bool = False) -> list[Any]:
    head = {"id": "resp-1", "object": "chat.completion.chunk", "created": 1, "model": "m1-2026"}

    def chunk(delta: Any, finish: str | None = None, **more: Any) -> WireEvent:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return WireEvent(json.dumps({**head, "choices": choices, **more}))

    events = [chunk({"role": "assistant"}), *(chunk({"content": word}) for word in (text[:9],))]
    if cut:
        return [*events, WireFailure("cut", f"connection reset while sending {text[:30]}")]
    return [
        *events,
        chunk({"content": text[9:]}),
        chunk({}, "stop"),
        WireEvent(json.dumps({**head, "choices": [], "usage": USAGE})),
        WireEvent("[DONE]"),
    ]


def refusing(code: int = 429) -> WireFailure:
    said = f"Rate limit reached for key {KEY} by the request '{PROMPT}' " + "and so on " * 60
    body = json.dumps({"error": {"message": said, "type": "rate_limit", "code": None}}).encode()
    return WireFailure(
        "status", "refused", status=code, headers={"x-request-id": "req-9"}, body=body
    )


def router(first: Sequence[Any], second: Sequence[Any], **routes: Any) -> Router:
    scripts = {
        "deepseek": DeepSeekProvider(api_key=KEY, transport=ScriptedTransport(first)),
        "openai": OpenAIProvider(api_key=KEY, api="chat", transport=ScriptedTransport(second)),
    }
    return Router({**ROUTES, **routes}, providers=scripts, seed=1)


def generate(made: Router, request: ChatRequest = REQUEST) -> Any:
    return made.generate(request)


def agenerate(made: Router, request: ChatRequest = REQUEST) -> Any:
    return asyncio.run(made.agenerate(request))


def stream(made: Router, request: ChatRequest = REQUEST) -> Any:
    return list(made.stream(request))


def astream(made: Router, request: ChatRequest = REQUEST) -> Any:
    async def collect() -> list[Any]:
        return [event async for event in made.astream(request)]

    return asyncio.run(collect())


WAYS = pytest.mark.parametrize("way", [generate, agenerate, stream, astream])
Way = Callable[..., Any]


def good(way: Way) -> Any:
    return streamed() if way in (stream, astream) else whole()


@pytest.fixture
def store(crux_db: Path) -> Iterator[Store]:
    made = get_store()
    yield made
    made.close()


def rows(store: Store) -> tuple[list[Call], list[Attempt]]:
    calls = store.read(lambda database: list(ledger.calls(database)), [])
    return calls, store.read(ledger.list_attempts, [])[::-1]


def everything(store: Store) -> bytes:
    """Every byte of the database, its journal included."""
    store.flush()
    place = store.location.path
    return b"".join(p.read_bytes() for p in sorted(place.parent.glob(place.name + "*")))


@WAYS
def test_every_attempt_of_a_call_stands_in_the_ledger(store: Store, way: Way) -> None:
    before = time.time()
    way(router([refusing()], [good(way)]))
    (call,), (failed, answered) = rows(store)
    streams = way in (stream, astream)

    assert call.route == "default"
    assert before <= call.started_at <= time.time()
    assert (call.stream, call.outcome) == (streams, "success")
    assert call.needs["input_tokens"] == call.input_tokens
    assert call.input_chars == len("Be brief.") + len(PROMPT)
    assert call.candidates == ["deepseek:m0", "openai:m1", "gemini:m2"]
    assert call.extra == {"rejected": {"gemini:m2": "key"}}
    assert call.policy == router([], []).digest("default")
    assert call.duration_ms is not None
    assert call.duration_ms >= (answered.duration_ms or 0.0)

    assert (failed.call_id, failed.seq, failed.route) == (call.call_id, 1, "default")
    assert (failed.provider, failed.model, failed.stream) == ("deepseek", "m0", streams)
    assert (failed.outcome, failed.error_code, failed.status) == ("error", "rate_limit", 429)
    assert (failed.accepted, failed.cost_usd, failed.prompt_tokens) == (False, None, None)
    assert failed.request_id == "req-9"
    assert failed.reason is not None
    assert failed.reason.startswith("Rate limit reached for key [key]")
    assert len(failed.reason) <= 300

    assert (answered.seq, answered.provider, answered.model) == (2, "openai", "m1")
    assert (answered.outcome, answered.accepted, answered.error_code) == ("success", True, None)
    assert (answered.prompt_tokens, answered.completion_tokens) == (100, 20)
    assert (answered.cached_tokens, answered.total_tokens) == (40, 120)
    assert answered.cost_usd == pytest.approx((60 * 1 + 40 * 0.1 + 20 * 2) / 1e6)
    assert answered.list_usd == pytest.approx((100 * 1 + 20 * 2) / 1e6)
    assert (answered.response_id, answered.model_name) == ("resp-1", "m1-2026")
    assert answered.reason
    assert answered.duration_ms is not None
    assert answered.duration_ms > 0
    assert (answered.ttft_ms is not None) == streams
    assert answered.started_at >= failed.started_at


@WAYS
def test_nothing_that_was_said_is_kept(store: Store, way: Way) -> None:
    way(router([refusing()], [good(way)]))
    refused = {"prompt": PROMPT, "refusal": f"I will not: {ANSWER}"}
    if way in (generate, agenerate):
        way(router([whole(None, refusal=refused["refusal"])], [good(way)]))
    kept = everything(store)
    assert b"Rate limit reached" in kept
    for word in (PROMPT, ANSWER, KEY, "8812", "4471", "vault", "dawn", "heron", "estuary", "brief"):
        assert word.encode() not in kept, word


@WAYS
def test_a_stream_that_breaks_keeps_none_of_what_came(store: Store, way: Way) -> None:
    if way not in (stream, astream):
        with pytest.raises(ProviderError):
            way(router([refusing()], [refusing(500)]))
    else:
        with pytest.raises(StreamInterrupted):
            way(router([refusing()], [streamed(cut=True)]))
    (call,), (_, broken) = rows(store)
    streams = way in (stream, astream)
    assert call.outcome == broken.outcome == ("interrupted" if streams else "error")
    assert broken.accepted is False
    assert b"heron" not in everything(store)
    assert b"vault" not in everything(store)


@WAYS
def test_chat_logs_keep_prompt_and_answer_where_they_are_on(store: Store, way: Way) -> None:
    way(router([refusing()], [good(way)], chat_logs=True))
    call = rows(store)[0][0]
    ((call_id, model, request, response),) = store.read(
        lambda database: database.execute(
            "SELECT call_id, model, request, response FROM chat_logs"
        ),
        [],
    )
    assert (call_id, model) == (call.call_id, "m1")
    assert json.loads(request)[1] == {"role": "user", "text": PROMPT}
    assert json.loads(response) == ANSWER


def test_a_broken_stream_is_logged_as_far_as_it_came(store: Store) -> None:
    with pytest.raises(StreamInterrupted):
        stream(router([refusing()], [streamed(cut=True)], chat_logs=True))
    ((response,),) = store.read(lambda db: db.execute("SELECT response FROM chat_logs"), [])
    assert json.loads(response) == ANSWER[:9]


def test_a_discarded_answer_is_kept_with_its_cost_and_its_fault(store: Store) -> None:
    generate(router([whole("")], [whole()]))
    (call,), (empty, answered) = rows(store)
    assert (empty.outcome, empty.accepted, empty.reason) == ("empty", False, "the answer is empty")
    assert (empty.error_code, empty.completion_tokens) == (None, 20)
    assert (answered.accepted, call.outcome) == (True, "success")


def test_a_call_that_nobody_could_take_stands_with_its_reasons(store: Store) -> None:
    lone = Router({**ROUTES, "routes": {"default": {"candidates": ["gemini:m2"]}}})
    with pytest.raises(ProviderError):
        lone.generate(REQUEST)
    (call,), attempts = rows(store)
    assert attempts == []
    assert (call.outcome, call.extra) == ("rejected", {"rejected": {"gemini:m2": "key"}})


def test_a_call_that_names_its_model_says_so(store: Store) -> None:
    made = router([], [whole()])
    made.generate(REQUEST, options=CallOptions(model="openai:m1"))
    (call,), _ = rows(store)
    assert (call.candidates, call.extra) == (["openai:m1"], {"model": "openai:m1"})


def test_a_stream_left_early_is_kept_and_speaks_against_nobody(store: Store) -> None:
    made = router([streamed()], [])
    assert next(event.delta for event in made.stream(REQUEST) if event.delta)
    (call,), (left,) = rows(store)
    assert (left.outcome, left.error_code, left.accepted) == ("cancelled", "cancelled", False)
    assert call.outcome == "cancelled"
    (stats,) = store.read(lambda db: ledger.candidate_stats(db, 0.0), [])
    assert (stats.attempts, stats.succeeded, stats.failed) == (1, 0, 0)


def test_only_text_has_characters_to_measure_by(store: Store) -> None:
    from crux_providers.base.models import ContentPart

    picture = ContentPart("image", url="https://example.test/a.png")
    mixed = ChatRequest(messages=[Message("user", [ContentPart("text", PROMPT), picture])])
    generate(router([whole()], []), mixed)
    assert rows(store)[0][0].input_chars is None


def test_a_provider_alone_leaves_observations_and_no_attempts(store: Store) -> None:
    tool = Tool("look", "Looks", {"type": "object", "properties": {}})
    said = f"tools is not supported with this model, so '{PROMPT}' was not read"
    error = {"type": "invalid_request_error", "code": "unsupported_parameter", "param": "tools"}
    body = json.dumps({"error": {"message": said, **error}}).encode()
    refused = WireFailure("status", "refused", status=400, body=body)
    provider = OpenAIProvider(api_key=KEY, api="chat", transport=ScriptedTransport([refused]))
    with pytest.raises(ProviderError):
        provider.chat(ChatRequest(model="m1", messages=REQUEST.messages, tools=[tool]))
    calls, attempts = rows(store)
    assert (calls, attempts) == ([], [])
    (evidence,) = store.read(ledger.list_capabilities, [])
    assert (evidence.feature, evidence.value) == ("tools", False)
    assert evidence.last_reason is not None
    assert evidence.last_reason.startswith("tools is not supported with this model")
    assert b"vault" not in everything(store)


# -- quotations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "texts", "left"),
    [
        ("bad value 'open the pod bay doors'", ["please open the pod bay doors, Hal"],
         "bad value '[…]'"),
        ("bad value 'open the\tpod bay doors'", ["open  the pod\nbay doors"],
         "bad value '[…]'"),
        ("model m1 not found", ["something else entirely"], "model m1 not found"),
        ("input 'PIN 1234' refused: PIN 1234", ["PIN 1234"], "input '[…]' refused: […]"),
        ("ok", ["ok"], "ok"),
        ("", ["x" * 50], ""),
        ("x" * 40, ["x" * 50], "[…]"),
    ],
)  # fmt: skip
def test_quotations_are_taken_out(words: str, texts: list[str], left: str) -> None:
    assert without_echo(words, texts) == left


LETTERS = st.text("ab \n", max_size=60)


@given(st.lists(LETTERS, max_size=3), LETTERS, st.data())
def test_no_run_of_a_text_is_left_in_words(texts: list[str], words: str, data: Any) -> None:
    for text in texts:  # most quote something
        start = data.draw(st.integers(0, len(text)))
        words += text[start : start + data.draw(st.integers(0, 30))]
    lines = [" ".join(text.split()) for text in texts]
    left = without_echo(words, texts)
    for piece in left.split(QUOTED):
        for start in range(len(piece) - ECHO + 1):
            assert not any(piece[start : start + ECHO] in line for line in lines)
    line = " ".join(words.split())
    quoted = any(
        line[n : n + ECHO] in text or (4 <= len(text) < ECHO and text in line)
        for text in lines
        for n in range(max(1, len(line) - ECHO + 1))
    )
    assert quoted or left == line  # nothing else is touched


def test_a_long_prompt_costs_an_error_little() -> None:
    dice = random.Random(1)
    names = ["".join(dice.choices("abcdefghijklmno", k=dice.randint(2, 9))) for _ in range(3000)]
    prompt = " ".join(dice.choices(names, k=30_000))
    words = " ".join(dice.choices(names, k=45))
    took = []
    for _ in range(3):
        began = time.process_time()
        without_echo(words, [prompt, "a" * 200_000])
        took.append(time.process_time() - began)
    assert min(took) < 0.1


def test_a_call_is_written_down_in_microseconds(store: Store) -> None:
    """The caller's share: rows are made and handed over, nothing is written."""
    made = router(lambda request: whole(), [])  # type: ignore[arg-type]  # answers every call
    kept: list[RouteCall] = []
    real = made._runtime.save
    made._runtime.save = lambda call, config: kept.append(call)  # type: ignore[method-assign]
    generate(made)
    store.flush()
    took = []
    for _ in range(300):
        began = time.perf_counter_ns()
        real(kept[0], made.config)
        took.append(time.perf_counter_ns() - began)
    assert sorted(took)[150] < 200_000
