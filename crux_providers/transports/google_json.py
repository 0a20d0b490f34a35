"""Between Gemini's JSON and the messages of Google's SDK: what its types change and lose.

The SDK's types stand still while the API goes on. A request they cannot hold is refused by name; of
an answer everything stays, since the SDK's reading is only used for what it alone knows: the names
of the enums, which it has the server send as numbers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..base.errors import ErrorCode, ProviderError

_UNKNOWN = re.compile(r'has no field named "([^"]+)" at "GenerateContentRequest\.?([^"]*)"')
_ENUM = re.compile(
    r"Invalid enum value (.+?) for enum type \S+ at GenerateContentRequest\.(\S+?)\.*$"
)
_SCHEMAS = {"parametersJsonSchema": "parameters", "responseJsonSchema": "responseSchema"}
_FLOAT32 = 1e-6
"""How far a number may move: the SDK holds the sampling parameters in single precision."""


def unsupported(what: str, cause: BaseException | None = None) -> ProviderError:
    """The error for what the SDK's types have no place for."""
    return ProviderError(
        ErrorCode.UNSUPPORTED,
        f"google-generativeai, which is past its end of life, {what}: use transport 'http'",
        cause=cause,
    )


def refused(exc: Exception) -> ProviderError:
    """The SDK's refusal to read a request, with the field's own name in front."""
    words = " ".join(str(exc).split())
    if found := _UNKNOWN.search(words):
        field, path = found.groups()
        return unsupported(f"knows no field {f'{path}.{field}'.lstrip('.')}", exc)
    if found := _ENUM.search(words):
        value, path = found.groups()
        return unsupported(f"knows no value {value} of {path}", exc)
    return unsupported(f"cannot read this request ({words[:200]})", exc)


def with_schemas(value: Any) -> Any:
    """A request body whose JSON Schemas stand in the fields the SDK has for schemas.

    The form differs, the meaning does not: types are named in capitals, "or null" is a flag. What
    the SDK's schema has no field for is left where it is, and refused by name.
    """
    if isinstance(value, Mapping):
        return {
            _SCHEMAS.get(key, key): _schema(item) if key in _SCHEMAS else with_schemas(item)
            for key, item in value.items()
        }
    return [with_schemas(item) for item in value] if isinstance(value, list | tuple) else value


def _schema(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    made = dict(schema)
    kind = made.get("type")
    if isinstance(kind, list) and len(kind) == 2 and "null" in kind:
        kind = next(word for word in kind if word != "null")
        made["nullable"] = True
    if isinstance(kind, str):
        made["type"] = kind.upper()
    if isinstance(made.get("properties"), Mapping):
        made["properties"] = {name: _schema(item) for name, item in made["properties"].items()}
    if "items" in made:
        made["items"] = _schema(made["items"])
    return made


def lost(sent: Any, kept: Any, path: str = "") -> Iterator[str]:
    """Paths at which ``kept``, the SDK's own writing of a request, says something else.

    What is empty or zero need not be there.
    """
    match sent:
        case dict():
            for key, value in sent.items():
                if value in (None, "", 0, False, [], {}):
                    continue
                inner = f"{path}.{key}".lstrip(".")
                if not isinstance(kept, Mapping) or key not in kept:
                    yield inner
                elif key != "data":  # base64, of which there are two ways to write the same
                    yield from lost(value, kept[key], inner)
        case list():
            if not isinstance(kept, list) or len(kept) != len(sent):
                yield path
            else:
                for place, (mine, theirs) in enumerate(zip(sent, kept, strict=True)):
                    yield from lost(mine, theirs, f"{path}[{place}]")
        case bool() | None | str():
            if sent != kept:
                yield path
        case _:
            if not _same_number(sent, kept):
                yield path


def _same_number(sent: Any, kept: Any) -> bool:
    if isinstance(kept, bool) or not isinstance(kept, int | float):
        return False
    if isinstance(sent, int):
        return bool(sent == kept)
    return math.isclose(sent, kept, rel_tol=_FLOAT32, abs_tol=1e-30)


def named(raw: Any, typed: Any) -> Any:
    """An answer as it came, with the names of enums where it has numbers."""
    if isinstance(raw, dict):
        known = typed if isinstance(typed, Mapping) else {}
        return {key: named(value, known.get(key)) for key, value in raw.items()}
    if isinstance(raw, list):
        same = isinstance(typed, list) and len(typed) == len(raw)
        return [named(item, typed[i] if same else None) for i, item in enumerate(raw)]
    if isinstance(raw, int) and not isinstance(raw, bool) and isinstance(typed, str):
        return raw if typed.lstrip("-").isdigit() else typed  # a 64-bit number is text to the SDK
    return raw


_SPECIAL = re.compile(rb'["\\{}]')


class ObjectReader:
    """Cuts the objects out of a JSON array that comes in pieces; also reads a lone object."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._depth = 0
        self._in_string = False
        self._escaped = False

    @property
    def inside(self) -> bool:
        """Whether an object has begun and not ended."""
        return self._depth > 0

    def feed(self, data: bytes) -> list[bytes]:
        """The objects that end in ``data``."""
        found: list[bytes] = []
        start = 0 if self._depth else len(data)
        place = 0
        if self._escaped and data:
            self._escaped = False
            place = 1
        while (match := _SPECIAL.search(data, place)) is not None:
            mark, place = match.group(), match.end()
            if mark == b"\\":
                self._escaped = place >= len(data)
                place += 1
            elif mark == b'"':
                self._in_string = not self._in_string
            elif not self._in_string:
                if mark == b"{":
                    if self._depth == 0:
                        start = match.start()
                    self._depth += 1
                elif self._depth:
                    self._depth -= 1
                    if self._depth == 0:
                        self._pieces.append(data[start:place])
                        found.append(b"".join(self._pieces))
                        self._pieces.clear()
                        start = len(data)
        if self._depth:
            self._pieces.append(data[start:])
        return found


def parsed(text: bytes) -> Any:
    """JSON, or None where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None
