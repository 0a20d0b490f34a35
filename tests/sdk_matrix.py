"""The SDK transports on the lowest and the highest version of each SDK that the extras allow.

``python -m tests.sdk_matrix --sdk openai --versions lowest,highest [--markdown]`` makes a temporary
environment per version with pip, runs there the conformance tests whose names say ``SDK`` and
:mod:`tests.sdk_parity`, and prints a row each. A version may also be written out (``--versions
2.8.1``). ``--write docs/sdks.md`` puts the rows and the limits of these SDKs into that page. Exit
code 1 where a test failed, a recorded session differed, or nothing ran.

An SDK joins by a row in :data:`tests.sdk_subjects.SUBJECTS` and harnesses that are named
``<module> SDK…``.
"""

from __future__ import annotations

import argparse
import json
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

from tests.sdk_subjects import SUBJECTS, Subject
from tests.text_table import table

ROOT = Path(__file__).resolve().parent.parent

TOOLS = ("hypothesis", "packaging", "pytest-asyncio", "pytest-xdist")
"""What the chosen tests need besides the core dependencies and the extras below."""

EXTRAS = ("cassettes", "cli", "testing")

HEAD = ("SDK", "allowed", "version", "passed", "failed", "skipped", "recorded exchanges")

INTRODUCTION = """\
# SDK transports

`transport: sdk` sends a provider's calls through its official SDK, `client=` through a ready client
of yours. The table is the lowest and the highest version that each extra allows, each in an
environment of its own: the conformance tests that passed, failed and were skipped, then the
recorded exchanges that came to the same as over `http`, in each of the ways named. Beneath it, per
SDK, is what it cannot do or does otherwise, as the tests of the highest version say: the error or
the reason, and in parentheses the scenarios or recordings.

All of this page is written by `python -m tests.sdk_matrix --write docs/sdks.md`.
"""


ALSO: Mapping[str, tuple[str, ...]] = {"anthropic": ("boto3", "google-auth", "requests")}
"""What else an SDK's tests use: Bedrock's and Vertex's credentials."""

SDKS: Mapping[str, Subject] = {subject.sdk: subject for subject in SUBJECTS}


@dataclass
class Result:
    """What one version's tests said; ``limits`` are what it cannot do, in words, and where."""

    sdk: str
    version: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    parity: str = "no recordings here"
    limits: dict[str, list[str]] = field(default_factory=dict)
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


def wanted(sdk: Subject, version: str) -> list[str]:
    """The SDK's requirements with its version settled."""
    texts = []
    for requirement in requirements(sdk.extra):
        if requirement.name == sdk.sdk and version != "highest":
            exact = lowest(requirement) if version == "lowest" else version
            texts.append(f"{sdk.sdk}=={exact}")
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
            python = environment(folder / "venv", [*core, *TOOLS, *ALSO.get(name, ()), *chosen])
        except (subprocess.CalledProcessError, LookupError) as exc:
            result.trouble = f"no environment: {exc}"
            return result
        result.version = installed(python, name)
        began = time.monotonic()
        _tests(python, folder / "junit.xml", result, processes)
        _parity(python, sdk, result)
        result.seconds = time.monotonic() - began
    return result


def installed(python: Path, package: str) -> str:
    """The version of a package in an environment."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def _tests(python: Path, report: Path, result: Result, processes: int) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-n", str(processes), "-m", "conformance"]
    chosen = SDKS[result.sdk].tests
    command = [python, "-m", "pytest", *options, "-k", chosen, f"--junitxml={report}"]
    done = subprocess.run(
        [*command, "tests/transports"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if not report.exists():
        result.trouble = (done.stdout + done.stderr)[-400:]
        return
    suite = next(iter(ET.parse(report).getroot().iter("testsuite")))
    count = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    result.failed = count["failures"] + count["errors"]
    result.passed = count["tests"] - result.failed - count["skipped"]
    result.skipped = sum(_here(skipped) for skipped in suite.iter("skipped"))
    result.limits = _limits(suite)
    if result.failed:
        result.trouble = "\n".join(re.findall(r"^(?:FAILED|ERROR) .*$", done.stdout, re.MULTILINE))


def _here(skipped: ET.Element) -> bool:
    """Whether a skip is this SDK's: not that of a test which needs another one."""
    return re.search(r"needs |not installed|^collection", skipped.get("message", "")) is None


