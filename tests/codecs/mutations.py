"""Damage for fuzz tests: bodies with bytes or JSON values spoiled, the same for the same seed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 2**70, 1e308, "", "x", "\ud800", "\x00", "[DONE]", [], {},
    [None], [[]], {"": None}, [{}], {"index": "0"}, [{"index": 0}, {"index": 0}], "error",
    {"error": {}},
    {"message": {"detail": [{"loc": 5}]}},
)  # fmt: skip
ODD_TEXT: tuple[bytes, ...] = (
    b"\xff", b"\xed\xa0\x80", b"\\ud800", b"NaN", b"1e999", b"-", b"{", b"]", b"\x00", b"\r", b"\n",
    b"\n\n", b"data: ", b": ping\n", b"event: error\n", b"[DONE]", b"null", b"9" * 5000,
    b"[" * 3000, b'{"a":' * 2000,
)  # fmt: skip


def spoiled_bytes(body: bytes, dice: random.Random) -> bytes:
    """``body`` with some bytes flipped, dropped, doubled, cut off, moved or replaced."""
    data = bytearray(body)
    for _ in range(dice.choice((1, 1, 1, 2, 5))):
        if not data:
            break
        at = dice.randrange(len(data))
        to = min(len(data), at + dice.choice((1, 1, 2, 8, 64, 400)))
        match dice.randrange(6):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                del data[at:to]
            case 2:
                data[at:at] = data[at:to]
            case 3:
                del data[at:]
            case 4:
                piece = data[at:to]
                del data[at:to]
                other = dice.randrange(len(data) + 1)
                data[other:other] = piece
            case _:
                data[at:to] = dice.choice(ODD_TEXT)
    return bytes(data)


def spoiled_json(value: Any, dice: random.Random) -> Any:
    """A copy of a JSON value with one to three places replaced, dropped, doubled or renamed."""
    value = copy.deepcopy(value)
    for _ in range(dice.choice((1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            return dice.choice(ODD_VALUES)
        holder, key = dice.choice(places)
        _spoil(holder, key, dice)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys: Any = value if isinstance(value, dict) else ()
    for key in range(len(value)) if isinstance(value, list) else keys:
        yield value, key
        yield from _places(value[key])


def _spoil(holder: Any, key: Any, dice: random.Random) -> None:
    match dice.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case 1:
            holder[f"{key}x"] = holder.pop(key)
        case 2 if isinstance(holder[key], (dict, list)):
            holder[key] = json.dumps(holder[key])
        case 2:
            holder[key] = [holder[key]]
        case _:
            holder[key] = copy.deepcopy(dice.choice(ODD_VALUES))


def spoiled_stream(body: bytes, dice: random.Random) -> bytes:
    """An SSE body with whole events dropped, doubled, swapped, or one event's JSON spoiled."""
    events = body.split(b"\n\n")
    at = dice.randrange(len(events))
    other = dice.randrange(len(events))
    match dice.randrange(4):
        case 0:
            del events[at]
        case 1:
            events.insert(other, events[at])
        case 2:
            events[at], events[other] = events[other], events[at]
        case _:
            head, mark, text = events[at].partition(b"data: ")
            try:
                spoiled = spoiled_json(json.loads(text), dice)
            except ValueError:
                spoiled = dice.choice(ODD_VALUES)
            events[at] = head + mark + json.dumps(spoiled).encode()
    return b"\n\n".join(events)
