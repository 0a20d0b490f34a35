"""Every recorded exchange through its codec, beside the SDK's own reading of it.

``python -m tests.recordings_report [--provider P] [--endpoint E]`` prints a row per provider and
endpoint: files, interactions, decoded, compared, differing. Each difference is listed below with
its reason; the exit code is 1 where one has none, where a listed reason explains nothing any more,
or where nothing was examined.

A dialect joins by a module in ``tests/comparers`` with

- ``compare(interaction) -> list[str]``: the differences in words, empty where all is equal; a line
  that begins with ``decode:`` says that the codec could not read it at all;
- ``REASONS``: optional, ``{file or "file#number": reason}`` for exchanges that may differ.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

from tests import recordings
from tests.recordings import Interaction

COMPARERS: Mapping[str, str] = {
    "chat": "tests.comparers.openai_chat",
    "messages": "tests.comparers.anthropic_messages",
    "responses": "tests.comparers.openai_responses",
    "generateContent": "tests.comparers.gemini_generate",
    "streamGenerateContent": "tests.comparers.gemini_generate",
    "ollama_chat": "tests.comparers.ollama_chat",
}
HEAD = ("provider", "endpoint", "files", "interactions", "decoded", "compared", "differing")


@dataclass
class Row:
    """The counts of one provider and endpoint."""

    files: set[str] = field(default_factory=set)
    interactions: int = 0
    decoded: int = 0
    compared: int = 0
    differing: int = 0


@dataclass(frozen=True)
class Difference:
    """One exchange that differs: what, and the reason its comparer lists (None: none)."""

    interaction: Interaction
    words: tuple[str, ...]
    reason: str | None


@dataclass
class Report:
    """What a run found."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    uncovered: dict[str, int] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether something was examined and every difference has a reason that still holds."""
        examined = any(row.interactions for row in self.rows.values())
        return examined and not self.stale and all(d.reason for d in self.differences)


def comparer(endpoint: str) -> ModuleType | None:
    """The module that compares this endpoint, or None where it is not there."""
    name = COMPARERS[endpoint]
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def run(interactions: Iterable[Interaction]) -> Report:
    """Compare each exchange whose endpoint has a comparer."""
    report = Report()
    modules: dict[str, ModuleType] = {}
    used: dict[str, set[str]] = {}
    examined: set[str] = set()
    for interaction in interactions:
        endpoint = interaction.endpoint
        if endpoint not in COMPARERS:
            report.uncovered[endpoint] = report.uncovered.get(endpoint, 0) + 1
            continue
        if endpoint not in modules:
            module = comparer(endpoint)
            if module is None:
                report.absent[endpoint] = COMPARERS[endpoint]
                continue
            modules[endpoint] = module
        module = modules[endpoint]
        examined.add(interaction.file)
        row = report.rows.setdefault((interaction.provider, endpoint), Row())
        row.files.add(interaction.file)
        row.interactions += 1
        words = _compare(module.compare, interaction)
        decoded = not any(w.startswith("decode:") for w in words)
        row.decoded += decoded
        row.compared += decoded
        row.differing += bool(words)
        if words:
            reasons: Mapping[str, str] = getattr(module, "REASONS", {})
            key = next((k for k in (interaction.name, interaction.file) if k in reasons), None)
            if key is not None:
                used.setdefault(module.__name__, set()).add(key)
            report.differences.append(
                Difference(interaction, tuple(words), None if key is None else reasons[key])
            )
    for module in {m.__name__: m for m in modules.values()}.values():
        for key in getattr(module, "REASONS", {}):
            file = key.partition("#")[0]
            if file in examined and key not in used.get(module.__name__, set()):
                report.stale.append(f"{module.__name__}: {key}")
    return report


def _compare(compare: Callable[[Interaction], list[str]], interaction: Interaction) -> list[str]:
    try:
        return compare(interaction)
    except Exception as exc:
        return [f"decode: the comparer raised {type(exc).__name__}: {exc}"]


def lines(report: Report) -> Iterable[str]:
    """The report as lines of text."""
    table = [HEAD]
    for (provider, endpoint), row in sorted(report.rows.items()):
        counts = (len(row.files), row.interactions, row.decoded, row.compared, row.differing)
        table.append((provider, endpoint, *map(str, counts)))
    whole = Row(set().union(*(r.files for r in report.rows.values()), set()))
    for row in report.rows.values():
        whole.interactions += row.interactions
        whole.decoded += row.decoded
        whole.compared += row.compared
        whole.differing += row.differing
    counts = (len(whole.files), whole.interactions, whole.decoded, whole.compared, whole.differing)
    table.append(("all", "", *map(str, counts)))
    widths = [max(len(row[i]) for row in table) for i in range(len(HEAD))]
    for cells in table:
        padded = enumerate(zip(cells, widths, strict=True))
        yield "  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in padded).rstrip()
    for difference in report.differences:
        yield f"\n{difference.interaction.name}: {difference.reason or 'NO REASON LISTED'}"
        yield from (f"  - {words}" for words in difference.words)
    for endpoint, module in sorted(report.absent.items()):
        yield f"\nskipped {endpoint}: {module} is not there"
    for endpoint, count in sorted(report.uncovered.items()):
        yield f"not a chat endpoint: {endpoint} ({count} interactions)"
    for key in report.stale:
        yield f"a listed reason explains nothing: {key}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the report; 0 only where nothing differs without a reason."""
    parser = argparse.ArgumentParser(prog="python -m tests.recordings_report", description=__doc__)
    parser.add_argument("--provider")
    parser.add_argument("--endpoint", choices=sorted(COMPARERS))
    chosen = parser.parse_args(arguments)
    if recordings.root() is None:
        print("no recordings: set CRUX_RECORDINGS or put them in ../shared/recordings")
        return 1
    report = run(recordings.interactions(chosen.provider, chosen.endpoint))
    for line in lines(report):
        print(line)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
