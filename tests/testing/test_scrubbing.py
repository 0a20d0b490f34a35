"""What never enters a cassette, shown on text, headers, URLs and a recorded file."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_integrations.testing import use_cassette
from crux_integrations.testing.cassette_file import read_cassette
from crux_integrations.testing.scrubbing import (
    KEY,
    scrub_body,
    scrub_request_headers,
    scrub_response_headers,
    scrub_text,
    scrub_url,
    secrets_in,
    secrets_in_environment,
)
from tests.testing.conftest import HTTP, Upstream


def made_up(prefix: str = "") -> str:
    """A key that no file holds."""
    return prefix + secrets.token_hex(20)


PREFIXES = ["sk-", "sk-proj-", "sk-ant-api03-", "sk-or-v1-", "gsk_", "xai-", "AIza", "hf_", "pk_"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_looks_like_a_key_goes(prefix: str) -> None:
    key = made_up(prefix)
    assert scrub_text(f'{{"message": "Incorrect API key provided: {key}."}}') == (
        f'{{"message": "Incorrect API key provided: {KEY}."}}'
    )


def test_masked_keys_and_bearers_go() -> None:
    assert scrub_text("key sk-proj-****************abcd.") == f"key {KEY}."
    assert scrub_text(f"Authorization: Bearer {made_up()}") == f"Authorization: Bearer {KEY}"


def test_accounts_go() -> None:
    assert scrub_text(f"in organization org-{made_up()} on") == "in organization org-scrubbed on"


@pytest.mark.parametrize(
    "text",
    [
        "call_9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d",
        "chatcmpl-vZyMSZVPrOLW9IhedBVmkuoHcfi8vG5x",
        "toolu_01A09q90qw90lq917835lq9",
        "msg_013Zva2CMHLNnXjNJJKqJ2EF",
        "task-based-evaluation-of-models",
    ],
)
def test_what_is_no_key_stays(text: str) -> None:
    assert scrub_text(text) == text


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
def test_a_known_key_goes_from_anywhere(text: str) -> None:
    key = "k" + "3y" * 10
    assert key not in scrub_text(f"{text}{key}{text}{key}", {key})


def test_bytes_that_are_no_text() -> None:
    key = made_up()
    assert scrub_body(b"\xff" + key.encode(), {key}) == b"\xff" + KEY.encode()
    assert scrub_body(None) is None


def test_where_a_requests_keys_are() -> None:
    bearer, header, query, password = (made_up() for _ in range(4))
    found = secrets_in(
        {
            "Authorization": f"Bearer {bearer}",
            "x-goog-api-key": header,
            "accept": "text/event-stream",
        },
        f"https://user:{password}@host/v1?key={query}&alt=sse",
    )
    assert {bearer, header, query, password} <= found
    assert "text/event-stream" not in found
    assert "sse" not in found


def test_where_the_environments_keys_are() -> None:
    key = made_up()
    environ = {
        "OPENAI_API_KEY": key,
        "GATEWAY_TOKEN": key[::-1],
        "HOME": "/somewhere",
        "A_KEY": "x",
    }
    assert secrets_in_environment(environ) == {key, key[::-1]}


def test_urls() -> None:
    key = made_up()
    url = f"https://me:{key}@host:8/v1beta/models/m:generateContent?key={key}&alt=sse&x={key}#f"
    assert scrub_url(url) == "https://host:8/v1beta/models/m:generateContent?alt=sse"


def test_headers_are_kept_by_list() -> None:
    key = made_up()
    assert scrub_request_headers(
        {"X-Api-Key": key, "Authorization": key, "Anthropic-Version": "2023-06-01", "Cookie": key}
    ) == {"anthropic-version": "2023-06-01"}
    kept = scrub_response_headers(
        [("Content-Type", "application/json"), ("Set-Cookie", key), ("Retry-After", "3"),
         ("X-Request-Id", key), ("CF-Ray", key), ("x-ratelimit-remaining-tokens", "9"),
         ("anthropic-ratelimit-tokens-limit", "9"), ("anthropic-organization-id", key),
         ("Date", "Sun, 22 Nov 2026 10:00:00 GMT"), ("server", "cloudflare")],
        7,
    )  # fmt: skip
    assert kept == {
        "anthropic-ratelimit-tokens-limit": "9",
        "cf-ray": "req_7",
        "content-type": "application/json",
        "retry-after": "3",
        "x-ratelimit-remaining-tokens": "9",
        "x-request-id": "req_7",
    }


def test_a_retry_after_that_is_a_date_keeps_the_date_it_counts_from() -> None:
    date = "Sun, 22 Nov 2026 10:00:00 GMT"
    kept = scrub_response_headers([("Date", date), ("Retry-After", date)], 1)
    assert kept["date"] == date


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"authorization": "Bearer {key}"}, ""),
        ({"x-api-key": "{key}"}, ""),
        ({"x-goog-api-key": "{key}"}, ""),
        ({"api-key": "{key}"}, ""),
        ({"cookie": "session={key}"}, ""),
        ({}, "?key={key}&alt=sse"),
        ({}, "?api_key={key}"),
    ],
)
def test_no_file_holds_the_key_it_was_recorded_with(
    tmp_path: Path, upstream: Upstream, headers: dict[str, str], query: str
) -> None:
    """The upstream repeats every header and the path in its answer; the request says it too."""
    key = made_up()
    path = tmp_path / "session.yaml"
    with use_cassette(path, mode="rewrite"):
        answer = HTTP.post(
            f"{upstream.url}/v1/echo{query.format(key=key)}",
            json={"question": f"is {key} my key?"},
            headers={name: value.format(key=key) for name, value in headers.items()},
        )
    assert key in answer.text
    text = path.read_text("utf-8")
    assert key not in text
    assert base64.b64encode(key.encode()).decode() not in text
    assert KEY in text
    assert "secretly-unique" not in text
    assert "abcdefghijkl" not in text
    (item,) = read_cassette(path).interactions
    assert item.headers["x-request-id"] == "req_1"
    assert item.headers["x-ratelimit-remaining-requests"] == "41"


def test_basic_authentication_is_a_key_too(tmp_path: Path, upstream: Upstream) -> None:
    password = made_up()
    path = tmp_path / "session.yaml"
    with use_cassette(path, mode="rewrite"):
        HTTP.post(f"{upstream.url}/v1/echo", json={}, auth=("me", password))
    text = path.read_text("utf-8")
    assert password not in text
    assert base64.b64encode(f"me:{password}".encode()).decode() not in text


def test_a_key_of_the_environment_goes_too(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = made_up()
    monkeypatch.setenv("SOME_PROVIDER_API_KEY", key)
    path = tmp_path / "session.yaml"
    with use_cassette(path, mode="rewrite"):
        HTTP.post(f"{upstream.url}/v1/echo", json={"leaked": key})
    assert key not in path.read_text("utf-8")


def test_a_request_that_was_scrubbed_still_matches(tmp_path: Path, upstream: Upstream) -> None:
    body = {"question": f"is {made_up('sk-')} my key?"}
    path = tmp_path / "session.yaml"
    with use_cassette(path, mode="once"):
        HTTP.post(f"{upstream.url}/v1/echo", json=body)
    with use_cassette(path):
        assert HTTP.post(f"{upstream.url}/v1/echo", json=body).json()["count"] == 1
    assert upstream.count == 1
