"""``.env`` and ``config.yaml``, read at use; nothing here changes ``os.environ``.

Both are looked for in the working directory, or where ``DOTENV_FILE`` and ``CRUX_CONFIG`` say.
A file that is not there says nothing; one that cannot be read is an error of one line.

config.yaml::

    api:
      openai:
        api_key: "..."
        model: gpt-5-mini        # optional
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from .errors import ConfigError as ConfigError

DOTENV_VARIABLE = "DOTENV_FILE"
CONFIG_VARIABLE = "CRUX_CONFIG"

T = TypeVar("T")


def dotenv() -> Mapping[str, str]:
    """What ``.env`` says: variable → value, those without a value left out."""
    return _read(Path(os.environ.get(DOTENV_VARIABLE) or ".env"), _parse_dotenv, {})


def config() -> Mapping[str, Any]:
    """What ``config.yaml`` says; ``{}`` where there is none."""
    return _read(Path(os.environ.get(CONFIG_VARIABLE) or "config.yaml"), _parse_yaml, {})


def api_section(provider: str) -> Mapping[str, Any]:
    """``api.<provider>`` of config.yaml; ``{}`` where it has none."""
    where: Any = config()
    for name in ("api", provider):
        where = where.get(name) if isinstance(where, Mapping) else None
    return where if isinstance(where, Mapping) else {}


_cache: dict[tuple[Path, Any], tuple[tuple[int, int, int], Any]] = {}


def _read(path: Path, parse: Callable[[Path, str], T], empty: T) -> T:
    """The parsed file; parsed again only when it changed."""
    path = Path(os.path.abspath(os.path.expanduser(path)))
    try:
        found = path.stat()
        mark = (found.st_ino, found.st_mtime_ns, found.st_size)
        known = _cache.get((path, parse))
        if known is None or known[0] != mark:
            known = _cache[(path, parse)] = (mark, parse(path, path.read_text("utf-8-sig")))
    except (FileNotFoundError, NotADirectoryError):
        return empty
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: not UTF-8 (byte {exc.start}): save it as UTF-8") from None
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from None
    parsed: T = known[1]
    return parsed


def _parse_dotenv(path: Path, text: str) -> Mapping[str, str]:
    from io import StringIO

    from dotenv import dotenv_values

    # A key may hold a dollar sign; it is taken as written.
    found = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in found.items() if value is not None}


def _parse_yaml(path: Path, text: str) -> Mapping[str, Any]:
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = " ".join(str(getattr(exc, "problem", None) or "no YAML").split())
        raise ConfigError(f"{path}{line}: {problem}: mend the file, or remove it") from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path}:1: expected a mapping such as `api: {{openai: …}}`")
    return value