def _limits(suite: ET.Element) -> dict[str, list[str]]:
    """What transports answered with a named error, and what was skipped, by its words."""
    found: dict[str, set[str]] = {}
    for case in suite.iter("testcase"):
        scenario = case.get("name", "").partition("[")[0].removeprefix("test_").replace("_", " ")
        told = [p.get("value", "") for p in case.iter("property") if p.get("name") == "error"]
        told += [f"not asked: {s.get('message', '')}" for s in case.iter("skipped") if _here(s)]
        for words in told:
            found.setdefault(words, set()).add(scenario)
    return {words: sorted(scenarios) for words, scenarios in sorted(found.items())}


def _parity(python: Path, sdk: Subject, result: Result) -> None:
    command = [python, "-m", "tests.sdk_parity", "--sdk", sdk.sdk, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if not done.stdout.startswith("{"):
        result.trouble += done.stderr[-400:]
        return
    told = json.loads(done.stdout)
    counts = {
        name: sum(row[name] for row in told["table"])
        for name in ("equal", "refused", "known", "differing")
    }
    said = [f"{n} {name}" for name, n in counts.items() if n or name in ("equal", "differing")]
    result.parity = f"{', '.join(said)} ({', '.join(sdk.ways)})"
    for words, times in told["refusals"].get(sdk.sdk, {}).items():
        result.limits.setdefault(f"refused: {words}", []).append(f"{times} recorded")
    for name, why in sdk.known.items():
        result.limits.setdefault(f"known: {why}", []).append(name)
    result.trouble += "\n".join(told["differing"])[:2000]


def lines(results: Sequence[Result], markdown: bool) -> Iterator[str]:
    """The table as lines of text, then what went wrong."""
    head = ("SDK", "version", "passed", "failed", "skipped", "recorded exchanges", "seconds")
    rows = [
        (r.sdk, r.version, str(r.passed), str(r.failed), str(r.skipped), r.parity,
         f"{r.seconds:.0f}")
        for r in results
    ]  # fmt: skip
    yield from table(head, rows, markdown)
    for result in results:
        if result.trouble:
            yield f"\n{result.sdk} {result.version}: {result.trouble}"


def write(page: Path, results: Sequence[Result]) -> None:
    """Put the rows and the limits of these SDKs into the page, in place of what it said."""
    old = page.read_text("utf-8") if page.exists() else ""
    rows = [tuple(row.strip("| ").split(" | ")) for row in re.findall(r"^\| .*\|$", old, re.M)][1:]
    sections = dict(re.findall(r"^## (.+)\n\n((?:- .*\n)*)", old, re.M))
    ran = {result.sdk for result in results}
    rows = [row for row in rows if row[0] not in ran]
    for result in results:
        counts = (str(n) for n in (result.passed, result.failed, result.skipped))
        allowed = next(r for r in requirements(SDKS[result.sdk].extra) if r.name == result.sdk)
        rows.append((result.sdk, f"`{allowed}`", result.version, *counts, result.parity))
        sections[result.sdk] = "".join(
            f"- {words} ({', '.join(where)})\n" for words, where in result.limits.items()
        )
    rows.sort(key=lambda row: (list(SDKS).index(row[0]), Version(row[2])))
    text = [INTRODUCTION, *table(HEAD, rows, markdown=True)]
    for sdk in SDKS:
        if sdk in sections:
            text += ["", f"## {sdk}", "", sections[sdk].rstrip("\n")]
    page.write_text("\n".join(text) + "\n", "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 only where every version passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.sdk_matrix", description=__doc__)
    parser.add_argument("--sdk", help=f"one or more of {', '.join(SDKS)}; all where not given")
    parser.add_argument("--versions", default="lowest,highest")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="docs/sdks.md")
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
    if asked.write:
        write(asked.write, results)
    return 0 if results and all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
