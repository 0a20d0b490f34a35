"""Local servers that stand for the clouds which resell models: they check who asks, and how.

Each answers an exchange of a :class:`~tests.servers.scripted_server.ScriptedServer`: with the
answer it is given where URL, credentials and body are what the cloud wants, else with 4xx and a
reason.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.scripted_server import Exchange


class Refused(Exception):
    """Why the cloud does not answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def need(condition: object, status: int, reason: str) -> None:
    """Refuse unless ``condition`` holds."""
    if not condition:
        raise Refused(status, reason)


def is_version(body: Mapping[str, Any], cloud: str) -> bool:
    """Whether the body names the API's version; the older SDKs put the cloud's name before it."""
    version = body.get("anthropic_version")
    return re.fullmatch(rf"({cloud}-)?\d{{4}}-\d\d-\d\d", str(version)) is not None


@dataclass
class Cloud:
    """``whole`` is the JSON answer, ``events`` the JSON of a stream's events with their names."""

    whole: Any
    events: Sequence[Any]
    seen: list[Any] = field(default_factory=list)

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        body = json.loads(exchange.body)
        try:
            streamed = self.check(exchange, body)
        except Refused as refused:
            self.seen.append(str(refused))
            text = json.dumps({"error": {"message": str(refused)}}).encode()
            exchange.answer(text, refused.status)
            return
        self.seen.append(body)
        if not streamed:
            exchange.answer(json.dumps(self.whole).encode())
            return
        self.stream(exchange)

    def check(self, exchange: Exchange, body: dict[str, Any]) -> bool:
        """Whether a stream is asked for; raises :class:`Refused`."""
        raise NotImplementedError

    def stream(self, exchange: Exchange) -> None:
        """Server-sent events."""
        exchange.begin_stream()
        for event in self.events:
            name = b"event: %b\n" % event["type"].encode() if "type" in event else b""
            exchange.chunk(name + b"data: " + json.dumps(event).encode() + b"\n\n")
        if "type" not in self.events[0]:
            exchange.chunk(b"data: [DONE]\n\n")
        exchange.end_stream()


@dataclass
class Azure(Cloud):
    """A deployment in the path, ``api-version`` in the query, ``api-key`` or an Entra token."""

    deployment: str = "my-gpt"
    version: str = "2024-10-21"
    key: str = "azure-key"
    token: str = "entra-token"

    def check(self, exchange: Exchange, body: dict[str, Any]) -> bool:
        url = urlsplit(exchange.target)
        path = f"/openai/deployments/{self.deployment}/chat/completions"
        need(url.path == path, 404, f"no deployment at {url.path}")
        need(parse_qs(url.query) == {"api-version": [self.version]}, 404, "no such api-version")
        bearer = exchange.headers.get("authorization") == f"Bearer {self.token}"
        key = exchange.headers.get("api-key") == self.key
        need(bearer or key, 401, "Access denied due to invalid subscription key")
        return bool(body.get("stream"))


@dataclass
class Vertex(Cloud):
    """The model in the path, the version in the body, a bearer token."""

    project: str = "my-project"
    region: str = "europe-west1"
    token: str = "google-token"

    def check(self, exchange: Exchange, body: dict[str, Any]) -> bool:
        bearer = exchange.headers.get("authorization")
        need(bearer == f"Bearer {self.token}", 401, f"Request had {bearer!r}")
        found = re.fullmatch(
            rf"/v1/projects/{self.project}/locations/{self.region}/publishers/anthropic/models/"
            r"([^/:]+):(rawPredict|streamRawPredict)",
            exchange.target,
        )
        need(found, 404, f"nothing at {exchange.target}")
        need("model" not in body, 400, "the model belongs in the URL")
        need(is_version(body, "vertex"), 400, "anthropic_version: wrong")
        return exchange.target.endswith(":streamRawPredict")


@dataclass
class Bedrock(Cloud):
    """A signed request, the model in the path, streams in AWS's binary framing.

    ``error_after`` puts an error frame after that many events.
    """

    access_key: str = "AKIDEXAMPLE"
    secret: str = "wJalrXUtnFEMI"
    region: str = "eu-central-1"
    error_after: int | None = None
    models: list[str] = field(default_factory=list)

    def check(self, exchange: Exchange, body: dict[str, Any]) -> bool:
        need(self.signature(exchange), 403, "The request signature we calculated does not match")
        found = re.fullmatch(
            r"/model/([^/]+)/(invoke|invoke-with-response-stream)", exchange.target
        )
        need(found, 404, f"nothing at {exchange.target}")
        need("model" not in body and "stream" not in body, 400, "extraneous key is not permitted")
        need(is_version(body, "bedrock"), 400, "anthropic_version: wrong")
        assert found is not None
        self.models.append(unquote(found[1]))
        return found[2] != "invoke"

    def signature(self, exchange: Exchange) -> bool:
        """Whether AWS, with the secret it knows, signs this request alike."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        sent = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d+/([^/]+)/bedrock/aws4_request, "
            r"SignedHeaders=([^,]+), Signature=([0-9a-f]+)",
            exchange.headers.get("authorization", ""),
        )
        if sent is None or (sent[1], sent[2]) != (self.access_key, self.region):
            return False
        request = AWSRequest(
            method=exchange.method,
            url=f"http://{exchange.headers['host']}{exchange.target}",
            headers={name: exchange.headers[name] for name in sent[3].split(";")},
            data=exchange.body,
        )
        request.context["timestamp"] = exchange.headers["x-amz-date"]
        signer = SigV4Auth(Credentials(self.access_key, self.secret), "bedrock", self.region)
        text = signer.string_to_sign(request, signer.canonical_request(request))
        return bool(signer.signature(text, request) == sent[4])

    def stream(self, exchange: Exchange) -> None:
        exchange.begin_stream({"content-type": "application/vnd.amazon.eventstream"})
        for number, event in enumerate(self.events):
            if number == self.error_after:
                exchange.chunk(
                    aws_frame(
                        {":message-type": "exception", ":exception-type": "throttlingException"},
                        {"message": "Too many tokens, please wait before trying again."},
                    )
                )
                break
            data = base64.b64encode(json.dumps(event).encode()).decode()
            frame = aws_frame({":message-type": "event", ":event-type": "chunk"}, {"bytes": data})
            exchange.chunk(frame[:11])  # no border of a frame is one of the wire
            exchange.chunk(frame[11:])
        exchange.end_stream()


def aws_frame(headers: Mapping[str, str], payload: Any) -> bytes:
    """One message of AWS's event stream encoding: lengths, headers, payload, two checksums."""
    packed = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value))
        + value.encode()
        for name, value in {**headers, ":content-type": "application/json"}.items()
    )  # fmt: skip
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(packed) + len(body), len(packed))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + packed + body
    return message + struct.pack("!I", zlib.crc32(message))
