"""Cassettes in pytest: a marker, an option, an ini setting.

::

    @pytest.mark.crux_cassette("openai_chat/text")          # cassettes/openai_chat/text.yaml
    @pytest.mark.crux_cassette("tools", faults="cut@3")     # what use_cassette takes
    @pytest.mark.crux_cassette("standard/openai/")          # on a class: one file for each test

``--crux-record=once`` records what is missing, ``--crux-record=rewrite`` everything anew;
``--crux-answered-by`` says in the files' headers who answered. The marker's own ``mode`` beats the
option, and the option beats ``use_cassette(mode=…)``. The cassette is open while the test function
runs, not in its fixtures. A test that fails or skips leaves the file as it was.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from .modes import MODES, Mode, set_option

_DIRECTORY = "crux_cassette_dir"
_BEFORE = pytest.StashKey[Mode | None]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option and the ini setting."""
    group = parser.getgroup("crux", "crux cassettes")
    group.addoption(
        "--crux-record",
        choices=MODES,
        default=None,
        help="record cassettes: once (where there is no file), rewrite (all anew), none",
    )
    group.addoption(
        "--crux-answered-by",
        metavar="WHO",
        default=None,
        help="what the header of a recorded cassette says answered, with its version",
    )
    parser.addini(_DIRECTORY, "folder of the cassettes, below the root", default="cassettes")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known and the option count."""
    config.addinivalue_line(
        "markers",
        "crux_cassette(name, mode=None, **options): answer this test's HTTP from a cassette",
    )
    config.stash[_BEFORE] = set_option(config.getoption("--crux-record"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Put the option back: a process may run pytest more than once, even inside itself."""
    set_option(config.stash.get(_BEFORE, None))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Open the marked test's cassette around the call."""
    marker = item.get_closest_marker("crux_cassette")
    if marker is None:
        return (yield)
    with _cassette_of(item, marker):
        return (yield)


def _cassette_of(item: pytest.Item, marker: pytest.Mark) -> Any:
    from .cassettes import use_cassette  # late: most runs open none

    options = dict(marker.kwargs)
    name = marker.args[0] if marker.args else options.pop("name", f"{item.path.stem}/")
    if len(marker.args) > 1 or not isinstance(name, str):
        raise pytest.UsageError(f"{item.nodeid}: crux_cassette takes one name, then keywords")
    mode = options.pop("mode", None)
    options.setdefault("answered_by", item.config.getoption("--crux-answered-by"))
    folder = item.config.rootpath / item.config.getini(_DIRECTORY)
    path = folder / name / _file_name(item.name) if name.endswith("/") else folder / name
    opened = use_cassette(path, **options)
    return opened.with_mode(mode) if mode else opened


def _file_name(test: str) -> Path:
    """A test's name, parameters and all, as a file's."""
    return Path(re.sub(r"[^A-Za-z0-9_.=-]+", "-", test).strip("-") + ".yaml")
