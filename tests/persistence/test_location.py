"""Where the database is, by the environment as it is at the moment of use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crux_providers.persistence.errors import StorageError
from crux_providers.persistence.location import OFF, Location, current, parse
from crux_providers.persistence.store import get_store


def test_crux_db_beats_providers_db_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROVIDERS_DB_PATH", str(tmp_path / "second.db"))
    monkeypatch.setenv("CRUX_DB", str(tmp_path / "first.db"))
    assert current().path == tmp_path / "first.db"
    monkeypatch.delenv("CRUX_DB")
    assert current().path == tmp_path / "second.db"


def test_empty_variables_say_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CRUX_DB", "")
    monkeypatch.setenv("PROVIDERS_DB_PATH", str(tmp_path / "x.db"))
    assert current().path == tmp_path / "x.db"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep user data elsewhere")
def test_default_is_the_users_data_directory(
    monkeypatch: pytest.MonkeyPatch, isolated_environment: Path
) -> None:
    monkeypatch.delenv("CRUX_DB")
    assert current().path == isolated_environment / ".local" / "share" / "crux" / "crux.db"
    monkeypatch.setenv("XDG_DATA_HOME", str(isolated_environment / "xdg"))
    assert current().path == isolated_environment / "xdg" / "crux" / "crux.db"


@pytest.mark.parametrize("word", ["off", "OFF", " off "])
def test_off(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRUX_DB", word)
    assert current() == OFF
    assert not OFF.exists()


def test_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolated_environment: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("a/b.db").path == tmp_path / "a" / "b.db"
    assert parse("~/b.db").path == isolated_environment / "b.db"
    assert parse(f"sqlite:///{tmp_path}/c.db") == Location("sqlite", f"{tmp_path}/c.db")
    assert parse("sqlite:///c.db").path == tmp_path / "c.db"
    assert parse("postgres://h/d").kind == parse("postgresql://h/d").kind == "postgres"


@pytest.mark.parametrize("word", ["mysql://host/db", ":memory:"])
def test_what_cannot_be_is_one_clear_line(word: str) -> None:
    with pytest.raises(StorageError, match="CRUX_DB") as caught:
        parse(word)
    assert "\n" not in str(caught.value)


def test_a_password_is_never_shown() -> None:
    place = parse("postgresql://me:hunter2@host:5432/db?sslmode=require")
    assert "hunter2" not in str(place)
    assert "hunter2" not in repr(place)
    assert "me:***@host" in str(place)


def test_the_store_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CRUX_DB", str(tmp_path / "a.db"))
    first = get_store()
    assert get_store() is first
    monkeypatch.setenv("CRUX_DB", str(tmp_path / "b.db"))
    assert get_store().location.path == tmp_path / "b.db"
    monkeypatch.setenv("CRUX_DB", "off")
    assert get_store().location == OFF
    monkeypatch.delenv("CRUX_DB")
    monkeypatch.setenv("PROVIDERS_DB_PATH", str(tmp_path / "c.db"))
    assert get_store().location.path == tmp_path / "c.db"


def test_importing_reads_nothing_and_loads_no_driver() -> None:
    code = (
        "import sys, os\n"
        "import crux_providers.persistence.store, crux_providers.base.capabilities\n"
        "import crux_providers.base.get_models_base, crux_providers.base.repositories.keys\n"
        "import crux_providers.base.repositories.model_registry, crux_providers.base.tracing\n"
        "os.environ['CRUX_DB'] = os.path.abspath('late.db')\n"
        "late = [m for m in ('sqlite3', 'psycopg', 'platformdirs', 'dotenv', 'yaml',"
        " 'multiprocessing', 'opentelemetry') if m in sys.modules]\n"
        "print(late, crux_providers.persistence.store.get_store().location.path.name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[] late.db"
