"""Who cannot be used now, said of providers and of single models."""

from __future__ import annotations

from pathlib import Path

import pytest

from crux_integrations.router.config import load_routes
from crux_integrations.router.router import Router
from crux_integrations.router.usable import unusable, usable_report
from crux_providers.base.models import ChatRequest
from crux_providers.local import weights
from crux_providers.local.client import LocalProvider
from crux_providers.transports.scripted import ScriptedTransport

ROUTES = {
    "version": 1,
    "routes": {
        "default": {"candidates": ["local:smollm2-135m", "local:mine", "openai:gpt-5-mini"]},
    },
}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """xllamacpp is there, whatever this environment has."""
    monkeypatch.setattr(weights, "not_installed", lambda: None)


def test_by_provider_and_by_model() -> None:
    place = weights.folder() / "mine.gguf"
    place.parent.mkdir(parents=True)
    place.touch()
    config = load_routes(ROUTES, env={})
    candidates = [("local", "smollm2-135m"), ("local", "mine"), ("openai", "x"), ("nobody", "x")]
    found = unusable(config, candidates, {})
    assert found.providers == {
        "openai": "OPENAI_API_KEY is not set",
        "nobody": "nobody declares a provider 'nobody'",
    }
    assert list(found.models) == [("local", "smollm2-135m")]
    assert "crux local pull smollm2-135m" in found.models[("local", "smollm2-135m")]
    assert unusable(config, candidates, {}, lambda name: True) == ({}, {})
    assert len(usable_report(config, {})) == 2


def test_a_dialect_of_the_files_own_needs_no_weights() -> None:
    """Then it is a server somewhere that only has the name."""
    text = ROUTES | {"providers": {"local": {"dialect": "ollama_chat", "base_url": "http://x"}}}
    assert unusable(load_routes(text, env={}), [("local", "smollm2-135m")], {}) == ({}, {})


def test_a_server_that_is_named_needs_no_weights() -> None:
    given = ROUTES | {"providers": {"local": {"base_url": "http://127.0.0.1:9/v1"}}}
    for config, env in (
        (load_routes(given, env={}), {}),
        (load_routes(ROUTES, env={}), {"LOCAL_BASE_URL": "http://127.0.0.1:9/v1"}),
    ):
        assert unusable(config, [("local", "smollm2-135m")], env) == ({}, {})


def test_a_plan_sees_what_was_pulled_meanwhile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "own.gguf"
    with Router(ROUTES) as router:
        assert router.explain(ChatRequest()).steps == ()
        own.touch()
        monkeypatch.setenv("CRUX_LOCAL_GGUF", str(own))
        monkeypatch.setattr("crux_integrations.router.runtime.KEYS_EVERY_S", 0.0)
        (step,) = router.explain(ChatRequest()).steps
        assert step.candidate == "local:smollm2-135m"


def test_a_provider_of_the_programs_own_is_ready() -> None:
    provider = LocalProvider(transport=ScriptedTransport([]))
    with Router(ROUTES, providers={"local": provider}) as router:
        assert len(router.explain(ChatRequest()).steps) == 2
