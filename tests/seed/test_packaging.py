"""What is installed, under what names, with which extras, and what importing it needs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

import crux_integrations
import crux_providers

ROOT = Path(__file__).resolve().parents[2]
PROVIDERS = (
    "openai", "anthropic", "gemini", "ollama", "openrouter", "deepseek", "xai", "litellm", "local",
)  # fmt: skip


@pytest.fixture(scope="module")
def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def extras(project: Any, name: str) -> set[str]:
    """The distributions an extra installs, those of the extras it names included."""
    found: set[str] = set()
    for wanted in project["optional-dependencies"][name]:
        inner = re.fullmatch(r"crux-integrations\[(.*)\]", wanted)
        if inner:
            found.update(*(extras(project, part.strip()) for part in inner[1].split(",")))
        else:
            found.add(re.split(r"[\[<>=!~ ]", wanted)[0])
    return found


@pytest.mark.contract(1)
def test_the_distribution(project: Any) -> None:
    assert project["name"] == "crux-integrations"
    assert project["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
    assert project["requires-python"] == ">=3.11"
    installed = metadata.version("crux-integrations")
    assert crux_providers.__version__ == crux_integrations.__version__ == installed
    files = {str(file).split("/")[0] for file in metadata.files("crux-integrations") or ()}
    assert files  # an editable install lists its own files only
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    packages = wheel["build"]["targets"]["wheel"]["packages"]
    assert packages == ["crux_providers", "crux_integrations"]


@pytest.mark.contract(3)
def test_the_core_needs_no_more_than_it_says(project: Any) -> None:
    assert sorted(project["dependencies"]) == [
        "httpx>=0.28", "langchain-core>=1.7.2,<2", "platformdirs", "pydantic>=2.7,<3",
        "python-dotenv", "pyyaml>=6",
    ]  # fmt: skip


@pytest.mark.contract(4, 5, 6, 7)
def test_the_extras(project: Any) -> None:
    sdk = {
        "openai": "openai", "anthropic": "anthropic", "gemini": "google-generativeai",
        "ollama": "ollama", "openrouter": "openai", "deepseek": "openai", "xai": "openai",
        "litellm": "litellm", "local": "xllamacpp",
    }  # fmt: skip
    for name in PROVIDERS:
        assert sdk[name] in extras(project, name)
    assert extras(project, "service") >= {"fastapi", "uvicorn"}
    everything = extras(project, "all")
    assert everything >= {sdk[name] for name in PROVIDERS if name != "litellm"}
    assert everything >= {"fastapi", "uvicorn"}
    assert "litellm" not in everything
    assert extras(project, "dev") >= {"pytest", "pytest-cov", "vcrpy", "ruff", "build", "twine"}
    assert "pytest" in extras(project, "test")


@pytest.mark.contract(8)
def test_two_names_of_one_program(project: Any) -> None:
    scripts = project["scripts"]
    assert scripts["crux"] == scripts["providers-cli"] == "crux_integrations.cli.main:main"


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in names or any(name.startswith(other + '.') for other in names):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
names = set(sys.argv[1].split())
sys.meta_path.insert(0, Blocked())
"""
SDKS = "openai anthropic google.generativeai ollama litellm xllamacpp"


def run(names: str, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + code, names], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@pytest.mark.contract(2, 11)
def test_the_core_works_with_nothing_else_installed() -> None:
    done = run(
        f"{SDKS} langchain_core langchain click rich vcr opentelemetry aiohttp fastapi",
        """
from crux_providers.base import ProviderFactory, ChatRequest, Message
import httpx
body = {'id': 'c', 'object': 'chat.completion', 'model': 'm', 'choices': [{'index': 0,
        'finish_reason': 'stop', 'message': {'role': 'assistant', 'content': 'hi'}}]}
made = [ProviderFactory.create(name, api_key='k') for name in ProviderFactory.names()]
provider = ProviderFactory.create('openai', api_key='k', transport=httpx.MockTransport(
    lambda request: httpx.Response(200, json=body)))
print(len(made), provider.chat(ChatRequest(model='gpt-4o', messages=[Message('user', 'x')])).text)
""",
    )
    assert (done.stdout, done.stderr) == ("9 hi\n", "")


@pytest.mark.contract(3, 8)
def test_the_program_without_its_extra_says_what_to_install() -> None:
    done = run("click rich", "from crux_integrations.cli.main import main\nmain(['chat', 'hi'])")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "crux: the command line needs click and rich: pip install 'crux-integrations[cli]'"
    ]


@pytest.mark.contract(11, 136)
def test_importing_imports_no_sdk() -> None:
    done = run(
        "nothing",
        f"""
import importlib, pkgutil, crux_providers
for module in pkgutil.walk_packages(crux_providers.__path__, 'crux_providers.'):
    importlib.import_module(module.name)
print(sorted(set('{SDKS} langchain_core'.split()) & set(sys.modules)))
""",
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.contract("S8")
def test_importing_reads_no_setting_of_the_environment() -> None:
    done = run(
        "nothing",
        """
import importlib, os, pkgutil
asked = []
class Watched(type(os.environ)):
    def __getitem__(self, name):
        asked.append(name)
        return super().__getitem__(name)
os.environ.__class__ = Watched
import crux_providers, crux_integrations.router
for package in (crux_providers, crux_integrations.router):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):
        importlib.import_module(module.name)
ours = ('CRUX', 'PROVIDERS', 'DOTENV', 'OLLAMA')
print(sorted({n for n in asked if n.startswith(ours) or n.endswith(('_API_KEY', '_BASE_URL'))}))
assert len(asked) > 0, 'nothing was watched'
""",
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.contract(195)
def test_the_ci_has_a_job_of_fast_tests() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    said = " ".join(step.get("run", "") for step in jobs["fast-tests"]["steps"])
    assert "make test" in said


@pytest.mark.contract(196)
def test_a_push_runs_the_fast_tests_first() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    (hook,) = [hook for hook in hooks if "pre-push" in hook["stages"]]
    assert "make" in hook["entry"]
    assert hook["entry"].endswith("test")


@pytest.mark.contract(197)
def test_the_locks_are_there() -> None:
    for name in ("lock.txt", "demo.txt", "litellm.txt"):
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        assert len(re.findall(r"^[a-z0-9._\[\]-]+==\S+", text, re.MULTILINE)) > 5
        assert "://" not in text
