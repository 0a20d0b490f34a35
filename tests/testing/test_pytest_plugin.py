"""The marker, the option and the ini setting, each in a pytest of its own."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.testing.conftest import Upstream

pytest_plugins = ["pytester"]

PLUGIN = "crux_integrations.testing.pytest_plugin"
TESTS = """
import os
import httpx
import pytest

def count():
    return httpx.post(os.environ["UPSTREAM"] + "/v1/x", json={"a": 1}, verify=False).json()["count"]
"""


@pytest.fixture
def run(pytester: pytest.Pytester, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run `TESTS` plus `source` with the arguments."""
    monkeypatch.setenv("UPSTREAM", upstream.url)
    registered = any(e.value == PLUGIN for e in entry_points(group="pytest11"))
    # Only what these tests need: loading every installed plugin takes seconds.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    plugins = ["-p", "pytest_asyncio.plugin", "-p", "crux" if registered else PLUGIN]
    plugins += ["-o", "asyncio_default_fixture_loop_scope=function"]

    def runner(source: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=TESTS + source)
        return pytester.runpytest_inprocess(*plugins, "-p", "no:cacheprovider", *arguments)

    return runner


MARKED = """
@pytest.mark.crux_cassette("a/session")
def test_marked():
    assert count() == 1
"""


def test_the_marker_replays_and_the_option_records(
    run: object, upstream: Upstream, pytester: pytest.Pytester
) -> None:
    missing = run(MARKED)
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(
        ["*CassetteMiss: no cassette at *a/session.yaml; --crux-record=once*"]
    )
    run(MARKED, "--crux-record=once", "--crux-answered-by=upstream 1.0").assert_outcomes(passed=1)
    assert "name: upstream 1.0" in (pytester.path / "cassettes/a/session.yaml").read_text()
    run(MARKED).assert_outcomes(passed=1)
    run(MARKED, "--crux-record=once").assert_outcomes(passed=1)
    assert upstream.count == 1
    run(MARKED, "--crux-record=rewrite").assert_outcomes(failed=1)  # the count is 2 now
    assert upstream.count == 2
    run(MARKED).assert_outcomes(passed=1)  # what failed was not written


def test_async_tests_methods_and_a_file_for_each(
    run: object, upstream: Upstream, pytester: pytest.Pytester
) -> None:
    source = """
@pytest.mark.crux_cassette("set/")
class TestAll:
    @pytest.mark.parametrize("n", ["one two", "/three/"])
    def test_each(self, n):
        count()

    @pytest.mark.asyncio
    async def test_async(self):
        async with httpx.AsyncClient() as http:
            await http.post(os.environ["UPSTREAM"] + "/v1/x", json={"a": 1})
"""
    run(source, "--crux-record=once").assert_outcomes(passed=3)
    names = sorted(p.name for p in (pytester.path / "cassettes/set").iterdir())
    assert names == ["test_async.yaml", "test_each-one-two.yaml", "test_each-three.yaml"]
    run(source).assert_outcomes(passed=3)
    assert upstream.count == 3


def test_marker_beats_option_beats_argument(run: object, upstream: Upstream) -> None:
    source = """
from crux_integrations.testing import use_cassette

@pytest.mark.crux_cassette("marked", mode="none")
def test_marker():
    count()

def test_argument(tmp_path):
    with use_cassette(tmp_path / "x.yaml", mode="none") as cassette:
        count()
        assert cassette.mode == "rewrite"
"""
    result = run(source, "--crux-record=rewrite")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*no cassette at *marked.yaml*"])
    assert upstream.count == 1


def test_the_ini_setting_and_faults(run: object, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ncrux_cassette_dir = tapes\n")
    source = """
@pytest.mark.crux_cassette("x")
def test_it():
    count()
"""
    run(source, "--crux-record=once").assert_outcomes(passed=1)
    assert (pytester.path / "tapes/x.yaml").is_file()
    faulty = """
@pytest.mark.crux_cassette("x", faults="status:429")
def test_it():
    assert httpx.post(os.environ["UPSTREAM"] + "/v1/x", json={"a": 1}).status_code == 429
"""
    run(faulty).assert_outcomes(passed=1)


def test_a_swallowed_miss_fails_the_test_and_a_skip_writes_nothing(
    run: object, pytester: pytest.Pytester
) -> None:
    source = """
@pytest.mark.crux_cassette("x")
def test_it():
    count()

@pytest.mark.crux_cassette("skipped")
def test_skipped():
    count()
    pytest.skip("no")
"""
    run(source, "--crux-record=once").assert_outcomes(passed=1, skipped=1)
    assert [p.name for p in (pytester.path / "cassettes").iterdir()] == ["x.yaml"]
    swallowing = """
@pytest.mark.crux_cassette("x")
def test_it():
    try:
        httpx.post(os.environ["UPSTREAM"] + "/v1/y", json={"a": 1})
    except Exception:
        pass
"""
    result = run(swallowing)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(['*first difference: path: recorded "/v1/x", sent "/v1/y"*'])


def test_the_marker_takes_one_name(run: object) -> None:
    result = run('@pytest.mark.crux_cassette("a", "once")\ndef test_it(): pass\n')
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*crux_cassette takes one name*"])


def test_the_modes_are_named(run: object) -> None:
    result = run(MARKED, "--crux-record=all")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*invalid choice: 'all'*none*once*rewrite*"])


def test_it_is_declared_as_a_plugin() -> None:
    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text("utf-8")
    assert f'crux = "{PLUGIN}"' in text
