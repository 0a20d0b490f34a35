"""Processes that write at once, end, fork and are killed."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from crux_providers.base.capabilities import Observation
from crux_providers.persistence import facts
from crux_providers.persistence.database import open_database
from crux_providers.persistence.location import Location
from crux_providers.persistence.rows import Attempt
from crux_providers.persistence.store import get_store

PRELUDE = """
import os, sys, time, threading
from crux_providers.base.capabilities import Observation, record_observation
from crux_providers.persistence.rows import Attempt
from crux_providers.persistence.store import get_store
"""


def _run(code: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **kwargs,  # type: ignore[call-overload]  # cwd and the like
    )


def _evidence(file: Path) -> dict[str, int]:
    connection = sqlite3.connect(file)
    try:
        return dict(connection.execute("SELECT model_id, successes FROM capability_evidence"))
    finally:
        connection.close()


def test_the_end_of_the_process_writes_what_waits(crux_db: Path) -> None:
    done = _run("record_observation('p', 'exit', 'tools', True)")
    assert done.returncode == 0, done.stderr
    assert _evidence(crux_db) == {"exit": 1}


def test_an_exception_that_ends_the_process_loses_nothing(crux_db: Path) -> None:
    done = _run("record_observation('p', 'crash', 'tools', True)\nraise SystemExit(3)")
    assert done.returncode == 3
    assert _evidence(crux_db) == {"crash": 1}


def test_rows_put_by_another_exit_handler_are_written_too(crux_db: Path) -> None:
    # Handlers run in reverse order, so one registered before ours runs after it.
    code = (
        "import atexit\n"
        "def late():\n"
        "    from crux_providers.base.capabilities import record_observation\n"
        "    record_observation('p', 'late', 'tools', True)\n"
        "    from crux_providers.persistence.writer import close_all\n"
        "    close_all()\n"
        "atexit.register(late)\n"
        "from crux_providers.base.capabilities import record_observation\n"
        "record_observation('p', 'first', 'tools', True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert _evidence(crux_db) == {"first": 1, "late": 1}


def _child(target: str, name: str, rows: int) -> None:
    # The fork server keeps the environment in which it was first started.
    os.environ["CRUX_DB"] = target
    store = get_store()
    for number in range(rows):
        store.observe(Observation("p", name, "tools", True, "whole", time.time()))
        store.put(Attempt(f"{name}-{number}", 1, "r", "p", name, "ok", time.time(), cost_usd=0.5))


@pytest.mark.parametrize(
    "method",
    [
        method if method == "fork" else pytest.param(method, marks=pytest.mark.slow)
        for method in multiprocessing.get_all_start_methods()
    ],
)
def test_the_end_of_a_multiprocessing_child_writes_what_waits(method: str, place: Location) -> None:
    get_store().observe(Observation("p", "parent", "tools", True, "whole", time.time()))
    context = multiprocessing.get_context(method)
    children = [context.Process(target=_child, args=(place.target, f"c{n}", 300)) for n in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    get_store().close()
    with open_database(place) as database:
        found = dict(database.execute("SELECT model_id, successes FROM capability_evidence"))
        ((attempts, dollars),) = database.execute("SELECT COUNT(*), SUM(cost_usd) FROM attempts")
    assert found == {"parent": 1, "c0": 300, "c1": 300, "c2": 300, "c3": 300}
    assert (attempts, dollars) == (1200, 600.0)


def test_kill_nine_leaves_a_clean_database_and_all_but_the_last_batch(crux_db: Path) -> None:
    code = """
        store = get_store()
        number = 0
        while True:
            store.put(Attempt(f"c{number}", 1, "r", "p", "m", "ok", time.time()))
            number += 1
            if number % 100 == 0:
                store.flush()
                print(number, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = 0
    for line in process.stdout:
        said = int(line)
        if said >= 3000:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    rest = process.stdout.read().split()
    process.stdout.close()
    said = int(rest[-1]) if rest else said
    connection = sqlite3.connect(crux_db)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        ((count,),) = connection.execute("SELECT COUNT(*) FROM attempts").fetchall()
    finally:
        connection.close()
    assert said <= count <= said + 100  # what was not yet said to be flushed, and no more


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_in_a_busy_process_goes_on_on_both_sides(crux_db: Path) -> None:
    done = _run("""
        store = get_store()
        stop = threading.Event()
        def busy():
            n = 0
            while not stop.is_set():
                store.observe(Observation("p", "parent", "tools", True, "whole", time.time()))
                n += 1
                if n % 50 == 0: time.sleep(0.001)
            print("parent", n, flush=True)
        thread = threading.Thread(target=busy); thread.start()
        children = []
        for k in range(8):
            time.sleep(0.02)
            pid = os.fork()
            if pid == 0:
                for _ in range(100):
                    store.observe(Observation("p", f"child{k}", "tools", True, "whole", 1.0))
                store.close()
                os._exit(0)
            children.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        stop.set(); thread.join()
        store.close()
        print("codes", codes)
    """)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert lines["codes"] == str([0] * 8)
    found = _evidence(crux_db)
    assert found.pop("parent") == int(lines["parent"])
    assert found == {f"child{k}": 100 for k in range(8)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_read_only_home_is_one_warning_and_nothing_kept(
    mode: int, request: pytest.FixtureRequest
) -> None:
    # Not under tmp_path, which another user may not enter.
    home = Path(tempfile.mkdtemp())
    request.addfinalizer(lambda: (home.chmod(0o700), shutil.rmtree(home)))
    home.chmod(mode)
    done = _run(
        f"""
        import logging, tempfile
        import sqlite3, platformdirs, unittest.mock
        import crux_providers.persistence.sink, crux_providers.persistence.database
        import crux_providers.persistence.sqlite.engine, crux_providers.persistence.schema
        logging.basicConfig(format="%(message)s", stream=sys.stdout)
        os.environ.pop("CRUX_DB", None)
        os.environ["HOME"] = {str(home)!r}
        if os.geteuid() == 0:
            os.setgid(65534); os.setuid(65534)   # root may write anywhere
        try:
            open(os.path.join(os.environ["HOME"], "probe"), "w").close()
        except PermissionError:
            pass
        else:
            raise SystemExit("the home is writable here")
        store = get_store()
        store.snapshot()
        for _ in range(3):
            record_observation("p", "m", "tools", True)
            store.flush()
        store.close()
        print("known", store.snapshot()[("p", "m")].flags(time.time()))
    """
    )
    if "the home is writable here" in done.stderr:
        pytest.skip("this user may write anywhere")
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "persistence" in line]
    assert len(said) == 1, done.stdout
    assert "CRUX_DB" in said[0]
    assert "known {'tools': True}" in done.stdout
    assert list(home.iterdir()) == []


@pytest.mark.slow
def test_what_another_process_saw_is_known_within_the_refresh(place: Location) -> None:
    """In a process that plans: within REFRESH_S, a refresh, and the other one's own interval."""
    store = get_store()
    assert store.snapshot() == {}
    began = time.monotonic()
    done = _run("record_observation('p', 'other', 'tools', False, reason='not here')")
    assert done.returncode == 0, done.stderr
    slowest = 0.0
    while ("p", "other") not in store.snapshot() and time.monotonic() - began < 30:
        look = time.perf_counter()
        store.snapshot()
        slowest = max(slowest, time.perf_counter() - look)
        time.sleep(0.001)
    took = time.monotonic() - began
    assert store.snapshot()[("p", "other")].fact("tools", "whole", time.time()) is not None
    assert took < facts.REFRESH_S + 5.0
    assert slowest < 0.1  # no look waited for the refresh
    store.close()
