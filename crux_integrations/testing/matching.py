"""Which recording answers a request, and how the nearest one differs where none does. Pure.

Bodies are compared as JSON values: key order, whitespace and escapes say nothing, ``1`` equals
``1.0``, and at the top level a null and ``"stream": false`` equal an absent key. Ids of tool calls
say only which call a result belongs to, since callers make them up at random. A body that is no
JSON is compared as text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

Normal = Any
"""A normalized body: JSON values with dicts free of what does not matter, text, or None."""

ABSENT: Any = type("Absent", (), {"__repr__": lambda _: "nothing"})()
"""What a field that is not there compares as."""

FIELDS = ("method", "host", "path", "body")
"""What a cassette matches on unless told otherwise, in the order differences are reported."""


class Difference(NamedTuple):
    """One field that differs: ``path`` as in ``body.messages[1].content``."""

    path: str
    recorded: Any
    sent: Any

    def __str__(self) -> str:
        recorded, sent = _excerpts(self.recorded, self.sent)
        return f"{self.path}: recorded {recorded}, sent {sent}"


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What of a request can be matched on. ``host`` has no port, ``path`` no query."""

    method: str
    host: str
    path: str
    body: Normal = None

    @classmethod
    def of(cls, method: str, url: str, body: bytes | str | None) -> RequestKey:
        """The key of a request to ``url``."""
        parts = urlsplit(url)
        return cls(method.upper(), parts.hostname or "", parts.path or "/", normalize(body))

    def __str__(self) -> str:
        return f"{self.method} {self.host}{self.path}"


def normalize(body: bytes | str | None) -> Normal:
    """``body`` as the value it is compared by."""
    if not body:
        return None
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "backslashreplace") if isinstance(body, bytes) else body
    if not isinstance(value, dict):
        return value
    ids: dict[str, str] = {}
    return {
        key: _without_ids(item, key, ids)
        for key, item in value.items()
        if item is not None and (key, item) != ("stream", False)
    }


_CALL_IDS = frozenset({"call_id", "tool_call_id", "tool_use_id"})
_CALL_TYPES = frozenset({"function", "function_call", "tool_use"})
_CALL_KEYS = frozenset({"functionCall", "functionResponse"})
_CALLERS_OWN = frozenset({"args", "input", "input_schema", "parameters", "response", "schema"})
"""Keys of objects that are the caller's own data, in which an ``id`` is what it says."""


def _without_ids(value: Any, key: str, ids: dict[str, str]) -> Any:
    """``value`` with each tool call's id replaced by its place in the order of appearance."""
    match value:
        case list():
            return [_without_ids(item, "", ids) for item in value]
        case dict() if key not in _CALLERS_OWN:
            kind = value.get("type")  # in a caller's own data it may be anything
            a_call = (isinstance(kind, str) and kind in _CALL_TYPES) or key in _CALL_KEYS
            return {
                k: ids.setdefault(v, f"tool call {len(ids) + 1}")
                if isinstance(v, str) and (k in _CALL_IDS or (k == "id" and a_call))
                else _without_ids(v, k, ids)
                for k, v in value.items()
            }
        case _:
            return value


def matches(recorded: RequestKey, sent: RequestKey, fields: Sequence[str] = FIELDS) -> bool:
    """Whether the two are one request, as far as ``fields`` go."""
    return next(differences(recorded, sent, fields), None) is None


def differences(
    recorded: RequestKey, sent: RequestKey, fields: Sequence[str] = FIELDS
) -> Iterator[Difference]:
    """Every field in which the two differ, in the order of the recording."""
    for field in fields:
        if field == "body":
            yield from _walk("body", recorded.body, sent.body)
        elif (a := getattr(recorded, field)) != (b := getattr(sent, field)):
            yield Difference(field, a, b)


def _walk(path: str, a: Any, b: Any) -> Iterator[Difference]:
    match a, b:
        case dict(), dict():
            for key in (*a, *(k for k in b if k not in a)):
                yield from _walk(f"{path}.{key}", a.get(key, ABSENT), b.get(key, ABSENT))
        case list(), list():
            for i in range(max(len(a), len(b))):
                yield from _walk(
                    f"{path}[{i}]",
                    a[i] if i < len(a) else ABSENT,
                    b[i] if i < len(b) else ABSENT,
                )
        case _ if a != b or isinstance(a, bool) != isinstance(b, bool):
            yield Difference(path, a, b)


class Nearest(NamedTuple):
    """The recording closest to a request, by its place, and where they differ."""

    place: int
    differences: tuple[Difference, ...]


def nearest(
    recordings: Sequence[RequestKey], sent: RequestKey, fields: Sequence[str] = FIELDS
) -> Nearest | None:
    """The recording that differs least: in method, path and host first, then in body fields."""
    found: Nearest | None = None
    least: tuple[int, int] | None = None
    for place, recorded in enumerate(recordings):
        different = tuple(differences(recorded, sent, fields))
        outside = sum(not d.path.startswith("body") for d in different)
        if least is None or (outside, len(different)) < least:
            least = outside, len(different)
            found = Nearest(place, different)
    return found


class Turn(NamedTuple):
    """What a loose match looks at: the model, the streaming, and who spoke last."""

    model: str | None
    stream: bool
    last: str


def turn_of(path: str, body: Normal) -> Turn:
    """The turn a request is, in any dialect; ``last`` is ``tool`` where tool results end it.

    Gemini names model and streaming in the path.
    """
    content: Mapping[str, Any] = body if isinstance(body, dict) else {}
    model, stream = content.get("model"), bool(content.get("stream"))
    if path.endswith(("generateContent", "streamGenerateContent")):
        model = path.rsplit("/", 1)[-1].split(":")[0]
        stream = path.endswith("streamGenerateContent")
    items = next(
        (content[key] for key in ("messages", "contents", "input") if key in content), None
    )
    return Turn(model if isinstance(model, str) else None, stream, _last_speaker(items))


def _last_speaker(items: Any) -> str:
    if not isinstance(items, list) or not items or not isinstance(items[-1], dict):
        return "user"
    last = items[-1]
    parts = last.get("content") or last.get("parts")
    kinds = {
        p.get("type", "functionResponse" if "functionResponse" in p else None)
        for p in (parts if isinstance(parts, list) else ())
        if isinstance(p, dict)
    }
    if last.get("type") == "function_call_output" or kinds & {"tool_result", "functionResponse"}:
        return "tool"
    return str(last.get("role", "user"))


def _excerpts(a: Any, b: Any, width: int = 100) -> tuple[str, str]:
    """Both values on one line, long ones cut around the place where they part."""
    x, y = (v if v is ABSENT else _text(v) for v in (a, b))
    if x is ABSENT or y is ABSENT or max(len(x), len(y)) <= width:
        return _cut(x, 0, width), _cut(y, 0, width)
    pairs = enumerate(zip(x, y, strict=False))
    parting = next((i for i, (p, q) in pairs if p != q), min(len(x), len(y)))
    start = max(0, parting - width // 3)
    return _cut(x, start, width), _cut(y, start, width)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)


def _cut(text: Any, start: int, width: int) -> str:
    if text is ABSENT:
        return repr(ABSENT)
    left, right = "…" if start else "", "…" if len(text) > start + width else ""
    return f"{left}{text[start : start + width]}{right}"
