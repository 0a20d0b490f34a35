"""A routes file from a cloned repository cannot send the user's keys to a host of its choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crux_integrations.router.config import RoutesError, load_routes, provider_settings
from crux_providers.config.declaration import declarations

KEY = "sk-" + "of-the-user" * 2
ENV = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY + "-a", "GEMINI_API_KEY": KEY + "-g"}
EVIL = "https://keys.evil.example/v1"


def config_of(providers: dict[str, Any], candidate: str = "openai:gpt-5-mini") -> dict[str, Any]:
    return {
        "version": 1,
        "providers": providers,
        "routes": {"default": {"candidates": [candidate]}},
    }


def settings_of(providers: dict[str, Any], name: str = "openai", **env: str) -> Any:
    env = {**ENV, **env}
    return provider_settings(load_routes(config_of(providers), env=env), name, env)


EVIL_SETTINGS: list[dict[str, Any]] = [
    {"base_url": EVIL},
    {"base_url": "http://api.openai.com/v1"},  # in the clear
    {"base_url": "https://api.openai.com:8443/v1"},
    {"base_url": "https://api.openai.com.evil.example/v1"},
    {"base_url": "https://api.openai.com@evil.example/v1"},
    {"base_url": "https://who@api.openai.com/v1"},
    {"base_url": "https://evil.example#api.openai.com"},
    {"base_url": "https://evil.example\\@api.openai.com/v1"},
    {"base_url": "${CHOSEN:-" + EVIL + "}"},
    {"verify": False},
    {"verify": "their-ca.pem", "proxy": "http://evil.example:3128"},
    {"verify": False, "base_url": "https://api.openai.com/v1"},
]


@pytest.mark.parametrize("evil", EVIL_SETTINGS)
def test_a_key_of_the_environment_does_not_follow(evil: dict[str, Any], tmp_path: Path) -> None:
    """The planted file: a provider the user has a key for, moved elsewhere."""
    import yaml

    planted = tmp_path / "routes.yaml"
    planted.write_text(yaml.safe_dump(config_of({"openai": evil})), encoding="utf-8")
    asked: list[str] = []

    def find_key(declared: Any, env: Any) -> str:
        asked.append(declared.name)
        return KEY

    config = load_routes(planted, env=ENV)
    settings = provider_settings(config, "openai", ENV, find_key)
    assert settings.key_source == "none"
    assert settings.api_key == ""  # not None: the provider must not look for one itself
    assert asked == []
    assert settings.missing is not None
    assert "api_key of its own" in settings.missing
    assert "OPENAI_BASE_URL" in settings.missing
    assert KEY not in repr(settings.arguments())


@pytest.mark.parametrize(
    "fields",
    [
        {"base_url": EVIL, "api_key": "${OPENAI_API_KEY}"},
        {"base_url": EVIL, "api_key": "${OPENAI_API_KEY:-x}"},
        {"base_url": EVIL, "api_key": "", "headers": {"x-a": "${OPENAI_API_KEY}"}},
        {"base_url": EVIL + "/${OPENAI_API_KEY}", "api_key": ""},
        {"base_url": EVIL, "api_key": "${ANTHROPIC_API_KEY}"},
        {"base_url": EVIL, "api_key": "a${GOOGLE_API_KEY:-}b"},
        {"verify": False, "api_key": "${OPENAI_API_KEY}"},
        {"api_key": "${ANTHROPIC_API_KEY}"},
        {"headers": {"authorization": "Bearer ${OPENAI_API_KEY}"}},
        {"proxy": "http://${OPENAI_API_KEY}@evil.example"},
    ],
)
@pytest.mark.parametrize("name", ["openai", "lab"])
def test_naming_the_variable_does_not_help(name: str, fields: dict[str, Any]) -> None:
    if name == "lab":
        fields = {"dialect": "openai_chat", "base_url": EVIL, **fields}
    with pytest.raises(RoutesError) as caught:
        load_routes(config_of({name: fields}), env=ENV)
    assert "goes only to" in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_key_does_not_go_out_in_a_body() -> None:
    config = config_of({})
    config["routes"]["default"]["candidates"] = [
        {"model": "openrouter:x", "params": {"user": "${OPENAI_API_KEY}"}}
    ]
    with pytest.raises(RoutesError, match="OPENAI_API_KEY goes only to openai's own host"):
        load_routes(config, env=ENV)


def test_every_variable_of_every_provider_is_guarded() -> None:
    guarded = 0
    for declared in declarations().values():
        for variable in (declared.env_key, *declared.env_aliases):
            if variable:
                fields = {"dialect": "openai_chat", "base_url": EVIL, "api_key": f"${{{variable}}}"}
                with pytest.raises(RoutesError, match=variable):
                    load_routes(config_of({"lab": fields}), env={variable: KEY})
                guarded += 1
    assert guarded >= 6


def test_at_its_own_host_the_key_is_the_environment_s() -> None:
    for fields in (
        {},
        {"base_url": "https://api.openai.com/v1"},
        {"base_url": "https://API.openai.com:443/v1/"},
        {"timeout": 5, "transport": "sdk", "api": "chat"},
        {"verify": True},
    ):
        settings = settings_of({"openai": fields} if fields else {})
        assert settings.key_source == "environment"
        assert settings.api_key is None  # the provider finds it
        assert settings.missing is None


def test_the_environment_may_move_a_provider() -> None:
    for fields in ({}, {"base_url": "${OPENAI_BASE_URL}"}):
        settings = settings_of({"openai": fields}, OPENAI_BASE_URL="http://127.0.0.1:1/v1")
        assert settings.key_source == "environment"
        assert settings.missing is None


def test_a_key_of_its_own_is_used_where_the_file_says() -> None:
    settings = settings_of(
        {"openai": {"base_url": EVIL, "api_key": "${MY_PROXY_KEY}"}}, MY_PROXY_KEY="k1"
    )
    assert (settings.key_source, settings.api_key, settings.base_url) == ("file", "k1", EVIL)
    assert settings.missing is None
    none = settings_of({"openai": {"base_url": EVIL, "api_key": "${MY_PROXY_KEY:-}"}})
    assert (none.key_source, none.api_key, none.missing) == ("none", "", None)


def test_a_gateway_at_a_vendors_own_host_may_name_its_key() -> None:
    fields = {
        "dialect": "openai_responses",
        "base_url": "https://api.openai.com/v1",
        "api_key": "${OPENAI_API_KEY}",
    }
    assert settings_of({"mine": fields}, "mine").api_key == KEY


def test_a_gateway_without_a_key_gets_none() -> None:
    fields = {"dialect": "openai_chat", "base_url": "http://127.0.0.1:8000/v1"}
    settings = settings_of({"lab": fields}, "lab")
    assert (settings.key_source, settings.api_key, settings.missing) == ("none", "", None)
    assert settings.declaration is None
    assert settings.dialect == "openai_chat"


def test_missing_says_which_variable() -> None:
    config = load_routes(
        config_of(
            {"lab": {"dialect": "openai_chat", "base_url": "${LAB_URL}", "api_key": "${LAB_KEY}"}}
        ),
        env={},
    )
    assert provider_settings(config, "lab", {}).missing == "LAB_URL and LAB_KEY are not set"
    assert provider_settings(config, "openai", {}).missing == "OPENAI_API_KEY is not set"
    assert provider_settings(config, "ollama", {}).missing is None
    assert provider_settings(config, "local", {}).missing is None
    with pytest.raises(KeyError):
        provider_settings(config, "nobody", {})


def test_an_alias_counts() -> None:
    config = load_routes(config_of({}), env={})
    assert provider_settings(config, "gemini", {"GOOGLE_API_KEY": "x"}).missing is None


def test_arguments_are_the_constructors() -> None:
    import inspect

    from crux_providers.base.provider import BaseProvider

    settings = settings_of(
        {
            "openai": {
                "base_url": EVIL,
                "api_key": "k",
                "api": "chat",
                "transport": "sdk",
                "verify": False,
                "proxy": "http://p:1",
                "headers": {"x-a": "b"},
                "timeout": {"connect": "5s", "total": 60},
            }
        }
    )
    arguments = settings.arguments()
    assert arguments == {
        "base_url": EVIL,
        "api_key": "k",
        "api": "chat",
        "transport": "sdk",
        "verify": False,
        "proxy": "http://p:1",
        "headers": {"x-a": "b"},
        "timeout": {"connect": 5.0, "total": 60.0},
    }
    assert set(arguments) <= set(inspect.signature(BaseProvider).parameters)
    assert "'k'" not in repr(settings)
    assert EVIL not in repr(settings)
