"""Gates over text of any kind: what the lock files hold, and what no tracked file may hold."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.policy.examined import Report

# A letter in brackets keeps a pattern from matching the line that defines it.
FORBIDDEN: dict[str, re.Pattern[str]] = {
    "a machine's path": re.compile(
        r"(?<![\w.~$}/-])/(?:wor[k]|far[m]|roo[t]|tmp/cru[x]|hom[e]/\w+|User[s]/\w+)(?:/|\b)"
    ),
    "a registry's host": re.compile(
        r"pyp[i]\.org|pythonh[o]sted|npmj[s]\.(?:org|com)|debi[a]n\.org|https?://\S*pyp[i]\b"
    ),
    "a key-like string": re.compile(
        r"(?<![\w-])(?:"
        r"sk-(?=[\w-]*\d)[\w-]{20,}|xai-[A-Za-z0-9]{20,}|gsk_[A-Za-z0-9]{20,}"
        r"|AIza[\w-]{30,}|AKIA[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{30,}|hf_[A-Za-z0-9]{30,}"
        r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"
        r")|-----BEGIN [A-Z ]*PRIVAT[E] KEY"
    ),
    "who wrote it": re.compile(
        r"(?i)co-author[e]d-by:|generat[e]d (?:by|with) (?:an? )?(?:ai|llm)\b"
    ),
}

_PIN = re.compile(
    r"[a-z0-9]+(?:-[a-z0-9]+)*(?:\[[a-z0-9,-]+\])?==[\w.!+]+(?: ; [\w\s.'<>=!()]+?)? \\"
)
_HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")


def lock_files(root: Path) -> Report:
    """The lock files hold names, versions and hashes, and each pin has a hash; nothing else."""
    examined, findings = 0, []
    for file in sorted((root / "requirements").glob("*.txt")):
        previous_is_pin = False
        lines = file.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            is_pin = _PIN.fullmatch(line) is not None
            examined += is_pin
            if not is_pin and _HASH.fullmatch(line) is None:
                findings.append(f"{file.name}:{number}: not a pin and not a hash: {line[:80]}")
            if is_pin and previous_is_pin:
                findings.append(f"{file.name}:{number - 1}: a pin without a hash")
            previous_is_pin = is_pin
        if previous_is_pin:
            findings.append(f"{file.name}:{len(lines)}: a pin without a hash")
    return Report(examined, tuple(findings))


def locks_agree(root: Path) -> Report:
    """The demo's lock is a part of the whole one, version for version, so both fit one venv."""
    whole, demo = (_pins(root / "requirements" / name) for name in ("lock.txt", "demo.txt"))
    return Report(
        len(demo), tuple(sorted(f"demo.txt: {pin} is not in lock.txt" for pin in demo - whole))
    )


def _pins(file: Path) -> set[str]:
    if not file.is_file():
        return set()
    text = file.read_text(encoding="utf-8")
    return {line.removesuffix(" \\") for line in text.splitlines() if _PIN.fullmatch(line)}


def nothing_forbidden_in_tracked_files(root: Path) -> Report:
    """No machine's path, registry host, key-like string or authorship note in a tracked file."""
    examined, findings = 0, []
    for file in _tracked(root):
        data = file.read_bytes()
        if b"\0" in data:
            continue
        examined += 1
        path = file.relative_to(root).as_posix()
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
            findings += [
                f"{path}:{number}: {what}: {found[0][:60]}"
                for what, pattern in FORBIDDEN.items()
                if (found := pattern.search(line))
            ]
    return Report(examined, tuple(findings))


def _tracked(root: Path) -> list[Path]:
    """What git tracks or would track; outside a checkout, every file."""
    if not (root / ".git").exists():
        return sorted(path for path in root.rglob("*") if path.is_file())
    # safe.directory: a checkout owned by another user, as in a container, is still this one.
    git = ["git", "-c", f"safe.directory={root}", "ls-files", "-z"]
    listed = subprocess.run(
        [*git, "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    )
    paths = (root / name for name in listed.stdout.decode().split("\0") if name)
    return sorted(path for path in paths if path.is_file())
