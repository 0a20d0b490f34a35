"""What one call leaves in the ledger: a row for the call, one for each attempt.

Nothing that was said stands in them. An error's words may quote the request, so whatever of it is
found in them is taken out; of an answer that was not good enough only the kind of fault is kept.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from crux_providers.base.errors import short_message
from crux_providers.base.quotations import said, without_echo
from crux_providers.persistence.rows import Attempt, Call, ChatLog

from .call import AttemptRecord, RouteCall

FAULTS: Mapping[str, str] = MappingProxyType(
    {
        "empty": "the answer is empty",
        "refusal": "the model refused",
        "invalid_json": "the answer is no JSON",
        "schema_mismatch": "the answer does not fit the schema",
        "length": "the answer was cut at max_tokens",
    }
)
"""The ledger's words for the content triggers; the router's own may hold words of the answer."""


def call_row(call: RouteCall, call_id: str, policy: str | None) -> Call:
    """The row of a call that is over; ``policy`` is the digest of its route."""
    plan = call.plan
    needs = plan.needs
    extra: dict[str, Any] = {}
    if call.model is not None:
        extra["model"] = call.model
    if rejected := call.rejected():
        extra["rejected"] = {f"{r.provider}:{r.model}": r.rule for r in rejected}
    return Call(
        call_id=call_id,
        route=call.route,
        started_at=call.wall_started,
        needs=needs.as_json(),
        input_tokens=needs.input_tokens,
        max_tokens=needs.output_tokens,
        stream=call.stream,
        candidates=[s.candidate for s in plan.steps]
        + [f"{r.provider}:{r.model}" for r in plan.rejected],
        seed=call.seed,
        extra=extra or None,
        outcome=_outcome(call),
        duration_ms=(time.monotonic() - call.started) * 1000,
        input_chars=needs.input_chars,
        policy=policy,
    )


def _outcome(call: RouteCall) -> str:
    if not call.attempts:
        return "rejected"
    last = call.winner or call.attempts[-1]
    return "success" if last.accepted else last.outcome


def attempt_row(call: RouteCall, call_id: str, number: int, record: AttemptRecord) -> Attempt:
    """The row of one attempt; ``number`` counts from 1."""
    usage = record.usage or {}
    details = usage.get("details") or {}
    return Attempt(
        call_id=call_id,
        seq=number,
        route=call.route,
        provider=record.provider,
        model=record.model,
        outcome=record.outcome,
        started_at=record.started_at,
        stream=call.stream,
        error_code=record.error_code,
        status=record.status,
        reason=_reason(call, record),
        ttft_ms=record.ttft_ms,
        duration_ms=record.duration_ms,
        prompt_tokens=usage.get("prompt"),
        completion_tokens=usage.get("completion"),
        total_tokens=usage.get("total"),
        cached_tokens=details.get("cached"),
        cache_write_tokens=details.get("cache_write"),
        reasoning_tokens=details.get("reasoning"),
        cost_usd=record.cost_usd,
        request_id=record.request_id,
        response_id=record.response_id,
        model_name=record.model_name,
        retry_after=record.retry_after,
        accepted=record.accepted,
        list_usd=record.list_usd,
    )


def _reason(call: RouteCall, record: AttemptRecord) -> str:
    if record.error_code is not None:
        return without_echo(short_message(record.reason), said(call.request, call.answer_text))
    return FAULTS.get(record.outcome, record.reason)


def chat_row(call: RouteCall, call_id: str) -> ChatLog:
    """What was said, for those who switched ``chat_logs`` on."""
    last = call.winner or (call.attempts[-1] if call.attempts else None)
    return ChatLog(
        created_at=datetime.now(UTC).isoformat(),
        call_id=call_id,
        route=call.route,
        provider=last.provider if last else None,
        model=last.model if last else None,
        request=[{"role": m.role, "text": m.text} for m in call.request.messages],
        response=call.answer_text,
    )
