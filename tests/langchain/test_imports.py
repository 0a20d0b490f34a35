"""What importing and making a model loads, seen from a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SDKS = ("openai", "anthropic", "ollama", "google.generativeai", "litellm", "xllamacpp", "aiohttp")

WATCH = """
import os, socket, ssl, sys
made = []
real = ssl.SSLContext.__new__
def counted(cls, *args, **kwargs):
    made.append(cls)
    return real(cls, *args, **kwargs)
ssl.SSLContext.__new__ = counted
def no_network(*args, **kwargs):
    raise AssertionError("a socket was opened")
socket.socket.connect = no_network
for name in list(os.environ):
    if name.endswith("_API_KEY"):
        del os.environ[name]
"""


def run(code: str, *, tmp_path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_alone_loads_next_to_nothing(tmp_path: Path) -> None:
    loaded = run(
        "import sys, crux_integrations; print(crux_integrations.__version__);print(*sys.modules)",
        tmp_path=tmp_path,
    )
    modules = set(loaded.split())
    for name in ("langchain_core", "httpx", "pydantic", "yaml", "sqlite3", *SDKS):
        assert name not in modules, name
    assert "crux_integrations" in modules


def test_names_are_there_and_others_are_not(tmp_path: Path) -> None:
    said = run(
        "import crux_integrations as c\n"
        "print(all(getattr(c, n) is not None for n in c.__all__), set(c.__all__) <= set(dir(c)))\n"
        "try: c.Chat\n"
        "except AttributeError as e: print(e)\n",
        tmp_path=tmp_path,
    )
    assert said.splitlines() == [
        "True True",
        "module 'crux_integrations' has no attribute 'Chat'",
    ]


@pytest.mark.parametrize(
    "make",
    ["", "ChatCrux(model='anthropic:claude-haiku-4-5')", "ChatCrux()"],
    ids=["import", "one model", "the default routes"],
)
def test_a_model_needs_no_key_network_database_or_ssl_context(make: str, tmp_path: Path) -> None:
    loaded = run(
        WATCH + f"from crux_integrations import ChatCrux\n{make}\n"
        "print(len(made)); print(*sys.modules)",
        tmp_path=tmp_path,
    )
    contexts, modules = loaded.split("\n", 1)
    assert contexts == "0"
    names = set(modules.split())
    assert "langchain_core" in names
    for name in ("sqlite3", "httpx", *SDKS):
        assert name not in names, name
    assert not [p for p in tmp_path.rglob("*") if p.is_file()], "something was written"


def test_the_pure_modules_touch_nothing(tmp_path: Path) -> None:
    before = run(
        "import langchain_core.language_models.chat_models, sys; print(*sys.modules)",
        tmp_path=tmp_path,
    )
    after = run(
        "import langchain_core.language_models.chat_models, sys\n"
        "from crux_integrations.langchain import messages, tools, blocks, answers, chunks\n"
        "print(*sys.modules)",
        tmp_path=tmp_path,
    )
    added = set(after.split()) - set(before.split())
    assert added
    own = ("crux_integrations", "crux_providers", "langchain_core")
    assert {n for n in added if not n.startswith(own)} <= {"binascii"}
    assert not [n for n in added if n.startswith("crux_integrations.router")]
