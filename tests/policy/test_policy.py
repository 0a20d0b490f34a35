"""The gates hold on this project, see something, and go red on a planted breach of each rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.policy import code_gates, import_gates, text_gates
from tests.policy.examined import Report

ROOT = Path(__file__).resolve().parents[2]

Gate = Callable[[Path], Report]

GATES: tuple[Gate, ...] = (
    code_gates.file_size,
    code_gates.no_shell,
    code_gates.provider_names_in_conditions,
    code_gates.defaults_not_repeated,
    code_gates.numbers_not_repeated,
    code_gates.no_timeout_numbers_in_adapters,
    code_gates.public_docstrings,
    code_gates.public_raises,
    import_gates.pure_modules,
    import_gates.sdk_imports,
    import_gates.optional_dependencies,
    import_gates.neighbours_private_parts,
    text_gates.lock_files,
    text_gates.locks_agree,
    text_gates.nothing_forbidden_in_tracked_files,
)

CONTRACT = """
[[tool.importlinter.contracts]]
id = "pure"
source_modules = ["crux_providers.base.models", "crux_providers.codecs"]
forbidden_modules = ["httpx", "os", "time"]
"""

FOLDER = {"crux_providers/openai/declaration.py": '"""OpenAI."""\n'}
HASH = "    --hash=sha256:" + "0" * 64 + "\n"
# In two halves each, so that the gate over tracked files does not find them here.
KEY = "-".join(("sk", "proj", "a1" * 12))
PATHS = ("/".join(("", "work", "")), "/".join(("", "root")))
REGISTRY = "https://" + ".".join(("pypi", "org/simple"))
TRAILER = "-".join(("Co", "authored", "by"))

# gate, what is planted, and a part of each finding in turn (none: the gate must stay green).
PLANTED: list[tuple[Gate, dict[str, str], list[str]]] = [
    (code_gates.file_size, {"tests/long.py": "x = 1\n" * 501}, ["long.py: 501 lines"]),
    (code_gates.file_size, {"crux_integrations/a.py": "x = 1\n" * 500}, []),
    (
        code_gates.no_shell,
        {"crux_providers/a.py": "import subprocess\nsubprocess.run('ls', shell=True)\n"},
        ["a.py:2: a shell"],
    ),
    (code_gates.no_shell, {"tests/a.py": "import os\nos.system('ls')\n"}, ["a.py:2: a shell"]),
    (code_gates.no_shell, {"tests/a.py": "run('ls', shell=False)\n"}, []),
    (
        code_gates.provider_names_in_conditions,
        {**FOLDER, "crux_integrations/a.py": "x = 1 if name == 'openai' else 2\n"},
        ["a.py:1: decides by the provider's name 'openai'"],
    ),
    (
        code_gates.provider_names_in_conditions,
        {**FOLDER, "crux_providers/base/a.py": "while model.startswith('openai:'):\n    pass\n"},
        ["a.py:1: decides"],
    ),
    (
        code_gates.provider_names_in_conditions,
        {**FOLDER, "crux_providers/a.py": "match name:\n    case 'x' | 'openai':\n        pass\n"},
        ["a.py:2: decides"],
    ),
    (
        code_gates.provider_names_in_conditions,
        {**FOLDER, "crux_providers/openai/client.py": "if name in ('openai', 'x'):\n    pass\n"},
        [],
    ),
    (
        code_gates.provider_names_in_conditions,
        {**FOLDER, "crux_providers/a.py": "if dialect == 'openai_chat':\n    pass\n"},
        [],
    ),
    (
        code_gates.provider_names_in_conditions,
        {
            "crux_providers/local/declaration.py": '"""Local."""\n',
            "crux_providers/a.py": "x = kind == 'local'\nif kind == 'local':\n    pass\n",
            "crux_providers/b.py": "if provider == 'local':\n    pass\n",
        },
        ["b.py:1: decides"],
    ),
    (
        code_gates.defaults_not_repeated,
        {
            "crux_providers/config/defaults.py": "URL = 'https://api.example.com'\nMODE = 'WAL'\n",
            "crux_providers/x/client.py": "'''At https://api.example.com'''\nMODE = 'WAL'\n",
            "crux_providers/y/client.py": "def f(u='https://api.example.com'):\n    pass\n",
        },
        ["y/client.py: 'https://api.example.com'"],
    ),
    (
        code_gates.numbers_not_repeated,
        {
            **FOLDER,
            "crux_providers/config/defaults.py": "BUSY = 5000\nWEEK = 7 * 86400.0\nFEW = 5\n",
            "crux_providers/persistence/a.py": "f(5000, 5)\n",
            "crux_providers/openai/client.py": "x = 7 * 86400\n",
            "crux_providers/base/a.py": "f(5000)\n",
        },
        ["persistence/a.py:1: 5000 is", "openai/client.py:1: 604800 is"],
    ),
    (
        code_gates.public_raises,
        {
            "crux_providers/base/a.py": (
                "def f():\n    '''F.'''\n    raise ValueError\n"
                "def g():\n    '''Raises it.'''\n    raise ValueError\n"
                "def h():\n    '''H.'''\n    def inner():\n        raise ValueError\n"
            ),
        },
        ["a.py:1: f does not say"],
    ),
    (
        code_gates.no_timeout_numbers_in_adapters,
        {
            **FOLDER,
            "crux_providers/openai/client.py": (
                "f(timeout=30, retries=0)\n"
                "def g(a, idle_timeout=2.5, *, retry=None):\n    pass\n"
                "READ_TIMEOUT_S = 5\n"
            ),
            "crux_providers/config/defaults.py": "TIMEOUT_S = 5\n",
        },
        [
            "client.py:4: READ_TIMEOUT_S = 5",
            "client.py:1: timeout = 30",
            "client.py:2: idle_timeout = 2.5",
        ],
    ),
    (
        code_gates.public_docstrings,
        {
            "crux_providers/__init__.py": "",
            "crux_providers/a.py": (
                "class C:\n    def f(self): ...\n    def _g(self): ...\n\ndef h(): ...\n"
            ),
        },
        ["a.py: the module", "a.py:1: C has", "a.py:2: C.f has", "a.py:5: h has"],
    ),
    (
        code_gates.public_docstrings,
        {
            "crux_providers/a.py": (
                "'''A.'''\nclass B:\n    '''B.'''\n    def f(self):\n        '''F.'''\n"
                "class C(B):\n    '''C.'''\n    def f(self): ...\n"
                "    @override\n    def g(self): ...\n    @x.setter\n    def x(self, v): ...\n"
            )
        },
        [],
    ),
    (
        import_gates.pure_modules,
        {
            "pyproject.toml": CONTRACT,
            "crux_providers/base/models.py": "def f():\n    import time\n",
            "crux_providers/codecs/x.py": (
                "from os import path\nimport json\nimportlib.import_module('httpx.x')\n"
            ),
        },
        ["models.py:2: a pure module imports time", "x.py:1: a pure", "x.py:3: a pure"],
    ),
    (
        import_gates.pure_modules,
        {
            "pyproject.toml": CONTRACT,
            "crux_providers/base/flow.py": "",
            "crux_providers/codecs/x.py": "",
        },
        ["names crux_providers.base.models, which is not", "leaves out crux_providers.base.flow"],
    ),
    (
        import_gates.sdk_imports,
        {
            "crux_providers/transports/openai_sdk.py": "def f():\n    import openai\n",
            "crux_providers/xai/get_xai_models.py": "def f():\n    from openai import x\n",
            "crux_integrations/langchain/a.py": "import langchain_core.messages\n",
            "crux_providers/openai/client.py": "from ..openai import x\n",
        },
        [],
    ),
    (
        import_gates.sdk_imports,
        {
            "crux_providers/transports/openai_sdk.py": "import openai\n",
            "crux_providers/openai/client.py": "def f():\n    import openai.types\n",
            "crux_providers/xai/get_deepseek_models.py": "def f():\n    import openai\n",
            "crux_integrations/router/a.py": "def f():\n    from langchain_core import x\n",
        },
        [
            "client.py:2: openai.types is imported outside its transport",
            "openai_sdk.py:1: openai is imported at import time",
            "get_deepseek_models.py:2: openai is imported outside",
            "a.py:2: langchain_core is imported outside",
        ],
    ),
    (
        import_gates.optional_dependencies,
        {
            "crux_providers/a.py": (
                "import httpx, redis\nif TYPE_CHECKING:\n    import aiohttp\n"
                "try:\n    import orjson\nexcept ImportError:\n    orjson = None\n"
                "def f():\n    import psycopg\n"
            ),
            "crux_integrations/cli/a.py": "import click\n",
            "crux_integrations/router/a.py": "import click\n",
        },
        ["a.py:1: redis is not in the core", "router/a.py:1: click is not"],
    ),
    (
        import_gates.neighbours_private_parts,
        {
            "crux_providers/base/a.py": "from ._b import c\nfrom .b import _d\n",
            "crux_providers/base/_b.py": "from __future__ import annotations\n",
            "crux_providers/base/b.py": "",
            "crux_providers/codecs/a.py": (
                "from crux_providers.base._b import c\nfrom ..base.b import _d\n"
                "from ..base.b import e\n"
            ),
        },
        ["a.py:1: _b is private", "a.py:2: _d is private"],
    ),
    (
        text_gates.lock_files,
        {"requirements/lock.txt": f"a==1 \\\n{HASH}b-c[d]==2.0 ; os_name == 'nt' \\\n{HASH}"},
        [],
    ),
    (
        text_gates.lock_files,
        {
            "requirements/lock.txt": (
                f"--index-url x\na==1 \\\nb>=1 \\\n{HASH}c==1 \\\nd==1 \\\n{HASH}"
            ),
        },
        ["lock.txt:1: not a pin", "lock.txt:3: not a pin", "lock.txt:5: a pin without"],
    ),
    (
        text_gates.locks_agree,
        {
            "requirements/lock.txt": f"a==1 \\\n{HASH}b==1 \\\n{HASH}",
            "requirements/demo.txt": f"a==2 \\\n{HASH}b==1 \\\n{HASH}",
        },
        ["demo.txt: a==2 is not in lock.txt"],
    ),
    (
        text_gates.nothing_forbidden_in_tracked_files,
        {
            "a.md": f"see {PATHS[0]}x\nsee {PATHS[1]}\nhttps://example.com{PATHS[0]}\n",
            "b.yaml": f"from {REGISTRY}\nkey: {KEY}\ntask-0123456789012345678901\n",
            "c.txt": f"{TRAILER}: x\n",
        },
        [
            "a.md:1: a machine's path",
            "a.md:2: a machine's path",
            "b.yaml:1: a registry's host",
            "b.yaml:2: a key-like string",
            "c.txt:1: who wrote it",
        ],
    ),
]


def plant(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.__name__)
def test_the_project_holds(gate: Gate) -> None:
    gate(ROOT).assert_clean()


@pytest.mark.parametrize(
    ("gate", "files", "expected"),
    PLANTED,
    ids=[f"{gate.__name__}-{'red' if expected else 'green'}" for gate, _, expected in PLANTED],
)
def test_a_planted_breach_is_found(
    gate: Gate, files: dict[str, str], expected: list[str], tmp_path: Path
) -> None:
    plant(tmp_path, files)
    report = gate(tmp_path)
    assert report.examined > 0
    assert len(report.findings) == len(expected), report.findings
    for part in expected:
        assert any(part in finding for finding in report.findings), (part, report.findings)


def test_every_gate_has_a_breach_that_turns_it_red() -> None:
    assert {gate for gate, _, expected in PLANTED if expected} == set(GATES)


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.__name__)
def test_a_gate_that_sees_nothing_is_red(gate: Gate, tmp_path: Path) -> None:
    plant(
        tmp_path,
        {"pyproject.toml": CONTRACT.replace("crux_", "no_")} if "pure" in gate.__name__ else {},
    )
    with pytest.raises(AssertionError, match=r"examined nothing"):
        gate(tmp_path).assert_clean()
