"""``crux attempts`` and ``crux capabilities``, run as a user runs them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crux_integrations.cli.main import main
from crux_providers.base.capabilities import Observation
from crux_providers.config import defaults
from crux_providers.persistence.location import Location
from crux_providers.persistence.rows import Attempt, Call
from crux_providers.persistence.store import Store, get_store

Run = Callable[..., tuple[int, str, str]]
NOW = time.time()


@pytest.fixture
def crux(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the program: (exit code, stdout, stderr)."""

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def filled(crux_db: Path) -> Iterator[Store]:
    """Two calls: one that fell over to its second candidate an hour ago, one of days ago."""
    store = get_store()
    recent, old = "00aaaaaaaaaaaaaaaa1", "00bbbbbbbbbbbbbbbb2"
    store.put(
        Call(
            recent, "default", NOW - 3600, {"capabilities": ["tools"]}, 120, 64, True,
            ["openai:m1", "anthropic:m2"], 7,
            {"rejected": {"gemini:m3": "key"}}, "success", 1500.0, 480, "0123456789abcdef",
        )
    )  # fmt: skip
    store.put(
        Attempt(recent, 1, "default", "openai", "m1", "error", NOW - 3600, True, "rate_limit", 429,
                "slow [down]", None, 80.0, accepted=False)
    )  # fmt: skip
    store.put(
        Attempt(recent, 2, "default", "anthropic", "m2", "success", NOW - 3599.9, True, None, 200,
                "after openai:m1 rate_limit", 210.0, 1400.0, 118, 60, 178, cost_usd=0.000321,
                accepted=True)
    )  # fmt: skip
    store.put(Call(old, "fast", NOW - 5 * 86400))
    store.put(Attempt(old, 1, "fast", "openai", "m1", "success", NOW - 5 * 86400, accepted=True))
    store.observe(Observation("openai", "m1", "tools", True, "whole", NOW))
    store.observe(Observation("openai", "m1", "json_schema", False, "stream", NOW, "no schemas"))
    stale = NOW - defaults.OBSERVED_EXPIRE_S - 60
    store.observe(Observation("ollama", "q:8b", "tools", False, "whole", stale, "no tools"))
    store.flush()
    yield store
    store.close()


# -- attempts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), [("anthropic", 2), ("openai", 1), ("openai", 1)]),
        (("--route", "fast"), [("openai", 1)]),
        (("--provider", "anthropic"), [("anthropic", 2)]),
        (("--model", "m1"), [("openai", 1), ("openai", 1)]),
        (("--model", "anthropic:m2"), [("anthropic", 2)]),
        (("--outcome", "error"), [("openai", 1)]),
        (("--outcome", "rate_limit"), [("openai", 1)]),
        (("--since", "2h"), [("anthropic", 2), ("openai", 1)]),
        (("--limit", "1"), [("anthropic", 2)]),
        (("--route", "nowhere"), []),
    ],
)
def test_attempts_are_listed_the_newest_first(
    filled: Store, crux: Run, words: tuple[str, ...], found: list[tuple[str, int]]
) -> None:
    code, out, err = crux("attempts", "list", "--json", *words)
    assert (code, err) == (0, "")
    assert [(row["provider"], row["seq"]) for row in json.loads(out)] == found


def test_attempts_for_people(filled: Store, crux: Run) -> None:
    code, out, _ = crux("attempts", "list")
    assert code == 0
    for word in ("rate_limit 429", "slow [down]", "210 ms", "118 / 60", "$0.000321", "unknown"):
        assert word in out, word
    assert crux("attempts", "list", "--route", "nowhere")[:2] == (0, "no attempts match\n")


@pytest.mark.parametrize("words", [(), ("00a",), ("00aaaaaaaaaaaaaaaa1",)])
def test_one_call_with_its_attempts(filled: Store, crux: Run, words: tuple[str, ...]) -> None:
    code, out, _ = crux("attempts", "show", *words)
    assert code == 0
    for word in ("default (streamed)", "tools", "about 120 tokens in, at most 64 out",
                 "gemini:m3 (key)", "0123456789abcdef", "slow [down]", "100 ms"):  # fmt: skip
        assert word in out, word
    code, out, _ = crux("attempts", "show", *words, "--json")
    shown: dict[str, Any] = json.loads(out)
    assert code == 0
    assert shown["call"]["candidates"] == ["openai:m1", "anthropic:m2"]
    assert [row["accepted"] for row in shown["attempts"]] == [False, True]


@pytest.mark.parametrize("call", ["nothing", "00"])
def test_an_id_that_names_no_call_or_several_is_a_failure(
    filled: Store, crux: Run, call: str
) -> None:
    code, out, err = crux("attempts", "show", call)
    assert (code, out) == (1, "")
    assert repr(call) in err


def test_both_engines_are_read(place: Location, crux: Run) -> None:
    store = get_store()
    store.put(Attempt("c1", 1, "default", "openai", "m1", "success", NOW, accepted=True))
    store.put(Call("c1", "default", NOW, outcome="success"))
    store.observe(Observation("openai", "m1", "tools", True, "whole", NOW))
    store.close()
    rows = json.loads(
        crux("attempts", "list", "--json", "--model", "openai:m1", "--since", "1d")[1]
    )
    assert [row["call_id"] for row in rows] == ["c1"]
    assert json.loads(crux("attempts", "show", "--json")[1])["call"]["outcome"] == "success"
    assert len(json.loads(crux("capabilities", "list", "--json", "--model", "m1")[1])) == 1
    assert crux("capabilities", "forget", "--all")[1].startswith("1 ")


