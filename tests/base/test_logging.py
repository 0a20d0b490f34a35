"""Structured logging: levels, JSON, and what it costs where nobody listens."""

from __future__ import annotations

import io
import json
import logging
import pickle
import subprocess
import sys
import timeit
from collections.abc import Iterator

import pytest

from crux_providers.base.logging import (
    JsonFormatter,
    LogContext,
    Record,
    configure_logging,
    get_logger,
    listening,
    log_event,
)


@pytest.fixture(autouse=True)
def untouched_logger() -> Iterator[None]:
    logger = logging.getLogger("crux_providers")
    before = (logger.level, list(logger.handlers), logger.propagate)
    yield
    logger.setLevel(before[0])
    logger.handlers[:] = before[1]
    logger.propagate = before[2]


@pytest.mark.parametrize(
    ("word", "level"),
    [
        (None, logging.INFO),
        ("", logging.INFO),
        ("debug", logging.DEBUG),
        ("Info", logging.INFO),
        ("WARNING", logging.WARNING),
        (" error ", logging.ERROR),
        ("critical", logging.CRITICAL),
        ("loud", logging.INFO),
    ],
)
def test_the_level_comes_from_the_environment(
    word: str | None, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    logging.getLogger("crux_providers").setLevel(logging.NOTSET)
    if word is not None:
        monkeypatch.setenv("PROVIDERS_LOG_LEVEL", word)
    assert get_logger().level == level
    assert get_logger("some.part").getEffectiveLevel() == level


def test_the_level_is_read_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger("crux_providers").setLevel(logging.NOTSET)
    monkeypatch.setenv("PROVIDERS_LOG_LEVEL", "DEBUG")
    assert get_logger().level == logging.DEBUG
    monkeypatch.delenv("PROVIDERS_LOG_LEVEL")
    assert get_logger().level == logging.INFO


def test_a_level_set_in_code_stays() -> None:
    get_logger().setLevel(logging.ERROR)
    assert get_logger().level == logging.ERROR


def test_names() -> None:
    assert get_logger().name == "crux_providers"
    assert get_logger("crux_providers").name == "crux_providers"
    assert get_logger("openai").name == "crux_providers.openai"
    assert get_logger("crux_providers.openai").name == "crux_providers.openai"


def test_importing_installs_a_null_handler_and_nothing_else() -> None:
    code = (
        "import logging\n"
        "root = list(logging.getLogger().handlers)\n"
        "import crux_providers.base.logging as l\n"
        "l.log_event(l.get_logger(), logging.ERROR, 'x')\n"
        "l.get_logger().error('plain')\n"
        "print([type(h).__name__ for h in logging.getLogger('crux_providers').handlers],"
        " logging.getLogger().handlers == root)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "['NullHandler'] True"
    assert done.stderr == ""


def test_a_record_is_one_json_object(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="crux_providers"):
        log_event(
            get_logger(), logging.INFO, "stream.adapter.end",
            provider="p", error_code=None, tokens={"prompt": 1}, emitted=True, odd={1, 2}.__class__,
        )  # fmt: skip
    (record,) = caplog.records
    fields = json.loads(record.getMessage())
    assert fields.pop("odd").startswith("<class")
    assert fields == {
        "event": "stream.adapter.end", "provider": "p", "error_code": None,
        "tokens": {"prompt": 1}, "emitted": True,
    }  # fmt: skip
    assert (record.levelno, record.name, record.filename) == (
        logging.INFO, "crux_providers", "test_logging.py",
    )  # fmt: skip


def test_fields_may_have_any_name(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="crux_providers"):
        log_event(get_logger(), logging.INFO, "x", level="deep", logger="mine", event_id=1)
    assert json.loads(caplog.records[0].getMessage())["level"] == "deep"


def test_nobody_listening_makes_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = get_logger()
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [logging.NullHandler()])
    monkeypatch.setattr(logger, "makeRecord", None)

    class Unprintable:
        def __str__(self) -> str:
            raise AssertionError("formatted for nobody")

    log_event(logger, logging.CRITICAL, "x", odd=Unprintable())
    assert not listening(logger, logging.CRITICAL)


def test_listening_asks_levels_handlers_and_propagation() -> None:
    logger = get_logger("deep.down")
    root = logging.getLogger("crux_providers")
    root.propagate = False
    assert not listening(logger, logging.ERROR)
    handler = logging.StreamHandler(io.StringIO())
    handler.setLevel(logging.ERROR)
    root.addHandler(handler)
    assert listening(logger, logging.ERROR)
    assert not listening(logger, logging.WARNING)
    root.setLevel(logging.CRITICAL)
    assert not listening(logger, logging.ERROR)


def test_it_is_cheap_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = get_logger()
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [logging.NullHandler()])
    runs = timeit.repeat(
        lambda: log_event(logger, logging.INFO, "x", a=1, b=2, c=3), number=2000, repeat=5
    )
    assert min(runs) / 2000 < 20e-6


def test_a_program_gets_json_lines_with_each_payload_once() -> None:
    stream = io.StringIO()
    configure_logging(stream)
    configure_logging(stream)  # replaces the first
    logger = get_logger("part")
    log_event(logger, logging.INFO, "chat.done", provider="p")
    logger.warning("plain %s", "words")
    try:
        raise ValueError("broken")
    except ValueError as exc:
        log_event(logger, logging.ERROR, "chat.unclassified", exc_info=exc)
    first, second, third = map(json.loads, stream.getvalue().splitlines())
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "INFO", "logger": "crux_providers.part", "event": "chat.done", "provider": "p",
    }  # fmt: skip
    assert second["event"] == "plain words"
    assert "ValueError: broken" in third["exception"]


def test_a_log_context_holds_ids() -> None:
    context = LogContext(provider="p", model="m")
    assert (context.request_id, context.response_id) == (None, None)
    context.request_id = "req_1"
    assert context.fields() == {"provider": "p", "model": "m", "request_id": "req_1"}


def test_records_cross_a_queue() -> None:
    record = pickle.loads(pickle.dumps(Record("x", {"a": 1})))
    assert str(record) == '{"event": "x", "a": 1}'
    made = logging.LogRecord("n", logging.INFO, "f", 1, record, None, None)
    assert json.loads(JsonFormatter().format(made))["a"] == 1
