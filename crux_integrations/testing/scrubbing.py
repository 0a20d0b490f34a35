"""What may enter a cassette: headers and query parameters by allow-list, keys never.

A key is known in two ways: by value (whatever the request carried in an authenticating header or
query parameter, and the environment's ``*_KEY``, ``*_TOKEN`` and ``*_SECRET``), which is replaced
wherever it stands, and by its looks. Request ids become ``req_1``, ``req_2`` and so on, so that
recording again does not change them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from crux_providers.base.errors import REQUEST_ID_HEADERS

REQUEST_HEADERS = frozenset(
    {"accept", "anthropic-beta", "anthropic-version", "content-type", "openai-beta"}
)
"""Request headers that are kept; none of them is matched on."""

RESPONSE_HEADERS = frozenset({"content-type", "retry-after", "retry-after-ms", "x-should-retry"})
"""Response headers that are kept as they are."""

RATE_LIMIT_PREFIXES = ("anthropic-ratelimit-", "ratelimit-", "x-ratelimit-")
"""Response headers that are kept by how their names begin."""

QUERY_PARAMETERS = frozenset(
    {"after", "after_id", "alt", "api-version", "before", "before_id", "beta", "limit", "order"}
    | {"page", "pageSize", "pageToken"}
)
"""Query parameters that are kept; the others are dropped with their values."""

KEY = "[key]"
"""What stands where a key stood."""

_AUTHENTICATING = re.compile(r"(?i)auth|key|token|secret|cookie|signature|^code$|^sig$")
_SHORTEST_SECRET = 8
_LOOKS_SECRET = re.compile(
    # OpenAI, Anthropic, OpenRouter, Stripe-like; Groq; xAI; Google; Hugging Face; Bearer anything.
    r"\b(?:sk|pk|rk|gsk|xai)[-_][A-Za-z0-9*_\-]{16,}"
    r"|\bAIza[0-9A-Za-z_\-]{30,}"
    r"|\bhf_[A-Za-z0-9]{30,}"
    r"|(?<=Bearer )[A-Za-z0-9._~+/\-]{16,}=*"
)
_ACCOUNT = re.compile(r"\b(org|proj|user)([-_])[A-Za-z0-9]{20,}\b")


def secrets_in(headers: Mapping[str, str], url: str) -> set[str]:
    """The values that authenticate this request: of headers, query parameters and user info."""
    parts = urlsplit(url)
    named = [*headers.items(), *parse_qsl(parts.query)]
    values = [value for name, value in named if _AUTHENTICATING.search(name)]
    values += [v for v in (parts.username, parts.password) if v]
    # Bearer abc, Basic abc, a=abc; b=def: the parts say as much as the whole.
    pieces = [piece for value in values for piece in re.split(r"[\s;,]+", value)]
    values += pieces + [piece.partition("=")[2] for piece in pieces]
    return {form for v in values if len(v) >= _SHORTEST_SECRET for form in (v, quote(v, safe=""))}


def secrets_in_environment(environ: Mapping[str, str] | None = None) -> set[str]:
    """The values of variables whose names say that they are keys."""
    source = os.environ if environ is None else environ
    return {
        value
        for name, value in source.items()
        if name.upper().endswith(("_KEY", "_KEYS", "_TOKEN", "_SECRET"))
        and len(value) >= _SHORTEST_SECRET
    }


def scrub_text(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` without keys, known or alike, and without organisation, project and user ids."""
    for secret in sorted(secrets, key=len, reverse=True):  # a key may be part of a longer value
        text = text.replace(secret, KEY)
    return _ACCOUNT.sub(r"\1\2scrubbed", _LOOKS_SECRET.sub(KEY, text))


def scrub_body(body: bytes | None, secrets: Iterable[str] = ()) -> bytes | None:
    """:func:`scrub_text` for bytes; what is no UTF-8 is searched for the known secrets only."""
    if body is None:
        return None
    try:
        return scrub_text(body.decode(), secrets).encode()
    except UnicodeDecodeError:
        for secret in secrets:
            body = body.replace(secret.encode(), KEY.encode())
        return body


def scrub_url(url: str) -> str:
    """``url`` with the allowed query parameters only, and without user info or fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = [(k, v) for k, v in parse_qsl(parts.query) if k in QUERY_PARAMETERS]
    return urlunsplit((parts.scheme, host, parts.path, urlencode(query), ""))


def scrub_request_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The allowed ones, names in lower case, in alphabetical order."""
    return {k: v for k, v in sorted(_lower(headers)) if k in REQUEST_HEADERS}


def scrub_response_headers(headers: Iterable[tuple[str, str]], number: int) -> dict[str, str]:
    """The allowed ones; ``number`` is what request ids become (``req_<number>``).

    The date is kept only where a Retry-After that is itself a date is counted from it.
    """
    lower = sorted((name.lower(), value) for name, value in headers)
    kept = {
        name: f"req_{number}" if name in REQUEST_ID_HEADERS else value
        for name, value in lower
        if name in RESPONSE_HEADERS
        or name in REQUEST_ID_HEADERS
        or name.startswith(RATE_LIMIT_PREFIXES)
    }
    if not kept.get("retry-after", "0").replace(".", "", 1).isdigit():
        kept |= {name: value for name, value in lower if name == "date"}
    return kept


def _lower(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in headers.items()]
