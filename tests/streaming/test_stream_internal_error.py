"""A starter that breaks its contract is `internal`, said once, with nothing sent out before it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from crux_providers.base.errors import ErrorCode
from tests.streaming.adapters import BOTH, finalize_records, only_terminal

pytestmark = pytest.mark.contract(193)


@BOTH
@pytest.mark.contract(61)
def test_a_mapping_without_its_stream(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="crux_providers")
    events, controller = run(lambda: {"request_id": "req-1"})
    assert len(events) == 1
    assert only_terminal(events).error == "internal:starter() mapping missing 'stream' key"
    assert controller.error.code is ErrorCode.INTERNAL
    assert not controller.error.retryable
    (record,) = finalize_records(caplog)
    assert (record["error_code"], record["emitted"]) == ("internal", False)


@BOTH
@pytest.mark.contract(62)
@pytest.mark.parametrize("second", ["text", None, 3, ["request_id"]])
def test_a_pair_without_its_mapping(run: Any, second: Any) -> None:
    events, _ = run(lambda: (["a"], second))
    assert len(events) == 1
    error = only_terminal(events).error or ""
    assert error.startswith("internal:starter() second element must be mapping")


@BOTH
@pytest.mark.contract(63, "S38")
@pytest.mark.parametrize("shape", [None, 3, "text", b"bytes", ("a",), (["a"], {}, {}), object()])
def test_any_other_shape(run: Any, shape: Any) -> None:
    events, _ = run(lambda: shape)
    assert len(events) == 1
    assert (only_terminal(events).error or "").startswith("internal:")


@BOTH
@pytest.mark.contract("S38")
def test_a_list_of_two_is_a_stream(run: Any) -> None:
    events, _ = run(lambda: ["a", "b"])
    assert [e.delta for e in events] == ["a", "b", None]
