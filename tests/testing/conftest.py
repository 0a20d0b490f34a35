"""What these tests talk to: the project's own cassettes, and a small server to record from."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

CASSETTES = Path(__file__).resolve().parents[2] / "cassettes"
LOCAL = "http://127.0.0.1:18091"
"""Where the server listened that most cassettes were recorded from; nothing listens there now."""

CAPITAL: dict[str, Any] = {
    "model": "smollm2-135m",
    "messages": [{"role": "user", "content": "Name the capital of France in one short sentence."}],
    "max_tokens": 128,
    "temperature": 0,
}
STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
ANSWER = "The capital of France is Paris."

HTTP = httpx.Client(
    verify=False, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0), timeout=5
)
"""One client for many tests: `httpx.post` reads every certificate authority anew."""


class Upstream:
    """A provider that repeats what it was sent, keys and all, and counts."""

    def __init__(self) -> None:
        self.count = 0
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"

    def _handler(upstream) -> type[BaseHTTPRequestHandler]:  # `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                upstream.count += 1
                sent = self.rfile.read(int(self.headers["content-length"]))
                answer = {
                    "count": upstream.count,
                    "sent": json.loads(sent),
                    "path": self.path,
                    "headers": dict(self.headers),
                }
                body = gzip.compress(json.dumps(answer).encode())
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-encoding", "gzip")
                self.send_header("content-length", str(len(body)))
                self.send_header("x-request-id", f"secretly-unique-{upstream.count}")
                self.send_header("x-ratelimit-remaining-requests", "41")
                self.send_header("set-cookie", "session=abcdefghijkl")
                self.send_header("openai-organization", "org-of-somebody")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A running :class:`Upstream`."""
    server = Upstream()
    thread = threading.Thread(target=server.httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.httpd.shutdown()
    server.httpd.server_close()
    thread.join()
