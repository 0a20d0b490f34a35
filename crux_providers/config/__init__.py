"""Configuration: defaults, environment variables, ``.env`` and ``config.yaml``."""

from __future__ import annotations

from typing import Any

__all__ = ["get_openai_config"]


def get_openai_config() -> dict[str, Any]:
    """OpenAI's settings: ``model`` and ``base_url``, read now.

    The model is ``api.openai.model`` of config.yaml, else ``o3-mini``; the base URL is
    ``OPENAI_BASE_URL``, else OpenAI's own (a file of the working directory never decides where a
    key is sent). Keys are no part of it. Raises ConfigError where config.yaml cannot be read.
    """
    import os

    from . import declaration, defaults
    from .files import api_section

    declared = declaration.declarations()["openai"]
    return {
        "model": api_section("openai").get("model") or defaults.OPENAI_DEFAULT_MODEL,
        "base_url": os.environ.get(declared.base_url_variable) or declared.base_url,
    }
