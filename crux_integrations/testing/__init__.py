"""Testing against recorded providers: cassettes in process, a replay server over sockets, faults.

``use_cassette`` needs vcrpy (extra ``cassettes``); ``ReplayServer`` needs nothing beyond the core.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cassettes import use_cassette as use_cassette
    from .misses import CassetteMiss as CassetteMiss
    from .replay_server import Mount as Mount
    from .replay_server import ReplayServer as ReplayServer

_HOMES = {
    "CassetteMiss": "misses",
    "Mount": "replay_server",
    "ReplayServer": "replay_server",
    "use_cassette": "cassettes",
}

__all__ = ["CassetteMiss", "Mount", "ReplayServer", "use_cassette"]


def __getattr__(name: str) -> Any:
    # Late: pytest imports this package in every run, and most runs open no cassette.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