# -- capabilities ---------------------------------------------------------------------------------


def test_what_was_observed_is_listed_with_its_evidence(filled: Store, crux: Run) -> None:
    code, out, _ = crux("capabilities", "list")
    assert code == 0
    assert [word in out for word in ("ollama:q:8b", "no, expired", "no schemas")] == [True] * 3
    code, out, _ = crux("capabilities", "list", "--json")
    found = {(row["model"], row["feature"]): row for row in json.loads(out)}
    assert found[("m1", "tools")]["in_force"] is True
    assert found[("m1", "json_schema")]["value"] is False
    assert found[("m1", "json_schema")]["in_force"] is True
    assert found[("q:8b", "tools")]["in_force"] is False
    code, out, _ = crux("capabilities", "list", "--json", "--model", "openai:m1",
                        "--capability", "tools")  # fmt: skip
    assert [(row["model"], row["feature"]) for row in json.loads(out)] == [("m1", "tools")]
    assert crux("capabilities", "list", "--model", "zzz")[1] == "nothing observed of that\n"


def test_how_long_a_refusal_counts_is_the_routes_files_word(
    filled: Store, crux: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes = tmp_path / "routes.yaml"
    routes.write_text(
        "version: 1\nobserved: {expire: 30d}\nroutes: {default: {candidates: ['openai:gpt-5']}}\n"
    )
    monkeypatch.setenv("CRUX_ROUTES", str(routes))
    found = json.loads(crux("capabilities", "list", "--json", "--provider", "ollama")[1])
    assert [row["in_force"] for row in found] == [True]


def test_what_was_observed_can_be_forgotten(filled: Store, crux: Run) -> None:
    code, out, _ = crux("capabilities", "forget", "--model", "m1", "--capability", "tools")
    assert (code, out) == (0, "1 observed capabilities forgotten\n")
    assert json.loads(crux("capabilities", "forget", "--all", "--json")[1]) == {"forgotten": 2}
    assert json.loads(crux("capabilities", "list", "--json")[1]) == []


@pytest.mark.parametrize("words", [(), ("--all", "--model", "m1")])
def test_forgetting_needs_to_be_told_what(filled: Store, crux: Run, words: tuple[str, ...]) -> None:
    code, _, err = crux("capabilities", "forget", *words)
    assert code == 2
    assert "say what" in err
    assert len(json.loads(crux("capabilities", "list", "--json")[1])) == 3


# -- where there is nothing, or nothing that can be read ------------------------------------------

COMMANDS = [("attempts", "list"), ("attempts", "show"), ("capabilities", "list")]


@pytest.mark.parametrize("words", COMMANDS)
def test_an_empty_ledger_is_one_friendly_line(
    crux_db: Path, crux: Run, words: tuple[str, ...]
) -> None:
    code, out, err = crux(*words)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1
    assert "yet" in out
    assert json.loads(crux(*words, "--json")[1]) in ([], None)
    assert not crux_db.exists()


@pytest.mark.parametrize("words", COMMANDS)
def test_nothing_is_kept_and_it_says_so(crux: Run, words: tuple[str, ...]) -> None:
    assert crux(*words)[:2] == (0, "CRUX_DB=off: nothing is kept\n")


def test_forgetting_what_was_never_kept(crux_db: Path, crux: Run) -> None:
    assert crux("capabilities", "forget", "--all")[:2] == (
        0, "0 observed capabilities forgotten\n",
    )  # fmt: skip
    assert not crux_db.exists()


@pytest.mark.parametrize("words", [*COMMANDS, ("capabilities", "forget", "--all")])
@pytest.mark.parametrize("json_too", [False, True])
def test_a_broken_database_is_one_line(
    crux_db: Path, crux: Run, words: tuple[str, ...], json_too: bool
) -> None:
    crux_db.write_bytes(b"no database at all" * 500)
    os.chmod(crux_db, 0o600)
    code, out, err = crux(*words, *(("--json",) if json_too else ()))
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "is no SQLite database" in err


@pytest.mark.parametrize("words", COMMANDS)
def test_an_url_of_another_database_is_one_line(
    monkeypatch: pytest.MonkeyPatch, crux: Run, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CRUX_DB", "mysql://me:hunter2@localhost/x")
    code, out, err = crux(*words)
    assert (code, out) == (1, "")
    assert "neither a file nor postgresql://" in err
    assert "hunter2" not in err


@pytest.mark.parametrize(
    "words",
    [("attempts", "list", "--since", "soon"), ("attempts", "list", "--limit", "0"),
     ("attempts", "lisst"), ("capabilities", "list", "--nonsense")],
)  # fmt: skip
def test_wrong_usage_is_exit_2(crux_db: Path, crux: Run, words: tuple[str, ...]) -> None:
    assert crux(*words)[0] == 2
