"""The SDK transports on the lowest and the highest version of each SDK that the extras allow.

``python -m tests.sdk_matrix --sdk openai --versions lowest,highest [--markdown]`` makes a temporary
environment per version with pip, runs there the conformance and parity tests whose names say
``SDK``, and prints a row each. A version may also be written out (``--versions 2.8.1``). Exit code
1 where a test failed, a recorded session differed, or nothing ran.

An SDK joins by a row in :data:`SDKS` and harnesses that are named ``<module> SDK…``.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent

TOOLS = ("hypothesis", "packaging", "pytest-asyncio", "pytest-xdist")
"""What the chosen tests need besides the core dependencies and the extras below."""

EXTRAS = ("cassettes", "cli", "testing")


@dataclass(frozen=True)
class Sdk:
    """One SDK: its distribution, the extra whose range holds, what else its tests use."""

    package: str
    extra: str
    also: tuple[str, ...] = ()
    parity: bool = False


SDKS: Mapping[str, Sdk] = {
    "openai": Sdk("openai", "openai", parity=True),
    "anthropic": Sdk("anthropic", "anthropic", ("boto3", "google-auth", "requests"), parity=True),
    "ollama": Sdk("ollama", "ollama"),
    "google-generativeai": Sdk("google-generativeai", "gemini"),
    "litellm": Sdk("litellm", "litellm"),  # its extra holds openai below 3
}


@dataclass
class Result:
    """What one version's tests said."""

    sdk: str
    version: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    parity: str = "none recorded"
    seconds: float = 0.0
    trouble: str = ""

    @property
    def ok(self) -> bool:
        """Whether tests ran and none failed."""
        return self.passed > 0 and not self.failed and not self.trouble


def project() -> dict[str, Any]:
    """The ``project`` table of pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)["project"]
    return table


def requirements(extra: str) -> list[Requirement]:
    """The requirements of an extra, those of this project's own extras resolved."""
    found = []
    for text in project()["optional-dependencies"][extra]:
        requirement = Requirement(text)
        if requirement.name == project()["name"]:
            found += [r for inner in sorted(requirement.extras) for r in requirements(inner)]
        else:
            found.append(requirement)
    return found


def wanted(sdk: Sdk, version: str) -> list[str]:
    """The SDK's requirements with its version settled."""
    texts = []
    for requirement in requirements(sdk.extra):
        if requirement.name == sdk.package and version != "highest":
            exact = lowest(requirement) if version == "lowest" else version
            texts.append(f"{sdk.package}=={exact}")
        else:
            texts.append(str(requirement))
    return texts


def lowest(requirement: Requirement) -> str:
    """The lowest published version that the requirement allows."""
    command = [sys.executable, "-m", "pip", "index", "versions", requirement.name]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = re.search(r"Available versions: (.*)", answer)
    versions = [Version(text.strip()) for text in (line[1] if line else "").split(",") if text]
    fitting = [v for v in versions if requirement.specifier.contains(v)]
    if not fitting:
        raise LookupError(f"no published version of {requirement}")
    return str(min(fitting))


def environment(folder: Path, packages: Sequence[str]) -> Path:
    """A new environment with these packages; returns its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([python, *quiet, *packages], check=True, stderr=subprocess.DEVNULL)
    return python


def run(name: str, version: str, processes: int) -> Result:
    """The tests of one SDK on one version, in an environment of its own."""
    sdk = SDKS[name]
    result = Result(name, version)
    with tempfile.TemporaryDirectory(prefix="crux-sdk-") as temporary:
        folder = Path(temporary)
        core = [*project()["dependencies"], *(str(r) for e in EXTRAS for r in requirements(e))]
        try:
            chosen = wanted(sdk, version)
            python = environment(folder / "venv", [*core, *TOOLS, *sdk.also, *chosen])
        except (subprocess.CalledProcessError, LookupError) as exc:
            result.trouble = f"no environment: {exc}"
            return result
        result.version = installed(python, sdk.package)
        began = time.monotonic()
        _tests(python, folder / "junit.xml", result, processes)
        if sdk.parity:
            _parity(python, name, result)
        result.seconds = time.monotonic() - began
    return result


def installed(python: Path, package: str) -> str:
    """The version of a package in an environment."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def _tests(python: Path, report: Path, result: Result, processes: int) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-n", str(processes), "-m", "conformance"]
    command = [python, "-m", "pytest", *options, "-k", "sdk", f"--junitxml={report}"]
    done = subprocess.run(
        [*command, "tests/transports"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if not report.exists():
        result.trouble = (done.stdout + done.stderr)[-400:]
        return
    suite = next(iter(ET.parse(report).getroot().iter("testsuite")))
    count = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    result.failed = count["failures"] + count["errors"]
    result.skipped = count["skipped"]
    result.passed = count["tests"] - result.failed - result.skipped
    if result.failed:
        result.trouble = "\n".join(re.findall(r"^(?:FAILED|ERROR) .*$", done.stdout, re.MULTILINE))


def _parity(python: Path, name: str, result: Result) -> None:
    command = [python, "-m", "tests.sdk_parity", "--sdk", name, "--markdown"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    rows = [
        [int(cell) for cell in row.strip("| ").split(" | ")[2:]]
        for row in done.stdout.splitlines()
        if re.match(r"\| \w+ \| \w+ \| \d", row)
    ]
    if not rows:
        result.parity = "no recordings here"
        return
    exchanges, *equal = (sum(column) for column in zip(*rows, strict=True))
    result.parity = f"{sum(equal)} of {exchanges} × {len(equal)} equal"
    if done.returncode:
        result.trouble += done.stdout[-400:]


def lines(results: Sequence[Result], markdown: bool) -> Iterator[str]:
    """The table as lines of text, then what went wrong."""
    head = ("SDK", "version", "passed", "failed", "skipped", "recorded sessions", "seconds")
    rows = [
        (r.sdk, r.version, str(r.passed), str(r.failed), str(r.skipped), r.parity,
         f"{r.seconds:.0f}")
        for r in results
    ]  # fmt: skip
    if markdown:
        yield f"| {' | '.join(head)} |"
        yield f"|{'---|' * len(head)}"
        yield from (f"| {' | '.join(row)} |" for row in rows)
    else:
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        for row in (head, *rows):
            yield "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
    for result in results:
        if result.trouble:
            yield f"\n{result.sdk} {result.version}: {result.trouble}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 only where every version passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.sdk_matrix", description=__doc__)
    parser.add_argument("--sdk", help=f"one or more of {', '.join(SDKS)}; all where not given")
    parser.add_argument("--versions", default="lowest,highest")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--markdown", action="store_true")
    asked = parser.parse_args(arguments)
    names = asked.sdk.split(",") if asked.sdk else list(SDKS)
    if unknown := [name for name in names if name not in SDKS]:
        parser.error(f"no SDK {unknown[0]!r}; there are {', '.join(SDKS)}")
    results = [
        run(name, version, asked.processes)
        for name in names
        for version in asked.versions.split(",")
    ]
    for line in lines(results, asked.markdown):
        print(line)
    return 0 if results and all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
