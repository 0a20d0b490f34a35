"""The late-bound ports: one table, looked up at each use."""

from __future__ import annotations

import importlib
import re
import sys
from types import ModuleType

import pytest

from crux_providers.base import ports
from crux_providers.base.ports import PORTS, load, resolve


def test_every_fixed_port_is_there() -> None:
    fixed = [target for target in PORTS.values() if "{" not in target]
    assert fixed
    for target in fixed:
        assert callable(load(target)), target


def test_every_port_names_a_part_of_this_library() -> None:
    assert PORTS
    assert all(re.match(r"crux_providers\.[a-z{]", target) for target in PORTS.values())


def test_resolve_takes_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("crux_providers.fake.get_fake_models")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert resolve("fetcher", "fake") is module


def test_a_replaced_module_takes_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    store = importlib.import_module("crux_providers.persistence.store")
    monkeypatch.setattr(store, "get_store", "another")
    assert resolve("store") == "another"


def test_what_is_no_port_is_refused() -> None:
    with pytest.raises(KeyError):
        resolve("nothing")
    with pytest.raises(ImportError):
        resolve("codec", "no_such_dialect")


def test_load_takes_a_module_or_something_in_it() -> None:
    assert load("crux_providers.base.ports") is ports
    assert load("crux_providers.base.ports:PORTS") is PORTS
