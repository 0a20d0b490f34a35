"""``.env``, ``config.yaml`` and the order in which a key is looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crux_providers.base.repositories.keys import KeysRepository
from crux_providers.config import defaults, files, get_openai_config
from crux_providers.config.files import ConfigError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def get(provider: str = "openai") -> str | None:
    before = dict(os.environ)
    try:
        return KeysRepository().get_api_key(provider)
    finally:
        assert dict(os.environ) == before


def test_environment_then_dotenv_then_config(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get() is None
    (project / "config.yaml").write_text('api:\n  openai:\n    api_key: "from-yaml"\n')
    assert get() == "from-yaml"
    (project / ".env").write_text("OPENAI_API_KEY=from-dotenv\n")
    assert get() == "from-dotenv"
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    assert get() == "from-environment"
    assert get("anthropic") is None


def test_placeholders_fall_through(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "changeme")
    (project / ".env").write_text("OPENAI_API_KEY=\n")
    (project / "config.yaml").write_text("api: {openai: {api_key: real}}")
    assert get() == "real"
    (project / "config.yaml").write_text("api: {openai: {api_key: your-api-key-here}}")
    assert get() is None


def test_aliases_count_in_dotenv(project: Path) -> None:
    (project / ".env").write_text("GOOGLE_API_KEY=by-alias")
    assert get("gemini") == "by-alias"
    (project / ".env").write_text("GOOGLE_API_KEY=by-alias\nGEMINI_API_KEY=canonical")
    assert get("gemini") == "canonical"


def test_dotenv_forms(project: Path) -> None:
    (project / ".env").write_text(
        "# a comment\nexport OPENAI_API_KEY='quoted'\nXAI_API_KEY=a$b${c}\nEMPTY\n"
    )
    assert get() == "quoted"
    assert get("xai") == "a$b${c}"  # taken as written


def test_other_places(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "keys.env").write_text("OPENAI_API_KEY=dotenv-elsewhere")
    (elsewhere / "mine.yaml").write_text("api: {openai: {api_key: yaml-elsewhere}}")
    monkeypatch.setenv("CRUX_CONFIG", str(elsewhere / "mine.yaml"))
    assert get() == "yaml-elsewhere"
    monkeypatch.setenv("DOTENV_FILE", str(elsewhere / "keys.env"))
    assert get() == "dotenv-elsewhere"


def test_a_changed_file_is_read_again(project: Path) -> None:
    file = project / "config.yaml"
    for key in ("one", "three", "seven"):
        file.write_text(f"api: {{openai: {{api_key: {key}}}}}")
        assert get() == key
    file.unlink()
    assert get() is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("api:\n  openai: [unclosed\n", ":3: "),
        ("- a list\n", "expected a mapping"),
        ("just words", "expected a mapping"),
        ("a: b: c", ":1: "),
        ("\t- tab", ":1: "),
    ],
)
def test_a_malformed_config_is_one_line_that_says_where(
    project: Path, text: str, said: str
) -> None:
    (project / "config.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        get()
    assert str(project / "config.yaml") in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_in_the_environment_asks_no_file(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "config.yaml").write_text("- broken: [")
    monkeypatch.setenv("OPENAI_API_KEY", "real")
    assert get() == "real"


def test_yaml_may_run_nothing(project: Path) -> None:
    (project / "config.yaml").write_text("api: !!python/object/apply:os.getcwd []")
    with pytest.raises(ConfigError):
        get()


@pytest.mark.parametrize(
    "text", ["", "api:", "api: 3", "api: {openai: }", "api: {openai: {api_key: 17}}", "other: {}"]
)
def test_what_is_not_there_says_nothing(project: Path, text: str) -> None:
    (project / "config.yaml").write_text(text)
    assert get() is None


def test_files_that_cannot_be_read_are_one_line(project: Path) -> None:
    (project / ".env").mkdir()
    with pytest.raises(ConfigError, match=r"\.env: cannot be read"):
        get()
    (project / ".env").rmdir()
    (project / "config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        get()


def test_a_byte_order_mark_is_no_part_of_the_text(project: Path) -> None:
    (project / "config.yaml").write_bytes(b"\xef\xbb\xbfapi: {openai: {api_key: k}}")
    assert get() == "k"


def test_openai_config(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_openai_config() == {"model": "o3-mini", "base_url": defaults.OPENAI_BASE_URL}
    (project / "config.yaml").write_text(
        "api: {openai: {api_key: secret, model: gpt-5, base_url: 'http://elsewhere/v1'}}"
    )
    # A file of the working directory does not decide where a key from the environment goes.
    assert get_openai_config() == {"model": "gpt-5", "base_url": defaults.OPENAI_BASE_URL}
    monkeypatch.setenv("OPENAI_BASE_URL", "http://here/v1")
    assert get_openai_config() == {"model": "gpt-5", "base_url": "http://here/v1"}
    assert files.api_section("openai")["api_key"] == "secret"
