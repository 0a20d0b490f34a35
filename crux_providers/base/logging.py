"""Structured logging: one JSON object per record, rendered only when somebody reads it.

The library installs a NullHandler and nothing else; programs (the command line, the gateway)
call :func:`configure_logging`. ``PROVIDERS_LOG_LEVEL`` sets the level of the ``crux_providers``
logger: DEBUG, INFO (default), WARNING, ERROR or CRITICAL, in any case.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

ROOT = "crux_providers"
LEVEL_VARIABLE = "PROVIDERS_LOG_LEVEL"

_LEVELS: Mapping[str, int] = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
}
_set_by_us = logging.NOTSET  # the level get_logger gave last; any other is the program's own word

logging.getLogger(ROOT).addHandler(logging.NullHandler())


@dataclass(slots=True)
class LogContext:
    """Whom a record is about; the ids are filled in when the provider gives them."""

    provider: str | None = None
    model: str | None = None
    request_id: str | None = None
    response_id: str | None = None

    def fields(self) -> dict[str, str]:
        """What is known, as fields of a record."""
        known = {
            "provider": self.provider,
            "model": self.model,
            "request_id": self.request_id,
            "response_id": self.response_id,
        }
        return {name: value for name, value in known.items() if value is not None}


def get_logger(name: str | None = None) -> logging.Logger:
    """The ``crux_providers`` logger, or the one called ``name`` beneath it.

    Reads ``PROVIDERS_LOG_LEVEL`` at each call (a word it does not know counts as INFO). A level
    that the program gave the logger in code is left alone.
    """
    global _set_by_us
    root = logging.getLogger(ROOT)
    if root.level in (logging.NOTSET, _set_by_us):
        word = os.environ.get(LEVEL_VARIABLE, "").strip().upper()
        level = _LEVELS.get(word, logging.INFO)
        if root.level != level:  # setLevel drops every logger's cache
            root.setLevel(level)
        _set_by_us = level
    if not name or name == ROOT:
        return root
    return logging.getLogger(name if name.startswith(f"{ROOT}.") else f"{ROOT}.{name}")


class Record:
    """A record's message: prints as one line of JSON, made once and only when asked for."""

    __slots__ = ("_line", "fields")

    def __init__(self, event: str, fields: Mapping[str, Any]) -> None:
        self.fields = {"event": event, **fields}
        self._line: str | None = None

    def __str__(self) -> str:
        if self._line is None:
            self._line = json.dumps(self.fields, ensure_ascii=False, default=str)
        return self._line

    def __reduce__(self) -> tuple[Any, ...]:  # queue and socket handlers pickle messages
        fields = dict(self.fields)
        return Record, (fields.pop("event"), fields)


def log_event(
    logger: logging.Logger,
    level: int,
    event: str,
    /,
    exc_info: BaseException | None = None,
    **fields: Any,
) -> None:
    """Log ``event`` with its fields as one JSON object.

    The usual fields are ``provider``, ``operation``, ``stage``, ``failure_class`` and
    ``fallback_used``; None is written as null. Where nobody listens no record is made at all.
    """
    if listening(logger, level):
        logger.log(level, Record(event, fields), exc_info=exc_info, stacklevel=2)


def listening(logger: logging.Logger, level: int) -> bool:
    """Whether a record of ``level`` would reach a handler that does something with it."""
    if not logger.isEnabledFor(level):
        return False
    current: logging.Logger | None = getattr(logger, "logger", logger)  # beneath a LoggerAdapter
    while current is not None:
        for handler in current.handlers:
            if handler.level <= level and not isinstance(handler, logging.NullHandler):
                return True
        current = current.parent if current.propagate else None
    return False


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, then the record's own fields once."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; a plain message stands under ``event``, a traceback under ``exception``."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
        }
        message = record.msg
        line |= message.fields if isinstance(message, Record) else {"event": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the stderr of the moment, as the logging module's own last resort does."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # an attribute of the base class
        return sys.stderr


def configure_logging(stream: TextIO | None = None) -> logging.Handler:
    """For programs: send the library's records to ``stream`` as JSON lines.

    Without one they go to whatever stderr is when a record is made. Called again it replaces the
    handler it set before; returns the handler.
    """
    logger = get_logger()
    for handler in list(logger.handlers):
        if isinstance(handler.formatter, JsonFormatter):
            logger.removeHandler(handler)
    handler = _StderrHandler() if stream is None else logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    return handler
