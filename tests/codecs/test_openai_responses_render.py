"""OpenAI Responses: streams as a server writes them, read by OpenAI's SDK and by the codec."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import openai
import pytest
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from crux_providers.base.errors import ErrorCode, ProviderError, WireFailure
from crux_providers.base.events import ChatStreamEvent, ToolCallDelta, fold
from crux_providers.base.models import ContentPart, Usage
from crux_providers.base.wire import WireEvent
from crux_providers.codecs.openai_responses import (
    Decoder,
    RenderState,
    classify,
    decode,
    render_error,
    render_event,
    render_stream,
)
from tests.codecs.openai_responses_wire import (
    REFUSAL,
    call,
    feed,
    message,
    reasoning,
    response,
    streamed,
)

END = ChatStreamEvent(finish=True)
BODY = response(
    reasoning("first", "second", encrypted_content="gAAAA"),
    message("Hello, world", REFUSAL, phase="commentary"),
    {"id": "ws_1", "type": "web_search_call", "status": "completed",
     "action": {"type": "search", "query": "q"}},
    call("f", '{"a": "one"}'),
    {"id": "ctc_1", "type": "custom_tool_call", "call_id": "c", "name": "sql", "input": "SELECT"},
)  # fmt: skip

_typed = TypeAdapter(ResponseStreamEvent)


def rendered(events: Iterable[ChatStreamEvent], **state: Any) -> list[dict[str, Any]]:
    """The data of the wire events of a whole stream."""
    return [e.data for e in render_stream(iter([*events, END]), RenderState(**state))]


def accumulated(events: list[dict[str, Any]]) -> Any:
    """What the SDK's strict accumulator makes of the events."""
    state: Any = ResponseStreamState(input_tools=openai.omit, text_format=openai.omit)
    for event in events:
        state.handle_event(_typed.validate_python(event))
    return state._completed_response


def redecoded(events: list[dict[str, Any]]) -> list[ChatStreamEvent]:
    """The events read by our own decoder."""
    decoder = Decoder()
    found = [e for one in events for e in decoder.feed(WireEvent(one, one["type"]))]
    return [*found, *decoder.finish()]


def test_the_sdk_reads_our_stream_of_an_answer() -> None:
    events = rendered(feed(streamed(BODY)))
    assert [e["sequence_number"] for e in events] == list(range(len(events)))
    final = accumulated(events)
    assert final.output_text == "Hello, world"
    assert [item.id for item in final.output] == [item["id"] for item in BODY["output"]]
    assert fold(redecoded(events)) == decode(BODY)


def test_the_kinds_of_events_are_those_of_the_provider() -> None:
    ours = [e["type"] for e in rendered(feed(streamed(BODY)))]
    theirs = [e["type"] for e in streamed(BODY)]
    assert ours == theirs


def test_every_wire_event_has_the_name_of_its_type() -> None:
    state = RenderState()
    for event in [*feed(streamed(BODY)), END]:
        for found in render_event(event, state):
            assert found.name == found.data["type"]


FOREIGN = [
    ChatStreamEvent(meta={"request_id": "req_1", "degraded": ["seed: none"]}),
    ChatStreamEvent(meta={"response_id": "msg_x", "model_name": "claude"}),
    ChatStreamEvent(reasoning="h", block=0),
    ChatStreamEvent(reasoning="m", block=0),
    ChatStreamEvent(
        part=ContentPart("reasoning", "", signature="s", dialect="anthropic_messages"), block=0
    ),
    ChatStreamEvent(delta="He", block=1),
    ChatStreamEvent(delta="llo", block=1),
    ChatStreamEvent(part=ContentPart("raw", data={"type": "x"}, dialect="anthropic_messages")),
    ChatStreamEvent(delta=" you", block=3),
    ChatStreamEvent(tool_call=ToolCallDelta(0, "toolu_1", "f", '{"a"')),
    ChatStreamEvent(tool_call=ToolCallDelta(0, arguments=": 1}")),
    ChatStreamEvent(tool_call=ToolCallDelta(1, "toolu_2", "g")),
    ChatStreamEvent(delta="so"),
    ChatStreamEvent(usage=Usage(5, 3)),
    ChatStreamEvent(finish_reason="tool_calls"),
]


def test_the_sdk_reads_our_stream_of_another_dialects_answer() -> None:
    events = rendered(FOREIGN, created=1770000000)
    final = accumulated(events)
    assert (final.id, final.model, final.created_at) == ("msg_x", "claude", 1770000000)
    assert final.output_text == "Hello youso"
    assert [i.type for i in final.output] == [
        "reasoning", "message", "function_call", "function_call", "message",
    ]  # fmt: skip
    assert final.output[0].summary[0].text == "hm"
    assert [i.arguments for i in final.output if i.type == "function_call"] == ['{"a": 1}', "{}"]
    assert (final.usage.input_tokens, final.usage.output_tokens, final.usage.total_tokens) == (
        5, 3, 8,
    )  # fmt: skip
    again = fold(redecoded(events))
    assert [c.id for c in again.tool_calls] == ["toolu_1", "toolu_2"]
    assert again.finish_reason == "tool_calls"


def test_a_stream_begins_when_there_is_something_to_say() -> None:
    state = RenderState(model="m")
    assert render_event(ChatStreamEvent(meta={"request_id": "r"}), state) == []
    begun = render_event(ChatStreamEvent(delta="a"), state)
    assert [e.name for e in begun][:2] == ["response.created", "response.in_progress"]
    assert begun[0].data["response"]["model"] == "m"


@pytest.mark.parametrize(
    ("finish", "end", "reason"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        (None, "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
        ("other", "incomplete", None),
    ],
)
def test_the_proper_ends(finish: str | None, end: str, reason: str | None) -> None:
    last = rendered([ChatStreamEvent(delta="a", finish_reason=finish)])[-1]
    assert last["type"] == f"response.{end}"
    assert last["response"]["status"] == end
    assert (last["response"]["incomplete_details"] or {}).get("reason") == reason


@pytest.mark.parametrize("code", list(ErrorCode))
def test_an_error_ends_a_stream_and_keeps_its_code(code: ErrorCode) -> None:
    state = RenderState(response_id="r")
    events = render_event(ChatStreamEvent(delta="half"), state)
    events += render_event(ChatStreamEvent(finish=True, error=f"{code}:it broke"), state)
    assert events[-1].name == "response.failed"
    assert events[-1].data["response"]["output"][0]["content"][0]["text"] == "half"
    with pytest.raises(ProviderError) as caught:
        redecoded([e.data for e in events])
    assert (caught.value.code, caught.value.message) == (code, "it broke")


@pytest.mark.parametrize("code", list(ErrorCode))
def test_a_failed_call_keeps_its_code(code: ErrorCode) -> None:
    status, body = render_error(ProviderError(code, "it broke"))
    again = classify(WireFailure("status", status=status, body=body))
    assert (again.code, again.message) == (code, "it broke")
