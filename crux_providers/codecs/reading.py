"""Typed access to JSON that somebody else wrote.

Two manners. What carries content is read strictly: ``need_*`` and ``opt_*`` raise
``ProviderError(malformed)`` for a wrong type, so that nothing said is lost in silence. What stands
beside it (counts, ids, labels) is read leniently: ``as_*`` give None or an empty value, since an
odd count is no reason to refuse an answer.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import JSON, compact_json

SHOWN = 80
"""Characters of a malformed value that an error message shows."""


def malformed(what: str, cause: BaseException | None = None) -> ProviderError:
    """The error for a payload that is not what its dialect says."""
    return ProviderError(ErrorCode.MALFORMED, what, cause=cause)


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_parse = json.JSONDecoder(parse_constant=_not_json).decode
_raw_parse = json.JSONDecoder(parse_constant=_not_json).raw_decode


def parse_json(payload: Any) -> JSON:
    """The JSON value of ``payload``: text, UTF-8 bytes, or a value already parsed, which stays.

    Raises ``malformed`` for anything that is no JSON (NaN and infinities included), too deeply
    nested, or not UTF-8.
    """
    if isinstance(payload, str):
        text = payload
    elif isinstance(payload, (bytes, bytearray, memoryview)):
        try:
            text = bytes(payload).decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            raise malformed(f"not UTF-8: {bytes(payload)[:SHOWN]!r}", exc) from exc
    else:
        return payload
    try:
        return _parse(text)
    except (ValueError, RecursionError) as exc:
        raise malformed(f"not JSON: {text[:SHOWN]!r}", exc) from exc


def parse_event(data: Any) -> JSON:
    """:func:`parse_json` for one event of a stream; the quick way for text that starts at once."""
    if isinstance(data, str):
        try:
            value, end = _raw_parse(data)
        except (ValueError, RecursionError):
            return parse_json(data)  # leading white space, or the error with its words
        return value if end == len(data) else parse_json(data)
    return parse_json(data)


def json_text(value: JSON) -> str:
    """Compact JSON of a payload's value; raises ``malformed`` where it is nested too deep."""
    try:
        return compact_json(value)
    except (ValueError, RecursionError) as exc:
        raise malformed("nested too deep", exc) from exc


def _wrong(value: Any, wanted: str, where: str) -> ProviderError:
    return malformed(f"{where} is {type(value).__name__}, not {wanted}")


def need_mapping(value: JSON, where: str) -> dict[str, JSON]:
    """``value`` as an object; ``where`` names it in the error."""
    if isinstance(value, dict):
        return value
    raise _wrong(value, "an object", where)


def need_list(value: JSON, where: str) -> list[JSON]:
    """``value`` as an array."""
    if isinstance(value, list):
        return value
    raise _wrong(value, "an array", where)


def need_text(value: JSON, where: str) -> str:
    """``value`` as a string."""
    if isinstance(value, str):
        return value
    raise _wrong(value, "a string", where)


def opt_mapping(value: JSON, where: str) -> dict[str, JSON] | None:
    """``value`` as an object, or None where it is null."""
    return None if value is None else need_mapping(value, where)


def opt_list(value: JSON, where: str) -> list[JSON] | None:
    """``value`` as an array, or None where it is null."""
    return None if value is None else need_list(value, where)


def opt_text(value: JSON, where: str) -> str | None:
    """``value`` as a string, or None where it is null."""
    return None if value is None else need_text(value, where)


def as_text(value: JSON) -> str | None:
    """``value`` where it is a string that says something, else None."""
    return value if isinstance(value, str) and value else None


def as_count(value: JSON) -> int | None:
    """``value`` where it is a whole number, else None (a bool is no number)."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return None


def as_bool(value: JSON) -> bool | None:
    """``value`` where it is true or false, else None."""
    return value if isinstance(value, bool) else None


def as_number(value: JSON) -> float | None:
    """``value`` where it is a finite number, else None; whole numbers stay ints."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if abs(value) != float("inf") else None
    return None


def as_mapping(value: JSON) -> dict[str, JSON]:
    """``value`` where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: JSON) -> list[JSON]:
    """``value`` where it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def dig(value: JSON, *path: str | int) -> JSON:
    """The value at ``path`` of object keys and array positions, or None where it ends early."""
    for step in path:
        match value, step:
            case dict(), str():
                value = value.get(step)
            case list(), int() if -len(value) <= step < len(value):
                value = value[step]
            case _:
                return None
    return value


def rest_of(value: Mapping[str, JSON], known: Collection[str]) -> dict[str, JSON]:
    """The fields of ``value`` that are not ``known``: what the vocabulary has no word for."""
    return {k: v for k, v in value.items() if k not in known}


def or_none(value: dict[str, JSON]) -> dict[str, JSON] | None:
    """``value``, or None where it is empty: the shape of ``extra`` fields."""
    return value or None
