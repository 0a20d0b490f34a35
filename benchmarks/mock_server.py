"""A small, fast OpenAI-chat server for benchmarks: one canned answer, whole or streamed.

``python -m benchmarks.mock_server`` prints its port and serves until its stdin closes. The number
of chunks of a stream is the request's ``max_tokens`` (default 20); ``/fail/v1`` answers 429.
"""

from __future__ import annotations

import asyncio
import json
import sys

WORD = "word "
USAGE = {"prompt_tokens": 12, "completion_tokens": 20, "total_tokens": 32}
HEAD = {"id": "chatcmpl-1", "created": 1, "model": "bench-1"}


def whole() -> bytes:
    """The whole answer's body."""
    message = {"role": "assistant", "content": WORD * 20, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return json.dumps(
        {**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE}
    ).encode()


def stream(chunks: int) -> bytes:
    """The streamed answer's body."""

    def event(delta: dict[str, str], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        body = {**HEAD, "object": "chat.completion.chunk", "choices": [choice], "usage": None}
        return f"data: {json.dumps(body)}\n\n"

    usage = {**HEAD, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}
    return "".join(
        [
            event({"role": "assistant", "content": ""}),
            *(event({"content": WORD}) for _ in range(chunks)),
            event({}, "stop"),
            f"data: {json.dumps(usage)}\n\n",
            "data: [DONE]\n\n",
        ]
    ).encode()


def answer(kind: bytes, body: bytes, status: bytes = b"200 OK") -> bytes:
    """One HTTP response."""
    return b"HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (
        status,
        kind,
        len(body),
        body,
    )


WHOLE = answer(b"application/json", whole())
TOO_MANY = answer(
    b"application/json",
    b'{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}',
    b"429 Too Many Requests",
)
STREAMS: dict[int, bytes] = {}


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests are answered as soon as they are whole."""

    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole request in the buffer."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + size:
                return
            body = self.buffer[end + 4 : end + 4 + size]
            self.buffer = self.buffer[end + 4 + size :]
            self.transport.write(respond(head, body))  # type: ignore[attr-defined]  # a transport


def respond(head: bytes, body: bytes) -> bytes:
    """The answer to one request."""
    if b" /fail/" in head[:40]:
        return TOO_MANY
    request = json.loads(body or b"{}")
    if not request.get("stream"):
        return WHOLE
    chunks = request.get("max_tokens") or request.get("max_completion_tokens") or 20
    if chunks not in STREAMS:
        STREAMS[chunks] = answer(b"text/event-stream", stream(chunks))
    return STREAMS[chunks]


async def main() -> None:
    """Serve until stdin closes."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
