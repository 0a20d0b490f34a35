"""Stored times: always with an offset, always read as aware UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_providers.persistence.sqlite.repos import _parse_created_at
from crux_providers.persistence.times import EPOCH, created_at_text


def test_aware_text_round_trips() -> None:
    at = datetime(2025, 9, 16, 18, 22, 4, 123456, tzinfo=UTC)
    assert _parse_created_at("2025-09-16T18:22:04.123456+00:00") == at
    assert _parse_created_at(at.isoformat()).isoformat() == at.isoformat()


def test_naive_text_is_utc() -> None:
    assert _parse_created_at("2025-09-16T18:22:04.123456") == datetime(
        2025, 9, 16, 18, 22, 4, 123456, tzinfo=UTC
    )


def test_the_form_of_current_timestamp_is_utc() -> None:
    assert _parse_created_at("2025-09-16 18:22:04") == datetime(2025, 9, 16, 18, 22, 4, tzinfo=UTC)


def test_another_offset_comes_back_as_utc() -> None:
    parsed = _parse_created_at("2025-09-16T18:22:04+05:30")
    assert parsed == datetime(2025, 9, 16, 12, 52, 4, tzinfo=UTC)
    assert parsed.utcoffset() == timedelta(0)


@pytest.mark.parametrize("bad", ["not-a-date", "", None, 17, 3.5, b"2025-01-01", "2025-13-01"])
def test_malformed_is_the_epoch(bad: object) -> None:
    assert _parse_created_at(bad) == datetime(1970, 1, 1, tzinfo=UTC) == EPOCH


def test_datetimes() -> None:
    naive = datetime(2025, 9, 16, 18, 22, 4)  # noqa: DTZ001  # the case under test
    assert _parse_created_at(naive) == naive.replace(tzinfo=UTC)
    aware = naive.replace(tzinfo=UTC)
    assert _parse_created_at(aware) is aware or _parse_created_at(aware) == aware


@given(st.one_of(st.text(), st.binary(), st.datetimes(), st.integers(), st.none()))
def test_never_raises_and_is_always_aware_utc(value: object) -> None:
    assert _parse_created_at(value).utcoffset() == timedelta(0)


@given(
    st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)),  # noqa: DTZ001
    st.integers(-12, 12),
)
def test_what_is_written_is_the_same_instant(at: datetime, hours: int) -> None:
    aware = at.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert _parse_created_at(created_at_text(aware)) == aware
    assert _parse_created_at(created_at_text(at)) == at.replace(tzinfo=UTC)
    assert created_at_text(at).endswith("+00:00")
