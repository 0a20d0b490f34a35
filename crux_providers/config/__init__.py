"""Configuration: defaults, environment variables, ``.env`` and ``config.yaml``."""

from __future__ import annotations

from typing import Any

__all__ = ["get_openai_config"]


def get_openai_config() -> dict[str, Any]:
    """OpenAI's settings: ``model`` and ``base_url``, read now.

    From ``api.openai`` of config.yaml, else from :mod:`.defaults` (model ``o3-mini``). Keys are no
    part of it. Raises ConfigError where config.yaml cannot be read.
    """
    from . import defaults
    from .files import api_section

    section = api_section("openai")
    return {
        "model": section.get("model") or defaults.OPENAI_DEFAULT_MODEL,
        "base_url": section.get("base_url") or defaults.OPENAI_BASE_URL,
    }
