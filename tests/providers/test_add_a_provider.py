"""docs/add-a-provider.md, done step by step in a temporary folder, with a server that answers."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import crux_providers
from crux_integrations import ChatCrux, Router
from crux_integrations.router.provider_trust import key_variables
from crux_providers.base import ChatRequest, Message, ProviderFactory
from crux_providers.config import env
from crux_providers.config.declaration import declarations
from tests.faults.wires import WIRES
from tests.servers.scripted_server import ScriptedServer

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "add-a-provider.md").read_text("utf-8")
WHOLE = next(w for w in WIRES if w.dialect == "openai_chat").whole


def forget_declarations() -> None:
    """Have everything that is derived from the declarations derived anew."""
    for cached in (declarations, key_variables):
        cached.cache_clear()
    for name in ("ENV_MAP", "ENV_ALIASES"):
        vars(env).pop(name, None)


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    files = re.findall(r"```python file=(\S+)\n(.*?)```", PAGE, re.DOTALL)
    assert [name for name, _ in files] == [
        "acme/declaration.py", "acme/client.py", "acme/__init__.py",
    ]  # fmt: skip
    for name, text in files:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    monkeypatch.setattr(crux_providers, "__path__", [*crux_providers.__path__, str(tmp_path)])
    forget_declarations()  # another test of this process may have looked already
    yield
    forget_declarations()
    for name in [m for m in sys.modules if m.startswith("crux_providers.acme")]:
        del sys.modules[name]


def test_the_steps_of_the_page_make_a_provider(
    added: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer() as server:
        server.play(lambda x: x.answer(json.dumps(WHOLE).encode()))
        monkeypatch.setenv("ACME_API_KEY", "key-of-acme")
        monkeypatch.setenv("ACME_BASE_URL", server.url)
        provider = ProviderFactory.create("acme")
        answer = provider.chat(ChatRequest(messages=[Message("user", "Hello")]))
        assert answer.text == "Hello there"
        sent = server.exchanges[0]
        assert sent.headers["authorization"] == "Bearer key-of-acme"
        assert json.loads(sent.body)["model"] == "acme-large"
        assert ChatCrux(model="acme:acme-large").invoke("Hello").text == "Hello there"


def test_the_pages_gateway_needs_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    with ScriptedServer() as server:
        server.play(lambda x: x.answer(json.dumps(WHOLE).encode()))
        monkeypatch.setenv("ACME_URL", server.url)
        router = Router(yaml.safe_load(text))
        answer = router.generate(ChatRequest(messages=[Message("user", "Hello")]))
        assert answer.text == "Hello there"
