"""Keys in the environment: variables, aliases, placeholders, and who wins."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_providers.config import declaration, env
from crux_providers.config.env import (
    get_env_var_candidates,
    get_env_var_name,
    is_placeholder,
    resolve_provider_key,
    set_canonical_env_if_missing,
)

KEY = "sk-" + "4fJ9aQ2m7Zk1Lx8Pw3Tb6Rv5"


def test_the_map_is_derived_from_the_declarations() -> None:
    mapped = env.ENV_MAP
    assert mapped == {
        "openai": "OPENAI_API_KEY",
        "anthropic": "ANTHROPIC_API_KEY",
        "deepseek": "DEEPSEEK_API_KEY",
        "gemini": "GEMINI_API_KEY",
        "openrouter": "OPENROUTER_API_KEY",
        "xai": "XAI_API_KEY",
    }
    declared = declaration.declarations()
    assert len(declared) >= 9
    assert set(env.ENV_MAP) == {name for name, d in declared.items() if d.env_key}


def test_gemini_accepts_its_own_variable_then_googles() -> None:
    assert env.ENV_ALIASES["gemini"] == ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    assert get_env_var_candidates("gemini") == ["GEMINI_API_KEY", "GOOGLE_API_KEY"]
    assert get_env_var_candidates("openai") == ["OPENAI_API_KEY"]


@pytest.mark.parametrize("provider", ["nobody", "", "ollama", "local"])
def test_providers_without_a_key(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_env_var_name(provider) is None
    assert get_env_var_candidates(provider) == []
    assert resolve_provider_key(provider) == (None, None)
    before = dict(os.environ)
    set_canonical_env_if_missing(provider, KEY)
    assert dict(os.environ) == before


def test_unknown_names_of_the_module_stay_unknown() -> None:
    with pytest.raises(AttributeError):
        env.NOTHING  # noqa: B018  # the access is the test


@pytest.mark.parametrize(
    "val",
    [
        None, "", "  ", '""', "changeme", "CHANGEME", "change-me", "change_me", "placeholder",
        "your-api-key-here", "your_api_key", "YOUR_OPENAI_API_KEY", "YourApiKeyHere", "<key>",
        "<your key here>", "${OPENAI_API_KEY}", "{{ key }}", "[insert key]", "xxx", "XXXXXXXX",
        "sk-xxxx", "sk-...", "...", "***", "sk-ant-your-key", "dummy", "dummy-key", "replace-me",
        "replace_with_your_key", "insert your key here", "todo", "example", "enter-your-token",
        "add your api key here", "put-your-key-here",
    ],
)  # fmt: skip
def test_placeholders(val: str | None) -> None:
    assert is_placeholder(val)


@pytest.mark.parametrize(
    "val",
    [
        KEY, f"  {KEY}\n", "sk-ant-api03-abcDEF", "sk-your-4fJ9aQ2m7Zk1", "changeme4fJ9", "test",
        "sk-test", "test-key", "AIzaSyDummyLooking1234", "lm-studio", "ollama", "not-needed", "x",
        "gsk_placeholderX91", "EMPTY",
    ],
)  # fmt: skip
def test_keys(val: str) -> None:
    assert not is_placeholder(val)


@given(
    st.text(alphabet="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=24)
)
def test_a_random_key_is_a_key_whatever_words_stand_in_it(text: str) -> None:
    if len(set(text.lower())) > 8:
        assert not is_placeholder(f"sk-{text}")
        assert not is_placeholder(f"sk-your-{text}-key")


def test_the_canonical_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "from-google")
    assert resolve_provider_key("gemini") == ("from-google", "GOOGLE_API_KEY")
    monkeypatch.setenv("GEMINI_API_KEY", "from-gemini")
    assert resolve_provider_key("gemini") == ("from-gemini", "GEMINI_API_KEY")
    monkeypatch.setenv("GEMINI_API_KEY", "your-api-key-here")
    assert resolve_provider_key("gemini") == ("from-google", "GOOGLE_API_KEY")
    monkeypatch.setenv("GOOGLE_API_KEY", "")
    assert resolve_provider_key("gemini") == (None, None)


def test_space_around_a_key_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    assert resolve_provider_key("openai") == (KEY, "OPENAI_API_KEY")


def test_an_alias_is_promoted_and_a_real_key_never_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "to be restored")
    monkeypatch.delenv("GEMINI_API_KEY")
    set_canonical_env_if_missing("gemini", "changeme")
    assert "GEMINI_API_KEY" not in os.environ
    set_canonical_env_if_missing("gemini", KEY)
    assert os.environ["GEMINI_API_KEY"] == KEY
    set_canonical_env_if_missing("gemini", "another")
    assert os.environ["GEMINI_API_KEY"] == KEY
    os.environ["GEMINI_API_KEY"] = "<key>"
    set_canonical_env_if_missing("gemini", "another")
    assert os.environ["GEMINI_API_KEY"] == "another"
