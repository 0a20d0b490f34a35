"""What does your program do when a stream breaks off? Asked offline, of a recorded session.

pytest examples
"""

import pytest

from crux_integrations import ChatCrux, StreamInterrupted
from crux_integrations.testing import use_cassette

ROUTES = {
    "version": 1,
    "providers": {
        "lab": {"dialect": "openai_chat", "base_url": "http://127.0.0.1:18091/v1", "api_key": ""}
    },
    "routes": {"default": {"candidates": ["lab:smollm2-135m"]}},
}
QUESTION = "Name the capital of France in one short sentence."
CASSETTE = "cassettes/openai_chat/text_stream.yaml"


def test_the_whole_answer() -> None:
    llm = ChatCrux(routes=ROUTES, max_tokens=128, temperature=0)
    with use_cassette(CASSETTE):
        assert "".join(chunk.text for chunk in llm.stream(QUESTION)).endswith("Paris.")


def test_the_connection_breaks_in_the_middle() -> None:
    llm = ChatCrux(routes=ROUTES, max_tokens=128, temperature=0)
    with use_cassette(CASSETTE, faults="cut@5"), pytest.raises(StreamInterrupted) as caught:
        list(llm.stream(QUESTION))
    assert caught.value.partial.text == "The capital of"
    assert caught.value.attempts[-1]["outcome"] == "interrupted"
