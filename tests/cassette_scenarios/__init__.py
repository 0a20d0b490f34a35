"""What is recorded into `cassettes/`, and from which server: one module for each dialect.

A scenario is a function that gets `call` (send one JSON body, or none, and have the answer's bytes)
and makes its requests one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

JSON = dict[str, Any]


class Call(Protocol):
    """Send `body` to `path` of the scenario's server; the answer, whatever its status."""

    def __call__(self, path: str, body: JSON, headers: Mapping[str, str] = {}) -> bytes: ...


class Scenario(NamedTuple):
    """One cassette: its `name` below `cassettes/`, the server that answers, its requests."""

    name: str
    server: str
    run: Callable[[Call], None]


WEATHER_SCHEMA: JSON = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
CITY_SCHEMA: JSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "country": {"type": "string"}},
    "required": ["name", "country"],
    "additionalProperties": False,
}
WEATHER = "Get the current weather in a city."
CAPITAL = "Name the capital of France in one short sentence."
ONE_CITY = "What is the weather in Paris?"
TWO_CITIES = "What is the weather in Paris and in Rome?"
AS_JSON = "Describe the city of Paris as JSON."
PUZZLE = "How many r are in strawberry?"
PICTURE = "What colour is this picture?"
RESULTS = {"Paris": "18 degrees Celsius, light rain", "Rome": "27 degrees Celsius, sunny"}
TOO_LONG = "word " * 2200

RED_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mP4z8CAFTEMLQkA/vs/wbCmYt4AAAAA"
    "SUVORK5CYII="
)
"""Eight by eight red pixels."""


def events(answer: bytes) -> list[JSON]:
    """The JSON of every event of a framed answer."""
    lines = (line.removeprefix("data:").strip() for line in answer.decode().splitlines())
    return [json.loads(line) for line in lines if line.startswith("{")]
