"""The rows that are handed to the background writer: named tuples in the order of their columns.

Making one costs about a microsecond; nothing is checked or converted here.
"""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple


def new_call_id() -> str:
    """An id for a call: sorts by time, unique across threads, processes and machines."""
    return f"{time.time_ns() // 1_000_000:011x}{os.urandom(8).hex()}"


class Call(NamedTuple):
    """One call as it was planned, with what a replay needs to plan it again.

    ``needs`` and ``candidates`` are JSON values (the plan's needs; the candidate set in order);
    ``input_tokens`` is the estimate and ``input_chars`` the characters it was made from (None where
    an image, document or sound is among the input), ``seed`` the plan's random seed, ``policy`` a
    digest of the route as it was, ``extra`` whatever else the router wants back. ``outcome`` is
    ``success``, else that of the last attempt, ``rejected`` where none was made. ``started_at`` is
    seconds since 1970.
    """

    call_id: str
    route: str | None
    started_at: float
    needs: Any = None
    input_tokens: int | None = None
    max_tokens: int | None = None
    stream: bool = False
    candidates: Any = None
    seed: int | str | None = None
    extra: Any = None
    outcome: str | None = None
    duration_ms: float | None = None
    input_chars: int | None = None
    policy: str | None = None


class Attempt(NamedTuple):
    """One request to one provider: a line of the ledger.

    ``seq`` counts the attempts of a call from 1; ``outcome`` is the router's word (``success``,
    ``error``, ``interrupted``, ``cancelled``, ``empty``, …), ``error_code`` one of ErrorCode,
    ``status`` the HTTP status, ``reason`` one short line. Tokens are as in ``token_usage`` and its
    details; None is unknown, and so is a ``cost_usd`` of None. ``list_usd`` is what the same tokens
    cost with nothing cached. ``model_name`` is what the provider said answered; ``accepted``
    whether the caller got this answer.
    """

    call_id: str
    seq: int
    route: str | None
    provider: str
    model: str
    outcome: str
    started_at: float
    stream: bool = False
    error_code: str | None = None
    status: int | None = None
    reason: str | None = None
    ttft_ms: float | None = None
    duration_ms: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    request_id: str | None = None
    response_id: str | None = None
    model_name: str | None = None
    retry_after: float | None = None
    extra: Any = None
    accepted: bool | None = None
    list_usd: float | None = None


class Metric(NamedTuple):
    """One measured operation; ``created_at`` is ISO 8601 text with an offset."""

    created_at: str
    provider: str | None = None
    model: str | None = None
    operation: str | None = None
    latency_ms: float | None = None
    time_to_first_token_ms: float | None = None
    tokens_prompt: int | None = None
    tokens_completion: int | None = None
    tokens_total: int | None = None
    success: bool | None = None
    error_code: str | None = None
    extra: Any = None


class ChatLog(NamedTuple):
    """What was said in one call, kept only where the user switched ``chat_logs`` on.

    ``request`` and ``response`` are text or JSON values; ``created_at`` is ISO 8601 with an offset.
    """

    created_at: str
    call_id: str | None = None
    route: str | None = None
    provider: str | None = None
    model: str | None = None
    request: Any = None
    response: Any = None
    extra: Any = None
